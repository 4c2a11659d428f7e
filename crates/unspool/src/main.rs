//! The command `unspool`. Parses, resolves, acts; the only crate that prints and exits.

mod cli;
mod commands;
mod exit;
mod log_pipe;
mod log_queue;
mod log_sink;
mod logging;
mod programs;
mod resolve;
mod security;
mod serving;
mod setup;
mod workers;

use std::process::ExitCode;

fn main() -> ExitCode {
    let code = match cli::parse() {
        Ok(cli::Command::Run { args }) => commands::run::run(args),
        Ok(cli::Command::Config { args }) => commands::config::run(args),
        Ok(cli::Command::Spool(options)) => commands::spool::run(&options),
        Ok(cli::Command::Adopt(options)) => commands::adopt::run(&options),
        Err(code) => code,
    };
    ExitCode::from(code)
}
