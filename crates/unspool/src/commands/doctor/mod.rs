//! `unspool doctor`: what is wrong with a set-up, and how to mend it.
//!
//! Looks and changes nothing. Each subject has a module, which says what it finds; here is the order and
//! how it is told.

mod application;
mod configuration;
mod daemon;
mod machine;
mod network;
mod relay;
mod spool;
mod typed;

use std::io::{self, IsTerminal, Write};

use serde_json::json;
use unspool_config::Environment;

use crate::cli::DoctorOptions;
use crate::display::{clean, count, json_block};
use crate::{exit, relays, terminal};

/// What a finding means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    /// As it should be.
    Fine,
    /// Worth knowing.
    Note,
    /// It works, and may not for ever.
    Warning,
    /// It does not work.
    Problem,
}

impl Level {
    fn word(self) -> &'static str {
        match self {
            Self::Fine => "ok",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Problem => "problem",
        }
    }

    fn colour(self) -> &'static str {
        match self {
            Self::Fine => "32",
            Self::Note => "34",
            Self::Warning => "33",
            Self::Problem => "31",
        }
    }
}

#[derive(Debug)]
struct Finding {
    level: Level,
    what: String,
    /// What to do about it.
    cure: Option<String>,
    /// More of it, as a traceback.
    detail: Option<String>,
}

/// What is found about one subject.
#[derive(Debug)]
struct Findings {
    subject: &'static str,
    found: Vec<Finding>,
}

impl Findings {
    fn of(subject: &'static str) -> Self {
        Self { subject, found: Vec::new() }
    }

    fn add(&mut self, level: Level, what: impl Into<String>, cure: Option<String>) {
        self.found.push(Finding { level, what: what.into(), cure, detail: None });
    }

    fn fine(&mut self, what: impl Into<String>) {
        self.add(Level::Fine, what, None);
    }

    fn note(&mut self, what: impl Into<String>) {
        self.add(Level::Note, what, None);
    }

    fn warning(&mut self, what: impl Into<String>, cure: impl Into<String>) {
        self.add(Level::Warning, what, Some(cure.into()));
    }

    fn problem(&mut self, what: impl Into<String>, cure: impl Into<String>) {
        self.add(Level::Problem, what, Some(cure.into()));
    }

    /// An error, which says itself what to do.
    fn error(&mut self, error: &dyn std::error::Error) {
        self.add(Level::Problem, crate::logging::with_causes(error), None);
    }
}

/// Looks at all of it.
pub(crate) fn run(options: &DoctorOptions) -> u8 {
    let mut report = Report::new(options.json);
    let (findings, set_up) = configuration::look(options);
    report.tell(findings);
    if let Some(set_up) = set_up {
        let (file, config) = (set_up.file.as_deref(), set_up.config.as_deref());
        for path in &set_up.spools {
            report.tell(spool::look(path, config, file));
            report.tell(daemon::look(path, file));
        }
        for (spooler, address) in config.into_iter().flat_map(relays::relays) {
            report.tell(spool::look(&spooler.path, config, file));
            report.tell(relay::look(&spooler.path, address, file));
        }
        if let Some(findings) = config.and_then(network::look) {
            report.tell(findings);
        }
        if let Some(config) = config.filter(|_| !options.no_import) {
            report.tell(application::look(config, file));
        }
    }
    report.tell(machine::look());
    report.end()
}

struct Report {
    as_json: bool,
    rows: Vec<serde_json::Value>,
    problems: usize,
    warnings: usize,
    /// Whether what was told so far was written.
    written: io::Result<()>,
}

impl Report {
    fn new(as_json: bool) -> Self {
        Self { as_json, rows: Vec::new(), problems: 0, warnings: 0, written: Ok(()) }
    }

    /// Tells what was found, as soon as it is.
    fn tell(&mut self, findings: Findings) {
        let subject = findings.subject;
        for (number, finding) in findings.found.into_iter().enumerate() {
            self.problems += usize::from(finding.level == Level::Problem);
            self.warnings += usize::from(finding.level == Level::Warning);
            if self.as_json {
                self.rows.push(json!({
                    "subject": subject,
                    "level": finding.level.word(),
                    "what": finding.what,
                    "cure": finding.cure,
                    "detail": finding.detail,
                }));
                continue;
            }
            let subject = if number == 0 { subject } else { "" };
            if self.written.is_ok() {
                self.written = print(subject, &finding);
            }
        }
    }

    fn end(self) -> u8 {
        let text = if self.as_json {
            json_block(&json!({ "findings": self.rows, "problems": self.problems }))
        } else {
            let (problems, warnings) = (self.problems as u64, self.warnings as u64);
            format!("\n{}, {}\n", count(problems, "problem"), count(warnings, "warning"))
        };
        let status = if self.problems > 0 { exit::FAILED } else { exit::OK };
        let written = self.written.and_then(|()| io::stdout().write_all(text.as_bytes()));
        terminal::printed(written, status)
    }
}

fn print(subject: &str, finding: &Finding) -> io::Result<()> {
    let mut output = io::stdout().lock();
    let word = format!("{:8}", finding.level.word());
    let coloured = output.is_terminal() && Environment::current().wants_colour();
    let word =
        if coloured { format!("\x1b[{}m{word}\x1b[0m", finding.level.colour()) } else { word };
    let indent = " ".repeat(INDENT);
    writeln!(output, "{subject:14} {word} {}", clean(&finding.what))?;
    if let Some(cure) = &finding.cure {
        writeln!(output, "{indent}-> {}", clean(cure))?;
    }
    for line in finding.detail.iter().flat_map(|detail| detail.trim_end().lines()) {
        writeln!(output, "{indent}   {}", clean(line))?;
    }
    Ok(())
}

/// `1 task was`, `2 tasks were`.
fn many(number: usize, what: &str, one: &str, more: &str) -> String {
    format!("{} {}", count(number as u64, what), if number == 1 { one } else { more })
}

/// Columns before what is found.
const INDENT: usize = 24;
