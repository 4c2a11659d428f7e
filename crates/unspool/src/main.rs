//! The command `unspool`. Parses, resolves, acts; the only crate that prints and exits.

mod application;
mod arguments;
mod bounds;
mod cli;
mod commands;
mod display;
mod exit;
mod hooks;
mod listening;
mod log_json;
mod log_pipe;
mod log_queue;
mod log_record;
mod log_rotation;
mod log_sink;
mod logging;
mod network;
mod programs;
mod relays;
mod remote;
mod resolve;
mod security;
mod serving;
mod setup;
mod spools;
mod tasks;
mod terminal;
mod web;
mod why;
mod workers;

use std::process::ExitCode;

fn main() -> ExitCode {
    let code = match cli::parse() {
        Ok(cli::Command::Init(options)) => commands::init::run(&options),
        Ok(cli::Command::Run { args }) => commands::run::run(args),
        Ok(cli::Command::Config { args }) => commands::config::run(args),
        Ok(cli::Command::Spool(options)) => commands::spool::run(&options),
        Ok(cli::Command::Ls(options)) => commands::ls::run(&options),
        Ok(cli::Command::Show(options)) => commands::show::run(&options),
        Ok(cli::Command::Stats(options)) => commands::stats::run(&options),
        Ok(cli::Command::Top(options)) => commands::top::run(&options),
        Ok(cli::Command::Cancel(options)) => commands::cancel::run(&options),
        Ok(cli::Command::Retry(options)) => commands::retry::run(&options),
        Ok(cli::Command::Mv(options)) => commands::mv::run(&options),
        Ok(cli::Command::Edit(options)) => commands::edit::run(&options),
        Ok(cli::Command::Purge(options)) => commands::purge::run(&options),
        Ok(cli::Command::Schedule(command)) => commands::schedule::run(&command),
        Ok(cli::Command::Logs(options)) => commands::logs::run(&options),
        Ok(cli::Command::Replay(options)) => commands::replay::run(&options),
        Ok(cli::Command::Why(options)) => commands::why::run(&options),
        Ok(cli::Command::Stack(options)) => commands::stack::run(&options),
        Ok(cli::Command::Pause(options)) => commands::pause::pause(&options),
        Ok(cli::Command::Resume(options)) => commands::pause::resume(&options),
        Ok(cli::Command::Drain(options)) => commands::drain::run(&options),
        Ok(cli::Command::Adopt(options)) => commands::adopt::run(&options),
        Ok(cli::Command::Doctor(options)) => commands::doctor::run(&options),
        Ok(cli::Command::Fsck(options)) => commands::fsck::run(&options),
        Ok(cli::Command::Completions(options)) => commands::completions::script(&options),
        Ok(cli::Command::Complete(options)) => commands::completions::complete(options),
        Ok(cli::Command::HelpMarkdown(options)) => commands::completions::reference(&options),
        Err(code) => code,
    };
    ExitCode::from(code)
}
