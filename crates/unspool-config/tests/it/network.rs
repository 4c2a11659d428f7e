//! The options of the network.

use std::path::{Path, PathBuf};
use std::time::Duration;

use unspool_config::{Config, NetworkOptions, NetworkUsers, Notice, SocketOwner, TlsFiles};

use crate::load_ini;

fn config(lines: &str) -> Config {
    load_ini(lines).unwrap().config
}

fn network(lines: &str) -> NetworkOptions {
    config(lines).network
}

#[test]
fn nothing_listens_unless_it_is_named() {
    let network = network("spooler = /s\nnetwork-open = true\nnetwork-keys = k\n");
    assert!(network.sockets.is_empty());
    let defaults = NetworkOptions::default();
    assert_eq!((defaults.backlog, defaults.buffer_size), (100, 65_535));
    assert_eq!(defaults.socket_timeout, Duration::from_secs(4));
    assert_eq!(defaults.idle_timeout, Duration::from_mins(1));
    assert_eq!((defaults.connections, defaults.connections_per_peer), (1024, 256));
    assert_eq!(defaults.allow_from, None);
    assert_eq!(defaults.users, NetworkUsers::Listed(Vec::new()));
    assert!(!defaults.open && !defaults.pickle);
}

#[test]
fn sockets_keep_their_order_and_their_places() {
    let sockets = network(
        "socket = 127.0.0.1:3031 # here\nuwsgi-socket = s.sock\nsuwsgi-socket = :3032, c.pem ,/k.pem\n\
         suwsgi-socket = @a,c,k,,!ca\nsocket =\n",
    )
    .sockets;
    let shown: Vec<_> = sockets.iter().map(|s| (s.option, s.address.as_str())).collect();
    assert_eq!(
        shown,
        [
            ("socket", "127.0.0.1:3031"),
            ("uwsgi-socket", "s.sock"),
            ("suwsgi-socket", ":3032"),
            ("suwsgi-socket", "@a")
        ]
    );
    assert_eq!(sockets[2].origin.to_string(), "app.ini:4");
    let start = config("").start_directory;
    let end = |path: &Path| path.file_name().map(PathBuf::from);
    let TlsFiles { certificate, key, client_ca } = sockets[2].tls.clone().unwrap();
    assert!(certificate.is_absolute() && start.is_absolute());
    assert_eq!((end(&certificate), key), (Some("c.pem".into()), PathBuf::from("/k.pem")));
    assert_eq!(client_ca, None);
    let ca = sockets[3].tls.as_ref().and_then(|tls| tls.client_ca.clone()).unwrap();
    assert_eq!(end(&ca), Some("ca".into()));
}

#[test]
fn the_short_option_is_a_socket() {
    let directory = crate::with_ini("");
    let loaded = crate::load_in(directory.path(), "-s :3031 --ini app.ini").unwrap();
    assert_eq!(loaded.config.network.sockets[0].address, ":3031");
    assert_eq!(loaded.config.network.sockets[0].option, "socket");
}

#[test]
fn every_option_arrives() {
    let network = network(
        "chmod-socket = 660\nchown-socket = www:4\nlisten = 7\nbuffer-size = 4096\n\
         socket-timeout = 2\nallow-from = 10.0.0.0/8, ::1\nallow-from = 192.168.1.1\n\
         network-keys = /k\nnetwork-open = true\nnetwork-uids = www, 33\nnetwork-uids = app\n\
         network-connections = 10\nnetwork-connections-per-peer = 2\nnetwork-idle-timeout = 0.5\n\
         network-task-bytes-max = 64M\nspooler-network-pickle = true\nnetwork-outbox = /o\n\
         network-ca = /ca\nnetwork-certificate = /c\nnetwork-certificate-key = /ck\n",
    );
    let allow_from = network.allow_from.clone().unwrap();
    assert!(allow_from.contains("192.168.1.1".parse().unwrap()));
    assert!(!allow_from.contains("192.168.1.2".parse().unwrap()));
    let path = |text: &str| Some(PathBuf::from(text));
    let owner = SocketOwner { user: Some("www".into()), group: Some("4".into()) };
    let expected = NetworkOptions {
        sockets: Vec::new(),
        socket_mode: Some(0o660),
        socket_owner: Some(owner),
        backlog: 7,
        buffer_size: 4096,
        socket_timeout: Duration::from_secs(2),
        allow_from: Some(allow_from),
        keys: path("/k"),
        open: true,
        users: NetworkUsers::Listed(["www", "33", "app"].map(str::to_owned).to_vec()),
        connections: 10,
        connections_per_peer: 2,
        idle_timeout: Duration::from_millis(500),
        task_bytes_max: 64 << 20,
        pickle: true,
        outbox: path("/o"),
        ca: path("/ca"),
        certificate: path("/c"),
        certificate_key: path("/ck"),
    };
    assert_eq!(network, expected);
}

#[test]
fn a_star_is_every_user() {
    assert_eq!(network("network-uids = www,*\nnetwork-uids = 33\n").users, NetworkUsers::All);
}

#[test]
fn owners_of_sockets_have_three_forms() {
    for (text, user, group) in
        [("www", Some("www"), None), ("www:adm", Some("www"), Some("adm")), (":4", None, Some("4"))]
    {
        let owner = network(&format!("chown-socket = {text}\n")).socket_owner.unwrap();
        assert_eq!((owner.user.as_deref(), owner.group.as_deref()), (user, group), "{text}");
    }
}

#[test]
fn values_of_uwsgi_out_of_range_are_told() {
    for (line, used) in [
        ("buffer-size = 131072", "65535"),
        ("buffer-size = 0", "1"),
        ("listen = 0", "1"),
        ("listen = 100000", "65535"),
        ("socket-timeout = 0", "0.1"),
    ] {
        let loaded = load_ini(&format!("{line}\n")).unwrap();
        let shown: Vec<String> = loaded.notices.iter().map(Notice::to_string).collect();
        assert_eq!(shown, [format!("app.ini:2: `{line}` is out of range; {used} is used")]);
    }
}

fn check(line: &str, problem: &str) {
    let message = load_ini(&format!("master\n{line}\n")).expect_err(line).to_string();
    assert_eq!(message, format!("app.ini:3: `{line}`: {problem}"));
}

#[test]
fn what_cannot_be_used_is_refused_with_its_place() {
    let tls = "write ADDRESS,CERTIFICATE,KEY or ADDRESS,CERTIFICATE,KEY,,CLIENT_CA";
    let form = "write HOST:PORT, :PORT, a path or @NAME";
    let none = "is neither an address nor a network; write 10.1.2.3, 10.1.0.0/16, fd00::1 or \
                fd00::/8, without ports, brackets and names";
    for (line, problem) in [
        ("socket = =0", format!("sockets are not taken over from others; {form}")),
        ("socket = fd://3", format!("sockets are not taken over from others; {form}")),
        ("suwsgi-socket = :1", tls.to_owned()),
        ("suwsgi-socket = :1,c", tls.to_owned()),
        ("suwsgi-socket = :1,c,", tls.to_owned()),
        ("suwsgi-socket = ,c,k", form.to_owned()),
        ("suwsgi-socket = :1,c,k,,ca,x", tls.to_owned()),
        (
            "suwsgi-socket = :1,c,k,HIGH",
            "ciphers cannot be chosen: those of TLS 1.2 and 1.3 that are safe are used; leave \
             that part empty, as in ADDRESS,CERTIFICATE,KEY,,CLIENT_CA"
                .to_owned(),
        ),
        ("chmod-socket = 999", "this is not a mode; write three octal digits, as in 660".into()),
        ("chown-socket = :", "write USER, USER:GROUP or :GROUP, names or numbers".into()),
        ("chown-socket = a:b:c", "write USER, USER:GROUP or :GROUP, names or numbers".into()),
        ("allow-from = localhost", format!("`localhost` {none}")),
        ("allow-from = 10.0.0.1:80", format!("`10.0.0.1:80` {none}")),
        (
            "allow-from = 10.0.0.1/8",
            "`10.0.0.1/8` has bits behind its prefix; write `10.0.0.0/8` for the network, or the \
             address alone"
                .to_owned(),
        ),
        ("network-connections = 0", "write a number of connections from 1 to 65536".into()),
        (
            "network-connections-per-peer = 65537",
            "write a number of connections from 1 to 65536".into(),
        ),
        ("network-open = maybe", "write true or false".into()),
        ("spooler-network-pickle = disabled", "write true or false".into()),
        ("network-idle-timeout = 0", "write seconds from 0.1 to 86400".into()),
        ("network-task-bytes-max = 1K", "write bytes from 4K to 2147479552, as in 64M".into()),
        ("network-task-bytes-max = 2G", "write bytes from 4K to 2147479552, as in 64M".into()),
        (
            "network-task-bytes-max = much",
            "this is no size: write bytes, or as in 512K, 200M, 10G, 1T".into(),
        ),
    ] {
        check(line, &problem);
    }
}

#[test]
fn relays_that_are_none_are_refused_with_their_place() {
    let relay_forms =
        "write relay:HOST:PORT, relay:tls:HOST:PORT, relay:/path/of.sock or relay:@NAME";
    for (line, problem) in [
        ("spooler = relay:", format!("the address is missing; {relay_forms}")),
        ("spooler = relay:unix:", format!("the path is missing; {relay_forms}")),
        ("spooler = relay:@", format!("the name is missing; {relay_forms}")),
        ("spooler = relay:host", format!("this is neither HOST:PORT nor absolute; {relay_forms}")),
        ("spooler = relay:host:0", format!("the port is not a number from 1 to 65535; {relay_forms}")),
        ("spooler = relay::3031", format!("the host is missing; {relay_forms}")),
        ("spooler = relay:tls:[]:1", format!("the host is missing; {relay_forms}")),
        ("spooler = relay:::1:1", format!("this is no host; an IPv6 address stands in brackets; {relay_forms}")),
        ("spooler = relay:[x]:1", format!("what stands in brackets is no IPv6 address; {relay_forms}")),
        ("spooler = relay:a b:1", format!("an address has no blanks; {relay_forms}")),
        (
            "spooler-external = relay:h:1",
            "there is no spool of this machine whose folder could hold what waits to be sent; give \
             a folder with `network-outbox = DIR`"
                .to_owned(),
        ),
    ] {
        check(line, &problem);
    }
    let long = format!("spooler = relay:/{}\n", "a".repeat(200));
    let message = load_ini(&long).unwrap_err().to_string();
    assert!(message.contains("the address is too long"), "{message}");
}

#[test]
fn a_certificate_and_its_key_belong_together() {
    for (given, missing) in [
        ("network-certificate", "network-certificate-key"),
        ("network-certificate-key", "network-certificate"),
    ] {
        let message = load_ini(&format!("master\n{given} = f\n")).unwrap_err().to_string();
        assert_eq!(
            message,
            format!("app.ini:3: `{given}` needs `{missing}` beside it, the other half of the pair")
        );
    }
}

#[test]
fn sockets_are_not_without_number() {
    let many = "socket = s\n".repeat(65);
    let message = load_ini(&many).unwrap_err().to_string();
    assert_eq!(message, "app.ini:66: `socket = s`: these are more than 64 sockets; remove some");
}

#[test]
fn relays_have_outboxes() {
    let first = config(
        "spooler = relay:10.0.0.1:3031\nspooler-external = /e\nspooler = /a\nspooler = /b\n\
         spooler = relay:/run/far.sock\n",
    );
    let paths: Vec<_> = first.spoolers.iter().map(|s| s.path.to_str().unwrap()).collect();
    assert_eq!(
        paths,
        [
            "/a/.unspool/outbox/10.0.0.1=3A3031",
            "/e",
            "/a",
            "/b",
            "/a/.unspool/outbox/=2Frun=2Ffar.sock"
        ]
    );
    assert_eq!(first.spoolers[0].relay.as_deref(), Some("10.0.0.1:3031"));
    assert_eq!(first.spoolers[0].name(), Path::new("relay:10.0.0.1:3031"));
    assert_eq!(first.spoolers[2].name(), Path::new("/a"));

    let elsewhere = config("spooler = /a\nspooler = relay:tls:[::1]:3031\nnetwork-outbox = /o\n");
    assert_eq!(elsewhere.spoolers[1].path, Path::new("/o/tls=3A=5B=3A=3A1=5D=3A3031"));
    // A daemon that sends on and runs nothing.
    let alone = config("network-outbox = /o\nspooler = relay:@far\n");
    assert_eq!(alone.spoolers[0].path, Path::new("/o/=40far"));
}

#[test]
fn a_relay_is_named_once() {
    let loaded =
        load_ini("spooler = /a\nspooler = relay:h:1\nspooler = relay:h:1\nspooler = relay:h:2\n")
            .unwrap();
    assert_eq!(loaded.config.spoolers.len(), 3);
    let shown: Vec<String> = loaded.notices.iter().map(Notice::to_string).collect();
    assert_eq!(shown, ["app.ini:4: `spooler` has no effect here: this address is a relay already"]);
}

#[test]
fn settings_tell_what_is_listened_for() {
    let loaded = load_ini(
        "socket = :3031\nspooler = /s\nspooler = relay:h:1\nallow-from = 10.0.0.0/8 ::1\n\
         suwsgi-socket = :1,/c,/k,,/ca\nnetwork-keys = /k\n",
    )
    .unwrap();
    let shown = |name: &str| {
        let named = loaded.settings.iter().filter(|setting| setting.name == name);
        named.map(|setting| (setting.shown(), setting.effect.as_str())).collect::<Vec<_>>()
    };
    let told = |text: &str| (text.to_owned(), "in effect");
    assert_eq!(shown("socket"), [told(":3031")]);
    assert_eq!(shown("suwsgi-socket"), [told(":1,/c,/k,,/ca")]);
    assert_eq!(shown("spooler"), [told("/s"), told("relay:h:1")]);
    assert_eq!(shown("allow-from"), [told("10.0.0.0/8,::1")]);
    assert_eq!(shown("buffer-size"), [told("65535")]);
    assert_eq!(shown("network-keys"), [told("<hidden>")]);
    // Where nothing listens, nothing is said of it.
    let quiet = load_ini("spooler = /s\n").unwrap().settings;
    assert!(quiet.iter().all(|setting| !setting.name.contains("network")));
}
