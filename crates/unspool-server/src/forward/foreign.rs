//! Tasks that a uWSGI wrote, as files of ours: with a mark, and an id that is the same each time.

use sha2::{Digest, Sha256};
use unspool_core::Origin;
use unspool_core::signing::SigningKey;
use unspool_core::taskfile::{TaskFile, TaskId, encode};

/// The file of ours, signed if there is a key; `None` if it is no task. Its id comes from the time of its
/// submission, its name and its bytes: sent again, it is the same task.
pub(super) fn as_ours(
    file: &[u8],
    name: &[u8],
    submitted_ns: i64,
    origin: Origin,
    key: Option<&SigningKey>,
) -> Option<Vec<u8>> {
    let mut message = TaskFile::parse(file).ok()?.to_message();
    message.origin = origin;
    let mut digest = Sha256::new();
    digest.update((name.len() as u64).to_le_bytes());
    digest.update(name);
    // All but the count of attempts.
    digest.update(file.get(..3)?);
    digest.update(file.get(4..)?);
    let digest = digest.finalize();
    let random = digest.first_chunk::<10>().copied()?;
    let ms = u64::try_from(submitted_ns / 1_000_000).unwrap_or(0);
    encode(&message, TaskId::new(ms, random), key).ok()
}

#[cfg(test)]
mod tests {
    use unspool_core::Message;
    use unspool_core::signing::Keyring;
    use unspool_core::taskfile::{encode_foreign, verify};

    use super::*;

    #[test]
    fn a_foreign_task_has_one_id() {
        let pairs = vec![(b"ud_spool_func".to_vec(), b"f".to_vec())];
        let given = Message { pairs, body: b"b".to_vec(), ..Message::default() };
        let mut file = encode_foreign(&given).unwrap();
        let name = |last: u8| [b"uwsgi_spoolfile_on_".as_slice(), &[last]].concat();
        let ours = as_ours(&file, &name(b'a'), 7_000_000, Origin::Local, None).unwrap();
        let task = TaskFile::parse(&ours).unwrap();
        assert_eq!(task.to_message(), given);
        file[3] = 9;
        let again = as_ours(&file, &name(b'a'), 7_000_000, Origin::Local, None);
        assert_eq!(again.as_ref(), Some(&ours));
        let id = |file: &[u8]| TaskFile::parse(file).unwrap().mark.unwrap().id;
        let other = as_ours(&file, &name(b'b'), 7_000_000, Origin::Local, None).unwrap();
        assert_ne!(id(&other), task.mark.unwrap().id);
        let keys = Keyring::parse(format!("a {}", "11".repeat(32)).as_bytes()).unwrap();
        let key = Some(keys.first());
        let signed = as_ours(&file, &name(b'a'), 7_000_000, Origin::Network, key).unwrap();
        let message = TaskFile::parse(&signed).unwrap().to_message();
        assert_eq!((message.origin, id(&signed)), (Origin::Network, task.mark.unwrap().id));
        verify(&signed, &keys).unwrap();
        assert_eq!(as_ours(b"\x11\x05\0\0", b"n", 0, Origin::Local, None), None);
    }
}
