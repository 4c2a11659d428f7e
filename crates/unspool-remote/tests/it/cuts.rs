use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use unspool_remote::{Options, RemoteError, submit};
use unspool_wire::peer::Verdict;

use crate::peer::{Connection, LATE, Played, SOON, hang_up, id_of, message, read_hello, remote};

const MOST: u64 = 1 << 31;

#[test]
fn nobody_there_is_said_with_what_to_do() {
    let played = Played::new(0, |_, _| {});
    let to = played.remote(Options::default());
    let address = played.address.clone();
    played.finish();
    let error = submit(&to, &message(0)).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "not sent: cannot connect to `{address}`: nobody listens there; is the daemon running, \
             with `socket = ` this address?"
        )
    );
    let error = submit(&remote("/no/such.sock", Options::default()), &message(0)).unwrap_err();
    assert!(error.to_string().contains("there is no such socket"), "{error}");
}

#[test]
fn a_connection_that_is_cut_before_the_task_is_whole_sent_nothing() {
    // In the hello, before the welcome, within it.
    for stage in 0..3 {
        let played = Played::new(1, move |_, mut stream| {
            if stage > 0 {
                read_hello(&mut stream);
            }
            if stage > 1 {
                stream.write_all(&[100, 50, 0, 2, 7]).unwrap();
            }
            hang_up(&stream);
        });
        let error = submit(&played.remote(Options::default()), &message(0)).unwrap_err();
        assert!(matches!(error, RemoteError::Shut { .. }), "{stage}: {error}");
        played.finish();
    }
}

#[test]
fn a_task_whose_connection_is_cut_is_sent_once_more_under_its_id() {
    let ids = Arc::new(Mutex::new(Vec::new()));
    let played = Played::new(2, {
        let ids = Arc::clone(&ids);
        move |number, stream| {
            let mut connection = Connection::welcome(stream, None, MOST, 4);
            let (begin, file) = connection.task().unwrap();
            ids.lock().unwrap().push(id_of(&file));
            if number == 0 {
                hang_up(&connection.stream);
            } else {
                connection.answer(begin.number, Verdict::Known, "");
            }
        }
    });
    let submitted = submit(&played.remote(Options::default()), &message(100_000)).unwrap();
    played.finish();
    let id = submitted.id.unwrap().to_string();
    assert_eq!(*ids.lock().unwrap(), [id.clone(), id]);
}

#[test]
fn a_task_that_was_sent_twice_in_vain_may_be_stored() {
    for listens in [2, 1] {
        let played = Played::new(listens, |_, stream| {
            let mut connection = Connection::welcome(stream, None, MOST, 4);
            connection.task().unwrap();
            hang_up(&connection.stream);
        });
        let error = submit(&played.remote(Options::default()), &message(0)).unwrap_err();
        assert!(matches!(error, RemoteError::Unanswered { .. }), "{error}");
        played.finish();
    }
}

/// What the receiver says is cut after each of its bytes. Once it has the whole task, nobody says that
/// it was not sent.
#[test]
fn answers_that_are_cut_anywhere_are_no_answers() {
    let whole = Arc::new(AtomicUsize::new(0));
    let played = |cut: Option<usize>, connections| {
        let whole = Arc::clone(&whole);
        Played::new(connections, move |_, stream| {
            let said = Cut { stream: stream.try_clone().unwrap(), left: cut.unwrap_or(usize::MAX) };
            let Some(mut connection) = Connection::try_welcome(said, None, MOST, 4) else {
                return hang_up(&stream);
            };
            let Some((begin, _)) = connection.task() else { return hang_up(&stream) };
            connection.answer(begin.number, Verdict::Stored, "text");
            whole.store(usize::MAX - connection.stream.left, Ordering::Relaxed);
            hang_up(&stream);
        })
    };
    let served = played(None, 1);
    submit(&served.remote(Options::default()), &message(0)).unwrap();
    served.finish();
    let bytes = whole.load(Ordering::Relaxed);
    // Kind, length, number, verdict, text.
    let answer = 1 + 4 + 4 + 1 + 4;
    assert!(bytes > answer + 80, "{bytes}");
    for cut in 0..bytes {
        let is_greeted = cut >= bytes - answer;
        let served = played(Some(cut), if is_greeted { 2 } else { 1 });
        let error = submit(&served.remote(Options::default()), &message(0)).unwrap_err();
        let is_said = match error {
            RemoteError::Unanswered { .. } => is_greeted,
            RemoteError::Shut { .. } => !is_greeted,
            _ => false,
        };
        assert!(is_said, "{cut}: {error}");
        served.finish();
    }
}

/// Writes so many bytes and drops the rest.
struct Cut {
    stream: TcpStream,
    left: usize,
}

impl Read for Cut {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.stream.read(buffer)
    }
}

impl Write for Cut {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let count = bytes.len().min(self.left);
        self.stream.write_all(&bytes[..count])?;
        self.left -= count;
        // Nothing less than all of it is an end of what is said.
        if count < bytes.len() {
            return Err(std::io::ErrorKind::BrokenPipe.into());
        }
        Ok(count)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_cut_within_the_task_is_no_doubt() {
    let played = Played::new(2, |_, stream| {
        let mut connection = Connection::welcome(stream, None, MOST, 4);
        connection.frame().unwrap();
        hang_up(&connection.stream);
    });
    // More than the buffers of both ends hold.
    let error = submit(&played.remote(Options::default()), &message(64 << 20)).unwrap_err();
    assert!(matches!(error, RemoteError::Lost { .. }), "{error}");
    played.finish();
}

#[test]
fn a_kept_connection_that_died_is_replaced() {
    let (tell, told) = channel();
    let count = Arc::new(AtomicUsize::new(0));
    let played = Played::new(3, {
        let count = Arc::clone(&count);
        move |_, stream| {
            let mut connection = Connection::welcome(stream, None, MOST, 4);
            let (begin, _) = connection.task().unwrap();
            connection.answer(begin.number, Verdict::Stored, "");
            count.fetch_add(1, Ordering::Relaxed);
            hang_up(&connection.stream);
            tell.send(()).unwrap();
        }
    });
    let to = played.remote(Options::default());
    for _ in 0..3 {
        submit(&to, &message(0)).unwrap();
        // Now the other end is closed.
        told.recv_timeout(LATE).unwrap();
    }
    assert_eq!(count.load(Ordering::Relaxed), 3);
    played.finish();
}

#[test]
fn slow_receivers_are_not_waited_for_for_ever() {
    let options = || Options { answer_wait: SOON, ..Options::default() };
    // Without a welcome, without an answer, without reading.
    for stage in 0..3 {
        let (go, wait) = channel::<()>();
        let wait = Mutex::new(wait);
        let played = Played::new(1, move |_, mut stream| {
            match stage {
                0 => drop(read_hello(&mut stream)),
                1 => drop(Connection::welcome(stream.try_clone().unwrap(), None, MOST, 4).task()),
                _ => drop(Connection::welcome(stream.try_clone().unwrap(), None, MOST, 4)),
            }
            let _ = wait.lock().unwrap().recv_timeout(LATE);
        });
        let body = if stage == 2 { 64 << 20 } else { 0 };
        let error = submit(&played.remote(options()), &message(body)).unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        match stage {
            1 => assert!(matches!(error, RemoteError::Unanswered { .. }), "{error}"),
            _ => assert!(matches!(error, RemoteError::Lost { .. }), "{error}"),
        }
        assert!(cause.contains("within 0.1 s"), "{cause}");
        drop(go);
        played.finish();
    }
}
