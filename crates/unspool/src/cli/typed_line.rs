//! A command line that is being typed, as a shell will read it: words without their quotes, up to the
//! cursor. What variables and commands stand for is not known.

/// The words, and what of the last one a shell keeps as it is.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct TypedLine {
    /// Those that are whole.
    words: Vec<Vec<u8>>,
    /// The one that is being typed; `None` between two.
    word: Option<Vec<u8>>,
    /// Bytes of it that the shell does not take for a part of what is completed.
    kept: usize,
    /// It begins with a `~` that stands for the home folder.
    has_tilde: bool,
}

impl TypedLine {
    /// Reads it. `breaks` are the characters at which bash begins another word in the midst of one, which
    /// it also does behind a quote that is open. `home` takes the place of a `~`.
    pub(super) fn parse(line: &[u8], breaks: Option<&[u8]>, home: Option<&[u8]>) -> Self {
        let mut typed = Self::default();
        let mut bytes = line.iter().copied().peekable();
        // The quote that is open, and how much of the word stands before it.
        let mut open: Option<(u8, usize)> = None;
        while let Some(byte) = bytes.next() {
            match (open, byte) {
                (Some((quote, _)), _) if byte == quote => open = None,
                (Some((b'"', _)), b'\\') => match bytes.next_if(|next| b"\"\\$`".contains(next)) {
                    Some(escaped) => typed.put(&[escaped]),
                    None => typed.put(b"\\"),
                },
                (Some(_), _) => typed.put(&[byte]),
                (None, b' ' | b'\t' | b'\n') => typed.end_word(),
                (None, b'\'' | b'"') => {
                    typed.put(b"");
                    open = Some((byte, typed.last().len()));
                }
                (None, b'\\') => typed.put(&bytes.next().map_or(Vec::new(), |byte| vec![byte])),
                (None, b'~') if typed.may_be_home(bytes.peek()) => {
                    typed.has_tilde = typed.last().is_empty() && home.is_some();
                    typed.put(home.unwrap_or(b"~"));
                }
                (None, _) => {
                    typed.put(&[byte]);
                    if breaks.is_some_and(|breaks| breaks.contains(&byte)) {
                        typed.kept = typed.last().len();
                    }
                }
            }
        }
        if let (Some((_, before)), Some(_)) = (open, breaks) {
            typed.kept = before;
        }
        typed
    }

    /// All words, the one that is being typed at the end.
    pub(super) fn words(&self) -> impl Iterator<Item = &[u8]> {
        self.words.iter().map(Vec::as_slice).chain([self.last()])
    }

    /// A candidate for the word as the shell takes it; `None` if it does not continue that.
    pub(super) fn offered(&self, candidate: &str, home: Option<&[u8]>) -> Option<String> {
        if self.kept > 0 {
            let kept = self.last().get(..self.kept)?;
            let kept = candidate.as_bytes().starts_with(kept).then_some(self.kept)?;
            return candidate.get(kept..).map(str::to_owned);
        }
        let home = home.filter(|_| self.has_tilde).and_then(|home| std::str::from_utf8(home).ok());
        let below = home.and_then(|home| candidate.strip_prefix(home));
        Some(below.map_or_else(|| candidate.to_owned(), |below| format!("~{below}")))
    }

    fn last(&self) -> &[u8] {
        self.word.as_deref().unwrap_or_default()
    }

    fn put(&mut self, bytes: &[u8]) {
        self.word.get_or_insert_default().extend_from_slice(bytes);
    }

    fn end_word(&mut self) {
        self.words.extend(self.word.take());
        (self.kept, self.has_tilde) = (0, false);
    }

    /// At the start of a word, or of an option's value, where a shell leaves it and people mean it.
    fn may_be_home(&self, next: Option<&u8>) -> bool {
        let is_start = self.word.is_none() || self.last().ends_with(b"=");
        is_start && matches!(next, None | Some(b'/' | b' '))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BREAKS: Option<&[u8]> = Some(b" \t\n\"'><=;|&(:");
    const HOME: Option<&[u8]> = Some(b"/home/ada");

    fn words(line: &str) -> Vec<String> {
        let typed = TypedLine::parse(line.as_bytes(), BREAKS, HOME);
        typed.words().map(|word| String::from_utf8_lossy(word).into_owned()).collect()
    }

    fn offered(line: &str, candidate: &str) -> Option<String> {
        TypedLine::parse(line.as_bytes(), BREAKS, HOME).offered(candidate, HOME)
    }

    #[test]
    fn words_are_what_a_shell_makes_of_them() {
        assert_eq!(words("unspool ls "), ["unspool", "ls", ""]);
        assert_eq!(words(r#"unspool  a\ b "c \" \d' 'e"f'"#), ["unspool", "a b", "c \" \\d' 'ef"]);
        assert_eq!(words("u '' 'it'\\''s"), ["u", "", "it's"]);
        assert_eq!(
            words("u ~/a ~ '~/b' x~ --spooler=~/c"),
            ["u", "/home/ada/a", "/home/ada", "~/b", "x~", "--spooler=/home/ada/c"]
        );
        assert_eq!(words(""), [""]);
        assert_eq!(words("u a\\"), ["u", "a"]);
    }

    #[test]
    fn candidates_go_on_where_the_shell_does() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(offered("u --spooler=sp", "--spooler=spool one/"), some("spool one/"));
        assert_eq!(offered("u --sp", "--spooler"), some("--spooler"));
        assert_eq!(offered("u a:b", "a:bc"), some("bc"));
        assert_eq!(offered("u 'a:b'", "a:bc"), some("a:bc"));
        assert_eq!(offered("u \"spool o", "spool one/"), some("spool one/"));
        assert_eq!(offered("u folder/'spool o", "folder/spool one/"), some("spool one/"));
        assert_eq!(offered("u ~/sp", "/home/ada/spool/"), some("~/spool/"));
        assert_eq!(
            offered("u --spooler=~/sp", "--spooler=/home/ada/spool/"),
            some("/home/ada/spool/")
        );
        assert_eq!(offered("u a:b", "another"), None);
        let fish = TypedLine::parse(b"u --spooler=sp", None, HOME);
        assert_eq!(fish.offered("--spooler=spool/", HOME), some("--spooler=spool/"));
    }
}
