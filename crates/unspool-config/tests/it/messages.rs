//! What a user is told: each message names the place and what to do.

use std::error::Error;

use unspool_config::{ConfigError, Notice};

use crate::{load_in, load_ini, with_ini, write};

fn check(lines: &str, expected: &str) {
    let message = load_ini(lines).expect_err(lines).to_string();
    assert_eq!(message, expected, "{lines}");
}

#[test]
fn values_that_are_no_values() {
    check(
        "master\n\nspooler-processes = abc\n",
        "app.ini:4: `spooler-processes = abc`: this is not a number; write digits only, as in 4",
    );
    check(
        "spooler-processes = -1\n",
        "app.ini:2: `spooler-processes = -1`: this is not a number; write digits only, as in 4",
    );
    check(
        "spooler-processes = 99999\n",
        "app.ini:2: `spooler-processes = 99999`: this is more than 4096; write a smaller number",
    );
    check(
        "spooler-frequency = soon\n",
        "app.ini:2: `spooler-frequency = soon`: this is not a number of seconds; write digits \
         only, as in 30 or 0.5",
    );
    check(
        "spooler-settle = 10s\n",
        "app.ini:2: `spooler-settle = 10s`: this is not a number of seconds; write digits \
         only, as in 30 or 0.5",
    );
    check(
        "locks = 5000\n",
        "app.ini:2: `locks = 5000`: this is more than 4096; write a smaller number",
    );
    check(
        "cache2 = name=a,items=many\n",
        "app.ini:2: `cache2 = name=a,items=many`: `items` is not a number",
    );
    check("master\nchdir = a\0b\n", "app.ini:3: a NUL byte is in this line; remove it");
    check("spooler =\n", "app.ini:2: `spooler = `: the value is missing; write it after `=`");
    check(
        "spooler-durability = fsync\n",
        "app.ini:2: `spooler-durability = fsync`: write none, file or group",
    );
    check(
        "spooler-fork = sometimes\n",
        "app.ini:2: `spooler-fork = sometimes`: write auto, always or never",
    );
    check(
        "spooler-start-timeout = 0\n",
        "app.ini:2: `spooler-start-timeout = 0`: no worker starts at once; write seconds, as in 60",
    );
    check("spooler-adopt = maybe\n", "app.ini:2: `spooler-adopt = maybe`: write run, hold or bury");
    check(
        "umask = 9\n",
        "app.ini:2: `umask = 9`: this is not a mask; write three octal digits, as in 022",
    );
    check("set = A\n", "app.ini:2: `set = A` is not of the form `set = name=value`");
    check(
        "set-ph = module=a\n",
        "app.ini:2: `module` cannot be a placeholder because it is an option; write `module = \
         ...` or choose another name",
    );
    check(
        "module = site:\n",
        "app.ini:2: `module = site:`: write `module = package.module:callable`",
    );
    check(
        "dir = /srv # here\nspooler = %(dir)/spool\n",
        "app.ini:3: `spooler = /srv # here/spool`: a placeholder brings a comment into the \
         middle of this value; put the comment on a line of its own",
    );
}

#[test]
fn files_that_cannot_be_read_on() {
    check(
        "if-env = A\nendif=\nfor = 1 2\nif-env = B\n",
        "app.ini:5: `if-env` inside the block opened at app.ini:4: blocks do not nest; close \
         that one with `end` first",
    );
    check(
        "include = x.conf\n",
        "app.ini:2: cannot read options from `x.conf`: its ending is none of .ini, .yaml, .yml, \
         .xml, .json; rename it, or name its format as in `ini = FILE`",
    );
    check(
        "if-hostname-match = ^web\nspooler-quiet\nendif =\n",
        "app.ini:2: `if-hostname-match` takes a regular expression, which unspool does not read; \
         write a block of `if-hostname` for each name",
    );
    check(
        "include = http://h/x.ini\n",
        "app.ini:2: cannot read options from `http://h/x.ini`: \
         only files are read; save it as one",
    );
    check("[uwsgi\n", "app.ini:2: section header `[uwsgi` has no closing `]`; add it");
    check(
        "for-times = 99999999\na = 1\nend =\n",
        "app.ini:2: more than 65536 options; shorten \
         the loops or the files",
    );
}

#[test]
fn strict_forbids_unknown_options() {
    check(
        "strict = true\nspooler-imprt = x\n",
        "app.ini:3: unknown option `spooler-imprt`, which `strict` forbids; did you mean \
         `spooler-import`?",
    );
    check(
        "base = /srv\nstrict\nchdir = %(base)\n",
        "app.ini:2: unknown option `base`, which `strict` forbids; for a placeholder write \
         `set-placeholder = base=...`",
    );
    assert!(load_ini("strict = true\nset-ph = base=/srv\nchdir = %(base)\n").is_ok());
    assert!(load_ini("strict = false\nbase = /srv\n").is_ok());
}

#[test]
fn commands_are_not_settings() {
    let directory = with_ini("if-not-dir = nowhere\nexit = 3\nendif\n");
    let message = |arguments: &str| load_in(directory.path(), arguments).unwrap_err().to_string();
    assert_eq!(
        message("--stop app.pid"),
        "command line: `--stop` is a command of uWSGI, not a setting, and `unspool run` does not \
         have it; see `unspool --help`"
    );
    assert_eq!(message("app.ini"), "app.ini:3: the configuration asks to stop here (`exit = 3`)");
}

#[test]
fn values_may_be_secrets() {
    let loaded = load_ini("env = TOKEN=hunter2\nset-ph = token=hunter2\nspooler = s\n").unwrap();
    assert!(!format!("{loaded:?}").contains("hunter2"));
    let secret = "set-ph = db-password=hunter2\n";
    let error = load_ini(&format!("{secret}spooler-processes = %(db-password)\n")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "app.ini:3: `spooler-processes = %(db-password)`: this is not a number; write digits only, \
         as in 4"
    );
    let loaded = load_ini(&format!("{secret}chdir = \"%(db-password)\"\n")).unwrap();
    let told: String = loaded.notices.iter().map(Notice::to_string).collect();
    assert!(told.contains("quotes") && !told.contains("hunter2"), "{told}");
}

#[test]
fn unreadable_files() {
    let directory = with_ini("include = missing.ini\n");
    let error = load_in(directory.path(), "app.ini").unwrap_err();
    let path = directory.path().canonicalize().unwrap().join("missing.ini");
    assert_eq!(error.to_string(), format!("app.ini:2: failed to read `{}`", path.display()));
    assert!(error.source().unwrap().to_string().contains("No such file"));

    write(&directory, "app.ini", b"[uwsgi]\nname = caf\xe9\n");
    let error = load_in(directory.path(), "app.ini").unwrap_err();
    assert!(error.to_string().ends_with("app.ini:2: not valid UTF-8; save the file as UTF-8"));

    write(&directory, "app.yaml", b"uwsgi:\n  a: [\n");
    let error = load_in(directory.path(), "app.yaml").unwrap_err().to_string();
    assert!(error.starts_with("app.yaml:3: this is not YAML: "), "{error}");
    let error = load_in(directory.path(), "app").unwrap_err();
    assert!(matches!(error, ConfigError::UnusableArgument { .. }), "{error}");
}

#[test]
fn cycles_end() {
    let directory = with_ini("include = b.ini\n");
    write(&directory, "b.ini", b"[uwsgi]\ninclude = app.ini\n");
    let error = load_in(directory.path(), "app.ini").unwrap_err().to_string();
    assert_eq!(
        error,
        "b.ini:2: this file is already being read: app.ini -> b.ini -> app.ini; remove one of \
         these lines"
    );
    write(&directory, "app.ini", b"[uwsgi]\ninherit = app.ini\n");
    let error = load_in(directory.path(), "app.ini").unwrap_err();
    assert!(matches!(error, ConfigError::IncludeCycle { .. }), "{error}");
    for number in 0..20 {
        let text = format!("[uwsgi]\nini = n{}.ini\n", number + 1);
        write(&directory, &format!("n{number}.ini"), text.as_bytes());
    }
    let error = load_in(directory.path(), "n0.ini").unwrap_err();
    assert!(matches!(error, ConfigError::IncludeTooDeep { .. }), "{error}");
}

#[test]
fn values_stay_bounded() {
    let mut lines = "a0 = 1234567890\n".to_owned();
    for number in 1..40 {
        let previous = number - 1;
        lines.extend([format!("a{number} = %(a{previous})%(a{previous})\n")]);
    }
    let error = load_ini(&lines).unwrap_err();
    assert!(matches!(error, ConfigError::ValueTooLong { .. }), "{error}");
    let config = load_ini("x = a%(x)b\n").unwrap().config;
    assert_eq!(config.option("x").unwrap().value.as_deref(), Some("aa%(x)bb"));
}

#[test]
fn what_is_read_stays_bounded_as_a_whole() {
    let kib = "x".repeat(1 << 10);
    let mib = "x".repeat(1 << 20);
    let long = format!("a = {}\n", "x".repeat(200_000));
    let check = |lines: &str, expected: &str| {
        let message = load_ini(lines).unwrap_err().to_string();
        assert!(message.starts_with(expected), "{message}");
    };
    let too_long = "the options grow past 67108864 bytes; shorten the loops or the values";
    check(&format!("for-times = 65000\na = {mib}\nend =\n"), &format!("app.ini:3: {too_long}"));
    let lines = format!("{long}for-times = 1000\nb = %(a)\nend =\n");
    check(&lines, &format!("app.ini:4: {too_long}"));
    let paths = "a = %p%p%p%p\n".repeat(300_000);
    let directory = with_ini("");
    let deep = directory.path().join("d".repeat(200));
    std::fs::create_dir(&deep).unwrap();
    write(&directory, &format!("{}/app.ini", "d".repeat(200)), paths.as_bytes());
    let error = load_in(&deep, "--ini app.ini").unwrap_err().to_string();
    assert!(error.contains(too_long), "{error}");
    // One value of many long ones.
    let grows = "the value of `b` grows past 1048576 bytes when it is expanded";
    check(&format!("{long}b = %({})\n", "a ".repeat(1000)), &format!("app.ini:3: {grows}"));
    let lines = format!("for = {mib}\nb = {}\nend =\n", "%(_)".repeat(1000));
    check(&lines, &format!("app.ini:3: {grows}"));
    let lines = format!("declare-option = d=b={}\nd = {kib}\n", "$1".repeat(2000));
    check(&lines, &format!("app.ini:3: {grows}"));
    // Each section reads the next one many times.
    let mut sections = "ini = :s0\n".repeat(30);
    for number in 0..14 {
        let next = format!("ini = :s{}\n", number + 1).repeat(30);
        sections.extend([format!("[s{number}]\n"), next]);
    }
    check(&sections, "app.ini:452: more than 1024 files; name each file once");
}

fn check_notices(lines: &str, expected: &[&str]) {
    let loaded = load_ini(lines).unwrap();
    let shown: Vec<String> = loaded.notices.iter().map(Notice::to_string).collect();
    assert_eq!(shown, expected, "{lines}");
}

#[test]
fn notices() {
    let check = check_notices;
    check("master\nvacuum = true\nplugins = python3\nenable-threads\nbuffer-size = 1\n", &[]);
    check("base = /srv\nchdir = %(base)\n", &[]);
    check("set = tasks=x\nset-ph = more=y\n", &[]);
    check("memory-report = true\ncheap = false\n", &[]);
    check("strict = false\n", &[]);
    check(
        "spooler_import = tasks\n",
        &["app.ini:2: unknown option `spooler_import` is ignored; did you mean \
           `spooler-import`?"],
    );
    check(
        "spooler /srv/spool\n",
        &["app.ini:2: unknown option `spooler /srv/spool` is ignored; did you mean `spooler`?"],
    );
    check(
        "hourglass_config = x\nhourglass_config = y\n",
        &["app.ini:2: unknown option `hourglass_config` is ignored; if the application reads it, \
           write `set-placeholder = hourglass_config=...`"],
    );
    check(
        "chroot = /\nreq-logger = stdio\nreq-logger = syslog\n",
        &["these options are read but not yet in effect: `chroot`, `req-logger`"],
    );
}

#[test]
fn notices_about_values() {
    let check = check_notices;
    check(
        "spooler-frequency = 0\n",
        &["app.ini:2: `spooler-frequency = 0` is out of range; 1 is used"],
    );
    check(
        "spooler-processes = 0\n",
        &["app.ini:2: `spooler-processes = 0` is out of range; 1 is used"],
    );
    check(
        "spooler-frequency = 10s\nspooler-processes = 2;two\nspooler-processes =\n",
        &[
            "app.ini:2: `spooler-frequency = 10s` is no number; it is read as 10, as in uWSGI",
            "app.ini:3: `spooler-processes = 2;two` is no number; it is read as 2, as in uWSGI",
            "app.ini:4: `spooler-processes = ` is out of range; 1 is used",
            "app.ini:4: `spooler-processes = ` is no number; it is read as 0, as in uWSGI",
        ],
    );
    check(
        "env = =x\nspooler-import =\nhome = # none\n",
        &[
            "app.ini:2: `env` has no effect here: it names no variable",
            "app.ini:3: `spooler-import` has no effect here: its value is empty",
            "app.ini:4: `home` has no effect here: its value is empty",
        ],
    );
    check(
        "chdir = \"/srv\"\n",
        &["app.ini:2: `chdir = \"/srv\"`: the quotes are part of the value; remove them"],
    );
    check(
        "chdir = %(nowhere)/x\n",
        &["app.ini:2: `chdir` keeps `%(nowhere)` as it is, since nothing defines it here"],
    );
    check(
        "spooler = s\nspooler = s\n",
        &["app.ini:3: `spooler` has no effect here: this directory is a spool already; for more \
           workers set `spooler-processes`"],
    );
    check(
        "module = a\nwsgi-file = b.py\n",
        &["app.ini:3: `wsgi-file` has no effect here: `module` names the application; remove one \
           of them"],
    );
    check(
        "set-ph = a=50% off\n# 100% sure\nset-ph = b=1%\nmaster = true\n",
        &[
            "app.ini:2: `% ` is no magic variable and vanishes; write `%%` for a percent sign",
            "app.ini:4: `%` at the end of the line joins the next line to it; write `%%` for a \
             percent sign",
        ],
    );
    check(
        "if-env = NOPE\nchdir = /x\n",
        &["app.ini:2: `if-env` is not closed before the end of the file; add `end` where it \
           should end"],
    );
}

#[test]
fn sections_that_are_not_there() {
    let directory = with_ini("");
    write(&directory, "app.ini", b"spooler = /x\n[uwgsi]\n[other]\n");
    let loaded = load_in(directory.path(), "app.ini").unwrap();
    let shown: Vec<String> = loaded.notices.iter().map(Notice::to_string).collect();
    assert_eq!(
        shown,
        [
            "app.ini:1: lines before the first section header are ignored; put [uwsgi] above them",
            "command line: `app.ini` has no section [uwsgi]; it has [uwgsi], [other]",
        ]
    );
}
