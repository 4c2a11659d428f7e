//! What is shown to a person alone: how far long work is, and a question before many tasks go.

use std::io::{self, IsTerminal, Write};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How far many tasks are, on standard error if that is a terminal.
pub(crate) fn progress(what: &'static str) -> ProgressBar {
    let target = if io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let bar = ProgressBar::with_draw_target(None, target).with_message(what);
    let style = ProgressStyle::with_template("{msg}: {human_pos} tasks, {per_sec}");
    style.map_or(bar.clone(), |style| bar.with_style(style))
}

/// Asks on the terminal whether something is to be done. `None`: there is nobody to ask.
pub(crate) fn confirm(question: &str) -> Option<bool> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return None;
    }
    let mut answer = String::new();
    let asked = write!(io::stderr(), "{question} [y/N] ").and_then(|()| io::stderr().flush());
    asked.and_then(|()| io::stdin().read_line(&mut answer)).ok()?;
    Some(matches!(answer.trim(), "y" | "Y" | "yes"))
}
