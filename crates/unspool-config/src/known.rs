//! The options that exist: uWSGI's own table, embedded, and what unspool adds to it.
//!
//! It says what a name is and whether it takes a value; what an option does is `resolve`'s matter.

use std::collections::HashMap;
use std::sync::OnceLock;

/// Whether an option takes a value on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Argument {
    No,
    Optional,
    Required,
}

/// One long option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KnownOption {
    pub(crate) name: &'static str,
    pub(crate) argument: Argument,
    pub(crate) short: Option<char>,
    /// uWSGI switches it on and off; `name = false` asks for nothing.
    pub(crate) switch: bool,
}

const UWSGI_OPTIONS: &str = include_str!("options.tsv");

/// Options of unspool alone; each takes a value.
const UNSPOOL_OPTIONS: [&str; 3] = ["spooler-durability", "spooler-settle", "spooler-stop-timeout"];

/// Options that ask for nothing unspool would have to do: what they want is how it works anyway,
/// or they tune a part of uWSGI that it does not have. A user needs no word about them.
const SATISFIED: &[&str] = &[
    "auto-procname",
    "autoload",
    "buffer-size",
    "close-on-exec",
    "close-on-exec2",
    "command-mode",
    "die-on-term",
    "disable-logging",
    "disable-write-exception",
    "enable-threads",
    "ignore-sigpipe",
    "ignore-write-errors",
    "lock-engine",
    "log-master",
    "master",
    "max-vars",
    "memory-report",
    "need-app",
    "need-plugin",
    "need-plugins",
    "no-orphans",
    "no-threads-wait",
    "plugin",
    "plugin-dir",
    "plugins",
    "plugins-dir",
    "py-call-osafterfork",
    "py-call-uwsgi-fork-hooks",
    "single-interpreter",
    "thunder-lock",
    "vacuum",
    "write-errors-exception-only",
    "write-errors-tolerance",
];

/// Options that make uWSGI do one thing and exit, or act on another process.
const COMMANDS: &[&str] = &[
    "alarm-list",
    "alarms-list",
    "build-plugin",
    "cflags",
    "cheaper-algo-list",
    "cheaper-algos-list",
    "cheaper-list",
    "clock-list",
    "clocks-list",
    "config-py",
    "connect-and-read",
    "dot-h",
    "dump-options",
    "extract",
    "help",
    "logger-list",
    "loggers-list",
    "loop-list",
    "loops-list",
    "pause",
    "ping",
    "plugin-list",
    "plugins-list",
    "print-sym",
    "print-symbol",
    "pyshell",
    "pyshell-oneshot",
    "python-version",
    "reload",
    "resume",
    "show-config",
    "stop",
    "suspend",
    "usage",
    "version",
];

struct Table {
    options: Vec<KnownOption>,
    positions: HashMap<&'static str, usize>,
}

fn table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(|| {
        let uwsgi = UWSGI_OPTIONS.lines().filter(|line| !line.starts_with('#')).map(parse_row);
        let own = UNSPOOL_OPTIONS.iter().map(|name| KnownOption {
            name,
            argument: Argument::Required,
            short: None,
            switch: false,
        });
        let options: Vec<KnownOption> = uwsgi.chain(own).collect();
        let positions = options.iter().enumerate().map(|(at, row)| (row.name, at)).collect();
        Table { options, positions }
    })
}

fn parse_row(row: &'static str) -> KnownOption {
    let mut columns = row.split('\t');
    let mut next = || columns.next().unwrap_or_default();
    let (name, argument, short, kind) = (next(), next(), next(), next());
    KnownOption {
        name,
        argument: match argument {
            "no" => Argument::No,
            "optional" => Argument::Optional,
            _ => Argument::Required,
        },
        short: short.chars().next(),
        switch: kind == "true" || kind == "false",
    }
}

/// The option of this exact name. Names are case sensitive, as in uWSGI.
pub(crate) fn find(name: &str) -> Option<&'static KnownOption> {
    let table = table();
    table.positions.get(name).map(|&at| &table.options[at])
}

/// The first option that has this short form.
pub(crate) fn find_short(short: char) -> Option<&'static KnownOption> {
    table().options.iter().find(|option| option.short == Some(short))
}

/// Every option whose name starts so, in table order.
pub(crate) fn with_prefix(prefix: &str) -> Vec<&'static KnownOption> {
    table().options.iter().filter(|option| option.name.starts_with(prefix)).collect()
}

/// Every name, for suggestions.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    table().options.iter().map(|option| option.name)
}

/// Whether the option needs nothing done and deserves no notice.
pub(crate) fn is_satisfied(name: &str) -> bool {
    SATISFIED.contains(&name)
}

/// Whether the option asks for a deed instead of setting something.
pub(crate) fn is_command(name: &str) -> bool {
    COMMANDS.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_is_whole() {
        assert_eq!(table().options.len(), 943 + UNSPOOL_OPTIONS.len());
        assert_eq!(table().positions.len(), table().options.len(), "a name stands twice");
        for option in &table().options {
            assert!(!option.name.is_empty() && option.name.is_ascii(), "{option:?}");
        }
    }

    #[test]
    fn finds_by_name_and_letter() {
        let spooler = find("spooler").unwrap();
        assert_eq!((spooler.argument, spooler.short), (Argument::Required, Some('Q')));
        assert_eq!(find_short('p').unwrap().name, "processes");
        assert_eq!(find("master").unwrap().argument, Argument::No);
        assert!(find("master").unwrap().switch);
        assert_eq!(find("chmod-socket").unwrap().argument, Argument::Optional);
        assert!(find("spooler-durability").is_some());
        assert!(find("Spooler").is_none());
        assert_eq!(with_prefix("spooler-proc").len(), 1);
    }

    #[test]
    fn listed_names_exist() {
        for name in SATISFIED.iter().chain(COMMANDS) {
            assert!(find(name).is_some(), "{name}");
        }
    }
}
