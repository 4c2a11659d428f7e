//! Each of uWSGI's options: known, accepted under `strict`, and told what becomes of it.

use std::path::Path;

use unspool_config::{ConfigError, Effect, Notice, effect};

use crate::load_ini;

/// The names of uWSGI 2.0.31's table.
fn names() -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/options.tsv");
    let table = std::fs::read_to_string(path).unwrap();
    let rows = table.lines().filter(|line| !line.starts_with('#'));
    rows.map(|row| row.split('\t').next().unwrap().to_owned()).collect()
}

#[test]
fn strict_accepts_each() {
    let names = names();
    assert_eq!(names.len(), 943);
    for name in &names {
        // Whatever the value is worth to the option, its name is not what is wrong.
        let error = load_ini(&format!("strict = true\n{name} = 1\n")).err();
        let unknown = matches!(
            error,
            Some(ConfigError::StrictUnknown { .. } | ConfigError::UnknownOption { .. })
        );
        assert!(!unknown, "{name}: {error:?}");
    }
}

#[test]
fn each_that_is_not_carried_out_is_named_once() {
    for name in names() {
        let Ok(loaded) = load_ini(&format!("{name} = 1\n{name} = 1\n")) else { continue };
        let mut not_yet = Vec::new();
        let mut ignored = Vec::new();
        for notice in &loaded.notices {
            match notice {
                Notice::NotYetInEffect { names } => not_yet.extend_from_slice(names),
                Notice::Ignored { names } => ignored.extend_from_slice(names),
                _ => {}
            }
        }
        let once = std::slice::from_ref(&name);
        assert_eq!(not_yet == once, effect(&name) == Effect::NotYet, "{name}");
        assert_eq!(ignored == once, effect(&name) == Effect::None, "{name}");
    }
}

#[test]
fn a_misspelt_one_is_found() {
    let mut tried = 0;
    for name in names().iter().filter(|name| name.len() >= 8) {
        let (head, tail) = name.split_at(name.len() / 2);
        // One letter twice.
        let wrong = format!("{head}{}{tail}", head.chars().last().unwrap());
        if effect(&wrong) != Effect::Unknown {
            continue;
        }
        tried += 1;
        let Err(ConfigError::StrictUnknown { nearest, .. }) =
            load_ini(&format!("strict = true\n{wrong} = 1\n"))
        else {
            panic!("{wrong} is taken");
        };
        // There may be a second one as near.
        assert!(nearest.is_some(), "{wrong}");
    }
    assert!(tried > 600, "{tried}");
}
