//! What an index answers, case by case; `model` compares it with a plain list.

use super::*;

fn name(text: &str) -> Vec<u8> {
    [PREFIX, text.as_bytes()].concat()
}

fn seen(due_ns: i64, submitted_ns: i64) -> Seen {
    Seen { due_ns, ctime_ns: 1, submitted_ns, bytes: 7 }
}

fn drain(index: &mut Index) -> Vec<String> {
    let mut names = Vec::new();
    while let Some(key) = index.best() {
        let (_, name) = index.name(key).unwrap();
        names.push(String::from_utf8(name[PREFIX.len()..].to_vec()).unwrap());
        index.remove(key);
    }
    names
}

#[test]
fn due_tasks_come_by_priority_then_by_submission() {
    let mut index = Index::default();
    let top = index.lane(None);
    let ten = index.lane(Some(&Priority::new(b"10").unwrap()));
    let five = index.lane(Some(&Priority::new(b"5").unwrap()));
    let mail = index.lane(Some(&Priority::new(b"mail").unwrap()));
    for (lane, text, submitted) in
        [(top, "t1", 1), (mail, "m", 2), (ten, "x", 3), (five, "b", 9), (five, "a", 8)]
    {
        index.see(lane, &name(text), seen(0, submitted), 1, 100);
    }
    assert_eq!(index.pending().0, Pending { tasks: 5, bytes: 35 });
    index.see(top, &name("t1"), Seen { bytes: 3, ..seen(0, 1) }, 1, 100);
    assert_eq!(index.pending().0, Pending { tasks: 5, bytes: 31 });
    assert_eq!(drain(&mut index), ["a", "b", "x", "m", "t1"]);
    assert_eq!(index.pending().0, Pending::default());
    assert_eq!(index.counts(), (0, 0));
}

#[test]
fn a_due_task_that_its_file_puts_off_makes_way() {
    let mut index = Index::default();
    let top = index.lane(None);
    index.see(top, &name("a"), seen(0, 1), 1, 100);
    let before = index.turnover();
    index.see(top, &name("a"), Seen { ctime_ns: 2, ..seen(500, 1) }, 1, 100);
    assert!(index.turnover() > before && index.best().is_none());
}

#[test]
fn what_cannot_be_opened_comes_after_all_that_wait() {
    let mut index = Index::default();
    let top = index.lane(None);
    for (text, submitted) in [("a", 1), ("b", 2), ("c", 3)] {
        index.see(top, &name(text), seen(0, submitted), 1, 100);
    }
    let bad = index.best().unwrap();
    index.take(bad);
    assert_eq!(index.cannot_open(bad, 100), 0);
    index.delay(bad, 110, Some(1));
    index.promote(110);
    index.take(bad);
    assert_eq!(index.cannot_open(bad, 110), 1);
    index.delay(bad, 120, Some(1));
    index.see(top, &name("d"), seen(0, 115), 1, 115);
    index.promote(120);
    index.opened(bad, 0);
    assert_eq!(index.cannot_open(bad, 112), 0);
    assert_eq!(drain(&mut index), ["b", "c", "a", "d"]);
}

#[test]
fn a_delayed_task_waits_for_its_time_and_follows_its_file() {
    let mut index = Index::default();
    let top = index.lane(None);
    index.see(top, &name("a"), seen(500, 1), 1, 100);
    index.see(top, &name("b"), seen(300, 2), 1, 100);
    assert!(index.best().is_none());
    assert_eq!(index.next_due(), Some(300));
    // Touched: due earlier.
    index.see(top, &name("a"), Seen { ctime_ns: 2, ..seen(200, 1) }, 1, 100);
    assert_eq!(index.next_due(), Some(200));
    index.promote(250);
    assert_eq!(drain(&mut index), ["a"]);
    index.promote(300);
    assert_eq!(drain(&mut index), ["b"]);
    assert_eq!(index.next_due(), None);
}

#[test]
fn a_held_task_waits_until_its_file_changes_or_a_reload() {
    let mut index = Index::default();
    let top = index.lane(None);
    index.see(top, &name("a"), seen(0, 1), 1, 100);
    let key = index.best().unwrap();
    index.take(key);
    index.delay(key, 1000, Some(1));
    // Closing our own descriptor raises an event, and the file is as it was.
    index.see(top, &name("a"), seen(0, 1), 1, 100);
    assert!(index.best().is_none());
    index.see(top, &name("a"), Seen { ctime_ns: 2, ..seen(0, 1) }, 1, 100);
    assert_eq!(index.best(), Some(key));
    index.take(key);
    index.delay(key, 1000, Some(2));
    index.release_held(100);
    index.promote(100);
    assert_eq!(index.best(), Some(key));
}

#[test]
fn what_was_due_when_its_file_changed_is_due_and_a_wait_moves_with_the_clock() {
    let mut index = Index::default();
    let top = index.lane(None);
    // The clock was set back from 1000 to 100.
    index.see(top, &name("a"), Seen { ctime_ns: 900, ..seen(900, 1) }, 1, 100);
    index.see(top, &name("at"), Seen { ctime_ns: 800, ..seen(900, 2) }, 1, 100);
    let key = index.best().unwrap();
    assert_eq!(index.name(key).unwrap().1, name("a"));
    index.take(key);
    assert!(index.best().is_none());
    index.wait_until(key, 1010);
    assert_eq!(index.waits(), [(key, 1010)]);
    index.move_wait(key, 110, 100);
    assert_eq!(index.next_due(), Some(110));
    index.promote(110);
    assert_eq!((index.best(), index.waits()), (Some(key), vec![(key, 110)]));
    index.take(key);
    assert!(index.waits().is_empty());
    // Held against its file, or put off by somebody else: no wait of ours.
    index.delay(key, 1000, None);
    assert!(index.waits().is_empty());
}

#[test]
fn what_a_scan_does_not_meet_is_forgotten_unless_it_is_out() {
    let mut index = Index::default();
    let top = index.lane(None);
    for text in ["a", "b", "c"] {
        index.see(top, &name(text), seen(0, 1), 1, 100);
    }
    let out = index.find(top, &name("b")).unwrap();
    index.take(out);
    index.see(top, &name("c"), seen(0, 1), 2, 100);
    index.sweep(2);
    assert!(index.find(top, &name("a")).is_none());
    assert_eq!(index.state(out), Some(State::Out));
    assert_eq!(drain(&mut index), ["c"]);
    index.put_back(out);
    assert_eq!(drain(&mut index), ["b"]);
}
