//! Options of the process and its log.

use std::path::{Path, PathBuf};

use unspool_config::{DaemonConfig, LogDate, LogForm, Logger};

use crate::load_ini;

fn daemon(lines: &str) -> DaemonConfig {
    load_ini(lines).unwrap().config.daemon
}

fn refused(lines: &str, reason: &str) {
    let message = load_ini(lines).unwrap_err().to_string();
    assert!(message.contains(reason), "{message}");
}

#[test]
fn paths_are_relative_to_what_uwsgi_takes() {
    let config = load_ini(
        "chdir = /srv/app\ndaemonize2 = d.log\npidfile = 1\npidfile2 = 2\nsafe-pidfile = 3\n\
         safe-pidfile2 = /run/4\nlogto = l\nlogto2 = l2\nlogger = file:f\nlogger = socket:s\n",
    )
    .unwrap()
    .config;
    let (start, daemon) = (config.start_directory, config.daemon);
    let daemonize = daemon.daemonize.unwrap();
    assert_eq!((daemonize.log, daemonize.after_import), (start.join("d.log"), true));
    let files = daemon.pid_files;
    assert_eq!(files.pidfile, Some(start.join("1")));
    assert_eq!(files.pidfile2.as_deref(), Some(Path::new("/srv/app/2")));
    assert_eq!(files.safe_pidfile.as_deref(), Some(Path::new("/srv/app/3")));
    assert_eq!(files.safe_pidfile2.as_deref(), Some(Path::new("/run/4")));
    assert_eq!((daemon.logto, daemon.logto2), (Some(start.join("l")), Some(start.join("l2"))));
    let app = PathBuf::from("/srv/app");
    assert_eq!(daemon.loggers, [Logger::File(app.join("f")), Logger::UnixSocket(app.join("s"))]);
}

#[test]
fn loggers() {
    let check = |value: &str, expected: Logger| {
        assert_eq!(daemon(&format!("logger = {value}\n")).loggers, [expected], "{value}");
    };
    let syslog = |name: &str, facility| Logger::Syslog { name: name.to_owned(), facility };
    check("stdio", Logger::Stdio);
    check("file:/var/log/a b.log", Logger::File("/var/log/a b.log".into()));
    check("jobs file:/a.log", Logger::File("/a.log".into()));
    check("syslog", syslog("unspool", 3));
    check("syslog:jobs", syslog("jobs", 3));
    check("syslog:jobs,local6", syslog("jobs", 22));
    check("socket:127.0.0.1:514", Logger::UdpSocket("127.0.0.1:514".to_owned()));
    check("mail socket:/run/log.sock", Logger::UnixSocket("/run/log.sock".into()));
    assert_eq!(daemon("log-syslog\n").loggers, [syslog("unspool", 3)]);
    assert_eq!(daemon("log-socket = /s\n").loggers, [Logger::UnixSocket("/s".into())]);
    refused("logger = redislog:a\n", "there is no such logger");
    refused("logger = file:\n", "the address is missing");
    refused("logger = syslog:jobs,loco\n", "this facility is not known");
}

#[test]
fn form_and_date() {
    let plain = daemon("spooler = s\n");
    assert_eq!((plain.log_form, plain.log_date), (LogForm::Unspool, LogDate::Off));
    assert_eq!(daemon("spooler-log-format = uwsgi\n").log_form, LogForm::Uwsgi);
    refused("spooler-log-format = json\n", "write unspool or uwsgi");
    assert_eq!(daemon("log-date = true\n").log_date, LogDate::Usual);
    assert_eq!(daemon("logdate = off\n").log_date, LogDate::Off);
    assert_eq!(daemon("log-date = [%%H]\n").log_date, LogDate::Format("[%H]".to_owned()));
}

#[test]
fn titles() {
    let of = |lines: &str| daemon(lines).titles.of_daemon();
    assert_eq!(of("spooler = s\n"), None);
    assert_eq!(of("procname = app\n").as_deref(), Some("app"));
    assert_eq!(of("procname = app\nprocname-master = boss\n").as_deref(), Some("boss"));
    assert_eq!(of("procname-prefix-spaced = app\n").as_deref(), Some("app unspool"));
    assert_eq!(of("procname-append = !\n").as_deref(), Some("unspool!"));
}
