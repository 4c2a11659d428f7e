//! The check of a directory: what each defect is called, what a repair does, and what it never does.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use unspool_core::taskfile::ATTEMPTS_OFFSET;
use unspool_spool::{
    Check, Finding, FsckError, FsckOptions, Level, Remedy, Summary, Told, fsck, is_task_name,
};
use unspool_sys::{clock, lock};

use crate::fixture::{FOREIGN, Fixture, chmod, name_of, names_in};

const NAME: &str = "uwsgi_spoolfile_on_one";
const DAY_NS: i64 = 24 * 3600 * 1_000_000_000;

fn run(path: &Path, options: &FsckOptions) -> (Vec<Finding>, Summary) {
    let mut found = Vec::new();
    let summary = fsck(path, options, &mut |told| {
        if let Told::Found(finding) = told {
            found.push(finding.clone());
        }
    })
    .unwrap();
    (found, summary)
}

fn look(spool: &Fixture) -> Vec<Finding> {
    run(spool.spool.path(), &FsckOptions::default()).0
}

fn repair(spool: &Fixture) -> Vec<Finding> {
    run(spool.spool.path(), &FsckOptions { repair: true, ..FsckOptions::default() }).0
}

/// The only finding, of this check.
fn only(found: &[Finding], check: Check) -> &Finding {
    let [finding] = found else { panic!("{found:#?}") };
    assert_eq!(finding.check, check);
    finding
}

/// The modification times, modes and contents of everything.
fn everything(path: &Path) -> BTreeMap<PathBuf, (u32, std::time::SystemTime, Vec<u8>)> {
    use std::os::unix::fs::PermissionsExt;
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        let meta = path.symlink_metadata().unwrap();
        let content = std::fs::read(&path).unwrap_or_default();
        if meta.is_dir() {
            found.extend(everything(&path));
        }
        found.insert(path, (meta.permissions().mode(), meta.modified().unwrap(), content));
    }
    found
}

#[test]
fn a_new_spool_is_clean() {
    let spool = Fixture::new();
    spool.submit(&[("a", "1")]);
    spool.submit(&[("a", "1"), ("priority", "5")]);
    spool.write(NAME, FOREIGN);
    let (found, summary) = run(spool.spool.path(), &FsckOptions::default());
    assert_eq!(found, []);
    assert_eq!((summary.tasks, summary.held, summary.left()), (3, 0, 0));
}

#[test]
fn looking_creates_and_changes_nothing() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("spool");
    let missing = fsck(&path, &FsckOptions::default(), &mut |_| {});
    assert!(matches!(missing, Err(FsckError::Missing { .. })));
    std::fs::create_dir(&path).unwrap();
    std::fs::write(path.join(NAME), &FOREIGN[..20]).unwrap();
    let before = everything(&path);
    let (found, summary) = run(&path, &FsckOptions::default());
    assert_eq!(everything(&path), before);
    assert_eq!(summary.left(), 1);
    assert_eq!(found[0].what, "no unspool has opened it yet");
    assert_eq!(found[1].check, Check::Whole);
}

#[test]
fn a_damaged_file_goes_to_corrupt_unless_somebody_may_write_it() {
    let spool = Fixture::undisturbed();
    let path = spool.write(NAME, &FOREIGN[..20]);
    let settling =
        FsckOptions { repair: true, settle_ns: 60_000_000_000, ..FsckOptions::default() };
    let (found, _) = run(spool.spool.path(), &settling);
    assert_eq!(only(&found, Check::Whole).level, Level::Note);
    assert!(found[0].remedy.text().contains("a moment ago"), "{found:?}");
    let file = spool.spool.top().open_file(name_of(&path)).unwrap();
    assert!(lock::try_lock(file.as_fd()).unwrap());
    let found = repair(&spool);
    assert_eq!(only(&found, Check::Whole).level, Level::Note);
    assert!(found[0].remedy.text().contains("somebody holds it"), "{found:?}");
    drop(file);
    let found = look(&spool);
    assert_eq!(only(&found, Check::Whole).level, Level::Problem);
    assert!(matches!(&found[0].remedy, Remedy::Possible(_)), "{found:?}");
    let found = repair(&spool);
    assert!(matches!(&found[0].remedy, Remedy::Done(_)), "{found:?}");
    assert_eq!(std::fs::read(spool.path("corrupt").join(NAME)).unwrap(), &FOREIGN[..20]);
    assert_eq!(look(&spool), []);
}

#[test]
fn an_unfinished_submission_goes_after_a_day_unless_somebody_has_it_open() {
    let spool = Fixture::undisturbed();
    let name = format!(".{NAME}");
    let path = spool.write(&name, b"");
    assert_eq!(repair(&spool), [], "one of this moment");
    let later = FsckOptions {
        repair: true,
        now_ns: clock::now_ns() + 2 * DAY_NS,
        ..FsckOptions::default()
    };
    let open = std::fs::File::open(&path).unwrap();
    let (found, _) = run(spool.spool.path(), &later);
    assert!(matches!(&only(&found, Check::Unfinished).remedy, Remedy::Failed(_)), "{found:?}");
    drop(open);
    let (found, _) = run(spool.spool.path(), &later);
    assert!(matches!(&only(&found, Check::Unfinished).remedy, Remedy::Done(_)), "{found:?}");
    assert!(!path.exists());
}

#[test]
fn what_is_written_aside_in_the_internals_goes_after_a_day() {
    let spool = Fixture::new();
    for name in [".version-00", ".adopted-00"] {
        spool.write(&format!(".unspool/{name}"), b"1");
    }
    assert_eq!(repair(&spool), []);
    let later = FsckOptions {
        repair: true,
        now_ns: clock::now_ns() + 2 * DAY_NS,
        ..FsckOptions::default()
    };
    assert_eq!(run(spool.spool.path(), &later).0.len(), 2);
    assert_eq!(names_in(&spool.path(".unspool")), ["version"]);
}

#[test]
fn a_task_in_two_places_is_left_to_hands() {
    let spool = Fixture::new();
    let path = spool.submit(&[("a", "1")]);
    let copy = spool.path("uwsgi_spoolfile_on_copy");
    std::fs::copy(&path, &copy).unwrap();
    let before = everything(spool.spool.path());
    let found = repair(&spool);
    let finding = only(&found, Check::OnePlace);
    assert_eq!(finding.level, Level::Problem);
    assert!(matches!(finding.remedy, Remedy::Hands(_)));
    assert!(finding.what.starts_with("the same task as "), "{finding:?}");
    assert_eq!(everything(spool.spool.path()), before);
    std::fs::remove_file(&copy).unwrap();
    std::fs::hard_link(&path, &copy).unwrap();
    let found = look(&spool);
    assert_eq!(found.iter().filter(|found| found.level == Level::Problem).count(), 1);
    assert!(found.iter().any(|found| found.what.starts_with("the same file as ")), "{found:#?}");
}

#[test]
fn a_version_that_is_none_is_written_anew_and_a_newer_one_is_left() {
    let spool = Fixture::new();
    let version = spool.path(".unspool/version");
    spool.write(".unspool/version", b"\0\0");
    assert_eq!(only(&look(&spool), Check::Version).level, Level::Problem);
    assert!(matches!(only(&repair(&spool), Check::Version).remedy, Remedy::Done(_)));
    assert_eq!(std::fs::read(&version).unwrap(), b"1\n");
    for newer in ["2\n", "2 and more\n"] {
        std::fs::write(&version, newer).unwrap();
        let options = FsckOptions { repair: true, ..FsckOptions::default() };
        assert!(fsck(spool.spool.path(), &options, &mut |_| {}).is_err());
        assert_eq!(std::fs::read_to_string(&version).unwrap(), newer);
    }
}

#[test]
fn a_record_of_the_first_start_that_stops_daemons_is_moved_aside() {
    let spool = Fixture::new();
    spool.write(".unspool/adopted", b"unspool adopted 1\nsince 5\n");
    assert_eq!(only(&look(&spool), Check::Adoption).level, Level::Problem);
    assert!(matches!(only(&repair(&spool), Check::Adoption).remedy, Remedy::Done(_)));
    assert_eq!(look(&spool), []);
    let aside = spool.path(".unspool/adopted.damaged");
    assert_eq!(std::fs::read(aside).unwrap(), b"unspool adopted 1\nsince 5\n");
    spool.write(".unspool/adopted", b"unspool adopted 2\nwhat we do not know\n");
    assert!(matches!(only(&repair(&spool), Check::Adoption).remedy, Remedy::Hands(_)));
}

#[test]
fn a_burial_that_was_cut_is_ended() {
    let spool = Fixture::new();
    for folder in ["dead", ".unspool/attempts"] {
        std::fs::create_dir(spool.path(folder)).unwrap();
    }
    let mut content = FOREIGN.to_vec();
    content[ATTEMPTS_OFFSET as usize] = 20;
    spool.write(&format!("dead/{NAME}"), &content);
    spool.write(&format!(".unspool/attempts/{NAME}"), b"");
    let found = look(&spool);
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(found.iter().all(|found| found.level == Level::Problem));
    let found = repair(&spool);
    assert!(found.iter().all(|found| matches!(found.remedy, Remedy::Done(_))), "{found:#?}");
    assert_eq!(std::fs::read(spool.path("dead").join(NAME)).unwrap(), FOREIGN);
    assert_eq!(names_in(&spool.path("dead")), [format!("attempts.{NAME}"), NAME.to_owned()]);
    assert_eq!(names_in(&spool.path(".unspool/attempts")), [""; 0]);
    assert_eq!(look(&spool), []);
}

#[test]
fn a_burial_that_goes_on_is_left_alone() {
    let spool = Fixture::undisturbed();
    for folder in ["dead", ".unspool/attempts"] {
        std::fs::create_dir(spool.path(folder)).unwrap();
    }
    let mut content = FOREIGN.to_vec();
    content[ATTEMPTS_OFFSET as usize] = 20;
    let path = spool.write(&format!("dead/{NAME}"), &content);
    spool.write(&format!(".unspool/attempts/{NAME}"), b"");
    let dead = spool.spool.top().open_sub(b"dead").unwrap();
    let file = dead.open_file(name_of(&path)).unwrap();
    assert!(lock::try_lock(file.as_fd()).unwrap());
    let before = everything(spool.spool.path());
    let found = repair(&spool);
    assert!(found.iter().all(|found| matches!(found.remedy, Remedy::Failed(_))), "{found:#?}");
    assert_eq!(everything(spool.spool.path()), before);
}

#[test]
fn the_record_of_a_task_that_is_nowhere_goes_after_a_week() {
    let spool = Fixture::new();
    std::fs::create_dir(spool.path(".unspool/attempts")).unwrap();
    let pending = spool.submit(&[("a", "1"), ("priority", "5")]);
    let name = pending.file_name().unwrap().to_str().unwrap();
    for name in [name, NAME] {
        spool.write(&format!(".unspool/attempts/{name}"), b"not json\n");
    }
    let options = |days: i64| FsckOptions {
        repair: true,
        now_ns: clock::now_ns() + days * DAY_NS,
        ..FsckOptions::default()
    };
    let (found, summary) = run(spool.spool.path(), &options(6));
    assert_eq!(summary.records, 1);
    assert!(found.iter().all(|found| found.check == Check::Records && found.level == Level::Note));
    assert_eq!(names_in(&spool.path(".unspool/attempts")).len(), 2);
    run(spool.spool.path(), &options(8));
    assert_eq!(names_in(&spool.path(".unspool/attempts")), [name]);
    assert!(pending.exists());
}

#[test]
fn odd_names_links_and_folders_are_said_and_left() {
    let spool = Fixture::new();
    spool.write("notes.txt", b"");
    std::fs::create_dir_all(spool.path("5/inner")).unwrap();
    spool.write(&format!("5/inner/{NAME}"), FOREIGN);
    std::fs::create_dir(spool.path(".hidden")).unwrap();
    std::fs::create_dir(spool.path("uwsgi_spoolfile_on_folder")).unwrap();
    symlink("/etc/passwd", spool.path("uwsgi_spoolfile_on_link")).unwrap();
    spool.write(".unspool/who-knows", b"");
    for folder in ["5", "5/inner", ".hidden"] {
        chmod(&spool.path(folder), 0o700);
    }
    let before = everything(spool.spool.path());
    let found = repair(&spool);
    assert_eq!(found.len(), 6, "{found:#?}");
    assert!(found.iter().all(|found| found.check == Check::Names && found.level == Level::Note));
    assert_eq!(everything(spool.spool.path()), before);
}

#[test]
fn a_folder_in_which_others_can_write_is_said() {
    let spool = Fixture::new();
    chmod(spool.spool.path(), 0o777);
    let found = look(&spool);
    assert!(only(&found, Check::Directory).remedy.text().starts_with("run `chmod go-w "));
    chmod(spool.spool.path(), 0o2770);
    assert_eq!(look(&spool), [], "shared with its group on purpose");
}

#[test]
fn times_that_never_come_are_said() {
    let spool = Fixture::new();
    let path = spool.submit(&[("a", "1")]);
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    unspool_sys::file::set_mtime(file.as_fd(), i64::MAX).unwrap();
    assert!(only(&look(&spool), Check::Due).what.contains("2262"));
    let earlier =
        FsckOptions { now_ns: clock::now_ns() - 60_000_000_000, ..FsckOptions::default() };
    let (found, _) = run(spool.spool.path(), &earlier);
    assert!(found.iter().any(|found| found.what.contains("clock was set back")), "{found:#?}");
}

#[test]
fn a_minute_that_is_none_is_said() {
    let spool = Fixture::new();
    std::fs::create_dir_all(spool.path(".unspool/schedule/key")).unwrap();
    spool.write(".unspool/schedule/key/fired", b"            29000000\n");
    assert_eq!(look(&spool), []);
    spool.write(".unspool/schedule/key/fired", &[0; 21]);
    assert_eq!(only(&look(&spool), Check::Schedule).level, Level::Note);
}

/// What happens to one of the tasks.
#[derive(Debug, Clone)]
enum Deed {
    Cut(usize),
    Flip(usize),
    Bury(u8),
    Copy,
    Link,
    Empty,
    Aside,
    Record(bool),
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        (0usize..200).prop_map(Deed::Cut),
        (0usize..2000).prop_map(Deed::Flip),
        any::<u8>().prop_map(Deed::Bury),
        Just(Deed::Copy),
        Just(Deed::Link),
        Just(Deed::Empty),
        Just(Deed::Aside),
        any::<bool>().prop_map(Deed::Record),
    ]
}

fn act(spool: &Fixture, number: usize, task: &Path, deed: &Deed) {
    let name = task.file_name().unwrap().to_str().unwrap();
    let Ok(mut content) = std::fs::read(task) else { return };
    match deed {
        Deed::Cut(bytes) => {
            content.truncate(*bytes);
            std::fs::write(task, content).unwrap();
        }
        Deed::Flip(bit) => {
            if let Some(byte) = content.get_mut(bit / 8) {
                *byte ^= 1 << (bit % 8);
            }
            std::fs::write(task, content).unwrap();
        }
        Deed::Bury(count) => {
            if let Some(byte) = content.get_mut(ATTEMPTS_OFFSET as usize) {
                *byte = *count;
            }
            std::fs::write(task, content).unwrap();
            std::fs::rename(task, spool.path("dead").join(name)).unwrap();
        }
        Deed::Copy => drop(std::fs::copy(task, spool.path(&format!("{name}-{number}")))),
        Deed::Link => drop(std::fs::hard_link(task, spool.path(&format!("{name}-{number}")))),
        Deed::Empty => drop(spool.write(&format!("{NAME}-{number}"), b"")),
        Deed::Aside => drop(spool.write(&format!(".{NAME}-{number}"), &content)),
        Deed::Record(own) => {
            let name = if *own { name } else { NAME };
            spool.write(&format!(".unspool/attempts/{name}"), b"{}\n");
        }
    }
}

/// All task files with their contents but for the count, wherever they lie, sorted.
fn contents(path: &Path) -> Vec<Vec<u8>> {
    let mut found: Vec<Vec<u8>> = everything(path)
        .into_iter()
        .filter(|(path, _)| {
            is_task_name(name_of(path)) && !path.to_string_lossy().contains(".unspool")
        })
        .map(|(_, (_, _, mut content))| {
            if let Some(count) = content.get_mut(ATTEMPTS_OFFSET as usize) {
                *count = 0;
            }
            content
        })
        .collect();
    found.sort();
    found
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_repair_loses_no_task_and_a_second_one_finds_nothing_to_do(
        deeds in prop::collection::vec((0usize..6, deed()), 0..12),
        days in 0i64..10,
    ) {
        let spool = Fixture::new();
        for folder in ["dead", ".unspool/attempts"] {
            std::fs::create_dir(spool.path(folder)).unwrap();
        }
        let mut tasks = Vec::new();
        for number in 0..6 {
            let priority = if number % 2 == 0 { "5" } else { "" };
            tasks.push(spool.submit(&[("n", &number.to_string()), ("priority", priority)]));
        }
        for (number, (task, deed)) in deeds.iter().enumerate() {
            act(&spool, number, &tasks[*task], deed);
        }
        let before = contents(spool.spool.path());
        let now_ns = clock::now_ns() + days * DAY_NS;
        let options = FsckOptions { repair: true, now_ns, ..FsckOptions::default() };
        let (found, _) = run(spool.spool.path(), &options);
        prop_assert_eq!(&contents(spool.spool.path()), &before, "{:#?}", found);
        prop_assert!(!found.iter().any(|found| matches!(found.remedy, Remedy::Failed(_))), "{:#?}", found);
        let state = everything(spool.spool.path());
        let (again, _) = run(spool.spool.path(), &options);
        prop_assert_eq!(everything(spool.spool.path()), state);
        for finding in again.iter().filter(|found| found.level == Level::Problem) {
            prop_assert_eq!(finding.check, Check::OnePlace, "{:#?}", again);
        }
    }
}
