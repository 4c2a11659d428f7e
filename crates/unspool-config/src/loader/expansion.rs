//! Expansion: the passes that replace `$(VARIABLE)`, `@(file)` and `%(option)` in values.

use std::collections::HashMap;

use super::{Loader, first_value, too_long, unsupported};
use crate::error::ConfigError;
use crate::expand;
use crate::files;
use crate::limits::VALUE_BYTES_MAX;
use crate::origin::Origin;

impl Loader<'_> {
    /// The three passes over the options from `first` on.
    pub(super) fn expand_from(&mut self, first: usize) -> Result<(), ConfigError> {
        for sigil in ['$', '@', '%'] {
            let positions = self.positions();
            for at in first..self.gathered.options.len() {
                let option = &self.gathered.options[at];
                if option.applied {
                    continue;
                }
                let Some(value) = option.entry.value.as_deref() else { continue };
                if !value.contains(sigil) {
                    continue;
                }
                let entry = &self.gathered.options[at].entry;
                let lookup = |name: &str| {
                    let &position = positions.get(name)?;
                    self.gathered.options[position].entry.value.as_deref()
                };
                let (value, names) =
                    self.expand_value(value, sigil, &entry.name, &entry.origin, lookup)?;
                let origin = entry.origin.clone();
                self.grow(value.len() + names.iter().map(String::len).sum::<usize>(), &origin)?;
                self.gathered.referenced.extend(names);
                self.gathered.options[at].entry.value = Some(value);
            }
        }
        Ok(())
    }

    /// Where the first value of each name stands.
    fn positions(&self) -> HashMap<String, usize> {
        let mut positions = HashMap::new();
        for (at, option) in self.gathered.options.iter().enumerate() {
            if option.entry.value.is_some() {
                positions.entry(option.entry.name.clone()).or_insert(at);
            }
        }
        positions
    }

    fn expand_value<'b>(
        &self,
        value: &str,
        sigil: char,
        name: &str,
        origin: &Origin,
        lookup: impl Fn(&str) -> Option<&'b str>,
    ) -> Result<(String, Vec<String>), ConfigError> {
        let mut names = Vec::new();
        let mut bytes = value.len();
        let value = expand::replace_marked(value, sigil, |inside| {
            let replacement = match sigil {
                '$' => self.variable(inside)?,
                '@' if inside.is_empty() => None,
                '@' => Some(self.pasted(inside, origin)?),
                _ => {
                    names.extend(expand::names(inside).map(str::to_owned));
                    expand::evaluate(inside, &lookup)
                }
            };
            bytes += replacement.as_ref().map_or(0, String::len);
            if bytes > VALUE_BYTES_MAX { Err(too_long(name, origin)) } else { Ok(replacement) }
        })?;
        Ok((value, names))
    }

    fn variable(&self, name: &str) -> Result<Option<String>, ConfigError> {
        if let Some(early) = self.early.get(name) {
            return Ok(early.clone());
        }
        let Some(value) = self.environment.variable(name) else { return Ok(None) };
        let value = value.to_str();
        let value =
            value.ok_or_else(|| ConfigError::VariableNotUtf8 { variable: name.to_owned() })?;
        Ok(Some(value.to_owned()))
    }

    /// The content of a file without one newline at its end.
    fn pasted(&self, name: &str, origin: &Origin) -> Result<String, ConfigError> {
        if name.contains("://") {
            return Err(unsupported(origin, name, "only files are read; save it as one"));
        }
        let mut content = files::read(&self.start.join(name), origin)?;
        // As in a variable of `envdir`, and as uWSGI reads it.
        content.truncate(content.find('\0').unwrap_or(content.len()));
        if content.ends_with('\n') {
            content.pop();
        }
        Ok(content)
    }

    /// A value that is needed while reading, with what is defined so far.
    pub(super) fn expand_so_far(&mut self, value: &str) -> Result<String, ConfigError> {
        let name = "include";
        let origin = Origin::CommandLine;
        let (value, _) = self.expand_value(value, '$', name, &origin, |_| None)?;
        let options = &self.gathered.options;
        let lookup = |wanted: &str| first_value(options, wanted);
        let (value, names) = self.expand_value(&value, '%', name, &origin, lookup)?;
        self.gathered.referenced.extend(names);
        Ok(value)
    }
}
