//! The values of options as things: switches, numbers, durations, paths.

use std::time::Duration;

use crate::error::ConfigError;
use crate::known;
use crate::loader::ReadOption;
use crate::origin::Origin;

/// Longest duration that an option may ask for.
const SECONDS_MAX: f64 = 100.0 * 365.0 * 86_400.0;

/// One option while it is turned into a setting.
#[derive(Clone, Copy)]
pub(crate) struct Value<'a> {
    pub(crate) option: &'a ReadOption,
}

impl<'a> Value<'a> {
    pub(crate) fn name(self) -> &'a str {
        &self.option.entry.name
    }

    pub(crate) fn origin(self) -> &'a Origin {
        &self.option.entry.origin
    }

    /// Whether the value takes in something whose name tells a secret.
    pub(crate) fn secret(self) -> bool {
        self.option.raw.as_deref().is_some_and(crate::secrets::refers_to_secret)
    }

    /// The value for a message: as it was written, if what it takes in is secret.
    pub(crate) fn told(self) -> &'a str {
        let raw = self.option.raw.as_deref().filter(|_| self.secret());
        raw.unwrap_or_else(|| self.text())
    }

    /// The value as it is.
    pub(crate) fn text(self) -> &'a str {
        self.option.entry.value.as_deref().unwrap_or_default()
    }

    /// The value without a comment, for options that name a module, a file, a directory or a
    /// number; it must not be empty.
    pub(crate) fn plain(self) -> Result<&'a str, ConfigError> {
        let value = self.uncommented()?;
        if value.is_empty() {
            return Err(self.invalid("the value is missing; write it after `=`"));
        }
        Ok(value)
    }

    fn uncommented(self) -> Result<&'a str, ConfigError> {
        let value = without_comment(self.text(), self.origin());
        let raw = self.option.raw.as_deref().unwrap_or_default();
        let comes_from_elsewhere =
            value != self.text() && without_comment(raw, self.origin()) == raw;
        if comes_from_elsewhere && !is_one_placeholder(raw) {
            return Err(self.invalid(
                "a placeholder brings a comment into the middle of this value; put the comment on \
                 a line of its own",
            ));
        }
        Ok(value)
    }

    /// Whether there is nothing but a comment.
    pub(crate) fn is_empty(self) -> bool {
        without_comment(self.text(), self.origin()).is_empty()
    }

    /// On, unless the value says no.
    pub(crate) fn switch(self) -> bool {
        let value = without_comment(self.text(), self.origin()).to_lowercase();
        !matches!(value.as_str(), "false" | "off" | "no" | "0")
    }

    /// A switch that gives trust away: nothing but a plain word, or the bare option, turns it on.
    pub(crate) fn plain_switch(self) -> Result<bool, ConfigError> {
        if self.option.entry.value.is_none() {
            return Ok(true);
        }
        match self.plain()?.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => Ok(true),
            "false" | "no" | "off" | "0" => Ok(false),
            _ => Err(self.invalid("write true or false")),
        }
    }

    pub(crate) fn number(self) -> Result<u64, ConfigError> {
        let value = self.digits()?;
        if value.bytes().all(|byte| byte.is_ascii_digit()) {
            return value.parse().map_err(|_| self.invalid("the number is too large"));
        }
        Err(self.invalid("this is not a number; write digits only, as in 4"))
    }

    /// Seconds, with a fraction if need be.
    pub(crate) fn seconds(self) -> Result<Duration, ConfigError> {
        let value = self.digits()?;
        let decimal = value.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        let seconds: f64 = match value.parse() {
            Ok(seconds) if decimal => seconds,
            _ => {
                return Err(self.invalid(
                    "this is not a number of seconds; write digits only, as in 30 or 0.5",
                ));
            }
        };
        if seconds > SECONDS_MAX {
            return Err(self.invalid("this is more than a hundred years"));
        }
        Duration::try_from_secs_f64(seconds).map_err(|error| self.invalid(&error.to_string()))
    }

    /// The text of a number: the whole value, or what `read_as` takes of it.
    fn digits(self) -> Result<&'a str, ConfigError> {
        // A comment brought in by a placeholder is an error first.
        self.uncommented()?;
        self.read_as().map_or_else(|| self.plain(), Ok)
    }

    /// What a number of uWSGI's is read as if it is not one: the digits at its start, and 0 if it is
    /// empty. Without digits it is an error; uWSGI reads 0.
    pub(crate) fn read_as(self) -> Option<&'a str> {
        if !known::find(self.name()).is_some_and(|known| known.number) {
            return None;
        }
        let value = without_comment(self.text(), self.origin());
        if value.is_empty() {
            return Some("0");
        }
        let text =
            value.trim_start_matches(|letter: char| letter.is_ascii_digit() || letter == '.');
        let digits = &value[..value.len() - text.len()];
        let tellable = !text.is_empty() && !self.secret();
        (tellable && digits.starts_with(|first: char| first.is_ascii_digit())).then_some(digits)
    }

    pub(crate) fn invalid(self, problem: &str) -> ConfigError {
        ConfigError::InvalidValue {
            name: self.name().to_owned(),
            value: self.told().to_owned(),
            origin: self.origin().clone(),
            problem: problem.to_owned(),
        }
    }
}

/// The value up to a blank and `#` or `;`. Only files have comments: in an argument or a variable
/// these characters are meant.
pub(crate) fn without_comment<'a>(value: &'a str, origin: &Origin) -> &'a str {
    if !matches!(origin, Origin::File { .. }) {
        return value;
    }
    if value.starts_with(['#', ';']) {
        return "";
    }
    let starts = value.match_indices([' ', '\t']).map(|(at, _)| at);
    let comment = starts.into_iter().find(|at| value[at + 1..].starts_with(['#', ';']));
    value[..comment.unwrap_or(value.len())].trim_end_matches([' ', '\t'])
}

/// Whether the value is nothing but `%(name)`, so that a comment in the definition of the name is
/// as good as one here.
fn is_one_placeholder(raw: &str) -> bool {
    raw.strip_prefix("%(")
        .and_then(|rest| rest.strip_suffix(')'))
        .is_some_and(|name| !name.contains(['(', ')']))
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::*;

    #[test]
    fn comments_end_values_of_files_only() {
        let file = Origin::line(&Arc::from(Path::new("a.ini")), 1);
        let check = |value: &str, expected: &str| {
            assert_eq!(without_comment(value, &file), expected, "{value}");
            assert_eq!(without_comment(value, &Origin::CommandLine), value);
        };
        check("10 # seconds", "10");
        check("10\t; seconds", "10");
        check("a b  # c # d", "a b");
        check("/srv/a#b;c", "/srv/a#b;c");
        check("# nothing", "");
        check("", "");
    }
}
