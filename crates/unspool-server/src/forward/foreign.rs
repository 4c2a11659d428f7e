//! Tasks that a uWSGI wrote, as files of ours: with a mark, and an id that is the same each time.

use sha2::{Digest, Sha256};
use unspool_core::signing::SigningKey;
use unspool_core::taskfile::{TaskFile, TaskId, encode};

/// The file of ours for one of a uWSGI's; `None` if that is no task. Its id comes from the time of its
/// submission, its name and its bytes: sent again, it is the same task.
pub(super) fn as_ours(
    file: &[u8],
    name: &[u8],
    submitted_ns: i64,
    key: Option<&SigningKey>,
) -> Option<Vec<u8>> {
    let message = TaskFile::parse(file).ok()?.to_message();
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
    use unspool_core::taskfile::encode_foreign;

    use super::*;

    #[test]
    fn a_foreign_task_has_one_id() {
        let pairs = vec![(b"ud_spool_func".to_vec(), b"f".to_vec())];
        let given = Message { pairs, body: b"b".to_vec(), ..Message::default() };
        let mut file = encode_foreign(&given).unwrap();
        let ours = as_ours(&file, b"uwsgi_spoolfile_on_a", 7_000_000, None).unwrap();
        let task = TaskFile::parse(&ours).unwrap();
        assert_eq!(task.to_message(), given);
        file[3] = 9;
        assert_eq!(as_ours(&file, b"uwsgi_spoolfile_on_a", 7_000_000, None), Some(ours.clone()));
        let other = as_ours(&file, b"uwsgi_spoolfile_on_b", 7_000_000, None).unwrap();
        assert_ne!(TaskFile::parse(&other).unwrap().mark.unwrap().id, task.mark.unwrap().id);
        assert_eq!(as_ours(b"\x11\x05\0\0", b"n", 0, None), None);
    }
}
