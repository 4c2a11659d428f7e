//! What may stand inside a value: `$(VARIABLE)`, `@(file)`, `%(option)` and small sums of options.
//!
//! As in uWSGI each kind is replaced in a pass of its own over all values, in this order, and what
//! a replacement brings in is not looked at again by the same pass. What has no definition stays
//! as it is written.

use std::convert::Infallible;

use crate::limits::VALUE_BYTES_MAX;

/// Replaces each `<sigil>(inside)` for which `replace` has a value. When one opens inside another
/// only the inner one is looked at.
pub(crate) fn replace_marked<E>(
    value: &str,
    sigil: char,
    mut replace: impl FnMut(&str) -> Result<Option<String>, E>,
) -> Result<String, E> {
    let opening: String = [sigil, '('].into_iter().collect();
    let mut result = String::with_capacity(value.len());
    let mut rest = value;
    while let Some(end) = find_after_opening(rest, &opening) {
        let (head, tail) = rest.split_at(end);
        // `end` is the first `)` after an opening: the last opening before it is the inner one.
        let start = head.rfind(&opening).unwrap_or(0);
        let inside = &head[start + opening.len()..];
        result.push_str(&head[..start]);
        if let Some(replacement) = replace(inside)? {
            result.push_str(&replacement);
        } else {
            result.push_str(&head[start..]);
            result.push(')');
        }
        rest = &tail[1..];
    }
    result.push_str(rest);
    Ok(result)
}

fn find_after_opening(text: &str, opening: &str) -> Option<usize> {
    let start = text.find(opening)?;
    text[start..].find(')').map(|offset| start + offset)
}

/// `text` with each `from` replaced, unless it grows past the bound.
pub(crate) fn replace_bounded(text: &str, from: &str, to: &str) -> Option<String> {
    let found = text.matches(from).count();
    let grown = found.saturating_mul(to.len().saturating_sub(from.len()));
    (found == 0 || text.len().saturating_add(grown) <= VALUE_BYTES_MAX)
        .then(|| text.replace(from, to))
}

/// The marked parts of a value, with their marks.
pub(crate) fn first_marked(value: &str, sigil: char) -> Option<String> {
    let mut first = None;
    let unchanged: Result<String, Infallible> = replace_marked(value, sigil, |inside| {
        first.get_or_insert_with(|| format!("{sigil}({inside})"));
        Ok(None)
    });
    unchanged.map_or(None, |_| first)
}

/// The value of what stands in `%(...)`: an option, or words and operators between blanks, worked
/// off from left to right. `None` leaves the text as it is.
pub(crate) fn evaluate<'a>(
    expression: &str,
    lookup: impl Fn(&str) -> Option<&'a str>,
) -> Option<String> {
    let mut words = expression.split(' ').filter(|word| !word.is_empty());
    let (first, second) = (words.next()?, words.next());
    if second.is_none() {
        // With a blank beside it, it is an expression, where a name without definition is empty.
        let alone = !expression.contains(' ') || is_operator(first);
        let number = || if is_number(first) { first } else { "" };
        return lookup(first).or_else(|| (!alone).then(number)).map(str::to_owned);
    }
    let mut result = String::new();
    let mut pending: Option<char> = None;
    for word in expression.split(' ').filter(|word| !word.is_empty()) {
        // Whoever asked refuses a value of that length.
        if result.len() > VALUE_BYTES_MAX {
            break;
        }
        match word {
            "+" | "-" | "*" | "/" => pending = word.chars().next(),
            "++" => result = integer(&result).wrapping_add(1).to_string(),
            "--" => result = integer(&result).wrapping_sub(1).to_string(),
            _ => {
                let operand = lookup(word).or_else(|| is_number(word).then_some(word));
                let operand = operand.unwrap_or_default();
                match pending.take() {
                    None => result.push_str(operand),
                    Some(operator) => {
                        let (left, right) = (integer(&result), integer(operand));
                        result = calculate(operator, left, right).to_string();
                    }
                }
            }
        }
    }
    Some(result)
}

/// The option names that an expression refers to.
pub(crate) fn names(expression: &str) -> impl Iterator<Item = &str> {
    expression.split(' ').filter(|word| !word.is_empty() && !is_operator(word))
}

fn is_operator(word: &str) -> bool {
    matches!(word, "+" | "-" | "*" | "/" | "++" | "--")
}

fn calculate(operator: char, left: i64, right: i64) -> i64 {
    match operator {
        '+' => left.wrapping_add(right),
        '-' => left.wrapping_sub(right),
        '*' => left.wrapping_mul(right),
        // By zero it is 0, as in uWSGI.
        _ if right == 0 => 0,
        _ => left.wrapping_div(right),
    }
}

fn is_number(word: &str) -> bool {
    word.bytes().all(|byte| byte.is_ascii_digit())
}

/// The number at the start of a text, else 0, as C reads it.
fn integer(text: &str) -> i64 {
    let text = text.trim_start();
    let signed = usize::from(text.starts_with(['+', '-']));
    let digits = text[signed..].bytes().take_while(u8::is_ascii_digit).count();
    let number = &text[..signed + digits];
    let limit = if number.starts_with('-') { i64::MIN } else { i64::MAX };
    if digits == 0 { 0 } else { number.parse().unwrap_or(limit) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> Option<&'static str> {
        Some(match name {
            "x" => "2",
            "y" => "3",
            "z" => "4",
            "str" => "12abc",
            "big" => "9223372036854775807",
            "empty" => "",
            "nested" => "%(x)",
            _ => return None,
        })
    }

    fn expand(value: &str) -> String {
        let result: Result<_, Infallible> =
            replace_marked(value, '%', |inside| Ok(evaluate(inside, lookup)));
        result.unwrap()
    }

    /// Each row was run on uWSGI 2.0.31.
    #[test]
    fn expressions_are_uwsgis() {
        let check = |value: &str, expected: &str| assert_eq!(expand(value), expected, "{value}");
        check("%(x)", "2");
        check("%( x )", "2");
        check("a%(x)b%(y)c", "a2b3c");
        check("%(empty)|", "|");
        check("%(nope)", "%(nope)");
        check("%(x", "%(x");
        check("%()", "%()");
        check("%( )", "%( )");
        check("%(5)", "%(5)");
        check("%(x++)", "%(x++)");
        check("%(x+y)", "%(x+y)");
        check("%(x + y)", "5");
        check("%(x y)", "23");
        check("%(x  y)", "23");
        check("%(x + 5)", "7");
        check("%(x - 5)", "-3");
        check("%(x ++)", "3");
        check("%(x ++ y)", "33");
        check("%(x -- y)", "13");
        check("%(x * y + 4)", "10");
        check("%(x * y z)", "64");
        check("%(x y + z)", "27");
        check("%(nope + 4)", "4");
        check("%(nope x)", "2");
        check("%(foo bar)", "");
        check("%( nope )", "");
        check("%( 5 )", "5");
        check("%( ++ )", "%( ++ )");
        check("%(x / 0)", "0");
        check("%(5 + 4)", "9");
        check("%(5 x)", "52");
        check("%(x + 5 6)", "76");
        check("%(str + 1)", "13");
        check("%(x + 010)", "12");
        check("%(x + 0x10)", "2");
        check("%(x +)", "2");
        check("%(+ x)", "2");
        check("%(big * big)", "1");
        check("%(nested)", "%(x)");
        check("%(%(x))", "%(2)");
    }

    #[test]
    fn finds_what_is_left() {
        assert_eq!(first_marked("a%(b)c%(d)", '%').as_deref(), Some("%(b)"));
        assert_eq!(first_marked("a%(b", '%'), None);
        assert_eq!(names("x + yy ++ 3").collect::<Vec<_>>(), ["x", "yy", "3"]);
    }
}
