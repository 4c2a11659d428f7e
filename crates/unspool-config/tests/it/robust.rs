//! Whatever the bytes are, reading ends with settings or with a message.

use proptest::prelude::*;

use crate::{load_in, with_ini, write};

/// Pieces that mean something to some part of the reader.
const PIECES: [&str; 34] = [
    "[uwsgi]",
    "[",
    "]",
    "=",
    " = ",
    "\n",
    "\r\n",
    "%",
    "%(",
    ")",
    "$(",
    "@(",
    "%%",
    "%(_)",
    "x",
    "spooler",
    "spooler-processes",
    "spooler-frequency",
    "module",
    ":",
    "set",
    "set-ph",
    "strict",
    "for",
    "for-times",
    "if-opt",
    "end",
    "9",
    " ",
    "#",
    ";",
    "++",
    "+",
    "\u{e9}",
];

/// The same for the other formats.
const OTHER_PIECES: [&str; 44] = [
    "uwsgi",
    ":",
    ": ",
    "- ",
    "\n",
    "\n  ",
    "\t",
    "{",
    "}",
    "[",
    "]",
    ",",
    "\"",
    "'",
    "#",
    " #",
    "&a",
    "*a",
    "!t",
    "|",
    ">",
    "---",
    "...",
    "?",
    "%(",
    "@(",
    ")",
    "%",
    "<",
    "/>",
    "</",
    "<a>",
    "</a>",
    "<uwsgi>",
    "<!--",
    "-->",
    "<![CDATA[",
    "&lt;",
    "&#0;",
    "<!DOCTYPE",
    "true",
    "null",
    "1e9",
    "\\u12",
];

proptest! {
    #[test]
    fn files(parts in prop::collection::vec(prop::sample::select(&PIECES[..]), 0..60)) {
        let directory = with_ini(&parts.concat());
        let _ = load_in(directory.path(), "--ini app.ini");
    }

    #[test]
    fn bytes(content in prop::collection::vec(any::<u8>(), 0..200)) {
        let directory = with_ini("");
        write(&directory, "app.ini", &[b"[uwsgi]\n".as_slice(), &content].concat());
        let _ = load_in(directory.path(), "--ini app.ini");
    }

    #[test]
    fn other_formats(
        parts in prop::collection::vec(prop::sample::select(&OTHER_PIECES[..]), 0..60),
        format in prop::sample::select(&["yaml", "xml", "json"][..]),
    ) {
        let directory = with_ini("");
        let (head, tail) = match format {
            "yaml" => ("uwsgi:\n", ""),
            "xml" => ("<uwsgi>", "</uwsgi>"),
            _ => ("{\"uwsgi\":", "}"),
        };
        for content in [parts.concat(), format!("{head}{}{tail}", parts.concat())] {
            write(&directory, "app", content.as_bytes());
            let _ = load_in(directory.path(), &format!("--{format} app"));
        }
    }

    #[test]
    fn arguments(text in "[-=a-zQMp %.:\u{e9}]{0,40}") {
        let directory = with_ini("");
        let _ = load_in(directory.path(), &text);
    }
}
