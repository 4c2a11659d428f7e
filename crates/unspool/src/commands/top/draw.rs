//! The screen: what the state says, for a terminal of any size.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Paragraph, Row, Sparkline, Table, TableState};
use tracing::Level;

use super::look::SpoolLook;
use super::state::{History, Mode, State};
use super::words;
use crate::display::{Paint, age, clean, short_id};
use crate::logging::write_human;

/// Lines of a spool's head, with what is done and what is wrong.
const HEAD_LINES: u16 = 3;
/// Columns of the line of what was done lately.
const SPARK_COLUMNS: u16 = 40;
/// Terminals with fewer lines than this have no log.
const LOG_FROM_LINES: u16 = 14;

/// Whether there are colours.
#[derive(Debug, Clone, Copy)]
pub(super) struct Colours(pub(super) bool);

impl Colours {
    fn style(self, paint: Paint) -> Style {
        let style = Style::new();
        if !self.0 {
            return style;
        }
        match paint {
            Paint::Plain => style,
            Paint::Good => style.fg(Color::Green),
            Paint::Warning => style.fg(Color::Yellow),
            Paint::Bad => style.fg(Color::Red),
            Paint::Quiet => style.add_modifier(Modifier::DIM),
        }
    }
}

/// Draws everything.
pub(super) fn draw(frame: &mut Frame<'_>, state: &State, colours: Colours) {
    let area = frame.area();
    if let Mode::Text { title, lines, top } = &state.mode {
        return draw_text(frame, title, lines, *top);
    }
    let spools = state.look.spools.len() as u16;
    let heads = (spools.max(1) * HEAD_LINES).min(area.height / 2);
    let log = if area.height < LOG_FROM_LINES { 0 } else { area.height / 4 };
    let parts = [
        Constraint::Length(heads),
        Constraint::Min(1),
        Constraint::Length(log),
        Constraint::Length(1),
    ];
    let [heads, table, log, foot] = Layout::vertical(parts).areas(area);
    draw_heads(frame, heads, state, colours);
    draw_table(frame, table, state, colours);
    draw_log(frame, log, state, colours);
    frame.render_widget(Paragraph::new(foot_line(state, colours)), foot);
}

fn draw_heads(frame: &mut Frame<'_>, area: Rect, state: &State, colours: Colours) {
    let shown = (area.height / HEAD_LINES).max(1) as usize;
    // The spool that keys are about is always among them.
    let first = state.spool.saturating_sub(shown - 1);
    let spools = state.look.spools.iter().zip(&state.histories).enumerate().skip(first).take(shown);
    for (row, (at, (spool, history))) in spools.enumerate() {
        let y = area.y + row as u16 * HEAD_LINES;
        let height = HEAD_LINES.min(area.bottom().saturating_sub(y));
        let is_chosen = state.look.spools.len() > 1 && at == state.spool;
        let head = Rect { y, height, ..area };
        draw_head(frame, head, spool, history, (state.look.at_ns, is_chosen), colours);
    }
}

fn draw_head(
    frame: &mut Frame<'_>,
    area: Rect,
    spool: &SpoolLook,
    history: &History,
    (now_ns, is_chosen): (i64, bool),
    colours: Colours,
) {
    let mark = if is_chosen { "> " } else { "" };
    let name = format!("{mark}{}", clean(&spool.path.to_string_lossy()));
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let first = Line::from(vec![
        Span::styled(name, bold),
        Span::raw("  "),
        Span::raw(words::daemons(spool, now_ns)),
    ]);
    let mut second: Vec<Span<'_>> = Vec::new();
    let unknown = words::unknown(spool);
    second.extend(unknown.map(|text| Span::styled(text, colours.style(Paint::Bad))));
    for (count, word, paint) in words::counts(spool) {
        let style = if count > 0 { colours.style(paint) } else { colours.style(Paint::Quiet) };
        second.push(Span::styled(format!("{count} {word}  "), style));
    }
    second.extend(words::oldest(spool).map(Span::raw));
    // What is wrong goes first: a narrow screen cuts the rest.
    let remarks = words::remarks(spool).into_iter();
    let mut third: Vec<Span<'_>> =
        remarks.map(|(text, paint)| Span::styled(text + "  ", colours.style(paint))).collect();
    third.extend(words::rate(history).map(Span::raw));
    let third = Line::from(third);
    let has_chart = area.height >= HEAD_LINES && history.done.iter().any(|done| *done > 0.0);
    let spark = if has_chart { SPARK_COLUMNS.min(area.width / 3) } else { 0 };
    let columns = [Constraint::Min(1), Constraint::Length(spark)];
    let [text, chart] = Layout::horizontal(columns).areas(area);
    frame.render_widget(Paragraph::new(vec![first, Line::from(second), third]), text);
    let shown = history.done.iter().rev().take(chart.width as usize).rev();
    let data: Vec<u64> = shown.map(|done| (done * 10.0).round() as u64).collect();
    frame.render_widget(Sparkline::default().data(data).style(colours.style(Paint::Good)), chart);
}

fn draw_table(frame: &mut Frame<'_>, area: Rect, state: &State, colours: Colours) {
    let running = state.running();
    let several = state.look.spools.len() > 1;
    let rows = running.iter().map(|row| {
        let name = row.task.rsplit('/').next().unwrap_or_default();
        let priority = row.task.split_once('/').map_or("-", |(priority, _)| priority);
        let mut cells = vec![
            Cell::from(age(row.since_ms.saturating_mul(1_000_000))),
            Cell::from(clean(&row.function)),
            Cell::from(row.pid.to_string()),
            Cell::from(row.behind.to_string()),
            Cell::from(clean(priority)),
            Cell::from(short_id(None, name.as_bytes())),
        ];
        if several {
            let spool = state.look.spools.get(row.spool).map(|spool| &spool.path);
            let spool = spool.map(|path| clean(&path.to_string_lossy())).unwrap_or_default();
            cells.insert(0, Cell::from(spool));
        }
        Row::new(cells)
    });
    let mut titles = vec!["RUNNING FOR", "FUNCTION", "WORKER", "BEHIND", "PRIORITY", "TASK"];
    let mut widths = vec![
        Constraint::Length(13),
        Constraint::Fill(2),
        Constraint::Length(8),
        Constraint::Length(6),
        Constraint::Length(8),
        Constraint::Fill(3),
    ];
    if several {
        titles.insert(0, "SPOOL");
        widths.insert(0, Constraint::Fill(1));
    }
    let header = Row::new(titles).style(colours.style(Paint::Quiet));
    let chosen = Style::new().add_modifier(Modifier::REVERSED);
    let table = Table::new(rows, widths).header(header).row_highlight_style(chosen);
    let mut at =
        TableState::new().with_selected(Some(state.selected).filter(|_| !running.is_empty()));
    frame.render_stateful_widget(table, area, &mut at);
}

fn draw_log(frame: &mut Frame<'_>, area: Rect, state: &State, colours: Colours) {
    let shown = area.height as usize;
    let lines = state.lines.iter().rev().take(shown).rev().map(|record| {
        let mut text = String::new();
        // Writing into a String cannot fail.
        let _ = write_human(&mut text, record, false);
        let first = clean(text.lines().next().unwrap_or_default().trim_start());
        let time = crate::display::time(record.time_ns);
        let time = time.split(' ').next_back().unwrap_or_default().to_owned();
        let paint = match record.level {
            Level::ERROR => Paint::Bad,
            Level::WARN => Paint::Warning,
            _ => Paint::Plain,
        };
        Line::styled(format!("{time} {first}"), colours.style(paint))
    });
    frame.render_widget(Paragraph::new(lines.collect::<Vec<_>>()), area);
}

fn foot_line(state: &State, colours: Colours) -> Line<'static> {
    let quiet = colours.style(Paint::Quiet);
    match (&state.mode, &state.note) {
        (Mode::Filter, _) => {
            Line::raw(format!("filter: {}_  Enter keeps it, Esc clears it", clean(&state.filter)))
        }
        (Mode::Confirm { pause }, _) => {
            let what = if *pause { "pause" } else { "resume" };
            let spool = state.chosen_spool().map(|spool| clean(&spool.path.to_string_lossy()));
            let text = format!("{what} {}? y/n", spool.unwrap_or_default());
            Line::styled(text, colours.style(Paint::Warning))
        }
        (_, Some(note)) => Line::raw(clean(note)),
        _ => {
            let filter = match state.filter.as_str() {
                "" => String::new(),
                filter => format!(" with `{}`", clean(filter)),
            };
            let every = age(state.interval_ms.saturating_mul(1_000_000));
            let text = format!(
                "q quit  ? help  Enter stack  i show  p pause  s by {}  f filter{filter}  +/- every {every}",
                state.sort.word()
            );
            Line::styled(text, quiet)
        }
    }
}

fn draw_text(frame: &mut Frame<'_>, title: &str, lines: &[String], top: usize) {
    let parts = [Constraint::Length(1), Constraint::Min(0), Constraint::Length(1)];
    let [head, body, foot] = Layout::vertical(parts).areas(frame.area());
    let bold = Style::new().add_modifier(Modifier::BOLD);
    frame.render_widget(Paragraph::new(Line::styled(clean(title), bold)), head);
    let shown = lines.iter().skip(top).take(body.height as usize);
    let text = shown.map(|line| Line::raw(clean(line))).collect::<Vec<_>>();
    frame.render_widget(Paragraph::new(text), body);
    frame.render_widget(Paragraph::new("Esc back  arrows and pages move"), foot);
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::state::tests::{look, status};
    use super::*;

    fn screen(state: &State, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, state, Colours(false))).unwrap();
        let buffer = terminal.backend().buffer().clone();
        let row = |y: u16| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
        (0..height).map(|y| row(y).trim_end().to_owned() + "\n").collect()
    }

    fn state() -> State {
        let mut state = State { interval_ms: 1000, ..State::default() };
        state.take(look(10, status(1, 100, 0, &[("mail", 50)])));
        state.take(look(11, status(1, 140, 2, &[("mail", 50), ("resize", 90_000)])));
        state
    }

    #[test]
    fn everything_has_its_place() {
        let shown = screen(&state(), 100, 20);
        let lines: Vec<&str> = shown.lines().collect();
        assert!(
            lines[0].starts_with("/srv/spool  daemon 1 for 1 min 40 s, 2 workers, 2 busy"),
            "{shown}"
        );
        assert!(lines[1].starts_with("3 due  1 running  0 delayed  1 dead"), "{shown}");
        assert!(lines[2].starts_with("40.0 done, 2.0 failed a second, over 1.0 s"), "{shown}");
        assert!(lines[3].starts_with("RUNNING FOR") && lines[3].contains("FUNCTION"), "{shown}");
        assert!(lines[4].starts_with("1 min 30 s") && lines[4].contains("resize"), "{shown}");
        assert!(lines[5].starts_with("50 ms") && lines[5].contains(" 5 "), "{shown}");
        assert!(lines[19].starts_with("q quit"), "{shown}");
    }

    #[test]
    fn a_terminal_may_have_any_size() {
        for (width, height) in [(1, 1), (20, 5), (3, 40), (400, 3), (300, 120)] {
            let mut state = state();
            screen(&state, width, height);
            state.mode = Mode::Text { title: "t".into(), lines: vec!["a".into(); 50], top: 49 };
            screen(&state, width, height);
        }
    }

    #[test]
    fn what_is_asked_stands_in_the_last_line() {
        let mut state = state();
        state.mode = Mode::Confirm { pause: true };
        assert!(screen(&state, 60, 10).ends_with("pause /srv/spool? y/n\n"));
        state.mode = Mode::Filter;
        state.filter = "ma\x1b".into();
        let shown = screen(&state, 60, 10);
        assert!(shown.contains("filter: ma") && !shown.contains('\x1b'), "{shown}");
    }
}
