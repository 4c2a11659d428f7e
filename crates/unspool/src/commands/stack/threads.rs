//! What Python's faulthandler writes of the threads of a process, as values.

use std::collections::HashMap;

use serde_json::{Value, json};
use unspool_sys::stack::ThreadStack;

use crate::display;

/// Ends the line before the calls of a thread.
const ORDER: &str = " (most recent call first):";

/// The file of what is called to show the stack.
const OWN_FILE: &str = "/unspool/_stack.py";

/// A thread and its calls.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Thread {
    /// Its number in C, as it stands in the text.
    ident: String,
    /// Its number, as the kernel and `threading.get_native_id` have it.
    id: Option<u32>,
    name: Option<String>,
    /// The most recent call last.
    lines: Vec<Line>,
}

/// A line of a thread.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    Call(Frame),
    /// That there are more, or none.
    Note(String),
}

#[derive(Debug, PartialEq, Eq)]
struct Frame {
    file: String,
    /// `None` where it is not known.
    line: Option<u32>,
    function: String,
}

/// What an interpreter wrote of all threads: a line for each that has a name, then the calls. In the order
/// in which they were started.
pub(super) fn parse(text: &str) -> Vec<Thread> {
    let mut threads: Vec<Thread> = Vec::new();
    let mut named: HashMap<&str, (Option<u32>, String)> = HashMap::new();
    for line in text.lines() {
        if let Some(head) = line.strip_suffix(ORDER) {
            threads.push(Thread::headed(head));
        } else if let Some(line) = Line::parse(line) {
            if let Some(thread) = threads.last_mut() {
                thread.lines.push(line);
            }
        } else if let Some((ident, rest)) =
            line.strip_prefix("thread ").and_then(|rest| rest.split_once(' '))
            && let Some((id, name)) = rest.split_once(' ')
        {
            named.insert(digits(ident), (id.parse().ok(), unescaped(name)));
        }
    }
    for thread in &mut threads {
        if let Some((id, name)) = named.remove(digits(&thread.ident)) {
            (thread.id, thread.name) = (id, Some(name));
        }
        thread.settle();
    }
    threads.reverse();
    threads
}

/// A number in hexadecimal without what may stand before it.
fn digits(number: &str) -> &str {
    number.trim_start_matches("0x").trim_start_matches('0')
}

/// What a thread wrote of itself; `None` if it is none of the interpreter's.
pub(super) fn of_itself(written: &ThreadStack) -> Option<Thread> {
    let lines = match &written.text {
        None => vec![Line::Note("<it has not answered>".to_owned())],
        Some(text) if text.is_empty() => return None,
        Some(text) => String::from_utf8_lossy(text).lines().filter_map(Line::parse).collect(),
    };
    let name = Some(written.name.clone()).filter(|name| !name.is_empty());
    let mut thread = Thread { ident: String::new(), id: Some(written.tid), name, lines };
    thread.settle();
    Some(thread)
}

impl Thread {
    /// `Thread 0x00007f12 [name]`, `Current thread 0x00007f12`.
    fn headed(head: &str) -> Self {
        let rest = head.split_once("hread ").map_or("", |(_, rest)| rest);
        let (ident, name) = match rest.split_once(" [") {
            Some((ident, name)) => (ident, name.strip_suffix(']')),
            None => (rest, None),
        };
        Self { ident: ident.to_owned(), name: name.map(unescaped), ..Self::default() }
    }

    /// Puts the calls in the order of tracebacks, without those that show them.
    fn settle(&mut self) {
        let is_own =
            |line: &Line| matches!(line, Line::Call(call) if call.file.ends_with(OWN_FILE));
        let own = self.lines.iter().take_while(|line| is_own(line)).count();
        self.lines.drain(..own);
        self.lines.reverse();
    }

    /// For people, as a traceback of Python.
    pub(super) fn text(&self) -> String {
        let id = self.id.map_or_else(|| self.ident.clone(), |id| id.to_string());
        let name = self.name.as_deref().map(|name| format!(" ({})", display::clean(name)));
        let mut text =
            format!("Thread {id}{} (most recent call last):\n", name.unwrap_or_default());
        for line in &self.lines {
            text.push_str(&display::clean(&line.text()));
            text.push('\n');
        }
        text
    }

    pub(super) fn object(&self) -> Value {
        let frames = self.lines.iter().filter_map(|line| match line {
            Line::Call(Frame { file, line, function }) => {
                Some(json!({ "file": file, "line": line, "function": function }))
            }
            Line::Note(_) => None,
        });
        json!({ "id": self.id, "name": self.name, "frames": frames.collect::<Vec<_>>() })
    }
}

impl Line {
    fn parse(line: &str) -> Option<Self> {
        let rest = line.strip_prefix("  ")?;
        Some(Frame::parse(rest).map_or_else(|| Self::Note(rest.to_owned()), Self::Call))
    }

    fn text(&self) -> String {
        match self {
            Self::Call(Frame { file, line, function }) => {
                let line = line.map_or_else(|| "?".to_owned(), |line| line.to_string());
                format!("  File \"{file}\", line {line}, in {function}")
            }
            Self::Note(note) => format!("  {note}"),
        }
    }
}

impl Frame {
    /// `File "NAME", line 12 in FUNCTION`.
    fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("File ")?;
        // No function has a blank in its name but `<listcomp>` and the like, which have no " in ".
        let (place, function) = rest.rsplit_once(" in ")?;
        let (file, line) = place.rsplit_once(", line ")?;
        let file = file.strip_prefix('"').and_then(|file| file.strip_suffix('"')).unwrap_or(file);
        Some(Self { file: unescaped(file), line: line.parse().ok(), function: unescaped(function) })
    }
}

/// The text with the characters that faulthandler writes as `\xe9`, `\u20ac`, `\U0001f600`.
fn unescaped(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        result.push_str(&rest[..at]);
        rest = &rest[at..];
        let digits = match rest.as_bytes().get(1) {
            Some(b'x') => 2,
            Some(b'u') => 4,
            Some(b'U') => 8,
            _ => 0,
        };
        let code = rest.get(2..2 + digits).and_then(|digits| u32::from_str_radix(digits, 16).ok());
        // A backslash of the name itself looks the same before ASCII letters; those are never escaped.
        let escaped = code.and_then(char::from_u32);
        if let Some(c) = escaped.filter(|c| !c.is_ascii() || c.is_ascii_control()) {
            result.push(c);
            rest = &rest[2 + digits..];
        } else {
            result.push('\\');
            rest = &rest[1..];
        }
    }
    result.push_str(rest);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(file: &str, line: u32, function: &str) -> Line {
        Line::Call(Frame { file: file.to_owned(), line: Some(line), function: function.to_owned() })
    }

    #[test]
    fn threads_come_in_the_order_of_tracebacks() {
        let text = "thread 0x7f01 12 a \\xe9 b\nthread 0x7f02 11 MainThread\nThread 0x00007f01 [a] (most \
                    recent call first):\n  File \"/a b, line 3.py\", line 12 in wait\n  File \
                    \"t\\xe2che.py\", line 7 in <module>\n\nCurrent thread 0x00007f02 (most recent call \
                    first):\n  File \"/x/unspool/_stack.py\", line 3 in show\n  File \"???\", line ??? in \
                    ???\n  ...\n\nThread 0x0003 [c] (most recent call first):\n";
        let threads = parse(text);
        let [third, main, other] = &threads[..] else { panic!("{threads:?}") };
        assert_eq!((main.id, main.name.as_deref()), (Some(11), Some("MainThread")));
        assert_eq!((other.id, other.name.as_deref()), (Some(12), Some("a é b")));
        assert_eq!((third.id, third.name.as_deref(), third.lines.len()), (None, Some("c"), 0));
        assert_eq!(
            other.lines,
            [call("tâche.py", 7, "<module>"), call("/a b, line 3.py", 12, "wait")]
        );
        assert_eq!(
            main.text(),
            "Thread 11 (MainThread) (most recent call last):\n  ...\n  File \"???\", line ?, in ???\n"
        );
        assert_eq!(main.object()["frames"][0]["line"], Value::Null);
    }

    #[test]
    fn what_is_cut_off_or_strange_is_shown_as_far_as_it_goes() {
        assert_eq!(parse(""), []);
        assert_eq!(parse("<cannot get interpreter>\n"), []);
        let text = Some(
            b"Stack (most recent call first):\n  File \"a.py\", line 1 in f\n  File \"a".to_vec(),
        );
        let mut written = ThreadStack { tid: 5, name: "python".to_owned(), text };
        let lines = of_itself(&written).unwrap().lines;
        assert_eq!(lines, [Line::Note("File \"a".to_owned()), call("a.py", 1, "f")]);
        written.text = None;
        assert_eq!(of_itself(&written).unwrap().lines.len(), 1);
        written.text = Some(Vec::new());
        assert_eq!(of_itself(&written), None);
        for (text, expected) in [
            ("a\\b", "a\\b"),
            ("\\x", "\\x"),
            ("\\x1b[0m", "\u{1b}[0m"),
            ("\\U0001f600", "😀"),
            ("\\udc80", "\\udc80"),
            ("C:\\x41", "C:\\x41"),
            ("\\u20ac\\", "€\\"),
        ] {
            assert_eq!(unescaped(text), expected);
        }
    }
}
