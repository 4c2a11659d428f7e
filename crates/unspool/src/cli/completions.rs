//! Completions: what a shell is told may come next, and the scripts with which it asks.
//!
//! The scripts call the program for each word, so that they never get old, and that ids of tasks can be
//! offered.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use clap::{Args, CommandFactory, ValueEnum};
use clap_complete::CompletionCandidate;
use clap_complete::engine::{ArgValueCompleter, complete};

use super::typed_line::TypedLine;
use super::{Cli, SpoolArgs};

/// Options of `unspool completions`.
#[derive(Debug, Args)]
pub(crate) struct CompletionsOptions {
    /// The shell.
    pub(crate) shell: Shell,
}

/// What a shell asks.
#[derive(Debug, Args)]
pub(crate) struct CompleteOptions {
    /// The shell.
    pub(crate) shell: Shell,
    /// What is typed of the command so far, with its quotes, instead of words.
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) line: Option<OsString>,
    /// Characters at which the shell begins another word in the midst of one.
    #[arg(long, allow_hyphen_values = true, default_value = "")]
    pub(crate) breaks: OsString,
    /// The word that is typed, from 0.
    #[arg(default_value_t = 0)]
    pub(crate) index: usize,
    /// All words.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) words: Vec<OsString>,
}

/// A shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shell {
    /// bash 4.4 or later.
    Bash,
    /// zsh.
    Zsh,
    /// fish.
    Fish,
}

const BASH: &str = r#"# Completions of unspool for bash: eval "$(unspool completions bash)"
_unspool() {
    local program=${COMP_WORDS[0]/#~\//$HOME/} one
    type -P -- "$program" >/dev/null || program=unspool
    # Words as bash has them are parts of words, and quoted: the line has it all. What is told first is
    # whether the rest are files, which bash quotes then.
    mapfile -t COMPREPLY < <("$program" complete bash --breaks "$COMP_WORDBREAKS" \
        --line "${COMP_LINE:0:COMP_POINT}" 2>/dev/null)
    one=${COMPREPLY[0]}
    COMPREPLY=("${COMPREPLY[@]:1}")
    [[ $one == files ]] || return 0
    # It adds the slash of a folder itself, within the quotes.
    COMPREPLY=("${COMPREPLY[@]%/}")
    compopt -o filenames 2>/dev/null
}
complete -o nosort -F _unspool unspool
"#;

const ZSH: &str = r#"#compdef unspool
# Completions of unspool for zsh: eval "$(unspool completions zsh)", or as _unspool in $fpath
_unspool() {
    local -a found folders
    found=("${(@f)$("${~words[1]}" complete zsh --line "${(j: :)words[1,CURRENT]}" 2>/dev/null)}")
    [[ -n "${found[*]}" ]] || return 1
    # What stands for the home folder stays as it is typed.
    [[ $PREFIX == '~/'* ]] && compset -P '\~/' && found=("${(@)found#\~/}")
    folders=("${(@M)found:#*/}")
    found=("${(@)found:#*/}")
    [[ -n "${folders[*]}" ]] && compadd -f -S '' -a folders
    [[ -n "${found[*]}" ]] && _describe -V values found
}
if [[ "${funcstack[1]}" = _unspool ]]; then
    _unspool "$@"
else
    compdef _unspool unspool
fi
"#;

const FISH: &str = r"# Completions of unspool for fish: unspool completions fish | source
function __unspool_complete
    unspool complete fish --line (commandline --current-process --cut-at-cursor | string collect) 2>/dev/null
end
complete --command unspool --no-files --keep-order --arguments '(__unspool_complete)'
";

impl Shell {
    /// The script that makes it ask.
    pub(crate) fn script(self) -> &'static str {
        match self {
            Self::Bash => BASH,
            Self::Zsh => ZSH,
            Self::Fish => FISH,
        }
    }

    /// A candidate as it reads it.
    fn line(self, value: &str, candidate: &CompletionCandidate) -> String {
        let help = candidate.get_help().map(ToString::to_string).unwrap_or_default();
        let help = help.lines().next().unwrap_or_default();
        match self {
            Self::Zsh if !help.is_empty() => format!("{}:{help}", value.replace(':', "\\:")),
            Self::Zsh => value.replace(':', "\\:"),
            Self::Fish if !help.is_empty() => format!("{value}\t{help}"),
            Self::Bash | Self::Fish => value.to_owned(),
        }
    }
}

/// Looks for tasks in the spools of these options: their ids, and what is said of each.
pub(crate) type LookForTasks = fn(&SpoolArgs, &str) -> Vec<(String, String)>;

/// How tasks are looked for, and where.
static TASKS: OnceLock<(LookForTasks, SpoolArgs)> = OnceLock::new();

/// What may stand where a shell asks, a line each.
pub(crate) fn candidates(
    mut options: CompleteOptions,
    directory: Option<PathBuf>,
    home: Option<&OsStr>,
    look: LookForTasks,
) -> Vec<String> {
    let typed = options.line.take().map(|line| {
        let breaks = (options.shell == Shell::Bash).then_some(options.breaks.as_bytes());
        TypedLine::parse(line.as_bytes(), breaks, home.map(OsStr::as_bytes))
    });
    if let Some(typed) = &typed {
        options.words = typed.words().map(|word| OsStr::from_bytes(word).to_owned()).collect();
        options.index = options.words.len().saturating_sub(1);
    }
    let named = |option: &str| -> Option<PathBuf> {
        let mut words = options.words.iter();
        while let Some(word) = words.next() {
            match word.as_bytes().strip_prefix(option.as_bytes()) {
                Some([]) => return words.next().map(PathBuf::from),
                Some([b'=', value @ ..]) => return Some(OsStr::from_bytes(value).into()),
                _ => {}
            }
        }
        None
    };
    let _ = TASKS.set((look, SpoolArgs { spooler: named("--spooler"), config: named("--config") }));
    let mut command = Cli::command();
    let found = complete(&mut command, options.words, options.index, directory.as_deref());
    let found: Vec<CompletionCandidate> =
        found.unwrap_or_default().into_iter().filter(|one| !one.is_hide_set()).collect();
    let is_there = |one: &CompletionCandidate| is_file(one.get_value(), directory.as_deref());
    let kind = match &typed {
        Some(_) if options.shell != Shell::Bash => None,
        None => None,
        Some(typed) if typed.words().count() > 2 && found.iter().all(is_there) => Some("files"),
        Some(_) => Some("words"),
    };
    let lines = found.iter().filter_map(|one| {
        let value = one.get_value().to_string_lossy();
        let value = match &typed {
            Some(typed) => typed.offered(&value, home.map(OsStr::as_bytes))?,
            None => value.into_owned(),
        };
        // A name with a line end in it would be two.
        (!value.contains('\n')).then(|| options.shell.line(&value, one))
    });
    kind.map(str::to_owned).into_iter().chain(lines).collect()
}

/// Whether it is the name of a file, alone or behind `--option=`.
fn is_file(word: &OsStr, directory: Option<&Path>) -> bool {
    let bytes = word.as_bytes();
    let value = match bytes.iter().position(|byte| *byte == b'=') {
        Some(at) if bytes.starts_with(b"--") => &bytes[at + 1..],
        _ => bytes,
    };
    let path = Path::new(OsStr::from_bytes(value));
    directory.map_or_else(|| path.to_owned(), |directory| directory.join(path)).exists()
}

/// Offers the ids of tasks.
pub(super) fn of_tasks() -> ArgValueCompleter {
    ArgValueCompleter::new(|word: &OsStr| {
        let (Some((look, args)), Some(word)) = (TASKS.get(), word.to_str()) else {
            return Vec::new();
        };
        let found = look(args, word).into_iter();
        found.map(|(id, what)| CompletionCandidate::new(id).help(Some(what.into()))).collect()
    })
}
