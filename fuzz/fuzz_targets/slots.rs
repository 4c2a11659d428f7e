//! Any bytes as a slots file: what a dead daemon left. The first byte cuts it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use unspool_fuzz::scratch;
use unspool_sys::slots::{HandedTask, SLOTS_PER_WORKER, SlotState, SlotTable};

const PAGE_BYTES: usize = 4096;

fuzz_target!(|data: &[u8]| {
    let Some((cut, content)) = data.split_first() else { return };
    let mut content = content.to_vec();
    content
        .resize((content.len().div_ceil(PAGE_BYTES) * PAGE_BYTES).saturating_sub((*cut).into()), 0);
    let path = scratch::write("slots", &content);
    let file = std::fs::File::options().read(true).write(true).open(path).expect("it is there");
    let rows = content.len() / PAGE_BYTES;
    let table = match SlotTable::open(file.into()) {
        Ok(table) => table,
        Err(error) => {
            assert_eq!(rows, 0, "{error}");
            return;
        }
    };
    assert_eq!(table.workers(), rows);
    assert!(table.row(rows).is_none() && table.row(usize::MAX).is_none());
    for slot in (0..rows).flat_map(|row| table.row(row).expect("it is in the table")) {
        let state = slot.state();
        let (_, started_ns) = slot.task();
        assert_eq!(slot.running_since().is_some(), state == SlotState::Running && started_ns > 0);
        // Only what is handed out can be taken back or started.
        assert_eq!(slot.revoke(), state == SlotState::Handed);
        assert!(!slot.start(1, 2));
        slot.hand(HandedTask { inode: 7, ..HandedTask::default() }, 1);
        assert!(slot.start(1, 2) && !slot.revoke());
        assert_eq!((slot.task(), slot.pid(), slot.running_since()), ((7, 2), 1, Some(2)));
    }
    assert_eq!(table.row(0).map(<[_]>::len), Some(SLOTS_PER_WORKER));
});
