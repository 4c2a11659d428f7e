//! Steps of `hook-*` and `exec-*`.

use unspool_config::{Hook, HookAction, HookPhase, TouchAction};

use crate::load_ini;

fn steps(lines: &str, phase: HookPhase) -> Vec<HookAction> {
    let hooks = load_ini(lines).unwrap().config.hooks;
    hooks.of(phase).map(|Hook { action, .. }| action.clone()).collect()
}

fn refused(line: &str, reason: &str) {
    let message = load_ini(line).unwrap_err().to_string();
    assert!(message.contains(reason), "{message}");
}

#[test]
fn those_of_exec_come_behind() {
    let lines = "exec-as-user = a $(b) # c\nhook-as-user = exec:d\nhook-asap = exit:\n";
    let exec = |command: &str| HookAction::Exec(command.to_owned());
    assert_eq!(steps(lines, HookPhase::AsUser), [exec("d"), exec("a $(b) # c")]);
    assert_eq!(steps(lines, HookPhase::Asap), [HookAction::Exit]);
    assert_eq!(steps(lines, HookPhase::AtExit), []);
}

#[test]
fn actions() {
    let lines = "hook-asap = write:a  b\nhook-asap = chmod:a 640\nhook-asap = chown:a b c\n\
                 hook-asap = putenv:A=b=c\nhook-asap = cd:/x y\n";
    let expected = [
        HookAction::Write("a".into(), " b".to_owned()),
        HookAction::Chmod("a".into(), 0o640),
        HookAction::Chown("a".into(), "b".to_owned(), "c".to_owned()),
        HookAction::PutEnv("A".to_owned(), "b=c".to_owned()),
        HookAction::Chdir("/x y".into()),
    ];
    assert_eq!(steps(lines, HookPhase::Asap), expected);
}

#[test]
fn what_is_wrong_is_said() {
    refused("hook-asap = exec\n", "write ACTION:ARGUMENTS, as in `exec:echo hello`");
    refused("hook-asap = nope:a\n", "there is no action `nope`; those are exec, print,");
    refused("hook-asap = mkdir:\n", "the path is missing");
    refused("hook-asap = write:a\n", "write write:FILE TEXT");
    refused("hook-asap = chmod:a 9\n", "this is no mode");
    refused("hook-asap = chown:a b\n", "write chown:FILE USER GROUP");
    refused("hook-asap = putenv:a\n", "write putenv:NAME=TEXT");
    refused("hook-touch = a\n", "write `FILE exec:COMMAND`");
}

#[test]
fn actions_of_uwsgi_alone_have_no_effect() {
    let loaded = load_ini("hook-asap = mount:a b\nhook-touch = a write:b c\n").unwrap();
    assert_eq!(loaded.config.hooks.of(HookPhase::Asap).count(), 0);
    assert!(loaded.config.watched.touches.is_empty());
    let told: Vec<_> = loaded.notices.iter().map(ToString::to_string).collect();
    assert!(
        told[0].contains("`hook-asap` has no effect here: unspool has no such action; have `exec:")
    );
    assert!(told[1].contains("write `FILE exec:COMMAND`"), "{told:?}");
    // What it asks for is so anyway.
    let stops = "hook-master-start = unix_signal:15 gracefully_kill_them_all\n";
    assert!(load_ini(stops).unwrap().notices.is_empty());
}

#[test]
fn a_touch_runs_a_command() {
    let watched = load_ini("hook-touch = /a exec:b $(c) ; d\n").unwrap().config.watched;
    assert_eq!(watched.touches[0].action, TouchAction::Exec("b $(c) ; d".to_owned()));
}
