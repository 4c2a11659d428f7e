//! Tables that are printed while their rows come: the first ones decide how wide the columns are.

use std::io::{self, Write};

use unspool_sys::clock;

use super::width;

/// Rows that are held back to see how wide they are,
const ROWS_HELD: usize = 200;
/// and nanoseconds for which they are.
const HELD_NS: u64 = 200_000_000;
/// Between two columns.
const GAP: &str = "  ";

/// A colour, by its meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Paint {
    Plain,
    Good,
    Warning,
    Bad,
    Quiet,
}

impl Paint {
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Good => "\x1b[32m",
            Self::Warning => "\x1b[33m",
            Self::Bad => "\x1b[31m",
            Self::Quiet => "\x1b[2m",
        }
    }
}

impl Paint {
    /// A text in this colour.
    pub(crate) fn on(self, text: &str) -> String {
        match self.code() {
            "" => text.to_owned(),
            code => format!("{code}{text}\x1b[0m"),
        }
    }
}

/// What stands in a row and a column: text that commands no terminal.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    text: String,
    paint: Paint,
}

impl Cell {
    pub(crate) fn painted(text: impl Into<String>, paint: Paint) -> Self {
        Self { text: text.into(), paint }
    }

    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self::painted(text, Paint::Plain)
    }

    fn width(&self) -> usize {
        width(&self.text)
    }
}

/// A column.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    title: &'static str,
    to_the_right: bool,
}

impl Column {
    /// One of words.
    pub(crate) const fn words(title: &'static str) -> Self {
        Self { title, to_the_right: false }
    }

    /// One of numbers.
    pub(crate) const fn numbers(title: &'static str) -> Self {
        Self { title, to_the_right: true }
    }
}

/// A table that is being printed.
#[derive(Debug)]
pub(crate) struct Table<W> {
    out: W,
    coloured: bool,
    columns: Vec<Column>,
    /// Empty until the first rows are printed.
    widths: Vec<usize>,
    held: Vec<Vec<Cell>>,
    held_since_ns: u64,
}

impl<W: Write> Table<W> {
    /// Begins one. Nothing is printed before there is a row.
    pub(crate) fn new(out: W, coloured: bool, columns: Vec<Column>) -> Self {
        Self { out, coloured, columns, widths: Vec::new(), held: Vec::new(), held_since_ns: 0 }
    }

    /// Prints a row, perhaps later. It has a cell for each column.
    pub(crate) fn push(&mut self, row: Vec<Cell>) -> io::Result<()> {
        if !self.widths.is_empty() {
            return self.print(&row);
        }
        if self.held.is_empty() {
            self.held_since_ns = clock::monotonic_ns();
        }
        self.held.push(row);
        if self.held.len() < ROWS_HELD && clock::monotonic_ns() < self.held_since_ns + HELD_NS {
            return Ok(());
        }
        self.print_held()
    }

    /// Prints what is held back.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        if !self.held.is_empty() {
            self.print_held()?;
        }
        self.out.flush()
    }

    fn print_held(&mut self) -> io::Result<()> {
        let held = std::mem::take(&mut self.held);
        let widest = |(at, column): (usize, &Column)| {
            let cells = held.iter().map(|row| row.get(at).map_or(0, Cell::width));
            cells.fold(width(column.title), usize::max)
        };
        self.widths = self.columns.iter().enumerate().map(widest).collect();
        let titles: Vec<Cell> =
            self.columns.iter().map(|column| Cell::painted(column.title, Paint::Quiet)).collect();
        self.print(&titles)?;
        for row in &held {
            self.print(row)?;
        }
        self.out.flush()
    }

    fn print(&mut self, row: &[Cell]) -> io::Result<()> {
        let mut line = String::new();
        for ((column, columns), cell) in self.columns.iter().zip(&self.widths).zip(row) {
            let blanks = " ".repeat(columns.saturating_sub(cell.width()));
            let code = if self.coloured { cell.paint.code() } else { "" };
            let end = if code.is_empty() { "" } else { "\x1b[0m" };
            if !line.is_empty() {
                line.push_str(GAP);
            }
            let (before, after) =
                if column.to_the_right { (blanks.as_str(), "") } else { ("", blanks.as_str()) };
            line.extend([before, code, &cell.text, end, after]);
        }
        writeln!(self.out, "{}", line.trim_end())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 3] = [Column::words("ID"), Column::numbers("N"), Column::words("NOTE")];

    fn row(cells: [&str; 3]) -> Vec<Cell> {
        cells.map(Cell::new).to_vec()
    }

    #[test]
    fn columns_are_as_wide_as_the_first_rows() {
        let mut out = Vec::new();
        let mut table = Table::new(&mut out, false, COLUMNS.to_vec());
        table.push(row(["abc", "7", ""])).unwrap();
        table.push(row(["é", "123", "x"])).unwrap();
        table.finish().unwrap();
        let shown = String::from_utf8(out).unwrap();
        assert_eq!(shown, "ID     N  NOTE\nabc    7\né    123  x\n");
    }

    #[test]
    fn wide_characters_shift_no_column() {
        let mut out = Vec::new();
        let mut table = Table::new(&mut out, false, COLUMNS.to_vec());
        table.push(row(["漢字", "7", "x"])).unwrap();
        table.push(row(["e\u{301}", "😀", "y"])).unwrap();
        table.push(row(["abc", "1", "z"])).unwrap();
        table.finish().unwrap();
        let shown = String::from_utf8(out).unwrap();
        assert_eq!(shown, "ID     N  NOTE\n漢字   7  x\ne\u{301}     😀  y\nabc    1  z\n");
    }

    #[test]
    fn without_rows_there_is_nothing() {
        let mut out = Vec::new();
        Table::new(&mut out, true, COLUMNS.to_vec()).finish().unwrap();
        assert!(out.is_empty());
    }

    #[test]
    fn many_rows_are_not_kept() {
        let mut out = Vec::new();
        let mut table = Table::new(&mut out, false, COLUMNS.to_vec());
        for _ in 0..10 * ROWS_HELD {
            table.push(row(["a", "1", ""])).unwrap();
            assert!(table.held.len() < ROWS_HELD);
        }
        table.finish().unwrap();
        assert_eq!(String::from_utf8(out).unwrap().lines().count(), 10 * ROWS_HELD + 1);
    }
}
