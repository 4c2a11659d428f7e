//! What is asked about timers and crons: which there are, that one fires now, that one is paused.
//!
//! When they fire is `schedule`'s matter, and which daemon fires them `leader`'s. Pauses are written
//! down by its thread.

use crate::journal::journal;
use unspool_core::limits::PACKET_BYTES_MAX;
use unspool_sys::{clock, host};
use unspool_wire::request::Reply;
use unspool_wire::schedule::{Entry, ScheduleAsk, ScheduleReport, TimerPause};

use super::Supervisor;
use super::leader::Change;
use super::schedule::{Due, Firing};

/// How long whoever pauses waits for that to be written down.
const ANSWER_NS: u64 = 10_000_000_000;
/// Bytes of an answer besides its entries.
const FRAME_BYTES: usize = 1024;
/// Bytes of the text that says why something is paused.
const WHY_BYTES_MAX: usize = 1024;

impl Supervisor {
    /// Answers, or `None` if that comes later.
    pub(super) fn ask_schedule(
        &mut self,
        client: Option<u32>,
        ask: ScheduleAsk,
    ) -> Result<Option<Reply>, String> {
        match ask {
            ScheduleAsk::List { skip } => Ok(Some(Reply::Schedule(self.report_schedule(skip)))),
            ScheduleAsk::Run { id } => {
                let (entry, due) = self.entry(&id)?;
                if self.ladder.is_some() {
                    return Err("the daemon stops".into());
                }
                journal!(SCHEDULE_RUN, name = entry.name, id, "fired by request");
                self.fire_one(&Firing { due, id });
                Ok(Some(Reply::Done))
            }
            ScheduleAsk::Pause { id, by, why } => {
                if why.as_ref().is_some_and(|why| why.len() > WHY_BYTES_MAX) {
                    return Err(format!("the reason is longer than {WHY_BYTES_MAX} bytes"));
                }
                let name = self.entry(&id)?.0.name;
                let at_ms = clock::now_ns() / 1_000_000;
                let change = Change::Pause(TimerPause { id, name, by, why, at_ms });
                self.change_pauses(client, change)
            }
            // Also of one that is not there now.
            ScheduleAsk::Resume { id } => self.change_pauses(client, Change::Resume(id)),
        }
    }

    fn entry(&self, id: &str) -> Result<(Entry, Due), String> {
        let mut entries = self.schedule.entries(clock::monotonic_ns()).into_iter();
        let found = entries.find(|(entry, _)| entry.id == id);
        found.ok_or_else(|| format!("there is no timer or cron `{id}` any more"))
    }

    fn report_schedule(&self, skip: usize) -> ScheduleReport {
        let all = self.schedule.entries(clock::monotonic_ns());
        let total = all.len();
        let mut room = PACKET_BYTES_MAX - FRAME_BYTES;
        let mut entries = Vec::new();
        for (entry, _) in all.into_iter().skip(skip) {
            let bytes = serde_json::to_vec(&entry).map_or(usize::MAX, |text| text.len() + 1);
            let Some(left) = room.checked_sub(bytes) else { break };
            room = left;
            entries.push(entry);
        }
        ScheduleReport {
            pid: host::pid(),
            key: self.leader.key().to_owned(),
            leads: self.leader.standing(),
            zone: jiff::tz::TimeZone::system().iana_name().map(str::to_owned),
            total,
            entries,
        }
    }

    fn change_pauses(
        &mut self,
        client: Option<u32>,
        change: Change,
    ) -> Result<Option<Reply>, String> {
        let Some(client) = client else {
            return Err("this takes a connection to the daemon's control socket".into());
        };
        let until_ns = clock::monotonic_ns() + ANSWER_NS;
        if self.requests.await_answer(client, until_ns, false).is_err() {
            return Err("one at a time: wait for the answer, or connect once more".into());
        }
        if self.leader.change(client, change) {
            return Ok(None);
        }
        self.requests.awaits_no_more(client);
        Err("the thread that would write it down does not listen".into())
    }

    /// What is paused has changed, or somebody who asked for that is answered.
    pub(super) fn paused_changed(
        &mut self,
        paused: Vec<TimerPause>,
        answer: Option<(u32, Result<(), String>)>,
    ) {
        for pause in &paused {
            if !self.schedule.paused.contains_key(&pause.id) {
                let TimerPause { id, name, by, why, .. } = pause;
                journal!(SCHEDULE_PAUSED, name, id, by, why, "paused: it does not fire");
            }
        }
        let still = |id: &String| paused.iter().any(|pause| pause.id == *id);
        for (id, pause) in self.schedule.paused.iter().filter(|(id, _)| !still(id)) {
            journal!(SCHEDULE_RESUMED, name = pause.name, id, "resumed: it fires again");
        }
        self.schedule.paused = paused.into_iter().map(|pause| (pause.id.clone(), pause)).collect();
        let Some((client, answer)) = answer else { return };
        if !self.requests.awaits_no_more(client) {
            return;
        }
        let reply = match answer {
            Ok(()) => Reply::Done,
            Err(error) => Reply::Failed { error },
        };
        if !self.answer(client, &reply) {
            self.close_client(client);
        }
    }
}
