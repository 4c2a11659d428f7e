//! Heads of HTTP requests.

use unspool_http::{BodyLength, Connection, Limits, Protocol, read_http};

use crate::{CONNECTION, LIMITS, get, read, refused};

const GET: &str = "GET / HTTP/1.1\r\nHost: a";

fn with(header: &str) -> Vec<u8> {
    format!("{GET}\r\n{header}\r\n\r\n").into_bytes()
}

#[test]
fn a_request_becomes_variables() {
    let request = read(
        b"POST /a%20b/%E4?q=%20&r HTTP/1.1\r\nHost: shop.example:8000\r\nContent-Type: text/plain\r\n\
          content-length: 5\r\nX-Real-Ip:10.1.1.1 \t\r\nAccept:\r\n\r\n",
    );
    let variables: Vec<_> = request
        .variables()
        .map(|(key, value)| format!("{}={}", key.escape_ascii(), value.escape_ascii()))
        .collect();
    let expected = [
        "REQUEST_METHOD=POST",
        "REQUEST_URI=/a%20b/%E4?q=%20&r",
        r"PATH_INFO=/a b/\xe4",
        "QUERY_STRING=q=%20&r",
        "SERVER_PROTOCOL=HTTP/1.1",
        "SCRIPT_NAME=",
        "SERVER_NAME=web1",
        "SERVER_PORT=8000",
        "REMOTE_ADDR=10.0.0.7",
        "REMOTE_PORT=50123",
        "HTTP_HOST=shop.example:8000",
        "CONTENT_TYPE=text/plain",
        "CONTENT_LENGTH=5",
        "HTTP_X_REAL_IP=10.1.1.1",
        "HTTP_ACCEPT=",
    ];
    assert_eq!(variables, expected);
    assert_eq!(request.protocol(), Protocol::Http11);
    assert_eq!(request.body(), BodyLength::Bytes(5));
    assert!(request.keep_alive() && !request.expects_continue() && !request.is_head());
    let bytes = expected.iter().map(|text| text.len() + 3).sum::<usize>() - 3;
    assert_eq!(request.packet_bytes(), bytes, "`=` is not in it, nor is an escape of 3 bytes");
}

#[test]
fn a_connection_says_what_it_is() {
    let unix = Connection { remote_addr: "", remote_port: None, https: true, ..CONNECTION };
    let head = b"GET / HTTP/1.0\r\n\r\n";
    let (request, _) = read_http(head, &unix, &LIMITS).unwrap().unwrap();
    assert_eq!(get(&request, "REMOTE_ADDR").unwrap(), "");
    assert_eq!(get(&request, "REMOTE_PORT"), None);
    assert_eq!(get(&request, "HTTPS").unwrap(), "on");
    for port in [0, 7, 65_535] {
        let tcp = Connection { remote_port: Some(port), ..CONNECTION };
        let (request, _) = read_http(head, &tcp, &LIMITS).unwrap().unwrap();
        assert_eq!(get(&request, "REMOTE_PORT").unwrap(), port.to_string());
        assert_eq!(get(&request, "HTTPS"), None);
    }
}

#[test]
fn targets_have_four_forms() {
    let read = |line: &str| read(format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
    let parts = |line: &str| {
        let request = read(line);
        ["PATH_INFO", "QUERY_STRING", "HTTP_HOST"].map(|key| get(&request, key).unwrap())
    };
    assert_eq!(parts("GET /a?b?c"), ["/a", "b?c", "a"]);
    assert_eq!(parts("GET //b"), ["//b", "", "a"]);
    assert_eq!(parts("OPTIONS *"), ["*", "", "a"]);
    assert_eq!(parts("GET http://b:80/c?d"), ["/c", "d", "b:80"]);
    assert_eq!(parts("GET HTTPS://[::1]?d"), ["/", "d", "[::1]"]);
    assert_eq!(get(&read("GET http://b/c"), "REQUEST_URI").unwrap(), "http://b/c");
    for (line, status) in [
        ("CONNECT b:443", 501),
        ("GET b:443", 400),
        ("GET *", 400),
        ("GET a", 400),
        ("GET http://", 400),
        ("GET http:///a", 400),
        ("GET http://user@b/", 400),
        ("GET ftp://b/", 400),
        ("GET /a#b", 400),
    ] {
        assert_eq!(refused(&format!("{line} HTTP/1.1\r\nHost: a")).0, status, "{line}");
    }
}

#[test]
fn a_path_is_decoded_once() {
    let path = |path: &str| {
        let request = read(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes());
        request.get(b"PATH_INFO").unwrap().to_vec()
    };
    assert_eq!(path("/%2541"), b"/%41");
    assert_eq!(path("/%2f%2F%3f"), b"///?");
    assert_eq!(path("/%e4%F6"), b"/\xe4\xf6");
    assert_eq!(path("/a+b"), b"/a+b");
    for odd in ["/%", "/%4", "/%zz", "/%%41"] {
        let expected = odd.replace("%41", "A");
        assert_eq!(path(odd), expected.as_bytes());
    }
}

/// As a uWSGI 2.0.31 does, but for `/..`, of which that makes an empty path.
#[test]
fn steps_that_are_written_out_are_taken() {
    for (written, path) in [
        ("/..", "/"),
        ("/../a", "/a"),
        ("/a/..", "/"),
        ("/a/.", "/a/"),
        ("/./", "/"),
        ("/a/../../b", "/b"),
        ("/a/b/..", "/a/"),
        ("/a/b/../", "/a/"),
        ("/a/.../b", "/a/.../b"),
        ("/.a/..b/c..", "/.a/..b/c.."),
        ("//../a", "/a"),
        ("/a//../b", "/a/b"),
        ("/a/..//b", "//b"),
        ("///..//x", "///x"),
        ("/a/b/./../c", "/a/c"),
        ("/a/..;x", "/a/..;x"),
        // What escapes make is not taken: it is no step to whoever looked at the target before.
        ("/%2e./a", "/../a"),
        ("/a/%2e%2e/b%2fc", "/a/../b/c"),
        ("/a%2f../b", "/a/../b"),
        ("/a/b%2fc/../d", "/a/d"),
        ("http://b/a/../c", "/c"),
    ] {
        let request = read(format!("GET {written}?/../q HTTP/1.0\r\n\r\n").as_bytes());
        assert_eq!(get(&request, "PATH_INFO").unwrap(), path, "{written}");
        assert_eq!(get(&request, "REQUEST_URI").unwrap(), format!("{written}?/../q"));
        assert_eq!(get(&request, "QUERY_STRING").unwrap(), "/../q");
    }
}

#[test]
fn headers_of_one_name_are_one_variable() {
    let request = read(&with(
        "X-A: 1\r\nCookie: a=1\r\nx-a: 2\r\ncookie: b=2\r\nX-A:\r\nContent-Length: 0\r\n\
         Content-Length: 0",
    ));
    assert_eq!(get(&request, "HTTP_X_A").unwrap(), "1, 2, ");
    assert_eq!(get(&request, "HTTP_COOKIE").unwrap(), "a=1; b=2");
    assert_eq!(get(&request, "CONTENT_LENGTH").unwrap(), "0");
    assert_eq!(request.variables().len(), 14);
}

#[test]
fn no_header_sets_what_is_not_a_clients() {
    let request = read(&with(
        "X_Real_Ip: 6.6.6.6\r\nX-Real-Ip: 10.1.1.1\r\nProxy: http://evil\r\nContent_Length: 9\r\n\
         HTTP_HOST: evil\r\nRemote-Addr: 6.6.6.6\r\nScript-Name: /x\r\nHTTPS: on",
    ));
    assert_eq!(get(&request, "HTTP_X_REAL_IP").unwrap(), "10.1.1.1");
    assert_eq!(get(&request, "REMOTE_ADDR").unwrap(), "10.0.0.7");
    assert_eq!(get(&request, "SCRIPT_NAME").unwrap(), "");
    assert_eq!(get(&request, "HTTP_HOST").unwrap(), "a");
    assert_eq!(get(&request, "HTTP_HTTPS").unwrap(), "on");
    for key in ["HTTP_PROXY", "HTTPS", "CONTENT_LENGTH", "HTTP_HTTP_HOST"] {
        assert_eq!(get(&request, key), None, "{key}");
    }
    assert_eq!(request.body(), BodyLength::Bytes(0));
}

#[test]
fn what_two_servers_could_read_as_two_things_is_refused() {
    let header = |text: &str| refused(&format!("{GET}\r\n{text}"));
    for (text, reason) in [
        ("Content-Length: 1\r\nContent-Length: 2", "two values of Content-Length"),
        (
            "Content-Length: 5\r\nTransfer-Encoding: chunked",
            "Content-Length together with Transfer-Encoding",
        ),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding is given twice",
        ),
        ("Content-Length: +5", "Content-Length is no number"),
        ("Content-Length: -0", "Content-Length is no number"),
        ("Content-Length: 5 5", "Content-Length is no number"),
        ("Content-Length: 5, 5", "Content-Length is no number"),
        ("Content-Length: 0x5", "Content-Length is no number"),
        ("Content-Length:", "Content-Length is no number"),
        ("X-A: 1\r\n folded", "a header's name is invalid"),
        ("X-A : 1", "a header's name is invalid"),
        ("Content-Length : 1", "a header's name is invalid"),
        (": 1", "a header's name is invalid"),
        ("X-A", "a header's name is invalid"),
        ("X-A: 1\0", "a header's value is invalid"),
        ("X-A: 1\rX-B: 2", "a header's value is invalid"),
        ("X-A: 1\x7f", "a header's value is invalid"),
        ("X-A: 1\nX-B: 2", "a line does not end in CR LF"),
        ("Host: a", "Host is given twice"),
    ] {
        assert_eq!(header(text), (400, reason), "{text:?}");
    }
    assert_eq!(header("Content-Length: 18446744073709551616").0, 413);
    for coding in ["gzip", "gzip, chunked", "chunked, chunked", "identity", "", "xchunked"] {
        assert_eq!(header(&format!("Transfer-Encoding: {coding}")).0, 501, "{coding}");
    }
    let old = "POST / HTTP/1.0\r\nTransfer-Encoding: chunked";
    assert_eq!(refused(old), (400, "Transfer-Encoding in a request of HTTP/1.0"));
}

#[test]
fn lines_end_in_both_bytes() {
    assert_eq!(read_http(b"", &CONNECTION, &LIMITS), Ok(None));
    for head in ["GET / HTTP/1.0\n\n", "GET / HTTP/1.0\r\n\n", "\nGET / HTTP/1.0\r\n\r\n"] {
        let bad = read_http(head.as_bytes(), &CONNECTION, &LIMITS).unwrap_err();
        assert_eq!(bad.reason, "a line does not end in CR LF", "{head:?}");
    }
    // An empty line before a request is left from the body before it.
    read(b"\r\nGET / HTTP/1.0\r\n\r\n");
}

#[test]
fn a_host_is_there_once_and_names_a_host() {
    assert_eq!(refused("GET / HTTP/1.1"), (400, "Host is missing"));
    assert_eq!(refused("GET http://a/ HTTP/1.1"), (400, "Host is missing"));
    for host in ["a b", "a/b", "a@b", "\"a\"", "a<b", "a\\b", "ä"] {
        assert_eq!(refused(&format!("GET / HTTP/1.0\r\nHost: {host}")).0, 400, "{host}");
    }
    for host in ["", "a:1", "[::1]:80", "a_b.c-d", "xn--4ca"] {
        let request = read(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes());
        assert_eq!(get(&request, "HTTP_HOST").unwrap(), host);
    }
}

#[test]
fn request_lines_are_judged() {
    for (line, status) in [
        ("PRI * HTTP/2.0", 505),
        ("GET / HTTP/0.9", 505),
        ("GET / HTTP/1.2", 505),
        ("GET / HTTP/3", 505),
        ("GET /", 400),
        ("GET / a HTTP/1.1", 400),
        ("GET / http/1.1", 400),
        ("GET  / HTTP/1.1", 400),
        ("GET /\t HTTP/1.1", 400),
        (" GET / HTTP/1.1", 400),
        ("G(T / HTTP/1.1", 400),
        ("GET /\x7f HTTP/1.1", 400),
        ("\x16\x03\x01\x02\0", 400),
    ] {
        assert_eq!(refused(line).0, status, "{line:?}");
    }
    let request = read(b"PROP-find /\xc3\xa4 HTTP/1.0\r\n\r\n");
    assert_eq!(get(&request, "REQUEST_METHOD").unwrap(), "PROP-find");
    assert_eq!(get(&request, "PATH_INFO").unwrap(), r"/\xc3\xa4");
}

#[test]
fn a_head_has_its_limits() {
    let bad = |bytes: &str, limits: &Limits| {
        read_http(bytes.as_bytes(), &CONNECTION, limits).unwrap_err().status
    };
    let long = "x".repeat(5000);
    assert_eq!(bad(&format!("GET /{long}"), &LIMITS), 414);
    assert_eq!(bad(&format!("GET /{long} HTTP/1.1\r\n"), &LIMITS), 414);
    assert_eq!(bad(&format!("GET / HTTP/1.1\r\nX: {long}\r\n\r\n"), &LIMITS), 431);
    assert_eq!(bad(&"\r\n".repeat(2048), &LIMITS), 414);
    let head = "GET / HTTP/1.0\r\nA: 1\r\nB: 2\r\n\r\n";
    let limits = |bytes, headers_max| Limits { head_bytes_max: bytes, headers_max };
    assert!(read_http(head.as_bytes(), &CONNECTION, &limits(head.len(), 2)).unwrap().is_some());
    assert_eq!(bad(head, &limits(head.len() - 1, 2)), 431);
    assert_eq!(bad(head, &limits(head.len(), 1)), 431);
    let all = Limits { head_bytes_max: usize::MAX, headers_max: usize::MAX };
    let many = |count| format!("GET / HTTP/1.0\r\n{}\r\n", "X: 1\r\n".repeat(count));
    assert!(read_http(many(256).as_bytes(), &CONNECTION, &all).unwrap().is_some());
    assert_eq!(bad(&many(257), &all), 431);
    let mib = "x".repeat(1 << 20);
    assert_eq!(bad(&format!("GET / HTTP/1.0\r\nX: {mib}"), &all), 431);
}

#[test]
fn the_connection_is_kept_as_the_client_wants() {
    let keeps = |version: &str, headers: &str| {
        read(format!("GET / HTTP/{version}\r\nHost: a\r\n{headers}\r\n").as_bytes()).keep_alive()
    };
    assert!(keeps("1.1", "") && !keeps("1.0", ""));
    assert!(!keeps("1.1", "Connection: close\r\n"));
    assert!(!keeps("1.1", "Connection: X-A , CLOSE\r\nConnection: keep-alive\r\n"));
    assert!(keeps("1.0", "Connection: Keep-Alive\r\n"));
    assert!(!keeps("1.0", "Connection: keep-alive, close\r\n"));
    assert!(keeps("1.1", "Connection: closed\r\n"));
}

#[test]
fn a_body_that_is_held_back_is_known() {
    let expects = |version: &str, headers: &str| {
        read(format!("PUT / HTTP/{version}\r\nHost: a\r\n{headers}\r\n\r\n").as_bytes())
            .expects_continue()
    };
    assert!(expects("1.1", "Expect: 100-Continue\r\nContent-Length: 1"));
    assert!(expects("1.1", "Expect: 100-continue\r\nTransfer-Encoding: Chunked"));
    assert!(!expects("1.1", "Expect: 100-continue"));
    assert!(!expects("1.0", "Expect: 100-continue\r\nContent-Length: 1"));
    assert!(!expects("1.1", "Expect: else\r\nContent-Length: 1"));
    let request = read(b"HEAD / HTTP/1.1\r\nHost: a\r\ntransfer-encoding: Chunked\r\n\r\n");
    assert!(request.is_head());
    assert_eq!(request.body(), BodyLength::Chunked);
}
