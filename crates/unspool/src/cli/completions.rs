//! Completions: what a shell is told may come next, and the scripts with which it asks.
//!
//! The scripts call the program for each word, so that they never get old, and that ids of tasks can be
//! offered.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::OnceLock;

use clap::{Args, CommandFactory, ValueEnum};
use clap_complete::CompletionCandidate;
use clap_complete::engine::{ArgValueCompleter, complete};

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
    /// The word that is typed, from 0.
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
    local IFS=$'\n'
    COMPREPLY=($("${COMP_WORDS[0]}" complete bash "$COMP_CWORD" -- "${COMP_WORDS[@]}" 2>/dev/null))
    if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == */ ]]; then
        compopt -o nospace 2>/dev/null
    fi
}
complete -o nosort -F _unspool unspool
"#;

const ZSH: &str = r#"#compdef unspool
# Completions of unspool for zsh: eval "$(unspool completions zsh)", or as _unspool in $fpath
_unspool() {
    local -a found
    found=("${(@f)$("${words[1]}" complete zsh $((CURRENT - 1)) -- "${words[@]}" 2>/dev/null)}")
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
    set -l words (commandline --current-process --tokenize --cut-at-cursor) (commandline --current-token)
    unspool complete fish (math (count $words) - 1) -- $words 2>/dev/null
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
    fn line(self, candidate: &CompletionCandidate) -> String {
        let value = candidate.get_value().to_string_lossy();
        let help = candidate.get_help().map(ToString::to_string).unwrap_or_default();
        let help = help.lines().next().unwrap_or_default();
        match self {
            Self::Zsh if !help.is_empty() => format!("{}:{help}", value.replace(':', "\\:")),
            Self::Zsh => value.replace(':', "\\:"),
            Self::Fish if !help.is_empty() => format!("{value}\t{help}"),
            Self::Bash | Self::Fish => value.into_owned(),
        }
    }
}

/// Looks for tasks in the spools of these options: their ids, and what is said of each.
pub(crate) type LookForTasks = fn(&SpoolArgs, &str) -> Vec<(String, String)>;

/// How tasks are looked for, and where.
static TASKS: OnceLock<(LookForTasks, SpoolArgs)> = OnceLock::new();

/// What may stand where a shell asks, a line each.
pub(crate) fn candidates(
    options: CompleteOptions,
    directory: Option<PathBuf>,
    look: LookForTasks,
) -> Vec<String> {
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
    let found = found.unwrap_or_default().into_iter();
    found.filter(|one| !one.is_hide_set()).map(|one| options.shell.line(&one)).collect()
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
