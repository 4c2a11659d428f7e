//! Requests of the uwsgi protocol.

use unspool_http::{BodyLength, Protocol, Request, read_uwsgi};
use unspool_wire::packet::{HEADER_BYTES, Header, Packet, Pair, write_packet};

use crate::get;

fn packet(pairs: &[Pair<'_>]) -> Packet {
    let bytes = write_packet(0, 0, pairs).unwrap();
    let (header, block) = bytes.split_first_chunk::<HEADER_BYTES>().unwrap();
    Packet { header: Header::read(*header), block: block.to_vec() }
}

fn read(pairs: &[Pair<'_>]) -> Request {
    read_uwsgi(packet(pairs)).unwrap()
}

#[test]
fn pairs_are_variables_and_the_last_one_of_a_key_holds() {
    let request = read(&[
        (b"REQUEST_METHOD", b"GET"),
        (b"PATH_INFO", b"/a"),
        (b"REQUEST_METHOD", b"HEAD"),
        (b"CONTENT_LENGTH", b""),
        (b"HTTP_X", b"\xe4"),
    ]);
    let keys: Vec<_> = request.variables().map(|(key, _)| key).collect();
    assert_eq!(keys, [&b"REQUEST_METHOD"[..], b"PATH_INFO", b"CONTENT_LENGTH", b"HTTP_X"]);
    assert_eq!(get(&request, "REQUEST_METHOD").unwrap(), "HEAD");
    assert_eq!(get(&request, "HTTP_X").unwrap(), r"\xe4");
    assert!(request.is_head() && !request.keep_alive() && !request.expects_continue());
    assert_eq!(request.protocol(), Protocol::Uwsgi);
    assert_eq!(request.body(), BodyLength::Bytes(0));
    assert_eq!(
        request.packet_bytes(),
        packet(&[]).block.len() + 4 * 4 + 14 + 4 + 9 + 2 + 14 + 6 + 1
    );
}

#[test]
fn the_length_of_the_body_is_a_number() {
    let read = |value: &[u8]| read_uwsgi(packet(&[(b"CONTENT_LENGTH", value)]));
    assert_eq!(read(b"42").unwrap().body(), BodyLength::Bytes(42));
    for value in ["-1", "+1", " 1", "1x"] {
        assert_eq!(read(value.as_bytes()).unwrap_err().status, 400, "{value}");
    }
}

/// The expected ones are those of a uWSGI 2.0.31, but for values that are no scheme of HTTP.
#[test]
fn the_scheme_is_what_is_said_in_front() {
    let is_https = |pairs: &[(&str, &str)]| {
        let pairs: Vec<Pair<'_>> =
            pairs.iter().map(|(key, value)| (key.as_bytes(), value.as_bytes())).collect();
        read(&pairs).is_https()
    };
    let (scheme, proto, ssl) = ("UWSGI_SCHEME", "HTTP_X_FORWARDED_PROTO", "HTTP_X_FORWARDED_SSL");
    assert!(!is_https(&[("REQUEST_SCHEME", "https"), ("HTTP_HTTPS", "on")]));
    for value in ["on", "ON", "1"] {
        assert!(is_https(&[("HTTPS", value)]) && is_https(&[(ssl, value)]));
    }
    for value in ["", "off", "0", "https", "true"] {
        assert!(!is_https(&[("HTTPS", value)]) && !is_https(&[(ssl, value)]));
    }
    assert!(is_https(&[(scheme, "https")]) && is_https(&[(proto, "HTTPS")]));
    assert!(!is_https(&[(scheme, "http"), ("HTTPS", "on")]));
    assert!(!is_https(&[("HTTPS", "on"), (proto, "http")]));
    assert!(!is_https(&[(ssl, "on"), (scheme, "http")]));
    assert!(is_https(&[("HTTPS", "off"), (proto, "https")]));
    assert!(is_https(&[(ssl, "off"), ("HTTPS", "on")]));
    for nothing in ["", "ftp", "https, http"] {
        assert!(is_https(&[(scheme, nothing), (proto, nothing), ("HTTPS", "on")]));
        assert!(!is_https(&[(scheme, nothing), (proto, nothing)]));
    }
    // Whoever is in front has the last word, not what a client can send.
    assert!(!is_https(&[(scheme, "http"), (proto, "https")]));
}

#[test]
fn the_type_and_the_length_of_a_body_are_shown_once() {
    let pairs: [Pair<'_>; 4] = [
        (b"CONTENT_TYPE", b"a/b"),
        (b"HTTP_CONTENT_TYPE", b"a/b"),
        (b"HTTP_CONTENT_LENGTH", b"3"),
        (b"HTTP_CONTENT_LANGUAGE", b"en"),
    ];
    let request = read(&pairs);
    let shown: Vec<_> = request.shown().map(|(key, _)| key).collect();
    // Where the variable itself is missing, nothing is taken away.
    assert_eq!(shown, [&b"CONTENT_TYPE"[..], b"HTTP_CONTENT_LENGTH", b"HTTP_CONTENT_LANGUAGE"]);
    assert_eq!(request.variables().len(), 4);
}

#[test]
fn packets_that_are_no_requests_are_refused() {
    assert_eq!(read_uwsgi(packet(&[])).unwrap_err().reason, "the request has no variables");
    assert_eq!(read_uwsgi(packet(&[(b"", b"a")])).unwrap_err().reason, "a variable has no name");
    let whole = packet(&[(b"a", b"b")]);
    for cut in 1..whole.block.len() {
        let packet = Packet { block: whole.block[..cut].to_vec(), ..whole };
        assert_eq!(read_uwsgi(packet).unwrap_err().reason, "a variable is cut", "{cut}");
    }
    let keys: Vec<_> = (0..1025).map(|number| format!("k{number}")).collect();
    let pairs: Vec<Pair<'_>> = keys.iter().map(|key| (key.as_bytes(), &b""[..])).collect();
    assert_eq!(read(&pairs[..1024]).variables().len(), 1024);
    assert_eq!(read_uwsgi(packet(&pairs)).unwrap_err().status, 431);
}
