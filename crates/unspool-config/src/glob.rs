//! Shell patterns over paths: `*`, `?` and `[...]` within one component each.

use std::fs;
use std::path::{Component, Path, PathBuf};

use crate::limits::GLOB_PATHS_MAX;

/// The existing paths that match, sorted; relative patterns start at `start` and stay relative.
pub(crate) fn expand(start: &Path, pattern: &str) -> Vec<String> {
    let mut found = vec![PathBuf::new()];
    for component in Path::new(pattern).components() {
        let Component::Normal(name) = component else {
            for path in &mut found {
                path.push(component);
            }
            continue;
        };
        let name = name.to_string_lossy();
        if !is_pattern(&name) {
            for path in &mut found {
                path.push(&*name);
            }
            continue;
        }
        let matching = found.iter().flat_map(|path| matching_entries(start, path, &name));
        found = matching.take(GLOB_PATHS_MAX).collect();
    }
    let mut paths: Vec<String> = found
        .into_iter()
        .filter(|path| start.join(path).exists())
        .map(|path| path.to_string_lossy().into_owned())
        .collect();
    paths.sort();
    paths
}

/// Whether a text has any character that a pattern gives a meaning to.
pub(crate) fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

fn matching_entries(start: &Path, directory: &Path, pattern: &str) -> Vec<PathBuf> {
    // A directory that cannot be read matches nothing, as in the shell.
    let entries = fs::read_dir(start.join(directory)).into_iter().flatten().flatten();
    let pattern: Vec<char> = pattern.chars().collect();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| !name.starts_with('.') || pattern.first() == Some(&'.'))
        .filter(|name| matches(&pattern, &name.chars().collect::<Vec<char>>()))
        .map(|name| directory.join(name))
        .take(GLOB_PATHS_MAX)
        .collect()
}

/// Linear in practice: a `*` is retried only from the last one seen.
fn matches(pattern: &[char], text: &[char]) -> bool {
    let (mut at, mut read) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while read < text.len() {
        let step = match pattern.get(at) {
            Some('*') => {
                star = Some((at + 1, read));
                at += 1;
                continue;
            }
            Some('?') => Some(1),
            Some('[') => class(&pattern[at..], text[read]),
            Some(&letter) => (letter == text[read]).then_some(1),
            None => None,
        };
        match (step, star) {
            (Some(step), _) => {
                at += step;
                read += 1;
            }
            (None, Some((after, from))) => {
                star = Some((after, from + 1));
                at = after;
                read = from + 1;
            }
            (None, None) => return false,
        }
    }
    pattern[at..].iter().all(|&letter| letter == '*')
}

/// The length of the class at the start of `pattern` if it contains the letter. A `[` that is
/// never closed stands for itself.
fn class(pattern: &[char], letter: char) -> Option<usize> {
    let negated = matches!(pattern.get(1), Some('!' | '^'));
    let first = if negated { 2 } else { 1 };
    let Some(end) = pattern.iter().skip(first + 1).position(|&end| end == ']') else {
        return (letter == '[').then_some(1);
    };
    let end = end + first + 1;
    let members = &pattern[first..end];
    let mut at = 0;
    let mut contains = false;
    while at < members.len() {
        if members.get(at + 1) == Some(&'-') && at + 2 < members.len() {
            contains |= (members[at]..=members[at + 2]).contains(&letter);
            at += 3;
        } else {
            contains |= members[at] == letter;
            at += 1;
        }
    }
    (contains != negated).then_some(end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_like_the_shell() {
        let check = |pattern: &str, text: &str, expected: bool| {
            let letters = |text: &str| text.chars().collect::<Vec<char>>();
            assert_eq!(matches(&letters(pattern), &letters(text)), expected, "{pattern} {text}");
        };
        check("*", "", true);
        check("*.ini", "a.ini", true);
        check("*.ini", "a.in", false);
        check("a*b*c", "aXbXbXc", true);
        check("a?c", "abc", true);
        check("a?c", "ac", false);
        check("[a-c]x", "bx", true);
        check("[a-c]x", "dx", false);
        check("[!a-c]x", "dx", true);
        check("[]]x", "]x", true);
        check("[ab", "[ab", true);
        check("v[0-9]*", "v12", true);
    }
}
