//! Reading files: which one and which section a text means, in which format, and what is in it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Loader, SECTION, Way, unsupported};
use crate::error::ConfigError;
use crate::files;
use crate::limits::{FILES_MAX, INCLUDE_DEPTH_MAX, OPTION_BYTES_MAX};
use crate::logic::Block;
use crate::magic::{FileNames, Magic, TextLine};
use crate::notice::Notice;
use crate::origin::Origin;
use crate::section::{Document, Format, Section, SectionLine};
use crate::{ini, json, xml, yaml};

pub(super) struct FileRecord {
    pub(super) names: FileNames,
    pub(super) section: String,
    parent: Option<usize>,
}

impl Loader<'_> {
    /// Reads a file where its name is met. Unlike in uWSGI the name may hold placeholders that are
    /// defined above it; there it would be an error.
    pub(super) fn load(
        &mut self,
        text: &str,
        way: Way,
        origin: &Origin,
        parent: Option<usize>,
    ) -> Result<(), ConfigError> {
        let text = self.expand_so_far(text)?;
        let text = crate::values::without_comment(&text, origin);
        let (given, section, format) = self.locate(text, way, origin)?;
        let names = FileNames {
            absolute: absolute(&self.start.join(&given)),
            given: Arc::clone(&given),
            section: section.clone(),
        };
        let asked = section;
        let section = asked.clone().unwrap_or_else(|| SECTION.to_owned());
        self.check_chain(&names, &section, parent, origin)?;
        if self.records.len() >= FILES_MAX {
            let origin = origin.clone();
            return Err(ConfigError::TooManyFiles { origin, files_max: FILES_MAX });
        }
        let content = match format {
            Format::Ini => files::read_ini(&names.absolute, origin)?,
            _ => files::read(&names.absolute, origin)?,
        };
        if let Some(at) = content.find('\0') {
            let line = content[..at].split('\n').count();
            return Err(ConfigError::Syntax {
                origin: Origin::line(&given, u32::try_from(line).unwrap_or(u32::MAX)),
                problem: "a NUL byte is in this line; remove it".to_owned(),
            });
        }
        let record = self.records.len();
        self.records.push(FileRecord { names, section: section.clone(), parent });
        if matches!(way, Way::As(_)) {
            self.main.get_or_insert(record);
        }
        if format == Format::Ini {
            self.last_ini = Some(Arc::clone(&given));
        }
        let main = self.main.map(|main| &self.records[main].names);
        let file = &self.records[record].names;
        let lines = Magic { environment: self.environment, file, main }.lines(&content);
        let lines = lines.map_err(|line| ConfigError::OptionsTooLong {
            origin: Origin::line(&given, line),
            bytes_max: OPTION_BYTES_MAX,
        })?;
        self.note_magic(&given, &lines);
        let document = || Document::new(&given, &lines);
        let found: Section = match format {
            Format::Ini => ini::parse(&given, &lines, &section)?,
            Format::Yaml => yaml::parse(&document(), &section)?,
            Format::Xml => xml::parse(&document(), asked.as_deref())?,
            Format::Json => json::parse(&document(), &section)?,
        };
        let lines = self.note_section(found, &given, section, origin);
        let mut block = Block::None;
        for line in lines {
            let origin = Origin::line(&given, line.number);
            self.add(&line.key, Some(line.value), &origin, &mut block, Some(record))?;
        }
        if let Some((name, opened)) = block.opened() {
            let (name, origin) = (name.to_owned(), opened.clone());
            self.gathered.notices.push(Notice::UnclosedBlock { name, origin });
        }
        Ok(())
    }

    /// Says what is odd about a section; its lines.
    fn note_section(
        &mut self,
        found: Section,
        given: &Arc<Path>,
        section: String,
        origin: &Origin,
    ) -> Vec<SectionLine> {
        if let Some(line) = found.stray {
            let origin = Origin::line(given, line);
            self.gathered.notices.push(Notice::KeysBeforeSection { origin });
        }
        for (line, name) in found.skipped {
            let origin = Origin::line(given, line);
            self.gathered.notices.push(Notice::Skipped { name, origin });
        }
        if !found.present {
            self.gathered.notices.push(Notice::MissingSection {
                path: given.to_path_buf(),
                section,
                origin: origin.clone(),
                found: found.others,
            });
        }
        found.lines
    }

    /// The file, its section and its format that a text names.
    fn locate(
        &self,
        text: &str,
        way: Way,
        origin: &Origin,
    ) -> Result<(Arc<Path>, Option<String>, Format), ConfigError> {
        if text.is_empty() {
            return Err(unsupported(origin, text, "the name of the file is missing"));
        }
        if text.contains("://") || text == "-" {
            return Err(unsupported(origin, text, "only files are read; save it as one"));
        }
        if let (Some(section), Way::As(Format::Ini)) = (text.strip_prefix(':'), way) {
            let last = self.last_ini.as_ref().ok_or_else(|| {
                unsupported(origin, text, "no ini file was opened before; name one")
            })?;
            return Ok((Arc::clone(last), Some(section.to_owned()), Format::Ini));
        }
        let parts = text.rsplit_once(':');
        let (name, section) = match (parts, way) {
            (Some((name, section)), Way::As(_)) => (name, Some(section)),
            (Some((name, section)), Way::ByEnding) if Format::of_name(name).is_some() => {
                (name, Some(section))
            }
            _ => (text, None),
        };
        let format = match way {
            Way::As(format) => format,
            Way::ByEnding => Format::of_name(name).ok_or_else(|| {
                let problem = "its ending is none of .ini, .yaml, .yml, .xml, .json; rename it, or \
                               name its format as in `ini = FILE`";
                unsupported(origin, text, problem)
            })?,
        };
        let section = section.filter(|section| !section.is_empty()).map(str::to_owned);
        Ok((Arc::from(Path::new(name)), section, format))
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
    pub(super) fn inherit(&mut self) -> Result<(), ConfigError> {
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

/// The path without symbolic links in its directory; the file itself keeps the name it was given.
fn absolute(path: &Path) -> PathBuf {
    match (path.parent().map(Path::canonicalize), path.file_name()) {
        (Some(Ok(directory)), Some(name)) => directory.join(name),
        _ => path.to_owned(),
    }
}
