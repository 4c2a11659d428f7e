//! Bodies in chunks.

use unspool_http::{BadChunk, CHUNK_END, Chunk, Chunks, LAST_CHUNK, chunk_head};

/// A body and what is left behind it.
type Read<'a> = (Vec<u8>, &'a [u8]);

/// Reads a body that came at once.
fn read(bytes: &[u8]) -> Result<Option<Read<'_>>, BadChunk> {
    let mut chunks = Chunks::new();
    let mut rest = bytes;
    let mut body = Vec::new();
    loop {
        match chunks.take(&mut rest)? {
            Chunk::Data(data) => body.extend_from_slice(data),
            Chunk::More => return Ok(None),
            Chunk::End => {
                assert_eq!(chunks.received(), body.len() as u64);
                return Ok(Some((body, rest)));
            }
        }
    }
}

fn body(bytes: &str) -> String {
    let (body, rest) = read(bytes.as_bytes()).unwrap().unwrap();
    assert_eq!(rest, b"", "{bytes:?}");
    String::from_utf8(body).unwrap()
}

#[test]
fn chunks_become_a_body() {
    assert_eq!(body("0\r\n\r\n"), "");
    assert_eq!(body("3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n"), "abc0123456789");
    assert_eq!(body("0003;a=\"b;c\"\r\nabc\r\n00\r\n\r\n"), "abc");
    assert_eq!(body("3 \t;a\r\nabc\r\n0;x\r\nTrailer: 1\r\nX: 2\r\n\r\n"), "abc");
    let (text, rest) = read(b"1\r\na\r\n0\r\n\r\nGET /").unwrap().unwrap();
    assert_eq!((&text[..], rest), (&b"a"[..], &b"GET /"[..]));
    for cut in 0.."1;x\r\na\r\n0\r\nT: 1\r\n\r\n".len() {
        assert_eq!(read(&b"1;x\r\na\r\n0\r\nT: 1\r\n\r\n"[..cut]), Ok(None), "{cut}");
    }
}

#[test]
fn what_is_no_chunk_is_refused_for_good() {
    for (bytes, reason) in [
        ("\r\n", "the size of a chunk is no number"),
        ("+1\r\n", "the size of a chunk is no number"),
        (" 1\r\n", "the size of a chunk is no number"),
        ("0x1\r\n", "the size of a chunk is no number"),
        ("1 \r\na", "the size of a chunk is no number"),
        ("1 1\r\na", "the size of a chunk is no number"),
        ("1\na", "the size of a chunk is no number"),
        ("1\ra", "the line of a chunk does not end in CR LF"),
        ("1;a\nb", "an extension of a chunk is invalid"),
        ("1;a\0", "an extension of a chunk is invalid"),
        ("1\r\nab", "a chunk is longer than its size"),
        ("1\r\na\n", "a chunk is longer than its size"),
        ("1\r\na\rb", "a chunk is longer than its size"),
        ("00000000000000001", "the size of a chunk is too large"),
        ("0\r\na\nb", "a trailer is invalid"),
        ("0\r\na\rb", "a trailer does not end in CR LF"),
        ("0\r\n\ra", "a trailer does not end in CR LF"),
        ("0\r\n\n", "a trailer is invalid"),
    ] {
        assert_eq!(read(bytes.as_bytes()), Err(BadChunk { reason }), "{bytes:?}");
    }
    let mut chunks = Chunks::new();
    assert!(chunks.take(&mut &b"x"[..]).is_err() && chunks.take(&mut &b"0\r\n\r\n"[..]).is_err());
}

#[test]
fn what_stands_beside_the_data_is_bounded() {
    let long = "x".repeat(1025);
    assert_eq!(
        read(format!("1;{long}\r\na").as_bytes()).unwrap_err().reason,
        "the extensions of chunks are too long"
    );
    let some = format!("1;{}\r\na\r\n", "x".repeat(1000));
    assert_eq!(read(some.repeat(16).as_bytes()), Ok(None));
    assert_eq!(
        read(some.repeat(17).as_bytes()).unwrap_err().reason,
        "the extensions of chunks are too long"
    );
    let trailers = "X: 1\r\n".repeat(1400);
    assert_eq!(
        read(format!("0\r\n{trailers}\r\n").as_bytes()).unwrap_err().reason,
        "the trailers of a body are too long"
    );
    let huge = "f".repeat(16);
    assert_eq!(read(format!("{huge}\r\nabc").as_bytes()), Ok(None));
}

#[test]
fn chunks_that_are_written_are_read() {
    for length in [1, 9, 10, 15, 16, 255, 256, 70_000] {
        let data = vec![b'x'; length];
        let (line, end) = chunk_head(length);
        let bytes = [&line[..end], &data, CHUNK_END, LAST_CHUNK].concat();
        assert_eq!(read(&bytes), Ok(Some((data, &b""[..]))));
    }
    let (line, end) = chunk_head(usize::MAX);
    assert_eq!(&line[..end], b"ffffffffffffffff\r\n");
}
