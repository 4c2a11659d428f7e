//! Why a task does not run, or not yet, or ran late or twice.
//!
//! `facts` gathers what the files and the daemons tell, and judges nothing; the other modules make
//! reasons of it, each a code for programs and a sentence for people. Codes are documented in
//! `docs/reference/cli.md` and do not change.

mod ended;
mod facts;
mod history;
mod holders;
mod relayed;
mod waiting;
mod workers;

use serde_json::{Map, Value};
use unspool_spool::Whereabouts;
use unspool_sys::user;

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

/// Who asks may not read the task's file.
fn unreadable(facts: &Facts) -> Option<Reason> {
    if facts.summary.readable {
        return None;
    }
    let owner = facts.summary.stat.owner;
    let name = user::by_number(owner).ok().flatten().map(|user| format!("`{}`", user.name));
    let name = name.unwrap_or_else(|| owner.to_string());
    let text = format!(
        "Its file may not be read by you: what it asks for, and whether it is whole, signed or held, is not \
         known here. Ask as its user, {name}, or as root."
    );
    Some(Reason::new("unreadable", text).with("owner", owner).with("again_s", None::<f64>))
}

/// It is not known which tasks are held: a daemon that runs goes on with what it knew.
fn adoption_unreadable(facts: &Facts) -> Option<Reason> {
    let (Whereabouts::Pending(_), Some(problem)) =
        (&facts.summary.whereabouts, &facts.adoption_problem)
    else {
        return None;
    };
    let text = if facts.known().next().is_some() {
        format!(
            "Which old tasks of a uWSGI's are held can be read no more: the daemon goes on with what it knew, \
             and none starts anew: {problem}."
        )
    } else {
        format!(
            "It is not known whether it is an old task of a uWSGI's that is held, and no daemon starts to run \
             the spool: {problem}."
        )
    };
    Some(Reason::new("adoption_unreadable", text).with("problem", problem.clone()))
}

/// The reasons, the one that decides first.
pub(crate) fn reasons(facts: &Facts) -> Vec<Reason> {
    let mut reasons = match &facts.summary.whereabouts {
        Whereabouts::Kept(kept, _) => ended::reasons(facts, *kept),
        Whereabouts::Pending(_) => match &facts.relay {
            Some((relay, lives)) => relayed::reasons(facts, relay, *lives),
            None => holders::reason(facts)
                .map_or_else(|| waiting::reasons(facts), |reason| vec![reason]),
        },
    };
    if let Some(reason) = adoption_unreadable(facts) {
        let at = if facts.daemons.is_empty() { 0 } else { reasons.len() };
        reasons.insert(at, reason);
    }
    reasons.extend(history::reasons(facts));
    reasons
}
