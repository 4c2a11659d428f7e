//! Any bytes as frames between two of ours, to either side, with and without a key, cut anywhere.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use unspool_core::signing::{Keyring, SigningKey};
use unspool_fuzz::memory::bounded;
use unspool_wire::peer::{Broken, FRAME_BYTES_MAX, Frame, Receiver, Sender, Side};

static KEYS: LazyLock<Keyring> = LazyLock::new(|| {
    Keyring::parse(format!("a {}\n", "1".repeat(64)).as_bytes()).expect("a key of 32 bytes")
});

fuzz_target!(|data: &[u8]| {
    let [how, cut, bytes @ ..] = data else { return };
    let from = if how & 1 == 0 { Side::Client } else { Side::Server };
    let key = KEYS.first();
    // One frame is held at most, beside those that were found.
    bounded(8 * data.len() + 4 * FRAME_BYTES_MAX, || {
        let cut = usize::from(*cut).max(1);
        let whole = read(from, None, bytes, bytes.len().max(1));
        assert_eq!(read(from, None, bytes, cut), whole);
        // Nobody who has not the key makes a frame.
        assert!(read(from, Some(key), bytes, cut).0.is_empty());
        if how & 2 != 0 {
            again(from, &whole.0, key);
        }
    });
});

fn read(
    from: Side,
    key: Option<&SigningKey>,
    bytes: &[u8],
    cut: usize,
) -> (Vec<Frame>, Option<Broken>) {
    let mut receiver = Receiver::new(from, key.cloned());
    let mut frames = Vec::new();
    for mut piece in bytes.chunks(cut) {
        loop {
            match receiver.take(&mut piece) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
        assert!(piece.is_empty());
    }
    (frames, None)
}

/// What was read can be sent, and is read again; with a key only as it was sent.
fn again(from: Side, frames: &[Frame], key: &SigningKey) {
    // A text is made printable when it is read, which may make it longer than one may be.
    let mut frames = frames.to_vec();
    for frame in &mut frames {
        if let Frame::Answer(answer) = frame {
            answer.text.clear();
        }
    }
    for key in [None, Some(key)] {
        let mut sender = Sender::new(from, key.cloned());
        let mut bytes = Vec::new();
        let mut starts = Vec::new();
        for frame in &frames {
            starts.push(bytes.len());
            sender.push(frame, &mut bytes);
        }
        let (read_again, broken) = read(from, key, &bytes, 1000);
        assert_eq!((&read_again[..], broken), (&frames[..], None));
        if let (Some(second), Some(key)) = (starts.get(1), key) {
            assert!(read(from, Some(key), &bytes[*second..], 1000).0.is_empty(), "out of turn");
        }
    }
}
