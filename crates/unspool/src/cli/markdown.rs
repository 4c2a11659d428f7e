//! The reference of the command line, made from what is parsed.

use std::fmt::Write;

use clap::{Arg, Args, Command, CommandFactory};

use super::Cli;

/// Which part of the reference.
#[derive(Debug, Args)]
pub(crate) struct HelpMarkdownOptions {
    /// The words of a command; without any, the names of all commands.
    pub(crate) command: Vec<String>,
}

/// The usage and the options of a command, as Markdown; `None` if there is none.
pub(crate) fn help_markdown(words: &[String]) -> Option<String> {
    let mut cli = Cli::command();
    cli.build();
    if words.is_empty() {
        let mut names = String::new();
        list(&cli, "", &mut names);
        return Some(names);
    }
    let mut command = &mut cli;
    for word in words {
        command = command.find_subcommand_mut(word)?;
    }
    let usage = command.render_usage().to_string();
    let usage = usage.strip_prefix("Usage: ").unwrap_or(&usage).trim();
    // A pad that clap puts between lines of one usage.
    let usage = usage.split('\n').map(str::trim).collect::<Vec<_>>().join("\n");
    let mut text = format!("```\n{usage}\n```\n\n| option | meaning |\n|---|---|\n");
    for arg in command.get_arguments().filter(|arg| !arg.is_hide_set() && arg.get_id() != "help") {
        // Writing into a String cannot fail.
        let _ = writeln!(text, "| {} | {} |", name(arg), meaning(arg));
    }
    Some(text)
}

/// Commands that are shown and have options, one in each line.
fn list(command: &Command, before: &str, names: &mut String) {
    let shown = |sub: &&Command| !sub.is_hide_set() && sub.get_name() != "help";
    for sub in command.get_subcommands().filter(shown) {
        let name = format!("{before}{}", sub.get_name());
        if sub.has_subcommands() {
            list(sub, &format!("{name} "), names);
        } else {
            let _ = writeln!(names, "{name}");
        }
    }
}

fn name(arg: &Arg) -> String {
    let takes_value = arg.get_action().takes_values();
    let value = || {
        let names = arg.get_value_names().map(|names| names.join(" ")).unwrap_or_default();
        if takes_value { names.replace('|', "\\|") } else { String::new() }
    };
    match arg.get_long() {
        None => format!("`{}`", value()),
        Some(long) if takes_value => format!("`--{long} {}`", value()),
        Some(long) => format!("`--{long}`"),
    }
}

fn meaning(arg: &Arg) -> String {
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let mut text = help.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|");
    let defaults = arg.get_default_values();
    if !defaults.is_empty() && arg.get_action().takes_values() {
        let all = defaults.iter().map(|value| value.to_string_lossy()).collect::<Vec<_>>();
        let _ = write!(text, "; `{}` by default", all.join(" "));
    }
    let possible = arg.get_possible_values();
    if !possible.is_empty() && arg.get_action().takes_values() {
        let all = possible.iter().map(|value| format!("`{}`", value.get_name()));
        let _ = write!(text, "; one of {}", all.collect::<Vec<_>>().join(", "));
    }
    text
}
