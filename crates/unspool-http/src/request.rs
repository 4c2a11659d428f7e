//! A request's head, whichever protocol it came by: variables as PEP 3333 has them in its `environ`, and
//! what they say about the connection and the body.
//!
//! Owns the bytes of all variables in one buffer. Judges nothing: that the readers did.

use std::fmt;
use std::ops::Range;

/// By which protocol a request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// uwsgi's, mostly from a web server in front.
    Uwsgi,
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
}

/// How long the body of a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyLength {
    /// So many bytes follow the head; 0 where there is no body.
    Bytes(u64),
    /// It comes in chunks: [`crate::Chunks`] reads them.
    Chunked,
}

/// A variable's name and its value.
pub type Variable<'a> = (&'a [u8], &'a [u8]);

/// What a head says beside its variables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) protocol: Protocol,
    pub(crate) body: BodyLength,
    pub(crate) keep_alive: bool,
    pub(crate) expects_continue: bool,
    pub(crate) is_head: bool,
}

/// A request's head.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    variables: Variables,
    facts: Facts,
}

impl Request {
    pub(crate) fn new(variables: Variables, facts: Facts) -> Self {
        Self { variables, facts }
    }

    /// All variables, in their order. Each name is there once.
    pub fn variables(&self) -> impl ExactSizeIterator<Item = Variable<'_>> {
        self.variables.iter()
    }

    /// The variables that an application is shown: without the second name that nginx gives the type and
    /// the length of the body, which `wsgiref.validate` refuses.
    pub fn shown(&self) -> impl Iterator<Item = Variable<'_>> {
        self.variables().filter(|(key, _)| match *key {
            b"HTTP_CONTENT_TYPE" => self.get(b"CONTENT_TYPE").is_none(),
            b"HTTP_CONTENT_LENGTH" => self.get(b"CONTENT_LENGTH").is_none(),
            _ => true,
        })
    }

    /// The value of a variable.
    pub fn get(&self, key: &[u8]) -> Option<&[u8]> {
        self.variables.get(key)
    }

    /// Bytes that the variables take in a packet of the uwsgi protocol, as uWSGI's log counts them.
    pub fn packet_bytes(&self) -> usize {
        self.variables.iter().map(|(key, value)| 4 + key.len() + value.len()).sum()
    }

    /// By which protocol it came.
    pub fn protocol(&self) -> Protocol {
        self.facts.protocol
    }

    /// How long its body is.
    pub fn body(&self) -> BodyLength {
        self.facts.body
    }

    /// Whether the client would send another request on the same connection.
    pub fn keep_alive(&self) -> bool {
        self.facts.keep_alive
    }

    /// Whether the client waits for [`crate::CONTINUE`] before it sends the body.
    pub fn expects_continue(&self) -> bool {
        self.facts.expects_continue
    }

    /// Whether the client came by HTTPS, as far as the request says: by `UWSGI_SCHEME`, else by the header
    /// `X-Forwarded-Proto`, else by `HTTPS` or the header `X-Forwarded-SSL`. As with uWSGI a client without
    /// a proxy in front can claim it.
    pub fn is_https(&self) -> bool {
        let (mut scheme, mut forwarded, mut is_on) = (None, None, false);
        for (key, value) in self.variables() {
            match key {
                b"UWSGI_SCHEME" => scheme = names_https(value),
                b"HTTP_X_FORWARDED_PROTO" => forwarded = names_https(value),
                b"HTTPS" | b"HTTP_X_FORWARDED_SSL" => {
                    is_on |= value == b"1" || value.eq_ignore_ascii_case(b"on");
                }
                _ => {}
            }
        }
        scheme.or(forwarded).unwrap_or(is_on)
    }

    /// Whether it asks for the head of a response alone.
    pub fn is_head(&self) -> bool {
        self.facts.is_head
    }
}

/// Which of the two schemes a text names, if it names one.
fn names_https(text: &[u8]) -> Option<bool> {
    let is_https = text.eq_ignore_ascii_case(b"https");
    (is_https || text.eq_ignore_ascii_case(b"http")).then_some(is_https)
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.facts, self.variables)
    }
}

/// Where a text stands in the buffer. What a head may have is far less than `u32` counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    start: u32,
    end: u32,
}

impl Span {
    fn new(start: usize, end: usize) -> Self {
        Self { start: start as u32, end: end as u32 }
    }

    fn of(self, bytes: &[u8]) -> &[u8] {
        bytes.get(self.start as usize..self.end as usize).unwrap_or_default()
    }
}

/// Names that were there. It may take one for another, of any case, so that few are compared.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen([u64; 4]);

impl Seen {
    /// Whether a name may have been there; now it has.
    pub(crate) fn may_have(&mut self, name: &[u8]) -> bool {
        let byte = |at: usize| name.get(at).map_or(0, |byte| byte | 0x20);
        let last = byte(name.len().saturating_sub(1));
        let sum = (name.len() as u8).wrapping_mul(29).wrapping_add(last.wrapping_mul(3));
        let sum = sum.wrapping_add(byte(name.len() / 2));
        let (word, bit) = (&mut self.0[usize::from(sum >> 6)], 1 << (sum & 63));
        let may_have = *word & bit != 0;
        *word |= bit;
        may_have
    }
}

/// Names and values in one buffer.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Variables {
    bytes: Vec<u8>,
    places: Vec<(Span, Span)>,
}

impl Variables {
    pub(crate) fn with_capacity(bytes: usize, count: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), places: Vec::with_capacity(count) }
    }

    /// Of a buffer that holds them already; each is then said by [`Self::set_place`].
    pub(crate) fn of(bytes: Vec<u8>) -> Self {
        Self { bytes, places: Vec::with_capacity(48) }
    }

    /// Adds one. That there is none of this name, the caller knows.
    pub(crate) fn push(&mut self, key: &[u8], value: &[u8]) {
        self.push_with(
            |bytes| bytes.extend_from_slice(key),
            |bytes| bytes.extend_from_slice(value),
        );
    }

    /// Adds one whose name and value are written by the two.
    pub(crate) fn push_with(
        &mut self,
        key: impl FnOnce(&mut Vec<u8>),
        value: impl FnOnce(&mut Vec<u8>),
    ) {
        let start = self.bytes.len();
        key(&mut self.bytes);
        let middle = self.bytes.len();
        value(&mut self.bytes);
        self.places.push((Span::new(start, middle), Span::new(middle, self.bytes.len())));
    }

    /// Names one that lies in the buffer. The last one of a name holds.
    pub(crate) fn set_place(&mut self, seen: &mut Seen, key: Range<usize>, value: Range<usize>) {
        let (key, value) = (Span::new(key.start, key.end), Span::new(value.start, value.end));
        let name = key.of(&self.bytes);
        let is_same = |(other, _): &(Span, Span)| other.of(&self.bytes) == name;
        let same = if seen.may_have(name) { self.places.iter().position(is_same) } else { None };
        match same.and_then(|at| self.places.get_mut(at)) {
            Some(place) => *place = (key, value),
            None => self.places.push((key, value)),
        }
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<&[u8]> {
        self.iter().find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    fn iter(&self) -> impl ExactSizeIterator<Item = Variable<'_>> {
        self.places.iter().map(|(key, value)| (key.of(&self.bytes), value.of(&self.bytes)))
    }
}

impl fmt::Display for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.iter().map(|(key, value)| {
            (String::from_utf8_lossy(key).into_owned(), String::from_utf8_lossy(value).into_owned())
        });
        f.debug_map().entries(shown).finish()
    }
}
