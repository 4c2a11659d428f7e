//! The document: uWSGI 2.0.31's fields in its order and form, and unspool's own beside them.

use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, PrettyFormatter, Serializer};
use unspool_supervisor::snapshot::{CommandSnapshot, DaemonSnapshot, Snapshot, WorkerSnapshot};
use unspool_sys::{host, memory};

use crate::web_document::{WebSocket, WebWorker};

/// What the document says that no snapshot does.
#[derive(Debug)]
pub struct Identity {
    /// The version of uWSGI whose options and module this is.
    pub uwsgi_version: &'static str,
    /// unspool's own.
    pub version: &'static str,
    /// Where the application runs.
    pub cwd: PathBuf,
    /// Spools that others run.
    pub external: Vec<PathBuf>,
}

/// A list that has nothing in it: of what unspool has not.
const NONE: [(); 0] = [];

#[derive(Serialize)]
struct Document<'a> {
    version: &'static str,
    listen_queue: u64,
    listen_queue_errors: u64,
    signal_queue: u64,
    load: u64,
    pid: u32,
    uid: u32,
    gid: u32,
    cwd: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    daemons: Vec<Daemon<'a>>,
    locks: [(); 0],
    sockets: Vec<WebSocket<'a>>,
    workers: Vec<WebWorker>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    spoolers: Vec<Spooler>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    crons: Vec<Cron<'a>>,
    unspool: Own<'a>,
}

/// An attached daemon.
#[derive(Serialize)]
struct Daemon<'a> {
    cmd: &'a str,
    /// -1 while there is none.
    pid: i64,
    respawns: u64,
}

/// A cron of the configuration.
#[derive(Serialize)]
struct Cron<'a> {
    minute: i32,
    hour: i32,
    day: i32,
    month: i32,
    week: i32,
    command: &'a str,
    unique: u8,
    /// unspool has no legions.
    legion: &'static str,
    /// -1 while it does not run.
    pid: i64,
    /// 0 while it does not run.
    started_at: i64,
}

/// One process of one spool. The first five are uWSGI's.
#[derive(Serialize)]
struct Spooler {
    dir: String,
    pid: u32,
    tasks: u64,
    respawns: u32,
    running: u8,
    /// As in `unspool.spools[].workers[]`.
    id: u32,
    rss: u64,
    vsz: u64,
}

#[derive(Serialize)]
struct Own<'a> {
    version: &'static str,
    rss: u64,
    vsz: u64,
    #[serde(flatten)]
    daemon: &'a Snapshot,
}

/// The document of a snapshot.
pub(crate) fn render(
    snapshot: &Snapshot,
    identity: &Identity,
    minified: bool,
) -> serde_json::Result<Vec<u8>> {
    let (rss, vsz) = memory(snapshot.pid);
    let document = Document {
        version: identity.uwsgi_version,
        listen_queue: 0,
        listen_queue_errors: 0,
        signal_queue: snapshot.ticks.waiting as u64,
        load: 0,
        pid: snapshot.pid,
        uid: host::uid(),
        gid: host::gid(),
        cwd: text(&identity.cwd),
        daemons: snapshot.daemons.iter().map(daemon).collect(),
        locks: NONE,
        sockets: snapshot.web_sockets.iter().map(WebSocket::of).collect(),
        workers: snapshot.web.iter().map(|worker| WebWorker::of(worker, &identity.cwd)).collect(),
        spoolers: spoolers(snapshot, identity),
        crons: snapshot.cron_commands.iter().map(cron).collect(),
        unspool: Own { version: identity.version, rss, vsz, daemon: snapshot },
    };
    let mut bytes = Vec::with_capacity(4096);
    if minified {
        document.serialize(&mut Serializer::with_formatter(&mut bytes, CompactFormatter))?;
    } else {
        let formatter = Tabs(PrettyFormatter::with_indent(b"\t"));
        document.serialize(&mut Serializer::with_formatter(&mut bytes, formatter))?;
    }
    Ok(bytes)
}

fn daemon(daemon: &DaemonSnapshot) -> Daemon<'_> {
    Daemon { cmd: &daemon.command, pid: pid_or_none(daemon.pid), respawns: daemon.respawns }
}

fn cron(cron: &CommandSnapshot) -> Cron<'_> {
    Cron {
        minute: cron.minute,
        hour: cron.hour,
        day: cron.day,
        month: cron.month,
        week: cron.weekday,
        command: &cron.command,
        unique: u8::from(cron.unique),
        legion: "",
        pid: pid_or_none(cron.pid),
        started_at: cron.pid.and(cron.started_at).unwrap_or_default(),
    }
}

fn pid_or_none(pid: Option<u32>) -> i64 {
    pid.map_or(-1, i64::from)
}

/// An entry for each process, also for one that is not there at the moment; as in uWSGI one with
/// process 0 for a spool that others run.
fn spoolers(snapshot: &Snapshot, identity: &Identity) -> Vec<Spooler> {
    let mut spoolers = Vec::new();
    for spool in &snapshot.spools {
        let dir = text(&spool.dir);
        spoolers.extend(spool.workers.iter().map(|worker| spooler(dir.clone(), worker)));
        let missing = (spool.processes as usize).saturating_sub(spool.workers.len());
        spoolers.extend((0..missing).map(|_| nobody(dir.clone())));
    }
    spoolers.extend(identity.external.iter().map(|dir| nobody(text(dir))));
    spoolers
}

fn spooler(dir: String, worker: &WorkerSnapshot) -> Spooler {
    let (rss, vsz) = memory(worker.pid);
    Spooler {
        dir,
        pid: worker.pid,
        tasks: worker.tasks,
        respawns: worker.respawns,
        running: u8::from(worker.current.is_some()),
        id: worker.id,
        rss,
        vsz,
    }
}

fn nobody(dir: String) -> Spooler {
    Spooler { dir, pid: 0, tasks: 0, respawns: 0, running: 0, id: 0, rss: 0, vsz: 0 }
}

/// Resident and mapped bytes; zeros for a process that is gone.
pub(crate) fn memory(pid: u32) -> (u64, u64) {
    memory::memory(pid).map_or((0, 0), |found| (found.resident, found.address_space))
}

pub(crate) fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// uWSGI's form: indented by tabs, without a blank behind the colon.
struct Tabs<'a>(PrettyFormatter<'a>);

impl Formatter for Tabs<'_> {
    fn begin_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_array(writer)
    }

    fn end_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array(writer)
    }

    fn begin_array_value<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.0.begin_array_value(writer, first)
    }

    fn end_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array_value(writer)
    }

    fn begin_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object(writer)
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object(writer)
    }

    fn begin_object_key<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.0.begin_object_key(writer, first)
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b":")
    }

    fn end_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object_value(writer)
    }
}
