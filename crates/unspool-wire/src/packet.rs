//! uwsgi packets: what a client of the uwsgi protocol sends first on a connection, and the short
//! answers to it.
//!
//! A header of 4 bytes (`modifier1`, length of the pairs as u16 little endian, `modifier2`), then the
//! pairs: u16 length, key, u16 length, value. Owns the bytes, not what a modifier means.

use std::ops::Range;

/// Bytes before the pairs.
pub const HEADER_BYTES: usize = 4;
/// `modifier1` of a task, also of a task file.
pub const SPOOL: u8 = 17;
/// `modifier1` of a ping, and with the key `unspool` of the first packet between two of ours.
pub const PING: u8 = 100;
/// What a real uWSGI answers to a ping, and we to one that is nothing else.
pub const PONG: [u8; 4] = [PING, 0, 0, 1];
/// The answer to a task that is stored.
pub const STORED: [u8; 4] = [255, 0, 0, 1];
/// The answer to a task that is not.
pub const REFUSED: [u8; 4] = [255, 0, 0, 0];

/// The first bytes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What the packet is.
    pub modifier1: u8,
    /// Bytes of the pairs that follow.
    pub bytes: u16,
    /// Means something to some modifiers.
    pub modifier2: u8,
}

impl Header {
    /// Reads the four bytes.
    pub fn read([modifier1, low, high, modifier2]: [u8; HEADER_BYTES]) -> Self {
        Self { modifier1, bytes: u16::from_le_bytes([low, high]), modifier2 }
    }

    /// The four bytes.
    pub fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let [low, high] = self.bytes.to_le_bytes();
        [self.modifier1, low, high, self.modifier2]
    }
}

/// A packet that came whole. Its pairs are not judged yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// Its header.
    pub header: Header,
    /// Its pairs, as they came.
    pub block: Vec<u8>,
}

/// A packet that is announced longer than it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("invalid request block size: {bytes} (max {most})")]
pub struct TooLarge {
    /// The header that announces it.
    pub header: Header,
    /// Bytes that are announced.
    pub bytes: u16,
    /// Bytes that are allowed.
    pub most: u16,
}

/// Puts one packet together from bytes as they come. Takes no byte beyond it, and no more memory than
/// has come.
#[derive(Debug)]
pub struct Assembly {
    most: u16,
    header: Vec<u8>,
    block: Vec<u8>,
}

impl Assembly {
    /// For a packet whose pairs have `most` bytes at most.
    pub fn new(most: u16) -> Self {
        Self { most, header: Vec::with_capacity(HEADER_BYTES), block: Vec::new() }
    }

    /// Whether nothing has come yet.
    pub fn is_empty(&self) -> bool {
        self.header.is_empty()
    }

    /// The header, once it has come.
    pub fn header(&self) -> Option<Header> {
        <[u8; HEADER_BYTES]>::try_from(self.header.as_slice()).ok().map(Header::read)
    }

    /// Takes what belongs to the packet from the start of `bytes`, and the packet once it is whole.
    pub fn take(&mut self, bytes: &mut &[u8]) -> Result<Option<Packet>, TooLarge> {
        let missing = HEADER_BYTES - self.header.len();
        self.header.extend_from_slice(cut(bytes, missing));
        let Some(header) = self.header() else { return Ok(None) };
        if header.bytes > self.most {
            return Err(TooLarge { header, bytes: header.bytes, most: self.most });
        }
        let missing = usize::from(header.bytes) - self.block.len();
        self.block.extend_from_slice(cut(bytes, missing));
        let whole = self.block.len() == usize::from(header.bytes);
        Ok(whole.then(|| Packet { header, block: std::mem::take(&mut self.block) }))
    }
}

/// Cuts at most so many bytes off the start.
fn cut<'a>(bytes: &mut &'a [u8], most: usize) -> &'a [u8] {
    let (head, rest) = bytes.split_at(most.min(bytes.len()));
    *bytes = rest;
    head
}

/// Pairs that are cut, or run past the end of their packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("its pair at byte {offset} is cut")]
pub struct BrokenPair {
    /// Where the pair begins, counted from the first pair.
    pub offset: usize,
}

/// A key and its value.
pub type Pair<'a> = (&'a [u8], &'a [u8]);

/// Key and value of each pair, in their order.
pub fn read_pairs(block: &[u8]) -> Result<Vec<Pair<'_>>, BrokenPair> {
    let text = |place| block.get(place).unwrap_or_default();
    pair_places(block).map(|place| place.map(|(key, value)| (text(key), text(value)))).collect()
}

/// Where key and value of each pair lie. Behind a broken one there is nothing.
pub fn pair_places(
    block: &[u8],
) -> impl Iterator<Item = Result<(Range<usize>, Range<usize>), BrokenPair>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        (at < block.len()).then(|| {
            let broken = BrokenPair { offset: at };
            // Whatever is wrong, there is no way to go on behind it.
            let start = std::mem::replace(&mut at, block.len());
            let key = text_at(block, start).ok_or(broken)?;
            let value = text_at(block, key.end).ok_or(broken)?;
            at = value.end;
            Ok((key, value))
        })
    })
}

/// Where the text lies whose length is at `offset`.
fn text_at(block: &[u8], offset: usize) -> Option<Range<usize>> {
    let (length, rest) = block.get(offset..)?.split_first_chunk::<2>()?;
    let length = usize::from(u16::from_le_bytes(*length));
    (length <= rest.len()).then_some(offset + 2..offset + 2 + length)
}

/// Pairs that no packet can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("its keys and values have {bytes} bytes, and a uwsgi packet holds 65535")]
pub struct TooMuch {
    /// Bytes that the pairs would have.
    pub bytes: usize,
}

/// Builds a packet.
pub fn write_packet(modifier1: u8, modifier2: u8, pairs: &[Pair<'_>]) -> Result<Vec<u8>, TooMuch> {
    let bytes = pairs.iter().map(|(key, value)| 4 + key.len() + value.len()).sum();
    let length = u16::try_from(bytes).map_err(|_| TooMuch { bytes })?;
    let mut packet = Vec::with_capacity(HEADER_BYTES + bytes);
    packet.extend_from_slice(&Header { modifier1, bytes: length, modifier2 }.to_bytes());
    for (key, value) in pairs {
        for text in [key, value] {
            // Each is shorter than all of them together.
            packet.extend_from_slice(&(text.len() as u16).to_le_bytes());
            packet.extend_from_slice(text);
        }
    }
    Ok(packet)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_comes_together_whole_however_it_is_cut() {
        let pairs: &[(&[u8], &[u8])] = &[(b"a", b"1"), (b"", b""), (b"k", &[7; 300])];
        let packet = write_packet(SPOOL, 3, pairs).unwrap();
        let sent = [&packet[..], b"rest"].concat();
        for cut in 0..packet.len() {
            let mut assembly = Assembly::new(u16::MAX);
            let mut head = &sent[..cut];
            assert_eq!(assembly.take(&mut head), Ok(None), "{cut}");
            assert!(head.is_empty());
            let mut tail = &sent[cut..];
            let whole = assembly.take(&mut tail).unwrap().unwrap();
            assert_eq!(tail, b"rest");
            assert_eq!((whole.header.modifier1, whole.header.modifier2), (SPOOL, 3));
            assert_eq!(read_pairs(&whole.block).unwrap(), pairs);
        }
    }

    #[test]
    fn what_is_too_large_is_known_from_its_header() {
        let mut assembly = Assembly::new(4096);
        let mut bytes = &[SPOOL, 1, 16, 0][..];
        let error = assembly.take(&mut bytes).unwrap_err();
        assert_eq!(error.to_string(), "invalid request block size: 4097 (max 4096)");
        assert_eq!(Assembly::new(4096).take(&mut &[SPOOL, 0, 16, 0][..]), Ok(None));
        let long = vec![0; 65_532];
        assert_eq!(write_packet(17, 0, &[(b"", &long)]), Err(TooMuch { bytes: 65_536 }));
        assert_eq!(write_packet(17, 0, &[(b"", &long[1..])]).unwrap().len(), 4 + 65_535);
    }

    #[test]
    fn pairs_that_are_cut_are_told_by_their_place() {
        let packet = write_packet(SPOOL, 0, &[(b"ab", b"c"), (b"d", b"ef")]).unwrap();
        let block = &packet[HEADER_BYTES..];
        for cut in 1..block.len() {
            let read = read_pairs(&block[..cut]);
            match cut {
                7 => assert_eq!(read.unwrap(), [(&b"ab"[..], &b"c"[..])]),
                _ => assert_eq!(read, Err(BrokenPair { offset: if cut < 7 { 0 } else { 7 } })),
            }
        }
    }
}
