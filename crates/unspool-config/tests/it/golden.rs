//! Files whose `uwsgi.opt` was recorded from uWSGI 2.0.31 must give the same here.

use std::path::Path;

use crate::load_with;

fn check(name: &str) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden");
    let variables = [("GOLDEN_HOME", "/golden"), ("HOME", "/root")];
    let loaded = load_with(&directory, &format!("--ini {name}.ini"), &variables).unwrap();
    let options = loaded.config.opt();
    let mut ours: Vec<String> = options
        .iter()
        .map(|(name, value)| format!("{name}={}", value.as_deref().unwrap_or_default()))
        .map(|line| line.replace('\n', "\\n"))
        .collect();
    let recorded = std::fs::read_to_string(directory.join(format!("{name}.opt"))).unwrap();
    let mut recorded: Vec<&str> = recorded.lines().collect();
    ours.sort();
    recorded.sort_unstable();
    assert_eq!(ours, recorded);
}

#[test]
fn expressions() {
    check("expressions");
}

#[test]
fn logic() {
    check("logic");
}

#[test]
fn sections() {
    check("sections");
}
