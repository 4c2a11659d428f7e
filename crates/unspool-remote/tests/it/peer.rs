//! A receiver, played by a thread.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver as Channel, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use unspool_core::Message;
use unspool_core::signing::{Keyring, SigningKey};
use unspool_core::taskfile::TaskFile;
use unspool_remote::{Options, Remote};
use unspool_wire::address::PeerAddress;
use unspool_wire::packet::{Assembly, Packet};
use unspool_wire::peer::{Answer, Begin, Frame, Hello, Receiver, Sender, Side, Verdict, Welcome};

/// Long enough for anything, on any machine.
pub(crate) const LATE: Duration = Duration::from_secs(30);
/// What a test waits for in vain.
pub(crate) const SOON: Duration = Duration::from_millis(100);

/// A listener whose connections are given to a function, one after the other.
pub(crate) struct Played {
    pub(crate) address: String,
    thread: Option<JoinHandle<()>>,
    done: Channel<()>,
}

impl Played {
    /// Serves so many connections with `part`, which is told the number of each, and ends.
    pub(crate) fn new(
        connections: usize,
        part: impl Fn(usize, TcpStream) + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (tell, done) = channel();
        let thread = std::thread::spawn(move || {
            for number in 0..connections {
                let (stream, _) = listener.accept().unwrap();
                stream.set_read_timeout(Some(LATE)).unwrap();
                stream.set_write_timeout(Some(LATE)).unwrap();
                part(number, stream);
            }
            drop(listener);
            let _ = tell.send(());
        });
        Self { address, thread: Some(thread), done }
    }

    /// How to reach it.
    pub(crate) fn remote(&self, options: Options) -> Remote {
        remote(&self.address, options)
    }

    /// Waits until all its connections are served; what it found wrong is raised here.
    pub(crate) fn finish(mut self) {
        let ended = self.done.recv_timeout(LATE);
        if let Some(thread) = self.thread.take()
            && (ended.is_ok() || thread.is_finished())
            && let Err(panic) = thread.join()
        {
            std::panic::resume_unwind(panic);
        }
        assert!(ended.is_ok(), "the receiver still serves");
    }
}

pub(crate) fn remote(address: &str, options: Options) -> Remote {
    let address = PeerAddress::parse(address, Path::new("/")).unwrap();
    Remote::new(address, Arc::new(options))
}

/// One connection, as one of ours serves it.
pub(crate) struct Connection<S: Read + Write> {
    pub(crate) stream: S,
    sender: Sender,
    receiver: Receiver,
    held: Vec<u8>,
}

pub(crate) fn read_packet(stream: &mut impl Read) -> Packet {
    let mut assembly = Assembly::new(u16::MAX);
    loop {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        if let Some(packet) = assembly.take(&mut &byte[..]).unwrap() {
            return packet;
        }
    }
}

pub(crate) fn read_hello(stream: &mut impl Read) -> Hello {
    Hello::read(&read_packet(stream)).unwrap().unwrap()
}

impl<S: Read + Write> Connection<S> {
    /// Welcomes the client, after what it checks of the hello.
    pub(crate) fn welcome(stream: S, key: Option<&SigningKey>, most: u64, window: u32) -> Self {
        Self::try_welcome(stream, key, most, window).unwrap()
    }

    /// The same; `None` if the welcome cannot be sent.
    pub(crate) fn try_welcome(
        mut stream: S,
        key: Option<&SigningKey>,
        most: u64,
        window: u32,
    ) -> Option<Self> {
        let hello = read_hello(&mut stream);
        assert_eq!(hello.has_proof(), key.is_some());
        let welcome = Welcome::new(&hello, [7; 16], most, window, key);
        stream.write_all(&welcome.to_packet()).ok()?;
        let session = key.map(|key| welcome.session(&hello, key));
        Some(Self {
            stream,
            sender: Sender::new(Side::Server, session.clone()),
            receiver: Receiver::new(Side::Client, session),
            held: Vec::new(),
        })
    }

    /// The next frame; `None` at the end of the connection.
    pub(crate) fn frame(&mut self) -> Option<Frame> {
        loop {
            let mut bytes = &self.held[..];
            let frame = self.receiver.take(&mut bytes).unwrap();
            self.held = bytes.to_vec();
            if frame.is_some() {
                return frame;
            }
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer) {
                Ok(0) | Err(_) => return None,
                Ok(count) => self.held.extend_from_slice(&buffer[..count]),
            }
        }
    }

    /// The next task, whole.
    pub(crate) fn task(&mut self) -> Option<(Begin, Vec<u8>)> {
        let Some(Frame::Begin(begin)) = self.frame() else { return None };
        let mut file = Vec::new();
        while (file.len() as u64) < begin.bytes {
            let Some(Frame::Data(bytes)) = self.frame() else { return None };
            file.extend_from_slice(&bytes);
        }
        Some((begin, file))
    }

    pub(crate) fn answer(&mut self, number: u32, verdict: Verdict, text: &str) {
        let answer = Answer { number, verdict, text: text.to_owned() };
        let mut bytes = Vec::new();
        self.sender.push(&Frame::Answer(answer), &mut bytes);
        // The client may have gone.
        let _ = self.stream.write_all(&bytes);
    }
}

/// Ends a connection so that the other end hears of it at once.
pub(crate) fn hang_up(stream: &TcpStream) {
    let _ = stream.shutdown(Shutdown::Both);
}

pub(crate) fn key(name: &str, digit: u8) -> SigningKey {
    let line = format!("{name} {}", String::from_utf8(vec![digit; 64]).unwrap());
    Keyring::parse(line.as_bytes()).unwrap().first().clone()
}

pub(crate) fn message(body: usize) -> Message {
    let pair = |key: &str, value: &str| (key.as_bytes().to_vec(), value.as_bytes().to_vec());
    Message {
        pairs: vec![pair("ud_spool_func", "f"), pair("spooler", "here:1"), pair("k", "v")],
        body: vec![b'b'; body],
        ..Message::default()
    }
}

/// The id of a task's file.
pub(crate) fn id_of(file: &[u8]) -> String {
    TaskFile::parse(file).unwrap().mark.unwrap().id.to_string()
}
