//! What child processes of these tests do.

use std::fs::File;
use std::path::Path;

use unspool_core::Durability;
use unspool_spool::{Claimed, Selection, SpoolDir, Verdict, change_adoption, claim, submit};
use unspool_sys::{clock, host};

use crate::child::{listen, role, say};
use crate::fixture::{chain, message};
use crate::os::{posix_unlock, try_posix_lock};

/// The entry of a child process. In an ordinary run of the tests there is no role to play.
#[test]
fn play() {
    let Some((role, arguments)) = role() else { return };
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match (role.as_str(), arguments.as_slice()) {
        ("open", [spool]) => open(spool),
        ("submit", [spool, level, pairs @ ..]) => submit_once(spool, level, pairs),
        ("submit-for-ever", [spool, level, bytes]) => submit_for_ever(spool, level, bytes),
        ("decide-for-ever", [spool]) => decide_for_ever(spool),
        ("claim", [spool, name]) => claim_once(spool, name),
        ("lock", [file]) => lock(file),
        ("hold", []) => hold(),
        other => panic!("no such role: {other:?}"),
    }
}

/// Opens a spool.
fn open(spool: &str) {
    say("begin");
    SpoolDir::open(Path::new(spool)).unwrap();
    say("ok");
}

/// Submits one task and says its path, or the error.
fn submit_once(spool: &str, level: &str, pairs: &[&str]) {
    let spool = SpoolDir::open(Path::new(spool)).unwrap();
    let pairs: Vec<(&str, &str)> = pairs.iter().filter_map(|pair| pair.split_once('=')).collect();
    let message = message(&pairs, b"body");
    let level: Durability = level.parse().unwrap();
    say("begin");
    match submit(&spool, &message, level) {
        Ok(path) => say(&format!("ok {}", path.display())),
        Err(error) => say(&format!("error {}", chain(&error))),
    }
}

/// Decides until it is killed. What it writes has as many rules as its age is higher.
fn decide_for_ever(spool: &str) {
    let spool = SpoolDir::open(Path::new(spool)).unwrap();
    let mut begun = false;
    loop {
        change_adoption(&spool, |record| {
            if record.rules.len() == 200 {
                record.age_ns -= 200;
                return record.decide(Selection::default(), Verdict::Hold);
            }
            record.age_ns += 1;
            let folder = Some(record.rules.len().to_string().into_bytes());
            record.decide(Selection { folder, function: None }, Verdict::Run)
        })
        .unwrap();
        if !std::mem::replace(&mut begun, true) {
            say("begun");
        }
    }
}

/// Submits until it is killed, and says the path of each task that was acknowledged.
fn submit_for_ever(spool: &str, level: &str, bytes: &str) {
    let spool = SpoolDir::open(Path::new(spool)).unwrap();
    let level: Durability = level.parse().unwrap();
    let body = vec![b'b'; bytes.parse().unwrap()];
    let mut message = message(&[("ud_spool_func", "f")], &body);
    for number in 0u64.. {
        message.pairs.truncate(1);
        message.pairs.push((b"number".to_vec(), number.to_string().into_bytes()));
        let path = submit(&spool, &message, level).unwrap();
        say(path.to_str().unwrap());
    }
}

/// Says its number, tries to claim a task, and says how that went.
fn claim_once(spool: &str, name: &str) {
    let spool = SpoolDir::open(Path::new(spool)).unwrap();
    say(&host::pid().to_string());
    let claimed = claim(spool.top(), name.as_bytes(), clock::now_ns()).unwrap();
    say(match claimed {
        Claimed::Task(_) => "task",
        Claimed::Gone => "gone",
        _ => "something else",
    });
}

/// Tries to take a POSIX lock as uWSGI does, again for each line that it hears, and says how that
/// went. A line after a success releases the lock.
fn lock(file: &str) {
    let file = File::options().read(true).write(true).open(file).unwrap();
    loop {
        if try_posix_lock(&file) {
            say("locked");
            if !listen() {
                return;
            }
            posix_unlock(&file);
            say("released");
        } else {
            say("refused");
        }
        if !listen() {
            return;
        }
    }
}

/// Holds the descriptor that it was started with as its standard error.
fn hold() {
    say("ready");
    listen();
}
