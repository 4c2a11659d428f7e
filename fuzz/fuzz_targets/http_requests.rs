//! Any bytes as the head of a request, as a body in chunks, as a packet that is a request, and as what an
//! application gives for a response; cut anywhere.
#![no_main]

use libfuzzer_sys::fuzz_target;
use unspool_fuzz::memory::bounded;
use unspool_http::{
    BadChunk, BadRequest, CHUNK_END, Chunk, Chunks, Connection, Framing, LAST_CHUNK, Limits,
    Request, chunk_head, read_http, read_uwsgi, response_head,
};
use unspool_wire::packet::{HEADER_BYTES, Header, Packet, read_pairs, write_packet};

const LIMITS: Limits = Limits { head_bytes_max: 4096, headers_max: 64 };
const CONNECTION: Connection<'static> = Connection {
    remote_addr: "::1",
    remote_port: Some(9),
    server_name: "h",
    server_port: "80",
    https: false,
};
/// What is no header of the client.
const OWN: [&[u8]; 12] = [
    b"REQUEST_METHOD",
    b"REQUEST_URI",
    b"PATH_INFO",
    b"QUERY_STRING",
    b"SERVER_PROTOCOL",
    b"SCRIPT_NAME",
    b"SERVER_NAME",
    b"SERVER_PORT",
    b"REMOTE_ADDR",
    b"REMOTE_PORT",
    b"CONTENT_TYPE",
    b"CONTENT_LENGTH",
];

fuzz_target!(|data: &[u8]| {
    let [what, cut, bytes @ ..] = data else { return };
    let cut = usize::from(*cut).max(1);
    bounded(64 * data.len() + 256 * 1024, || match what % 4 {
        0 => check_head(bytes, cut),
        1 => check_chunks(bytes, cut),
        2 => check_packet(bytes),
        _ => check_response(bytes),
    });
});

fn check_head(bytes: &[u8], cut: usize) {
    let read = |bytes: &[u8]| read_http(bytes, &CONNECTION, &LIMITS);
    let whole = read(bytes);
    let mut looked = 0;
    let mut found = Ok(None);
    while looked < bytes.len() && found == Ok(None) {
        let length = bytes.len().min(looked + cut);
        found = read(&bytes[..length]);
        looked = length;
    }
    let status = |read: &Result<_, BadRequest>| read.as_ref().map_err(|bad| bad.status).err();
    assert_eq!(status(&found), status(&whole));
    let Ok(Some((request, taken))) = whole else { return };
    assert_eq!(found, Ok(Some((request.clone(), taken))));
    assert!(taken <= bytes.len().min(LIMITS.head_bytes_max));
    for (key, _) in request.variables() {
        assert!(OWN.contains(&key) || key.starts_with(b"HTTP_"), "{request:?}");
    }
    assert_unique(&request);
    // As a packet it is the same request.
    let pairs: Vec<_> = request.variables().collect();
    let packet = write_packet(0, 0, &pairs).expect("a head of 4 KiB");
    assert_eq!(packet.len() - HEADER_BYTES, request.packet_bytes());
    let again = read_uwsgi(packet_of(&packet)).expect("our own packet");
    assert!(again.variables().eq(request.variables()));
}

fn check_chunks(bytes: &[u8], cut: usize) {
    let read = chunks(bytes, cut);
    assert_eq!(read, chunks(bytes, usize::MAX));
    let (body, _) = read;
    if !body.is_empty() {
        let (line, length) = chunk_head(body.len());
        let again = [&line[..length], &body, CHUNK_END, LAST_CHUNK].concat();
        assert_eq!(chunks(&again, cut), (body, Ok(Some(again.len()))));
    }
}

/// The data of chunks that come in pieces, and where they end.
fn chunks(bytes: &[u8], piece: usize) -> (Vec<u8>, Result<Option<usize>, BadChunk>) {
    let mut chunks = Chunks::new();
    let mut data = Vec::new();
    let mut behind = bytes.len();
    for piece in bytes.chunks(piece) {
        behind -= piece.len();
        let mut rest = piece;
        loop {
            match chunks.take(&mut rest) {
                Ok(Chunk::Data(part)) => {
                    assert!(!part.is_empty());
                    data.extend_from_slice(part);
                }
                Ok(Chunk::More) => break assert!(rest.is_empty()),
                Ok(Chunk::End) => {
                    assert_eq!(chunks.received(), data.len() as u64);
                    return (data, Ok(Some(bytes.len() - behind - rest.len())));
                }
                Err(bad) => return (data, Err(bad)),
            }
        }
    }
    (data, Ok(None))
}

fn check_packet(bytes: &[u8]) {
    let header = Header { modifier1: 0, bytes: 0, modifier2: 0 };
    let read = read_uwsgi(Packet { header, block: bytes.to_vec() });
    match (read, read_pairs(bytes)) {
        (Ok(request), Ok(pairs)) => {
            assert_unique(&request);
            for (key, value) in request.variables() {
                let last = pairs.iter().rfind(|(other, _)| *other == key);
                assert_eq!(last.map(|(_, value)| *value), Some(value));
            }
            assert!(pairs.iter().all(|(key, _)| request.get(key).is_some()));
        }
        (Ok(request), Err(_)) => panic!("read of a broken packet: {request:?}"),
        (Err(_), _) => {}
    }
}

fn assert_unique(request: &Request) {
    let mut keys: Vec<_> = request.variables().map(|(key, _)| key).collect();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), request.variables().len(), "{request:?}");
}

fn packet_of(bytes: &[u8]) -> Packet {
    let (header, block) = bytes.split_first_chunk().expect("a header");
    Packet { header: Header::read(*header), block: block.to_vec() }
}

/// The first line is how it was asked for, the second one the status, the others are headers.
fn check_response(bytes: &[u8]) {
    let mut lines = bytes.split(|&byte| byte == b'\n');
    let (Some(asked), Some(status)) = (lines.next(), lines.next()) else { return };
    let mut head = asked.to_vec();
    head.extend_from_slice(b"\r\nHost: a\r\n\r\n");
    let Ok(Some((request, _))) = read_http(&head, &CONNECTION, &LIMITS) else { return };
    let given: Vec<_> = lines
        .map(|line| match line.iter().position(|&byte| byte == b':') {
            Some(at) => (&line[..at], &line[at + 1..]),
            None => (line, &b""[..]),
        })
        .collect();
    let known = (asked.len() % 2 == 0).then_some(7);
    let Ok(made) = response_head(&request, status, given.iter().copied(), known, true) else {
        return;
    };
    // One head, of as many lines as it says, and nothing behind it.
    let (lines, end) = made.bytes.split_at(made.bytes.len() - 4);
    assert_eq!(end, b"\r\n\r\n");
    let ends = lines.windows(2).filter(|pair| pair == b"\r\n").count();
    assert_eq!(ends, made.headers);
    let breaks = lines.iter().filter(|byte| matches!(byte, b'\r' | b'\n' | 0)).count();
    assert_eq!(breaks, 2 * ends);
    assert!(made.framing != Framing::Close || !made.keep_alive);
    let has = |name: &[u8]| {
        lines.split(|&byte| byte == b'\n').any(|line| {
            line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name))
        })
    };
    assert!(!has(b"content-length:") || !has(b"transfer-encoding:"));
    assert!(!matches!(made.framing, Framing::Length(_)) || has(b"content-length:"));
}
