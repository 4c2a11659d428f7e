//! The steps of `hook-*` that processes of the application and the running daemon take; those around
//! the daemon's life are `setup`'s.

use std::path::Path;

use unspool_config::{HookAction, HookPhase, Hooks};
use unspool_supervisor::{HookStep, Moment};
use unspool_wire::control::Hook;

use crate::resolve::{ResolveError, text};
use crate::setup;

/// For the zygote, workers and mules.
pub(crate) fn of_application(hooks: &Hooks) -> Result<Vec<Hook>, ResolveError> {
    let phases = [HookPhase::PreApp, HookPhase::PostApp, HookPhase::PostFork, HookPhase::AsMule];
    let steps = phases.into_iter().flat_map(|phase| hooks.of(phase));
    steps
        .map(|hook| {
            let (action, arguments) = spelled(&hook.action)?;
            let shown = hook.shown.clone();
            Ok(Hook { phase: hook.phase.as_str(), action, arguments, shown })
        })
        .collect()
}

/// For the daemon, each time that the application is there.
pub(crate) fn of_supervisor(hooks: &Hooks) -> Vec<HookStep> {
    let steps = hooks.of(HookPhase::MasterStart).cloned();
    steps
        .map(|hook| match &hook.action {
            HookAction::Exec(command) => {
                HookStep::Exec { command: command.clone(), shown: hook.shown }
            }
            _ => HookStep::Act(Moment::new(move || setup::take_one(&hook))),
        })
        .collect()
}

fn spelled(action: &HookAction) -> Result<(&'static str, Vec<String>), ResolveError> {
    let one = |path: &Path| Ok::<_, ResolveError>(vec![text(path)?]);
    let two = |path: &Path, more: &str| Ok::<_, ResolveError>(vec![text(path)?, more.to_owned()]);
    Ok(match action {
        HookAction::Exec(command) => ("exec", vec![command.clone()]),
        HookAction::Print(text) => ("print", vec![text.clone()]),
        HookAction::Chdir(path) => ("chdir", one(path)?),
        HookAction::Write(path, text) => ("write", two(path, text)?),
        HookAction::Append(path, text) => ("append", two(path, text)?),
        HookAction::WriteFifo(path, text) => ("writefifo", two(path, text)?),
        HookAction::Create(path) => ("create", one(path)?),
        HookAction::Unlink(path) => ("unlink", one(path)?),
        HookAction::Mkdir(path) => ("mkdir", one(path)?),
        HookAction::Chmod(path, mode) => ("chmod", two(path, &format!("{mode:o}"))?),
        HookAction::Chown(path, user, group) => {
            ("chown", vec![text(path)?, user.clone(), group.clone()])
        }
        HookAction::PutEnv(name, value) => ("putenv", vec![name.clone(), value.clone()]),
        HookAction::Exit => ("exit", Vec::new()),
    })
}
