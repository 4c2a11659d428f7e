//! Bytes that come in pieces, and any bytes at all.

use proptest::prelude::*;
use unspool_http::{
    BadChunk, BodyLength, Chunk, Chunks, Framing, Protocol, Request, chunk_head, read_http,
    read_uwsgi, response_head,
};
use unspool_wire::packet::{Assembly, write_packet};

use crate::{CONNECTION, LIMITS};

/// What comes of a head that arrives byte by byte from `first` bytes on.
fn in_pieces(bytes: &[u8], first: usize) -> Result<Option<(Request, usize)>, u16> {
    for length in first.min(bytes.len())..=bytes.len() {
        let read = read_http(&bytes[..length], &CONNECTION, &LIMITS).map_err(|bad| bad.status);
        if read != Ok(None) {
            return read;
        }
    }
    Ok(None)
}

fn assert_cuts_do_not_matter(bytes: &[u8]) {
    let whole = read_http(bytes, &CONNECTION, &LIMITS).map_err(|bad| bad.status);
    for first in [0, 1, bytes.len() / 2, bytes.len()] {
        assert_eq!(in_pieces(bytes, first), whole, "{}", bytes.escape_ascii());
    }
    if let Ok(Some((request, taken))) = whole {
        assert!(taken <= bytes.len().min(LIMITS.head_bytes_max));
        let mut keys: Vec<_> = request.variables().map(|(key, _)| key).collect();
        for key in &keys {
            let is_own = ["REQUEST_METHOD", "REQUEST_URI", "PATH_INFO", "QUERY_STRING"]
                .iter()
                .chain(&["SERVER_PROTOCOL", "SCRIPT_NAME", "SERVER_NAME", "SERVER_PORT"])
                .chain(&["REMOTE_ADDR", "REMOTE_PORT", "CONTENT_TYPE", "CONTENT_LENGTH"])
                .any(|own| own.as_bytes() == *key);
            assert!(is_own || key.starts_with(b"HTTP_"), "{}", key.escape_ascii());
        }
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), request.variables().len(), "none is there twice");
    }
}

/// The data of chunks, and where they end, from pieces of so many bytes.
fn chunks(bytes: &[u8], piece: usize) -> (Vec<u8>, Result<Option<usize>, BadChunk>) {
    let mut chunks = Chunks::new();
    let mut data = Vec::new();
    for (number, piece_bytes) in bytes.chunks(piece).enumerate() {
        let mut rest = piece_bytes;
        loop {
            match chunks.take(&mut rest) {
                Ok(Chunk::Data(part)) => {
                    assert!(!part.is_empty());
                    data.extend_from_slice(part);
                }
                Ok(Chunk::More) => break assert!(rest.is_empty()),
                Ok(Chunk::End) => {
                    let taken = number * piece + piece_bytes.len() - rest.len();
                    return (data, Ok(Some(taken)));
                }
                Err(bad) => return (data, Err(bad)),
            }
        }
    }
    (data, Ok(None))
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        "[A-Za-z][A-Za-z0-9-]{0,8}",
        "[!#$%&'*+.^`|~A-Za-z0-9_-]{1,6}",
        proptest::sample::select(vec![
            "Content-Length",
            "content-length",
            "Content-Type",
            "Transfer-Encoding",
            "Host",
            "Cookie",
            "Connection",
            "Expect",
            "Proxy",
            "X_A",
            "X-A",
        ])
        .prop_map(str::to_owned),
    ]
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        "[ -~]{0,20}".prop_map(String::into_bytes),
        "[0-9]{1,3}".prop_map(String::into_bytes),
        proptest::sample::select(vec![
            &b"chunked"[..],
            b"close",
            b"keep-alive",
            b"100-continue",
            b"a"
        ])
        .prop_map(<[u8]>::to_vec),
        proptest::collection::vec(any::<u8>(), 0..10),
    ]
}

fn head() -> impl Strategy<Value = Vec<u8>> {
    let target = prop_oneof![
        "/[ -~]{0,20}",
        "/[a-z%0-9?/.]{0,20}",
        "https?://[a-z:0-9]{0,9}[/?]?[a-z]{0,5}"
    ];
    let line = ("[A-Z]{1,7}", target, "HTTP/[012]\\.[019]");
    let end = proptest::sample::select(vec!["\r\n", "\r\n", "\r\n", "\r\n", "\n", "\r"]);
    (line, proptest::collection::vec((name(), value(), end), 0..8), any::<bool>()).prop_map(
        |((method, target, version), headers, host)| {
            let mut bytes = format!("{method} {target} {version}\r\n").into_bytes();
            if host {
                bytes.extend_from_slice(b"Host: a\r\n");
            }
            for (name, value, end) in headers {
                bytes.extend_from_slice(&[name.as_bytes(), b": ", &value, end.as_bytes()].concat());
            }
            bytes.extend_from_slice(b"\r\nrest");
            bytes
        },
    )
}

proptest! {
    #[test]
    fn heads_are_read_the_same_however_they_are_cut(bytes in head()) {
        assert_cuts_do_not_matter(&bytes);
    }

    #[test]
    fn any_bytes_are_read_the_same_however_they_are_cut(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        start in proptest::sample::select(vec!["", "GET ", "GET / HTTP/1.1\r\nHost: a\r\n"]),
    ) {
        assert_cuts_do_not_matter(&[start.as_bytes(), &bytes].concat());
    }

    #[test]
    fn good_headers_are_found_again(headers in proptest::collection::vec(
        ("Q-[A-Za-z0-9-]{0,6}", "[!-~]([ -~]{0,20}[!-~])?"), 0..30,
    )) {
        let mut bytes = b"GET / HTTP/1.1\r\nHost: a\r\n".to_vec();
        for (name, value) in &headers {
            bytes.extend_from_slice(format!("{name}:{value}\r\n").as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        let request = crate::read(&bytes);
        for (name, _) in &headers {
            let same: Vec<_> = headers
                .iter()
                .filter(|(other, _)| other.eq_ignore_ascii_case(name))
                .map(|(_, value)| value.as_str())
                .collect();
            let key = format!("HTTP_{}", name.replace('-', "_").to_uppercase());
            let joined = same.join(", ");
            prop_assert_eq!(request.get(key.as_bytes()), Some(joined.as_bytes()));
        }
    }

    #[test]
    fn chunks_are_read_the_same_however_they_are_cut(
        bytes in prop_oneof![
            "([0-3a]{1,2}(;[a-z]{0,3})?\r\n[a-z]{0,3}\r\n){0,4}0\r\n(T: [a-z]{0,3}\r\n)?\r\n[a-z]{0,3}"
                .prop_map(String::into_bytes),
            proptest::collection::vec(any::<u8>(), 0..100),
        ],
        piece in 1_usize..20,
    ) {
        prop_assert_eq!(chunks(&bytes, piece), chunks(&bytes, usize::MAX));
    }

    #[test]
    fn chunks_that_are_written_are_the_body(
        parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..50), 0..8),
        piece in 1_usize..60,
    ) {
        let mut bytes = Vec::new();
        for part in &parts {
            let (line, end) = chunk_head(part.len());
            bytes.extend_from_slice(&[&line[..end], part, unspool_http::CHUNK_END].concat());
        }
        bytes.extend_from_slice(unspool_http::LAST_CHUNK);
        prop_assert_eq!(chunks(&bytes, piece), (parts.concat(), Ok(Some(bytes.len()))));
    }

    #[test]
    fn packets_give_back_their_pairs(
        pairs in proptest::collection::vec(
            (proptest::collection::vec(any::<u8>(), 1..4), value()), 1..40,
        ),
    ) {
        let sent: Vec<_> = pairs.iter().map(|(key, value)| (&key[..], &value[..])).collect();
        let packet = write_packet(0, 0, &sent).unwrap();
        let packet = Assembly::new(u16::MAX).take(&mut &packet[..]).unwrap().unwrap();
        let request = read_uwsgi(packet).unwrap();
        for (key, _) in &sent {
            let last = sent.iter().rfind(|(other, _)| other == key).map(|(_, value)| *value);
            prop_assert_eq!(request.get(key), last);
        }
    }

    /// A head that is written has the headers that were given and no others, by another reader.
    #[test]
    fn responses_are_read_back(
        version in 0_u8..2,
        method in proptest::sample::select(vec!["GET", "HEAD"]),
        code in 100_u16..1000,
        given in proptest::collection::vec((name(), value()), 0..8),
        length in proptest::option::of(0_u64..100),
        may_keep: bool,
    ) {
        let asked = format!("{method} / HTTP/1.{version}\r\nHost: a\r\n\r\n");
        let request = crate::read(asked.as_bytes());
        let headers = given.iter().map(|(name, value)| (name.as_bytes(), &value[..]));
        let status = format!("{code} Words");
        let made = response_head(&request, status.as_bytes(), headers, length, may_keep);
        let Ok(made) = made else { return Ok(()) };
        let mut room = [httparse::EMPTY_HEADER; 32];
        let mut read = httparse::Response::new(&mut room);
        // httparse reads no control characters, which an application may give.
        let Ok(status) = read.parse(&made.bytes) else {
            let odd = |byte: &u8| byte.is_ascii_control() && *byte != b'\t';
            prop_assert!(given.iter().any(|(_, value)| value.iter().any(odd)));
            return Ok(());
        };
        prop_assert_eq!(status, httparse::Status::Complete(made.bytes.len()));
        prop_assert_eq!(read.code, Some(code));
        prop_assert_eq!(read.version, Some(version));
        prop_assert_eq!(read.headers.len(), made.headers);
        let value = |name: &str| {
            let mut found = read.headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name));
            let value = found.next().map(|header| header.value);
            prop_assert!(found.next().is_none() || name == "Transfer-Encoding");
            Ok(value)
        };
        let closes = value("Connection")? == Some(b"close");
        match made.framing {
            Framing::Length(length) => {
                // An application may write it with zeros in front.
                let said = value("Content-Length")?.and_then(|said| str::from_utf8(said).ok()?.parse().ok());
                prop_assert_eq!(said, Some(length));
            }
            Framing::Chunked => prop_assert_eq!(value("Transfer-Encoding")?, Some(&b"chunked"[..])),
            Framing::Close => prop_assert!(closes),
            Framing::None => prop_assert!(method == "HEAD" || code < 200 || [204, 304].contains(&code)),
        }
        prop_assert_eq!(made.keep_alive, !closes);
        prop_assert!(!made.keep_alive || may_keep);
    }
}

#[test]
fn a_request_that_is_cut_at_every_byte_waits() {
    let bytes = b"POST /a%41?b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    for cut in 0..bytes.len() {
        assert_eq!(read_http(&bytes[..cut], &CONNECTION, &LIMITS), Ok(None), "{cut}");
    }
    let (request, taken) = read_http(bytes, &CONNECTION, &LIMITS).unwrap().unwrap();
    assert_eq!((taken, request.body()), (bytes.len(), BodyLength::Chunked));
    assert_eq!(request.protocol(), Protocol::Http11);
}
