//! Listing and inspecting.

use std::os::fd::AsFd;

use unspool_core::{Durability, Priority};
use unspool_spool::{
    Claimed, Kept, Listed, Place, Shelves, SpoolView, TaskState, Whereabouts, claim, inspect, list,
    submit,
};
use unspool_sys::folder::Folder;
use unspool_sys::lock;

use crate::fixture::{FOREIGN, Fixture, message, name_of};

fn all(view: &SpoolView, shelves: Shelves) -> Vec<Listed> {
    list(view, shelves).map(Result::unwrap).collect()
}

#[test]
fn every_folder_of_tasks_is_listed_and_nothing_else() {
    let fixture = Fixture::new();
    let plain = fixture.submit(&[("a", "1")]);
    let urgent =
        submit(&fixture.spool, &message(&[("priority", "5")], b""), Durability::None).unwrap();
    for kept in ["dead", "corrupt"] {
        std::fs::create_dir(fixture.path(kept)).unwrap();
        fixture.write(&format!("{kept}/uwsgi_spoolfile_on_{kept}"), FOREIGN);
    }
    fixture.write("notes.txt", b"");
    fixture.write(".uwsgi_spoolfile_on_aside", b"");
    std::fs::create_dir(fixture.path("uwsgi_spoolfile_on_folder")).unwrap();
    let view = SpoolView::open(fixture.spool.path()).unwrap();
    let paths = |shelves| {
        let mut found: Vec<_> =
            all(&view, shelves).iter().map(|task| task.whereabouts().path(&view)).collect();
        found.sort();
        found
    };
    let mut pending = vec![plain, urgent];
    pending.sort();
    assert_eq!(paths(Shelves::PENDING), pending);
    assert_eq!(paths(Shelves::ALL).len(), 4);
    let dead = Shelves { pending: false, dead: true, corrupt: false };
    assert_eq!(paths(dead), [fixture.path("dead/uwsgi_spoolfile_on_dead")]);
}

#[test]
fn a_directory_that_only_a_uwsgi_used_is_looked_at_and_stays_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("uwsgi_spoolfile_on_x"), FOREIGN).unwrap();
    let view = SpoolView::open(directory.path()).unwrap();
    assert_eq!(all(&view, Shelves::ALL).len(), 1);
    assert!(view.internal().unwrap().is_none());
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn a_file_tells_where_its_task_stands() {
    let fixture = Fixture::new();
    // After all that follows.
    let now_ns = unspool_sys::clock::now_ns() + 60_000_000_000;
    let state = |name: &[u8]| {
        let found = all(fixture.spool.view(), Shelves::ALL);
        let task = found.iter().find(|task| task.name() == name).unwrap();
        inspect(task, now_ns).unwrap().map(|summary| summary.state)
    };
    let due = fixture.submit(&[("ud_spool_func", "f")]);
    assert_eq!(state(name_of(&due)), Some(TaskState::Due));
    let at = (now_ns / 1_000_000_000 + 3600).to_string();
    let delayed = fixture.submit(&[("at", &at)]);
    assert_eq!(state(name_of(&delayed)), Some(TaskState::Delayed));
    let mut content = std::fs::read(&delayed).unwrap();
    content[3] = 2;
    let modified = std::fs::metadata(&delayed).unwrap().modified().unwrap();
    std::fs::write(&delayed, &content).unwrap();
    std::fs::File::open(&delayed).unwrap().set_modified(modified).unwrap();
    assert_eq!(state(name_of(&delayed)), Some(TaskState::Retrying));
    std::fs::write(&delayed, &content[..content.len() - 1]).unwrap();
    assert_eq!(state(name_of(&delayed)), Some(TaskState::Torn));

    let folder = Folder::open(fixture.spool.path()).unwrap();
    let Ok(Claimed::Task(held)) = claim(&folder, name_of(&due), now_ns) else { panic!() };
    assert_eq!(state(name_of(&due)), Some(TaskState::Running));
    lock::unlock(held.file.as_fd()).unwrap();

    let view = fixture.spool.view();
    let task = all(view, Shelves::PENDING).remove(0);
    let summary = inspect(&task, now_ns).unwrap().unwrap();
    assert_eq!(summary.whereabouts, *task.whereabouts());
    std::fs::remove_file(&due).unwrap();
    std::fs::remove_file(&delayed).unwrap();
    assert!(inspect(&task, now_ns).unwrap().is_none());
    let place = Place { priority: Priority::new(b"9").ok(), name: b"x".to_vec() };
    assert!(unspool_spool::listed(view, &Whereabouts::Pending(place)).unwrap().is_none());
    let kept = Whereabouts::Kept(Kept::Dead, b"x".to_vec());
    assert!(unspool_spool::listed(view, &kept).unwrap().is_none());
}
