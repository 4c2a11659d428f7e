//! The command line as uWSGI's `getopt_long` reads it: `--name value`, `--name=value`, unambiguous
//! prefixes, single letters alone or in a row, and everything else a positional argument.

use std::ffi::OsString;

use crate::error::ConfigError;
use crate::known::{self, Argument, KnownOption};
use crate::suggest;

/// One argument, or an option with its value.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum CommandLineItem {
    Option { name: &'static str, value: Option<String> },
    Positional(String),
}

/// Splits the arguments into options and positional arguments, in their order.
pub(crate) fn parse(arguments: &[OsString]) -> Result<Vec<CommandLineItem>, ConfigError> {
    let mut items = Vec::new();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let argument = utf8(argument)?;
        if argument == "--" {
            for positional in rest.by_ref() {
                items.push(CommandLineItem::Positional(utf8(positional)?.to_owned()));
            }
        } else if let Some(long) = argument.strip_prefix("--") {
            items.push(long_option(long, &mut rest)?);
        } else if let Some(letters) = argument.strip_prefix('-').filter(|text| !text.is_empty()) {
            short_options(letters, &mut rest, &mut items)?;
        } else {
            items.push(CommandLineItem::Positional(argument.to_owned()));
        }
    }
    Ok(items)
}

fn long_option(
    text: &str,
    rest: &mut std::slice::Iter<'_, OsString>,
) -> Result<CommandLineItem, ConfigError> {
    let (name, attached) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (text, None),
    };
    let option = resolve_name(name)?;
    let value = match (option.argument, attached) {
        (Argument::No, Some(_)) => {
            return Err(ConfigError::UnexpectedArgument { name: option.name.to_owned() });
        }
        (Argument::Required, None) => Some(following(rest, || format!("--{}", option.name))?),
        (_, attached) => attached,
    };
    Ok(CommandLineItem::Option { name: option.name, value })
}

fn short_options(
    letters: &str,
    rest: &mut std::slice::Iter<'_, OsString>,
    items: &mut Vec<CommandLineItem>,
) -> Result<(), ConfigError> {
    let mut characters = letters.chars();
    while let Some(letter) = characters.next() {
        let option = known::find_short(letter).ok_or_else(|| unknown(&format!("-{letter}")))?;
        let attached = characters.as_str();
        let value = match option.argument {
            Argument::No => {
                items.push(CommandLineItem::Option { name: option.name, value: None });
                continue;
            }
            _ if !attached.is_empty() => Some(attached.to_owned()),
            Argument::Optional => None,
            Argument::Required => Some(following(rest, || format!("-{letter}"))?),
        };
        items.push(CommandLineItem::Option { name: option.name, value });
        break;
    }
    Ok(())
}

/// The next argument as a value. One that is itself a whole long option is taken for a forgotten
/// value: `--spooler --master` would otherwise create a directory of that name.
fn following(
    rest: &mut std::slice::Iter<'_, OsString>,
    shown: impl Fn() -> String,
) -> Result<String, ConfigError> {
    let missing = || ConfigError::MissingArgument { option: shown() };
    let value = utf8(rest.next().ok_or_else(missing)?)?;
    let forgotten = value
        .strip_prefix("--")
        .and_then(|text| text.split('=').next())
        .is_some_and(|name| known::find(name).is_some());
    if forgotten { Err(missing()) } else { Ok(value.to_owned()) }
}

fn resolve_name(name: &str) -> Result<&'static KnownOption, ConfigError> {
    if let Some(option) = known::find(name) {
        return Ok(option);
    }
    let candidates = if name.is_empty() { Vec::new() } else { known::with_prefix(name) };
    match candidates.as_slice() {
        [] => Err(unknown(&format!("--{name}"))),
        [only] => Ok(only),
        several => Err(ConfigError::AmbiguousOption {
            name: name.to_owned(),
            candidates: several.iter().map(|option| option.name.to_owned()).collect(),
        }),
    }
}

fn unknown(written: &str) -> ConfigError {
    ConfigError::UnknownOption {
        name: written.to_owned(),
        origin: crate::origin::Origin::CommandLine,
        nearest: suggest::nearest(written, known::names()).map(|name| format!("--{name}")),
    }
}

fn utf8(argument: &OsString) -> Result<&str, ConfigError> {
    argument.to_str().ok_or_else(|| ConfigError::ArgumentNotUtf8 {
        shown: argument.to_string_lossy().into_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(line: &str) -> Result<String, ConfigError> {
        let arguments: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        let shown: Vec<String> = parse(&arguments)?
            .into_iter()
            .map(|item| match item {
                CommandLineItem::Option { name, value: None } => name.to_owned(),
                CommandLineItem::Option { name, value: Some(value) } => format!("{name}={value}"),
                CommandLineItem::Positional(text) => format!("<{text}>"),
            })
            .collect();
        Ok(shown.join(" "))
    }

    #[test]
    fn reads_arguments() {
        let check = |line: &str, expected: &str| {
            assert_eq!(items(line).unwrap(), expected, "{line}");
        };
        check("--spooler /s", "spooler=/s");
        check("--spooler=/s", "spooler=/s");
        check("--spooler=", "spooler=");
        check("-Q /s", "spooler=/s");
        check("-Q/s", "spooler=/s");
        check("-Mp 2", "master processes=2");
        check("-p4", "processes=4");
        check("--spooler-proc 2", "spooler-processes=2");
        check("--spooler-freq 2", "spooler-freq=2");
        check("--master app.ini", "master <app.ini>");
        check("app.ini --master", "<app.ini> master");
        check("--set a=b", "set=a=b");
        check("--chmod-socket 3", "chmod-socket <3>");
        check("--chmod-socket=660", "chmod-socket=660");
        check("-C660", "chmod-socket=660");
        check("-- --master", "<--master>");
        check("-", "<->");
        check("--prio -5", "prio=-5");
    }

    #[test]
    fn refuses_what_it_cannot_read() {
        let check = |line: &str, expected: &str| {
            assert_eq!(items(line).unwrap_err().to_string(), expected, "{line}");
        };
        check(
            "--spooler-proceses 2",
            "command line: unknown option `--spooler-proceses`; did you mean \
             `--spooler-processes`?",
        );
        check("-~", "command line: unknown option `-~`");
        check(
            "--mast",
            "command line: option `--mast` is ambiguous; it could be `--master`, \
             `--master-fifo`, `--master-as-root`",
        );
        check(
            "--spooler",
            "command line: option `--spooler` needs a value; write `--spooler VALUE`",
        );
        check(
            "--spooler --master",
            "command line: option `--spooler` needs a value; write `--spooler VALUE`",
        );
        check("-Q", "command line: option `-Q` needs a value; write `-Q VALUE`");
        check("--master=3", "command line: option `--master` takes no value; write it alone");
    }
}
