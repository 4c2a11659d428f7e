//! Options of the process and its log.

use std::path::{Path, PathBuf};

use unspool_config::{DaemonConfig, LogDate, LogFile, LogForm, Logger};

use crate::load_ini;

fn daemon(lines: &str) -> DaemonConfig {
    load_ini(lines).unwrap().config.daemon
}

fn refused(lines: &str, reason: &str) {
    let message = load_ini(lines).unwrap_err().to_string();
    assert!(message.contains(reason), "{message}");
}

fn file(path: impl Into<PathBuf>) -> Logger {
    Logger::File { path: path.into(), rotation: LogFile::default() }
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
    assert_eq!(daemon.loggers, [file(app.join("f")), Logger::UnixSocket(app.join("s"))]);
}

#[test]
fn log_files_are_rotated() {
    let rotation = daemon("chdir = /srv\nlog-maxsize = 5\nlog-backupname = old\n").log_file;
    assert_eq!((rotation.max_bytes, rotation.truncate), (Some(5), false));
    assert_eq!(rotation.backup.as_deref(), Some(Path::new("/srv/old")));
    let none = daemon("log-maxsize = 0\nlog-truncate\n").log_file;
    assert_eq!((none.max_bytes, none.backup, none.truncate), (None, None, true));
    refused("log-maxsize = big\n", "number");
    let kept = daemon("logfile-chmod = 644\nlogfile-chown\n").log_file;
    assert_eq!((kept.mode, kept.chown), (Some(0o644), true));
    refused("logfile-chmod = 9\n", "this is no mode");
}

#[test]
fn loggers() {
    let check = |value: &str, expected: Logger| {
        assert_eq!(daemon(&format!("logger = {value}\n")).loggers, [expected], "{value}");
    };
    let syslog = |name: &str, facility| Logger::Syslog { name: name.to_owned(), facility };
    check("stdio", Logger::Stdio);
    check("file:/var/log/a b.log", file("/var/log/a b.log"));
    check("jobs file:/a.log", file("/a.log"));
    check("file:/a=b.log", file("/a=b.log"));
    let rotation = LogFile { max_bytes: Some(9), backup: Some("/b".into()), ..LogFile::default() };
    let path = PathBuf::from("/a.log");
    check("file:logfile=/a.log,maxsize=9,backupname=/b", Logger::File { path, rotation });
    refused("logger = file:maxsize=9\n", "the file is missing");
    refused("logger = file:logfile=/a,maxsize=x\n", "no number of bytes");
    refused("logger = file:logfile=/a,max=1\n", "the keys of a file are");
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
    assert_eq!(daemon("spooler-log-format = json\n").log_form, LogForm::Json);
    refused("spooler-log-format = xml\n", "write unspool, json or uwsgi");
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
