//! Capsules: one task as one file.

use unspool_core::Durability;
use unspool_spool::{Attempt, Capsule, CapsuleError, Ending, Shelves, list, note_attempt, submit};

use crate::fixture::{Fixture, message, name_of};

#[test]
fn a_task_and_its_record_are_read_as_they_were_written() {
    let fixture = Fixture::new();
    let path = submit(
        &fixture.spool,
        &message(&[("priority", "5"), ("ud_spool_func", "f")], b"body"),
        Durability::None,
    )
    .unwrap();
    let attempt = Attempt::ended(Ending::Exception, 1, 5_000_000_000, "ValueError: no");
    note_attempt(&fixture.spool, name_of(&path), &attempt).unwrap();
    let view = fixture.spool.view();
    let task = list(view, Shelves::PENDING).next().unwrap().unwrap();
    let capsule = Capsule::of(view, &task).unwrap().unwrap();
    assert_eq!(capsule.task, std::fs::read(&path).unwrap());
    assert_eq!((capsule.folder.as_deref(), &capsule.attempts[..]), (Some("5"), &[attempt][..]));
    let text = serde_json::to_vec(&capsule).unwrap();
    assert_eq!(Capsule::parse(&text).unwrap(), capsule);

    std::fs::remove_file(&path).unwrap();
    assert!(Capsule::of(view, &task).unwrap().is_none());
    let changed = |from: &str, to: &str| {
        let text = String::from_utf8(text.clone()).unwrap();
        assert!(text.contains(from));
        Capsule::parse(text.replacen(from, to, 1).as_bytes())
    };
    let newer = changed(r#""unspool_capsule":1"#, r#""unspool_capsule":2"#);
    assert!(matches!(newer, Err(CapsuleError::Newer { found: 2 })));
    let task = serde_json::to_value(&capsule).unwrap()["task"].as_str().unwrap().to_owned();
    let cut = changed(&task, &task[..task.len() - 4]);
    assert!(matches!(cut, Err(CapsuleError::Task(_))));
    assert!(matches!(changed(&task, "?"), Err(CapsuleError::Format(_))));
    assert!(matches!(Capsule::parse(b"[1]"), Err(CapsuleError::Format(_))));
}
