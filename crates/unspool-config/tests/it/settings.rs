//! What options come to mean.

use std::path::PathBuf;
use std::time::Duration;

use unspool_config::{Config, Fork, ImportKind, Notice};

use crate::{load_in, load_ini, load_with, with_ini, write};

fn config(lines: &str) -> Config {
    load_ini(lines).unwrap().config
}

fn imports(config: &Config) -> Vec<(ImportKind, &str, Option<&str>)> {
    config
        .imports
        .iter()
        .map(|import| (import.kind, import.target.as_str(), import.callable.as_deref()))
        .collect()
}

#[test]
fn article_as_printed() {
    let directory = tempfile::tempdir().unwrap();
    write(&directory, "mysite.ini", include_bytes!("golden/mysite.ini"));
    let loaded = load_in(directory.path(), "mysite.ini").unwrap();
    let config = loaded.config;
    assert_eq!(config.spoolers.len(), 1);
    assert_eq!(config.spoolers[0].path, PathBuf::from("/var/uwsgi_spools/mysite_spool"));
    assert!(!config.spoolers[0].external);
    assert_eq!(config.spooler_frequency, Duration::from_secs(10));
    assert_eq!(config.chdir, Some(PathBuf::from("/home/myuser/mysite")));
    assert!(config.master);
    assert_eq!(
        imports(&config),
        [
            (ImportKind::Module, "wsgi", Some("application")),
            (ImportKind::SpoolerImport, "path.to.spool.package", None),
        ]
    );
    let raw = config.option("spooler-frequency").unwrap().value.as_deref();
    assert_eq!(raw, Some("10 # Frequency for scanning spool"));
    let shown: Vec<String> = loaded.notices.iter().map(Notice::to_string).collect();
    assert_eq!(
        shown,
        ["mysite.ini:11: `module = wsgi: application` is read as `wsgi:application`; remove \
             the blank",]
    );
}

#[test]
fn defaults() {
    let config = config("spooler = s\n");
    assert_eq!(config.spooler_processes, 1);
    assert_eq!(config.spooler_frequency, Duration::from_secs(30));
    assert_eq!(config.spooler_settle, Duration::from_mins(1));
    assert_eq!(config.stop_timeout, Duration::from_mins(1));
    assert_eq!(config.spooler_durability, "group");
    assert_eq!((config.workers.max_tasks, config.workers.harakiri), (0, None));
    assert_eq!(config.spoolers[0].path, config.start_directory.join("s"));
}

#[test]
fn spooler_options() {
    let config = config(
        "spooler = /a\nspooler-external = /b\nspooler-processes = 3 ; three\nspooler-freq = 0.5\n\
         spooler-ordered\nspooler-quiet = true\nspooler-max-tasks = 100\nspooler-harakiri = 2\n\
         spooler-chdir = jobs\nchdir = /srv # home\nspooler-durability = none\n\
         spooler-settle = 0\nspooler-stop-timeout = 1.5\nspooler-shared-hosts = true\n",
    );
    let spoolers: Vec<_> =
        config.spoolers.iter().map(|spooler| (spooler.path.to_str(), spooler.external)).collect();
    assert_eq!(spoolers, [(Some("/a"), false), (Some("/b"), true)]);
    assert_eq!(config.spooler_processes, 3);
    assert_eq!(config.spooler_frequency, Duration::from_millis(500));
    assert!(config.spooler_ordered && config.spooler_quiet && config.spooler_shared_hosts);
    assert_eq!(config.workers.max_tasks, 100);
    assert_eq!(config.workers.harakiri, Some(Duration::from_secs(2)));
    assert_eq!(config.spooler_chdir, Some(PathBuf::from("/srv/jobs")));
    assert_eq!(config.spooler_durability, "none");
    assert_eq!(config.spooler_settle, Duration::ZERO);
    assert_eq!(config.stop_timeout, Duration::from_millis(1500));
}

#[test]
fn imports_in_uwsgis_order() {
    let config = config(
        "spooler-import = tasks\nmodule = site.wsgi\ncallable = app\npyimport = two\n\
         shared-py-import = one\nspooler-pyimport = ./jobs/mail.py\n",
    );
    assert_eq!(
        imports(&config),
        [
            (ImportKind::SharedImport, "one", None),
            (ImportKind::Import, "two", None),
            (ImportKind::Module, "site.wsgi", Some("app")),
            (ImportKind::SpoolerImport, "tasks", None),
            (ImportKind::SpoolerImport, "./jobs/mail.py", None),
        ]
    );
}

#[test]
fn positional_applications() {
    let check = |arguments: &str, expected: (ImportKind, &str, Option<&str>)| {
        let directory = tempfile::tempdir().unwrap();
        let config = load_in(directory.path(), arguments).unwrap().config;
        assert_eq!(imports(&config), [expected], "{arguments}");
    };
    check("app.py", (ImportKind::WsgiFile, "app.py", Some("application")));
    check("app.py --callable app", (ImportKind::WsgiFile, "app.py", Some("app")));
    check("-w mysite.wsgi", (ImportKind::Module, "mysite.wsgi", Some("application")));
    check("mysite.wsgi:app", (ImportKind::Module, "mysite.wsgi", Some("app")));
}

#[test]
fn python_settings() {
    let directory = with_ini(
        "chdir = sub\npythonpath = lib\npp = /opt/lib # more\nvenv = .venv\nenv = A=1 # 2\n\
         env = B=2\nunenv = B\numask = 022\nuid = www-data\nlazy-apps = true\n",
    );
    let config = load_in(directory.path(), "--ini app.ini").unwrap().config;
    let sub = directory.path().join("sub");
    assert_eq!(config.pythonpath, [sub.join("lib"), PathBuf::from("/opt/lib")]);
    assert_eq!(config.virtualenv, Some(sub.join(".venv")));
    assert_eq!(config.chdir, Some(sub));
    assert_eq!(config.env, [("A".to_owned(), "1 # 2".to_owned())]);
    assert_eq!(config.unenv, ["B"]);
    assert_eq!(config.daemon.umask, Some(0o22));
    assert_eq!(config.daemon.uid.as_deref(), Some("www-data"));
    assert!(config.lazy_apps && !config.master);
}

#[test]
fn lazy_apps_asks_for_an_import_in_each_worker() {
    for (lines, expected) in [
        ("", Fork::Auto),
        ("lazy-apps = true\n", Fork::Never),
        ("lazy = true\n", Fork::Never),
        ("lazy-apps = false\n", Fork::Auto),
        ("spooler-fork = never # each\n", Fork::Never),
        ("spooler-fork = always\nlazy-apps = true\n", Fork::Always),
        ("lazy-apps = true\nspooler-fork = auto\n", Fork::Auto),
    ] {
        assert_eq!(config(lines).fork(), expected, "{lines}");
    }
    let limits = config("spooler-start-timeout = 0.5\n").workers;
    assert_eq!(limits.start_timeout, Duration::from_millis(500));
}

#[test]
fn an_empty_value_takes_a_setting_back() {
    let settings = config(
        "module = a\nmodule =\nwsgi-file = b\nfile =\ncallable = c\ncallable =\nimport =\n\
         venv = v\nhome =\npp =\nchdir2 = d\nchdir2 =\nspooler-chdir = e\nspooler-chdir =\n\
         umask = 022\numask =\nunenv =\nspooler-harakiri = 5x\nspooler-frequency = 7s\n",
    );
    assert_eq!(imports(&settings), []);
    assert_eq!(
        (&settings.virtualenv, &settings.chdir2, &settings.spooler_chdir),
        (&None, &None, &None)
    );
    assert_eq!(config("umask = 22\n").daemon.umask, Some(0o22), "uWSGI takes 000");
    assert_eq!(
        (settings.daemon.umask, settings.pythonpath.len(), settings.unenv.len()),
        (None, 0, 0)
    );
    assert_eq!(settings.workers.harakiri, Some(Duration::from_secs(5)));
    assert_eq!(settings.spooler_frequency, Duration::from_secs(7));
}

#[test]
fn comments_come_along_with_a_whole_placeholder() {
    let config = config("dir = /srv/site # the site\nchdir = %(dir)\n");
    assert_eq!(config.chdir, Some(PathBuf::from("/srv/site")));
}

#[test]
fn sources_in_order() {
    let directory = with_ini("spooler-processes = 4\nspooler-ordered = false\n");
    let variables = [("UWSGI_SPOOLER_PROCESSES", "2"), ("UWSGI_SPOOLER_ORDERED", "1")];
    let load = |arguments: &str| load_with(directory.path(), arguments, &variables).unwrap().config;
    assert_eq!(load("").spooler_processes, 2);
    assert_eq!(load("--spooler-processes 3").spooler_processes, 3);
    assert_eq!(load("app.ini --spooler-processes 3").spooler_processes, 4);
    assert_eq!(load("--ini app.ini --spooler-processes 3").spooler_processes, 3);
    assert!(!load("app.ini").spooler_ordered);
    let opt = load("app.ini -M").opt();
    assert!(opt.contains(&("master".to_owned(), None)));
    assert!(opt.contains(&("spooler-processes".to_owned(), Some("4".to_owned()))));
}

#[test]
fn includes() {
    let directory = with_ini(
        "base = .\ninclude = %(base)/more.ini\ninherit = %(template).ini\ntemplate = last\n\
         ini = more.ini:second # section\n",
    );
    write(&directory, "more.ini", b"[uwsgi]\nspooler = /more\n[second]\nspooler = /second\n");
    write(&directory, "last.ini", b"[uwsgi]\nspooler = %(base)/last\n");
    let loaded = load_in(directory.path(), "app.ini").unwrap();
    assert_eq!(loaded.notices, []);
    let config = loaded.config;
    let paths: Vec<_> = config.spoolers.iter().map(|spooler| spooler.path.clone()).collect();
    let last = directory.path().join("./last");
    assert_eq!(paths, [PathBuf::from("/more"), PathBuf::from("/second"), last]);
    let names: Vec<_> = config.config_files.iter().filter_map(|path| path.file_name()).collect();
    assert_eq!(names, ["app.ini", "more.ini", "last.ini"]);
}

#[test]
fn section_of_a_file() {
    let directory = with_ini("spooler = /a\n[jobs]\nspooler = /b\n");
    for arguments in ["app.ini:jobs", "--ini app.ini:jobs", "--ini=app.ini:jobs"] {
        let config = load_in(directory.path(), arguments).unwrap().config;
        assert_eq!(config.spoolers[0].path, PathBuf::from("/b"), "{arguments}");
        assert_eq!(config.spoolers.len(), 1);
    }
}

#[test]
fn magic_of_the_file() {
    let directory = with_ini("spooler = %dspool\nspooler-import = %n_%h/tasks.py\n");
    let config = load_in(directory.path(), "--ini app.ini").unwrap().config;
    let real = directory.path().canonicalize().unwrap();
    assert_eq!(config.spoolers[0].path, real.join("spool"));
    assert_eq!(config.imports[0].target, "app_vm/tasks.py");
}

#[test]
fn loops_make_spools() {
    let config = config("for = mail video\nspooler = /spool/%(_)\nendfor =\n");
    let paths: Vec<_> = config.spoolers.iter().filter_map(|s| s.path.to_str()).collect();
    assert_eq!(paths, ["/spool/mail", "/spool/video"]);
}
