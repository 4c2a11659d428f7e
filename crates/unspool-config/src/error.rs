//! What makes a configuration unusable. Each text says what is wrong, where, and what to do.

use std::io;
use std::path::PathBuf;

use crate::origin::Origin;

/// The configuration cannot be used as it stands.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    #[error("{origin}: unknown option `{name}`{}", did_you_mean(nearest.as_deref()))]
    UnknownOption { name: String, origin: Origin, nearest: Option<String> },

    #[error(
        "{origin}: unknown option `{name}`, which `strict` forbids{}",
        strict_hint(name, nearest.as_deref())
    )]
    StrictUnknown { name: String, origin: Origin, nearest: Option<String> },

    #[error("command line: option `--{name}` is ambiguous; it could be {}", listed(candidates))]
    AmbiguousOption { name: String, candidates: Vec<String> },

    #[error("command line: option `{option}` needs a value; write `{option} VALUE`")]
    MissingArgument { option: String },

    #[error("command line: option `--{name}` takes no value; write it alone")]
    UnexpectedArgument { name: String },

    #[error(
        "command line: `{argument}` is neither an option nor a configuration file (ending in .ini, \
         .yaml, .yml, .xml or .json) nor an application (FILE.py, MODULE:CALLABLE)"
    )]
    UnusableArgument { argument: String },

    #[error(
        "command line: `--{name}` is a command of uWSGI, not a setting, and `unspool run` does not \
         have it; see `unspool --help`"
    )]
    Command { name: String },

    #[error("{origin}: the configuration asks to stop here (`exit = {value}`)")]
    ExitAsked { value: String, origin: Origin },

    #[error("command line: argument `{shown}` is not valid UTF-8")]
    ArgumentNotUtf8 { shown: String },

    #[error("environment variable {variable} is not valid UTF-8; unset it or correct it")]
    VariableNotUtf8 { variable: String },

    #[error("the current directory cannot be determined; start from one that exists")]
    NoCurrentDirectory,

    #[error("{origin}: failed to read `{}`", path.display())]
    ReadFile { origin: Origin, path: PathBuf, source: io::Error },

    #[error(
        "{origin}: `{}` is larger than {bytes_max} bytes, too large for options",
        path.display()
    )]
    FileTooLarge { origin: Origin, path: PathBuf, bytes_max: u64 },

    #[error("{}:{line}: not valid UTF-8; save the file as UTF-8", path.display())]
    FileNotUtf8 { path: PathBuf, line: usize },

    #[error("{origin}: cannot read options from `{target}`: {problem}")]
    UnsupportedSource { origin: Origin, target: String, problem: &'static str },

    #[error("{origin}: {problem}")]
    Syntax { origin: Origin, problem: String },

    #[error(
        "{origin}: this file is already being read: {}; remove one of these lines",
        chain.join(" -> ")
    )]
    IncludeCycle { origin: Origin, chain: Vec<String> },

    #[error("{origin}: files include one another more than {depth_max} deep; flatten them")]
    IncludeTooDeep { origin: Origin, depth_max: usize },

    #[error("{origin}: more than {options_max} options; shorten the loops or the files")]
    TooManyOptions { origin: Origin, options_max: usize },

    #[error("{origin}: the options grow past {bytes_max} bytes; shorten the loops or the values")]
    OptionsTooLong { origin: Origin, bytes_max: usize },

    #[error("{origin}: more than {files_max} files; name each file once")]
    TooManyFiles { origin: Origin, files_max: usize },

    #[error("{origin}: the value of `{name}` grows past {bytes_max} bytes when it is expanded")]
    ValueTooLong { name: String, origin: Origin, bytes_max: usize },

    #[error("{origin}: `{option} = {value}` is not of the form `{option} = name=value`")]
    NotAnAssignment { option: String, value: String, origin: Origin },

    #[error(
        "{origin}: `{name}` cannot be a placeholder because it is an option; write `{name} = ...` \
         or choose another name"
    )]
    PlaceholderIsOption { name: String, origin: Origin },

    #[error(
        "{origin}: `{name}` inside the block opened at {opened}: blocks do not nest; close that \
         one with `end` first"
    )]
    NestedBlock { name: String, origin: Origin, opened: Origin },

    #[error("{origin}: `{name} = {value}`: {problem}")]
    InvalidValue { name: String, value: String, origin: Origin, problem: String },
}

fn strict_hint(name: &str, nearest: Option<&str>) -> String {
    match nearest {
        Some(_) => did_you_mean(nearest),
        None => format!("; for a placeholder write `set-placeholder = {name}=...`"),
    }
}

fn listed(names: &[String]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`--{name}`")).collect();
    quoted.join(", ")
}

pub(crate) fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default()
}
