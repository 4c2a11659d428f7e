//! Packets between the dispatcher and a worker.

use unspool_core::Outcome;
use unspool_core::limits::{HANDED_MAX, PACKET_BYTES_MAX};

/// Dispatcher to worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToWorker {
    /// A folder of the spool; its directory descriptor comes with the packet.
    Folder {
        /// By which tasks refer to it.
        index: u32,
    },
    /// Tasks to run in this order; the locked descriptor of each comes with the packet.
    Tasks(Vec<Handed>),
    /// A signal whose handler is to run between two tasks.
    Tick {
        /// The uwsgi signal.
        signal: u8,
    },
    /// Finish what is running and exit.
    Drain,
}

/// One task handed to a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handed {
    /// Slot in the worker's page of slots.
    pub slot: u8,
    /// Folder it lies in.
    pub folder: u32,
    /// Its file name.
    pub name: Vec<u8>,
}

/// Worker to dispatcher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromWorker {
    /// The worker can run tasks.
    Ready {
        /// Protocol that it speaks.
        version: u16,
        /// Its process.
        pid: u32,
    },
    /// Tasks that were run, or that it found revoked.
    Reports(Vec<Report>),
    /// The handler of a signal has run.
    TickDone {
        /// The uwsgi signal.
        signal: u8,
        /// How long it took.
        duration_ns: u64,
        /// The traceback, if it raised.
        error: Option<String>,
    },
    /// A web worker accepts no more and ends once the requests that it has are answered: it was told
    /// to, or it has answered as many as it may, so that another one may take its place now.
    Leaving,
}

/// What became of one task in a worker.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// The slot that it was handed in.
    pub slot: u8,
    /// `None`: it was taken back before it started.
    pub outcome: Option<Outcome>,
    /// How long it ran.
    pub duration_ns: u64,
    /// Traceback or reason; empty if there is nothing to say.
    pub text: String,
    /// The last that it printed and logged, where it failed.
    pub output: String,
    /// Bytes: the most memory that the worker had, where the task failed; 0: not known.
    pub peak_rss: u64,
    /// For [`Outcome::Done`]: the error number with which deleting the file failed, or 0.
    pub errno: i32,
}

/// A packet that breaks the protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidPacket {
    /// Cut, or longer than its content.
    #[error("a packet of {bytes} bytes has not the length of its content")]
    Length {
        /// Its length.
        bytes: usize,
    },
    /// A kind or an outcome that does not exist, or a count that is too great.
    #[error("a packet has an unknown {what} {value}")]
    Value {
        /// Of what.
        what: &'static str,
        /// The value.
        value: u8,
    },
}

const FOLDER: u8 = 1;
const TASKS: u8 = 2;
const TICK: u8 = 3;
const DRAIN: u8 = 4;
const READY: u8 = 65;
const REPORTS: u8 = 66;
const TICK_DONE: u8 = 67;
const LEAVING: u8 = 68;
const REVOKED: u8 = 255;

impl ToWorker {
    /// Appends the packet to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Folder { index } => {
                out.push(FOLDER);
                out.extend_from_slice(&index.to_le_bytes());
            }
            Self::Tasks(tasks) => {
                debug_assert!(tasks.len() <= HANDED_MAX);
                out.push(TASKS);
                out.push(tasks.len() as u8);
                for task in tasks {
                    out.push(task.slot);
                    out.extend_from_slice(&task.folder.to_le_bytes());
                    out.extend_from_slice(&(task.name.len() as u16).to_le_bytes());
                    out.extend_from_slice(&task.name);
                }
            }
            Self::Tick { signal } => out.extend_from_slice(&[TICK, *signal]),
            Self::Drain => out.push(DRAIN),
        }
    }

    /// Reads a whole packet.
    pub fn decode(packet: &[u8]) -> Result<Self, InvalidPacket> {
        let mut reader = Reader { packet, at: 0 };
        let value = match reader.byte()? {
            FOLDER => Self::Folder { index: reader.u32()? },
            TASKS => {
                let count = reader.count()?;
                let mut tasks = Vec::with_capacity(usize::from(count));
                for _ in 0..count {
                    let (slot, folder) = (reader.byte()?, reader.u32()?);
                    let bytes = usize::from(reader.u16()?);
                    tasks.push(Handed { slot, folder, name: reader.take(bytes)?.to_vec() });
                }
                Self::Tasks(tasks)
            }
            TICK => Self::Tick { signal: reader.byte()? },
            DRAIN => Self::Drain,
            value => return Err(InvalidPacket::Value { what: "kind", value }),
        };
        reader.end()?;
        Ok(value)
    }
}

impl FromWorker {
    /// Appends the packet to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Ready { version, pid } => {
                out.push(READY);
                out.extend_from_slice(&version.to_le_bytes());
                out.extend_from_slice(&pid.to_le_bytes());
            }
            Self::Reports(reports) => {
                debug_assert!(reports.len() <= HANDED_MAX);
                out.push(REPORTS);
                out.push(reports.len() as u8);
                for report in reports {
                    out.push(report.slot);
                    out.push(report.outcome.map_or(REVOKED, Outcome::to_byte));
                    out.extend_from_slice(&report.duration_ns.to_le_bytes());
                    out.extend_from_slice(&report.errno.to_le_bytes());
                    out.extend_from_slice(&report.peak_rss.to_le_bytes());
                    push_text(out, &report.text);
                    push_text(out, &report.output);
                }
            }
            Self::TickDone { signal, duration_ns, error } => {
                out.extend_from_slice(&[TICK_DONE, *signal, u8::from(error.is_some())]);
                out.extend_from_slice(&duration_ns.to_le_bytes());
                push_text(out, error.as_deref().unwrap_or_default());
            }
            Self::Leaving => out.push(LEAVING),
        }
        debug_assert!(out.len() <= PACKET_BYTES_MAX);
    }

    /// Reads a whole packet.
    pub fn decode(packet: &[u8]) -> Result<Self, InvalidPacket> {
        let mut reader = Reader { packet, at: 0 };
        let value = match reader.byte()? {
            READY => Self::Ready { version: reader.u16()?, pid: reader.u32()? },
            REPORTS => {
                let count = reader.count()?;
                let mut reports = Vec::with_capacity(usize::from(count));
                for _ in 0..count {
                    reports.push(reader.report()?);
                }
                Self::Reports(reports)
            }
            TICK_DONE => {
                let (signal, raised) = (reader.byte()?, reader.byte()? != 0);
                let duration_ns = reader.u64()?;
                let text = reader.text()?;
                Self::TickDone { signal, duration_ns, error: raised.then_some(text) }
            }
            LEAVING => Self::Leaving,
            value => return Err(InvalidPacket::Value { what: "kind", value }),
        };
        reader.end()?;
        Ok(value)
    }
}

fn push_text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u32).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

struct Reader<'a> {
    packet: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], InvalidPacket> {
        let end = self.at.checked_add(count);
        let bytes = end.and_then(|end| self.packet.get(self.at..end)).ok_or_else(|| self.cut())?;
        self.at += count;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], InvalidPacket> {
        let cut = self.cut();
        self.take(N)?.try_into().map_err(|_| cut)
    }

    fn byte(&mut self) -> Result<u8, InvalidPacket> {
        Ok(self.array::<1>()?[0])
    }

    /// Of tasks or reports: no more than one worker may have.
    fn count(&mut self) -> Result<u8, InvalidPacket> {
        match self.byte()? {
            value if usize::from(value) > HANDED_MAX => {
                Err(InvalidPacket::Value { what: "count", value })
            }
            value => Ok(value),
        }
    }

    fn u16(&mut self) -> Result<u16, InvalidPacket> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, InvalidPacket> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, InvalidPacket> {
        self.array().map(u64::from_le_bytes)
    }

    fn text(&mut self) -> Result<String, InvalidPacket> {
        let bytes = self.u32()? as usize;
        Ok(String::from_utf8_lossy(self.take(bytes)?).into_owned())
    }

    fn report(&mut self) -> Result<Report, InvalidPacket> {
        let slot = self.byte()?;
        let outcome = match self.byte()? {
            REVOKED => None,
            byte => Some(
                Outcome::from_byte(byte)
                    .ok_or(InvalidPacket::Value { what: "outcome", value: byte })?,
            ),
        };
        let duration_ns = self.u64()?;
        let errno = self.array().map(i32::from_le_bytes)?;
        let peak_rss = self.u64()?;
        let (text, output) = (self.text()?, self.text()?);
        Ok(Report { slot, outcome, duration_ns, text, output, peak_rss, errno })
    }

    fn end(&self) -> Result<(), InvalidPacket> {
        if self.at == self.packet.len() { Ok(()) } else { Err(self.cut()) }
    }

    fn cut(&self) -> InvalidPacket {
        InvalidPacket::Length { bytes: self.packet.len() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both_ways_to(value: &ToWorker) {
        let mut packet = Vec::new();
        value.encode(&mut packet);
        assert_eq!(&ToWorker::decode(&packet).unwrap(), value);
        for cut in 0..packet.len() {
            assert!(ToWorker::decode(&packet[..cut]).is_err(), "cut at {cut}");
        }
    }

    fn both_ways_from(value: &FromWorker) {
        let mut packet = Vec::new();
        value.encode(&mut packet);
        assert_eq!(&FromWorker::decode(&packet).unwrap(), value);
        for cut in 0..packet.len() {
            assert!(FromWorker::decode(&packet[..cut]).is_err(), "cut at {cut}");
        }
        packet.push(0);
        assert!(FromWorker::decode(&packet).is_err());
    }

    #[test]
    fn packets_round_trip_and_cut_ones_are_refused() {
        both_ways_to(&ToWorker::Folder { index: 7 });
        both_ways_to(&ToWorker::Drain);
        both_ways_to(&ToWorker::Tick { signal: 255 });
        both_ways_to(&ToWorker::Tasks(vec![
            Handed { slot: 0, folder: 0, name: b"uwsgi_spoolfile_on_a".to_vec() },
            Handed { slot: 63, folder: 9, name: vec![0xff; 255] },
        ]));
        both_ways_from(&FromWorker::Ready { version: 1, pid: 77 });
        both_ways_from(&FromWorker::Leaving);
        both_ways_from(&FromWorker::TickDone { signal: 3, duration_ns: 5, error: None });
        both_ways_from(&FromWorker::TickDone {
            signal: 3,
            duration_ns: 5,
            error: Some("x".to_owned()),
        });
        both_ways_from(&FromWorker::Reports(vec![
            Report {
                slot: 1,
                outcome: Some(Outcome::Failed),
                duration_ns: 10,
                text: "Traceback".to_owned(),
                output: "hello\n".to_owned(),
                peak_rss: 1 << 40,
                errno: 0,
            },
            Report { slot: 2, errno: 13, ..Report::default() },
        ]));
    }

    #[test]
    fn more_than_a_worker_may_have_is_refused() {
        let count = HANDED_MAX + 1;
        let tasks = [&[TASKS, count as u8][..], &vec![0; count * 7]].concat();
        assert!(ToWorker::decode(&tasks).is_err());
        let reports = [&[REPORTS, count as u8][..], &vec![0; count * 30]].concat();
        assert!(FromWorker::decode(&reports).is_err());
        let fewer = [&[REPORTS, HANDED_MAX as u8][..], &vec![0; HANDED_MAX * 30]].concat();
        assert!(FromWorker::decode(&fewer).is_ok());
    }

    #[test]
    fn garbage_is_refused() {
        for packet in [&b""[..], b"\0", b"\x02\xff", b"\x42\x01\0\x63"] {
            assert!(ToWorker::decode(packet).is_err() && FromWorker::decode(packet).is_err());
        }
    }
}
