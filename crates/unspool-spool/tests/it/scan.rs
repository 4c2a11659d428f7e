//! Scans: every task once, a slice at a time, and nothing else.

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;

use unspool_spool::{Found, Scan};
use unspool_sys::Folder;

use crate::fixture::Fixture;

/// What a scan in slices found, sorted.
#[derive(Debug, Default)]
struct Scanned {
    tasks: Vec<String>,
    priorities: Vec<String>,
    aside: Vec<String>,
    slices: usize,
}

/// Scans a whole folder in slices.
fn scan(folder: &Folder, count: usize) -> Scanned {
    let mut scanned = Scanned::default();
    let text = |name: &[u8]| String::from_utf8(name.to_vec()).unwrap();
    let mut scan = Scan::start(folder).unwrap();
    loop {
        let mut found = 0;
        let more = scan.step(folder, count, |thing| {
            found += 1;
            match thing {
                Found::Task { name, .. } => scanned.tasks.push(text(&name)),
                Found::Aside { name, .. } => scanned.aside.push(text(&name)),
                Found::Priority(priority) => scanned.priorities.push(text(priority.as_bytes())),
                Found::Unknown { name, error } => panic!("{name:?}: {error}"),
            }
        });
        assert!(found <= count);
        scanned.slices += 1;
        if !more.unwrap() {
            scanned.tasks.sort();
            scanned.priorities.sort();
            return scanned;
        }
    }
}

#[test]
fn tasks_and_priorities_are_found_and_nothing_else() {
    let fixture = Fixture::new();
    let path = fixture.submit(&[("a", "1")]);
    let later = fixture.submit(&[("at", "1995419124")]);
    fixture.submit(&[("priority", "5")]);
    fixture.submit(&[("priority", "mail")]);
    for folder in ["dead", "corrupt", "results", ".hidden", "uwsgi_spoolfile_on_folder"] {
        std::fs::create_dir(fixture.path(folder)).unwrap();
    }
    fixture.write("notes.txt", b"");
    fixture.write("corrupt/uwsgi_spoolfile_on_x", b"");
    fixture.write(".uwsgi_spoolfile_on_x", b"half");
    symlink(&path, fixture.path("uwsgi_spoolfile_on_link")).unwrap();
    symlink(fixture.path("5"), fixture.path("6")).unwrap();
    for count in [1, 3, 100] {
        let scanned = scan(fixture.spool.top(), count);
        let mut expected = [&path, &later].map(|path| path.file_name().unwrap().to_str().unwrap());
        expected.sort_unstable();
        assert_eq!(scanned.tasks, expected);
        assert_eq!(scanned.priorities, ["5", "mail"]);
        assert_eq!(scanned.aside, [".uwsgi_spoolfile_on_x"]);
        assert_eq!(scanned.slices > 1, count < 100);
    }
    assert_eq!(scan(&fixture.folder("5"), 100).tasks.len(), 1);
}

#[test]
fn what_a_scan_tells_is_what_the_file_says() {
    let fixture = Fixture::new();
    let path = fixture.submit(&[("at", "1995419124.5")]);
    let mut stats = Vec::new();
    let top = fixture.spool.top();
    let more = Scan::start(top).unwrap().step(top, 100, |found| {
        if let Found::Task { stat, .. } = found {
            stats.push(stat);
        }
    });
    assert!(!more.unwrap());
    let [stat] = stats[..] else { panic!("{stats:?}") };
    assert_eq!(stat.mtime_ns, 1_995_419_124_500_000_000);
    assert_eq!(stat.bytes, std::fs::metadata(path).unwrap().len());
}

#[test]
fn ten_thousand_tasks_are_found_once_each() {
    let fixture = Fixture::new();
    let names: BTreeSet<String> =
        (0..10_000).map(|number| format!("uwsgi_spoolfile_on_{number}")).collect();
    for name in &names {
        fixture.write(name, b"");
    }
    let scanned = scan(fixture.spool.top(), 500);
    assert_eq!(scanned.tasks.len(), names.len());
    assert_eq!(scanned.tasks.into_iter().collect::<BTreeSet<_>>(), names);
    assert!(scanned.slices >= 20);
}

#[test]
fn a_scan_goes_on_while_tasks_come_and_go() {
    let fixture = Fixture::new();
    for number in 0..300 {
        fixture.write(&format!("uwsgi_spoolfile_on_{number}"), b"");
    }
    let top = fixture.spool.top();
    let mut scan = Scan::start(top).unwrap();
    let mut found = BTreeSet::new();
    let mut number = 0;
    while scan
        .step(top, 10, |thing| {
            if let Found::Task { name, .. } = thing {
                assert!(found.insert(name), "found twice");
            }
        })
        .unwrap()
    {
        // Each slice finds one task less and one task more than there were.
        std::fs::remove_file(fixture.path(&format!("uwsgi_spoolfile_on_{number}"))).unwrap();
        fixture.submit(&[("a", "1")]);
        number += 1;
    }
    // All that was there all the time.
    for left in number..300 {
        let name = format!("uwsgi_spoolfile_on_{left}");
        assert!(found.contains(name.as_bytes()), "{name}");
    }
}
