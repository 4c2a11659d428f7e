//! The record of the first start: which files it means, who makes it, and what a crash leaves.

use unspool_core::Priority;
use unspool_spool::{
    AdoptError, Adoption, Selection, Verdict, begin_adoption, change_adoption, look, read_adoption,
    survey,
};
use unspool_sys::host;

use crate::child::Child;
use crate::fixture::{FOREIGN, Fixture};

const SINCE_NS: i64 = 1_000_000_000_000;
const AGE_NS: i64 = 100_000_000_000;
const DECIDERS: u64 = 40;

fn record(ordered: bool) -> Adoption {
    let (since_ns, age_ns, default) = (SINCE_NS, AGE_NS, Verdict::Undecided);
    Adoption { since_ns, ordered, age_ns, default, rules: Vec::new() }
}

fn select(folder: Option<&str>, function: Option<&str>) -> Selection {
    let bytes = |name: Option<&str>| name.map(|name| name.as_bytes().to_vec());
    Selection { folder: bytes(folder), function: bytes(function) }
}

#[test]
fn what_the_old_configuration_would_have_run_is_not_suspect() {
    let (overdue, due) = (SINCE_NS - AGE_NS - 1, SINCE_NS - AGE_NS);
    for (folder, submitted_ns, due_ns, unordered, ordered) in [
        ("", overdue, due, false, false),
        ("", overdue, overdue, true, true),
        ("", SINCE_NS + 1, overdue, false, false),
        ("5", SINCE_NS, due, true, false),
        ("007", SINCE_NS, due, true, false),
        ("5", SINCE_NS, overdue, true, true),
        ("5", SINCE_NS, i64::MAX, true, false),
        ("5x", SINCE_NS, due, true, true),
        ("mail", SINCE_NS, i64::MAX, true, true),
        ("mail", SINCE_NS + 1, overdue, false, false),
    ] {
        let priority = (!folder.is_empty()).then(|| Priority::new(folder.as_bytes()).unwrap());
        for (option, expected) in [(false, unordered), (true, ordered)] {
            let suspect = record(option).suspects(priority.as_ref(), submitted_ns, due_ns);
            assert_eq!(suspect, expected, "{folder} {submitted_ns} {due_ns} ordered={option}");
        }
    }
}

#[test]
fn the_last_decision_about_a_task_counts() {
    let mut record = record(false);
    assert!(record.decide(select(Some("mail"), None), Verdict::Run));
    assert!(record.decide(select(None, Some("f")), Verdict::Hold));
    assert_eq!(record.verdict(b"mail", b"g"), Verdict::Run);
    assert_eq!(record.verdict(b"mail", b"f"), Verdict::Hold);
    assert_eq!(record.verdict(b"5", b"g"), Verdict::Undecided);
    assert!(record.decide(select(Some("mail"), None), Verdict::Run));
    assert_eq!((record.verdict(b"mail", b"f"), record.rules.len()), (Verdict::Run, 2));
    assert!(record.decide(Selection::default(), Verdict::Run));
    assert!(record.is_settled());
}

#[test]
fn of_several_daemons_one_makes_the_record() {
    let fixture = Fixture::undisturbed();
    let made: Vec<Adoption> = std::thread::scope(|scope| {
        let begin = |number: i64| {
            let mine = Adoption { since_ns: number, ..record(false) };
            begin_adoption(&fixture.spool, mine).unwrap()
        };
        let threads: Vec<_> = (0..8).map(|number| scope.spawn(move || begin(number))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(made.iter().all(|record| *record == made[0]), "{made:?}");
    assert_eq!(read_adoption(&fixture.spool).unwrap().as_ref(), Some(&made[0]));
    let left = std::fs::read_dir(fixture.path(".unspool")).unwrap();
    let names: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert!(names.iter().all(|name| !name.to_string_lossy().starts_with(".adopted")), "{names:?}");
}

#[test]
fn a_decision_waits_for_no_other_and_is_lost_by_none() {
    let fixture = Fixture::undisturbed();
    begin_adoption(&fixture.spool, record(false)).unwrap();
    let inner = change_adoption(&fixture.spool, |outer| {
        let busy = change_adoption(&fixture.spool, |_| true);
        assert!(matches!(busy, Err(AdoptError::Busy)), "{busy:?}");
        outer.decide(Selection::default(), Verdict::Hold)
    });
    assert_eq!(inner.unwrap().default, Verdict::Hold);
    assert_eq!(read_adoption(&fixture.spool).unwrap().unwrap().default, Verdict::Hold);
}

#[test]
fn a_record_whose_writer_is_killed_is_the_old_one_or_the_new_one() {
    let fixture = Fixture::new();
    begin_adoption(&fixture.spool, record(false)).unwrap();
    let seed = u64::from_le_bytes(host::random().unwrap()) | 1;
    println!("seed {seed}");
    let spool = fixture.spool.path().to_str().unwrap().to_owned();
    let mut dice = seed;
    for _ in 0..DECIDERS {
        let mut child = Child::start("decide-for-ever", &[&spool]);
        child.hear();
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        for _ in 0..dice >> 48 {
            std::hint::spin_loop();
        }
        child.kill();
        let found = read_adoption(&fixture.spool).unwrap().unwrap();
        // What a child writes has as many rules as the record is old.
        assert_eq!(i64::try_from(found.rules.len()).unwrap(), found.age_ns - AGE_NS);
        // The lock went with its holder.
        change_adoption(&fixture.spool, |_| true).unwrap();
    }
    assert_ne!(read_adoption(&fixture.spool).unwrap().unwrap(), record(false));
}

#[test]
fn the_content_tells_whose_a_task_is_and_what_it_calls() {
    let fixture = Fixture::new();
    let mut late = vec![17, 0, 0, 0];
    for (key, value) in [(&b"long"[..], &[b'x'; 5000][..]), (b"ud_spool_func", b"late")] {
        for part in [key, value] {
            late.extend_from_slice(&u16::try_from(part.len()).unwrap().to_le_bytes());
            late.extend_from_slice(part);
        }
    }
    let pairs = u16::try_from(late.len() - 4).unwrap();
    late[1..3].copy_from_slice(&pairs.to_le_bytes());
    let ours = fixture.submit(&[("ud_spool_func", "mine")]);
    let ours = ours.file_name().unwrap().to_str().unwrap();
    for (name, content, expected) in [
        ("uwsgi_spoolfile_on_1", FOREIGN, (false, "f")),
        ("uwsgi_spoolfile_on_2", &late[..], (false, "late")),
        ("uwsgi_spoolfile_on_3", b"", (false, "")),
        ("uwsgi_spoolfile_on_4", b"\0\0\0\0\0\0\0", (false, "")),
        (ours, b"", (true, "mine")),
    ] {
        if name != ours {
            fixture.write(name, content);
        }
        let seen = look(fixture.spool.top(), name.as_bytes()).unwrap();
        assert_eq!((seen.ours, String::from_utf8(seen.function).unwrap().as_str()), expected);
    }
    let settled = Adoption { default: Verdict::Run, ..record(false) };
    assert_eq!(survey(fixture.spool.view(), &settled).unwrap().tasks(), 0);
    let now = Adoption { since_ns: i64::MAX, age_ns: 0, ..record(false) };
    assert_eq!(survey(fixture.spool.view(), &now).unwrap().tasks(), 4);
}
