//! The index against a plain model: a list of tasks that is searched from end to end. After each of
//! some random steps both must say the same of everything that is asked of an index.

use proptest::prelude::*;

use super::*;

/// The folders, in the order in which they are served; none is the spool itself.
const FOLDERS: [Option<&[u8]>; 6] =
    [Some(b"5"), Some(b"010"), Some(b"10"), Some(b"a"), Some(b"mail"), None];
const TOP: usize = 5;
/// When the task of each name was submitted: each at its own time, so that there is one order.
const SUBMITTED_NS: [i64; 6] = [40, 10, 60, 20, 50, 30];

#[derive(Debug, Clone)]
enum Step {
    FolderAdded(usize),
    FolderGone(usize),
    /// An event or a scan met a file, with these times.
    Seen {
        folder: usize,
        name: usize,
        due_ns: i64,
        ctime_ns: i64,
    },
    /// The same, and it is one of uWSGI's that nobody has decided about.
    SeenOld {
        folder: usize,
        name: usize,
        due_ns: i64,
        ctime_ns: i64,
    },
    /// A file was removed, or moved to another folder, where it is seen.
    Removed(usize),
    Moved {
        task: usize,
        folder: usize,
    },
    Scan {
        met: Vec<bool>,
    },
    Clock(i64),
    /// The same, and what waits to run again is moved with it.
    ClockSet(i64),
    BestTaken,
    AnyTaken(usize),
    PutBack(usize),
    PutOff {
        task: usize,
        by_ns: i64,
        held: bool,
    },
    SetAside(usize),
    Resumed,
    Finished(usize),
    Reloaded,
    Released(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let (folder, name, due) = (0..FOLDERS.len(), 0..SUBMITTED_NS.len(), 0..30_i64);
    // Of long ago, or of before the clock was set back.
    let ctime = prop_oneof![1..3_i64, 18..20_i64];
    let file = (folder.clone(), name, due, ctime);
    let task = 0..40_usize;
    prop_oneof![
        2 => folder.clone().prop_map(Step::FolderAdded),
        1 => folder.clone().prop_map(Step::FolderGone),
        12 => file.clone().prop_map(|(folder, name, due_ns, ctime_ns)| {
            Step::Seen { folder, name, due_ns, ctime_ns }
        }),
        2 => file.prop_map(|(folder, name, due_ns, ctime_ns)| {
            Step::SeenOld { folder, name, due_ns, ctime_ns }
        }),
        1 => task.clone().prop_map(Step::Removed),
        1 => (task.clone(), folder).prop_map(|(task, folder)| Step::Moved { task, folder }),
        1 => prop::collection::vec(any::<bool>(), 40).prop_map(|met| Step::Scan { met }),
        5 => (-8..12_i64).prop_map(Step::Clock),
        2 => (-12..12_i64).prop_map(Step::ClockSet),
        5 => Just(Step::BestTaken),
        2 => task.clone().prop_map(Step::AnyTaken),
        2 => task.clone().prop_map(Step::PutBack),
        4 => (task.clone(), -3..15_i64, any::<bool>())
            .prop_map(|(task, by_ns, held)| Step::PutOff { task, by_ns, held }),
        2 => task.clone().prop_map(Step::SetAside),
        1 => Just(Step::Resumed),
        3 => task.clone().prop_map(Step::Finished),
        1 => Just(Step::Reloaded),
        2 => task.prop_map(Step::Released),
    ]
}

#[derive(Debug, Clone)]
struct Task {
    folder: usize,
    name: usize,
    state: State,
    due_ns: i64,
    /// The change time of its file, where it waits against what that says.
    held: Option<i64>,
    /// The change time that it was last seen with.
    ctime_ns: i64,
    /// Until its due time, which its file has, it waits to run again.
    waits: bool,
}

/// The model beside the index.
struct Both {
    index: Index,
    lanes: [Option<u32>; 6],
    tasks: Vec<Task>,
    now_ns: i64,
    epoch: u32,
}

fn full_name(name: usize) -> Vec<u8> {
    [PREFIX, format!("{name}").as_bytes()].concat()
}

impl Both {
    fn new() -> Self {
        let mut both = Self {
            index: Index::default(),
            lanes: [None; 6],
            tasks: Vec::new(),
            now_ns: 10,
            epoch: 1,
        };
        both.lanes[TOP] = Some(both.index.lane(None));
        both
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::FolderAdded(folder) => {
                let priority = priority(folder);
                self.lanes[folder] = Some(self.index.lane(priority.as_ref()));
            }
            Step::FolderGone(folder) if folder != TOP => self.folder_gone(folder),
            Step::Seen { folder, name, due_ns, ctime_ns } => {
                self.seen(folder, name, due_ns, ctime_ns);
            }
            Step::SeenOld { folder, name, due_ns, ctime_ns } => {
                self.seen_old(folder, name, due_ns, ctime_ns);
            }
            Step::Removed(task) => {
                if let Some(at) = self.nth(task, |state| state != State::Out) {
                    self.remove(at);
                }
            }
            Step::Moved { task, folder } => {
                if let Some(at) = self.nth(task, |state| state != State::Out) {
                    let Task { name, due_ns, ctime_ns, .. } = self.tasks[at];
                    self.remove(at);
                    self.seen(folder, name, due_ns, ctime_ns);
                }
            }
            Step::Scan { met } => self.scan(&met),
            Step::Clock(by_ns) => self.clock(by_ns),
            Step::ClockSet(by_ns) => self.set_clock(by_ns),
            Step::BestTaken => {
                let best = self.index.best();
                assert_eq!(best, self.best().map(|at| self.key(at)));
                if let Some(at) = self.best() {
                    self.take(at);
                }
            }
            Step::AnyTaken(task) => {
                if let Some(at) = self.nth(task, |state| state == State::Ready) {
                    self.take(at);
                }
            }
            Step::PutBack(task) => {
                if let Some(at) = self.nth(task, |state| state == State::Out) {
                    self.index.put_back(self.key(at));
                    self.tasks[at].state = State::Ready;
                }
            }
            Step::PutOff { task, by_ns, held } => self.put_off(task, by_ns, held),
            Step::SetAside(task) => {
                if let Some(at) = self.nth(task, |state| state == State::Out) {
                    self.index.set_aside(self.key(at));
                    self.tasks[at].state = State::Paused;
                }
            }
            Step::Resumed => self.resumed(),
            Step::Finished(task) => {
                if let Some(at) = self.nth(task, |state| state == State::Out) {
                    self.remove(at);
                }
            }
            Step::Reloaded => self.reloaded(),
            Step::Released(task) => {
                if let Some(at) = self.nth(task, |state| state == State::Kept) {
                    self.index.release(self.key(at), self.now_ns);
                    self.tasks[at].held = None;
                    self.wait(at);
                }
            }
            Step::FolderGone(_) => {}
        }
    }

    fn seen(&mut self, folder: usize, name: usize, due_ns: i64, ctime_ns: i64) {
        let Some(lane) = self.lanes[folder] else { return };
        let seen = Seen { due_ns, ctime_ns, submitted_ns: SUBMITTED_NS[name], bytes: 1 };
        self.index.see(lane, &full_name(name), seen, self.epoch, self.now_ns);
        let Some(at) = self.find(folder, name) else {
            let state = State::Ready;
            self.tasks.push(Task {
                folder,
                name,
                state,
                due_ns,
                held: None,
                ctime_ns,
                waits: false,
            });
            return self.wait(self.tasks.len() - 1);
        };
        let task = &mut self.tasks[at];
        let stays = match task.state {
            State::Out => true,
            State::Kept => false,
            State::Ready | State::Delayed | State::Paused => match task.held {
                Some(held) => held == ctime_ns,
                None => task.due_ns == due_ns,
            },
        };
        if task.state != State::Out {
            task.ctime_ns = ctime_ns;
        }
        if !stays {
            (task.due_ns, task.held, task.waits) = (due_ns, None, false);
            self.wait(at);
        }
    }

    fn seen_old(&mut self, folder: usize, name: usize, due_ns: i64, ctime_ns: i64) {
        let Some(lane) = self.lanes[folder] else { return };
        let known = self.find(folder, name);
        // What is with a worker is not kept back.
        if known.is_some_and(|at| self.tasks[at].state == State::Out) {
            return;
        }
        let same = known.is_some_and(|at| {
            self.tasks[at].state == State::Kept && self.tasks[at].ctime_ns == ctime_ns
        });
        if known.is_some_and(|at| self.tasks[at].state == State::Kept) {
            assert_eq!(self.index.is_kept_as(lane, &full_name(name), ctime_ns, self.epoch), same);
        }
        if same {
            return;
        }
        let seen = Seen { due_ns, ctime_ns, submitted_ns: SUBMITTED_NS[name], bytes: 1 };
        self.index.keep(lane, &full_name(name), seen, self.epoch, name as u32);
        let state = State::Kept;
        let task =
            Task { folder, name, state, due_ns, held: Some(ctime_ns), ctime_ns, waits: false };
        match known {
            Some(at) => self.tasks[at] = task,
            None => self.tasks.push(task),
        }
    }

    /// All folders are read: some files are met, as they were seen last, and the others are gone.
    fn scan(&mut self, met: &[bool]) {
        self.epoch += 1;
        let before = self.tasks.clone();
        for (task, met) in before.iter().zip(met) {
            if *met && task.state == State::Kept {
                self.seen_old(task.folder, task.name, task.due_ns, task.ctime_ns);
            } else if *met {
                self.seen(task.folder, task.name, task.due_ns, task.ctime_ns);
            }
        }
        self.index.sweep(self.epoch);
        let mut met = met.iter().copied().chain(std::iter::repeat(false));
        self.tasks.retain(|task| met.next() == Some(true) || task.state == State::Out);
    }

    fn folder_gone(&mut self, folder: usize) {
        let Some(lane) = self.lanes[folder] else { return };
        self.index.clear_lane(lane);
        self.index.retire_lane(lane);
        self.tasks.retain(|task| task.folder != folder || task.state == State::Out);
        if self.tasks.iter().all(|task| task.folder != folder) {
            self.lanes[folder] = None;
        }
    }

    fn put_off(&mut self, task: usize, by_ns: i64, held: bool) {
        let Some(at) = self.nth(task, |state| state == State::Out) else { return };
        let due_ns = self.now_ns + by_ns;
        let waits = !held;
        let held = held.then_some(self.tasks[at].ctime_ns);
        match held {
            Some(_) => self.index.delay(self.key(at), due_ns, held),
            None => self.index.wait_until(self.key(at), due_ns),
        }
        // Also what is due already waits for the next look at the clock.
        let task = &mut self.tasks[at];
        (task.state, task.due_ns, task.held, task.waits) = (State::Delayed, due_ns, held, waits);
    }

    fn clock(&mut self, by_ns: i64) {
        self.now_ns += by_ns;
        self.index.promote(self.now_ns);
        let now_ns = self.now_ns;
        for task in &mut self.tasks {
            if task.state == State::Delayed && task.due_ns <= now_ns {
                task.state = State::Ready;
            }
        }
    }

    fn resumed(&mut self) {
        self.index.release_paused();
        for task in self.tasks.iter_mut().filter(|task| task.state == State::Paused) {
            task.state = State::Ready;
        }
    }

    /// The clock is set, and waits are moved with it.
    fn set_clock(&mut self, by_ns: i64) {
        self.now_ns += by_ns;
        let mut waits = self.index.waits();
        for (key, due_ns) in &waits {
            self.index.move_wait(*key, due_ns + by_ns, self.now_ns);
        }
        let is_moved =
            |task: &Task| task.waits && matches!(task.state, State::Ready | State::Delayed);
        let moved: Vec<usize> =
            (0..self.tasks.len()).filter(|at| is_moved(&self.tasks[*at])).collect();
        let mut model: Vec<_> =
            moved.iter().map(|at| (self.key(*at), self.tasks[*at].due_ns)).collect();
        model.sort_by_key(|(key, _)| key.0);
        waits.sort_by_key(|(key, _)| key.0);
        assert_eq!(waits, model);
        for at in moved {
            let task = &mut self.tasks[at];
            task.due_ns += by_ns;
            let due = task.due_ns <= self.now_ns;
            task.state = if due { State::Ready } else { State::Delayed };
        }
    }

    fn reloaded(&mut self) {
        self.index.release_held(self.now_ns);
        let now_ns = self.now_ns;
        for task in &mut self.tasks {
            if task.state == State::Delayed && task.held.take().is_some() {
                task.due_ns = now_ns;
            }
        }
    }

    fn take(&mut self, at: usize) {
        self.index.take(self.key(at));
        self.tasks[at].state = State::Out;
    }

    fn remove(&mut self, at: usize) {
        self.index.remove(self.key(at));
        self.tasks.remove(at);
    }

    /// Lets a task wait for its time, which may have come.
    fn wait(&mut self, at: usize) {
        let due = self.tasks[at].due_ns <= self.now_ns.max(self.tasks[at].ctime_ns);
        self.tasks[at].state = if due { State::Ready } else { State::Delayed };
    }

    fn find(&self, folder: usize, name: usize) -> Option<usize> {
        self.tasks.iter().position(|task| task.folder == folder && task.name == name)
    }

    fn key(&self, at: usize) -> TaskKey {
        let task = &self.tasks[at];
        let lane = self.lanes[task.folder].expect("its folder is there");
        self.index.find(lane, &full_name(task.name)).expect("the index has it too")
    }

    /// One of those in such a state.
    fn nth(&self, number: usize, is_one: impl Fn(State) -> bool) -> Option<usize> {
        let all = self.tasks.iter().enumerate().filter(|(_, task)| is_one(task.state));
        let all: Vec<usize> = all.map(|(at, _)| at).collect();
        (!all.is_empty()).then(|| all[number % all.len()])
    }

    fn rank(&self, at: usize) -> (usize, i64) {
        (self.tasks[at].folder, SUBMITTED_NS[self.tasks[at].name])
    }

    fn best_of(&self, is_one: impl Fn(&Task) -> bool) -> Option<usize> {
        (0..self.tasks.len())
            .filter(|at| self.tasks[*at].state == State::Ready && is_one(&self.tasks[*at]))
            .min_by_key(|at| self.rank(*at))
    }

    fn best(&self) -> Option<usize> {
        self.best_of(|_| true)
    }

    /// Asks both everything.
    fn check(&mut self) {
        let ready = self.tasks.iter().filter(|task| task.state == State::Ready).count();
        assert_eq!(self.index.counts(), (self.tasks.len(), ready));
        assert_eq!(self.index.best(), self.best().map(|at| self.key(at)));
        let delayed = self.tasks.iter().filter(|task| task.state == State::Delayed);
        assert_eq!(self.index.next_due(), delayed.map(|task| task.due_ns).min());
        let firsts = (0..FOLDERS.len()).filter_map(|f| self.best_of(|task| task.folder == f));
        let oldest = firsts.map(|at| self.tasks[at].due_ns).min();
        assert_eq!(self.index.oldest_due(), oldest);
        let depths: Vec<_> =
            self.index.depths().map(|(priority, depth)| (priority.cloned(), depth)).collect();
        assert_eq!(depths, self.depths());
        let mut kept: Vec<_> = self.index.kept().map(|kept| (kept.key, kept.due_ns)).collect();
        kept.sort_by_key(|(key, _)| key.0);
        let is_kept = |at: &usize| self.tasks[*at].state == State::Kept;
        let mut expected: Vec<_> = (0..self.tasks.len())
            .filter(is_kept)
            .map(|at| (self.key(at), self.tasks[at].due_ns))
            .collect();
        expected.sort_by_key(|(key, _)| key.0);
        assert_eq!(kept, expected);
        let keys: Vec<TaskKey> = (0..self.tasks.len()).map(|at| self.key(at)).collect();
        for (at, (task, key)) in self.tasks.iter().zip(&keys).enumerate() {
            let key = *key;
            assert_eq!(self.index.state(key), Some(task.state));
            let lane = self.lanes[task.folder].expect("its folder is there");
            assert_eq!(self.index.name(key), Some((lane, full_name(task.name))));
            let other = (at + 1) % keys.len();
            let urgent = self.rank(at) < self.rank(other);
            assert_eq!(self.index.is_more_urgent(key, keys[other]), urgent);
        }
    }

    fn depths(&self) -> Vec<(Option<Priority>, Depth)> {
        let used = (0..FOLDERS.len()).filter(|folder| self.lanes[*folder].is_some());
        used.map(|folder| {
            let count = |state: State| {
                let is_one = |task: &&Task| task.folder == folder && task.state == state;
                self.tasks.iter().filter(is_one).count() as u64
            };
            let depth = Depth {
                due: count(State::Ready),
                delayed: count(State::Delayed),
                running: count(State::Out),
                held: count(State::Kept),
                paused: count(State::Paused),
            };
            (priority(folder), depth)
        })
        .collect()
    }
}

fn priority(folder: usize) -> Option<Priority> {
    FOLDERS[folder].map(|name| Priority::new(name).expect("a priority"))
}

proptest! {
    #[test]
    fn the_index_and_a_plain_list_agree(steps in prop::collection::vec(step(), 1..120)) {
        let mut both = Both::new();
        for step in steps {
            both.step(step);
            both.check();
        }
    }
}

/// Items of earlier places are thrown away now and then, which no short run reaches.
#[test]
fn they_agree_when_stale_items_are_swept() {
    let mut both = Both::new();
    for name in 0..SUBMITTED_NS.len() {
        both.step(Step::Seen { folder: TOP, name, due_ns: 0, ctime_ns: 1 });
    }
    let mut swept = false;
    for round in 0..3 * STALE_MAX {
        // One that is not the best is claimed and given back, another one is touched to be due
        // earlier: what is stale lies below what is looked at.
        both.step(Step::AnyTaken(1));
        both.step(Step::PutBack(0));
        let due_ns = 1_000_000 - round as i64;
        both.step(Step::Seen { folder: TOP, name: 0, due_ns, ctime_ns: 1 });
        assert_eq!(both.index.next_due(), Some(due_ns));
        let waiting = both.index.lanes[0].ready.iter();
        let current = waiting.filter(|Reverse((_, id, place))| both.index.is_current(*id, *place));
        assert_eq!(current.count(), both.index.counts().1);
        swept |= both.index.delayed.len() < round && both.index.lanes[0].ready.len() < round;
        if round % 64 == 0 {
            both.check();
        }
    }
    assert!(swept, "nothing stale was kept, or all of it");
    both.check();
}
