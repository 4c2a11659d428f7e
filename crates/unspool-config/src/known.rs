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
    /// A number to uWSGI, which reads the digits that its value begins with.
    pub(crate) number: bool,
}

const UWSGI_OPTIONS: &str = include_str!("options.tsv");

/// Options of unspool alone. Each takes a value unless it is a switch.
const UNSPOOL_OPTIONS: [(&str, bool); 40] = [
    ("allow-from", false),
    ("network-keys", false),
    ("network-open", true),
    ("network-uids", false),
    ("network-connections", false),
    ("network-connections-per-peer", false),
    ("network-idle-timeout", false),
    ("network-task-bytes-max", false),
    ("spooler-network-pickle", true),
    ("network-outbox", false),
    ("network-ca", false),
    ("network-certificate", false),
    ("network-certificate-key", false),
    ("spooler-adopt", false),
    ("spooler-adopt-age", false),
    ("spooler-max-attempts", false),
    ("spooler-max-deaths", false),
    ("spooler-max-known", false),
    ("spooler-max-pending", false),
    ("spooler-max-pending-bytes", false),
    ("spooler-max-retries", false),
    ("spooler-min-free", false),
    ("spooler-retry-delay", false),
    ("spooler-backoff-from", false),
    ("spooler-backoff-max", false),
    ("spooler-soft-time-limit", false),
    ("spooler-durability", false),
    ("spooler-fork", false),
    ("spooler-group", false),
    ("spooler-import-timeout", false),
    ("spooler-keys", false),
    ("spooler-log-format", false),
    ("spooler-mode", false),
    ("spooler-processes-of", false),
    ("spooler-settle", false),
    ("spooler-shared-hosts", true),
    ("spooler-start-timeout", false),
    ("spooler-stop-timeout", false),
    ("spooler-strict-permissions", true),
    ("spooler-unsigned-uids", false),
];

/// Options that uWSGI has when it is built with other libraries than a default build finds (PCRE,
/// libcap, a JSON reader), as distributions build it, or in its development branch, and that are in use: a `strict` file may have
/// them. Each takes a value unless it is a switch.
const OTHER_BUILDS: [(&str, bool); 79] = [
    ("alarm-log", false),
    ("cap", false),
    ("emperor-cap", false),
    ("error-route", false),
    ("error-route-host", false),
    ("error-route-if", false),
    ("error-route-if-not", false),
    ("error-route-label", false),
    ("error-route-qs", false),
    ("error-route-referer", false),
    ("error-route-remote-addr", false),
    ("error-route-remote-user", false),
    ("error-route-run", false),
    ("error-route-status", false),
    ("error-route-uri", false),
    ("error-route-user-agent", false),
    ("final-route", false),
    ("final-route-host", false),
    ("final-route-if", false),
    ("final-route-if-not", false),
    ("final-route-label", false),
    ("final-route-qs", false),
    ("final-route-referer", false),
    ("final-route-remote-addr", false),
    ("final-route-remote-user", false),
    ("final-route-run", false),
    ("final-route-status", false),
    ("final-route-uri", false),
    ("final-route-user-agent", false),
    ("js", false),
    ("json", false),
    ("log-alarm", false),
    ("log-drain", false),
    ("log-filter", false),
    ("log-req-route", false),
    ("log-route", false),
    ("not-alarm-log", false),
    ("not-log-alarm", false),
    ("pcre-jit", true),
    ("pivot", false),
    ("response-route", false),
    ("response-route-host", false),
    ("response-route-if", false),
    ("response-route-if-not", false),
    ("response-route-label", false),
    ("response-route-qs", false),
    ("response-route-referer", false),
    ("response-route-remote-addr", false),
    ("response-route-remote-user", false),
    ("response-route-run", false),
    ("response-route-status", false),
    ("response-route-uri", false),
    ("response-route-user-agent", false),
    ("route", false),
    ("route-host", false),
    ("route-if", false),
    ("route-if-not", false),
    ("route-label", false),
    ("route-qs", false),
    ("route-referer", false),
    ("route-remote-addr", false),
    ("route-remote-user", false),
    ("route-run", false),
    ("route-uri", false),
    ("route-user-agent", false),
    ("router-list", true),
    ("routers-list", true),
    ("sni-regexp", false),
    ("spooler-cheap", true),
    ("spooler-signal-as-task", true),
    ("static-expires", false),
    ("static-expires-mtime", false),
    ("static-expires-path-info", false),
    ("static-expires-path-info-mtime", false),
    ("static-expires-uri", false),
    ("static-expires-uri-mtime", false),
    ("static-gzip", false),
    ("vassal-cap", false),
    ("vassals-cap", false),
];

/// Options of the same meaning, and the name under which they are shown.
const ALIASES: [(&str, &str); 32] = [
    ("chmod", "chmod-socket"),
    ("file", "wsgi-file"),
    ("home", "virtualenv"),
    ("httprouter", "http"),
    ("lazy", "lazy-apps"),
    ("log-prefix", "log-date"),
    ("logdate", "log-date"),
    ("pp", "pythonpath"),
    ("py-auto-reload", "py-autoreload"),
    ("py-import", "import"),
    ("pyhome", "virtualenv"),
    ("pyimport", "import"),
    ("python-auto-reload", "py-autoreload"),
    ("python-autoreload", "py-autoreload"),
    ("python-import", "import"),
    ("python-path", "pythonpath"),
    ("set-ph", "set-placeholder"),
    ("shared-py-import", "shared-import"),
    ("shared-pyimport", "shared-import"),
    ("shared-python-import", "shared-import"),
    ("spooler-freq", "spooler-frequency"),
    ("spooler-py-import", "spooler-import"),
    ("spooler-pyimport", "spooler-import"),
    ("spooler-python-import", "spooler-import"),
    ("stats-min", "stats-minified"),
    ("stats-server", "stats"),
    ("venv", "virtualenv"),
    ("workers", "processes"),
    ("wsgi", "module"),
    ("xmlconfig", "xml"),
    ("yml", "yaml"),
    ("js", "json"),
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
        let others =
            UNSPOOL_OPTIONS.iter().chain(&OTHER_BUILDS).map(|&(name, switch)| KnownOption {
                name,
                argument: if switch { Argument::No } else { Argument::Required },
                short: None,
                switch,
                number: false,
            });
        let options: Vec<KnownOption> = uwsgi.chain(others).collect();
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
        number: matches!(kind, "set_int" | "set_64bit" | "set_16bit" | "set_megabytes"),
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
///
/// Those of unspool alone count only where uWSGI has none, so that an abbreviation that uWSGI
/// understands means the same here.
pub(crate) fn with_prefix(prefix: &str) -> Vec<&'static KnownOption> {
    let all = table().options.iter().filter(|option| option.name.starts_with(prefix));
    let (own, uwsgi): (Vec<_>, Vec<_>) =
        all.partition(|option| UNSPOOL_OPTIONS.iter().any(|(own, _)| *own == option.name));
    if uwsgi.is_empty() { own } else { uwsgi }
}

/// Every name, for suggestions.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    table().options.iter().map(|option| option.name)
}

/// The usual name of an option that has several.
pub(crate) fn canonical(name: &str) -> &str {
    ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, usual)| usual)
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
        assert_eq!(table().options.len(), 943 + UNSPOOL_OPTIONS.len() + OTHER_BUILDS.len());
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
        let names = |prefix| with_prefix(prefix).iter().map(|o| o.name).collect::<Vec<&str>>();
        assert_eq!(names("spooler-proc"), ["spooler-processes"]);
        assert_eq!(names("spooler-dur"), ["spooler-durability"]);
    }

    #[test]
    fn listed_names_exist() {
        for name in COMMANDS {
            assert!(find(name).is_some(), "{name}");
        }
    }
}
