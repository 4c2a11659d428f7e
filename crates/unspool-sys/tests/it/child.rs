//! Child processes of a test: this test binary again, playing one role.
//!
//! Roles are functions of the crate's own `roles` module. A child speaks in lines that start with
//! `> ` and listens to lines. Every wait for one is bounded, and a child that is forgotten is
//! killed. Shared by the tests of several crates.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

/// The variable that makes a test binary play a role.
pub(crate) const ROLE: &str = "UNSPOOL_TEST_ROLE";
/// The role's arguments.
const ARGUMENTS: &str = "UNSPOOL_TEST_ARGUMENTS";
/// Nothing takes that long unless it hangs.
const WAIT: Duration = Duration::from_secs(20);

/// Tests run as threads of one process, and what one of them forks holds the descriptors of all of
/// them for a moment: locks are released and files closed later than a test expects. So that no
/// test has to expect that, forks exclude the tests that must not be disturbed.
static FORKS: RwLock<()> = RwLock::new(());

/// While this is held nobody forks. Whoever holds it must not fork.
pub(crate) fn no_forks() -> RwLockReadGuard<'static, ()> {
    FORKS.read().unwrap_or_else(PoisonError::into_inner)
}

/// Held by whoever forks, until the new process has executed its program or ended.
pub(crate) fn forking() -> RwLockWriteGuard<'static, ()> {
    FORKS.write().unwrap_or_else(PoisonError::into_inner)
}

/// A running child.
#[derive(Debug)]
pub(crate) struct Child {
    process: std::process::Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Child {
    /// Starts a role.
    pub(crate) fn start(role: &str, arguments: &[&str]) -> Self {
        Self::start_with(&[], role, arguments, Stdio::inherit())
    }

    /// Starts a role under another command, such as a tracer, or with a file as standard error.
    pub(crate) fn start_with(
        wrapper: &[&OsStr],
        role: &str,
        arguments: &[&str],
        error: Stdio,
    ) -> Self {
        let binary = std::env::current_exe().unwrap();
        let mut words = wrapper.to_vec();
        words.push(binary.as_os_str());
        let mut command = Command::new(words[0]);
        command
            .args(&words[1..])
            .args(["roles::play", "--exact", "--nocapture", "--test-threads=1"])
            .env(ROLE, role)
            .env(ARGUMENTS, arguments.join("\n"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(error);
        let mut process = {
            let _forking = forking();
            command.spawn().unwrap()
        };
        let input = process.stdin.take();
        let output = BufReader::new(process.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                // What the test harness prints may stand in front of the first line.
                if let Some(at) = line.find("> ") {
                    let _ = sender.send(line[at + 2..].to_owned());
                }
            }
        });
        Self { process, input, lines }
    }

    /// The next line that the child says.
    pub(crate) fn hear(&self) -> String {
        self.lines.recv_timeout(WAIT).expect("the child says something in time")
    }

    /// The lines that it said until it ended.
    pub(crate) fn hear_all(&self) -> Vec<String> {
        let mut heard = Vec::new();
        while let Ok(line) = self.lines.recv_timeout(WAIT) {
            heard.push(line);
        }
        heard
    }

    /// Says a line to the child.
    pub(crate) fn say(&mut self, line: &str) {
        writeln!(self.input.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Kills it with SIGKILL and waits until it is gone.
    pub(crate) fn kill(&mut self) -> ExitStatus {
        self.process.kill().unwrap();
        self.process.wait().unwrap()
    }

    /// Waits until it has ended by itself: it has closed its output.
    pub(crate) fn end(mut self) -> ExitStatus {
        drop(self.input.take());
        self.hear_all();
        self.process.wait().unwrap()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The role that this process is to play, with its arguments; `None` in an ordinary run.
pub(crate) fn role() -> Option<(String, Vec<String>)> {
    let role = std::env::var(ROLE).ok()?;
    let arguments = std::env::var(ARGUMENTS).unwrap_or_default();
    let arguments = arguments.split('\n').filter(|argument| !argument.is_empty());
    Some((role, arguments.map(str::to_owned).collect()))
}

/// In a child: says a line.
pub(crate) fn say(line: &str) {
    // One write a line, not captured by the test harness.
    let mut output = std::io::stdout().lock();
    output.write_all(format!("> {line}\n").as_bytes()).unwrap();
    output.flush().unwrap();
}

/// In a child: waits for a line; `false` when the parent says no more.
pub(crate) fn listen() -> bool {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).is_ok_and(|bytes| bytes > 0)
}
