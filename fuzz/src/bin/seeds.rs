//! Writes what each target starts from: `seeds FOLDER`, a folder in it for each target. Small files,
//! made by the code that makes the real ones.

use std::fs;
use std::path::{Path, PathBuf};

use unspool_core::signing::Keyring;
use unspool_core::taskfile::{TaskId, encode};
use unspool_core::{Message, Outcome, TaskPolicy};
use unspool_http::{CHUNK_END, LAST_CHUNK, chunk_head};
use unspool_spool::{
    Adoption, Selection, SpoolDir, Trace, Verdict, begin_adoption, change_adoption,
};
use unspool_sys::slots::HandedTask;
use unspool_wire::PROTOCOL_VERSION;
use unspool_wire::packet::{HEADER_BYTES, PONG, SPOOL, write_packet};
use unspool_wire::peer::{
    Answer, Begin, Frame, Hello, NONCE_BYTES, Sender, Side, Welcome, refusal,
};
use unspool_wire::task::{FromWorker, Handed, Report, ToWorker};
// Instrumented like the rest, it needs what counts.
use libfuzzer_sys as _;

/// A file that uWSGI 2.0.31 wrote for `{ud_spool_func: f, a: 1, at, priority}` and a body.
const FOREIGN: &[u8] =
    b"\x11\x35\x00\x00\x0d\x00ud_spool_func\x01\x00f\x01\x00a\x01\x001\x02\x00at\
\x0a\x002000000000\x08\x00priority\x01\x005BODY\x00bytes";

struct Seeds {
    folder: PathBuf,
}

impl Seeds {
    fn add(&self, target: &str, content: &[u8]) {
        let folder = self.folder.join(target);
        fs::create_dir_all(&folder).expect("a folder for the seeds");
        let number = fs::read_dir(&folder).expect("a folder for the seeds").count();
        fs::write(folder.join(format!("seed-{number}")), content).expect("a seed");
    }
}

fn main() {
    let folder = std::env::args_os().nth(1).expect("usage: seeds FOLDER");
    let seeds = Seeds { folder: folder.into() };
    tasks(&seeds);
    packets(&seeds);
    network(&seeds);
    web(&seeds);
    records(&seeds);
    running(&seeds);
    for name in ["uwsgi_spoolfile_on_host_77_12_0_1795417858_508096", "1795417858", "5\n10\nmail"] {
        seeds.add("names", name.as_bytes());
    }
    seeds.add("config_arguments", b"--ini\npart.ini:part\n--spooler=/s\n-M\n--set\na=%(b)\nx.py");
    seeds.add("canary", b"c");
    seeds.add(
        "signature",
        format!("# web\nnew {}\nold {}=\n", "a".repeat(64), "b".repeat(43)).as_bytes(),
    );
    for bytes in [64, 512] {
        let noise: Vec<u8> = (0..bytes).map(|at: u32| (at * 89 + 7) as u8).collect();
        seeds.add("task_damage", &noise);
        seeds.add("signature", &noise);
    }
}

fn tasks(seeds: &Seeds) {
    let pair = |key: &str, value: &[u8]| (key.as_bytes().to_vec(), value.to_vec());
    let function = pair("ud_spool_func", b"f");
    let small = Message { pairs: vec![function.clone(), pair("a", b"1")], ..Message::default() };
    let full = Message {
        pairs: vec![function.clone(), pair("at", b"2000000000"), pair("priority", b"5")],
        body: b"BODY\0bytes".to_vec(),
        module: b"shop.tasks".to_vec(),
        policy: TaskPolicy {
            attempts: Some(3),
            soft_limit_ms: Some(1500),
            ..TaskPolicy::default()
        },
        ..Message::default()
    };
    let long = vec![b'x'; 66_000];
    let overflows = Message { pairs: vec![function, pair("a", &long)], ..Message::default() };
    for message in [Message::default(), small, full, overflows] {
        let id = TaskId::new(1_795_417_858_508, [9; 10]);
        let file = encode(&message, id, None).expect("a small message");
        seeds.add("task_file", &file);
        seeds.add("intake", &file);
    }
    seeds.add("task_file", FOREIGN);
}

fn packets(seeds: &Seeds) {
    let names = [&b"uwsgi_spoolfile_on_a"[..], b"uwsgi_spoolfile_on_b"];
    let handed = |slot: u8| Handed { slot, folder: 1, name: names[usize::from(slot)].to_vec() };
    for packet in [
        ToWorker::Folder { index: 7 },
        ToWorker::Tasks(vec![handed(0), handed(1)]),
        ToWorker::Tick { signal: 9 },
        ToWorker::Drain,
    ] {
        let mut bytes = Vec::new();
        packet.encode(&mut bytes);
        seeds.add("worker_packets", &bytes);
    }
    let report = |slot, outcome, text: &str| Report {
        slot,
        outcome,
        duration_ns: 1_000_000,
        text: text.to_owned(),
        output: "printed\n".to_owned(),
        peak_rss: 1 << 24,
        errno: 0,
    };
    for packet in [
        FromWorker::Ready { version: PROTOCOL_VERSION, pid: 77 },
        FromWorker::Reports(vec![
            report(0, Some(Outcome::Done), ""),
            report(1, Some(Outcome::Failed), "Traceback"),
            report(2, None, ""),
        ]),
        FromWorker::TickDone { signal: 9, duration_ns: 5, error: Some("x".to_owned()) },
        FromWorker::Leaving,
    ] {
        let mut bytes = Vec::new();
        packet.encode(&mut bytes);
        seeds.add("worker_packets", &bytes);
    }
    for packet in [
        r#"{"type":"forked","worker":1,"pid":77}"#,
        r#"{"type":"failed","worker":1,"error":"no memory"}"#,
        r#"{"type":"sources","sources":[{"path":"/a.py","mtime_ns":1,"bytes":2}]}"#,
        r#"{"type":"monitors","monitors":[{"signal":3,"path":"/tmp","state":[1,4096]}]}"#,
        r#"{"type":"ready","functions":["f"],"signals":[{"signal":1,"target":"spooler"}],
            "failures":[{"target":"m","traceback":"t"}],"threads":["x"],"remarks":["y"],
            "timers":[{"signal":1,"seconds":0.5,"iterations":3}],"crons":[{"signal":2,"minute":-1,
            "hour":-2,"day":1,"month":1,"weekday":7}]}"#,
        r#"{"worker":3,"type":"timer","signal":1,"seconds":1e3}"#,
        r#"{"worker":3,"type":"wait","signal":null}"#,
        r#"{"type":"frequency","seconds":0}"#,
        r#"{"type":"reload"}"#,
    ] {
        seeds.add("control_packets", packet.as_bytes());
    }
}

fn network(seeds: &Seeds) {
    let keys = Keyring::parse(format!("a {}\n", "1".repeat(64)).as_bytes()).expect("a key");
    let hello = Hello::new(1_795_417_858, [1; NONCE_BYTES], Some(keys.first()));
    let welcome = Welcome::new(&hello, [2; NONCE_BYTES], 1 << 20, 64, Some(keys.first()));
    let task: [(&[u8], &[u8]); 2] = [(b"ud_spool_func", b"f"), (b"a", b"1")];
    for packet in [
        write_packet(SPOOL, 0, &task).expect("a small packet"),
        PONG.to_vec(),
        hello.to_packet(),
        welcome.to_packet(),
        refusal("no"),
    ] {
        seeds.add("uwsgi_packets", &[&[255, 255, 3], &packet[..]].concat());
    }
    let frames = [
        (Side::Client, Frame::Begin(Begin { number: 7, bytes: 3, spooler: b"/s".to_vec() })),
        (Side::Client, Frame::Data(b"abc".to_vec())),
        (
            Side::Server,
            Frame::Answer(Answer {
                number: 7,
                verdict: unspool_wire::peer::Verdict::Later,
                text: "full".to_owned(),
            }),
        ),
    ];
    for side in [Side::Client, Side::Server] {
        let mut bytes = Vec::new();
        let mut sender = Sender::new(side, None);
        for (_, frame) in frames.iter().filter(|(of, _)| *of == side) {
            sender.push(frame, &mut bytes);
        }
        let how = if side == Side::Client { 2 } else { 3 };
        seeds.add("peer_frames", &[&[how, 5], &bytes[..]].concat());
    }
}

fn web(seeds: &Seeds) {
    let add = |what: u8, content: &[u8]| {
        seeds.add("http_requests", &[&[what, 3], content].concat());
    };
    for head in [
        "GET /a%20b?c=d HTTP/1.1\r\nHost: a:1\r\nX-A: 1\r\nx-a: 2\r\nCookie: a\r\ncookie: b\r\n\r\n",
        "POST http://b/c HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Type: t\r\n\r\nhello",
        "PUT * HTTP/1.1\r\nhost: a\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n",
        "HEAD / HTTP/1.0\r\nConnection: keep-alive, close\r\nX_A: 1\r\nProxy: p\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        add(0, head.as_bytes());
    }
    let (line, length) = chunk_head(3);
    add(1, &[&line[..length], b"abc", CHUNK_END, LAST_CHUNK].concat());
    add(1, b"3;a=b\r\nabc\r\n0\r\nT: 1\r\n\r\nrest");
    let pairs: [(&[u8], &[u8]); 3] =
        [(b"REQUEST_METHOD", b"POST"), (b"CONTENT_LENGTH", b"5"), (b"CONTENT_LENGTH", b"")];
    add(2, &write_packet(0, 0, &pairs).expect("a small packet")[HEADER_BYTES..]);
    for given in [
        "GET / HTTP/1.1\n200 OK\nContent-Type:text/html\nContent-Length:5",
        "GET /a HTTP/1.0\n404 Not Found\nConnection:close\nX:1",
        "HEAD / HTTP/1.1\n204 No Content\nTransfer-Encoding:chunked",
    ] {
        add(3, given.as_bytes());
    }
}

fn records(seeds: &Seeds) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let spool = SpoolDir::open(&folder.path().join("spool")).expect("a new spool");
    let read = |path: &Path| fs::read(path).expect("a record");
    let adopted = folder.path().join("spool/.unspool/adopted");
    begin_adoption(&spool, Adoption::new(true, 86_400_000_000_000)).expect("a record");
    seeds.add("records", &[b"\0".as_slice(), &read(&adopted)].concat());
    let which = Selection { folder: Some(b"a b%\xff".to_vec()), function: Some(b"f".to_vec()) };
    change_adoption(&spool, |record| record.decide(which, Verdict::Run)).expect("a record");
    seeds.add("records", &[b"\0".as_slice(), &read(&adopted)].concat());
    for fired in ["            29000000\n", "            28999999\n", ""] {
        seeds.add("records", format!("\u{1}{fired}").as_bytes());
    }
}

fn running(seeds: &Seeds) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let spool = SpoolDir::open(&folder.path().join("spool")).expect("a spool");
    let (trace, _) = Trace::make(&spool, 2).expect("a daemon's folder");
    let task = |inode| HandedTask { inode, ..HandedTask::default() };
    trace.notes().starts(1, task(42), 1, 77).expect("room");
    trace.notes().cancels(1, task(42), 1).expect("room");
    trace.notes().starts(0, task(43), 2, 78).expect("room");
    let content = fs::read(trace.notes_path()).expect("the file");
    for row in [0, 1, 200] {
        seeds.add("running", &[&[row], content.as_slice()].concat());
    }
}
