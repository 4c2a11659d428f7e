//! The connections of a web worker over real sockets: what is answered, what is refused, what it costs others.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test ends where a step fails, makes files and looks how long something took"
)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use unspool_web::{Exchange, Front, FrontSettings, Next, StaticFiles, WebProtocol, WebSocket};

const LATE: Duration = Duration::from_secs(20);

/// A worker that answers each request with what it was asked, by so many threads.
struct Server {
    front: Arc<Front>,
    http: SocketAddr,
    uwsgi: SocketAddr,
    handed: OwnedFd,
    threads: Vec<JoinHandle<u32>>,
}

fn settings(http: &TcpListener, uwsgi: &TcpListener, hand_over: OwnedFd) -> FrontSettings {
    let socket = |listener: &TcpListener, protocol| {
        listener.set_nonblocking(true).unwrap();
        let shown = listener.local_addr().unwrap().to_string();
        WebSocket { socket: listener.try_clone().unwrap().into(), protocol, shown }
    };
    FrontSettings {
        sockets: vec![socket(http, WebProtocol::Http), socket(uwsgi, WebProtocol::Uwsgi)],
        hand_over: Some(hand_over),
        control: None,
        bell: unspool_sys::poll::Waker::new().unwrap(),
        threads: 1,
        packet_bytes_max: 4096,
        head_bytes_max: 8192,
        body_bytes_max: Some(16 << 20),
        buffer_bodies: None,
        wait: LATE,
        head_wait: LATE,
        keep_alive: LATE,
        connections_max: 64,
        say: |_| {},
    }
}

impl Server {
    fn start(change: impl FnOnce(&mut FrontSettings)) -> Self {
        let http = TcpListener::bind("127.0.0.1:0").unwrap();
        let uwsgi = TcpListener::bind("127.0.0.1:0").unwrap();
        let (hand_over, handed) = unspool_sys::socket::pair().unwrap();
        let mut settings = settings(&http, &uwsgi, hand_over);
        change(&mut settings);
        let threads = settings.threads;
        let front = Arc::new(Front::new(settings).unwrap());
        let run = |front: Arc<Front>| std::thread::spawn(move || serve(&front));
        Self {
            http: http.local_addr().unwrap(),
            uwsgi: uwsgi.local_addr().unwrap(),
            handed,
            threads: (0..threads).map(|_| run(Arc::clone(&front))).collect(),
            front,
        }
    }

    fn http(&self) -> TcpStream {
        connect(self.http)
    }

    /// Lets it end; returns how many requests it answered.
    fn stop(self) -> u32 {
        self.front.drain();
        self.threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    }
}

fn connect(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&to, LATE).unwrap();
    stream.set_read_timeout(Some(LATE)).unwrap();
    stream
}

fn serve(front: &Arc<Front>) -> u32 {
    let mut answered = 0;
    loop {
        match front.next().unwrap() {
            Next::Request(exchange) => {
                answered += 1;
                answer(exchange);
            }
            Next::Over => return answered,
            Next::Control | Next::Look => {}
        }
    }
}

/// Files for paths below `/static`, if somebody has said where.
static FILES: std::sync::OnceLock<StaticFiles> = std::sync::OnceLock::new();

/// Answers with the path and the length of the body; `/big` with 8 MiB, `/chunks` with three pieces,
/// `/unread` without a look at the body, `/wait` once a line came on the body.
fn answer(mut exchange: Box<Exchange>) {
    let path = exchange.request().get(b"PATH_INFO").unwrap_or_default().to_vec();
    if FILES.get().is_some_and(|files| files.answer(&mut exchange).unwrap()) {
        return exchange.finish().unwrap();
    }
    let mut body = Vec::new();
    if path != b"/unread" {
        while let Ok(1..) = exchange.read(&mut body, 1 << 20) {}
    }
    let headers = [(&b"Content-Type"[..], &b"text/plain"[..])];
    if path == b"/chunks" {
        exchange.start(b"200 OK", headers.into_iter(), None).unwrap();
        for piece in [&b"one "[..], b"two ", b"three"] {
            exchange.write(piece, false).unwrap();
        }
        return exchange.finish().unwrap();
    }
    let text = if path == b"/big" {
        vec![b'x'; 8 << 20]
    } else if path == b"/who" {
        let keys = ["REMOTE_ADDR", "REMOTE_PORT", "SERVER_PORT"];
        let said = keys.map(|key| exchange.request().get(key.as_bytes()));
        format!("{:?}", said.map(|said| said.map(String::from_utf8_lossy))).into_bytes()
    } else {
        format!("{} {}", String::from_utf8_lossy(&path), body.len()).into_bytes()
    };
    exchange.start(b"200 OK", headers.into_iter(), Some(text.len() as u64)).unwrap();
    // Some peers have gone by now.
    if exchange.write(&text, true).is_ok() {
        let _ = exchange.finish();
    }
}

/// Reads one answer with a length: its head and its body.
fn read_answer(stream: &mut TcpStream) -> (String, Vec<u8>) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            ended => panic!("{ended:?} within a head: {}", String::from_utf8_lossy(&head)),
        }
    }
    let head = String::from_utf8(head).unwrap();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("Content-Length: "))
        .map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    (head, body)
}

fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    // A reset is an end too.
    let _ = stream.read_to_end(&mut rest);
    rest
}

fn packet(modifier1: u8, pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (key, value) in pairs {
        for text in [key, value] {
            block.extend_from_slice(&(text.len() as u16).to_le_bytes());
            block.extend_from_slice(text.as_bytes());
        }
    }
    let mut packet = vec![modifier1];
    packet.extend_from_slice(&(block.len() as u16).to_le_bytes());
    packet.push(0);
    packet.extend_from_slice(&block);
    packet
}

const GET: &[u8] = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n";

#[test]
fn a_connection_answers_one_request_after_the_other() {
    let server = Server::start(|_| {});
    let mut stream = server.http();
    for _ in 0..3 {
        stream.write_all(GET).unwrap();
        assert_eq!(read_answer(&mut stream).1, b"/a 0");
    }
    // Two that come together are answered in order.
    let post = b"POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc";
    stream.write_all(&[post, GET, post].concat()).unwrap();
    for wanted in [&b"/b 3"[..], b"/a 0", b"/b 3"] {
        assert_eq!(read_answer(&mut stream).1, wanted);
    }
    drop(stream);
    assert_eq!(server.stop(), 6);
}

#[test]
fn a_request_may_come_in_any_pieces() {
    let server = Server::start(|_| {});
    let whole = b"POST /p HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    let mut stream = server.http();
    stream.set_nodelay(true).unwrap();
    for at in 1..whole.len() {
        stream.write_all(&whole[..at]).unwrap();
        stream.write_all(&whole[at..]).unwrap();
        assert_eq!(read_answer(&mut stream).1, b"/p 5", "cut at {at}");
    }
    for byte in whole {
        stream.write_all(&[*byte]).unwrap();
    }
    assert_eq!(read_answer(&mut stream).1, b"/p 5");
    server.stop();
}

#[test]
fn a_request_that_is_cut_is_no_request() {
    let server = Server::start(|_| {});
    let whole = b"POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc";
    for at in 0..whole.len() {
        let mut stream = server.http();
        stream.write_all(&whole[..at]).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(rest(&mut stream), b"", "cut at {at}");
    }
    let whole = packet(0, &[("PATH_INFO", "/u"), ("REQUEST_METHOD", "GET")]);
    for at in 0..whole.len() {
        let mut stream = connect(server.uwsgi);
        stream.write_all(&whole[..at]).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(rest(&mut stream), b"", "cut at {at}");
    }
    assert_eq!(server.stop(), 0);
}

#[test]
fn packets_are_requests_and_others_go_to_the_daemon() {
    let server = Server::start(|_| {});
    let mut stream = connect(server.uwsgi);
    stream
        .write_all(&packet(
            0,
            &[("PATH_INFO", "/u"), ("CONTENT_LENGTH", "2"), ("SERVER_PROTOCOL", "HTTP/1.1")],
        ))
        .unwrap();
    stream.write_all(b"hi").unwrap();
    let answer = String::from_utf8(rest(&mut stream)).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\n/u 2"),
        "{answer}"
    );

    let task = packet(17, &[("ud_spool_func", "f")]);
    let mut stream = connect(server.uwsgi);
    stream.write_all(&task).unwrap();
    let mut buffer = vec![0; 8192];
    let mut sockets = Vec::new();
    let handed = server.handed.as_fd();
    let got = unspool_sys::socket::receive(handed, &mut buffer, &mut sockets, true).unwrap();
    let unspool_sys::socket::Received::Packet(bytes) = got else { panic!("{got:?}") };
    assert_eq!(buffer[..4], 1u32.to_le_bytes(), "the socket that it came by");
    let mut other = TcpStream::from(sockets.pop().unwrap());
    other.set_nonblocking(false).unwrap();
    let mut more = vec![0; task.len() + 4 - bytes];
    other.read_exact(&mut more).unwrap();
    assert_eq!([&buffer[4..bytes], &more].concat(), task);
    other.write_all(b"stored").unwrap();
    drop(other);
    assert_eq!(rest(&mut stream), b"stored");
    server.stop();
}

#[test]
fn bad_requests_are_refused_and_their_connections_end() {
    let server = Server::start(|_| {});
    let long = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(9000));
    let cases: [(&[u8], &str); 6] = [
        (b"nonsense\r\n\r\n", "400"),
        (b"GET / HTTP/1.1\r\n\r\n", "400"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n", "413"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "400"),
        (b"GET / HTTP/3.0\r\nHost: x\r\n\r\n", ""),
        (long.as_bytes(), ""),
    ];
    for (bytes, status) in cases {
        let mut stream = server.http();
        stream.write_all(bytes).unwrap();
        stream.write_all(GET).unwrap_or_default();
        let answer = String::from_utf8(rest(&mut stream)).unwrap();
        assert!(answer.starts_with("HTTP/1.") && answer.contains(status), "{bytes:?}: {answer}");
        assert_eq!(
            answer.matches("Content-Length").count(),
            1,
            "nothing behind it is answered: {answer}"
        );
    }
    assert_eq!(server.stop(), 0);
}

#[test]
fn a_body_is_asked_for_and_its_length_bounded() {
    let server = Server::start(|_| {});
    let mut stream = server.http();
    let head = b"POST /e HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n";
    stream.write_all(head).unwrap();
    let mut told = [0; 25];
    stream.read_exact(&mut told).unwrap();
    assert_eq!(&told, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"body").unwrap();
    assert_eq!(read_answer(&mut stream).1, b"/e 4");

    // Chunks do not say how many there will be.
    let mut stream = server.http();
    stream.write_all(b"POST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
    let chunk = [b"100000\r\n".to_vec(), vec![b'x'; 1 << 20], b"\r\n".to_vec()].concat();
    let mut sent = 0;
    while sent < 64 && stream.write_all(&chunk).is_ok() {
        sent += 1;
    }
    let answer = String::from_utf8(rest(&mut stream)).unwrap();
    assert!(!answer.ends_with(&(sent << 20).to_string()), "{answer}");
    assert!(sent < 64, "the peer is stopped");
    server.stop();
}

#[test]
fn long_bodies_are_buffered_in_files_where_that_is_wanted() {
    let server = Server::start(|settings| settings.buffer_bodies = Some(4096));
    let body = vec![b'b'; 5 << 20];
    for head in ["Content-Length: 5242880", "Transfer-Encoding: chunked"] {
        let mut stream = server.http();
        write!(stream, "POST /f HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n").unwrap();
        if head.starts_with('C') {
            stream.write_all(&body).unwrap();
        } else {
            stream.write_all(b"500000\r\n").unwrap();
            stream.write_all(&body).unwrap();
            stream.write_all(b"\r\n0\r\n\r\n").unwrap();
        }
        assert_eq!(read_answer(&mut stream).1, b"/f 5242880");
        // While a body comes, others are answered by the one thread.
        let mut slow = server.http();
        write!(slow, "POST /s HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n").unwrap();
        slow.write_all(&vec![b'x'; 99_999]).unwrap();
        stream.write_all(GET).unwrap();
        assert_eq!(read_answer(&mut stream).1, b"/a 0");
        slow.write_all(b"x").unwrap();
        assert_eq!(read_answer(&mut slow).1, b"/s 100000");
    }
    server.stop();
}

#[test]
fn an_unread_body_does_not_become_the_next_request() {
    let server = Server::start(|_| {});
    let smuggled = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut stream = server.http();
    write!(
        stream,
        "POST /unread HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n",
        smuggled.len()
    )
    .unwrap();
    stream.write_all(smuggled).unwrap();
    assert_eq!(read_answer(&mut stream).1, b"/unread 0");
    stream.write_all(GET).unwrap();
    assert_eq!(read_answer(&mut stream).1, b"/a 0");
    // One that is still to come ends the connection, and the answer arrives all the same.
    let mut stream = server.http();
    stream
        .write_all(b"POST /unread HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n\r\n")
        .unwrap();
    stream.write_all(&vec![b'x'; 128 * 1024]).unwrap();
    assert_eq!(read_answer(&mut stream).1, b"/unread 0");
    assert_eq!(rest(&mut stream), b"");
    server.stop();
}

#[test]
fn slow_readers_and_slow_writers_keep_no_thread() {
    let server = Server::start(|_| {});
    let mut readers = Vec::new();
    for _ in 0..3 {
        let mut reader = server.http();
        reader.write_all(b"GET /chunks HTTP/1.1\r\nHost: x\r\n\r\nGET /a HTTP/1.1\r\n").unwrap();
        readers.push(reader);
    }
    let mut idle: Vec<_> = (0..20).map(|_| server.http()).collect();
    for stream in &mut idle[..10] {
        stream.write_all(b"GET /never HTT").unwrap();
    }
    let mut stream = server.http();
    let began = Instant::now();
    for _ in 0..10 {
        stream.write_all(GET).unwrap();
        assert_eq!(read_answer(&mut stream).1, b"/a 0");
    }
    assert!(began.elapsed() < LATE / 2, "nobody waited for a peer's time to end");
    drop(readers);
    drop(idle);
    server.stop();
}

#[test]
fn a_long_answer_arrives_whole_at_a_slow_reader() {
    let server = Server::start(|_| {});
    let mut stream = server.http();
    stream.write_all(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert_eq!(read_answer(&mut stream).1.len(), 8 << 20);
    stream.write_all(GET).unwrap();
    assert_eq!(read_answer(&mut stream).1, b"/a 0");
    let mut chunks = server.http();
    chunks.write_all(b"GET /chunks HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let answer = String::from_utf8(rest(&mut chunks)).unwrap();
    assert!(
        answer.ends_with("\r\n\r\n4\r\none \r\n4\r\ntwo \r\n5\r\nthree\r\n0\r\n\r\n"),
        "{answer}"
    );
    server.stop();
}

#[test]
fn with_too_many_connections_the_newest_are_served() {
    let server = Server::start(|settings| settings.connections_max = 16);
    let mut crowd: Vec<_> = (0..200)
        .map(|_| {
            let mut stream = server.http();
            stream.write_all(b"GET / HTTP/1.1\r\nX: ").unwrap();
            stream
        })
        .collect();
    let mut stream = server.http();
    stream.write_all(GET).unwrap();
    assert_eq!(read_answer(&mut stream).1, b"/a 0");
    assert_eq!(rest(&mut crowd[0]), b"", "the oldest was closed");
    drop(crowd);
    server.stop();
}

#[test]
fn who_sends_no_request_in_time_is_told_and_closed() {
    let server = Server::start(|settings| {
        settings.head_wait = Duration::from_millis(200);
        settings.keep_alive = Duration::from_millis(200);
    });
    let mut slow = server.http();
    slow.write_all(b"GET / HT").unwrap();
    let answer = String::from_utf8(rest(&mut slow)).unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    let mut silent = server.http();
    assert_eq!(rest(&mut silent), b"");
    let mut idle = server.http();
    idle.write_all(GET).unwrap();
    read_answer(&mut idle);
    assert_eq!(rest(&mut idle), b"");
    server.stop();
}

#[test]
fn who_connects_is_said_also_of_those_without_an_address() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("web.sock");
    let listener = UnixListener::bind(&path).unwrap();
    listener.set_nonblocking(true).unwrap();
    let server = Server::start(|settings| {
        let shown = path.display().to_string();
        settings.sockets.push(WebSocket {
            socket: listener.into(),
            protocol: WebProtocol::Http,
            shown,
        });
    });
    let ask = b"GET /who HTTP/1.0\r\n\r\n";
    let mut stream = server.http();
    stream.write_all(ask).unwrap();
    let (from, to) = (stream.local_addr().unwrap().port(), server.http.port());
    let expected = format!(r#"[Some("127.0.0.1"), Some("{from}"), Some("{to}")]"#);
    assert_eq!(read_answer(&mut stream).1, expected.as_bytes());
    let mut stream = UnixStream::connect(&path).unwrap();
    stream.set_read_timeout(Some(LATE)).unwrap();
    stream.write_all(ask).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with(r#"[Some("0.0.0.0"), None, Some("80")]"#), "{answer}");
    assert_eq!(server.stop(), 2);
}

#[test]
fn a_body_has_to_move() {
    let server = Server::start(|settings| settings.wait = Duration::from_millis(400));
    let head = b"POST /s HTTP/1.1\r\nHost: x\r\nContent-Length: 40000\r\n\r\n";
    for (piece, is_enough) in [(1, false), (4000, true)] {
        let mut stream = server.http();
        stream.write_all(head).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let mut answer = [0; 16];
        let mut sent = 0;
        // Ten pieces take a second.
        while sent < 40_000 && stream.read(&mut answer).is_err() {
            stream.write_all(&vec![b'x'; piece]).unwrap();
            sent += piece;
        }
        stream.set_read_timeout(Some(LATE)).unwrap();
        if is_enough {
            assert_eq!(read_answer(&mut stream).1, b"/s 40000");
        } else {
            assert!(answer.starts_with(b"HTTP/1.1 408 "), "{answer:?}");
        }
    }
    server.stop();
}

#[test]
fn threads_answer_side_by_side_and_all_end() {
    let server = Server::start(|settings| settings.threads = 4);
    let clients: Vec<_> = (0..16)
        .map(|_| {
            let mut stream = server.http();
            std::thread::spawn(move || {
                for _ in 0..50 {
                    stream.write_all(GET).unwrap();
                    assert_eq!(read_answer(&mut stream).1, b"/a 0");
                }
            })
        })
        .collect();
    for client in clients {
        client.join().unwrap();
    }
    assert_eq!(server.stop(), 800);
}

#[test]
fn a_worker_that_drains_answers_what_is_there_and_says_that_it_closes() {
    let server = Server::start(|_| {});
    let mut stream = server.http();
    stream.write_all(GET).unwrap();
    let (head, _) = read_answer(&mut stream);
    assert!(!head.contains("Connection: close"), "{head}");
    server.front.drain();
    // The connection is idle, and its next request is not lost.
    stream.write_all(GET).unwrap();
    let (head, body) = read_answer(&mut stream);
    assert!(head.contains("Connection: close") && body == b"/a 0", "{head}");
    assert_eq!(rest(&mut stream), b"");
    assert_eq!(server.stop(), 2);
}

#[test]
fn files_are_answers_and_nothing_leads_out_of_their_directory() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("files");
    std::fs::create_dir_all(root.join("deep")).unwrap();
    for (name, content) in [("files/a.css", "p {}"), ("files/deep/b", "b"), ("secret", "no")] {
        std::fs::write(folder.path().join(name), content).unwrap();
    }
    std::os::unix::fs::symlink("../secret", root.join("out")).unwrap();
    std::os::unix::fs::symlink("a.css", root.join("link")).unwrap();
    // Other tests have no paths that begin so.
    FILES.get_or_init(|| StaticFiles::new(vec![(b"/static".to_vec(), root.clone())]));
    let server = Server::start(|_| {});
    let mut stream = server.http();
    let mut ask = |method: &str, path: &str, more: &str| {
        write!(stream, "{method} {path} HTTP/1.1\r\nHost: x\r\n{more}\r\n").unwrap();
        if method == "HEAD" {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                head.push(byte[0]);
            }
            return (String::from_utf8(head).unwrap(), String::new());
        }
        let (head, body) = read_answer(&mut stream);
        (head, String::from_utf8(body).unwrap())
    };
    let (head, body) = ask("GET", "/static/a.css", "");
    assert!(
        head.starts_with("HTTP/1.1 200 OK") && head.contains("Content-Type: text/css"),
        "{head}"
    );
    assert_eq!(body, "p {}");
    let date =
        head.lines().find_map(|line| line.strip_prefix("Last-Modified: ")).unwrap().to_owned();
    let (head, _) = ask("GET", "/static/a.css", &format!("If-Modified-Since: {date}\r\n"));
    assert!(head.starts_with("HTTP/1.1 304 "), "{head}");
    let (head, _) = ask("HEAD", "/static/a.css", "");
    assert!(head.contains("Content-Length: 4"), "{head}");
    assert_eq!(ask("GET", "/static//deep/b", "").1, "b");
    assert_eq!(ask("GET", "/static/link", "").1, "p {}");
    let (head, body) = ask("GET", "/static/out", "");
    assert!(head.starts_with("HTTP/1.1 403 ") && body == "Forbidden", "{head}{body}");
    // Of HTTP the steps of a path are taken before; a server in front might not.
    for out in ["/static/../secret", "/static/deep/../../secret"] {
        assert_eq!(ask("GET", out, "").1, "/secret 0");
        let mut stream = connect(server.uwsgi);
        stream.write_all(&packet(0, &[("REQUEST_METHOD", "GET"), ("PATH_INFO", out)])).unwrap();
        let answer = String::from_utf8(rest(&mut stream)).unwrap();
        assert!(answer.contains(" 403 ") && answer.ends_with("Forbidden"), "{out}: {answer}");
    }
    for other in [
        "/static",
        "/static/",
        "/static/deep",
        "/statics/a.css",
        "/static/none",
        "/static/a.css%00",
    ] {
        let (head, body) = ask("GET", other, "");
        assert!(head.starts_with("HTTP/1.1 200 ") && body.ends_with(" 0"), "{other}: {head}{body}");
    }
    let (_, body) = ask("POST", "/static/a.css", "Content-Length: 0\r\n");
    assert_eq!(body, "/static/a.css 0");
    drop(stream);
    a_long_file_keeps_nobody_waiting(&server, &root);
    server.stop();
}

fn a_long_file_keeps_nobody_waiting(server: &Server, files: &std::path::Path) {
    std::fs::write(files.join("long"), vec![b'l'; 32 << 20]).unwrap();
    let mut slow = server.http();
    slow.write_all(b"GET /static/long HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let began = Instant::now();
    let mut stream = server.http();
    stream.write_all(GET).unwrap();
    assert_eq!(read_answer(&mut stream).1, b"/a 0");
    assert!(began.elapsed() < LATE / 2);
    assert_eq!(read_answer(&mut slow).1.len(), 32 << 20);
    slow.write_all(GET).unwrap();
    assert_eq!(read_answer(&mut slow).1, b"/a 0");
}
