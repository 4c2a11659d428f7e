//! The file of a message as uWSGI writes it, without a pair of our own.

use super::encode::{InvalidMessage, check_keys, push_u16};
use super::{HEADER_BYTES, MODIFIER1};
use crate::Message;
use crate::limits::{PAIRS_BYTES_MAX, TASK_BYTES_MAX};

/// Builds the file of a message that uWSGI submitted, attempts 0. Neither its module nor its policy
/// stand in it.
///
/// # Errors
/// As for [`super::encode`]. Nothing moves to the body here, so that pairs which do not fit their
/// length of 16 bits are too long.
pub fn encode_foreign(message: &Message) -> Result<Vec<u8>, InvalidMessage> {
    check_keys(message)?;
    let cost = |(key, value): &(Vec<u8>, Vec<u8>)| 4 + key.len() + value.len();
    let pair_bytes: usize = message.pairs.iter().map(cost).sum();
    if pair_bytes > PAIRS_BYTES_MAX {
        let longest = message.pairs.iter().max_by_key(|pair| cost(pair));
        let (key, bytes) = longest.map_or((String::new(), 0), |(key, value)| {
            (String::from_utf8_lossy(key).into_owned(), value.len())
        });
        return Err(InvalidMessage::ReservedValueTooLong { key, bytes });
    }
    let file_bytes = (HEADER_BYTES + pair_bytes + message.body.len()) as u64;
    if file_bytes > TASK_BYTES_MAX {
        return Err(InvalidMessage::TooLong { bytes: file_bytes });
    }
    let mut out = Vec::with_capacity(file_bytes as usize);
    out.push(MODIFIER1);
    push_u16(&mut out, pair_bytes);
    out.push(0);
    for (key, value) in &message.pairs {
        push_u16(&mut out, key.len());
        out.extend_from_slice(key);
        push_u16(&mut out, value.len());
        out.extend_from_slice(value);
    }
    out.extend_from_slice(&message.body);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::taskfile::TaskFile;

    fn message(value: usize) -> Message {
        let pairs = vec![(b"k".to_vec(), vec![b'v'; value]), (b"e".to_vec(), Vec::new())];
        Message { pairs, body: b"body".to_vec(), ..Message::default() }
    }

    #[test]
    fn a_foreign_file_reads_as_it_was_written() {
        for value in [0, 1, 60_000] {
            let file = encode_foreign(&message(value)).unwrap();
            let read = TaskFile::parse(&file).unwrap();
            assert!(read.mark.is_none());
            assert!(read.to_message() == message(value));
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let error = encode_foreign(&message(65_530)).unwrap_err();
        assert_eq!(error.to_string(), "the value of `k` has 65530 bytes, too many for this key");
        let empty = Message { pairs: vec![(Vec::new(), Vec::new())], ..Message::default() };
        assert_eq!(encode_foreign(&empty), Err(InvalidMessage::EmptyKey));
    }
}
