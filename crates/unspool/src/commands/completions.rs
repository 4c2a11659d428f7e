//! `unspool completions`, what its scripts ask, and the reference of the command line.

use unspool_config::Environment;
use unspool_core::limits::PEEK_BYTES;
use unspool_core::taskfile::peek;
use unspool_spool::{Listed, Shelves, list};

use crate::cli::{
    CompleteOptions, CompletionsOptions, HelpMarkdownOptions, SpoolArgs, candidates, help_markdown,
};
use crate::display::clean;
use crate::spools::{Source, view_those};
use crate::{exit, terminal};

/// Tasks that are looked at for a word, and that are offered.
const LOOKED_MAX: usize = 20_000;
const OFFERED_MAX: usize = 100;
/// Digits of the short form of an id.
const SHORT_DIGITS: usize = 8;

/// Prints the script of a shell.
pub(crate) fn script(options: &CompletionsOptions) -> u8 {
    print(options.shell.script())
}

/// Prints what may come next.
pub(crate) fn complete(options: CompleteOptions) -> u8 {
    let environment = Environment::current();
    let directory = environment.current_directory().map(std::borrow::ToOwned::to_owned);
    let home = environment.variable("HOME").filter(|home| !home.is_empty());
    let found = candidates(options, directory, home, tasks);
    print(&found.iter().map(|line| format!("{line}\n")).collect::<Vec<_>>().concat())
}

/// Prints the reference of a command as Markdown, or the names of all.
pub(crate) fn reference(options: &HelpMarkdownOptions) -> u8 {
    match help_markdown(&options.command) {
        Some(text) => print(&text),
        None => exit::NOTHING,
    }
}

fn print(text: &str) -> u8 {
    terminal::print(text, exit::OK)
}

/// Short ids that begin with what is typed, with function and folder. Whatever fails offers nothing.
fn tasks(args: &SpoolArgs, word: &str) -> Vec<(String, String)> {
    let spools =
        Source::of(args, "").and_then(Source::run_here).and_then(|(paths, _)| view_those(paths));
    let mut found = Vec::new();
    for spool in spools.map(|(views, _)| views).unwrap_or_default() {
        let files = list(&spool, Shelves::ALL).take(LOOKED_MAX).filter_map(Result::ok);
        let offered =
            files.filter_map(|file| of_file(&file)).filter(|(id, _)| id.starts_with(word));
        found.extend(offered.take(OFFERED_MAX - found.len()));
        if found.len() >= OFFERED_MAX {
            break;
        }
    }
    found
}

fn of_file(file: &Listed) -> Option<(String, String)> {
    use std::os::fd::AsFd;
    let open = file.open().ok()??;
    let mut head = [0u8; PEEK_BYTES];
    let got = unspool_sys::file::read_at(open.as_fd(), &mut head, 0).ok()?;
    let seen = peek(&head[..got])?;
    let id = seen.id?.to_string();
    let function = clean(&String::from_utf8_lossy(seen.function.unwrap_or(b"-")));
    let place = match file.whereabouts() {
        unspool_spool::Whereabouts::Pending(_) => "pending",
        unspool_spool::Whereabouts::Kept(kept, _) => kept.as_str(),
    };
    Some((id[id.len() - SHORT_DIGITS..].to_owned(), format!("{function} ({place})")))
}
