//! `unspool schedule`: timers and crons, of the application and of the configuration.

mod known;

use std::fmt::Write as _;
use std::io::{self, Write};

use jiff::tz::TimeZone;
use serde_json::json;
use unspool_supervisor::next_minute;
use unspool_sys::{clock, user};
use unspool_wire::schedule::{Entry, EntryKind, ScheduleAsk};

use self::known::{Known, ScheduleError, Schedules};
use crate::cli::{ScheduleChoice, ScheduleCommand, ScheduleDeed};
use crate::display::{self, clean, json_line};
use crate::logging::{complain, complain_as_asked, with_causes};
use crate::{exit, terminal};

impl ScheduleError {
    fn exit_status(&self) -> u8 {
        match self {
            Self::Spools(error) => error.exit_status(),
            Self::Resolve(error) => error.exit_status(),
            Self::Unknown { .. } | Self::UnknownWithoutDaemon { .. } => exit::NOTHING,
            Self::Ambiguous { .. } => exit::USAGE,
            _ => exit::FAILED,
        }
    }
}

/// Does it, and says what was done.
pub(crate) fn run(command: &ScheduleCommand) -> u8 {
    let as_json = match &command.deed {
        ScheduleDeed::Ls(options) => options.json,
        ScheduleDeed::Run(choice) | ScheduleDeed::Resume(choice) => choice.json,
        ScheduleDeed::Pause(options) => options.choice.json,
    };
    let done = match &command.deed {
        ScheduleDeed::Ls(options) => Schedules::find(&options.spool)
            .map(|schedules| terminal::printed(list(&schedules, options.json), told(&schedules))),
        ScheduleDeed::Run(choice) => Schedules::find(&choice.spool)
            .map(|schedules| each(&schedules, choice, "fired", |id| ScheduleAsk::Run { id })),
        ScheduleDeed::Pause(options) => Schedules::find(&options.choice.spool).map(|schedules| {
            let (by, why) = (user::whoami(), options.why.clone());
            each(&schedules, &options.choice, "paused", |id| ScheduleAsk::Pause {
                id,
                by: by.clone(),
                why: why.clone(),
            })
        }),
        ScheduleDeed::Resume(choice) => Schedules::find(&choice.spool)
            .map(|schedules| each(&schedules, choice, "resumed", |id| ScheduleAsk::Resume { id })),
    };
    done.unwrap_or_else(|error| {
        complain_as_asked(&error, as_json);
        error.exit_status()
    })
}

fn each(
    schedules: &Schedules,
    choice: &ScheduleChoice,
    word: &str,
    ask: impl Fn(String) -> ScheduleAsk,
) -> u8 {
    let mut status = exit::OK;
    for name in &choice.names {
        let done = schedules.choose(name).and_then(|found| {
            for (known, entry) in &found {
                let ask = ask(entry.id.clone());
                let once = matches!(ask, ScheduleAsk::Run { .. });
                schedules.act(known, ask)?;
                // It fires in one place, and pauses wherever it may fire.
                if once {
                    break;
                }
            }
            found.first().map(|(_, entry)| *entry).ok_or_else(|| schedules.unknown(name))
        });
        let line = match done {
            Ok(entry) if choice.json => json_line(
                &json!({"given": name, "id": entry.id, "name": entry.name, "became": word}),
            ),
            Ok(entry) => format!("{word:8}  {}  {}\n", clean(&entry.id), clean(&entry.name)),
            Err(error) => {
                complain(&error);
                status = exit::worse(status, error.exit_status());
                if !choice.json {
                    continue;
                }
                json_line(&json!({"given": name, "error": with_causes(&error)}))
            }
        };
        // It is done whether or not somebody reads of it.
        let _ = io::stdout().write_all(line.as_bytes());
    }
    status
}

/// Complains where no daemon says what there is: the application's own are not listed then.
fn told(schedules: &Schedules) -> u8 {
    let silent = schedules.known.iter().find(|known| known.report.pid == 0);
    silent.map_or(exit::OK, |known| {
        complain(&ScheduleError::ListedWithoutDaemon { spool: known.spool.clone() });
        exit::FAILED
    })
}

fn list(schedules: &Schedules, as_json: bool) -> io::Result<()> {
    let mut output = io::stdout().lock();
    for known in &schedules.known {
        let zone = known.report.zone.as_deref().and_then(|name| TimeZone::get(name).ok());
        let zone = zone.unwrap_or_else(TimeZone::system);
        let now_ms = clock::now_ns() / 1_000_000;
        let rows = known.report.entries.iter().map(|entry| {
            let next_ms = match entry.when {
                Some(when) => next_minute(when, &zone, now_ms),
                None => entry.next_ms,
            };
            (entry, next_ms.filter(|_| entry.paused.is_none()))
        });
        if as_json {
            for (entry, next_ms) in rows {
                output.write_all(json_line(&json_of(known, entry, next_ms)).as_bytes())?;
            }
        } else {
            table(&mut output, rows.collect(), &zone)?;
        }
    }
    output.flush()
}

fn json_of(known: &Known, entry: &Entry, next_ms: Option<i64>) -> serde_json::Value {
    let seconds = |ms: Option<i64>| ms.map(|ms| ms as f64 / 1e3);
    let paused = entry
        .paused
        .as_ref()
        .map(|pause| json!({"by": pause.by, "why": pause.why, "at": seconds(Some(pause.at_ms))}));
    json!({
        "id": entry.id,
        "kind": entry.kind.as_str(),
        "name": entry.name,
        "signal": entry.signal,
        "every_s": entry.every_ms.map(|ms| ms as f64 / 1e3),
        "when": entry.when,
        "next": seconds(next_ms),
        "last": seconds(entry.last_ms),
        "runs": entry.runs,
        "own": entry.own,
        "paused": paused,
        "daemon": Some(known.report.pid).filter(|pid| *pid != 0),
        "fires_here": known.report.leads,
    })
}

fn table(
    output: &mut impl Write,
    rows: Vec<(&Entry, Option<i64>)>,
    zone: &TimeZone,
) -> io::Result<()> {
    let time = |ms: Option<i64>| {
        let stamp = ms.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
        stamp.map_or_else(
            || "-".to_owned(),
            |stamp| {
                let zoned = stamp.to_zoned_datetime(zone.clone());
                zoned.strftime("%Y-%m-%d %H:%M:%S").to_string()
            },
        )
    };
    let lines: Vec<[String; 7]> = rows
        .into_iter()
        .map(|(entry, next_ms)| {
            let state = match &entry.paused {
                Some(pause) => {
                    let why = pause.why.as_deref().map(|why| format!(": {}", clean(why)));
                    let (by, at) = (clean(&pause.by), time(Some(pause.at_ms)));
                    format!("paused by {by} at {at}{}", why.unwrap_or_default())
                }
                None if entry.own => "of one process".to_owned(),
                None => String::new(),
            };
            let kind = if entry.when.is_none() && entry.every_ms.is_none() {
                "-"
            } else {
                entry.kind.as_str()
            };
            [
                clean(&entry.id),
                kind.to_owned(),
                when(entry),
                time(next_ms),
                time(entry.last_ms),
                clean(&entry.name),
                state,
            ]
        })
        .collect();
    let head = ["ID", "KIND", "WHEN", "NEXT", "LAST", "NAME", "STATE"].map(str::to_owned);
    let all = std::iter::once(&head).chain(&lines);
    let width = |column: usize| {
        all.clone().map(|line| display::width(&line[column])).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..6).map(width).collect();
    for line in all.clone() {
        let mut text = String::new();
        for (field, width) in line.iter().zip(widths.iter().chain(&[0])) {
            // Writing into a String cannot fail.
            let _ = write!(text, "{}  ", display::padded(field, *width));
        }
        writeln!(output, "{}", text.trim_end())?;
    }
    Ok(())
}

/// The five fields as crontab has them, or the interval.
fn when(entry: &Entry) -> String {
    if let Some(fields) = entry.when {
        let field = |n: &i32| match n {
            -1 => "*".to_owned(),
            n if *n < -1 => format!("*/{}", n.unsigned_abs()),
            n => n.to_string(),
        };
        return fields.iter().map(field).collect::<Vec<_>>().join(" ");
    }
    match (entry.kind, entry.every_ms) {
        (EntryKind::Timer, Some(ms)) => format!("every {} s", ms as f64 / 1e3),
        _ => "-".to_owned(),
    }
}
