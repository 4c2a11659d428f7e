//! The application: whether it can be imported, and what it registers.

use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use unspool_config::{Config, without_secrets};
use unspool_sys::process::Child;

use super::{Finding, Findings, Level};
use crate::application::Application;
use crate::display::shell_path;
use crate::resolve;

/// How long an import may take.
const IMPORT_WAIT: Duration = Duration::from_mins(2);
/// Functions that are named.
const FUNCTIONS_SHOWN: usize = 20;

/// What the application's process says of itself.
#[derive(Debug, Deserialize)]
struct Told {
    python: String,
    unspool: String,
    functions: Vec<String>,
    handler: bool,
    failures: Vec<Failure>,
}

#[derive(Debug, Deserialize)]
struct Failure {
    target: String,
    traceback: String,
}

/// `file` is that of the configuration.
pub(super) fn look(config: &Config, file: Option<&Path>) -> Findings {
    let mut found = Findings::of("application");
    let application = match Application::of(config) {
        Ok(application) => application,
        Err(error) => {
            found.error(&error);
            return found;
        }
    };
    if !application.imports_anything() {
        if resolve::spool_paths(config).is_empty() {
            found.fine("nothing is imported, and no task runs here");
        } else {
            found.problem(
                "nothing is imported, so that no task has a function",
                "name the module that has them: `spooler-import = MODULE`",
            );
        }
        return found;
    }
    match import(&application) {
        Err(error) => found.error(error.as_ref()),
        Ok(None) => found.problem(
            format!("it is not imported after {} s", IMPORT_WAIT.as_secs()),
            match file {
                Some(file) => format!(
                    "`unspool replay --config {} TASK` imports it in the foreground: Ctrl-C shows what it \
                     waits for",
                    shell_path(file)
                ),
                None => "an import must end".to_owned(),
            },
        ),
        Ok(Some(output)) => tell(&mut found, &output),
    }
    found
}

/// Imports it in a process of its own; `None` if that takes too long.
fn import(application: &Application) -> Result<Option<Output>, Box<dyn std::error::Error>> {
    let (mut program, _document) = application.program(&json!({ "deed": "look" }))?;
    program.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let process = program.spawn().map_err(|error| application.not_started(error))?;
    let handle = Child::open(process.id())?;
    let (sender, receiver) = sync_channel(1);
    std::thread::spawn(move || {
        let _ = sender.send(process.wait_with_output());
    });
    if let Ok(output) = receiver.recv_timeout(IMPORT_WAIT) {
        return Ok(Some(output?));
    }
    handle.kill();
    Ok(None)
}

fn tell(found: &mut Findings, output: &Output) {
    let last = output.stdout.rsplit(|byte| *byte == b'\n').find(|line| !line.is_empty());
    let told: Option<Told> = last.and_then(|line| serde_json::from_slice(line).ok());
    let Some(told) = told else {
        found.found.push(Finding {
            level: Level::Problem,
            what: format!("its process ended ({}) while it imported it", output.status),
            cure: Some("see what it says; an import must not end the process".to_owned()),
            detail: Some(without_secrets(&String::from_utf8_lossy(&output.stderr))),
        });
        return;
    };
    let ours = env!("CARGO_PKG_VERSION");
    if told.unspool != ours {
        found.problem(
            format!("its Python has unspool {}, and this is {ours}", told.unspool),
            "install the same version of both",
        );
    }
    for failure in &told.failures {
        found.found.push(Finding {
            level: Level::Problem,
            what: format!("`{}` cannot be imported", failure.target),
            cure: Some(without_secrets(&cure_of(&failure.traceback))),
            detail: Some(without_secrets(&failure.traceback)),
        });
    }
    if !told.failures.is_empty() {
        return;
    }
    if told.functions.is_empty() && !told.handler {
        found.problem(
            "it registers no function for tasks, and no handler",
            "decorate functions with `uwsgidecorators.spool` in a module that is imported, or assign \
             `uwsgi.spooler`",
        );
    } else {
        let first = told.functions.iter().take(FUNCTIONS_SHOWN).map(String::as_str);
        let mut names = first.collect::<Vec<_>>().join(", ");
        if told.functions.len() > FUNCTIONS_SHOWN {
            names.push_str(", ...");
        }
        let what = if names.is_empty() { "a handler of its own".to_owned() } else { names };
        found.fine(format!("imported by Python {}: {what}", told.python));
    }
}

fn cure_of(traceback: &str) -> String {
    let last = traceback.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
    if last.starts_with("ModuleNotFoundError") {
        "install what is missing in the environment of the workers (`virtualenv`), or name where it is \
         (`pythonpath`, `chdir`)"
            .to_owned()
    } else {
        "mend what the traceback shows".to_owned()
    }
}
