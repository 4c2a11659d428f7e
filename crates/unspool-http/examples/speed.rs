//! What reading and answering a small request costs: `cargo run --release -p unspool-http --example speed`.

#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "a measurement for people")]
#![expect(clippy::unwrap_used, reason = "it ends where a step fails")]

use std::hint::black_box;
use std::time::Instant;

use unspool_http::{Connection, Limits, read_http, read_uwsgi, response_head};
use unspool_wire::packet::{HEADER_BYTES, Header, Packet, write_packet};

/// Ten headers, as a browser sends them.
const HEAD: &[u8] = b"GET /hello/world?name=value HTTP/1.1\r\n\
Host: www.example.com\r\n\
User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n\
Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
Accept-Language: en-US,en;q=0.5\r\n\
Accept-Encoding: gzip, deflate, br\r\n\
Cookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\n\
Cache-Control: max-age=0\r\n\
Upgrade-Insecure-Requests: 1\r\n\
Referer: https://www.example.com/\r\n\
Connection: keep-alive\r\n\r\n";

const ROUNDS: u32 = 2_000;

/// The best of some rounds: others may have used the machine in between.
fn time(what: &str, mut step: impl FnMut()) {
    let best = (0..1_000)
        .map(|_| {
            let began = Instant::now();
            (0..ROUNDS).for_each(|_| step());
            began.elapsed() / ROUNDS
        })
        .min();
    println!("{what:<40} {:>6} ns", best.unwrap_or_default().as_nanos());
}

fn main() {
    let connection = Connection {
        remote_addr: "127.0.0.1",
        remote_port: Some(50_000),
        server_name: "host",
        server_port: "8000",
        https: false,
    };
    let limits = Limits { head_bytes_max: 4096, headers_max: 100 };
    let read = || read_http(black_box(HEAD), &connection, &limits).unwrap().unwrap().0;
    let request = read();
    let variables = request.variables().len();
    time(&format!("HTTP, 10 headers, {variables} variables, {} bytes", HEAD.len()), || {
        black_box(read());
    });
    let plain = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    time("HTTP, one header", || {
        black_box(read_http(black_box(plain), &connection, &limits).unwrap());
    });
    let pairs: Vec<_> = request.variables().collect();
    let packet = write_packet(0, 0, &pairs).unwrap();
    let header = Header::read(*packet.first_chunk().unwrap());
    time("uwsgi, the same variables", || {
        let block = black_box(&packet)[HEADER_BYTES..].to_vec();
        black_box(read_uwsgi(Packet { header, block }).unwrap());
    });
    let headers: [(&[u8], &[u8]); 1] = [(b"Content-Type", b"text/plain")];
    time("head of a response", || {
        black_box(response_head(&request, b"200 OK", headers, Some(12), true).unwrap());
    });
}
