//! A message is written and damaged: it is read as it was, or not at all.
#![no_main]

use arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use unspool_core::taskfile::{ATTEMPTS_OFFSET, TaskFile, TaskId, encode};
use unspool_fuzz::damage::damage;

const ATTEMPTS: usize = ATTEMPTS_OFFSET as usize;

fuzz_target!(|data: &[u8]| {
    // Too few bytes are no finding.
    let _ = check(&mut Unstructured::new(data));
});

fn check(from: &mut Unstructured<'_>) -> Result<()> {
    let id = TaskId(u128::from(from.arbitrary::<u64>()?));
    let damages = from.int_in_range(0..=2)?;
    let plan: [u8; 16] = from.arbitrary()?;
    let message = unspool_fuzz::message::message(from)?;
    let Ok(whole) = encode(&message, id, None) else { return Ok(()) };
    let task = TaskFile::parse(&whole).expect("what was written is read");
    assert_eq!(task.mark.map(|mark| mark.id), Some(id));
    let read = task.to_message();
    let (mut given, mut got) = (message.pairs.clone(), read.pairs.clone());
    given.sort();
    got.sort();
    assert_eq!(given, got);
    for (key, _) in &message.pairs {
        assert_eq!(message.get(key), read.get(key), "the last one of a key wins");
    }
    assert_eq!((&message.body, &message.module), (&read.body, &read.module));

    let mut plan = Unstructured::new(&plan);
    let mut file = whole.clone();
    for _ in 0..damages {
        damage(&mut file, &mut plan)?;
    }
    let same = file.len() == whole.len()
        && (0..file.len()).all(|at| at == ATTEMPTS || file[at] == whole[at]);
    match TaskFile::parse(&file) {
        Ok(task) => {
            assert!(same, "a damaged file is read as a task");
            assert_eq!((task.attempts, task.to_message()), (file[ATTEMPTS], read));
        }
        Err(error) => assert!(!same, "a whole file is refused: {error}"),
    }
    Ok(())
}
