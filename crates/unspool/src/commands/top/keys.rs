//! What a key means.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::state::{Mode, State};

/// Characters of a filter.
const FILTER_MAX: usize = 100;
/// Lines that a page key moves.
const PAGE: usize = 10;
/// Milliseconds between two looks that keys choose among.
const INTERVALS_MS: [u64; 8] = [100, 200, 500, 1000, 2000, 5000, 10_000, 60_000];

const HELP: &str = "\
arrows, j k      choose a task
Enter            where the chosen task is: its Python stack
i                what the chosen task says of itself
Tab              choose a spool, if there are several
p                pause the spool, or let it run again
s                sort by time, function or worker
f, /             show functions and tasks with a text in their names
+ -              look more often, or more rarely
space            look now
q, Esc, Ctrl-C   quit

RUNNING FOR is since the worker began the task, BEHIND how many tasks that worker was given ahead.
Rates are of the daemons' counters between two looks.";

/// What has to be done that the state cannot do itself.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Deed {
    Quit,
    /// Into the background, as Ctrl-Z does.
    Suspend,
    LookNow,
    /// Have another command say something of the chosen task.
    Ask(&'static str),
    /// Pause the chosen spool, or let it run again.
    Pause(bool),
}

/// Takes in a key.
pub(super) fn press(state: &mut State, key: KeyEvent) -> Option<Deed> {
    state.note = None;
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return match key.code {
            KeyCode::Char('c') => Some(Deed::Quit),
            KeyCode::Char('z') => Some(Deed::Suspend),
            _ => None,
        };
    }
    match state.mode {
        Mode::Table => in_table(state, key.code),
        Mode::Filter => {
            in_filter(state, key.code);
            None
        }
        Mode::Confirm { pause } => {
            state.mode = Mode::Table;
            matches!(key.code, KeyCode::Char('y' | 'Y')).then_some(Deed::Pause(pause))
        }
        Mode::Text { .. } => {
            in_text(state, key.code);
            None
        }
    }
}

fn in_table(state: &mut State, key: KeyCode) -> Option<Deed> {
    let last = state.running().len().saturating_sub(1);
    match key {
        KeyCode::Char('q') | KeyCode::Esc => return Some(Deed::Quit),
        KeyCode::Char(' ') => return Some(Deed::LookNow),
        KeyCode::Enter => return Some(Deed::Ask("stack")),
        KeyCode::Char('i') => return Some(Deed::Ask("show")),
        KeyCode::Up | KeyCode::Char('k') => state.selected = state.selected.saturating_sub(1),
        KeyCode::Down | KeyCode::Char('j') => state.selected = (state.selected + 1).min(last),
        KeyCode::PageUp => state.selected = state.selected.saturating_sub(PAGE),
        KeyCode::PageDown => state.selected = (state.selected + PAGE).min(last),
        KeyCode::Home => state.selected = 0,
        KeyCode::End => state.selected = last,
        KeyCode::Tab => state.spool = (state.spool + 1) % state.look.spools.len().max(1),
        KeyCode::Char('s') => state.sort = state.sort.next(),
        KeyCode::Char('f' | '/') => state.mode = Mode::Filter,
        KeyCode::Char('p') => {
            let paused = state
                .chosen_spool()
                .map(|spool| spool.pauses.as_ref().is_some_and(|pauses| pauses.spool().is_some()));
            state.mode = paused.map_or(Mode::Table, |paused| Mode::Confirm { pause: !paused });
        }
        KeyCode::Char('+') => {
            let more = INTERVALS_MS.iter().rfind(|ms| **ms < state.interval_ms);
            state.interval_ms = *more.unwrap_or(&INTERVALS_MS[0]);
        }
        KeyCode::Char('-') => {
            let fewer = INTERVALS_MS.iter().find(|ms| **ms > state.interval_ms);
            state.interval_ms = *fewer.unwrap_or(&state.interval_ms);
        }
        KeyCode::Char('?' | 'h') => show(state, "Keys of unspool top", HELP),
        _ => {}
    }
    None
}

fn in_filter(state: &mut State, key: KeyCode) {
    match key {
        KeyCode::Enter => state.mode = Mode::Table,
        KeyCode::Esc => {
            state.filter.clear();
            state.mode = Mode::Table;
        }
        KeyCode::Backspace => {
            state.filter.pop();
        }
        KeyCode::Char(c) if state.filter.chars().count() < FILTER_MAX => state.filter.push(c),
        _ => {}
    }
    state.selected = 0;
}

fn in_text(state: &mut State, key: KeyCode) {
    let Mode::Text { lines, top, .. } = &mut state.mode else { return };
    let last = lines.len().saturating_sub(1);
    match key {
        KeyCode::Up | KeyCode::Char('k') => *top = top.saturating_sub(1),
        KeyCode::Down | KeyCode::Char('j') => *top = (*top + 1).min(last),
        KeyCode::PageUp => *top = top.saturating_sub(PAGE),
        KeyCode::PageDown | KeyCode::Char(' ') => *top = (*top + PAGE).min(last),
        KeyCode::Home => *top = 0,
        KeyCode::End => *top = last,
        _ => state.mode = Mode::Table,
    }
}

/// Shows a text in place of the table.
pub(super) fn show(state: &mut State, title: &str, text: &str) {
    let lines = text.lines().map(str::to_owned).collect();
    state.mode = Mode::Text { title: title.to_owned(), lines, top: 0 };
}

#[cfg(test)]
mod tests {
    use super::super::state::tests::{look, status};
    use super::*;

    fn type_in(state: &mut State, keys: &str) -> Option<Deed> {
        let code = |c| match c {
            '\n' => KeyCode::Enter,
            '\x1b' => KeyCode::Esc,
            c => KeyCode::Char(c),
        };
        let press = |c| press(state, KeyEvent::new(code(c), KeyModifiers::NONE));
        keys.chars().map(press).last().flatten()
    }

    fn state() -> State {
        let mut state = State { interval_ms: 1000, ..State::default() };
        state.take(look(1, status(1, 0, 0, &[("mail", 50), ("resize", 900)])));
        state
    }

    #[test]
    fn keys_choose_sort_and_filter() {
        let mut state = state();
        type_in(&mut state, "jjj");
        assert_eq!(state.selected, 1);
        type_in(&mut state, "k");
        assert_eq!(state.selected, 0);
        assert_eq!(type_in(&mut state, "\n"), Some(Deed::Ask("stack")));
        type_in(&mut state, "fmaq\n");
        assert_eq!((state.filter.as_str(), state.running().len()), ("maq", 0));
        type_in(&mut state, "f\x1b");
        assert_eq!(state.running().len(), 2);
        type_in(&mut state, "++");
        assert_eq!(state.interval_ms, 200);
        type_in(&mut state, "-----------");
        assert_eq!(state.interval_ms, 60_000);
        assert_eq!(type_in(&mut state, "q"), Some(Deed::Quit));
        let ctrl_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        state.mode = Mode::Filter;
        assert_eq!(press(&mut state, ctrl_c), Some(Deed::Quit));
    }

    #[test]
    fn a_pause_is_asked_for_twice() {
        let mut state = state();
        assert_eq!(type_in(&mut state, "p"), None);
        assert_eq!(state.mode, Mode::Confirm { pause: true });
        assert_eq!(type_in(&mut state, "n"), None);
        assert_eq!(state.mode, Mode::Table);
        assert_eq!(type_in(&mut state, "py"), Some(Deed::Pause(true)));
    }

    #[test]
    fn a_text_moves_and_goes() {
        let mut state = state();
        type_in(&mut state, "?jj");
        assert!(matches!(state.mode, Mode::Text { top: 2, .. }));
        type_in(&mut state, "\x1b");
        assert_eq!(state.mode, Mode::Table);
    }
}
