//! Heads of responses.

use unspool_http::{
    Framing, InvalidHeader, Protocol, Request, ResponseHead, Variable, check_head, read_uwsgi,
    refusal, response_head,
};
use unspool_wire::packet::{HEADER_BYTES, Header, Packet, write_packet};

use crate::read;

fn http(line: &str) -> Request {
    read(format!("{line}\r\nHost: a\r\n\r\n").as_bytes())
}

fn uwsgi(protocol: &[u8]) -> Request {
    let bytes = write_packet(0, 0, &[(b"SERVER_PROTOCOL", protocol)]).unwrap();
    let header = Header::read(*bytes.first_chunk().unwrap());
    read_uwsgi(Packet { header, block: bytes[HEADER_BYTES..].to_vec() }).unwrap()
}

fn headers<'a>(headers: &[(&'a str, &'a str)]) -> Vec<Variable<'a>> {
    headers.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect()
}

fn head(
    request: &Request,
    status: &str,
    given: &[(&str, &str)],
    length: Option<u64>,
) -> ResponseHead {
    response_head(request, status.as_bytes(), headers(given), length, true).unwrap()
}

fn text(head: &ResponseHead) -> &str {
    std::str::from_utf8(&head.bytes).unwrap()
}

const GET: &str = "GET / HTTP/1.1";
const HTML: (&str, &str) = ("Content-Type", "text/html");

#[test]
fn the_end_of_a_body_is_told_by_what_is_known() {
    let made = head(&http(GET), "200 OK", &[HTML], Some(12));
    assert_eq!(
        text(&made),
        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 12\r\n\r\n"
    );
    assert_eq!((made.framing, made.keep_alive), (Framing::Length(12), true));
    assert_eq!((made.status, made.headers), (200, 2));

    let made = head(&http(GET), "200 OK", &[("content-length", "3"), HTML], Some(12));
    assert_eq!(
        text(&made),
        "HTTP/1.1 200 OK\r\ncontent-length: 3\r\nContent-Type: text/html\r\n\r\n"
    );
    assert_eq!((made.framing, made.keep_alive), (Framing::Length(3), true));

    let made = head(&http(GET), "404 Not Found", &[], None);
    assert_eq!(text(&made), "HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_eq!((made.framing, made.keep_alive), (Framing::Chunked, true));

    let kept = "GET / HTTP/1.0\r\nConnection: keep-alive";
    let made = head(&http(kept), "200 OK", &[], None);
    assert_eq!(text(&made), "HTTP/1.0 200 OK\r\nConnection: close\r\n\r\n");
    assert_eq!((made.framing, made.keep_alive), (Framing::Close, false));

    let made = head(&http(kept), "200 OK", &[], Some(0));
    assert_eq!(
        text(&made),
        "HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n"
    );
    assert_eq!((made.framing, made.keep_alive), (Framing::Length(0), true));
}

#[test]
fn over_uwsgi_nothing_is_said_about_the_connection() {
    let made = head(&uwsgi(b"HTTP/1.1"), "200 OK", &[HTML], None);
    assert_eq!(text(&made), "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n");
    assert_eq!((made.framing, made.keep_alive, made.headers), (Framing::Close, false, 1));
    let made = head(&uwsgi(b"HTTP/1.0"), "200 OK", &[("Connection", "close")], Some(1));
    assert_eq!(text(&made), "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n");
    let made = head(&uwsgi(b"HTTP/2.0"), "200 OK", &[], Some(1));
    assert!(text(&made).starts_with("HTTP/1.1 200 OK\r\n"));
}

#[test]
fn where_no_body_can_be_none_is_announced() {
    let asked = http("HEAD / HTTP/1.1");
    let made = head(&asked, "200 OK", &[("Content-Length", "7")], Some(0));
    assert_eq!(text(&made), "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n");
    assert_eq!((made.framing, made.keep_alive), (Framing::None, true));
    let made = head(&asked, "200 OK", &[], Some(0));
    assert_eq!(text(&made), "HTTP/1.1 200 OK\r\n\r\n");

    let given = [("Content-Length", "0"), ("Transfer-Encoding", "chunked"), ("X", "1")];
    let made = head(&http(GET), "204 No Content", &given, Some(0));
    assert_eq!(text(&made), "HTTP/1.1 204 No Content\r\nX: 1\r\n\r\n");
    assert_eq!((made.framing, made.keep_alive), (Framing::None, true));

    let made = head(&http(GET), "304 Not Modified", &[("Content-Length", "9")], None);
    assert_eq!(text(&made), "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n");
    assert_eq!((made.framing, made.keep_alive), (Framing::None, true));

    // Behind it the client waits for another one, which does not come.
    let made = head(&http(GET), "103 Early Hints", &[], None);
    assert_eq!((made.framing, made.keep_alive), (Framing::None, false));
}

#[test]
fn the_connection_closes_when_anybody_wants_it() {
    let made = head(&http(GET), "200 OK", &[("connection", "Close, X")], Some(1));
    assert_eq!(text(&made), "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\n");
    assert!(!made.keep_alive);
    let made = response_head(&http(GET), b"200 OK", headers(&[]), None, false).unwrap();
    assert_eq!(
        text(&made),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    );
    let closing = http("GET / HTTP/1.1\r\nConnection: close");
    assert!(!head(&closing, "200 OK", &[], Some(1)).keep_alive);
    // Whoever keeps connections says so, not the application.
    let given = [("Connection", "keep-alive"), ("Keep-Alive", "timeout=5")];
    let made = head(&closing, "200 OK", &given, Some(1));
    assert_eq!(text(&made), "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\n");
}

#[test]
fn an_application_may_make_its_chunks_itself() {
    let made = head(&http(GET), "200 OK", &[("Transfer-Encoding", "chunked")], None);
    assert_eq!(
        text(&made),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    );
    assert_eq!((made.framing, made.keep_alive), (Framing::Close, false));
}

#[test]
fn nothing_becomes_another_header_or_another_response() {
    let make = |status: &str, given: &[(&str, &str)]| {
        let made = response_head(&http(GET), status.as_bytes(), headers(given), None, true);
        if given.len() < 2 {
            // Who says the head hears the same before anything is sent.
            let checked = check_head(status.as_bytes(), headers(given));
            assert_eq!(made.clone().err(), checked.err());
        }
        made
    };
    for value in ["a\r\nX: 1", "a\nX", "a\r", "\0"] {
        let error = make("200 OK", &[("X-A", value)]).unwrap_err();
        assert_eq!(error.to_string(), "the header `X-A` has a line break or a NUL in its value");
    }
    for name in ["", "X A", "X:", "X\r\nY", "X\0", "ä"] {
        let error = make("200 OK", &[(name, "1")]).unwrap_err();
        assert!(matches!(error, InvalidHeader::Name(_)), "{name}");
    }
    for status in ["", "20", "2000", "abc OK", "099 Low", "200 OK\r\nX: 1", "200\tOK", "200OK"] {
        let error = make(status, &[]).unwrap_err();
        assert!(matches!(error, InvalidHeader::Status(_)), "{status}");
        assert!(!error.to_string().contains('\n'));
    }
    assert!(make("200", &[]).unwrap().bytes.starts_with(b"HTTP/1.1 200 OK\r\n"));
    assert!(make("299", &[]).unwrap().bytes.starts_with(b"HTTP/1.1 299 \r\n"));
    assert!(make("299 \u{e4}", &[("X", "\u{e4}\t")]).is_ok());
    for length in ["", "-1", "1 1", "x"] {
        assert_eq!(make("200 OK", &[("Content-Length", length)]), Err(InvalidHeader::Length));
    }
    let two = [("Content-Length", "1"), ("content-length", "2")];
    assert_eq!(make("200 OK", &two), Err(InvalidHeader::Length));
    let same = make("200 OK", &[two[0], two[0]]).unwrap();
    assert_eq!(text(&same), "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n");
    let both = [("Content-Length", "1"), ("Transfer-Encoding", "chunked")];
    assert_eq!(make("200 OK", &both), Err(InvalidHeader::TwoLengths));
}

#[test]
fn what_is_no_request_is_answered() {
    let answer = refusal(Protocol::Http11, 400, "Host is missing");
    assert_eq!(
        String::from_utf8(answer).unwrap(),
        "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Content-Length: 16\r\n\r\nHost is missing\n"
    );
    let answer = String::from_utf8(refusal(Protocol::Uwsgi, 500, "x")).unwrap();
    assert!(answer.starts_with("HTTP/1.1 500 Internal Server Error\r\nContent-Type"));
    assert!(refusal(Protocol::Http10, 431, "").starts_with(b"HTTP/1.0 431 Request Header"));
}
