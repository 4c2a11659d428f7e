//! `unspool config`: what `unspool run` with the same arguments would take for its configuration.
//!
//! It goes through the same code as `run` up to the point where that would create a spool or start
//! a process, and changes nothing. Values that look like secrets are hidden unless asked for.

use std::ffi::OsString;
use std::fmt::Write as _;

use serde_json::{Value, json};
use unspool_config::{
    CONFIG_VARIABLE, Config, ConfigError, Environment, Loaded, Notice, Origin, ProducerSource,
    Setting, Sources, load, load_file, spool_from_environment,
};

use crate::cli;
use crate::display::{clean, json_block};
use crate::logging::{complain, complain_text, with_causes};
use crate::{exit, resolve, setup, terminal};

const USAGE: &str = "\
Show what `unspool run` with the same arguments would take for its configuration.

Usage: unspool config [--json] [--show-secrets] [CONFIG] [OPTION]...

CONFIG and the options are those of `unspool run`; without any, UNSPOOL_CONFIG names the file.
  --json          for programs
  --show-secrets  do not hide values of variables and of what looks like a secret

Exit status: 0 if `unspool run` can use it, 2 if not.
";

/// What the command was asked for.
struct Asked {
    json: bool,
    secrets: bool,
    args: Vec<OsString>,
}

/// Shows the configuration.
pub(crate) fn run(args: Vec<OsString>) -> u8 {
    if args.iter().any(|arg| arg == "--help" || arg == "-h") {
        return terminal::print(USAGE, exit::OK);
    }
    let mut asked = Asked { json: false, secrets: false, args: Vec::new() };
    for arg in cli::own_log_format(args) {
        match arg.to_str() {
            Some("--json") if !asked.json => asked.json = true,
            Some("--show-secrets") => asked.secrets = true,
            _ => asked.args.push(arg),
        }
    }
    let loaded = match read(&asked) {
        Ok(loaded) => loaded,
        Err(error) => {
            complain(&error);
            if !asked.json {
                return exit::USAGE;
            }
            let object = json!({"usable": false, "error": with_causes(&error)});
            return terminal::print(&json_block(&object), exit::USAGE);
        }
    };
    let problem = problem_of(&loaded.config);
    let text = if asked.json {
        json_block(&as_json(&loaded, problem.as_deref(), asked.secrets))
    } else {
        as_text(&loaded, asked.secrets)
    };
    let shown = terminal::print(&text, exit::OK);
    match problem {
        Some(problem) => {
            complain_text(&problem);
            exit::USAGE
        }
        None => shown,
    }
}

/// What keeps `unspool run` from using this, as far as that can be known without doing it.
fn problem_of(config: &Config) -> Option<String> {
    let resolved = resolve::check(config).err().map(|error| with_causes(&error));
    // Who asks need not be root, as the daemon may.
    let wrong = || setup::check(&config.daemon).err().filter(|error| !error.is_about_root());
    resolved.or_else(|| wrong().map(|error| with_causes(&error)))
}

fn read(asked: &Asked) -> Result<Loaded, ConfigError> {
    let environment = Environment::current();
    if asked.args.is_empty()
        && let Some(ProducerSource::Config(file)) = spool_from_environment(&environment)
    {
        let origin = Origin::Environment { variable: CONFIG_VARIABLE.into() };
        return load_file(&file, &origin, &environment);
    }
    load(&Sources { args: asked.args.clone(), environment })
}

fn value_of(setting: &Setting, secrets: bool) -> String {
    if secrets { setting.value.clone() } else { setting.shown() }
}

/// A line for each setting: name, value, place and, if it is not carried out, what becomes of it.
fn as_text(loaded: &Loaded, secrets: bool) -> String {
    let rows: Vec<[String; 3]> = loaded
        .settings
        .iter()
        .map(|setting| {
            let value = value_of(setting, secrets).escape_debug().to_string();
            let origin = setting.origin.as_ref().map_or("default".to_owned(), Origin::to_string);
            let effect = setting.effect.as_str();
            let place = if effect == "in effect" { origin } else { format!("{origin}; {effect}") };
            [setting.name.clone(), value.replace("\\'", "'").replace("\\\"", "\""), place]
        })
        .collect();
    let width = |column: usize, most: usize| {
        rows.iter().map(|row| row[column].chars().count()).filter(|&w| w <= most).max()
    };
    let (names, values) = (width(0, 32).unwrap_or(0), width(1, 48).unwrap_or(0));
    let mut text = String::new();
    for path in &loaded.config.config_files {
        let _ = writeln!(text, "# read: {}", path.display());
    }
    for [name, value, place] in &rows {
        let _ = writeln!(text, "{name:names$} = {value:values$}  # {place}");
    }
    for notice in &loaded.notices {
        let word = if matches!(notice, Notice::Printed { .. }) { "print" } else { "warning" };
        let _ = writeln!(text, "# {word}: {}", clean(&notice.to_string()));
    }
    text
}

fn as_json(loaded: &Loaded, problem: Option<&str>, secrets: bool) -> Value {
    let settings = loaded.settings.iter().map(|setting| {
        json!({
            "name": setting.name,
            "value": value_of(setting, secrets),
            "default": setting.origin.is_none(),
            "origin": setting.origin.as_ref().map(origin),
            "effect": setting.effect.as_str(),
        })
    });
    let options = loaded.config.entries.iter().map(|entry| {
        let value = if secrets { entry.value.clone() } else { entry.shown() };
        json!({
            "name": entry.name,
            "value": value,
            "origin": origin(&entry.origin),
            "effect": unspool_config::effect(&entry.name).as_str(),
        })
    });
    let notices = loaded.notices.iter().map(|notice| match notice {
        Notice::Printed { text } => json!({"print": text}),
        notice => json!({"warning": notice.to_string()}),
    });
    json!({
        "usable": problem.is_none(),
        "error": problem,
        "files": loaded.config.config_files,
        "start_directory": loaded.config.start_directory,
        "settings": settings.collect::<Vec<_>>(),
        "options": options.collect::<Vec<_>>(),
        "notices": notices.collect::<Vec<_>>(),
    })
}

fn origin(origin: &Origin) -> Value {
    match origin {
        Origin::File { path, line } => json!({"file": &**path, "line": line}),
        Origin::Environment { variable } => json!({"variable": &**variable}),
        _ => json!({"command_line": true}),
    }
}
