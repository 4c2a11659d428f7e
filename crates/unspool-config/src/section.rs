//! What every format comes down to: the options of one section, in their order.

use std::path::Path;
use std::sync::Arc;

use crate::error::ConfigError;
use crate::magic::TextLine;
use crate::origin::Origin;

/// The syntax of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Ini,
    Yaml,
    Xml,
    Json,
}

impl Format {
    /// The format that the ending of a name tells.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        let (stem, ending) = name.rsplit_once('.')?;
        if stem.is_empty() {
            return None;
        }
        match ending {
            "ini" => Some(Self::Ini),
            "yaml" | "yml" => Some(Self::Yaml),
            "xml" => Some(Self::Xml),
            "json" | "js" => Some(Self::Json),
            _ => None,
        }
    }

    /// The format that an option such as `--yaml` is for.
    pub(crate) fn of_option(name: &str) -> Option<Self> {
        match name {
            "ini" => Some(Self::Ini),
            "yaml" | "yml" => Some(Self::Yaml),
            "xml" | "xmlconfig" => Some(Self::Xml),
            "json" | "js" => Some(Self::Json),
            _ => None,
        }
    }
}

/// One option. A key of an ini file without `=` has the empty value.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SectionLine {
    pub(crate) number: u32,
    pub(crate) key: String,
    pub(crate) value: String,
}

/// The options of one section, and what else the file holds.
#[derive(Debug, Default)]
pub(crate) struct Section {
    pub(crate) lines: Vec<SectionLine>,
    pub(crate) present: bool,
    /// Names of the other sections, in order, each once.
    pub(crate) others: Vec<String>,
    /// The first line with a key before any header.
    pub(crate) stray: Option<u32>,
    /// Lines and names of what has more inside than an option can have.
    pub(crate) skipped: Vec<(u32, String)>,
}

impl Section {
    pub(crate) fn other(&mut self, name: &str) {
        if !self.others.iter().any(|other| other == name) {
            self.others.push(name.to_owned());
        }
    }
}

/// The text of a file whose magic variables are filled in, for parsers that want it in one piece.
pub(crate) struct Document<'a> {
    pub(crate) path: &'a Arc<Path>,
    pub(crate) text: String,
    lines: &'a [TextLine],
    /// Where each line of the text starts.
    starts: Vec<usize>,
}

impl<'a> Document<'a> {
    pub(crate) fn new(path: &'a Arc<Path>, lines: &'a [TextLine]) -> Self {
        let texts: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
        let mut text = texts.join("\n");
        if text.starts_with('\u{feff}') {
            text = text.split_off('\u{feff}'.len_utf8());
        }
        let ends = text.match_indices('\n').map(|(at, _)| at + 1);
        let starts = std::iter::once(0).chain(ends).collect();
        Self { path, text, lines, starts }
    }

    /// The line of the file in which the byte `offset` of the text stands.
    pub(crate) fn line_at(&self, offset: usize) -> u32 {
        self.line(self.starts.partition_point(|&start| start <= offset))
    }

    /// The line of the file for a line of the text, counted from 1: one that ended in `%` has
    /// drawn the next one into it.
    pub(crate) fn line(&self, number: usize) -> u32 {
        let last = || self.lines.last();
        self.lines.get(number.saturating_sub(1)).or_else(last).map_or(1, |line| line.number)
    }

    pub(crate) fn error(&self, line: u32, problem: String) -> ConfigError {
        ConfigError::Syntax { origin: Origin::line(self.path, line), problem }
    }
}
