//! What is asked about a spool and its tasks over the control socket, and answered with documents.
//! The dispatchers know; here it is only passed on.

use serde::Serialize;
use unspool_spool::{Place, TaskName, task_name};
use unspool_sys::clock;

use super::Supervisor;
use crate::events::ToDispatcher;

/// How long a client is kept whose answer is late.
const ANSWER_NS: u64 = 10_000_000_000;

const ONE_AT_A_TIME: &str = "one question at a time: wait for the answer, or connect once more";

impl Supervisor {
    /// Somebody asks how the spool is: the next round of reports answers.
    pub(super) fn ask_for_status(&mut self, client: Option<u32>) -> Result<(), String> {
        let (client, spool) = self.awaiting(client)?;
        self.reporting.ask(client, spool);
        Ok(())
    }

    /// Somebody asks about one task.
    pub(super) fn ask_to_explain(
        &mut self,
        client: Option<u32>,
        place: &[u8],
    ) -> Result<(), String> {
        let Some(place) = Place::parse(place) else {
            return Err(format!("`{}` is no task's place", String::from_utf8_lossy(place)));
        };
        let (client, spool) = self.awaiting(client)?;
        self.pass_on(client, spool, ToDispatcher::Explain { client, place })
    }

    /// Somebody asks where tasks are.
    pub(super) fn ask_to_find(&mut self, client: Option<u32>, part: &[u8]) -> Result<(), String> {
        let Ok(name @ (TaskName::Part(_) | TaskName::File(_))) = task_name(part) else {
            return Err(format!("`{}` is no part of a name", String::from_utf8_lossy(part)));
        };
        let (client, spool) = self.awaiting(client)?;
        self.pass_on(client, spool, ToDispatcher::Find { client, name })
    }

    /// Notes that a client is answered later. Returns it, and its spool.
    fn awaiting(&mut self, client: Option<u32>) -> Result<(u32, usize), String> {
        let Some(client) = client else {
            return Err("to ask this takes a connection to the daemon's control socket".into());
        };
        let until_ns = clock::monotonic_ns() + ANSWER_NS;
        let awaited = self.requests.await_answer(client, until_ns, false);
        let spool = awaited.map_err(|_| ONE_AT_A_TIME)?;
        Ok((client, spool))
    }

    fn pass_on(&mut self, client: u32, spool: usize, message: ToDispatcher) -> Result<(), String> {
        if self.spools.get(spool).is_some_and(|actor| actor.tell(message)) {
            return Ok(());
        }
        self.requests.awaits_no_more(client);
        Err("the spool's thread does not listen".into())
    }

    /// Answers a client that waits for it.
    pub(super) fn answer_with(&mut self, client: u32, document: &impl Serialize) {
        if !self.requests.awaits_no_more(client) {
            return;
        }
        let sent =
            serde_json::to_vec(document).is_ok_and(|bytes| self.answer_document(client, &bytes));
        if !sent {
            self.close_client(client);
        }
    }
}
