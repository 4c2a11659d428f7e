//! Gathers options from all sources in uWSGI's order: environment, command line with the files it
//! names, positional arguments; then fills in placeholders; then follows `inherit`.
//!
//! It acts on the options that concern the reading itself (`ini`, `include`, `set`, logic blocks)
//! and knows nothing about what the others do.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::cli::{self, CommandLineItem};
use crate::environment::Environment;
use crate::error::ConfigError;
use crate::expand;
use crate::files;
use crate::ini;
use crate::known;
use crate::limits::{INCLUDE_DEPTH_MAX, OPTIONS_MAX, VALUE_BYTES_MAX};
use crate::logic::{self, Block, Effect, Surroundings};
use crate::magic::{FileNames, Magic, TextLine};
use crate::notice::Notice;
use crate::origin::{Entry, Origin};

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
    /// The file it stands in, for the chain of includes.
    file: Option<usize>,
}

/// Everything that was read.
#[derive(Default)]
pub(crate) struct Gathered {
    pub(crate) options: Vec<ReadOption>,
    pub(crate) files: Vec<PathBuf>,
    pub(crate) notices: Vec<Notice>,
    /// Names that occur in a placeholder or a condition.
    pub(crate) referenced: HashSet<String>,
}

/// How a file came to be named; the ways differ in what they accept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// `ini`: any name, and `:section` alone means the file opened last.
    Ini,
    /// `include`, `inherit`, `config`, an argument: the ending tells the format.
    ByEnding,
}

struct FileRecord {
    names: FileNames,
    section: String,
    parent: Option<usize>,
}

struct Loader<'a> {
    environment: &'a Environment,
    start: &'a Path,
    records: Vec<FileRecord>,
    /// Position in `records` of the first file loaded with `ini`.
    main: Option<usize>,
    last_ini: Option<Arc<Path>>,
    gathered: Gathered,
}

/// Reads everything that the arguments and the environment name.
pub(crate) fn gather(
    arguments: &[OsString],
    environment: &Environment,
    start: &Path,
) -> Result<Gathered, ConfigError> {
    let mut loader = Loader {
        environment,
        start,
        records: Vec::new(),
        main: None,
        last_ini: None,
        gathered: Gathered::default(),
    };
    loader.read_environment()?;
    loader.read_arguments(cli::parse(arguments)?)?;
    loader.expand_from(0)?;
    loader.inherit()?;
    for record in &loader.records {
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
        let is_config = [".xml", ".yaml", ".yml", ".json", ".js"].into_iter().any(ends_with);
        if text.starts_with('[') {
            return Ok(());
        }
        if ends_with(".ini") || text.contains(".ini:") || is_config {
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
        for value in effect.values(value) {
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
        match name {
            "ini" => {
                self.push_applied(name, value, origin, file)?;
                self.load(&text, Way::Ini, origin, file)
            }
            "include" | "config" => {
                self.push_applied(name, value, origin, file)?;
                self.load(&text, Way::ByEnding, origin, file)
            }
            "xml" | "xmlconfig" | "yaml" | "yml" | "ini-paste" | "ini-paste-logged" => {
                Err(unsupported(origin, &text, "only ini files are read; write the options as one"))
            }
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
        let Some((name, value)) = text.split_once('=') else {
            return Err(ConfigError::NotAnAssignment {
                option: option.to_owned(),
                value: text.to_owned(),
                origin: origin.clone(),
            });
        };
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
        let raw = value.clone();
        let entry = Entry { name: name.to_owned(), value, origin: origin.clone() };
        self.gathered.options.push(ReadOption { entry, raw, definition, applied: false, file });
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

/// Files.
impl Loader<'_> {
    /// Reads a file where its name is met. Unlike in uWSGI the name may hold placeholders that are
    /// defined above it; there it would be an error.
    fn load(
        &mut self,
        text: &str,
        way: Way,
        origin: &Origin,
        parent: Option<usize>,
    ) -> Result<(), ConfigError> {
        let text = self.expand_so_far(text)?;
        let text = crate::values::without_comment(&text, origin);
        let (given, section) = self.locate(text, way, origin)?;
        let names = FileNames {
            absolute: absolute(&self.start.join(&given)),
            given: Arc::clone(&given),
            section: section.clone(),
        };
        let section = section.unwrap_or_else(|| SECTION.to_owned());
        self.check_chain(&names, &section, parent, origin)?;
        let content = files::read(&names.absolute, origin)?;
        let record = self.records.len();
        self.records.push(FileRecord { names, section: section.clone(), parent });
        if way == Way::Ini {
            self.main.get_or_insert(record);
        }
        self.last_ini = Some(Arc::clone(&given));
        let main = self.main.map(|main| &self.records[main].names);
        let file = &self.records[record].names;
        let lines = Magic { environment: self.environment, file, main }.lines(&content);
        self.note_magic(&given, &lines);
        let found = ini::parse(&given, &lines, &section)?;
        if let Some(line) = found.stray {
            let origin = Origin::line(&given, line);
            self.gathered.notices.push(Notice::KeysBeforeSection { origin });
        }
        if !found.present {
            self.gathered.notices.push(Notice::MissingSection {
                path: given.to_path_buf(),
                section,
                origin: origin.clone(),
                found: found.others,
            });
        }
        let mut block = Block::None;
        for line in found.lines {
            let origin = Origin::line(&given, line.number);
            self.add(&line.key, Some(line.value), &origin, &mut block, Some(record))?;
        }
        if let Some((name, opened)) = block.opened() {
            let (name, origin) = (name.to_owned(), opened.clone());
            self.gathered.notices.push(Notice::UnclosedBlock { name, origin });
        }
        Ok(())
    }

    /// The file and the section that a text names.
    fn locate(
        &self,
        text: &str,
        way: Way,
        origin: &Origin,
    ) -> Result<(Arc<Path>, Option<String>), ConfigError> {
        if text.is_empty() {
            return Err(unsupported(origin, text, "the name of the file is missing"));
        }
        if text.contains("://") || text == "-" {
            return Err(unsupported(origin, text, "only files are read; save it as one"));
        }
        let (name, section) = match text.rsplit_once(':') {
            Some(("", section)) if way == Way::Ini => {
                let last = self.last_ini.as_ref().ok_or_else(|| {
                    unsupported(origin, text, "no ini file was opened before; name one")
                })?;
                return Ok((Arc::clone(last), Some(section.to_owned())));
            }
            Some((name, section)) if way == Way::Ini || has_ending(name, ".ini") => {
                (name, Some(section.to_owned()))
            }
            _ => (text, None),
        };
        if way == Way::ByEnding && !has_ending(name, ".ini") {
            return Err(unsupported(origin, text, "only ini files (NAME.ini) are read"));
        }
        Ok((Arc::from(Path::new(name)), section))
    }

    /// Refuses a file that is being read already, and chains without end.
    fn check_chain(
        &self,
        names: &FileNames,
        section: &str,
        parent: Option<usize>,
        origin: &Origin,
    ) -> Result<(), ConfigError> {
        let mut chain = vec![names.given.display().to_string()];
        let mut above = parent;
        while let Some(record) = above.map(|at| &self.records[at]) {
            chain.insert(0, record.names.given.display().to_string());
            if record.names.absolute == names.absolute && record.section == section {
                return Err(ConfigError::IncludeCycle { origin: origin.clone(), chain });
            }
            above = record.parent;
        }
        if chain.len() > INCLUDE_DEPTH_MAX {
            let origin = origin.clone();
            return Err(ConfigError::IncludeTooDeep { origin, depth_max: INCLUDE_DEPTH_MAX });
        }
        Ok(())
    }

    fn note_magic(&mut self, path: &Arc<Path>, lines: &[TextLine]) {
        for line in lines {
            let origin = Origin::line(path, line.number);
            if line.joined {
                self.gathered.notices.push(Notice::LineJoined { origin: origin.clone() });
            }
            if ini::is_comment(line.text.trim_start()) {
                continue;
            }
            if let Some(&letter) = line.vanished.first() {
                self.gathered.notices.push(Notice::MagicVanished { origin, letter });
            }
        }
    }

    /// Follows `inherit` until no file adds another one. Unlike in uWSGI placeholders in the
    /// inherited options are filled in too.
    fn inherit(&mut self) -> Result<(), ConfigError> {
        let mut at = 0;
        while at < self.gathered.options.len() {
            let option = &self.gathered.options[at];
            at += 1;
            if option.entry.name != "inherit" {
                continue;
            }
            let (entry, file) = (option.entry.clone(), option.file);
            let first_new = self.gathered.options.len();
            let text = entry.value.unwrap_or_default();
            self.load(&text, Way::ByEnding, &entry.origin, file)?;
            self.expand_from(first_new)?;
        }
        Ok(())
    }
}

/// Expansion.
impl Loader<'_> {
    /// The three passes over the options from `first` on.
    fn expand_from(&mut self, first: usize) -> Result<(), ConfigError> {
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
        let too_long = || ConfigError::ValueTooLong {
            name: name.to_owned(),
            origin: origin.clone(),
            bytes_max: VALUE_BYTES_MAX,
        };
        let value = expand::replace_marked(value, sigil, |inside| {
            let replacement = match sigil {
                '$' => self.variable(inside)?,
                '@' => Some(self.pasted(inside, origin)?),
                _ => {
                    names.extend(expand::names(inside).map(str::to_owned));
                    expand::evaluate(inside, &lookup)
                }
            };
            bytes += replacement.as_ref().map_or(0, String::len);
            if bytes > VALUE_BYTES_MAX { Err(too_long()) } else { Ok(replacement) }
        })?;
        Ok((value, names))
    }

    fn variable(&self, name: &str) -> Result<Option<String>, ConfigError> {
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
        if content.ends_with('\n') {
            content.pop();
        }
        Ok(content)
    }

    /// A value that is needed while reading, with what is defined so far.
    fn expand_so_far(&mut self, value: &str) -> Result<String, ConfigError> {
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

/// The path without symbolic links in its directory; the file itself keeps the name it was given.
fn absolute(path: &Path) -> PathBuf {
    match (path.parent().map(Path::canonicalize), path.file_name()) {
        (Some(Ok(directory)), Some(name)) => directory.join(name),
        _ => path.to_owned(),
    }
}
