//! Workers that share sockets: of a connection one of them hears alone, and it is answered all the same if that
//! one leaves, dies, or does something else first.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test ends where a step fails, looks how long something took and at its own threads"
)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use unspool_sys::poll::{Poll, Waker};
use unspool_web::{Exchange, Front, FrontSettings, Next, WebProtocol, WebSocket};

const LATE: Duration = Duration::from_secs(20);
const LATE_NS: u64 = 20_000_000_000;
const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
const BELL: u64 = 1;
const SOCKET: u64 = 2;
const ENOUGH: u64 = 3;

/// A socket, and what all workers of it have.
struct Shared {
    listener: TcpListener,
    bell: Waker,
}

impl Shared {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        Self { listener, bell: Waker::new().unwrap() }
    }

    fn worker(&self) -> Arc<Front> {
        worker_of(&[self])
    }

    /// A worker that hears of connections before those that come after it, and never takes one.
    fn deaf(&self) -> Deaf {
        let deaf = Deaf { poll: Poll::new().unwrap(), enough: Waker::new().unwrap() };
        deaf.poll.add_shared(self.listener.as_fd(), SOCKET).unwrap();
        deaf.poll.add(deaf.enough.as_fd(), ENOUGH).unwrap();
        deaf
    }

    /// As many ask as there are deaf ones, while these wait.
    fn ask_the_deaf(&self, deaf: &[Deaf]) -> Vec<TcpStream> {
        std::thread::scope(|scope| {
            let (tell, told) = std::sync::mpsc::channel();
            let hear = |each: &Deaf, tell: &Sender<PathBuf>| {
                tell.send(std::fs::read_link("/proc/thread-self").unwrap()).unwrap();
                hears(&each.poll, LATE_NS)
            };
            let mut hearing = Vec::new();
            for each in deaf {
                let tell = tell.clone();
                hearing.push(scope.spawn(move || hear(each, &tell)));
                wait_asleep(&told.recv().unwrap());
            }
            let streams = deaf.iter().map(|_| self.ask()).collect();
            for (each, hearing) in deaf.iter().zip(hearing) {
                // On a busy machine the connection may be another's before this one looks.
                each.enough.wake();
                assert_ne!(hearing.join().unwrap(), [0u64; 0]);
                each.enough.clear();
            }
            streams
        })
    }

    fn ask(&self) -> TcpStream {
        let mut stream = TcpStream::connect(self.listener.local_addr().unwrap()).unwrap();
        stream.set_read_timeout(Some(LATE)).unwrap();
        stream.write_all(GET).unwrap();
        stream
    }

    fn has_rung(&self) -> bool {
        let poll = Poll::new().unwrap();
        poll.add(self.bell.as_fd(), BELL).unwrap();
        hears(&poll, 0) == [BELL]
    }
}

/// A worker of the sockets of all of these, and with the bell of the first.
fn worker_of(shared: &[&Shared]) -> Arc<Front> {
    let socket = |shared: &&Shared| WebSocket {
        socket: shared.listener.try_clone().unwrap().into(),
        protocol: WebProtocol::Http,
        shown: "here".to_owned(),
    };
    let settings = FrontSettings {
        sockets: shared.iter().map(socket).collect(),
        hand_over: None,
        control: None,
        bell: shared[0].bell.as_fd().try_clone_to_owned().unwrap().into(),
        threads: 1,
        packet_bytes_max: 4096,
        head_bytes_max: 8192,
        body_bytes_max: None,
        buffer_bodies: None,
        wait: LATE,
        head_wait: LATE,
        keep_alive: LATE,
        connections_max: 64,
        say: |_| {},
    };
    Arc::new(Front::new(settings).unwrap())
}

struct Deaf {
    poll: Poll,
    enough: Waker,
}

/// Waits until a thread waits.
fn wait_asleep(thread: &Path) {
    let stat = Path::new("/proc").join(thread).join("stat");
    let until = Instant::now() + LATE;
    while !std::fs::read_to_string(&stat).unwrap().contains(") S ") {
        assert!(Instant::now() < until);
        std::thread::yield_now();
    }
}

fn hears(poll: &Poll, wait_ns: u64) -> Vec<u64> {
    let mut keys = Vec::new();
    poll.wait(&mut keys, Some(wait_ns)).unwrap();
    keys
}

fn request(front: &Arc<Front>) -> Box<Exchange> {
    loop {
        match front.next().unwrap() {
            Next::Request(exchange) => return exchange,
            Next::Look => {}
            other => panic!("{other:?}"),
        }
    }
}

fn answer(mut exchange: Box<Exchange>) {
    exchange.start(b"200 OK", std::iter::empty(), Some(2)).unwrap();
    exchange.write(b"ok", true).unwrap();
    exchange.finish().unwrap();
}

fn read_answer(stream: &mut TcpStream) {
    let mut said = Vec::new();
    while !said.ends_with(b"\r\n\r\nok") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        said.push(byte[0]);
    }
}

/// Answers in a thread, which waits by now, until it is drained.
fn serving(front: &Arc<Front>) -> std::thread::JoinHandle<()> {
    let front = Arc::clone(front);
    let (tell, told) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        tell.send(std::fs::read_link("/proc/thread-self").unwrap()).unwrap();
        loop {
            match front.next().unwrap() {
                Next::Request(exchange) => answer(exchange),
                Next::Over => return,
                Next::Control | Next::Look => {}
            }
        }
    });
    wait_asleep(&told.recv().unwrap());
    thread
}

#[test]
fn one_that_leaves_has_the_others_look() {
    let shared = Shared::new();
    let leaving = shared.worker();
    assert!(!shared.has_rung());
    leaving.drain();
    while !matches!(leaving.next().unwrap(), Next::Over) {}
    assert!(shared.has_rung());
    // It leaves that to others: the one that comes takes it.
    let staying = shared.worker();
    let mut stream = shared.ask();
    answer(request(&staying));
    read_answer(&mut stream);
}

#[test]
fn one_that_answers_another_request_first_has_the_others_look() {
    let shared = Shared::new();
    let worker = shared.worker();
    let mut kept = shared.ask();
    answer(request(&worker));
    read_answer(&mut kept);
    // One that is kept: alone it rings no bell.
    kept.write_all(GET).unwrap();
    answer(request(&worker));
    read_answer(&mut kept);
    assert!(!shared.has_rung());
    kept.write_all(GET).unwrap();
    let mut new = shared.ask();
    let first = request(&worker);
    assert!(shared.has_rung());
    // While the first is answered, the other one may do that.
    let other = shared.worker();
    answer(request(&other));
    read_answer(&mut new);
    answer(first);
    read_answer(&mut kept);
}

#[test]
fn whoever_hears_the_bell_answers_what_others_have_heard_of_alone() {
    let shared = Shared::new();
    let deaf = [shared.deaf()];
    let worker = shared.worker();
    let thread = serving(&worker);
    let mut took = Duration::ZERO;
    for _ in 0..20 {
        let mut stream = shared.ask_the_deaf(&deaf).remove(0);
        let rung = Instant::now();
        shared.bell.wake();
        read_answer(&mut stream);
        took += rung.elapsed();
    }
    // Without the bell each would wait half a second on average.
    assert!(took < Duration::from_secs(5), "{took:?}");
    worker.drain();
    thread.join().unwrap();
}

#[test]
fn what_one_heard_of_that_rings_no_bell_is_answered_within_a_second_or_two() {
    let shared = Shared::new();
    let deaf = [shared.deaf()];
    let worker = shared.worker();
    let thread = serving(&worker);
    let mut stream = shared.ask_the_deaf(&deaf).remove(0);
    read_answer(&mut stream);
    worker.drain();
    thread.join().unwrap();
}

#[test]
fn all_hear_the_bell() {
    let shared = Shared::new();
    let deaf = [shared.deaf(), shared.deaf(), shared.deaf()];
    let workers: Vec<Arc<Front>> = (0..3).map(|_| shared.worker()).collect();
    let mut taken = Duration::ZERO;
    for _ in 0..10 {
        let (tell, told) = std::sync::mpsc::channel();
        // Each has taken a request that it does not answer before the others have one.
        let threads: Vec<_> = workers
            .iter()
            .map(|worker| {
                let (worker, tell) = (Arc::clone(worker), tell.clone());
                std::thread::spawn(move || {
                    tell.send(std::fs::read_link("/proc/thread-self").unwrap()).unwrap();
                    request(&worker)
                })
            })
            .collect();
        for _ in &threads {
            wait_asleep(&told.recv().unwrap());
        }
        let mut streams = shared.ask_the_deaf(&deaf);
        let rung = Instant::now();
        shared.bell.wake();
        let requests: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        taken += rung.elapsed();
        requests.into_iter().for_each(answer);
        streams.iter_mut().for_each(read_answer);
    }
    // Were one alone to hear it, the others would wait for their look, half a second on average.
    assert!(taken < Duration::from_secs(3), "{taken:?}");
}

#[test]
fn connections_that_are_kept_spread() {
    let shared = Shared::new();
    let workers = [shared.worker(), shared.worker()];
    let threads: Vec<_> = workers.iter().map(serving).collect();
    // Those whom one worker has answered.
    let mut streams = Vec::new();
    for _ in 0..20 {
        let mut stream = shared.ask();
        read_answer(&mut stream);
        streams.push(stream);
    }
    for (worker, thread) in workers.iter().zip(threads) {
        worker.drain();
        thread.join().unwrap();
        let mut closed = 0;
        streams.retain(|stream| {
            stream.set_nonblocking(true).unwrap();
            let is_open = stream.peek(&mut [0]).is_err();
            closed += u32::from(!is_open);
            is_open
        });
        assert!(closed >= 3, "{closed}");
    }
}

#[test]
fn sockets_have_turns() {
    let (left, right) = (Shared::new(), Shared::new());
    let worker = worker_of(&[&left, &right]);
    let mut lefts: Vec<TcpStream> = (0..5).map(|_| left.ask()).collect();
    let mut one = right.ask();
    answer(request(&worker));
    answer(request(&worker));
    // Before all of the other socket's.
    read_answer(&mut one);
    for _ in 0..4 {
        answer(request(&worker));
    }
    lefts.iter_mut().for_each(read_answer);
}
