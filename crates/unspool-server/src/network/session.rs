//! A connection of one of ours: a welcome, then tasks in pieces and answers.
//!
//! One task reads, another one writes the answers, and each stored task is one of its own, as many at
//! once as the window says. Of a task that is coming the pairs and one frame are in memory.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, WriteHalf};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};
use tracing::debug;
use unspool_core::Origin;
use unspool_core::limits::PAIRS_BYTES_MAX;
use unspool_core::signing::SigningKey;
use unspool_core::taskfile::HEADER_BYTES;
use unspool_spool::{Begun, Incoming, ReceiveError, Source, Stored};
use unspool_sys::{clock, host};
use unspool_wire::peer::{
    Answer, Begin, FRAME_BYTES_MAX, Frame, Hello, HelloError, NONCE_BYTES, Receiver, Sender, Side,
    Verdict, Welcome,
};

use super::connection::{READ_BYTES, refuse, with_causes};
use super::places::Place;
use super::spools::{NoSpool, Taking};
use super::{Peer, Shared};

/// Tasks of a connection that may be on their way at once.
const WINDOW: u32 = 64;

/// Serves a connection from its hello on; `rest` came behind that.
pub(super) async fn serve<S>(
    shared: &Arc<Shared>,
    mut stream: S,
    peer: &Peer,
    place: &Place,
    hello: Hello,
    rest: Vec<u8>,
) where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (key, proven) = match judge(shared, peer, &hello) {
        Ok(judged) => judged,
        Err(reason) => return refuse(shared, stream, peer, &reason).await,
    };
    let Ok(nonce) = host::random::<NONCE_BYTES>() else { return };
    let welcome = Welcome::new(&hello, nonce, shared.settings.task_bytes_max, WINDOW, key.as_ref());
    let wait = shared.settings.packet_wait;
    let sent = timeout(wait, async {
        stream.write_all(&welcome.to_packet()).await?;
        stream.flush().await
    });
    if !matches!(sent.await, Ok(Ok(()))) {
        return;
    }
    let session = key.map(|key| welcome.session(&hello, &key));
    let (reading, writing) = tokio::io::split(stream);
    let (answers, told) = mpsc::channel(WINDOW as usize);
    let frames = Sender::new(Side::Server, session.clone());
    tokio::spawn(write(writing, frames, told, wait));
    let origin = if peer.is_known || proven { Origin::Peer } else { Origin::Network };
    let unsigned = peer.may_be_unsigned || (proven && shared.settings.keys_sign);
    let mut connection = Connection {
        shared,
        peer,
        place,
        source: Source { origin, may_be_unsigned: unsigned },
        frames: Receiver::new(Side::Client, session),
        window: Arc::new(Semaphore::new(WINDOW as usize)),
        answers,
        coming: None,
        came: 0,
    };
    if let Err(problem) = connection.read(reading, rest).await {
        shared.complaints.say(&peer.shown, &format!("{problem}; closed"));
    }
}

/// The key of a connection and whether the peer has proved it, or why it is not wanted.
fn judge(
    shared: &Shared,
    peer: &Peer,
    hello: &Hello,
) -> Result<(Option<SigningKey>, bool), String> {
    if !hello.has_proof() {
        let needed = peer.needs_key.then(|| HelloError::NoKey.to_string());
        return needed.map_or(Ok((None, false)), Err);
    }
    let Some(keys) = &shared.settings.keys else {
        return Err(
            "you have a key and this server has none: give it `network-keys`, or leave them \
                    out on your side"
                .to_owned(),
        );
    };
    let now_s = u64::try_from(clock::now_ns() / 1_000_000_000).unwrap_or(0);
    match hello.check(keys, now_s) {
        Ok(key) => Ok((Some(key.clone()), true)),
        Err(error) => Err(error.to_string()),
    }
}

/// What is read, and what is under way.
struct Connection<'a> {
    shared: &'a Arc<Shared>,
    peer: &'a Peer,
    place: &'a Place,
    source: Source,
    frames: Receiver,
    window: Arc<Semaphore>,
    answers: mpsc::Sender<Answer>,
    coming: Option<Coming>,
    /// Bytes of tasks that came since their time began.
    came: usize,
}

/// A task whose bytes come.
struct Coming {
    number: u32,
    /// Of its file.
    bytes: u64,
    missing: u64,
    state: State,
    permit: OwnedSemaphorePermit,
}

enum State {
    /// Not all pairs are here yet.
    Head { held: Vec<u8>, taking: Arc<Taking> },
    /// It is being written.
    Writing(OnDisk),
    /// What comes of it is not wanted.
    Answered(Verdict, String),
}

/// A task that is being written. Dropped, its file is removed: in a thread that uses the file system, so
/// that a slow one holds up no other peer.
struct OnDisk(Option<Box<Incoming>>);

impl OnDisk {
    fn take(mut self) -> Option<Box<Incoming>> {
        self.0.take()
    }
}

impl Drop for OnDisk {
    fn drop(&mut self) {
        let Some(incoming) = self.0.take() else { return };
        if let Ok(runtime) = Handle::try_current() {
            // Nobody waits for it.
            drop(runtime.spawn_blocking(move || drop(incoming)));
        }
    }
}

impl Connection<'_> {
    /// Reads to the end of the connection, which may come between two tasks.
    async fn read<R: AsyncRead + Unpin>(
        &mut self,
        mut from: R,
        rest: Vec<u8>,
    ) -> Result<(), String> {
        self.take(&rest).await?;
        let mut buffer = vec![0; READ_BYTES];
        let settings = &self.shared.settings;
        // Since when the frame that is coming, or the next one of a task, is waited for.
        let mut waiting_since = Instant::now();
        loop {
            let between = self.frames.is_between();
            let is_idle = between && self.coming.is_none();
            let wait = if is_idle {
                self.place.set_busy(self.window.available_permits() < WINDOW as usize);
                settings.idle_wait
            } else {
                settings.packet_wait.saturating_sub(waiting_since.elapsed())
            };
            let got = match timeout(wait, from.read(&mut buffer)).await {
                Ok(Ok(got)) => got,
                // Many clients just go, without an end of TLS.
                Ok(Err(_)) | Err(_) if is_idle => return Ok(()),
                Ok(Err(error)) => return Err(format!("the connection broke: {error}")),
                Err(_) => return Err("too little came within `socket-timeout`".to_owned()),
            };
            if got == 0 {
                if is_idle {
                    return Ok(());
                }
                return Err("the connection ended within a task".to_owned());
            }
            self.place.set_busy(true);
            if self.take(&buffer[..got]).await? || is_idle {
                waiting_since = Instant::now();
            }
        }
    }

    /// Takes what came; whether enough came for the time to begin anew: a task or its start, or as much
    /// of one as a frame may have. Small frames now and then do not keep a place.
    async fn take(&mut self, mut bytes: &[u8]) -> Result<bool, String> {
        let mut took = false;
        while let Some(frame) = self.frames.take(&mut bytes).map_err(|error| error.to_string())? {
            match frame {
                Frame::Begin(begin) => {
                    self.begin(begin).await?;
                    took = true;
                }
                Frame::Data(data) => {
                    self.came += data.len();
                    self.data(data).await?;
                    took |= self.coming.is_none() || self.came >= FRAME_BYTES_MAX;
                }
                // The receiver takes none of these from a client.
                Frame::Answer(_) => return Err("an answer from a client".to_owned()),
            }
        }
        if took {
            self.came = 0;
        }
        Ok(took)
    }

    async fn begin(&mut self, begin: Begin) -> Result<(), String> {
        if self.coming.is_some() {
            return Err("a task within another one".to_owned());
        }
        // Answers give places back: a client that sends more than its window waits here.
        let permit = Arc::clone(&self.window).acquire_owned().await;
        let permit = permit.map_err(|_| "the window is closed".to_owned())?;
        let most = self.shared.settings.task_bytes_max;
        let state = if begin.bytes > most {
            let bytes = begin.bytes;
            let text = format!("it has {bytes} bytes, more than `network-task-bytes-max`, {most}");
            State::Answered(Verdict::Refused, text)
        } else {
            match self.shared.spools.find(&begin.spooler) {
                Ok(taking) => State::Head { held: Vec::new(), taking },
                Err(error) => {
                    // A configuration that has none is a mistake that somebody mends.
                    let is_for_now = matches!(error, NoSpool::Inactive);
                    let verdict = if is_for_now { Verdict::Later } else { Verdict::Refused };
                    State::Answered(verdict, error.to_string())
                }
            }
        };
        let Begin { number, bytes, .. } = begin;
        self.coming = Some(Coming { number, bytes, missing: bytes, state, permit });
        if bytes == 0 { self.data(Vec::new()).await } else { Ok(()) }
    }

    async fn data(&mut self, data: Vec<u8>) -> Result<(), String> {
        let Some(mut coming) = self.coming.take() else {
            return Err("bytes of no task".to_owned());
        };
        coming.missing = match coming.missing.checked_sub(data.len() as u64) {
            Some(missing) => missing,
            None => return Err("more bytes than the task was to have".to_owned()),
        };
        let (whole, bytes) = (coming.missing == 0, coming.bytes);
        coming.state = match coming.state {
            State::Head { mut held, taking } => {
                held.extend_from_slice(&data);
                if whole {
                    // Most tasks are one frame: all of it is done in one go, beside what comes next.
                    self.store_small(coming.number, coming.permit, taking, held, bytes).await;
                    return Ok(());
                }
                if head_bytes(&held).is_some_and(|head| held.len() >= head)
                    || held.len() > HEADER_BYTES + PAIRS_BYTES_MAX
                {
                    let source = self.source;
                    self.use_disk(move || open(&taking, &held, bytes, source)).await
                } else {
                    State::Head { held, taking }
                }
            }
            State::Writing(disk) => self.use_disk(move || write_on(disk.take(), &data)).await,
            answered @ State::Answered(..) => answered,
        };
        if !whole {
            self.coming = Some(coming);
            return Ok(());
        }
        match coming.state {
            State::Writing(disk) => {
                self.store(coming.number, coming.permit, move || store_whole(disk)).await;
            }
            State::Answered(verdict, text) => {
                self.answer(coming.number, verdict, text).await;
            }
            State::Head { .. } => return Err("a task without its pairs".to_owned()),
        }
        Ok(())
    }

    async fn store_small(
        &self,
        number: u32,
        permit: OwnedSemaphorePermit,
        taking: Arc<Taking>,
        file: Vec<u8>,
        bytes: u64,
    ) {
        let source = self.source;
        let store = move || match open(&taking, &file, bytes, source) {
            State::Writing(disk) => store_whole(disk),
            State::Answered(Verdict::Stored, _) => Ok(Stored::New),
            State::Answered(Verdict::Known, _) => Ok(Stored::Known),
            State::Answered(verdict, text) => Err(Refusal { verdict, text }),
            State::Head { .. } => Err(Refusal::no_task()),
        };
        self.store(number, permit, store).await;
    }

    /// Stores a task beside what is read next, and answers.
    async fn store(
        &self,
        number: u32,
        permit: OwnedSemaphorePermit,
        store: impl FnOnce() -> Result<Stored, Refusal> + Send + 'static,
    ) {
        let Ok(disk) = Arc::clone(&self.shared.storing).acquire_owned().await else { return };
        let (answers, shared) = (self.answers.clone(), Arc::clone(self.shared));
        let shown = self.peer.shown.clone();
        tokio::spawn(async move {
            let stored = tokio::task::spawn_blocking(move || {
                let stored = store();
                drop(disk);
                stored
            });
            let (verdict, text) = match stored.await {
                Ok(Ok(Stored::New)) => (Verdict::Stored, String::new()),
                Ok(Ok(Stored::Known)) => (Verdict::Known, String::new()),
                Ok(Err(Refusal { verdict, text })) => {
                    shared.complaints.say(&shown, &format!("task refused: {text}"));
                    (verdict, text)
                }
                Err(_) => (Verdict::Later, "the server failed".to_owned()),
            };
            debug!(peer = %shown, number, ?verdict, "task received");
            // Whoever asked may be gone.
            let _ = answers.send(Answer { number, verdict, text }).await;
            drop(permit);
        });
    }

    async fn answer(&self, number: u32, verdict: Verdict, text: String) {
        if matches!(verdict, Verdict::Refused | Verdict::Later) {
            self.shared.complaints.say(&self.peer.shown, &format!("task refused: {text}"));
        }
        // Whoever asked may be gone.
        let _ = self.answers.send(Answer { number, verdict, text }).await;
    }

    /// Does a step that uses the file system, in a thread for that.
    async fn use_disk(&self, step: impl FnOnce() -> State + Send + 'static) -> State {
        let failed = || State::Answered(Verdict::Later, "the server is ending".to_owned());
        let Ok(disk) = Arc::clone(&self.shared.storing).acquire_owned().await else {
            return failed();
        };
        let done = tokio::task::spawn_blocking(move || {
            let state = step();
            drop(disk);
            state
        });
        done.await.unwrap_or_else(|_| failed())
    }
}

/// Why a task is not stored, and whether it may be later.
struct Refusal {
    verdict: Verdict,
    text: String,
}

impl Refusal {
    fn no_task() -> Self {
        Self { verdict: Verdict::Refused, text: "it is shorter than its pairs".to_owned() }
    }
}

impl From<ReceiveError> for Refusal {
    fn from(error: ReceiveError) -> Self {
        let verdict = if error.is_for_now() { Verdict::Later } else { Verdict::Refused };
        Self { verdict, text: with_causes(&error) }
    }
}

/// Bytes of the header and the pairs, once the header is there.
fn head_bytes(held: &[u8]) -> Option<usize> {
    let length = held.get(1..3)?;
    Some(HEADER_BYTES + usize::from(u16::from_le_bytes([length[0], length[1]])))
}

/// Begins a task with all of its pairs, and writes what came behind them.
fn open(taking: &Taking, held: &[u8], bytes: u64, source: Source) -> State {
    let Some((pairs, rest)) = head_bytes(held).and_then(|bytes| held.split_at_checked(bytes))
    else {
        let Refusal { verdict, text } = Refusal::no_task();
        return State::Answered(verdict, text);
    };
    let reception = match taking.reception() {
        Ok(reception) => reception,
        Err(error) => {
            let text = format!("cannot open what receives: {error}");
            return State::Answered(Verdict::Later, text);
        }
    };
    match reception.begin_in(pairs, bytes, source, taking.priority()) {
        Ok(Begun::Incoming(incoming)) => write_on(Some(incoming), rest),
        Ok(Begun::Stored(Stored::New)) => State::Answered(Verdict::Stored, String::new()),
        Ok(Begun::Stored(Stored::Known)) => State::Answered(Verdict::Known, String::new()),
        Err(error) => {
            let Refusal { verdict, text } = error.into();
            State::Answered(verdict, text)
        }
    }
}

fn write_on(incoming: Option<Box<Incoming>>, data: &[u8]) -> State {
    let Some(mut incoming) = incoming else {
        let Refusal { verdict, text } = Refusal::no_task();
        return State::Answered(verdict, text);
    };
    match incoming.write(data) {
        Ok(()) => State::Writing(OnDisk(Some(incoming))),
        Err(error) => {
            let Refusal { verdict, text } = error.into();
            State::Answered(verdict, text)
        }
    }
}

fn store_whole(disk: OnDisk) -> Result<Stored, Refusal> {
    Ok(disk.take().ok_or_else(Refusal::no_task)?.store()?)
}

/// Writes answers until nobody can give one any more, or the peer does not read them.
async fn write<S: AsyncWrite>(
    mut to: WriteHalf<S>,
    mut frames: Sender,
    mut told: mpsc::Receiver<Answer>,
    wait: Duration,
) {
    while let Some(answer) = told.recv().await {
        let mut bytes = Vec::new();
        frames.push(&Frame::Answer(answer), &mut bytes);
        while let Ok(answer) = told.try_recv() {
            frames.push(&Frame::Answer(answer), &mut bytes);
        }
        let sent = timeout(wait, async {
            to.write_all(&bytes).await?;
            to.flush().await
        });
        if !matches!(sent.await, Ok(Ok(()))) {
            return;
        }
    }
    let _ = timeout(wait, to.shutdown()).await;
}
