//! Gathers options from all sources in uWSGI's order: environment, command line with the files it
//! names, positional arguments; then fills in placeholders; then follows `inherit`, and last writes
//! out what `declare-option` declared. `sources` reads files, `expansion` fills in placeholders.
//!
//! It acts on the options that concern the reading itself (`ini`, `include`, `set`, logic blocks)
//! and knows nothing about what the others do.

mod expansion;
mod sources;

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sources::FileRecord;

use crate::cli::{self, CommandLineItem};
use crate::envdir;
use crate::environment::Environment;
use crate::error::ConfigError;
use crate::expand;
use crate::known;
use crate::limits::{OPTION_BYTES_MAX, OPTIONS_MAX, VALUE_BYTES_MAX};
use crate::logic::{self, Block, Effect, Surroundings};
use crate::notice::Notice;
use crate::origin::{Entry, Origin};
use crate::section::Format;

/// The section that holds options unless another one is asked for.
const SECTION: &str = "uwsgi";

/// How an unknown name came to be defined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Definition {
    /// As a key or option.
    Plain,
    /// With `set`: meant as a placeholder, unknown to `strict` all the same.
    Set,
    /// With `set-placeholder`: meant as a placeholder and allowed by `strict`.
    Placeholder,
}

/// One option as it was read.
pub(crate) struct ReadOption {
    pub(crate) entry: Entry,
    /// The value before expansion.
    pub(crate) raw: Option<String>,
    pub(crate) definition: Definition,
    /// It was acted on while it was read and is not expanded any more.
    applied: bool,
    /// It stands for an option that `declare-option` declared, which the application sees instead.
    pub(crate) derived: bool,
    /// The file it stands in, for the chain of includes.
    file: Option<usize>,
}

/// Everything that was read.
#[derive(Default)]
pub(crate) struct Gathered {
    pub(crate) options: Vec<ReadOption>,
    pub(crate) files: Vec<PathBuf>,
    /// The same with the section that was asked for, each as often as it was read.
    pub(crate) sections: Vec<(PathBuf, String)>,
    pub(crate) notices: Vec<Notice>,
    /// Names that occur in a placeholder or a condition.
    pub(crate) referenced: HashSet<String>,
    /// Options of the user's own, with the options they stand for.
    pub(crate) declared: HashMap<String, String>,
}

/// How a file came to be named; the ways differ in what they accept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// `ini`, `yaml` and their kin: any name; for `ini`, `:section` alone is the file opened last.
    As(Format),
    /// `include`, `inherit`, `config`, an argument: the ending tells the format.
    ByEnding,
}

impl Way {
    /// For a file that the user names: ini, unless its ending says otherwise.
    fn named(text: &str) -> Self {
        let name = text.rsplit_once(':').map_or(text, |(name, _)| name);
        let format = Format::of_name(text).or_else(|| Format::of_name(name));
        Self::As(format.unwrap_or(Format::Ini))
    }
}

struct Loader<'a> {
    environment: &'a Environment,
    start: &'a Path,
    records: Vec<FileRecord>,
    /// Position in `records` of the first file loaded with `ini`.
    main: Option<usize>,
    last_ini: Option<Arc<Path>>,
    /// Variables of `early-envdir`: set, or taken away.
    early: HashMap<String, Option<String>>,
    gathered: Gathered,
    /// Of the names and values in `gathered`.
    bytes: usize,
}

/// Reads everything that the arguments and the environment name.
pub(crate) fn gather(
    arguments: &[OsString],
    named: Option<(&str, &Origin)>,
    environment: &Environment,
    start: &Path,
) -> Result<Gathered, ConfigError> {
    let mut loader = Loader {
        environment,
        start,
        records: Vec::new(),
        main: None,
        last_ini: None,
        early: HashMap::new(),
        gathered: Gathered::default(),
        bytes: 0,
    };
    loader.read_environment()?;
    loader.read_arguments(cli::parse(arguments)?)?;
    if let Some((file, origin)) = named {
        loader.load(file, Way::named(file), origin, None)?;
    }
    loader.expand_from(0)?;
    loader.inherit()?;
    loader.write_out()?;
    for record in &loader.records {
        let section = (record.names.absolute.clone(), record.section.clone());
        loader.gathered.sections.push(section);
        if !loader.gathered.files.contains(&record.names.absolute) {
            loader.gathered.files.push(record.names.absolute.clone());
        }
    }
    Ok(loader.gathered)
}

impl Loader<'_> {
    fn read_environment(&mut self) -> Result<(), ConfigError> {
        let mut block = Block::None;
        for (variable, name, value) in self.environment.options() {
            let value = value
                .to_str()
                .ok_or_else(|| ConfigError::VariableNotUtf8 { variable: variable.to_owned() })?;
            let origin = Origin::Environment { variable: Arc::from(variable) };
            self.add(&name, Some(value.to_owned()), &origin, &mut block, None)?;
        }
        Ok(())
    }

    /// Options first, then positional arguments.
    fn read_arguments(&mut self, items: Vec<CommandLineItem>) -> Result<(), ConfigError> {
        let mut block = Block::None;
        let mut positional = Vec::new();
        for item in items {
            match item {
                CommandLineItem::Option { name, .. } if known::is_command(name) => {
                    return Err(ConfigError::Command { name: name.to_owned() });
                }
                CommandLineItem::Option { name, value } => {
                    self.add(name, value, &Origin::CommandLine, &mut block, None)?;
                }
                CommandLineItem::Positional(text) => positional.push(text),
            }
        }
        for text in positional {
            self.read_positional(text)?;
        }
        Ok(())
    }

    fn read_positional(&mut self, text: String) -> Result<(), ConfigError> {
        let ends_with = |ending: &str| has_ending(&text, ending);
        let section_of = |text: &str| {
            let name = text.rsplit_once(':').map(|(name, _)| name);
            name.and_then(Format::of_name).is_some()
        };
        if text.starts_with('[') {
            return Ok(());
        }
        if Format::of_name(&text).is_some() || section_of(&text) {
            return self.load(&text, Way::ByEnding, &Origin::CommandLine, None);
        }
        let name = if ends_with(".py") || ends_with(".wsgi") {
            "wsgi-file"
        } else if text.contains(':') {
            "module"
        } else {
            return Err(ConfigError::UnusableArgument { argument: text });
        };
        self.push(name, Some(text), &Origin::CommandLine, Definition::Plain, None)
    }

    /// Takes one option in: through the block it stands in, and acting on it if it concerns the
    /// reading.
    fn add(
        &mut self,
        name: &str,
        value: Option<String>,
        origin: &Origin,
        block: &mut Block,
        file: Option<usize>,
    ) -> Result<(), ConfigError> {
        if logic::is_closing(name) {
            *block = Block::None;
            return self.push_applied(name, value, origin, file);
        }
        let effect = block.effect(&self.surroundings());
        if matches!(effect, Effect::Drop) {
            return Ok(());
        }
        if let Some(opening) = self.open_block(name, value.as_deref(), origin)? {
            if let Some((_, opened)) = block.opened() {
                return Err(ConfigError::NestedBlock {
                    name: name.to_owned(),
                    origin: origin.clone(),
                    opened: opened.clone(),
                });
            }
            *block = opening;
            return self.push_applied(name, value, origin, file);
        }
        let Some(items) = effect.items() else { return self.take(name, value, origin, file) };
        for item in items {
            let filled = |value| {
                expand::replace_bounded(value, logic::ITEM, item)
                    .ok_or_else(|| too_long(name, origin))
            };
            let value = value.as_deref().map(filled).transpose()?;
            self.take(name, value, origin, file)?;
        }
        Ok(())
    }

    fn open_block(
        &mut self,
        name: &str,
        value: Option<&str>,
        origin: &Origin,
    ) -> Result<Option<Block>, ConfigError> {
        let value = value.unwrap_or_default();
        if name.ends_with("-opt") {
            let option = value.split('=').next().unwrap_or_default();
            self.gathered.referenced.insert(option.to_owned());
        }
        logic::open(name, value, origin, &self.surroundings())
    }

    fn surroundings(&self) -> Surroundings<'_> {
        let (environment, start) = (self.environment, self.start);
        Surroundings { environment, start, options: &self.gathered.options }
    }

    fn take(
        &mut self,
        name: &str,
        value: Option<String>,
        origin: &Origin,
        file: Option<usize>,
    ) -> Result<(), ConfigError> {
        let text = value.clone().unwrap_or_default();
        if let Some(format) = Format::of_option(name) {
            self.push_applied(name, value, origin, file)?;
            return self.load(&text, Way::As(format), origin, file);
        }
        match name {
            "include" | "config" => {
                self.push_applied(name, value, origin, file)?;
                self.load(&text, Way::ByEnding, origin, file)
            }
            "ini-paste" | "ini-paste-logged" => Err(unsupported(
                origin,
                &text,
                "files of Paste are not read; name the application with `module`",
            )),
            // Else its lines would hold everywhere: nobody knows it without PCRE.
            "if-hostname-match" | "if-not-hostname-match" => Err(ConfigError::Syntax {
                origin: origin.clone(),
                problem: format!(
                    "`{name}` takes a regular expression, which unspool does not read; write a \
                     block of `if-hostname` for each name"
                ),
            }),
            "declare-option" => {
                self.push_applied(name, value, origin, file)?;
                let (name, options) = assignment(name, &text, origin)?;
                self.gathered.declared.insert(name.to_owned(), options.to_owned());
                Ok(())
            }
            "early-envdir" => {
                let variables = envdir::read(&self.start.join(&text), origin)?;
                self.early.extend(variables);
                self.push(name, value, origin, Definition::Plain, file)
            }
            "iprint" => self.push_applied(name, value, origin, file),
            "exit" => Err(ConfigError::ExitAsked { value: text, origin: origin.clone() }),
            "set" | "set-placeholder" | "set-ph" => {
                self.push_applied(name, value, origin, file)?;
                self.set(name, &text, origin, file)
            }
            _ => self.push(name, value, origin, Definition::Plain, file),
        }
    }

    fn set(
        &mut self,
        option: &str,
        text: &str,
        origin: &Origin,
        file: Option<usize>,
    ) -> Result<(), ConfigError> {
        let (name, value) = assignment(option, text, origin)?;
        if option == "set" {
            return self.push(name, Some(value.to_owned()), origin, Definition::Set, file);
        }
        if known::find(name).is_some() {
            return Err(ConfigError::PlaceholderIsOption {
                name: name.to_owned(),
                origin: origin.clone(),
            });
        }
        self.push(name, Some(value.to_owned()), origin, Definition::Placeholder, file)
    }

    fn push(
        &mut self,
        name: &str,
        value: Option<String>,
        origin: &Origin,
        definition: Definition,
        file: Option<usize>,
    ) -> Result<(), ConfigError> {
        if self.gathered.options.len() >= OPTIONS_MAX {
            let origin = origin.clone();
            return Err(ConfigError::TooManyOptions { origin, options_max: OPTIONS_MAX });
        }
        // With the value before expansion.
        self.grow(name.len() + 2 * value.as_ref().map_or(0, String::len), origin)?;
        let raw = value.clone();
        let entry = Entry { name: name.to_owned(), value, origin: origin.clone(), secret: false };
        self.gathered.options.push(ReadOption {
            entry,
            raw,
            definition,
            applied: false,
            derived: false,
            file,
        });
        Ok(())
    }

    /// Counts bytes that are kept.
    fn grow(&mut self, bytes: usize, origin: &Origin) -> Result<(), ConfigError> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > OPTION_BYTES_MAX {
            let origin = origin.clone();
            return Err(ConfigError::OptionsTooLong { origin, bytes_max: OPTION_BYTES_MAX });
        }
        Ok(())
    }

    fn push_applied(
        &mut self,
        name: &str,
        value: Option<String>,
        origin: &Origin,
        file: Option<usize>,
    ) -> Result<(), ConfigError> {
        self.push(name, value, origin, Definition::Placeholder, file)?;
        if let Some(option) = self.gathered.options.last_mut() {
            option.applied = true;
        }
        Ok(())
    }
}

/// Declared options.
impl Loader<'_> {
    /// Puts behind each use of a declared option the options that it stands for.
    fn write_out(&mut self) -> Result<(), ConfigError> {
        if self.gathered.declared.is_empty() {
            return Ok(());
        }
        let declared = std::mem::take(&mut self.gathered.declared);
        let mut written = Vec::with_capacity(self.gathered.options.len());
        for option in std::mem::take(&mut self.gathered.options) {
            let template = declared.get(&option.entry.name);
            let template = template.filter(|_| known::find(&option.entry.name).is_none());
            let Some(template) = template else {
                written.push(option);
                continue;
            };
            let value = option.entry.value.clone().unwrap_or_default();
            let origin = option.entry.origin.clone();
            let file = option.file;
            written.push(option);
            for part in template.split(';').filter(|part| !part.is_empty()) {
                let (name, text) = assignment("declare-option", part, &origin)?;
                let value = filled_in(text, &value).ok_or_else(|| too_long(name, &origin))?;
                self.grow(name.len() + 2 * value.len(), &origin)?;
                let value = Some(value);
                let entry =
                    Entry { name: name.to_owned(), value, origin: origin.clone(), secret: false };
                let raw = entry.value.clone();
                let definition = Definition::Plain;
                written.push(ReadOption {
                    entry,
                    raw,
                    definition,
                    applied: true,
                    derived: true,
                    file,
                });
            }
            if written.len() > OPTIONS_MAX {
                return Err(ConfigError::TooManyOptions { origin, options_max: OPTIONS_MAX });
            }
        }
        self.gathered.options = written;
        self.gathered.declared = declared;
        Ok(())
    }
}

/// A template with `$1`, `$2` and so on replaced by the words of a value. As in uWSGI one without a
/// word stays as it is. `None` if it grows past the bound.
fn filled_in(template: &str, value: &str) -> Option<String> {
    let words = value.split(' ').filter(|word| !word.is_empty()).enumerate();
    let mut text = template.to_owned();
    for (at, word) in words.collect::<Vec<_>>().into_iter().rev() {
        text = expand::replace_bounded(&text, &format!("${}", at + 1), word)?;
    }
    Some(text)
}

fn too_long(name: &str, origin: &Origin) -> ConfigError {
    let (name, origin) = (name.to_owned(), origin.clone());
    ConfigError::ValueTooLong { name, origin, bytes_max: VALUE_BYTES_MAX }
}

/// The two sides of `name=value`, which `option` needs.
fn assignment<'t>(
    option: &str,
    text: &'t str,
    origin: &Origin,
) -> Result<(&'t str, &'t str), ConfigError> {
    text.split_once('=').ok_or_else(|| ConfigError::NotAnAssignment {
        option: option.to_owned(),
        value: text.to_owned(),
        origin: origin.clone(),
    })
}

/// The value of the first option of this name that has one.
pub(crate) fn first_value<'b>(options: &'b [ReadOption], name: &str) -> Option<&'b str> {
    options
        .iter()
        .filter(|option| option.entry.name == name)
        .find_map(|option| option.entry.value.as_deref())
}

fn unsupported(origin: &Origin, target: &str, problem: &'static str) -> ConfigError {
    ConfigError::UnsupportedSource { origin: origin.clone(), target: target.to_owned(), problem }
}

fn has_ending(text: &str, ending: &str) -> bool {
    text.len() > ending.len() && text.ends_with(ending)
}
