//! Cancelling without a daemon, and finding what is to be cancelled.

use std::path::Path;
use std::time::Duration;

use unspool_core::{Durability, Priority};
use unspool_spool::{Attempt, Claimed, Ending, read_attempts};
use unspool_spool::{
    Became, CancelError, Cancellation, Kept, Place, Removal, TaskName, Whereabouts, claim,
    find_task, note_attempt, remove_pending, spool_of, submit,
};
use unspool_sys::clock;
use unspool_sys::lock::Holder;

use crate::fixture::{FOREIGN, Fixture, message, name_of, parse_ours};

fn place(path: &Path) -> Place {
    Place::parse(name_of(path)).unwrap()
}

fn attempt() -> Attempt {
    Attempt {
        attempt: 1,
        outcome: Ending::Exception,
        at: 1.0,
        duration: None,
        host: "h".to_owned(),
        pid: 1,
        function: String::new(),
        error: "x".to_owned(),
        traceback: String::new(),
        output: String::new(),
        peak_rss: None,
        again_at: None,
        priority: None,
    }
}

#[test]
fn a_pending_task_goes_with_its_record() {
    let fixture = Fixture::undisturbed();
    let path = fixture.submit(&[("ud_spool_func", "f"), ("at", "2000000000")]);
    note_attempt(&fixture.spool, name_of(&path), &attempt()).unwrap();
    let mut cancellation = Cancellation::new(&fixture.spool, place(&path), 0.0, true).unwrap();
    assert_eq!(cancellation.step(Duration::ZERO).unwrap(), Some(Became::Removed));
    assert!(fixture.tasks().is_empty());
    assert!(read_attempts(fixture.spool.view(), name_of(&path)).unwrap().is_empty());
    assert_eq!(cancellation.step(Duration::ZERO).unwrap(), Some(Became::Gone));
}

#[test]
fn a_task_that_somebody_holds_is_left_and_the_wait_is_bounded() {
    let fixture = Fixture::undisturbed();
    let path = fixture.submit(&[("ud_spool_func", "f")]);
    let Claimed::Task(held) = claim(fixture.spool.top(), name_of(&path), clock::now_ns()).unwrap()
    else {
        panic!("not claimed")
    };
    let removal = remove_pending(&fixture.spool, fixture.spool.top(), name_of(&path)).unwrap();
    assert_eq!(removal, Removal::Held(Holder::Unnamed));
    let mut cancellation = Cancellation::new(&fixture.spool, place(&path), 0.0, false).unwrap();
    assert_eq!(cancellation.step(Duration::from_millis(30)).unwrap(), None);
    drop(held);
    let removed = loop {
        if let Some(became) = cancellation.step(Duration::from_secs(1)).unwrap() {
            break became;
        }
    };
    assert_eq!(removed, Became::Removed);
}

#[test]
fn a_directory_or_a_link_with_the_name_of_a_task_is_not_touched() {
    let fixture = Fixture::undisturbed();
    let target = fixture.root().join("target");
    std::fs::write(&target, b"x").unwrap();
    std::os::unix::fs::symlink(&target, fixture.path("uwsgi_spoolfile_on_link")).unwrap();
    std::fs::create_dir(fixture.path("uwsgi_spoolfile_on_folder")).unwrap();
    for name in [&b"uwsgi_spoolfile_on_link"[..], b"uwsgi_spoolfile_on_folder"] {
        assert!(remove_pending(&fixture.spool, fixture.spool.top(), name).is_err());
    }
    assert!(target.exists() && fixture.path("uwsgi_spoolfile_on_link").is_symlink());
}

#[test]
fn a_grace_that_makes_no_sense_is_refused() {
    let fixture = Fixture::new();
    let path = fixture.submit(&[("a", "1")]);
    for grace in [-1.0, f64::NAN, f64::INFINITY, 86_401.0] {
        let refused = Cancellation::new(&fixture.spool, place(&path), grace, true);
        assert!(matches!(refused, Err(CancelError::Grace { .. })), "{grace}");
    }
}

#[test]
fn a_task_is_found_wherever_it_lies() {
    let fixture = Fixture::new();
    let top = fixture.submit(&[("a", "1")]);
    let urgent =
        submit(&fixture.spool, &message(&[("priority", "5")], b""), Durability::None).unwrap();
    let foreign = fixture.write("uwsgi_spoolfile_on_foreign", FOREIGN);
    let find = |name: &TaskName| find_task(fixture.spool.view(), name).into_found().unwrap();
    let pending = |priority: Option<&[u8]>, path: &Path| {
        let priority = priority.map(|name| Priority::new(name).unwrap());
        vec![Whereabouts::Pending(Place { priority, name: name_of(path).to_vec() })]
    };
    let file = |path: &Path| TaskName::File(name_of(path).to_vec());
    for (path, priority) in [(&top, None), (&urgent, Some(&b"5"[..])), (&foreign, None)] {
        assert_eq!(find(&file(path)), pending(priority, path));
        let (spool, name) = spool_of(path).unwrap().unwrap();
        assert_eq!(spool, fixture.spool.path());
        assert_eq!(find(&name), pending(priority, path));
    }
    for (path, priority) in [(&top, None), (&urgent, Some(&b"5"[..]))] {
        let id = parse_ours(path).0.id;
        let text = id.to_string();
        assert_eq!(find(&TaskName::parse(text.as_bytes()).unwrap()), pending(priority, path));
        let short = TaskName::parse(&text.as_bytes()[..24]).unwrap();
        assert_eq!(find(&short), pending(priority, path));
        // The end, which the name tells; the middle, which the file tells; a part of the name.
        let name = String::from_utf8(name_of(path).to_vec()).unwrap();
        for part in [&text[26..], &text[14..24], &name[20..]] {
            assert_eq!(find(&TaskName::parse(part.as_bytes()).unwrap()), pending(priority, path));
        }
    }

    std::fs::create_dir(fixture.path("dead")).unwrap();
    let id = parse_ours(&top).0.id.to_string();
    let dead = fixture.path("dead").join(top.file_name().unwrap());
    std::fs::rename(&top, &dead).unwrap();
    let kept = vec![Whereabouts::Kept(Kept::Dead, name_of(&top).to_vec())];
    for name in [file(&top), TaskName::parse(id.as_bytes()).unwrap()] {
        assert_eq!(find(&name), kept);
    }
    for path in [&top, &dead] {
        assert_eq!(find(&spool_of(path).unwrap().unwrap().1), kept);
    }
    assert_eq!(kept[0].path(fixture.spool.view()), dead);
    // A path is that of one file, also beside others of its name.
    fixture.write(top.file_name().unwrap().to_str().unwrap(), FOREIGN);
    assert_eq!(find(&spool_of(&dead).unwrap().unwrap().1), kept);
    assert_eq!(find(&spool_of(&top).unwrap().unwrap().1), pending(None, &top));
    assert_eq!(find(&file(&top)).len(), 2);
    std::fs::remove_file(&dead).unwrap();
    assert_eq!(find(&spool_of(&dead).unwrap().unwrap().1), pending(None, &top));
    assert_eq!(find(&TaskName::File(b"uwsgi_spoolfile_on_nothing".to_vec())), []);
    // The folder of a priority that is gone is still one of this spool.
    let gone = fixture.path("7").join("uwsgi_spoolfile_on_x");
    let (_, name) = spool_of(&gone).unwrap().unwrap();
    assert_eq!(find(&name), []);
    assert_eq!(spool_of(&fixture.root().join("uwsgi_spoolfile_on_x")).unwrap(), None);
}
