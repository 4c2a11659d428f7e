//! The lines of several daemons as one sequence.

use super::filter::Line;

/// Merges sequences by time. Each keeps its own order, also where a clock was set; a line without a time
/// stays behind the one before it.
pub(super) fn by_time(mut all: Vec<Vec<Line>>) -> Vec<Line> {
    if all.len() < 2 {
        return all.pop().unwrap_or_default();
    }
    let timed = all.into_iter().flat_map(|lines| {
        let mut latest_ns = i64::MIN;
        lines.into_iter().map(move |line| {
            if let Line::Record(record) = &line {
                latest_ns = latest_ns.max(record.time_ns);
            }
            (latest_ns, line)
        })
    });
    let mut timed: Vec<(i64, Line)> = timed.collect();
    timed.sort_by_key(|(time_ns, _)| *time_ns);
    timed.into_iter().map(|(_, line)| line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log_record::Record;

    fn at(time_ns: i64, message: &str) -> Line {
        Line::Record(Record {
            time_ns,
            level: tracing::Level::INFO,
            event: None,
            message: message.to_owned(),
            fields: Vec::new(),
            detail: String::new(),
        })
    }

    #[test]
    fn each_keeps_its_order_and_all_are_in_that_of_time() {
        let plain = |text: &str| Line::Plain(text.to_owned());
        let first = vec![at(1, "a"), plain("of a"), at(5, "e"), at(2, "clock set")];
        let second = vec![at(2, "b"), at(3, "c"), at(6, "f")];
        let told: Vec<String> = by_time(vec![first, second])
            .iter()
            .map(|line| match line {
                Line::Record(record) => record.message.clone(),
                Line::Plain(text) => text.clone(),
            })
            .collect();
        assert_eq!(told, ["a", "of a", "b", "c", "e", "clock set", "f"]);
    }
}
