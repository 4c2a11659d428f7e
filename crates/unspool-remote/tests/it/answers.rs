use std::io::Write;
use std::sync::mpsc::channel;

use unspool_core::taskfile::TaskId;
use unspool_core::taskfile::{TaskFile, encode};
use unspool_remote::{LinkError, Opened, Options, RemoteError, Session, submit};
use unspool_wire::peer::{Frame, Verdict, refusal};

use crate::peer::{
    Connection, LATE, Played, SOON, hang_up, id_of, key, message, read_hello, remote,
};

const MOST: u64 = 1 << 31;

fn opened(played: &Played, options: Options) -> Session {
    match Session::open(&played.remote(options)).unwrap() {
        Opened::Peer(session) => *session,
        Opened::Uwsgi => panic!("a uWSGI"),
    }
}

#[test]
fn a_task_arrives_whole_and_signed_and_its_connection_is_used_again() {
    let network = key("net", b'1');
    let (tell, told) = channel();
    let played = Played::new(1, {
        let network = network.clone();
        move |_, stream| {
            let mut connection = Connection::welcome(stream, Some(&network), MOST, 4);
            while let Some((begin, file)) = connection.task() {
                assert!(begin.spooler.is_empty());
                tell.send(file).unwrap();
                connection.answer(begin.number, Verdict::Stored, "");
            }
        }
    });
    let keys = "sig 2222222222222222222222222222222222222222222222222222222222222222";
    let keys = unspool_core::signing::Keyring::parse(keys.as_bytes()).unwrap();
    let to = played.remote(Options {
        network_key: Some(network),
        keys: Some(keys.into()),
        ..Options::default()
    });
    for body in [0, 3, 300_000] {
        let submitted = submit(&to, &message(body)).unwrap();
        let file: Vec<u8> = told.recv_timeout(LATE).unwrap();
        assert_eq!(submitted.bytes, file.len() as u64);
        assert_eq!(submitted.id.unwrap().to_string(), id_of(&file));
        let task = TaskFile::parse(&file).unwrap().to_message();
        assert_eq!((task.body.len(), task.get(b"k")), (body, Some(&b"v"[..])));
        // It is where it went, and means nothing there.
        assert_eq!(task.get(b"spooler"), None);
        assert!(file.windows(8).any(|bytes| bytes == b" kid=sig"));
    }
}

#[test]
fn many_tasks_are_on_their_way_and_their_answers_come_in_any_order() {
    let played = Played::new(1, |_, stream| {
        let mut connection = Connection::welcome(stream, None, MOST, 3);
        let numbers: Vec<u32> =
            (0..3).map(|_| connection.task().map(|(begin, _)| begin.number).unwrap()).collect();
        for number in [numbers[2], numbers[0], numbers[1]] {
            connection.answer(number, Verdict::Stored, &number.to_string());
        }
        assert!(connection.task().is_some());
        // No answer: the client hears nothing for a while, then the end.
        assert_eq!(connection.frame(), None);
    });
    let mut session = opened(&played, Options::default());
    let file = encode(&message(10), TaskId(1), None).unwrap();
    let mut sent = Vec::new();
    while session.has_room() {
        sent.push(session.send(b"/spool", file.len() as u64, &mut &file[..]).unwrap());
    }
    assert_eq!(sent.len(), 3);
    let full = session.send(b"", 1, &mut &b"x"[..]).unwrap_err();
    assert!(matches!(full, LinkError::Full));
    for expected in [2, 0, 1] {
        let answer = session.receive(LATE).unwrap().unwrap();
        assert_eq!((answer.number, answer.text), (sent[expected], sent[expected].to_string()));
    }
    assert_eq!(session.in_flight(), 0);
    session.send(b"", file.len() as u64, &mut &file[..]).unwrap();
    assert!(session.receive(SOON).unwrap().is_none());
    assert!(!session.is_over());
    drop(session);
    played.finish();
}

#[test]
fn a_huge_task_is_streamed_and_answered_before_its_end() {
    // A source that would not fit into memory, were it kept.
    const HUGE: u64 = unspool_core::limits::TASK_BYTES_MAX;
    let played = Played::new(1, |_, stream| {
        let mut connection = Connection::welcome(stream, None, MOST, 4);
        let Some(Frame::Begin(begin)) = connection.frame() else { panic!("no task") };
        for _ in 0..64 {
            let Some(Frame::Data(bytes)) = connection.frame() else { panic!("no data") };
            assert!(bytes.len() <= 65_536);
        }
        connection.answer(begin.number, Verdict::Refused, "too much for us");
        while connection.frame().is_some() {}
    });
    let mut session = opened(&played, Options::default());
    let number = session.send(b"", HUGE, &mut std::io::repeat(7)).unwrap();
    let answer = session.receive(LATE).unwrap().unwrap();
    assert_eq!((answer.number, answer.verdict), (number, Verdict::Refused));
    // The rest of it was not sent, so that nothing else can be.
    assert!(session.is_over() && !session.has_room());
    assert!(session.send(b"", 1, &mut &b"x"[..]).is_err());
    drop(session);
    played.finish();
}

#[test]
fn verdicts_are_errors_in_words() {
    for (verdict, text) in [
        (Verdict::Refused, "refused the task: why"),
        (Verdict::Later, "cannot store the task now: why"),
        (Verdict::Known, ""),
    ] {
        let played = Played::new(1, move |_, stream| {
            let mut connection = Connection::welcome(stream, None, MOST, 4);
            let (begin, _) = connection.task().unwrap();
            connection.answer(begin.number, verdict, "why");
            hang_up(&connection.stream);
        });
        match submit(&played.remote(Options::default()), &message(0)) {
            Ok(_) => assert!(text.is_empty()),
            Err(error) => {
                let address = &played.address;
                assert_eq!(error.to_string(), format!("`{address}` {text}"));
            }
        }
        played.finish();
    }
}

type Part = Box<dyn Fn(usize, std::net::TcpStream) + Send>;

#[test]
fn whoever_is_not_wanted_or_cannot_be_trusted_gets_no_task() {
    let mine = key("net", b'1');
    let with_key =
        |name: &str| Options { network_key: Some(key(name, b'1')), ..Options::default() };
    let parts: [(Part, Options, &str); 5] = [
        (
            Box::new(|_, mut stream| {
                read_hello(&mut stream);
                stream.write_all(&refusal("go away")).unwrap();
            }),
            Options::default(),
            "refuses this client: go away",
        ),
        (
            Box::new(move |_, stream| {
                // It has another key of that name.
                let other = key("net", b'9');
                let mut connection = Connection::welcome(stream, Some(&other), MOST, 4);
                assert_eq!(connection.frame(), None);
            }),
            with_key("net"),
            "cannot be trusted",
        ),
        (
            Box::new(|_, mut stream| {
                read_hello(&mut stream);
                stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
            }),
            Options::default(),
            "does not answer as unspool or uWSGI do",
        ),
        (
            Box::new(|_, stream| {
                let mut connection = Connection::welcome(stream, None, 5, 4);
                assert_eq!(connection.frame(), None);
            }),
            Options::default(),
            "takes 5: raise `network-task-bytes-max` there",
        ),
        (
            Box::new(move |_, stream| {
                let mut connection = Connection::welcome(stream, Some(&mine), MOST, 4);
                let (begin, _) = connection.task().unwrap();
                // Whoever cannot make the MAC of a frame cannot answer either.
                let mut bytes = Vec::new();
                let answer = unspool_wire::peer::Answer {
                    number: begin.number,
                    verdict: Verdict::Stored,
                    text: String::new(),
                };
                unspool_wire::peer::Sender::new(
                    unspool_wire::peer::Side::Server,
                    Some(key("net", b'8')),
                )
                .push(&Frame::Answer(answer), &mut bytes);
                connection.stream.write_all(&bytes).unwrap();
            }),
            with_key("net"),
            "no answer came: it may be stored there or not",
        ),
    ];
    for (part, options, text) in parts {
        let played = Played::new(1, part);
        let error = submit(&played.remote(options), &message(0)).unwrap_err();
        assert!(error.to_string().contains(text), "{error}");
        played.finish();
    }
}

#[test]
fn no_is_no_answer_once_the_task_was_sent_whole_before() {
    for verdict in [Verdict::Later, Verdict::Refused] {
        let played = Played::new(2, move |turn, stream| {
            let mut connection = Connection::welcome(stream, None, MOST, 4);
            let (begin, _) = connection.task().unwrap();
            if turn > 0 {
                connection.answer(begin.number, verdict, "another connection brings it");
            }
        });
        let error = submit(&played.remote(Options::default()), &message(0)).unwrap_err();
        assert!(matches!(error, RemoteError::Unanswered { .. }), "{error}");
        played.finish();
    }
}

#[test]
fn what_no_spool_takes_is_not_sent() {
    let to = remote("127.0.0.1:9", Options::default());
    for (key, value, text) in [("at", "soon", "no time"), ("priority", "../x", "leave the spool")] {
        let mut task = message(0);
        task.pairs.push((key.into(), value.into()));
        let error = submit(&to, &task).unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
    }
}
