//! Packets by which a web worker hands a connection over to the daemon's network server, since what
//! came first on it is no request: a task, or one of ours that wants to talk.

use unspool_core::limits::PACKET_BYTES_MAX;

/// Bytes that may have been read of a connection that is handed over.
pub const READ_BYTES_MAX: usize = PACKET_BYTES_MAX - INDEX_BYTES;

const INDEX_BYTES: usize = 4;

/// What comes with the connection's descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handover<'a> {
    /// Which socket it was accepted on: an index of `Web.sockets`.
    pub socket: u32,
    /// What was read of it so far, from its first byte on.
    pub read: &'a [u8],
}

impl<'a> Handover<'a> {
    /// Appends the packet to `out`; `false` if too much was read.
    pub fn encode(&self, out: &mut Vec<u8>) -> bool {
        if self.read.len() > READ_BYTES_MAX {
            return false;
        }
        out.extend_from_slice(&self.socket.to_le_bytes());
        out.extend_from_slice(self.read);
        true
    }

    /// Reads a whole packet; `None` if it is none.
    pub fn decode(packet: &'a [u8]) -> Option<Self> {
        let (index, read) = packet.split_first_chunk::<INDEX_BYTES>()?;
        (read.len() <= READ_BYTES_MAX).then_some(Self { socket: u32::from_le_bytes(*index), read })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_handed_over_arrives_as_it_was() {
        for read in [&b""[..], b"\x11\x04\0\0", &vec![7; READ_BYTES_MAX]] {
            let mut packet = Vec::new();
            let handover = Handover { socket: 3, read };
            assert!(handover.encode(&mut packet));
            assert!(packet.len() <= PACKET_BYTES_MAX);
            assert_eq!(Handover::decode(&packet), Some(handover));
        }
    }

    #[test]
    fn what_is_cut_or_too_long_is_none() {
        assert_eq!(Handover::decode(b"\x01\0\0"), None);
        assert_eq!(Handover::decode(&vec![0; PACKET_BYTES_MAX + 1]), None);
        let read = &vec![0; READ_BYTES_MAX + 1];
        assert!(!Handover { socket: 0, read }.encode(&mut Vec::new()));
    }
}
