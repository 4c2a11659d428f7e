//! Watches: which change raises which hint. The kernel queues an event before the call that causes
//! it returns, so nothing here has to wait.

use std::fs::{File, FileTimes};
use std::os::fd::AsFd;
use std::time::UNIX_EPOCH;

use unspool_core::Priority;
use unspool_spool::{Change, Claimed, Watch, claim, complete, count_failure};
use unspool_sys::clock;

use crate::fixture::{Fixture, chmod, name_of};
use crate::os;

fn watched(fixture: &Fixture) -> Watch {
    let mut watch = Watch::new().unwrap();
    watch.add(&fixture.spool, None, 0).unwrap();
    watch
}

/// All changes that there are, what was created first; several equal ones in a row count as one.
fn changes(watch: &mut Watch) -> Vec<Change> {
    let mut changes = Vec::new();
    loop {
        // One read takes no more than a buffer.
        let before = changes.len();
        watch.read_creations(|change| changes.push(change)).unwrap();
        watch.read(|change| changes.push(change)).unwrap();
        if changes.len() == before {
            changes.dedup();
            return changes;
        }
    }
}

fn task(folder: u32, name: &[u8]) -> Change {
    Change::Task { folder, name: name.to_vec() }
}

fn created(folder: u32, name: &[u8]) -> Change {
    Change::Created { folder, name: name.to_vec() }
}

fn gone(folder: u32, name: &[u8]) -> Change {
    Change::Gone { folder, name: name.to_vec() }
}

/// Sets both times, as `touch` does. To set the modification time alone raises no hint.
fn touch(file: &File) {
    let times = FileTimes::new().set_accessed(UNIX_EPOCH).set_modified(UNIX_EPOCH);
    file.set_times(times).unwrap();
}

fn priority(name: &str) -> Priority {
    Priority::new(name.as_bytes()).unwrap()
}

#[test]
fn a_submission_is_hinted_at_when_it_is_renamed_and_when_it_is_closed() {
    let fixture = Fixture::undisturbed();
    let mut watch = watched(&fixture);
    let path = fixture.submit(&[("at", "1995419124")]);
    let mut hints = Vec::new();
    watch.read(|change| hints.push(change)).unwrap();
    assert_eq!(hints, [task(0, name_of(&path)), task(0, name_of(&path))]);
    assert_eq!(changes(&mut watch), []);
}

#[test]
fn a_small_submission_without_durability_is_hinted_at_when_it_is_closed() {
    let fixture = Fixture::undisturbed();
    let mut watch = watched(&fixture);
    let path = fixture.submit(&[("a", "1")]);
    assert_eq!(changes(&mut watch), [created(0, name_of(&path)), task(0, name_of(&path))]);
}

#[test]
fn a_file_written_in_place_is_hinted_at_when_it_is_closed() {
    use std::io::Write;
    let fixture = Fixture::undisturbed();
    let mut watch = watched(&fixture);
    let name = "uwsgi_spoolfile_on_foreign";
    let mut file = File::create(fixture.path(name)).unwrap();
    file.write_all(b"\x11\0\0\0").unwrap();
    assert_eq!(changes(&mut watch), [created(0, name.as_bytes())]);
    drop(file);
    assert_eq!(changes(&mut watch), [task(0, name.as_bytes())]);
}

#[test]
fn a_file_that_is_moved_in_is_hinted_at() {
    let fixture = Fixture::undisturbed();
    let outside = fixture.root().join("a_task");
    std::fs::write(&outside, b"\x11\0\0\0").unwrap();
    let mut watch = watched(&fixture);
    let moved = "uwsgi_spoolfile_on_moved";
    std::fs::rename(&outside, fixture.path(moved)).unwrap();
    assert_eq!(changes(&mut watch), [task(0, moved.as_bytes())]);
}

#[test]
fn touching_hints_and_deleting_or_moving_away_tells_that_it_is_gone() {
    let fixture = Fixture::undisturbed();
    let (a, b) = (fixture.submit(&[("a", "1")]), fixture.submit(&[("a", "2")]));
    let mut watch = watched(&fixture);
    touch(&File::open(&a).unwrap());
    assert_eq!(changes(&mut watch), [task(0, name_of(&a))]);
    std::fs::remove_file(&a).unwrap();
    std::fs::rename(&b, fixture.root().join("kept")).unwrap();
    assert_eq!(changes(&mut watch), [gone(0, name_of(&a)), gone(0, name_of(&b))]);
}

#[test]
fn other_names_raise_no_hint() {
    let fixture = Fixture::undisturbed();
    let mut watch = watched(&fixture);
    fixture.write("notes.txt", b"");
    fixture.write(".uwsgi_spoolfile_on_x", b"");
    std::fs::create_dir(fixture.path("corrupt")).unwrap();
    std::fs::create_dir(fixture.path("uwsgi_spoolfile_on_folder")).unwrap();
    std::fs::remove_file(fixture.path("notes.txt")).unwrap();
    assert_eq!(changes(&mut watch), []);
}

#[test]
fn a_finished_task_raises_no_hint_but_that_it_is_gone() {
    let fixture = Fixture::undisturbed();
    let path = fixture.submit(&[("a", "1")]);
    let mut watch = watched(&fixture);
    let name = name_of(&path);
    let top = fixture.spool.top();
    let Claimed::Task(task) = claim(top, name, clock::now_ns()).unwrap() else {
        panic!("not claimed")
    };
    assert!(complete(top, name).unwrap());
    drop(task);
    assert_eq!(changes(&mut watch), [gone(0, name)]);
    assert_eq!(changes(&mut watch), []);
}

#[test]
fn the_end_of_a_lease_is_a_hint_for_other_daemons() {
    let fixture = Fixture::undisturbed();
    let path = fixture.submit(&[("a", "1")]);
    let mut watch = watched(&fixture);
    let name = name_of(&path);
    let Claimed::Task(claim) = claim(fixture.spool.top(), name, clock::now_ns()).unwrap() else {
        panic!("not claimed")
    };
    count_failure(claim.file.as_fd(), 0, 5).unwrap();
    assert_eq!(changes(&mut watch), []);
    drop(claim);
    assert_eq!(changes(&mut watch), [task(0, name)]);
}

#[test]
fn a_priority_that_we_make_is_a_change_and_one_that_others_make_a_creation() {
    let fixture = Fixture::undisturbed();
    let mut watch = watched(&fixture);
    let mut seen = Vec::new();
    fixture.submit(&[("priority", "5")]);
    watch.read(|change| seen.push(change)).unwrap();
    assert_eq!(seen, [Change::Priority(priority("5"))]);
    assert!(watch.read_creations(|_| ()).unwrap());

    std::fs::create_dir(fixture.path("6")).unwrap();
    seen.clear();
    watch.read(|change| seen.push(change)).unwrap();
    assert_eq!(seen, []);
    assert!(watch.read_creations(|change| seen.push(change)).unwrap());
    assert_eq!(seen, [Change::Priority(priority("6"))]);
    assert!(!watch.read_creations(|_| ()).unwrap());
}

#[test]
fn a_priority_is_told_of_and_watched_under_its_index() {
    let fixture = Fixture::undisturbed();
    let mut watch = watched(&fixture);
    fixture.submit(&[("priority", "5")]);
    assert_eq!(changes(&mut watch), [Change::Priority(priority("5"))]);
    watch.add(&fixture.spool, Some(&priority("5")), 7).unwrap();
    let path = fixture.submit(&[("priority", "5")]);
    let top = fixture.submit(&[("a", "1")]);
    let (path_name, top_name) = (name_of(&path), name_of(&top));
    let expected =
        [created(7, path_name), created(0, top_name), task(7, path_name), task(0, top_name)];
    assert_eq!(changes(&mut watch), expected);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(changes(&mut watch), [gone(7, name_of(&path))]);
    // Folders of a priority have no priorities.
    std::fs::create_dir(fixture.path("5/6")).unwrap();
    assert_eq!(changes(&mut watch), []);
    chmod(&fixture.path("5"), 0o750);
    assert_eq!(changes(&mut watch), [Change::Priority(priority("5"))]);
}

#[test]
fn a_file_that_is_linked_in_is_hinted_at_as_one_that_is_created() {
    let fixture = Fixture::undisturbed();
    let outside = fixture.root().join("a_task");
    std::fs::write(&outside, b"\x11\0\0\0").unwrap();
    let mut watch = watched(&fixture);
    let linked = "uwsgi_spoolfile_on_linked";
    std::fs::hard_link(&outside, fixture.path(linked)).unwrap();
    assert_eq!(changes(&mut watch), [created(0, linked.as_bytes())]);
}

#[test]
fn a_priority_that_is_removed_is_gone_also_while_it_is_open() {
    let fixture = Fixture::undisturbed();
    let mut watch = watched(&fixture);
    let mut open = Vec::new();
    for _ in 0..2 {
        let path = fixture.submit(&[("priority", "5")]);
        assert_eq!(changes(&mut watch), [Change::Priority(priority("5"))]);
        watch.add(&fixture.spool, Some(&priority("5")), 1).unwrap();
        // As a daemon and its workers have it.
        open.push(fixture.folder("5"));
        std::fs::remove_file(&path).unwrap();
        std::fs::remove_dir(fixture.path("5")).unwrap();
        assert_eq!(
            changes(&mut watch),
            [gone(1, name_of(&path)), Change::PriorityGone(priority("5"))]
        );
    }
}

#[test]
fn a_priority_that_is_renamed_is_gone_and_another_one_is_there() {
    let fixture = Fixture::undisturbed();
    let mut watch = watched(&fixture);
    fixture.submit(&[("priority", "5")]);
    watch.add(&fixture.spool, Some(&priority("5")), 1).unwrap();
    changes(&mut watch);
    std::fs::rename(fixture.path("5"), fixture.path("urgent")).unwrap();
    let urgent = Change::Priority(priority("urgent"));
    assert_eq!(changes(&mut watch), [Change::PriorityGone(priority("5")), urgent]);
    watch.add(&fixture.spool, Some(&priority("urgent")), 2).unwrap();
    let path = fixture.submit(&[("priority", "5")]);
    let other = fixture.submit(&[("priority", "urgent")]);
    watch.add(&fixture.spool, Some(&priority("5")), 3).unwrap();
    let other = name_of(&other);
    let five = || Change::Priority(priority("5"));
    let expected = [five(), created(2, other), five(), task(2, other)];
    assert_eq!(changes(&mut watch), expected);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(changes(&mut watch), [gone(3, name_of(&path))]);
}

#[test]
fn lost_events_are_told_as_missed() {
    let limit = std::fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let limit: usize = limit.trim().parse().unwrap();
    if limit > 100_000 {
        return os::not_run("the system queues too many events to provoke a loss");
    }
    let fixture = Fixture::undisturbed();
    let paths = [fixture.submit(&[("a", "1")]), fixture.submit(&[("a", "2")])];
    let files = paths.map(|path| File::open(path).unwrap());
    let mut watch = watched(&fixture);
    // Equal events in a row count as one: these alternate.
    for round in 0..=limit {
        touch(&files[round % 2]);
    }
    assert_eq!(changes(&mut watch).last(), Some(&Change::Missed));
    let path = fixture.submit(&[("a", "3")]);
    assert_eq!(changes(&mut watch), [created(0, name_of(&path)), task(0, name_of(&path))]);
}
