//! How a file of the outbox goes: as it is, or with its start written anew.
//!
//! A receiver takes what a relay proves for all that comes through it. So what another user has written
//! goes as what anybody may have sent, unless it is signed, and nothing is signed for that user.

use std::fs::File;
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use unspool_core::Origin;
use unspool_core::limits::{PAIRS_BYTES_MAX, PEEK_BYTES};
use unspool_core::signing::Keyring;
use unspool_core::taskfile::{BadSignature, HEADER_BYTES, Intake, IntakeRules, origin_of, signer};
use unspool_spool::{Claim, read_all, submitted_ns};
use unspool_sys::file::read_at;
use unspool_sys::host;

use super::{RelaySettings, foreign};

/// The longest task without a mark of ours: it is made anew in memory.
const FOREIGN_BYTES_MAX: u64 = 64 << 20;
/// Bytes that are read at once.
const READ_BYTES: usize = 64 * 1024;
const NO_TASK: &str = "it cannot be read as a task";

/// What goes.
#[derive(Debug)]
pub(super) struct Passage {
    /// Of all that goes.
    pub(super) bytes: u64,
    /// What goes instead of the first bytes of the file, and where the others begin.
    start: Vec<u8>,
    rest_at: u64,
}

impl Passage {
    fn as_it_is(claim: &Claim) -> Self {
        Self { bytes: claim.stat.bytes, start: Vec::new(), rest_at: 0 }
    }

    /// Its bytes.
    pub(super) fn reader(self, file: &OwnedFd) -> io::Result<impl Read + use<>> {
        let mut file = File::from(file.try_clone()?);
        file.seek(SeekFrom::Start(self.rest_at))?;
        Ok(Cursor::new(self.start).chain(file))
    }
}

/// Says how a task goes, or why it never does. Reads all of a file that another user wrote, or that is to
/// be signed.
pub(super) fn passage(
    relay: &RelaySettings,
    name: &[u8],
    claim: &Claim,
) -> io::Result<Result<Passage, String>> {
    let keys = relay.remote.options.keys.as_deref();
    let mut head = [0; PEEK_BYTES];
    let got = read_at(claim.file.as_fd(), &mut head, 0)?;
    let head = &head[..got];
    let origin = origin_of(head);
    let is_own = relay.trust.vouches_for(&claim.stat, origin, host::uid());
    if claim.id.is_none() {
        return match keys {
            Some(_) if !is_own => Ok(Err(not_ours(&BadSignature::Missing, claim))),
            _ => of_uwsgi(name, claim, keys, is_own),
        };
    }
    let rules = match keys {
        // Whether its signature is a good one the receiver judges.
        _ if is_own && (keys.is_none() || signer(head).is_some()) => {
            return Ok(Ok(Passage::as_it_is(claim)));
        }
        Some(keys) if is_own => {
            IntakeRules { origin, verify: None, sign: Some(keys.first()), priority: None }
        }
        keys => IntakeRules { origin: Origin::Network, verify: keys, sign: None, priority: None },
    };
    let Some((passage, signed)) = written_anew(claim, rules)? else {
        return Ok(Err(NO_TASK.to_owned()));
    };
    Ok(match (rules.verify, signed) {
        (None, _) => Ok(passage),
        (Some(_), Ok(())) => Ok(Passage::as_it_is(claim)),
        (Some(_), Err(error)) => Err(not_ours(&error, claim)),
    })
}

fn not_ours(error: &BadSignature, claim: &Claim) -> String {
    let owner = claim.stat.owner;
    format!(
        "{error}, and its file belongs to uid {owner} or can be written by others: only files of this user \
         (uid {}), of root and of `spooler-unsigned-uids` are signed on their way; give whoever submits the \
         key, too (`spooler-keys`)",
        host::uid()
    )
}

/// A task that a uWSGI wrote.
fn of_uwsgi(
    name: &[u8],
    claim: &Claim,
    keys: Option<&Keyring>,
    is_own: bool,
) -> io::Result<Result<Passage, String>> {
    if claim.stat.bytes > FOREIGN_BYTES_MAX {
        let (bytes, most) = (claim.stat.bytes, FOREIGN_BYTES_MAX);
        return Ok(Err(format!("it is a uWSGI's and has {bytes} bytes, more than {most}")));
    }
    let (stat, content) = read_all(claim.file.as_fd())?;
    let submitted_ns = submitted_ns(name).unwrap_or(stat.mtime_ns);
    let origin = if is_own { Origin::Local } else { Origin::Network };
    let key = keys.map(Keyring::first);
    let Some(made) = foreign::as_ours(&content, name, submitted_ns, origin, key) else {
        return Ok(Err(NO_TASK.to_owned()));
    };
    Ok(Ok(Passage { bytes: made.len() as u64, start: made, rest_at: stat.bytes }))
}

/// The file with another start, for which it is read once before it is sent, and whether it was signed.
/// `None` if it is no task.
fn written_anew(
    claim: &Claim,
    rules: IntakeRules<'_>,
) -> io::Result<Option<(Passage, Result<(), BadSignature>)>> {
    let file = claim.file.as_fd();
    let head = whole_head(file)?;
    let Ok(mut intake) = Intake::new(&head, claim.stat.bytes, rules) else { return Ok(None) };
    let mut piece = vec![0; READ_BYTES];
    let mut at = head.len() as u64;
    while intake.missing() > 0 {
        let got = read_at(file, &mut piece, at)?;
        if got == 0 {
            break;
        }
        intake.push(&piece[..got]);
        at += got as u64;
    }
    let (mut start, bytes) = (intake.start().to_vec(), intake.file_bytes());
    let Ok(received) = intake.finish() else { return Ok(None) };
    for patch in received.patches {
        let place = patch.offset as usize..patch.offset as usize + patch.bytes.len();
        let Some(place) = start.get_mut(place) else { return Ok(None) };
        place.copy_from_slice(&patch.bytes);
    }
    let passage = Passage { bytes, start, rest_at: head.len() as u64 };
    Ok(Some((passage, received.signed)))
}

/// The header and the pairs that it announces.
fn whole_head(file: BorrowedFd<'_>) -> io::Result<Vec<u8>> {
    let mut head = vec![0; HEADER_BYTES + PAIRS_BYTES_MAX];
    let got = read_at(file, &mut head, 0)?;
    head.truncate(got);
    if let Some([low, high]) = head.get(1..3) {
        let end = HEADER_BYTES + usize::from(u16::from_le_bytes([*low, *high]));
        head.truncate(end);
    }
    Ok(head)
}
