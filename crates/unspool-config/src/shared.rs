//! The options of caches, queues, metrics and locks: finds mistakes in them before anything starts.
//!
//! What they mean, and their defaults, is the matter of `unspool._settings`, which has the same bounds.

use crate::error::ConfigError;
use crate::values::Value;

/// Keys of `cache2` that are numbers here.
const CACHE_NUMBERS: [&str; 7] =
    ["items", "max_items", "maxitems", "blocksize", "blocks", "keysize", "math_initial"];

/// Whether this option can be used, if it is one of those.
pub(crate) fn check(value: Value<'_>) -> Result<(), ConfigError> {
    match value.name() {
        "cache" | "cache-blocksize" | "queue-blocksize" => value.number().map(|_| ()),
        "queue" => at_most(value, 1_000_000),
        "locks" => at_most(value, 4096),
        "cache2" => check_cache(value),
        "metric" if value.text().contains('=') => {
            let pairs = pairs(value)?;
            named(value, &pairs, "write `metric = NAME` or `metric = name=NAME`")?;
            numbers(value, &pairs, &["initial_value"])
        }
        _ => Ok(()),
    }
}

fn at_most(value: Value<'_>, most: u64) -> Result<(), ConfigError> {
    if value.number()? > most {
        return Err(value.invalid(&format!("this is more than {most}; write a smaller number")));
    }
    Ok(())
}

fn check_cache(value: Value<'_>) -> Result<(), ConfigError> {
    const FORM: &str = "write `cache2 = name=NAME,items=NUMBER`";
    let pairs = pairs(value)?;
    named(value, &pairs, FORM)?;
    if !pairs.iter().any(|(key, _)| matches!(*key, "items" | "max_items" | "maxitems")) {
        return Err(value.invalid(FORM));
    }
    numbers(value, &pairs, &CACHE_NUMBERS)
}

fn pairs(value: Value<'_>) -> Result<Vec<(&str, &str)>, ConfigError> {
    let parts = value.text().split(',').map(str::trim).filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let wrong = || value.invalid("a part between commas is not of the form key=value");
            part.split_once('=').ok_or_else(wrong)
        })
        .collect()
}

fn named(value: Value<'_>, pairs: &[(&str, &str)], form: &str) -> Result<(), ConfigError> {
    let name = pairs.iter().rfind(|(key, _)| *key == "name");
    if name.is_some_and(|(_, name)| !name.is_empty()) { Ok(()) } else { Err(value.invalid(form)) }
}

fn numbers(value: Value<'_>, pairs: &[(&str, &str)], keys: &[&str]) -> Result<(), ConfigError> {
    let wrong = pairs.iter().find(|(key, text)| {
        let digits = text.trim_start_matches(['-', '+']);
        keys.contains(key) && !digits.starts_with(|first: char| first.is_ascii_digit())
    });
    match wrong {
        Some((key, _)) => Err(value.invalid(&format!("`{key}` is not a number"))),
        None => Ok(()),
    }
}
