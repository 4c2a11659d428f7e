//! The first packet of each side: that both are ours, and that both have a key.
//!
//! The server's nonce makes every connection's key another one, so that nothing recorded is worth
//! anything on the next; the client's makes the server prove itself, and together with the time it
//! keeps a recorded hello from costing more than a look.

use unspool_core::signing::{Keyring, MAC_BYTES, SigningKey};

use super::printable;
use crate::packet::{PING, Packet, Pair, read_pairs, write_packet};

/// Bytes of a nonce.
pub const NONCE_BYTES: usize = 16;
/// A random number that is used once.
pub type Nonce = [u8; NONCE_BYTES];
/// Seconds by which the clocks of two machines may differ.
pub const TIME_WINDOW_S: u64 = 300;

/// The key of each packet's first pair, and the version that is its value.
const KEY_VERSION: &[u8] = b"unspool";
const VERSION: &[u8] = b"1";
const KEY_TIME: &[u8] = b"time";
const KEY_NONCE: &[u8] = b"nonce";
const KEY_NAME: &[u8] = b"kid";
const KEY_MAC: &[u8] = b"mac";
const KEY_TASK_BYTES: &[u8] = b"task-bytes";
const KEY_WINDOW: &[u8] = b"window";
const KEY_ERROR: &[u8] = b"error";

/// What MACs are made for. They are no MACs of anything else that these keys sign.
const OF_HELLO: &[u8] = b"unspool network hello 1";
const OF_WELCOME: &[u8] = b"unspool network welcome 1";
const OF_SESSION: &[u8] = b"unspool network session 1";

/// `modifier2` of a welcome, which tells it from the answer to a ping.
const WELCOME: u8 = 2;
/// Bytes of the reason in a refusal.
const ERROR_BYTES_MAX: usize = 1024;

/// Which end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// It connected, and submits.
    Client,
    /// It was connected to, and stores.
    Server,
}

/// The client's first packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// Seconds since 1970 by the client's clock.
    pub time_s: u64,
    /// The client's.
    pub nonce: Nonce,
    /// The key's name and the MAC; none where the client has no key.
    proof: Option<(Vec<u8>, [u8; MAC_BYTES])>,
}

/// A packet that begins like one of these and is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it speaks another version of unspool's protocol, or a damaged one: {0}")]
pub struct InvalidGreeting(&'static str);

impl InvalidGreeting {
    /// It is longer than a greeting may be.
    pub const LENGTH: Self = Self("the length of its answer");
}

/// A hello that is not to be believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HelloError {
    /// There is no proof in it, and one is asked for.
    #[error("a key is needed here, and the client has none: give it `network-keys`")]
    NoKey,
    /// The key is not known here.
    #[error("the key `{0}` is not known here")]
    UnknownKey(String),
    /// The MAC is not that key's.
    #[error("its proof with the key `{0}` is wrong")]
    Wrong(String),
    /// It was made at another time.
    #[error(
        "its clock differs from ours by {0} s, more than {TIME_WINDOW_S}: it is a replay, or one of \
         the clocks is wrong"
    )]
    Time(u64),
}

impl Hello {
    /// A hello of now, with a proof if there is a key.
    pub fn new(time_s: u64, nonce: Nonce, key: Option<&SigningKey>) -> Self {
        let proof = key.map(|key| {
            (key.name().to_vec(), key.sign(&[OF_HELLO, key.name(), &time_s.to_le_bytes(), &nonce]))
        });
        Self { time_s, nonce, proof }
    }

    /// The packet.
    pub fn to_packet(&self) -> Vec<u8> {
        let (time, nonce) = (self.time_s.to_string(), hex(&self.nonce));
        let mut pairs = vec![
            (KEY_VERSION, VERSION),
            (KEY_TIME, time.as_bytes()),
            (KEY_NONCE, nonce.as_bytes()),
        ];
        let mac = self.proof.as_ref().map(|(_, mac)| hex(mac));
        if let (Some((name, _)), Some(mac)) = (&self.proof, &mac) {
            pairs.push((KEY_NAME, name));
            pairs.push((KEY_MAC, mac.as_bytes()));
        }
        // These pairs are short.
        write_packet(PING, 0, &pairs).unwrap_or_default()
    }

    /// Reads a packet; `None` if it is a ping and nothing else.
    pub fn read(packet: &Packet) -> Result<Option<Self>, InvalidGreeting> {
        let Some(pairs) = Pairs::read(packet)? else { return Ok(None) };
        let time_s = pairs.number(KEY_TIME).ok_or(InvalidGreeting("its time"))?;
        let nonce = pairs.bytes(KEY_NONCE).ok_or(InvalidGreeting("its nonce"))?;
        let proof = match (pairs.get(KEY_NAME), pairs.get(KEY_MAC)) {
            (None, None) => None,
            (Some(name), Some(_)) => {
                let mac = pairs.bytes(KEY_MAC).ok_or(InvalidGreeting("its MAC"))?;
                Some((name.to_vec(), mac))
            }
            _ => return Err(InvalidGreeting("half a proof")),
        };
        Ok(Some(Self { time_s, nonce, proof }))
    }

    /// Whether it comes with a proof.
    pub fn has_proof(&self) -> bool {
        self.proof.is_some()
    }

    /// The key that it proves to have.
    pub fn check<'k>(&self, keys: &'k Keyring, now_s: u64) -> Result<&'k SigningKey, HelloError> {
        let (name, mac) = self.proof.as_ref().ok_or(HelloError::NoKey)?;
        let shown = || printable(name);
        let key = keys.find(name).ok_or_else(|| HelloError::UnknownKey(shown()))?;
        let parts: [&[u8]; 4] = [OF_HELLO, name, &self.time_s.to_le_bytes(), &self.nonce];
        if !key.is_mac(&parts, mac) {
            return Err(HelloError::Wrong(shown()));
        }
        match self.time_s.abs_diff(now_s) {
            0..=TIME_WINDOW_S => Ok(key),
            seconds => Err(HelloError::Time(seconds)),
        }
    }
}

/// The server's first packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Welcome {
    /// The server's.
    pub nonce: Nonce,
    /// Bytes of the longest task that it takes.
    pub task_bytes_max: u64,
    /// Tasks that may be on their way at once.
    pub window: u32,
    mac: Option<[u8; MAC_BYTES]>,
}

/// What a client gets for its hello.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Greeting {
    /// The server is one of ours.
    Welcome(Welcome),
    /// It is, and does not want this client.
    Refused(String),
    /// It is a real uWSGI.
    Uwsgi,
}

/// A welcome that is not to be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the server did not prove that it has the key: it has another one of that name, or is another server"
)]
pub struct WelcomeError;

impl Welcome {
    /// The answer to a hello, with a proof if a key is in use.
    pub fn new(
        hello: &Hello,
        nonce: Nonce,
        task_bytes_max: u64,
        window: u32,
        key: Option<&SigningKey>,
    ) -> Self {
        let mut made = Self { nonce, task_bytes_max, window, mac: None };
        made.mac = key.map(|key| key.sign(&made.parts(hello)));
        made
    }

    fn parts<'a>(&'a self, hello: &'a Hello) -> [&'a [u8]; 3] {
        [OF_WELCOME, &hello.nonce, &self.nonce]
    }

    /// The packet.
    pub fn to_packet(&self) -> Vec<u8> {
        let nonce = hex(&self.nonce);
        let (bytes, window) = (self.task_bytes_max.to_string(), self.window.to_string());
        let mut pairs = vec![
            (KEY_VERSION, VERSION),
            (KEY_NONCE, nonce.as_bytes()),
            (KEY_TASK_BYTES, bytes.as_bytes()),
            (KEY_WINDOW, window.as_bytes()),
        ];
        let mac = self.mac.as_ref().map(|mac| hex(mac));
        if let Some(mac) = &mac {
            pairs.push((KEY_MAC, mac.as_bytes()));
        }
        // These pairs are short.
        write_packet(PING, WELCOME, &pairs).unwrap_or_default()
    }

    /// Whether the server has the client's key.
    pub fn check(&self, hello: &Hello, key: &SigningKey) -> Result<(), WelcomeError> {
        let mac = self.mac.ok_or(WelcomeError)?;
        key.is_mac(&self.parts(hello), &mac).then_some(()).ok_or(WelcomeError)
    }

    /// The key of this one connection.
    pub fn session(&self, hello: &Hello, key: &SigningKey) -> SigningKey {
        key.derive(&[OF_SESSION, &hello.nonce, &self.nonce])
    }
}

impl Greeting {
    /// Reads what the server sent first.
    pub fn read(packet: &Packet) -> Result<Self, InvalidGreeting> {
        if packet.header.modifier1 != PING {
            return Err(InvalidGreeting("the first byte of its answer"));
        }
        let Some(pairs) = Pairs::read(packet)? else { return Ok(Self::Uwsgi) };
        if let Some(error) = pairs.get(KEY_ERROR) {
            return Ok(Self::Refused(printable(error)));
        }
        let mac = match pairs.get(KEY_MAC) {
            None => None,
            Some(_) => Some(pairs.bytes(KEY_MAC).ok_or(InvalidGreeting("its MAC"))?),
        };
        let window = pairs.number(KEY_WINDOW).and_then(|window| u32::try_from(window).ok());
        Ok(Self::Welcome(Welcome {
            nonce: pairs.bytes(KEY_NONCE).ok_or(InvalidGreeting("its nonce"))?,
            task_bytes_max: pairs
                .number(KEY_TASK_BYTES)
                .ok_or(InvalidGreeting("its limit of a task's bytes"))?,
            window: window.filter(|window| *window > 0).ok_or(InvalidGreeting("its window"))?,
            mac,
        }))
    }
}

/// The packet that refuses a client, with the reason.
pub fn refusal(reason: &str) -> Vec<u8> {
    let reason = &reason.as_bytes()[..reason.len().min(ERROR_BYTES_MAX)];
    // These pairs are short.
    write_packet(PING, WELCOME, &[(KEY_VERSION, VERSION), (KEY_ERROR, reason)]).unwrap_or_default()
}

/// The pairs of one of these packets.
struct Pairs<'a>(Vec<Pair<'a>>);

impl<'a> Pairs<'a> {
    /// `None` for a packet that does not begin with our version.
    fn read(packet: &'a Packet) -> Result<Option<Self>, InvalidGreeting> {
        let Ok(pairs) = read_pairs(&packet.block) else { return Ok(None) };
        match pairs.first() {
            Some((KEY_VERSION, VERSION)) => Ok(Some(Self(pairs))),
            Some((KEY_VERSION, _)) => Err(InvalidGreeting("its version")),
            _ => Ok(None),
        }
    }

    fn get(&self, key: &[u8]) -> Option<&'a [u8]> {
        self.0.iter().find(|(found, _)| *found == key).map(|(_, value)| *value)
    }

    fn number(&self, key: &[u8]) -> Option<u64> {
        std::str::from_utf8(self.get(key)?).ok()?.parse().ok()
    }

    fn bytes<const N: usize>(&self, key: &[u8]) -> Option<[u8; N]> {
        let (digits, []) = self.get(key)?.as_chunks::<2>() else { return None };
        let mut bytes = [0; N];
        if digits.len() != N {
            return None;
        }
        for (byte, [high, low]) in bytes.iter_mut().zip(digits) {
            let value = |digit: u8| char::from(digit).to_digit(16);
            *byte = (value(*high)? * 16 + value(*low)?) as u8;
        }
        Some(bytes)
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing into a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
