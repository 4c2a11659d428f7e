//! The options of the web server.

use std::path::PathBuf;
use std::time::Duration;

use unspool_config::{Config, ImportKind, Notice, StaticMap, WebOptions};

use crate::load_ini;

fn config(lines: &str) -> Config {
    load_ini(lines).unwrap().config
}

fn web(lines: &str) -> WebOptions {
    config(lines).web
}

fn notices(lines: &str) -> Vec<String> {
    load_ini(lines).unwrap().notices.iter().map(Notice::to_string).collect()
}

#[test]
fn an_application_and_a_socket_make_web_workers() {
    for (lines, expected) in [
        ("module = wsgi\nsocket = :3031\n", true),
        ("wsgi-file = wsgi.py\nhttp-socket = :8080\n", true),
        ("module = wsgi\nhttp = :8080\nprocesses = 2\n", true),
        ("module = wsgi\n", false),
        ("module = wsgi\nprocesses = 4\nthreads = 2\n", false),
        ("socket = :3031\nspooler = /s\nspooler-import = tasks\n", false),
        ("import = wsgi\nsocket = :3031\n", false),
        ("module = wsgi\nsuwsgi-socket = :3031,c,k\n", false),
        ("module = wsgi\nsocket = :3031\nprocesses = 0\n", false),
        ("module = wsgi\nsocket =\nhttp =\n", false),
    ] {
        assert_eq!(config(lines).has_web_workers(), expected, "{lines}");
    }
    let config = config("import = a\nmodule = wsgi: app\nspooler-import = b\nsocket = :3031\n");
    let (number, application) = config.application().unwrap();
    assert_eq!((number, application.kind), (1, ImportKind::Module));
    assert_eq!(
        (application.target.as_str(), application.callable.as_deref()),
        ("wsgi", Some("app"))
    );
}

#[test]
fn defaults_are_uwsgis() {
    let web = web("module = wsgi\n");
    assert_eq!((web.processes, web.threads, web.max_requests), (1, 1, 0));
    assert_eq!((web.post_buffering, web.limit_post), (0, 0));
    assert_eq!(web.lifetime_min, Duration::from_mins(1));
    assert_eq!(
        (web.head_timeout, web.keep_alive),
        (Duration::from_mins(1), Duration::from_mins(1))
    );
    assert!(web.log_requests && !web.log_4xx && !web.log_5xx && !web.need_app);
    assert_eq!(web.log_slow_ms, None);
}

#[test]
fn every_option_arrives() {
    let config = config(
        "module = wsgi\nchdir = /srv\nhttp-socket = 127.0.0.1:8080\nhttp = @web\n\
         http11-socket = h.sock # here\nhttprouter = :81\nworkers = 3\nthreads = 5\n\
         post-buffering = 8192\nlimit-post = 100000\nmax-requests = 10\nmax-requests-delta = 2\n\
         min-worker-lifetime = 0\nhttp-timeout = 9\nhttp-headers-timeout = 3\nhttp-keepalive = 7\n\
         static-map = /static=/srv/static\nstatic-map = /favicon.ico=icons/f=1.ico\n\
         static-map2 = /media=data\ndisable-logging = true\nlog-4xx = true\nlog-5xx = true\n\
         log-slow = 250\nneed-app = true\n",
    );
    let web = &config.web;
    let sockets: Vec<_> = web.sockets.iter().map(|s| (s.option, s.address.as_str())).collect();
    assert_eq!(
        sockets,
        [
            ("http-socket", "127.0.0.1:8080"),
            ("http", "@web"),
            ("http11-socket", "h.sock"),
            ("http", ":81")
        ]
    );
    assert_eq!(web.sockets[2].origin.to_string(), "app.ini:6");
    assert_eq!((web.processes, web.threads), (3, 5));
    assert_eq!((web.post_buffering, web.limit_post), (8192, 100_000));
    assert_eq!((web.max_requests, web.max_requests_delta), (10, 2));
    assert_eq!(web.lifetime_min, Duration::ZERO);
    assert_eq!(
        (web.head_timeout, web.keep_alive),
        (Duration::from_secs(3), Duration::from_secs(7))
    );
    let map = |prefix: &str, path: &str| StaticMap {
        prefix: prefix.to_owned(),
        path: PathBuf::from(path),
    };
    assert_eq!(
        web.static_maps,
        [
            map("/static", "/srv/static"),
            map("/favicon.ico", "/srv/icons/f=1.ico"),
            map("/media", "/srv/data/media")
        ]
    );
    assert!(!web.log_requests && web.log_4xx && web.log_5xx && web.need_app);
    assert_eq!(web.log_slow_ms, Some(250));
}

#[test]
fn keep_alive_is_a_time_or_a_switch() {
    for (text, seconds) in
        [("1", 60), ("true", 60), ("0", 0), ("off", 0), ("15", 15), ("2", 2), ("", 60)]
    {
        let web = web(&format!("http-keepalive = {text}\n"));
        assert_eq!(web.keep_alive, Duration::from_secs(seconds), "{text}");
    }
    assert_eq!(web("http-timeout = 5\n").keep_alive, Duration::from_secs(5));
    assert!(web("disable-logging = false\n").log_requests);
}

#[test]
fn what_is_of_no_use_or_out_of_range_is_told() {
    for (lines, expected) in [
        (
            "http-socket = :80\nspooler = /s\n",
            "app.ini:2: `http-socket` has no effect here: there is no application: name one with \
             `module` or `wsgi-file`",
        ),
        (
            "http = :80\nmodule = wsgi\nprocesses = 0\n",
            "app.ini:2: `http` has no effect here: `processes = 0` leaves nobody to answer requests",
        ),
        ("threads = 0\n", "app.ini:2: `threads = 0` is out of range; 1 is used"),
        ("http-timeout = 0\n", "app.ini:2: `http-timeout = 0` is out of range; 0.1 is used"),
        (
            "http-keepalive = 100000\n",
            "app.ini:2: `http-keepalive = 100000` is out of range; 86400 is used",
        ),
    ] {
        assert_eq!(notices(lines), [expected], "{lines}");
    }
    assert_eq!(notices("module = wsgi\nhttp = :80\nprocesses = 4\nmax-requests = 9\n"), [""; 0]);
}

#[test]
fn what_cannot_be_used_is_refused_with_its_place() {
    let form = "write HOST:PORT, :PORT, a path or @NAME";
    for (line, problem) in [
        ("http = =0", format!("sockets are not taken over from others; {form}")),
        ("http-socket = fd://3", format!("sockets are not taken over from others; {form}")),
        ("processes = 5000", "this is more than 4096; write a smaller number".to_owned()),
        ("threads = 5000", "this is more than 4096; write a smaller number".to_owned()),
        ("processes = many", "this is not a number; write digits only, as in 4".to_owned()),
        ("static-map = /static", "write PREFIX=DIR, as in /static=/srv/static".to_owned()),
        ("static-map = =/srv", "write PREFIX=DIR, as in /static=/srv/static".to_owned()),
    ] {
        let message = load_ini(&format!("master\n{line}\n")).expect_err(line).to_string();
        assert_eq!(message, format!("app.ini:3: `{line}`: {problem}"));
    }
    let message = load_ini("processes = 4096\nthreads = 32\n").unwrap_err().to_string();
    assert_eq!(
        message,
        "app.ini:3: `processes` and `threads` make 131072 threads, more than 65536; write smaller \
         numbers"
    );
}

#[test]
fn they_are_shown_where_there_are_web_workers() {
    let shown = |lines: &str| -> Vec<String> {
        let loaded = load_ini(lines).unwrap();
        let own = ["http-socket", "processes", "threads", "http-keepalive", "max-requests"];
        let settings = loaded.settings.iter().filter(|s| own.contains(&s.name.as_str()));
        settings.map(|s| format!("{} = {}", s.name, s.shown())).collect()
    };
    assert_eq!(
        shown("module = wsgi\nhttp-socket = :80\nworkers = 2\n"),
        [
            "http-socket = :80",
            "processes = 2",
            "threads = 1",
            "max-requests = 0",
            "http-keepalive = 60"
        ]
    );
    assert_eq!(shown("module = wsgi\nprocesses = 2\n"), ["processes = 2"]);
}
