//! A file system with two states: what is in memory, and what a power cut leaves.
//!
//! Built from the calls that a scenario made. A name and the content of a file survive only what
//! POSIX promises: a name what flushed its directory, content and times what flushed the file.
//! Everything else may or may not be there after a power cut, each effect by itself, names of one
//! directory without regard to their order, and a write also in part: shorter, with zeros in its
//! place, or with some of its sectors. What is overwritten changes by whole sectors.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use unspool_sys::trace::{Call, Node};

use crate::random::Random;

const SECTOR: usize = 512;
const PAGE: u64 = 4096;
/// What no flush is of.
const NEVER: Node = Node::MAX;

/// A file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct File {
    pub(crate) content: Vec<u8>,
    pub(crate) mtime_ns: i64,
}

/// Directories and files by node, and what names them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Tree {
    pub(crate) top: Node,
    pub(crate) folders: BTreeMap<Node, BTreeMap<Vec<u8>, Node>>,
    pub(crate) files: BTreeMap<Node, File>,
}

impl Tree {
    /// What lies on a disk, all of it durable.
    pub(crate) fn read(path: &Path) -> Self {
        let mut tree = Self { top: inode(path), ..Self::default() };
        tree.read_folder(path);
        tree
    }

    fn read_folder(&mut self, path: &Path) {
        let mut entries = BTreeMap::new();
        for entry in std::fs::read_dir(path).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().as_bytes().to_vec();
            let (meta, node) = (path.symlink_metadata().unwrap(), inode(&path));
            entries.insert(name, node);
            if meta.is_dir() {
                self.read_folder(&path);
            } else {
                let mtime_ns = meta.mtime() * 1_000_000_000 + meta.mtime_nsec();
                self.files.insert(node, File { content: std::fs::read(&path).unwrap(), mtime_ns });
            }
        }
        self.folders.insert(inode(path), entries);
    }

    /// Applies a call. A name whose file was never named before a cut is still its name.
    fn apply(&mut self, call: &Call) {
        match call {
            Call::Create { folder, name, node } => {
                self.files.entry(*node).or_default();
                self.entries(*folder).insert(name.clone(), *node);
            }
            Call::MakeFolder { folder, name, node } => {
                self.folders.entry(*node).or_default();
                self.entries(*folder).insert(name.clone(), *node);
            }
            Call::Unlink { folder, name } => {
                self.entries(*folder).remove(name);
            }
            Call::Write { node, offset, bytes } => self.write(*node, *offset as usize, bytes),
            Call::SetTime { node, mtime_ns } => {
                self.files.entry(*node).or_default().mtime_ns = *mtime_ns;
            }
            // A rename needs to know what it moves: see `step`.
            Call::Rename { .. } | Call::Sync { .. } | Call::SyncFailed { .. } | Call::Note(_) => {}
        }
    }

    fn rename(&mut self, (folder, name): (Node, &[u8]), (to, new): (Node, &[u8]), moved: Node) {
        let entries = self.entries(folder);
        if entries.get(name) == Some(&moved) {
            entries.remove(name);
        }
        self.entries(to).insert(new.to_vec(), moved);
    }

    fn write(&mut self, node: Node, offset: usize, bytes: &[u8]) {
        let content = &mut self.files.entry(node).or_default().content;
        let end = offset + bytes.len();
        if content.len() < end {
            content.resize(end, 0);
        }
        content[offset..end].copy_from_slice(bytes);
    }

    fn entries(&mut self, folder: Node) -> &mut BTreeMap<Vec<u8>, Node> {
        self.folders.entry(folder).or_default()
    }

    /// Lays it out below a directory that is there and empty. Folders that nothing names are gone.
    pub(crate) fn lay_out(&self, path: &Path) {
        self.lay_out_folder(self.top, path);
    }

    fn lay_out_folder(&self, folder: Node, path: &Path) {
        for (name, node) in self.folders.get(&folder).into_iter().flatten() {
            let path = path.join(std::ffi::OsStr::from_bytes(name));
            if self.folders.contains_key(node) {
                std::fs::create_dir(&path).unwrap();
                self.lay_out_folder(*node, &path);
            } else if let Some(file) = self.files.get(node) {
                std::fs::write(&path, &file.content).unwrap();
                let opened = std::fs::File::options().write(true).open(&path).unwrap();
                unspool_sys::file::set_mtime(std::os::fd::AsFd::as_fd(&opened), file.mtime_ns)
                    .unwrap();
            }
        }
    }
}

fn inode(path: &Path) -> Node {
    path.symlink_metadata().unwrap().ino()
}

/// What a call needs flushed to survive.
fn needs(call: &Call) -> Vec<Node> {
    match call {
        Call::Create { folder, .. }
        | Call::MakeFolder { folder, .. }
        | Call::Unlink { folder, .. } => vec![*folder],
        Call::Rename { folder, to, .. } if folder == to => vec![*folder],
        Call::Rename { folder, to, .. } => vec![*folder, *to],
        Call::Write { node, .. } | Call::SetTime { node, .. } => vec![*node],
        Call::Sync { .. } | Call::SyncFailed { .. } | Call::Note(_) => Vec::new(),
    }
}

/// What becomes of an effect that was not flushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Lost,
    Kept,
    /// The first bytes of a write.
    Short,
    /// Its length, and zeros.
    Zeros,
    /// Some of its sectors; zeros in the place of the others.
    Sectors,
}

/// The calls of a scenario before a crash, and what is certain of them.
#[derive(Debug)]
pub(crate) struct History<'a> {
    start: &'a Tree,
    /// Each effect, the node that a rename moved, and whether it is durable.
    effects: Vec<(&'a Call, Node, bool)>,
}

impl<'a> History<'a> {
    /// Of the first `count` calls.
    pub(crate) fn new(start: &'a Tree, calls: &'a [Call], count: usize) -> Self {
        let mut now = start.clone();
        let mut effects: Vec<(&Call, Node, bool, BTreeSet<Node>)> = Vec::new();
        for call in &calls[..count] {
            match call {
                Call::Sync { node } => {
                    for (call, _, durable, waits) in &mut effects {
                        if waits.remove(node) {
                            *durable = waits.is_empty() && !needs(call).is_empty();
                        }
                    }
                }
                // What waited for it may never be flushed, whatever later flushes say.
                Call::SyncFailed { node } => {
                    for (.., waits) in &mut effects {
                        if waits.contains(node) {
                            waits.insert(NEVER);
                        }
                    }
                }
                Call::Note(_) => {}
                call => {
                    let moved = moved(&now, call);
                    step(&mut now, call, moved);
                    effects.push((call, moved, false, needs(call).into_iter().collect()));
                }
            }
        }
        let effects = effects.into_iter().map(|(call, moved, durable, _)| (call, moved, durable));
        Self { start, effects: effects.collect() }
    }

    /// What is there when only processes die.
    pub(crate) fn in_memory(&self) -> Tree {
        self.build(|_| Fate::Kept, &mut Random::new(0))
    }

    /// What is there at least after a power cut.
    pub(crate) fn least(&self) -> Tree {
        self.build(|_| Fate::Lost, &mut Random::new(0))
    }

    /// States after a power cut: all of them, or if there are more than `most`, so many at random.
    pub(crate) fn after_power_cut(&self, most: usize, random: &mut Random) -> BTreeSet<Tree> {
        let choices: Vec<&[Fate]> = self
            .effects
            .iter()
            .filter(|(_, _, durable)| !durable)
            .map(|(call, ..)| match call {
                Call::Write { bytes, .. } if bytes.len() > 1 => {
                    &[Fate::Lost, Fate::Kept, Fate::Short, Fate::Zeros, Fate::Sectors][..]
                }
                _ => &[Fate::Lost, Fate::Kept][..],
            })
            .collect();
        let all = choices.iter().try_fold(1usize, |all, fates| all.checked_mul(fates.len()));
        let mut states = BTreeSet::new();
        if let Some(all) = all.filter(|all| *all <= most) {
            for mut number in 0..all {
                let fates: Vec<Fate> = choices
                    .iter()
                    .map(|fates| {
                        let fate = fates[number % fates.len()];
                        number /= fates.len();
                        fate
                    })
                    .collect();
                states.insert(self.build(|at| fates[at], random));
            }
        } else {
            for _ in 0..most {
                let fates: Vec<Fate> =
                    choices.iter().map(|fates| fates[random.below(fates.len())]).collect();
                states.insert(self.build(|at| fates[at], random));
            }
        }
        states
    }

    fn build(&self, fate: impl Fn(usize) -> Fate, random: &mut Random) -> Tree {
        let mut undecided = 0;
        let mut fates: Vec<Fate> = (self.effects.iter())
            .map(|(_, _, durable)| {
                undecided += usize::from(!durable);
                if *durable { Fate::Kept } else { fate(undecided - 1) }
            })
            .collect();
        // A page is written as it is in memory: with all that was written to it before.
        for later in 0..fates.len() {
            if fates[later] != Fate::Lost {
                for (earlier, fate) in fates.iter_mut().enumerate().take(later) {
                    if share_a_page(self.effects[earlier].0, self.effects[later].0) {
                        *fate = Fate::Kept;
                    }
                }
            }
        }
        let mut tree = self.start.clone();
        for ((call, moved, _), fate) in self.effects.iter().zip(fates) {
            match (fate, call) {
                (Fate::Lost, _) => {}
                (Fate::Kept, call) => step(&mut tree, call, *moved),
                (fate, Call::Write { node, offset, bytes }) => {
                    let old =
                        tree.files.get(node).and_then(|file| file.content.get(*offset as usize..));
                    let left = torn(fate, bytes, old.unwrap_or_default(), random);
                    tree.write(*node, *offset as usize, &left);
                }
                (_, call) => step(&mut tree, call, *moved),
            }
        }
        tree
    }
}

fn share_a_page(one: &Call, other: &Call) -> bool {
    let pages = |call: &Call| match call {
        Call::Write { node, offset, bytes } => {
            Some((*node, offset / PAGE, (offset + bytes.len() as u64) / PAGE))
        }
        _ => None,
    };
    let (Some((one, first, last)), Some((other, from, to))) = (pages(one), pages(other)) else {
        return false;
    };
    one == other && first <= to && from <= last
}

/// What a write leaves that was not made whole. What was there before stays by sectors: a disk
/// writes one or does not, and a short write ends where one ends or where the file did.
fn torn(fate: Fate, bytes: &[u8], old: &[u8], random: &mut Random) -> Vec<u8> {
    let mut left = bytes.to_vec();
    for at in (0..bytes.len()).step_by(SECTOR) {
        let stays = match fate {
            Fate::Zeros => true,
            Fate::Short => at < old.len(),
            _ => random.below(2) == 0,
        };
        for here in (at..bytes.len().min(at + SECTOR)).filter(|_| stays) {
            left[here] = old.get(here).copied().unwrap_or(0);
        }
    }
    if fate == Fate::Short && bytes.len() > old.len() {
        left.truncate(old.len() + random.below(bytes.len() - old.len()));
    }
    left
}

/// The node that a rename moves.
fn moved(tree: &Tree, call: &Call) -> Node {
    match call {
        Call::Rename { folder, name, .. } => {
            tree.folders.get(folder).and_then(|entries| entries.get(name)).copied().unwrap_or(0)
        }
        _ => 0,
    }
}

fn step(tree: &mut Tree, call: &Call, moved: Node) {
    match call {
        Call::Rename { folder, name, to, new_name } => {
            tree.rename((*folder, name), (*to, new_name), moved);
        }
        call => tree.apply(call),
    }
}
