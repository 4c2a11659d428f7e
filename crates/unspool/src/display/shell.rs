//! Words of commands that people are told to type: as a shell reads them.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::clean;

/// The word of a shell's command line that is this value.
pub(crate) fn shell_word(value: impl AsRef<OsStr>) -> String {
    let bytes = value.as_ref().as_bytes();
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.is_empty() && text.chars().all(is_plain) => text.to_owned(),
        Ok(text) if clean(text) == text => format!("'{}'", text.replace('\'', r"'\''")),
        // What a terminal would obey, and what is no text, is written out: as bash, zsh and POSIX since
        // 2024 have it.
        _ => format!("$'{}'", bytes.iter().map(|byte| escaped(*byte)).collect::<String>()),
    }
}

/// The same of a path, which is no option.
pub(crate) fn shell_path(path: &Path) -> String {
    if path.as_os_str().as_bytes().first() == Some(&b'-') {
        return shell_word(Path::new(".").join(path));
    }
    shell_word(path)
}

/// Characters that mean themselves, wherever they stand in a word that is no first one.
fn is_plain(c: char) -> bool {
    c.is_alphanumeric() || "/._-+@:,".contains(c)
}

fn escaped(byte: u8) -> String {
    match byte {
        b'\'' | b'\\' => format!("\\{}", char::from(byte)),
        b' '..=b'~' => char::from(byte).to_string(),
        _ => format!("\\{byte:03o}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_what_was_meant() {
        let values: [&[u8]; 9] = [
            b"/srv/app-1/spool",
            b"",
            b"a b",
            b"it's `x` $HOME \\",
            b"~",
            b"#1",
            b"*",
            b"a\n\x1b[31m'\\",
            b"\xff\xe2\x80\xae",
        ];
        for value in values {
            let word = shell_word(OsStr::from_bytes(value));
            let mut shell = std::process::Command::new("bash");
            let told = shell.arg("-c").arg(format!("printf %s {word}")).output().unwrap();
            assert_eq!(told.stdout, value, "{word}");
            assert_eq!(clean(&word), word);
        }
        assert_eq!(shell_word("/srv/app-1/spool"), "/srv/app-1/spool");
        assert_eq!(shell_path(Path::new("-x y")), "'./-x y'");
    }
}
