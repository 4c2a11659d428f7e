//! uWSGI's magic variables: `%` and one character, replaced in the text of a file before it is
//! parsed.
//!
//! As in uWSGI `%` always consumes the next character, be it a blank or the end of the line; `%(`
//! is left for placeholders. Line numbers survive the joining of lines.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use crate::environment::{Environment, account_name};
use crate::limits::OPTION_BYTES_MAX;

/// The version of uWSGI that is imitated.
pub const UWSGI_VERSION: &str = "2.0.31";

/// The names of a file that magic variables show.
#[derive(Debug, Clone)]
pub(crate) struct FileNames {
    /// As the user wrote it.
    pub(crate) given: Arc<Path>,
    /// Absolute, its directory without symbolic links.
    pub(crate) absolute: PathBuf,
    /// The section asked for after a colon, if any.
    pub(crate) section: Option<String>,
}

/// One line as the parser sees it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TextLine {
    pub(crate) number: u32,
    pub(crate) text: String,
    /// Characters that vanished because `%` stood before them.
    pub(crate) vanished: Vec<char>,
    /// The next line of the file was drawn into this one.
    pub(crate) joined: bool,
}

/// The values of the magic variables while one file is read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Magic<'a> {
    pub(crate) environment: &'a Environment,
    pub(crate) file: &'a FileNames,
    /// The first file loaded with `ini`, which the upper-case letters show.
    pub(crate) main: Option<&'a FileNames>,
}

impl Magic<'_> {
    /// The lines of a file with all magic variables filled in, or the line where they grow past the
    /// bound.
    pub(crate) fn lines(&self, text: &str) -> Result<Vec<TextLine>, u32> {
        let mut lines = Vec::new();
        let mut bytes = text.len();
        let mut number = 1;
        let mut current = TextLine::new(number);
        let mut characters = text.chars().peekable();
        while let Some(character) = characters.next() {
            match character {
                '\n' => {
                    number += 1;
                    lines.push(std::mem::replace(&mut current, TextLine::new(number)));
                }
                '%' => match characters.next() {
                    None => {}
                    Some('(') => current.text.push_str("%("),
                    Some('%') => current.text.push('%'),
                    Some('\n') => {
                        number += 1;
                        current.joined = true;
                    }
                    Some(letter) => match self.value(letter) {
                        Some(value) => {
                            bytes += value.len();
                            if bytes > OPTION_BYTES_MAX {
                                return Err(number);
                            }
                            current.text.push_str(&value);
                        }
                        None => current.vanished.push(letter),
                    },
                },
                other => current.text.push(other),
            }
        }
        lines.push(current);
        Ok(lines)
    }

    fn value(&self, letter: char) -> Option<String> {
        if let Some(value) = self.process_value(letter) {
            return Some(value);
        }
        match letter {
            'O' | 'P' | 'S' | 'D' | 'E' | 'N' | 'C' | 'X' | 'I' | 'J' => Some(
                self.main
                    .and_then(|main| file_value(main, letter.to_ascii_lowercase()))
                    .unwrap_or_default(),
            ),
            _ => file_value(self.file, letter),
        }
    }

    fn process_value(&self, letter: char) -> Option<String> {
        let environment = self.environment;
        let owner = || environment.owner();
        Some(match letter {
            'v' => shown(environment.current_directory().unwrap_or(Path::new(""))),
            'V' => UWSGI_VERSION.to_owned(),
            'h' => environment.hostname().to_owned(),
            't' => environment.started().as_secs().to_string(),
            'T' => environment.started().as_micros().to_string(),
            'k' => std::thread::available_parallelism().map_or(1, usize::from).to_string(),
            'u' => owner()?.0.to_string(),
            'U' => account_name("/etc/passwd", owner()?.0),
            'g' => owner()?.1.to_string(),
            'G' => account_name("/etc/group", owner()?.1),
            '[' => "\u{1b}".to_owned(),
            'b' => shown(environment.binary()),
            _ => return None,
        })
    }
}

impl TextLine {
    fn new(number: u32) -> Self {
        Self { number, text: String::new(), vanished: Vec::new(), joined: false }
    }

    /// The lines of a text without magic variables.
    #[cfg(test)]
    pub(crate) fn all(text: &str) -> Vec<Self> {
        let line =
            |(number, text): (u32, &str)| Self { text: text.to_owned(), ..Self::new(number) };
        (1..).zip(text.split('\n')).map(line).collect()
    }
}

fn file_value(file: &FileNames, letter: char) -> Option<String> {
    let path = &file.absolute;
    let directory = path.parent().unwrap_or(Path::new("/"));
    Some(match letter {
        'o' => shown(&file.given),
        'p' => shown(path),
        's' => path.file_name().map(|name| shown(name.as_ref())).unwrap_or_default(),
        'd' => format!("{}/", shown(directory).trim_end_matches('/')),
        'c' => directory.file_name().map(|name| shown(name.as_ref())).unwrap_or_default(),
        'n' => path.file_stem().map(|name| shown(name.as_ref())).unwrap_or_default(),
        'e' => path.extension().map(|name| shown(name.as_ref())).unwrap_or_default(),
        'x' => file.section.clone().unwrap_or_default(),
        'i' => inode(path).to_string(),
        'j' => hash(shown(path).as_bytes()),
        '0'..='9' => {
            let wanted = letter.to_digit(10).map_or(0, |digit| digit as usize);
            directory
                .components()
                .filter_map(|part| match part {
                    Component::Normal(name) => Some(shown(name.as_ref())),
                    _ => None,
                })
                .nth(wanted)
                .unwrap_or_default()
        }
        _ => return None,
    })
}

fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn inode(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| std::os::unix::fs::MetadataExt::ino(&metadata))
}

/// The hash of uWSGI's `%j`: djb33x, its bytes printed from the lowest.
fn hash(bytes: &[u8]) -> String {
    let mut hash: u32 = 5381;
    for &byte in bytes {
        hash = hash.wrapping_shl(5).wrapping_add(hash) ^ u32::from(byte);
    }
    format!("{:08X}", hash.swap_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(path: &str, section: Option<&str>) -> FileNames {
        FileNames {
            given: Arc::from(Path::new("link/mm.ini")),
            absolute: path.into(),
            section: section.map(str::to_owned),
        }
    }

    #[test]
    fn fills_in_what_uwsgi_fills_in() {
        let environment =
            Environment::from_pairs([("A", "b")]).with_current_directory("/w").with_hostname("vm");
        let file = names("/tmp/ua/link/mm.q.ini", None);
        let main = names("/srv/main.ini", Some("foo"));
        let magic = Magic { environment: &environment, file: &file, main: Some(&main) };
        let check = |text: &str, expected: &str| {
            let lines = magic.lines(text).unwrap();
            let texts: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
            assert_eq!(texts.join("\n"), expected, "{text}");
        };
        check("%p %d %s", "/tmp/ua/link/mm.q.ini /tmp/ua/link/ mm.q.ini");
        check("%n|%e|%o|%c|%x|", "mm.q|ini|link/mm.ini|link||");
        check("%0 %1 %2 %9|", "tmp ua link |");
        check("%v %V %h", "/w 2.0.31 vm");
        check("%P %S %D %X", "/srv/main.ini main.ini /srv/ foo");
        check("50% end", "50end");
        check("b=3%\nc=4", "b=3c=4");
        check("a%%b %(x) %%(y)", "a%b %(x) %(y)");
        check("end%", "end");
        check("%dspooler", "/tmp/ua/link/spooler");
    }

    #[test]
    fn upper_case_is_empty_without_a_main_file() {
        let environment = Environment::from_pairs([("A", "b")]);
        let file = names("/a.ini", None);
        let magic = Magic { environment: &environment, file: &file, main: None };
        assert_eq!(magic.lines("<%P%d>").unwrap()[0].text, "</>");
    }

    #[test]
    fn remembers_lines_and_losses() {
        let environment = Environment::from_pairs([("A", "b")]);
        let file = names("/a.ini", None);
        let magic = Magic { environment: &environment, file: &file, main: None };
        let lines = magic.lines("a%\nb\nc% d").unwrap();
        assert_eq!((lines[0].number, lines[0].text.as_str(), lines[0].joined), (1, "ab", true));
        assert_eq!((lines[1].number, lines[1].vanished.as_slice()), (3, [' '].as_slice()));
    }

    #[test]
    fn hash_is_uwsgis() {
        assert_eq!(hash(b"/tmp/ua/link/mm.ini"), "B81389EF");
    }
}
