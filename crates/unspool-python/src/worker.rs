//! A worker's end of its socket: takes tasks, builds what handlers get, applies outcomes.
//!
//! The loop around it is Python (`unspool/_worker.py`). A task that is done is deleted here, in the
//! worker, the moment its handler returns; every other outcome is reported and applied by the
//! dispatcher, or here as well if the daemon is gone.
#![expect(unsafe_code, reason = "descriptors arrive as numbers from Python")]

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pyo3::conversion::FromPyObjectOwned;
use pyo3::exceptions::{PyOSError, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyInt};
use unspool_core::limits::{PACKET_BYTES_MAX, REPORT_TEXT_BYTES_MAX};
use unspool_core::taskfile::TaskFile;
use unspool_core::{Outcome, RetryPolicy, TaskPolicy};
use unspool_spool::{
    LEASE_LOST, Refused, RunNotes, Standing, Trust, complete, has_lost_lease, read_all,
};
use unspool_sys::file::stat_file;
use unspool_sys::folder::Folder;
use unspool_sys::slots::{Slot, SlotTable};
use unspool_sys::socket::{self, Received};
use unspool_sys::space::{FileSystem, file_system};
use unspool_sys::tail::TailTable;
use unspool_sys::{clock, host, memory, process};
use unspool_wire::PROTOCOL_VERSION;
use unspool_wire::task::{FromWorker, Handed, Report, ToWorker};

use crate::alone::{Alone, Ended};
use crate::limits::TaskLimits;
use crate::{cancelled, output, running, settings};

/// Reports kept back while short tasks follow each other.
const REPORTS_MAX: usize = 16;
/// How long a report is kept back at most, while no task takes longer.
const REPORT_NS_MAX: u64 = 2_000_000;
/// The longest step in which file systems count change times, and that of those that know whole seconds
/// only.
const STEP_NS: i64 = 20_000_000;
const WHOLE_STEP_NS: i64 = 2_000_000_000;

/// A task that was handed to this worker, with the folder as it was then.
#[derive(Debug)]
struct Waiting {
    handed: Handed,
    file: OwnedFd,
    folder: Arc<Folder>,
}

/// What the worker is doing.
#[derive(Debug)]
enum Current {
    Nothing,
    Task { task: Waiting, attempts: u8, policy: TaskPolicy, started_ns: u64 },
    Tick { signal: u8, started_ns: u64 },
}

/// The worker's end.
#[pyclass(module = "unspool._native")]
#[derive(Debug)]
pub(crate) struct Worker {
    socket: OwnedFd,
    slots: Option<Arc<SlotTable>>,
    row: usize,
    /// The spool is on a file system that takes locks away from who is not heard of.
    lease_may_be_lost: bool,
    /// Where it notes what it runs.
    notes: Option<RunNotes>,
    /// The change time of the file that is noted; `None`: no note of ours is left.
    noted_ctime_ns: Option<i64>,
    limits: TaskLimits,
    alone: Alone,
    directory: Option<Folder>,
    trust: Trust,
    folders: HashMap<u32, Arc<Folder>>,
    queue: VecDeque<Waiting>,
    current: Current,
    reports: Vec<Report>,
    oldest_report_ns: u64,
    pid: u32,
    leaving: bool,
    buffer: Vec<u8>,
}

#[pymethods]
impl Worker {
    /// Takes over the descriptors; `slots` and `tails` are -1 for a worker that runs no tasks, and
    /// `notes` too where the daemon has none.
    #[new]
    #[pyo3(signature = (socket, slots, tails, notes, row, setup, spool=None))]
    fn new(
        socket: RawFd,
        slots: RawFd,
        tails: RawFd,
        notes: RawFd,
        row: usize,
        setup: &Bound<'_, PyDict>,
        spool: Option<PathBuf>,
    ) -> PyResult<Self> {
        // SAFETY: the zygote received this descriptor for us and gives up its number.
        let socket = unsafe { OwnedFd::from_raw_fd(socket) };
        let slots = if slots < 0 {
            None
        } else {
            // SAFETY: as above.
            let file = unsafe { OwnedFd::from_raw_fd(slots) };
            Some(Arc::new(SlotTable::open(file)?))
        };
        if slots.as_ref().is_some_and(|slots| slots.row(row).is_none()) {
            return Err(PyRuntimeError::new_err(format!("the slots have no row {row}")));
        }
        if let Some(slots) = &slots {
            cancelled::watch(slots, row);
        }
        if tails >= 0 {
            // SAFETY: as above.
            let file = unsafe { OwnedFd::from_raw_fd(tails) };
            output::keep(TailTable::open(file)?, row);
        }
        // SAFETY: as above.
        let notes = (notes >= 0).then(|| unsafe { OwnedFd::from_raw_fd(notes) });
        let file_system = notes.as_ref().map(|notes| file_system(notes.as_fd()));
        let chdir: Option<PathBuf> = option(setup, "spooler_chdir")?;
        let seconds = |name: &str| -> PyResult<Option<Duration>> {
            Ok(option::<f64>(setup, name)?.and_then(|s| Duration::try_from_secs_f64(s).ok()))
        };
        Ok(Self {
            socket,
            slots,
            row,
            lease_may_be_lost: matches!(file_system, Some(Ok(FileSystem::Network(_)))),
            notes: notes.map(RunNotes::of_worker),
            noted_ctime_ns: None,
            limits: TaskLimits::new(seconds("soft_time_limit")?, seconds("harakiri")?),
            alone: Alone { spool, policy: retry_policy(setup)? },
            directory: chdir.map(|path| Folder::open(&path)).transpose()?,
            trust: settings::trust(),
            folders: HashMap::new(),
            queue: VecDeque::new(),
            current: Current::Nothing,
            reports: Vec::new(),
            oldest_report_ns: 0,
            pid: host::pid(),
            leaving: false,
            buffer: vec![0; PACKET_BYTES_MAX],
        })
    }

    /// Says that this worker can run tasks.
    fn ready(&mut self) -> PyResult<()> {
        let packet = FromWorker::Ready { version: PROTOCOL_VERSION, pid: self.pid };
        if self.send(&packet) {
            return Ok(());
        }
        Err(PyOSError::new_err("the daemon is gone"))
    }

    /// The next piece of work: the dictionary of a task, the number of a signal, or `None` when it
    /// is time to leave. Waits without the GIL.
    fn receive<'py>(&mut self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        loop {
            while let Some(task) = self.queue.pop_front() {
                if let Some(work) = self.begin(py, task)? {
                    return Ok(Some(work.into_any()));
                }
            }
            self.flush();
            self.forget_young_run();
            if self.leaving {
                return Ok(None);
            }
            match self.take_packet(py)? {
                None | Some(ToWorker::Drain) => self.leaving = true,
                Some(ToWorker::Tick { signal }) => {
                    self.current = Current::Tick { signal, started_ns: clock::monotonic_ns() };
                    return Ok(Some(PyInt::new(py, signal).into_any()));
                }
                Some(ToWorker::Folder { .. } | ToWorker::Tasks(_)) => {}
            }
        }
    }

    /// Waits for a signal in the middle of a piece of work; `None` when it is time to leave. Waits
    /// without the GIL.
    fn wait_signal(&mut self, py: Python<'_>) -> PyResult<Option<u8>> {
        // What was done before must not look undone for as long as this takes.
        self.flush();
        while !self.leaving {
            match self.take_packet(py)? {
                None | Some(ToWorker::Drain) => self.leaving = true,
                Some(ToWorker::Tick { signal }) => return Ok(Some(signal)),
                Some(ToWorker::Folder { .. } | ToWorker::Tasks(_)) => {}
            }
        }
        Ok(None)
    }

    /// A signal that was waited for has been handled, if it has a handler.
    #[pyo3(signature = (signal, duration_ns, error=None))]
    fn signal_done(&self, signal: u8, duration_ns: u64, error: Option<&str>) {
        let error = error.map(shorten);
        self.send(&FromWorker::TickDone { signal, duration_ns, error });
    }

    /// A signal that was raised here, or `None`, without waiting; afterwards `leaving` may be true.
    /// For a worker that waits for other things too, and is given no tasks.
    fn look(&mut self) -> PyResult<Option<u8>> {
        let mut fds = Vec::new();
        match socket::receive(self.socket.as_fd(), &mut self.buffer, &mut fds, false)? {
            Received::Nothing => Ok(None),
            Received::Closed => {
                self.leaving = true;
                Ok(None)
            }
            Received::Packet(bytes) => match ToWorker::decode(&self.buffer[..bytes]) {
                Ok(ToWorker::Tick { signal }) => Ok(Some(signal)),
                Ok(ToWorker::Drain) => {
                    self.leaving = true;
                    Ok(None)
                }
                Ok(packet) => Err(PyRuntimeError::new_err(format!("{packet:?} is not for a mule"))),
                Err(error) => Err(PyRuntimeError::new_err(error.to_string())),
            },
        }
    }

    /// The handler of a signal that `look` returned has run; `error` is what it raised.
    #[pyo3(signature = (signal, duration_ns, error, /))]
    fn tick_over(&self, signal: u8, duration_ns: u64, error: Option<&str>) {
        self.send(&FromWorker::TickDone { signal, duration_ns, error: error.map(shorten) });
    }

    /// Says that this web worker accepts no more, and ends.
    fn leaves(&self) {
        self.send(&FromWorker::Leaving);
    }

    /// Whether it is time to end.
    #[getter]
    fn leaving(&self) -> bool {
        self.leaving
    }

    /// The socket's number, to wait for packets.
    fn fileno(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// The handler of the current task returned this number.
    fn finish(&mut self, code: i64) {
        self.end(Outcome::from_code(code), String::new());
    }

    /// The current task failed, or the handler of the current signal raised.
    fn fail(&mut self, text: &str) {
        self.end(Outcome::Failed, shorten(text));
    }

    /// The current task was told that its time is over, and has ended.
    fn time_out(&mut self, text: &str) {
        self.end(Outcome::TimedOut, shorten(text));
    }

    /// The current task was told that somebody cancelled it, and has ended.
    fn cancelled(&mut self) {
        self.end(Outcome::Cancelled, String::new());
    }

    /// The application has no function for the current task.
    fn not_registered(&mut self, text: &str) {
        self.end(Outcome::UnknownFunction, shorten(text));
    }

    /// The handler of the current signal returned.
    fn tick_done(&mut self) {
        self.end(Outcome::Done, String::new());
    }
}

impl Worker {
    /// Waits for a packet and stores what came with it. `None`: the daemon is gone.
    fn take_packet(&mut self, py: Python<'_>) -> PyResult<Option<ToWorker>> {
        let mut fds = Vec::new();
        let mut received = socket::receive(self.socket.as_fd(), &mut self.buffer, &mut fds, false)?;
        while received == Received::Nothing {
            let (socket, buffer) = (&self.socket, &mut self.buffer);
            let result = py.detach(|| socket::receive(socket.as_fd(), buffer, &mut fds, true));
            match result {
                Ok(got) => received = got,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => py.check_signals()?,
                Err(error) => return Err(error.into()),
            }
        }
        let Received::Packet(bytes) = received else { return Ok(None) };
        let packet = ToWorker::decode(&self.buffer[..bytes])
            .map_err(|error| PyRuntimeError::new_err(error.to_string()))?;
        match &packet {
            ToWorker::Folder { index } => {
                if let Some(fd) = fds.pop() {
                    self.folders.insert(*index, Arc::new(Folder::from(fd)));
                }
            }
            ToWorker::Tasks(tasks) => self.take_tasks(tasks, fds)?,
            ToWorker::Tick { .. } | ToWorker::Drain => {}
        }
        Ok(Some(packet))
    }

    fn take_tasks(&mut self, tasks: &[Handed], files: Vec<OwnedFd>) -> PyResult<()> {
        if tasks.len() != files.len() {
            return Err(PyRuntimeError::new_err("tasks came without their descriptors"));
        }
        for (handed, file) in tasks.iter().cloned().zip(files) {
            let folder = self.folders.get(&handed.folder).cloned().ok_or_else(|| {
                PyRuntimeError::new_err(format!("folder {} is not known", handed.folder))
            })?;
            self.queue.push_back(Waiting { handed, file, folder });
        }
        Ok(())
    }

    /// Starts a task, unless it was taken back or is no task.
    fn begin<'py>(
        &mut self,
        py: Python<'py>,
        task: Waiting,
    ) -> PyResult<Option<Bound<'py, PyDict>>> {
        let started_ns = clock::monotonic_ns();
        if !self.slot(task.handed.slot).is_some_and(|slot| slot.start(started_ns)) {
            self.report(Report { slot: task.handed.slot, ..Report::default() });
            return Ok(None);
        }
        self.note_run(task.handed.slot, started_ns);
        cancelled::begin(task.handed.slot);
        let content = read_all(task.file.as_fd());
        let attempts = content.as_ref().ok().and_then(|(_, c)| c.get(3)).copied().unwrap_or(0);
        let policy = TaskPolicy::default();
        self.current = Current::Task { task, attempts, policy, started_ns };
        output::begin();
        let (stat, content) = match content {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
                self.end(Outcome::Malformed, error.to_string());
                return Ok(None);
            }
            Err(error) => {
                self.end(Outcome::Failed, format!("the task's file cannot be read: {error}"));
                return Ok(None);
            }
        };
        // Before anything of it is parsed.
        let standing = match self.trust.admit(&content, &stat) {
            Ok(standing) => standing,
            Err(refused) => {
                let damaged = refused == Refused::Damaged;
                let outcome = if damaged { Outcome::Malformed } else { Outcome::Refused };
                self.end(outcome, refused.to_string());
                return Ok(None);
            }
        };
        let task = match TaskFile::parse(&content) {
            Ok(task) => task,
            Err(error) => {
                self.end(Outcome::Malformed, error.to_string());
                return Ok(None);
            }
        };
        if let Err(error) = self.enter_directory() {
            self.end(Outcome::Failed, format!("cannot enter the task's directory: {error}"));
            return Ok(None);
        }
        if let Current::Task { policy, .. } = &mut self.current {
            *policy = task.policy;
        }
        if attempts > 0 {
            // So that the record of another failure says how much this attempt took.
            memory::reset_peak();
        }
        if let Err(error) = self.limits.begin(&task.policy, started_ns) {
            self.end(Outcome::Failed, format!("the limits of its time cannot be set: {error}"));
            return Ok(None);
        }
        self.dictionary(py, &task, standing).map(Some)
    }

    /// Tasks run in `spooler-chdir`, else in the folder of their file, as in uWSGI.
    fn enter_directory(&self) -> io::Result<()> {
        let Current::Task { task, .. } = &self.current else { return Ok(()) };
        self.directory.as_ref().unwrap_or(&task.folder).enter()
    }

    /// Begins a task for its handler.
    fn dictionary<'py>(
        &self,
        py: Python<'py>,
        task: &TaskFile<'_>,
        standing: Standing,
    ) -> PyResult<Bound<'py, PyDict>> {
        let name = match &self.current {
            Current::Task { task: waiting, .. } => &waiting.handed.name[..],
            _ => &[],
        };
        running::begin(name, task.module, standing);
        running::dictionary(py, name, task)
    }

    /// Ends the current piece of work.
    fn end(&mut self, outcome: Outcome, text: String) {
        match std::mem::replace(&mut self.current, Current::Nothing) {
            Current::Nothing => {}
            Current::Tick { signal, started_ns } => {
                let duration_ns = clock::monotonic_ns().saturating_sub(started_ns);
                let error = (outcome != Outcome::Done).then_some(text);
                self.send(&FromWorker::TickDone { signal, duration_ns, error });
            }
            Current::Task { task, attempts, policy, started_ns } => {
                self.limits.end();
                cancelled::end();
                let slot = task.handed.slot;
                // However else it ended than done: nobody wants it any more, also if the daemon is gone.
                let cancelled = outcome != Outcome::Done && self.is_cancelled(slot);
                let outcome = if cancelled { Outcome::Cancelled } else { outcome };
                let duration_ns = clock::monotonic_ns().saturating_sub(started_ns);
                let deletes = matches!(outcome, Outcome::Done | Outcome::Cancelled);
                let errno = if deletes { delete(&task, self.lease_may_be_lost) } else { 0 };
                if let Some(slot) = self.slot(slot) {
                    slot.done();
                }
                // Where the file is gone, the note is of nothing, and the next task's takes its place.
                if !deletes || errno != 0 {
                    self.forget_run();
                }
                let mut report = Report {
                    slot,
                    outcome: Some(outcome),
                    duration_ns,
                    text,
                    errno,
                    ..Report::default()
                };
                let failed = match outcome {
                    Outcome::Failed | Outcome::TimedOut => true,
                    Outcome::Retry => self.alone.counts_retries(&policy),
                    _ => false,
                };
                if failed {
                    report.output = output::output();
                    report.peak_rss = memory::peak().unwrap_or(0);
                }
                // One that is done needs nobody any more, and one that is no task is looked at again.
                let ends = matches!(outcome, Outcome::Done | Outcome::Malformed | Outcome::Refused);
                let told = (!ends).then(|| (report.clone(), task));
                // Whoever else is closed here: a damaged file is not moved while it is open.
                self.report(report);
                let long = clock::monotonic_ns().saturating_sub(self.oldest_report_ns);
                let hurry = outcome != Outcome::Done
                    || errno != 0
                    || self.queue.is_empty()
                    || self.reports.len() >= REPORTS_MAX
                    || long.max(duration_ns) > REPORT_NS_MAX;
                if hurry && !self.flush() {
                    self.leaving = true;
                    // Tasks that were not started are free when this process has ended.
                    self.queue.clear();
                    if let Some((told, task)) = told.filter(|(_, task)| self.has(task)) {
                        let (name, file) = (task.handed.name.as_slice(), &task.file);
                        self.alone.apply(&Ended { name, file, attempts, policy }, &told);
                    }
                }
            }
        }
    }

    /// Whether its file is still open: a task that closed it may have opened another one of that number.
    fn has(&self, task: &Waiting) -> bool {
        let stat = stat_file(task.file.as_fd());
        self.slot(task.handed.slot)
            .is_some_and(|slot| stat.is_ok_and(|stat| stat.inode == slot.named().inode))
    }

    /// Notes that a task begins. It runs also where that cannot be: the slot has the daemon say so.
    fn note_run(&mut self, slot: u8, started_ns: u64) {
        let (Some(notes), Some(slot)) = (&self.notes, self.slot(slot)) else { return };
        let task = slot.named();
        match notes.starts(self.row, task, started_ns, self.pid) {
            Ok(()) => self.noted_ctime_ns = Some(task.ctime_ns),
            Err(error) => slot.cannot_note(error.raw_os_error().unwrap_or(EIO)),
        }
    }

    /// Takes back what was noted: the task has ended.
    fn forget_run(&mut self) {
        if let (Some(_), Some(notes)) = (self.noted_ctime_ns.take(), &self.notes) {
            // Where that fails, and all die now, the attempt counts as lost; its task is due either way.
            let _ = notes.ends(self.row);
        }
    }

    /// Takes back the note of a file that is gone if a new one may yet get its inode and its change
    /// time. A backlog is older, and spared the write.
    fn forget_young_run(&mut self) {
        let Some(ctime_ns) = self.noted_ctime_ns else { return };
        let step_ns = if ctime_ns % 1_000_000_000 == 0 { WHOLE_STEP_NS } else { STEP_NS };
        if clock::now_ns().saturating_sub(ctime_ns) < step_ns {
            self.forget_run();
        }
    }

    fn slot(&self, number: u8) -> Option<&Slot> {
        self.slots.as_ref()?.row(self.row)?.get(usize::from(number))
    }

    fn is_cancelled(&self, slot: u8) -> bool {
        self.slot(slot).is_some_and(Slot::is_cancelled)
    }

    fn report(&mut self, report: Report) {
        if self.reports.is_empty() {
            self.oldest_report_ns = clock::monotonic_ns();
        }
        self.reports.push(report);
    }

    /// Sends the reports that were kept back. `false`: the daemon is gone.
    fn flush(&mut self) -> bool {
        if self.reports.is_empty() {
            return true;
        }
        let reports = std::mem::take(&mut self.reports);
        self.send(&FromWorker::Reports(reports))
    }

    fn send(&self, packet: &FromWorker) -> bool {
        let mut bytes = Vec::with_capacity(512);
        packet.encode(&mut bytes);
        socket::send_wait(self.socket.as_fd(), &bytes).is_ok()
    }
}

/// How often the spool lets tasks fail, of the zygote's settings.
fn retry_policy(setup: &Bound<'_, PyDict>) -> PyResult<RetryPolicy> {
    let ns = |seconds: f64| (seconds * 1e9) as i64;
    let Some(retry) = option::<Bound<'_, PyDict>>(setup, "retry")? else {
        return Ok(RetryPolicy::new(0));
    };
    let spool = RetryPolicy::new(ns(option(&retry, "delay")?.unwrap_or(0.0)));
    Ok(RetryPolicy {
        retries_max: option(&retry, "max_retries")?.unwrap_or(spool.retries_max),
        backoff_from: option(&retry, "backoff_from")?.unwrap_or(spool.backoff_from),
        delay_max_ns: option(&retry, "backoff_max")?.map_or(spool.delay_max_ns, ns),
        ..spool
    })
}

/// A value of the zygote's settings; `None` where it is `None`.
fn option<'py, T: FromPyObjectOwned<'py>>(
    setup: &Bound<'py, PyDict>,
    name: &str,
) -> PyResult<Option<T>> {
    match setup.get_item(name)? {
        Some(value) if !value.is_none() => Ok(Some(value.extract().map_err(Into::into)?)),
        _ => Ok(None),
    }
}

/// Has this process sent SIGTERM when the daemon ends. `False`: it has ended already.
#[pyfunction]
#[pyo3(signature = (daemon, /))]
pub(crate) fn end_with_daemon(py: Python<'_>, daemon: u32) -> PyResult<bool> {
    Ok(py.detach(|| process::end_with_parent(daemon))?)
}

/// Deletes a finished task while its lease is held. Returns the error number, or 0; a task may have
/// deleted its own file.
fn delete(task: &Waiting, lease_may_be_lost: bool) -> i32 {
    if lease_may_be_lost && has_lost_lease(task.file.as_fd()) {
        return LEASE_LOST;
    }
    let gone = || stat_file(task.file.as_fd()).is_ok_and(|stat| stat.links == 0);
    match complete(&task.folder, &task.handed.name) {
        Ok(true) => 0,
        Ok(false) if gone() => 0,
        Ok(false) => ENOENT,
        Err(error) => error.raw_os_error().unwrap_or(EIO),
    }
}

/// Cuts a text in the middle: a traceback says most at its ends.
fn shorten(text: &str) -> String {
    if text.len() <= REPORT_TEXT_BYTES_MAX {
        return text.to_owned();
    }
    let half = REPORT_TEXT_BYTES_MAX / 2;
    let head = text.floor_char_boundary(half);
    let tail = text.ceil_char_boundary(text.len() - half);
    format!("{}\n[... {} bytes left out ...]\n{}", &text[..head], tail - head, &text[tail..])
}

const ENOENT: i32 = 2;
const EIO: i32 = 5;
