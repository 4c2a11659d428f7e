//! A server on loopback with a spool of its own, and clients that speak by hand.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use unspool_core::signing::{Keyring, SigningKey};
use unspool_core::taskfile::{TaskFile, TaskId, encode};
use unspool_core::{Durability, Message};
use unspool_server::{
    ListenOptions, Listener, NetworkSettings, NetworkSocket, NetworkSpool, Serve, Server,
};
use unspool_spool::{SpoolDir, is_task_name};
use unspool_sys::clock;
use unspool_wire::address::Address;
use unspool_wire::packet::{Assembly, Packet};
use unspool_wire::peer::{
    Answer, Begin, Frame, Greeting, Hello, Receiver, Sender, Side, Verdict, Welcome,
};

pub(crate) const KEYS: &str =
    "a 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n";

pub(crate) fn keys() -> Arc<Keyring> {
    Arc::new(Keyring::parse(KEYS.as_bytes()).unwrap())
}

/// What answers, and where its tasks lie.
pub(crate) struct Fixture {
    root: TempDir,
    pub(crate) address: SocketAddr,
    pub(crate) socket: PathBuf,
    _server: Server,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut NetworkSettings)) -> Self {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("spool");
        let spool = Arc::new(SpoolDir::open(&path).unwrap());
        let socket = root.path().join("s.sock");
        let bind = |address| {
            let listener = Listener::bind(&address, ListenOptions::default()).unwrap();
            NetworkSocket { listener, tls: None, needs_key: false }
        };
        let tcp = bind(Address::Tcp { host: "127.0.0.1".to_owned(), port: 0 });
        let address = tcp.listener.shown().parse().unwrap();
        let mut settings = NetworkSettings {
            sockets: vec![tcp, bind(Address::Path(socket.clone()))],
            spools: vec![NetworkSpool {
                path,
                priority: None,
                spool,
                durability: Durability::Group,
            }],
            handed: None,
            allow_from: None,
            uids: Some(Vec::new()),
            unsigned_uids: Vec::new(),
            signed_only: false,
            keys: None,
            keys_sign: false,
            packet_bytes_max: u16::MAX,
            task_bytes_max: 64 << 20,
            packet_wait: Duration::from_secs(5),
            idle_wait: Duration::from_secs(30),
            connections_max: 64,
            connections_per_peer_max: 32,
        };
        change(&mut settings);
        let server = Server::start(Serve { stats: None, network: Some(settings) }).unwrap();
        Self { root, address, socket, _server: server }
    }

    pub(crate) fn spool(&self) -> PathBuf {
        self.root.path().join("spool")
    }

    /// The pending tasks of the top folder, by their file's name.
    pub(crate) fn tasks(&self) -> Vec<Message> {
        let mut names: Vec<_> = std::fs::read_dir(self.spool())
            .unwrap()
            .map(|entry| entry.unwrap())
            .filter(|entry| is_task_name(entry.file_name().as_encoded_bytes()))
            .map(|entry| entry.path())
            .collect();
        names.sort();
        let read =
            |path: &PathBuf| TaskFile::parse(&std::fs::read(path).unwrap()).unwrap().to_message();
        names.iter().map(read).collect()
    }

    /// What lies where tasks are received.
    pub(crate) fn incoming(&self) -> usize {
        let folder = self.spool().join(".unspool/incoming");
        std::fs::read_dir(folder).map_or(0, Iterator::count)
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    /// Sends bytes, and returns all that comes until the connection ends.
    pub(crate) fn exchange(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = self.connect();
        stream.write_all(bytes).unwrap();
        rest(&mut stream)
    }

    /// A client that was welcomed.
    pub(crate) fn session(&self, key: Option<&SigningKey>) -> Client<TcpStream> {
        Client::begin(self.connect(), key).unwrap()
    }
}

/// All that comes until the connection ends, however it ends.
pub(crate) fn rest(stream: &mut impl Read) -> Vec<u8> {
    let mut all = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(got @ 1..) = stream.read(&mut buffer) {
        all.extend_from_slice(&buffer[..got]);
    }
    all
}

pub(crate) fn read_packet(stream: &mut impl Read) -> Option<Packet> {
    let mut assembly = Assembly::new(u16::MAX);
    loop {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        if let Some(packet) = assembly.take(&mut &byte[..]).unwrap() {
            return Some(packet);
        }
    }
}

/// Seconds since 1970.
pub(crate) fn now_s() -> u64 {
    (clock::now_ns() / 1_000_000_000) as u64
}

/// One end of a connection between two of ours.
pub(crate) struct Client<S> {
    pub(crate) stream: S,
    pub(crate) frames: Sender,
    answers: Receiver,
    pub(crate) welcome: Welcome,
}

impl<S: Read + Write> Client<S> {
    /// The reason, where it is refused.
    pub(crate) fn begin(mut stream: S, key: Option<&SigningKey>) -> Result<Self, String> {
        let hello = Hello::new(now_s(), [7; 16], key);
        stream.write_all(&hello.to_packet()).unwrap();
        let packet = read_packet(&mut stream).ok_or("closed")?;
        match Greeting::read(&packet).unwrap() {
            Greeting::Welcome(welcome) => {
                if let Some(key) = key {
                    welcome.check(&hello, key).unwrap();
                }
                let session = key.map(|key| welcome.session(&hello, key));
                Ok(Self {
                    stream,
                    frames: Sender::new(Side::Client, session.clone()),
                    answers: Receiver::new(Side::Server, session),
                    welcome,
                })
            }
            Greeting::Refused(reason) => Err(reason),
            Greeting::Uwsgi => Err("a real uWSGI".to_owned()),
        }
    }

    /// The frames of a task, in data of so many bytes.
    pub(crate) fn frames_of(&mut self, number: u32, file: &[u8], piece: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        let begin = Begin { number, bytes: file.len() as u64, spooler: Vec::new() };
        self.frames.push(&Frame::Begin(begin), &mut bytes);
        for piece in file.chunks(piece) {
            self.frames.push_data(piece, &mut bytes);
        }
        bytes
    }

    pub(crate) fn send(&mut self, number: u32, file: &[u8]) {
        let bytes = self.frames_of(number, file, 60_000);
        self.stream.write_all(&bytes).unwrap();
    }

    /// The next answer; `None` once the connection has ended.
    pub(crate) fn answer(&mut self) -> Option<Answer> {
        loop {
            let mut byte = [0];
            self.stream.read_exact(&mut byte).ok()?;
            if let Some(Frame::Answer(answer)) = self.answers.take(&mut &byte[..]).unwrap() {
                return Some(answer);
            }
        }
    }

    /// Sends a task and returns what became of it.
    pub(crate) fn store(&mut self, number: u32, file: &[u8]) -> (Verdict, String) {
        self.send(number, file);
        let answer = self.answer().unwrap();
        assert_eq!(answer.number, number);
        (answer.verdict, answer.text)
    }
}

pub(crate) fn message(pairs: &[(&str, &str)], body: &[u8]) -> Message {
    let pair = |(k, v): &(&str, &str)| (k.as_bytes().to_vec(), v.as_bytes().to_vec());
    Message { pairs: pairs.iter().map(pair).collect(), body: body.to_vec(), ..Message::default() }
}

pub(crate) fn id(number: u32) -> TaskId {
    let mut random = [0; 10];
    random[..4].copy_from_slice(&number.to_be_bytes());
    TaskId::new(1_795_417_858_508, random)
}

/// The file of a task.
pub(crate) fn file(number: u32, body: &[u8], key: Option<&SigningKey>) -> Vec<u8> {
    encode(&message(&[("number", &number.to_string())], body), id(number), key).unwrap()
}
