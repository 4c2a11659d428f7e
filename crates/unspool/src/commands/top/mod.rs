//! `unspool top`: spools as they are now, on a terminal, until somebody leaves.
//!
//! `look` asks, `state` keeps, `keys` and `draw` are the two ends of the terminal. Without one, `plain`
//! says the same in lines.

mod draw;
mod keys;
mod look;
mod plain;
mod state;
mod words;

use std::collections::BTreeSet;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use unspool_config::Environment;
use unspool_spool::{Pause, PauseError, Scope, pause, resume};
use unspool_sys::clock;
use unspool_sys::signal::{Asked, Signals, suspend};

use self::draw::Colours;
use self::keys::Deed;
use self::look::{Looker, SpoolLook};
use self::state::State;
use super::logs::daemon::{Heard, Reader, readers};
use super::logs::filter::Line;
use crate::cli::TopOptions;
use crate::exit;
use crate::logging::{complain, with_causes};
use crate::spools::{Source, SpoolsError, open_all};

/// How a spool is named here.
const WAYS: &str = "--spooler DIR or --config FILE";
/// How long keys are waited for before signals are looked at.
const KEY_WAIT_MAX: Duration = Duration::from_millis(100);
/// Between two looks for daemons whose logs are not read yet.
const READERS_EVERY_NS: u64 = 3_000_000_000;
/// Bytes of another command's answer that are shown.
const ANSWER_BYTES_MAX: usize = 1 << 20;

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
enum TopError {
    #[error(transparent)]
    Spools(#[from] SpoolsError),
    #[error("the terminal cannot be used")]
    Terminal(#[source] io::Error),
    #[error("cannot print")]
    Print(#[source] io::Error),
}

impl TopError {
    fn exit_status(&self) -> u8 {
        match self {
            Self::Spools(error) => error.exit_status(),
            _ => exit::FAILED,
        }
    }
}

/// Shows spools.
pub(crate) fn run(options: &TopOptions) -> u8 {
    let shown = Source::of(&options.spool, WAYS)
        .and_then(Source::run_here)
        .map_err(TopError::from)
        .and_then(|(paths, _)| Top::new(options, paths).run(options));
    match shown {
        Ok(status) => status,
        // Who reads on does not want more.
        Err(TopError::Print(error)) if error.kind() == io::ErrorKind::BrokenPipe => exit::OK,
        Err(error) => {
            complain(&error);
            error.exit_status()
        }
    }
}

struct Top {
    paths: Vec<PathBuf>,
    looker: Looker,
    state: State,
    readers: Vec<Reader>,
    readers_again_ns: u64,
    /// Looks that are left.
    left: u64,
    colours: Colours,
}

impl Top {
    fn new(options: &TopOptions, paths: Vec<PathBuf>) -> Self {
        let interval_ms = u64::try_from(options.interval.as_millis()).unwrap_or(u64::MAX);
        let state = State { interval_ms, ..State::default() };
        let looker = Looker::new(paths.clone());
        let left = options.count.map_or(u64::MAX, u64::from);
        let colours = Colours(Environment::current().wants_colour());
        Self { paths, looker, state, readers: Vec::new(), readers_again_ns: 0, left, colours }
    }

    fn run(mut self, options: &TopOptions) -> Result<u8, TopError> {
        if !options.json && !options.once && io::stdout().is_terminal() {
            return self.interactive().map(|()| exit::OK);
        }
        if options.once || (!options.json && options.count.is_none()) {
            self.left = 1;
        }
        while self.left > 0 {
            self.look();
            let text =
                if options.json { plain::object(&self.state) } else { plain::text(&self.state) };
            let mut out = io::stdout().lock();
            out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(TopError::Print)?;
            if self.left > 0 {
                clock::pause(Duration::from_millis(self.state.interval_ms));
            }
        }
        let failed = self.state.look.spools.iter().any(|spool| spool.problem.is_some());
        Ok(if failed { exit::FAILED } else { exit::OK })
    }

    fn look(&mut self) {
        self.left -= 1;
        let look = self.looker.look();
        self.state.take(look);
    }

    fn interactive(mut self) -> Result<(), TopError> {
        let signals = Signals::install().map_err(TopError::Terminal)?;
        // Whatever ends this process in order, a panic too, gives the terminal back.
        let mut terminal = ratatui::try_init().map_err(TopError::Terminal)?;
        let ended = self.watch(&mut terminal, &signals);
        let restored = terminal.show_cursor().and(ratatui::try_restore());
        ended.and(restored).map_err(TopError::Terminal)
    }

    fn watch(&mut self, terminal: &mut DefaultTerminal, signals: &Signals) -> io::Result<()> {
        let mut next_ns = 0;
        while self.left > 0 {
            if clock::monotonic_ns() >= next_ns {
                self.look();
                self.read_logs();
                next_ns = clock::monotonic_ns() + self.state.interval_ms * 1_000_000;
            }
            terminal.draw(|frame| draw::draw(frame, &self.state, self.colours))?;
            let wait = Duration::from_nanos(next_ns.saturating_sub(clock::monotonic_ns()));
            let mut deed = None;
            if event::poll(wait.min(KEY_WAIT_MAX))?
                && let Event::Key(key) = event::read()?
                && key.kind == KeyEventKind::Press
            {
                deed = keys::press(&mut self.state, key);
            }
            for asked in signals.take() {
                match asked {
                    Asked::Stop | Asked::Quit | Asked::Reload => deed = Some(Deed::Quit),
                    Asked::Pause => deed = Some(Deed::Suspend),
                    Asked::State | Asked::ChildEnded => {}
                }
            }
            match deed {
                None => {}
                Some(Deed::Quit) => return Ok(()),
                Some(Deed::LookNow) => next_ns = 0,
                Some(Deed::Suspend) => {
                    terminal.show_cursor()?;
                    ratatui::try_restore()?;
                    suspend()?;
                    *terminal = ratatui::try_init()?;
                }
                Some(Deed::Ask(word)) => self.ask(word),
                Some(Deed::Pause(paused)) => {
                    self.state.note = Some(self.pause(paused));
                    next_ns = 0;
                }
            }
        }
        Ok(())
    }

    /// Takes in what daemons have told since. One that came anew tells its last lines.
    fn read_logs(&mut self) {
        let now_ns = clock::monotonic_ns();
        let known = self.state.look.spools.iter().flat_map(SpoolLook::told);
        let mut new: BTreeSet<u32> = known.map(|status| status.pid).collect();
        new.retain(|pid| !self.readers.iter().any(|reader| reader.pid == *pid));
        if !new.is_empty() && now_ns >= self.readers_again_ns {
            self.readers_again_ns = now_ns + READERS_EVERY_NS;
            // Those that are read go on where they are, and who does not answer would be waited for.
            let all = readers(&self.paths, false).0.into_iter();
            self.readers.extend(all.filter(|reader| new.contains(&reader.pid)));
        }
        let mut heard = Vec::new();
        self.readers.retain_mut(|reader| match reader.read() {
            Ok(news) => {
                heard.extend(news);
                true
            }
            Err(_) => false,
        });
        for news in heard {
            let Heard::Lines(lines) = news else { continue };
            self.state.tell(lines.into_iter().filter_map(|line| match line {
                Line::Record(record) => Some(record),
                Line::Plain(_) => None,
            }));
        }
    }

    /// Has this program say something of the chosen task.
    fn ask(&mut self, word: &str) {
        let Some((task, spool)) = self.state.chosen_task() else {
            self.state.note = Some("no task runs".to_owned());
            return;
        };
        let answer = std::env::current_exe().and_then(|program| {
            let mut command = Command::new(program);
            command.arg(word).arg("--spooler").arg(spool).arg(&task).stdin(Stdio::null());
            command.output()
        });
        let text = match answer {
            Ok(output) => {
                let mut bytes = output.stdout;
                bytes.extend_from_slice(&output.stderr);
                bytes.truncate(ANSWER_BYTES_MAX);
                String::from_utf8_lossy(&bytes).into_owned()
            }
            Err(error) => format!("unspool cannot be started: {error}"),
        };
        keys::show(&mut self.state, &format!("unspool {word} {}", task.display()), &text);
    }

    /// Pauses the chosen spool or lets it run again; what came of it.
    fn pause(&self, paused: bool) -> String {
        let Some(spool) = self.state.chosen_spool() else { return String::new() };
        let changed = || -> Result<(), Box<dyn std::error::Error>> {
            for dir in open_all(vec![spool.path.clone()])? {
                let changed: Result<_, PauseError> = if paused {
                    pause(&dir, Pause::now(Scope::Spool, "from `unspool top`"))
                } else {
                    resume(&dir, &Scope::Spool)
                };
                changed?;
            }
            Ok(())
        };
        match changed() {
            Ok(()) if paused => format!("paused {}", spool.path.display()),
            Ok(()) => format!("resumed {}", spool.path.display()),
            Err(error) => with_causes(error.as_ref()),
        }
    }
}
