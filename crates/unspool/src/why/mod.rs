//! Why a task does not run, or not yet, or ran late or twice.
//!
//! `facts` gathers what the files and the daemons tell, and judges nothing; the other modules make
//! reasons of it, each a code for programs and a sentence for people. Codes are documented in
//! `docs/reference/cli.md` and do not change.

mod ended;
mod facts;
mod history;
mod holders;
mod waiting;
mod workers;

use serde_json::{Map, Value};
use unspool_spool::Whereabouts;

use self::facts::DaemonView;
pub(crate) use self::facts::{Facts, Setup};

/// A reason.
#[derive(Debug, Clone)]
pub(crate) struct Reason {
    /// For programs.
    pub(crate) code: &'static str,
    /// For people: a sentence or two.
    pub(crate) text: String,
    /// What the sentence is made of.
    pub(crate) facts: Map<String, Value>,
    /// A traceback, if there is one.
    pub(crate) detail: Option<String>,
}

impl Reason {
    fn new(code: &'static str, text: impl Into<String>) -> Self {
        Self { code, text: text.into(), facts: Map::new(), detail: None }
    }

    fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.facts.insert(key.to_owned(), value.into());
        self
    }

    fn detail(mut self, detail: &str) -> Self {
        self.detail = Some(detail.trim_end().to_owned()).filter(|detail| !detail.is_empty());
        self
    }
}

/// The reasons, the one that decides first.
pub(crate) fn reasons(facts: &Facts) -> Vec<Reason> {
    let mut reasons = match &facts.summary.whereabouts {
        Whereabouts::Kept(kept, _) => ended::reasons(facts, *kept),
        Whereabouts::Pending(_) => {
            holders::reason(facts).map_or_else(|| waiting::reasons(facts), |reason| vec![reason])
        }
    };
    reasons.extend(history::reasons(facts));
    reasons
}
