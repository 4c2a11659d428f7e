//! Records that a daemon reads: what was adopted, what is paused, and the minute that fired last. The
//! first byte says which.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use unspool_fuzz::memory::bounded;
use unspool_fuzz::scratch;
use unspool_spool::{
    Pause, PauseError, SchedulePlace, ScheduleStore, Scope, SpoolDir, change_adoption, pause,
    read_adoption, read_pauses,
};

/// A record is read into a buffer of its greatest length.
const BYTES_MAX: usize = 8 << 20;
const MINUTE: i64 = 29_000_000;

fuzz_target!(|data: &[u8]| {
    let Some((which, record)) = data.split_first() else { return };
    bounded(BYTES_MAX, || match which % 3 {
        0 => adopted(record),
        1 => paused(record),
        _ => fired(record),
    });
});

fn adopted(record: &[u8]) {
    let spool = spool();
    scratch::write("spool/.unspool/adopted", record);
    let Ok(read) = read_adoption(spool) else { return };
    let read = read.expect("there is one");
    let _ = read.verdict(b"5", b"f");
    assert_eq!(change_adoption(spool, |_| true).expect("it can be written"), read);
    let again = std::fs::read(scratch::folder().join("spool/.unspool/adopted"));
    assert_eq!(again.expect("it is there"), record, "nothing but what we write is read");
}

fn paused(record: &[u8]) {
    let spool = spool();
    scratch::write("spool/.unspool/paused", record);
    let Ok(read) = read_pauses(spool.view()) else { return };
    let scope = Scope::Function(b"f".to_vec());
    let known = read.get(&scope).cloned();
    match pause(spool, Pause::now(scope, "")) {
        Err(PauseError::TooMany) => return,
        replaced => assert_eq!(replaced.expect("it can be written"), known),
    }
    let again = read_pauses(spool.view()).expect("what we wrote can be read");
    assert_eq!(again.len(), read.len() + usize::from(known.is_none()), "nothing else is lost");
}

fn fired(record: &[u8]) {
    static STORE: OnceLock<ScheduleStore> = OnceLock::new();
    let store = STORE.get_or_init(|| {
        let place = SchedulePlace::in_spool(spool(), "key".to_owned());
        place.and_then(|place| place.open()).expect("a new folder")
    });
    scratch::write("spool/.unspool/schedule/key/fired", record);
    let first = store.take(MINUTE).expect("it can be read");
    let second = store.take(MINUTE).expect("it can be read");
    assert!(!second, "a minute is taken once");
    let later = store.take(MINUTE + 1).expect("it can be read");
    assert!(later || !first, "after one that was taken comes the next");
}

fn spool() -> &'static SpoolDir {
    static SPOOL: OnceLock<SpoolDir> = OnceLock::new();
    SPOOL.get_or_init(|| SpoolDir::open(&scratch::folder().join("spool")).expect("a new spool"))
}
