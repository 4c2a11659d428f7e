//! The threads of a web worker: each takes a request, answers it, and takes the next.

use std::io::Write;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use unspool_sys::birthmark::Birthmark;
use unspool_sys::board::BoardWriter;
use unspool_sys::{clock, host};
use unspool_web::{Exchange, Front, FrontSettings, Next, StaticFiles, WebProtocol, WebSocket};

use super::answer::{Answered, answer};
use super::current::during;
use super::environ::Environ;
use super::log_line::{About, Asked};
use super::shared::Shared;

/// Numbers of a row of the board.
const SINCE: usize = 0;
const REQUESTS: usize = 1;
const LIMIT: usize = 2;
const EXCEPTIONS: usize = 3;
const MICROSECONDS: usize = 4;
const BYTES: usize = 5;

/// Which requests get a line.
#[derive(Debug, Clone, Copy)]
struct Lines {
    all: bool,
    refused: bool,
    failed: bool,
    slow_ms: Option<u64>,
}

impl Lines {
    /// Whether there is a request that would get one.
    fn may_want(self) -> bool {
        self.all || self.refused || self.failed || self.slow_ms.is_some()
    }

    fn wants(self, answered: &Answered, milliseconds: u64) -> bool {
        self.all
            || self.refused && (400..500).contains(&answered.status)
            || self.failed && answered.status >= 500
            || self.slow_ms.is_some_and(|slow| milliseconds >= slow)
    }
}

/// What the threads of a worker share.
#[derive(Debug)]
pub(super) struct Serving {
    pub(super) environ: Environ,
    born: Arc<Birthmark>,
    board: BoardWriter,
    /// The worker's first row.
    row: usize,
    /// The row in which all workers count.
    common_row: usize,
    threads: usize,
    lines: Lines,
    files: StaticFiles,
    requests_max: u64,
    /// Until then the worker does not leave for its requests.
    stays_until_ns: u64,
    /// Requests that the application was asked for.
    taken: AtomicU64,
    answered: AtomicU64,
    is_full: AtomicBool,
    /// The second that the date was made for, and it.
    date: Mutex<(i64, String)>,
}

impl Serving {
    /// Logs a line.
    #[expect(clippy::unused_self, reason = "what is logged is the worker's")]
    pub(super) fn say(&self, line: &str) {
        say(line);
    }

    /// Has the daemon end this worker at that time unless the request of this row has ended.
    pub(super) fn limit(&self, row: usize, until_ns: u64) {
        self.board.set(row, LIMIT, until_ns);
    }

    /// Requests that this worker has answered, and all.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.answered.load(Ordering::Relaxed), self.board.get(self.common_row, REQUESTS))
    }

    fn date(&self, py: Python<'_>) -> PyResult<String> {
        let second = clock::now_ns() / 1_000_000_000;
        let known = || self.date.lock().unwrap_or_else(PoisonError::into_inner);
        let date = known().clone();
        if date.0 == second {
            return Ok(date.1);
        }
        // Not with the date locked: another thread would wait for it and hold the interpreter's lock.
        let text = py.import(intern!(py, "time"))?.call_method0(intern!(py, "ctime"))?;
        let text: String = text.extract()?;
        *known() = (second, text.clone());
        Ok(text)
    }

    /// Whether the worker has answered as many requests as it may.
    fn has_answered(&self, count: u64, now_ns: u64) -> bool {
        self.requests_max > 0 && count >= self.requests_max && now_ns >= self.stays_until_ns
    }
}

/// Logs a line on standard error.
fn say(line: &str) {
    // Nobody could be told that this failed.
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// The web worker's requests.
#[pyclass(module = "unspool._native", frozen)]
#[derive(Debug)]
pub(crate) struct Web {
    front: Arc<Front>,
    serving: Arc<Serving>,
}

/// A descriptor that Python gives up.
#[expect(unsafe_code, reason = "descriptors arrive as numbers from Python")]
fn own(number: RawFd) -> OwnedFd {
    // SAFETY: the zygote received this descriptor for us and gives up its number.
    unsafe { OwnedFd::from_raw_fd(number) }
}

fn sockets(setup: &Bound<'_, PyDict>, listeners: Vec<RawFd>) -> PyResult<Vec<WebSocket>> {
    let sockets: Vec<Bound<'_, PyDict>> = item(setup, "sockets")?;
    let mut numbers = listeners.into_iter().map(own);
    let mut made = Vec::with_capacity(sockets.len());
    for (told, socket) in sockets.iter().zip(numbers.by_ref()) {
        let protocol: String = item(told, "protocol")?;
        let protocol = if protocol == "http" { WebProtocol::Http } else { WebProtocol::Uwsgi };
        made.push(WebSocket { socket, protocol, shown: item(told, "shown")? });
    }
    Ok(made)
}

fn item<'py, T: pyo3::conversion::FromPyObjectOwned<'py>>(
    setup: &Bound<'py, PyDict>,
    name: &str,
) -> PyResult<T> {
    setup.as_any().get_item(name)?.extract().map_err(Into::into)
}

fn static_maps(setup: &Bound<'_, PyDict>) -> PyResult<Vec<(Vec<u8>, PathBuf)>> {
    // Pairs come as lists.
    let maps: Vec<[String; 2]> = item(setup, "static_maps")?;
    let map = |[prefix, directory]: [String; 2]| (prefix.into_bytes(), PathBuf::from(directory));
    Ok(maps.into_iter().map(map).collect())
}

fn seconds(setup: &Bound<'_, PyDict>, name: &str) -> PyResult<Duration> {
    Ok(Duration::try_from_secs_f64(item(setup, name)?).unwrap_or(Duration::MAX / 4))
}

#[pymethods]
impl Web {
    /// Takes over the descriptors: `lent` are the board, the socket for connections that are the daemon's, and
    /// the bell of all workers; `control` becomes readable when the daemon says something (or is -1), and
    /// `listeners` listen. `setup` is that of the web workers, `number` the worker's, and `place` where its
    /// rows are.
    #[new]
    fn new(
        setup: &Bound<'_, PyDict>,
        number: u64,
        place: usize,
        lent: [RawFd; 3],
        control: RawFd,
        listeners: Vec<RawFd>,
    ) -> PyResult<Self> {
        let py = setup.py();
        let [board, hand_over, bell] = lent;
        let threads: usize = item(setup, "threads")?;
        let processes: usize = item(setup, "processes")?;
        let buffer_size: usize = item(setup, "buffer_size")?;
        let post_buffering: usize = item(setup, "post_buffering")?;
        let limit_post: u64 = item(setup, "limit_post")?;
        let front = Front::new(FrontSettings {
            sockets: sockets(setup, listeners)?,
            hand_over: (hand_over >= 0).then(|| own(hand_over)),
            control: (control >= 0).then(|| own(control)),
            bell: own(bell).into(),
            threads,
            packet_bytes_max: u16::try_from(buffer_size).unwrap_or(u16::MAX),
            head_bytes_max: buffer_size,
            body_bytes_max: (limit_post > 0).then_some(limit_post),
            buffer_bodies: (post_buffering > 0).then_some(post_buffering),
            wait: seconds(setup, "socket_timeout")?,
            head_wait: seconds(setup, "http_timeout")?,
            keep_alive: seconds(setup, "keep_alive")?,
            connections_max: item::<usize>(setup, "connections")?.max(threads + 1),
            say,
        })?;
        let board = BoardWriter::map(own(board))?;
        let lifetime_min = seconds(setup, "lifetime_min")?;
        let requests_max: u64 = item(setup, "max_requests")?;
        let delta: u64 = item(setup, "max_requests_delta")?;
        let serving = Serving {
            environ: Environ::new(py, threads > 1, processes > 1, &host::hostname())?,
            born: Arc::new(Birthmark::new()),
            row: place * threads,
            common_row: board.rows().saturating_sub(1),
            board,
            threads,
            lines: Lines {
                all: item(setup, "log_requests")?,
                refused: item(setup, "log_4xx")?,
                failed: item(setup, "log_5xx")?,
                slow_ms: item(setup, "log_slow_ms")?,
            },
            files: StaticFiles::new(static_maps(setup)?),
            requests_max: if requests_max > 0 {
                requests_max.saturating_add(delta.saturating_mul(number.saturating_sub(1)))
            } else {
                0
            },
            stays_until_ns: clock::monotonic_ns()
                .saturating_add(u64::try_from(lifetime_min.as_nanos()).unwrap_or(u64::MAX)),
            taken: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            is_full: AtomicBool::new(false),
            date: Mutex::default(),
        };
        Ok(Self { front: Arc::new(front), serving: Arc::new(serving) })
    }

    /// Threads that are to call `serve`.
    #[getter]
    fn threads(&self) -> usize {
        self.serving.threads
    }

    /// Takes no more requests; `serve` returns once those that are there are answered.
    fn drain(&self) {
        self.front.drain();
    }

    /// Answers requests by `application` (`None`: with an error) until the worker is drained, as the thread
    /// of this number. Calls `control` when the daemon said something, and `full` once, when the worker has
    /// answered as many requests as it may and drains.
    fn serve(
        &self,
        py: Python<'_>,
        application: Option<&Bound<'_, PyAny>>,
        core: usize,
        control: &Bound<'_, PyAny>,
        full: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let mut answered = None;
        loop {
            match py.detach(|| {
                finish(answered.take());
                self.front.next()
            })? {
                Next::Request(exchange) => {
                    answered = self.answer(py, application, exchange, core)?;
                }
                Next::Control => {
                    control.call0()?;
                }
                Next::Look => py.check_signals()?,
                Next::Over => return Ok(()),
            }
            if self.serving.is_full.load(Ordering::Relaxed) && !self.front.is_draining() {
                py.detach(|| finish(answered.take()));
                self.front.drain();
                full.call0()?;
            }
        }
    }
}

/// Ends an answer. Who has gone meanwhile gets no rest.
fn finish(exchange: Option<Box<Exchange>>) {
    let _ = exchange.map(Exchange::finish);
}

impl Web {
    /// Answers a request. Returns what is to be finished, which needs no interpreter.
    fn answer(
        &self,
        py: Python<'_>,
        application: Option<&Bound<'_, PyAny>>,
        mut exchange: Box<Exchange>,
        core: usize,
    ) -> PyResult<Option<Box<Exchange>>> {
        let serving = &self.serving;
        let (board, row) = (&serving.board, serving.row + core);
        let began_ns = clock::monotonic_ns();
        board.set(row, SINCE, began_ns);
        let mut asked = serving.lines.may_want().then(|| Asked::of(exchange.request()));
        let mut is_wanted = false;
        // An error is one of the connection's, which is over then.
        let is_file = !serving.files.is_empty()
            && py.detach(|| serving.files.answer(&mut exchange)).unwrap_or(true);
        let (answered, rest) = if is_file {
            (Answered::of(&exchange, false), Some(exchange))
        } else {
            let shared = Shared::new(exchange, &serving.born);
            let serial = serving.taken.fetch_add(1, Ordering::Relaxed) + 1;
            let answering = || answer(py, serving, application, &shared, core);
            let ((answered, rest), did) = during(&shared, serving, row, serial, answering);
            is_wanted = did.asked.is_some();
            asked = did.asked.or(asked);
            (did.ended.unwrap_or(answered), rest)
        };
        let now_ns = clock::monotonic_ns();
        let took_ns = now_ns - began_ns;
        board.set(row, SINCE, 0);
        board.set(row, LIMIT, 0);
        board.add(row, REQUESTS, 1);
        board.add(serving.common_row, REQUESTS, 1);
        board.add(row, EXCEPTIONS, u64::from(answered.has_raised));
        board.add(row, MICROSECONDS, took_ns / 1000);
        board.add(row, BYTES, answered.body_bytes + answered.head_bytes as u64);
        let count = serving.answered.fetch_add(1, Ordering::Relaxed) + 1;
        if serving.has_answered(count, now_ns) {
            serving.is_full.store(true, Ordering::Relaxed);
        }
        let milliseconds = took_ns / 1_000_000;
        if let Some(asked) =
            asked.filter(|_| is_wanted || serving.lines.wants(&answered, milliseconds))
        {
            let about = About {
                pid: host::pid(),
                requests: (count, serving.board.get(serving.common_row, REQUESTS)),
                date: &serving.date(py)?,
                milliseconds,
                core,
            };
            let line = asked.line(&answered, &about);
            // Nobody could be told that this failed.
            let _ = std::io::stderr().write_all(line.as_bytes());
        }
        Ok(rest)
    }
}
