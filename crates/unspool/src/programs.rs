//! From options to programs that run besides tasks, and to the place of the schedule.

use std::io;
use std::path::PathBuf;

use unspool_config::{Config, Programs};
use unspool_spool::{SchedulePlace, SpoolDir};
use unspool_supervisor::{AttachedDaemon, CronCommand, CronFields, ProgramSettings, Surroundings};
use unspool_wire::control::TimerSpec;

use crate::resolve::ResolveError;

/// Where everybody may write, for a user without a home.
const TEMPORARY: &str = "/tmp";

/// The programs of a configuration.
pub(crate) fn settings(config: &Config) -> Result<ProgramSettings, ResolveError> {
    let Programs { crons, cron_harakiri, daemons, timers } = &config.programs;
    let crons = crons.iter().map(|cron| CronCommand {
        when: CronFields {
            minute: cron.minute,
            hour: cron.hour,
            day: cron.day,
            month: cron.month,
            weekday: cron.weekday,
        },
        command: cron.command.clone(),
        shown: cron.shown.clone(),
        unique: cron.unique,
        harakiri: cron.harakiri.or(*cron_harakiri),
    });
    let timers = timers.iter().map(|timer| TimerSpec {
        signal: timer.signal,
        seconds: timer.every.as_secs_f64(),
        iterations: 0,
    });
    let directory = config.chdir2.as_ref().or(config.chdir.as_ref());
    Ok(ProgramSettings {
        crons: crons.collect(),
        daemons: daemons.iter().map(attached).collect::<Result<_, _>>()?,
        timers: timers.collect(),
        surroundings: Surroundings {
            directory: directory.unwrap_or(&config.start_directory).clone(),
            env: config.env.clone(),
            unenv: config.unenv.clone(),
        },
    })
}

fn attached(daemon: &unspool_config::AttachedDaemon) -> Result<AttachedDaemon, ResolveError> {
    let number = |what: &'static str, name: &Option<String>| match name {
        None => Ok(None),
        Some(name) => name.parse().map(Some).map_err(|_| ResolveError::Unknown {
            what,
            name: name.clone(),
            origin: daemon.origin.clone(),
        }),
    };
    Ok(AttachedDaemon {
        command: daemon.command.clone(),
        shown: daemon.shown.clone(),
        pidfile: daemon.pidfile.clone(),
        daemonize: daemon.daemonize,
        control: daemon.control,
        frequency: daemon.frequency,
        stop_signal: daemon.stop_signal,
        reload_signal: daemon.reload_signal,
        touch: daemon.touch.clone(),
        throttle_max: daemon.throttle_max,
        uid: number("user", &daemon.uid)?,
        gid: number("group", &daemon.gid)?,
        directory: daemon.chdir.clone(),
    })
}

/// Where it is written down which crons of a configuration have run: in its first spool, or, where
/// it has none, in the first of these folders that can be used.
pub(crate) fn schedule(
    config: &Config,
    first: Option<&SpoolDir>,
    states: Vec<PathBuf>,
) -> io::Result<SchedulePlace> {
    let key = key(config);
    match first {
        Some(dir) => Ok(SchedulePlace::in_spool(dir, key)?.pausing_in(pause_key(config))),
        None => Ok(SchedulePlace::in_state(states, PathBuf::from(TEMPORARY), key)),
    }
}

/// A name for a configuration, the same in every daemon of it, also after an edit: from its files
/// and their sections, or from the options where there are no files.
pub(crate) fn key(config: &Config) -> String {
    let mut hash = Fnv::default();
    for (path, section) in &config.config_sections {
        let path = path.canonicalize().unwrap_or_else(|_| path.clone());
        hash.add(path.as_os_str().as_encoded_bytes());
        hash.add(section.as_bytes());
    }
    if config.config_sections.is_empty() {
        hash.add(config.start_directory.as_os_str().as_encoded_bytes());
        for entry in &config.entries {
            hash.add(entry.name.as_bytes());
            hash.add(entry.value.as_deref().unwrap_or_default().as_bytes());
        }
    }
    format!("{:016x}", hash.0)
}

/// The name under which the pauses of a configuration lie in its first spool. Without a file it is the same
/// for all options: a daemon that is started with other ones must not fire what somebody has paused.
pub(crate) fn pause_key(config: &Config) -> String {
    if config.config_sections.is_empty() {
        return format!("{:016x}", Fnv::default().0);
    }
    key(config)
}

/// FNV-1a: the same in every version of unspool.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes.iter().chain(&[0]) {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}
