//! What daemons tell from now on, until nobody reads it or no daemon is left.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use unspool_sys::clock;
use unspool_sys::poll::{Waited, wait_or_unread};

use super::daemon::{Heard, Reader};
use super::filter::Filter;
use super::print::Printer;
use super::{complain_lost, show_lines};
use crate::exit;
use crate::logging::complain_text;

/// How long one wait takes.
const TURN_WAIT: Duration = Duration::from_mins(1);
/// Packets of something new are asked for no more often: lines come in bundles.
const FOLLOW_EVERY: Duration = Duration::from_millis(50);

/// Shows what comes.
pub(super) fn follow(mut daemons: Vec<Reader>, filter: &mut Filter, out: &mut Printer) -> u8 {
    if daemons.is_empty() {
        complain_text("no daemon gives its log: there is nothing to follow");
        return exit::FAILED;
    }
    while !daemons.is_empty() && out.closed.is_none() {
        let ready = match ask_and_wait(&mut daemons) {
            Ok(Waited::Readable(ready)) => ready,
            Ok(Waited::Unread) => {
                out.closed = Some(io::ErrorKind::BrokenPipe.into());
                break;
            }
            Err(error) => {
                complain_text(&format!("cannot wait for the daemons: {error}"));
                return exit::FAILED;
            }
        };
        // What is not there any more is taken out from behind, so that places stay.
        for place in ready.iter().rev() {
            if let Err(error) = hear(&mut daemons[*place], filter, out) {
                complain_ended(&daemons.remove(*place), &error);
            }
        }
        if !ready.is_empty() {
            out.flush();
            clock::pause(FOLLOW_EVERY);
        }
    }
    exit::OK
}

/// Asks all for what is new, and waits for the first of them.
fn ask_and_wait(daemons: &mut Vec<Reader>) -> io::Result<Waited> {
    daemons.retain_mut(|daemon| match daemon.ask_news() {
        Ok(()) => true,
        Err(error) => {
            complain_ended(daemon, &error);
            false
        }
    });
    if daemons.is_empty() {
        return Ok(Waited::Readable(Vec::new()));
    }
    let inputs: Vec<_> = daemons.iter().map(AsFd::as_fd).collect();
    wait_or_unread(&inputs, io::stdout().as_fd(), TURN_WAIT)
}

fn hear(daemon: &mut Reader, filter: &mut Filter, out: &mut Printer) -> io::Result<()> {
    for heard in daemon.hear_news()? {
        match heard {
            Heard::Lines(lines) => show_lines(lines, filter, out),
            Heard::Lost(lines) => {
                out.flush();
                complain_lost(lines);
            }
        }
    }
    Ok(())
}

fn complain_ended(daemon: &Reader, error: &io::Error) {
    complain_text(&format!("the daemon with pid {} gives no more of its log: {error}", daemon.pid));
}
