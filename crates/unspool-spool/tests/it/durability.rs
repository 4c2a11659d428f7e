//! The order of system calls of a submission, and what failing ones lead to: seen from outside, by
//! `strace` on a process that submits.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Stdio;

use crate::child::Child;
use crate::fixture::{Fixture, parse_ours, tasks_in};
use crate::os;

const CALLS: &str = "write,openat,utimensat,fsync,fdatasync,sync_file_range,rename,renameat,\
                     renameat2,mkdir,mkdirat,unlinkat,linkat";

/// What a traced submission did.
#[derive(Debug)]
struct Traced {
    /// The calls that change something or flush, shortened.
    steps: Vec<String>,
    /// What the process said of the outcome.
    said: String,
}

/// Submits in a traced process; `None` where nothing can be traced.
fn trace(fixture: &Fixture, level: &str, pairs: &[&str], inject: &[&str]) -> Option<Traced> {
    let spool = fixture.spool.path().to_str().unwrap();
    trace_role(fixture.root(), spool, "submit", &[&[spool, level], pairs].concat(), inject)
}

/// Traces what a role does between the two lines that it says. Paths are told relative to `base`.
fn trace_role(
    directory: &Path,
    base: &str,
    role: &str,
    arguments: &[&str],
    inject: &[&str],
) -> Option<Traced> {
    let log = directory.join("trace");
    let mut words: Vec<String> =
        ["strace", "-f", "-y", "-e", &format!("trace={CALLS}"), "-o"].map(str::to_owned).into();
    words.push(log.to_str().unwrap().to_owned());
    for fault in inject {
        words.extend(["-e".to_owned(), format!("inject={fault}")]);
    }
    if !os::can_trace() {
        os::not_run("strace is missing, or may not trace");
        return None;
    }
    let words: Vec<&OsStr> = words.iter().map(OsStr::new).collect();
    let child = Child::start_with(&words, role, arguments, Stdio::inherit());
    assert_eq!(child.hear(), "begin");
    let said = child.hear();
    assert!(child.end().success());
    let log = std::fs::read_to_string(&log).unwrap();
    let submission = log
        .lines()
        .skip_while(|line| !line.contains("\"> begin"))
        .skip(1)
        .take_while(|line| !line.contains("\"> "));
    let steps = submission.filter_map(|line| step(line, base)).collect();
    Some(Traced { steps, said })
}

/// One line of the trace in short; `None` for a call that changes nothing.
fn step(line: &str, base: &str) -> Option<String> {
    let (head, result) = line.rsplit_once(" = ").unwrap_or((line, ""));
    let call = head.split_once(' ').map_or(head, |(_pid, call)| call).trim();
    let (name, arguments) = call.split_once('(').unwrap_or((call, ""));
    let file = || {
        let path = arguments.split_once('<').map_or("", |(_, rest)| rest);
        let path = path.split_once('>').map_or(path, |(path, _)| path);
        match path.strip_prefix(base) {
            Some("") => "base".to_owned(),
            Some(path) if path.contains("/.uwsgi_spoolfile_on_") => "file".to_owned(),
            Some(path) => path.trim_start_matches('/').to_owned(),
            None => path.to_owned(),
        }
    };
    let short = match name {
        "openat" if !arguments.contains("O_CREAT") => return None,
        "openat" => {
            assert!(arguments.contains("O_EXCL") && arguments.contains("0600"), "{line}");
            "create".to_owned()
        }
        "renameat2" => {
            assert!(arguments.contains("RENAME_NOREPLACE"), "{line}");
            "rename".to_owned()
        }
        _ => format!("{name} {}", file()),
    };
    let failed = result.starts_with("-1");
    Some(if failed { format!("{short} fails") } else { short })
}

fn steps(list: &str) -> Vec<String> {
    list.split(", ").map(str::to_owned).collect()
}

#[test]
fn durable_submissions_flush_the_file_before_the_rename_and_its_folder_after_it() {
    for level in ["file", "group"] {
        let fixture = Fixture::new();
        let Some(traced) = trace(&fixture, level, &["a=1"], &[]) else { return };
        let expect = "create, write file, fsync file, rename, fsync base";
        assert_eq!(traced.steps, steps(expect), "{level}");
        let Some(traced) = trace(&fixture, level, &["at=1995419124.5"], &[]) else { return };
        let expect = "create, write file, utimensat file, fsync file, rename, fsync base";
        assert_eq!(traced.steps, steps(expect), "{level}");
    }
}

#[test]
fn a_new_priority_is_durable_before_its_first_task() {
    for level in ["file", "group"] {
        let fixture = Fixture::new();
        let Some(traced) = trace(&fixture, level, &["priority=5"], &[]) else { return };
        // The time of the new folder is set so that a daemon hears of it.
        let expect = "mkdirat base, utimensat 5, fsync base, \
                      create, write file, fsync file, rename, fsync 5";
        assert_eq!(traced.steps, steps(expect), "{level}");
    }
}

#[test]
fn a_priority_that_somebody_else_made_is_durable_before_its_first_task() {
    // Perhaps it was made by a submission without flushes, or is being made by one right now.
    for level in ["file", "group"] {
        let fixture = Fixture::new();
        fixture.submit(&[("priority", "5")]);
        let Some(traced) = trace(&fixture, level, &["priority=5"], &[]) else { return };
        let expect = "fsync base, create, write file, fsync file, rename, fsync 5";
        assert_eq!(traced.steps, steps(expect), "{level}");
    }
}

#[test]
fn a_new_spool_is_durable_before_its_first_task() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().canonicalize().unwrap();
    let path = root.join("a/spool");
    let arguments = [path.to_str().unwrap()];
    let base = root.to_str().unwrap();
    let Some(traced) = trace_role(&root, base, "open", &arguments, &[]) else { return };
    assert_eq!(traced.said, "ok");
    let flushed: Vec<&str> = (traced.steps.iter())
        .filter_map(|step| step.strip_prefix("fsync "))
        .map(|name| name.split('-').next().unwrap())
        .collect();
    // The parent of each new directory, and the version before it has its name.
    let expect = ["base", "a", "a/spool", "a/spool/.unspool/.version"];
    assert_eq!(flushed, expect, "{:?}", traced.steps);
    let Some(traced) = trace_role(&root, base, "open", &arguments, &[]) else { return };
    let done = traced.steps.iter().filter(|step| !step.ends_with(" fails")).count();
    assert_eq!(done, 0, "opened again, nothing is written: {:?}", traced.steps);
}

#[test]
fn without_durability_nothing_is_flushed() {
    let fixture = Fixture::new();
    let long = format!("a={}", "x".repeat(5000));
    let Some(traced) = trace(&fixture, "none", &[&long], &[]) else { return };
    assert_eq!(traced.steps, steps("create, write file, rename"));
    let Some(traced) = trace(&fixture, "none", &["at=5", "priority=5"], &[]) else { return };
    let expect = "mkdirat base, utimensat 5, create, write file, utimensat file, rename";
    assert_eq!(traced.steps, steps(expect));
}

#[test]
fn a_small_task_without_durability_is_one_write_under_its_name() {
    let fixture = Fixture::new();
    let Some(traced) = trace(&fixture, "none", &["a=1"], &[]) else { return };
    let path = traced.said.strip_prefix("ok ").unwrap();
    let name = Path::new(path).file_name().unwrap().to_str().unwrap();
    assert_eq!(traced.steps, [String::from("create"), format!("write {name}")]);
}

#[test]
fn a_small_task_that_cannot_be_written_leaves_nothing() {
    let fixture = Fixture::new();
    let spool = fixture.spool.path().to_str().unwrap();
    let limit = ["prlimit", "--fsize=0", "env", "--ignore-signal=XFSZ"].map(OsStr::new);
    let child = Child::start_with(&limit, "submit", &[spool, "none", "a=1"], Stdio::inherit());
    assert_eq!(child.hear(), "begin");
    let said = child.hear();
    assert!(said.starts_with("error task not submitted: cannot write a file"), "{said}");
    assert!(said.contains("File too large"), "{said}");
    assert_eq!((fixture.tasks().len(), fixture.aside().len()), (0, 0));
}

#[test]
fn a_file_that_did_not_flush_is_written_anew_and_not_flushed_again() {
    let fixture = Fixture::new();
    let faults = ["fsync:error=EIO:when=1"];
    let Some(traced) = trace(&fixture, "group", &["a=1"], &faults) else { return };
    let expect = "create, write file, fsync file fails, unlinkat base, \
                  create, write file, fsync file, rename, fsync base";
    assert_eq!(traced.steps, steps(expect));
    let path = traced.said.strip_prefix("ok ").unwrap();
    assert_eq!(parse_ours(Path::new(path)).2.get(b"a"), Some(&b"1"[..]));
}

#[test]
fn calls_that_fail_before_the_rename_leave_nothing() {
    for (fault, action, cause) in [
        ("fsync:error=EIO:when=1+", "write a file", "did not flush, twice"),
        ("fsync:error=ENOSPC:when=1", "write a file", "No space left"),
        ("utimensat:error=EIO", "write a file", "Input/output error"),
        ("renameat2:error=EIO", "publish a file", "Input/output error"),
    ] {
        let fixture = Fixture::new();
        let Some(traced) = trace(&fixture, "group", &["at=5"], &[fault]) else { return };
        let said = traced.said;
        let expect = format!("error task not submitted: cannot {action} in spool `");
        assert!(said.starts_with(&expect) && said.contains(cause), "{said}");
        assert_eq!(fixture.tasks().len(), 0, "{fault}");
        assert_eq!(fixture.aside(), [""; 0], "{fault}");
    }
}

#[test]
fn a_folder_that_did_not_flush_is_told_with_the_path_of_the_task() {
    for (level, pair, folder) in [("file", "a=1", ""), ("group", "a=1", ""), ("group", "at=5", "")]
    {
        let fixture = Fixture::new();
        let Some(traced) = trace(&fixture, level, &[pair], &["fsync:error=EIO:when=2"]) else {
            return;
        };
        let [path] = &tasks_in(&fixture.path(folder))[..] else { panic!("{traced:?}") };
        let expect = format!("error task `{}` is submitted, but may not survive", path.display());
        assert!(traced.said.starts_with(&expect), "{}", traced.said);
        parse_ours(path);
    }
}

#[test]
fn a_file_system_without_exclusive_renames_is_served() {
    let fixture = Fixture::new();
    let faults = ["renameat2:error=EINVAL"];
    let Some(traced) = trace(&fixture, "group", &["a=1"], &faults) else { return };
    let expect = "create, write file, fsync file, rename fails, renameat base, fsync base";
    assert_eq!(traced.steps, steps(expect));
    assert!(traced.said.starts_with("ok "));
    assert_eq!(fixture.tasks().len(), 1);
}
