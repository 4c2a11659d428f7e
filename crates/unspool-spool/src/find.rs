//! Find: where a task lies that somebody names: by its path, its file's name, its id, or a part of
//! those.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use unspool_core::Priority;
use unspool_sys::folder::{self, FileKind, Folder, Stat, os_str};

use crate::SpoolView;
use crate::layout::{CORRUPT, DEAD, INTERNAL, is_task_name};
use crate::list::{Listed, Shelves, list, listed};
use crate::part::{CHARACTERS_MIN, Part, Pass, is_denied};

/// Paths that an error names.
const PATHS_SHOWN: usize = 3;

/// A task's place among the pending ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its folder; `None`: the spool itself.
    pub priority: Option<Priority>,
    /// Its file's name.
    pub name: Vec<u8>,
}

impl Place {
    /// A name, or a folder, a slash and a name; `None` if no pending task can be there.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let (priority, name) = match text.iter().position(|byte| *byte == b'/') {
            None => (None, text),
            Some(slash) => (Some(Priority::new(&text[..slash]).ok()?), &text[slash + 1..]),
        };
        let plain = is_task_name(name) && !name.contains(&b'/') && !name.contains(&0);
        plain.then(|| Self { priority, name: name.to_vec() })
    }

    /// The reverse of [`Place::parse`].
    pub fn relative(&self) -> Vec<u8> {
        match &self.priority {
            None => self.name.clone(),
            Some(priority) => [priority.as_bytes(), b"/", &self.name].concat(),
        }
    }

    /// Its path.
    pub fn path(&self, spool: &SpoolView) -> PathBuf {
        spool.path().join(os_str(&self.relative()))
    }
}

/// A folder for tasks that are not pending any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// It was given up.
    Dead,
    /// It was no whole task, or not signed as it has to be.
    Corrupt,
}

impl Kept {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dead => "dead",
            Self::Corrupt => "corrupt",
        }
    }

    fn of_folder(name: &[u8]) -> Option<Self> {
        [Self::Dead, Self::Corrupt].into_iter().find(|kept| kept.folder() == name)
    }

    pub(crate) fn folder(self) -> &'static [u8] {
        match self {
            Self::Dead => DEAD,
            Self::Corrupt => CORRUPT,
        }
    }
}

/// How a task is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskName {
    /// By its place.
    Place(Place),
    /// By its place among those that are not pending any more.
    Kept(Kept, Vec<u8>),
    /// By its file, wherever in the spool that lies.
    File(Vec<u8>),
    /// By a part of its id, or else of its file's name.
    Part(Part),
}

impl TaskName {
    /// Reads a path within a spool; `None` if no task can be there.
    pub fn within(path: &[u8]) -> Option<Self> {
        let slash = path.iter().position(|byte| *byte == b'/').unwrap_or_default();
        let (folder, name) = (&path[..slash], path.get(slash + 1..).unwrap_or_default());
        match Kept::of_folder(folder) {
            None => Place::parse(path).map(Self::Place),
            Some(kept) => Place::parse(name)
                .filter(|place| place.priority.is_none())
                .map(|place| Self::Kept(kept, place.name)),
        }
    }

    /// Reads what somebody typed; `None` if it names no task.
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text.contains(&b'/') {
            return Place::parse(text).map(Self::Place);
        }
        if is_task_name(text) {
            return (!text.contains(&0)).then(|| Self::File(text.to_vec()));
        }
        Part::parse(text).map(Self::Part)
    }
}

/// The spool in which a path's file lies, or lay, and the task's name there; `None` if it is in none.
///
/// # Errors
/// A folder of the path may not be looked at.
pub fn spool_of(path: &Path) -> Result<Option<(PathBuf, TaskName)>, FindError> {
    find_spool(path).map_err(|source| FindError::Path { path: path.to_owned(), source })
}

fn find_spool(path: &Path) -> io::Result<Option<(PathBuf, TaskName)>> {
    let is_spool = |directory: &Path| {
        let stat = folder::look(&directory.join(os_str(INTERNAL)))?;
        io::Result::Ok(stat.is_some_and(|stat| stat.kind == FileKind::Directory))
    };
    let file = path.file_name().map(OsStr::as_bytes).filter(|name| is_task_name(name));
    let (Some(name), Some(parent)) = (file, path.parent()) else { return Ok(None) };
    // A link, or `..`, would hide what the folder is.
    let (spool, folder) = match canonical(parent)? {
        Some(parent) if is_spool(&parent)? => {
            let place = Place { priority: None, name: name.to_vec() };
            return Ok(Some((parent, TaskName::Place(place))));
        }
        Some(parent) => (parent.parent().map(Path::to_owned), parent),
        // The folder of a priority may have gone with its last task.
        None => (parent.parent().map(canonical).transpose()?.flatten(), parent.to_owned()),
    };
    let (Some(spool), Some(folder)) = (spool, folder.file_name()) else { return Ok(None) };
    if !is_spool(&spool)? {
        return Ok(None);
    }
    // A path means one file, whatever else has its name.
    let within = TaskName::within(&[folder.as_bytes(), b"/", name].concat());
    Ok(Some((spool, within.unwrap_or_else(|| TaskName::File(name.to_vec())))))
}

fn canonical(path: &Path) -> io::Result<Option<PathBuf>> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    match folder::canonical(path) {
        Ok(path) => Ok(Some(path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Where a task lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whereabouts {
    /// It is pending, or runs.
    Pending(Place),
    /// Neither: a file of this name is kept there.
    Kept(Kept, Vec<u8>),
}

impl Whereabouts {
    /// The name of its file.
    pub fn name(&self) -> &[u8] {
        match self {
            Self::Pending(place) => &place.name,
            Self::Kept(_, name) => name,
        }
    }

    /// Its path.
    pub fn path(&self, spool: &SpoolView) -> PathBuf {
        match self {
            Self::Pending(place) => place.path(spool),
            Self::Kept(kept, name) => spool.path().join(kept.as_str()).join(os_str(name)),
        }
    }
}

/// A task that somebody names is not found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FindError {
    /// It cannot be one.
    #[error(
        "`{given}` names no task: give the path of its file in a spool, the name of that file, or its \
         id; of those two a part of {CHARACTERS_MIN} characters or more will do"
    )]
    NoName {
        /// What was given.
        given: String,
    },
    /// It may be one of several.
    #[error("`{given}` names {tasks} tasks, among them {paths}: give more of the id, or a path")]
    Ambiguous {
        /// What was given.
        given: String,
        /// How many.
        tasks: usize,
        /// Some of them.
        paths: String,
    },
    /// It may lie there, and nobody lets us look.
    #[error("cannot look for `{path}`")]
    Path {
        /// The task.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A folder cannot be read.
    #[error("cannot look through the spool `{spool}` for tasks")]
    Io {
        /// The spool.
        spool: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// What was found, and what could not be looked at.
#[derive(Debug, Default)]
pub struct Sought {
    /// Where the files lie that may be meant.
    pub found: Vec<Whereabouts>,
    /// Files that may not be read, so that their ids are not known.
    pub unread: u64,
    /// Why a folder or a file could not be looked at: the first of them.
    pub failed: Option<io::Error>,
}

impl Sought {
    /// What was found.
    ///
    /// # Errors
    /// There is nothing, and not all could be looked at.
    pub fn into_found(self) -> io::Result<Vec<Whereabouts>> {
        let Self { found, unread, failed } = self;
        if !found.is_empty() {
            return Ok(found);
        }
        if let Some(error) = failed {
            return Err(error);
        }
        if unread > 0 {
            let what =
                format!("{unread} of their files may not be read, and it may be one of those");
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, what));
        }
        Ok(found)
    }

    fn fail(&mut self, error: io::Error) {
        self.failed.get_or_insert(error);
    }

    /// Takes in what a look at a name has told. Returns whether a file is there.
    fn is_there(&mut self, stat: io::Result<Option<Stat>>) -> bool {
        match stat {
            Ok(stat) => stat.is_some(),
            Err(error) => {
                self.fail(error);
                false
            }
        }
    }

    /// Takes in a folder, if it is there and can be opened.
    fn opened(&mut self, folder: io::Result<Option<Folder>>) -> Option<Folder> {
        match folder {
            Ok(folder) => folder,
            // A file of that name holds no tasks.
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => None,
            Err(error) => {
                self.fail(error);
                None
            }
        }
    }

    /// Looks for a file that is kept.
    fn look_in(&mut self, spool: &SpoolView, kept: Kept, name: &[u8]) {
        let Some(folder) = self.opened(spool.sub(kept.folder())) else { return };
        if self.is_there(folder.stat(name)) {
            self.found.push(Whereabouts::Kept(kept, name.to_vec()));
        }
    }

    fn look_in_kept(&mut self, spool: &SpoolView, name: &[u8]) {
        for kept in [Kept::Dead, Kept::Corrupt] {
            self.look_in(spool, kept, name);
        }
    }

    /// Looks for a pending file; if it is not there, where it may be kept.
    fn look_at(&mut self, spool: &SpoolView, place: &Place) {
        let there = match &place.priority {
            None => self.is_there(spool.top().stat(&place.name)),
            Some(priority) => self
                .opened(spool.priority_folder(priority))
                .is_some_and(|folder| self.is_there(folder.stat(&place.name))),
        };
        if there {
            self.found.push(Whereabouts::Pending(place.clone()));
        } else {
            self.look_in_kept(spool, &place.name);
        }
    }

    /// Looks for a file in all folders.
    fn look_everywhere(&mut self, spool: &SpoolView, name: &[u8]) {
        let place = |priority| Whereabouts::Pending(Place { priority, name: name.to_vec() });
        if self.is_there(spool.top().stat(name)) {
            self.found.push(place(None));
        }
        let priorities = priorities(spool).unwrap_or_else(|error| {
            self.fail(error);
            Vec::new()
        });
        for priority in priorities {
            let Some(folder) = self.opened(spool.priority_folder(&priority)) else { continue };
            if self.is_there(folder.stat(name)) {
                self.found.push(place(Some(priority)));
            }
        }
        self.look_in_kept(spool, name);
    }

    /// Whether a part means a file. One that may not be read is counted.
    fn means(&mut self, part: &Part, pass: Pass, file: &Listed) -> bool {
        match part.matches(pass, file) {
            Ok(matches) => matches,
            Err(error) => {
                if is_denied(&error) {
                    self.unread += 1;
                } else {
                    self.fail(error);
                }
                false
            }
        }
    }

    /// What is meant by its name: an end of an id, or else a part of the name, in one walk.
    fn look_by_names(&mut self, part: &Part, entries: impl Iterator<Item = io::Result<Listed>>) {
        let (mut by_end, mut by_name) = (Vec::new(), Vec::new());
        let is_id = part.passes().contains(&Pass::End);
        for entry in entries {
            match entry {
                Err(error) => self.fail(error),
                Ok(entry) if is_id && self.means(part, Pass::End, &entry) => {
                    by_end.push(entry.into_whereabouts());
                }
                Ok(entry) => {
                    if by_end.is_empty() && self.means(part, Pass::Name, &entry) {
                        by_name.push(entry.into_whereabouts());
                    }
                }
            }
        }
        self.found = if by_end.is_empty() { by_name } else { by_end };
    }
}

/// Looks for the one task that somebody names, in these spools: the index of its spool, and where it
/// lies; `None` if it is in none.
///
/// # Errors
/// There are several; or there is none, and not all could be looked at.
pub fn find_one<'a>(
    spools: impl IntoIterator<Item = &'a SpoolView>,
    given: &[u8],
    name: &TaskName,
) -> Result<Option<(usize, Whereabouts)>, FindError> {
    let (mut found, mut paths, mut failed) = (Vec::new(), Vec::new(), None);
    for (index, spool) in spools.into_iter().enumerate() {
        match find_task(spool, name).into_found() {
            Ok(here) => {
                paths.extend(here.iter().map(|task| task.path(spool)));
                found.extend(here.into_iter().map(|task| (index, task)));
            }
            Err(source) => {
                failed.get_or_insert(FindError::Io { spool: spool.path().to_owned(), source });
            }
        }
    }
    if found.len() > 1 {
        let shown = paths.iter().take(PATHS_SHOWN).map(|path| format!("`{}`", path.display()));
        return Err(FindError::Ambiguous {
            given: String::from_utf8_lossy(given).into_owned(),
            tasks: found.len(),
            paths: shown.collect::<Vec<_>>().join(", "),
        });
    }
    match (found.pop(), failed) {
        (None, Some(error)) => Err(error),
        (found, _) => Ok(found),
    }
}

/// What names a task; an error says what would.
pub fn task_name(given: &[u8]) -> Result<TaskName, FindError> {
    TaskName::parse(given)
        .ok_or_else(|| FindError::NoName { given: String::from_utf8_lossy(given).into_owned() })
}

/// Where all files lie that a name may mean: more than one only for a part.
///
/// A part that is the beginning or the end of an id is looked for first, by the names of the files.
/// Only if there is none all files are opened, and last come the names themselves.
pub fn find_task(spool: &SpoolView, wanted: &TaskName) -> Sought {
    let mut sought = Sought::default();
    match wanted {
        TaskName::Place(place) => sought.look_at(spool, place),
        TaskName::Kept(kept, name) => {
            sought.look_in(spool, *kept, name);
            // Somebody may have moved it since.
            if sought.found.is_empty() {
                sought.look_everywhere(spool, name);
            }
        }
        TaskName::File(name) => sought.look_everywhere(spool, name),
        TaskName::Part(part) => sought = find_part(spool, part),
    }
    sought
}

fn find_part(spool: &SpoolView, part: &Part) -> Sought {
    let mut by_names = Sought::default();
    by_names.look_by_names(part, list(spool, Shelves::ALL));
    if !by_names.found.is_empty() || !part.passes().contains(&Pass::Id) {
        return by_names;
    }
    let mut sought = Sought::default();
    for entry in list(spool, Shelves::ALL) {
        match entry {
            Err(error) => sought.fail(error),
            Ok(entry) => {
                if sought.means(part, Pass::Id, &entry) {
                    sought.found.push(entry.into_whereabouts());
                }
            }
        }
    }
    sought
}

/// The same as [`find_task`] where a daemon has told which pending tasks may be meant by their names.
/// What stands in no name is not found.
pub fn find_among(spool: &SpoolView, wanted: &TaskName, pending: Vec<Place>) -> Sought {
    let mut sought = Sought::default();
    let part = match wanted {
        TaskName::Part(part) => part,
        TaskName::Place(_) | TaskName::Kept(..) => return find_task(spool, wanted),
        TaskName::File(name) => {
            for place in pending {
                sought.look_at(spool, &place);
            }
            if sought.found.is_empty() {
                sought.look_in_kept(spool, name);
            }
            return sought;
        }
    };
    let pending = pending.into_iter().map(|place| {
        let entry = listed(spool, &Whereabouts::Pending(place))?;
        // Of a name alone nobody knows whether it is still there.
        let is_there = entry.as_ref().map(Listed::stat).transpose()?.flatten().is_some();
        io::Result::Ok(entry.filter(|_| is_there))
    });
    let kept = list(spool, Shelves { pending: false, ..Shelves::ALL });
    sought.look_by_names(part, pending.filter_map(Result::transpose).chain(kept));
    sought
}

/// The priorities that have a folder.
pub fn priorities(spool: &SpoolView) -> io::Result<Vec<Priority>> {
    let mut found = Vec::new();
    for entry in spool.top().list()? {
        let (name, kind) = entry?;
        if matches!(kind, None | Some(FileKind::Directory)) {
            found.extend(Priority::new(&name));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_named_by_place_file_or_id() {
        let file = b"uwsgi_spoolfile_on_h_1_1_1_5_7";
        assert_eq!(TaskName::parse(file), Some(TaskName::File(file.to_vec())));
        for part in [&b"0123456789abcdef0123456789ABCDEF"[..], b"cdef", b"web_1_17"] {
            assert!(matches!(TaskName::parse(part), Some(TaskName::Part(_))));
        }
        let place = [b"5/", &file[..]].concat();
        let Some(TaskName::Place(found)) = TaskName::parse(&place) else { panic!() };
        assert_eq!((found.priority.clone(), found.relative()), (Priority::new(b"5").ok(), place));
        for bad in [
            &b"012"[..],
            b"",
            b"x",
            b"a\0bc",
            b"../uwsgi_spoolfile_on_a",
            b"dead/uwsgi_spoolfile_on_a",
        ] {
            assert_eq!(TaskName::parse(bad), None, "{}", String::from_utf8_lossy(bad));
        }
        assert_eq!(TaskName::parse(b"5/6/uwsgi_spoolfile_on_a"), None);
        let within = |path: &[u8]| TaskName::within(path);
        assert_eq!(within(b"5/uwsgi_spoolfile_on_h_1_1_1_5_7"), Some(TaskName::Place(found)));
        let kept = TaskName::Kept(Kept::Dead, b"uwsgi_spoolfile_on_a".to_vec());
        assert_eq!(within(b"dead/uwsgi_spoolfile_on_a"), Some(kept));
        for bad in [&b"dead/5/uwsgi_spoolfile_on_a"[..], b"dead/a", b"dead", b"", b".x/dead"] {
            assert_eq!(within(bad), None, "{}", String::from_utf8_lossy(bad));
        }
    }
}
