//! The nearest known name to a name that is not known. Silent when nothing is near.

/// The candidate that a user most likely meant, if one is close enough to be worth saying.
///
/// `_` counts as `-`, case does not count, and a line such as `spooler /tmp/x`, which has no `=`,
/// is recognised by its first word.
pub(crate) fn nearest<'a>(
    name: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    let wanted = normalised(name);
    let first_word = wanted.split([' ', '\t', ':']).next().unwrap_or_default();
    let allowed = match wanted.len() {
        0..=3 => 0,
        4..=7 => 1,
        8..=15 => 2,
        _ => 3,
    };
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        if candidate == wanted || candidate == first_word {
            return Some(candidate);
        }
        if candidate.len().abs_diff(wanted.len()) > allowed {
            continue;
        }
        let distance = strsim::osa_distance(&wanted, candidate);
        if distance <= allowed && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

fn normalised(name: &str) -> String {
    name.trim_start_matches('-').replace('_', "-").to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn suggests_only_what_is_near() {
        let known = ["spooler", "spooler-processes", "spooler-import", "module", "pp", "chdir"];
        let check = |name: &str, expected: Option<&str>| {
            assert_eq!(nearest(name, known.into_iter()), expected, "{name}");
        };
        check("spooler_import", Some("spooler-import"));
        check("Spooler-Import", Some("spooler-import"));
        check("spooler-proceses", Some("spooler-processes"));
        check("spoolerimport", Some("spooler-import"));
        check("--chidr", Some("chdir"));
        check("spooler /tmp/x", Some("spooler"));
        check("spooler: /tmp/x", Some("spooler"));
        check("app", None);
        check("project_dir", None);
        check("tasks", None);
        check("", None);
    }
}
