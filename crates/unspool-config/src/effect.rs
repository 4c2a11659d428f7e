//! What becomes of each option: carried out, not yet, so anyway, or nothing at all.
//!
//! One table for the warnings of a start, for `unspool config` and for the documentation. It says
//! nothing about what an option means; that is `resolve`'s matter, and a test holds the two together.

use crate::known;

/// What unspool does with an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Effect {
    /// Carried out.
    InEffect,
    /// What it asks for is how unspool works anyway, or it tunes a part of uWSGI that unspool does
    /// without. Nobody needs a word about it.
    SoAnyway,
    /// Meant to be carried out, and not yet there.
    NotYet,
    /// Read, shown to the application, and otherwise ignored.
    None,
    /// No option of uWSGI or unspool: a placeholder, or a mistake.
    Unknown,
}

impl Effect {
    /// The word for it in `unspool config`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InEffect => "in effect",
            Self::SoAnyway => "so anyway",
            Self::NotYet => "not yet in effect",
            Self::None => "no effect",
            Self::Unknown => "placeholder",
        }
    }
}

/// What unspool does with the option of this name.
pub fn effect(name: &str) -> Effect {
    let listed = |list: &[&str]| list.binary_search(&name).is_ok();
    if known::find(name).is_none() {
        Effect::Unknown
    } else if listed(IN_EFFECT) {
        Effect::InEffect
    } else if listed(SO_ANYWAY) {
        Effect::SoAnyway
    } else if listed(NOT_YET) {
        Effect::NotYet
    } else {
        Effect::None
    }
}

/// Every option that is carried out, in alphabetical order.
pub fn options_in_effect() -> &'static [&'static str] {
    IN_EFFECT
}

/// Every option that is known and not yet carried out, in alphabetical order.
pub fn options_not_yet() -> &'static [&'static str] {
    NOT_YET
}

const IN_EFFECT: &[&str] = &[
    "add-gid",
    "allow-from",
    "attach-control-daemon",
    "attach-daemon",
    "attach-daemon2",
    "buffer-size",
    "cache",
    "cache-blocksize",
    "cache-no-expire",
    "cache-store",
    "cache2",
    "callable",
    "chdir",
    "chdir2",
    "chmod",
    "chmod-socket",
    "chown-socket",
    "config",
    "cron",
    "cron-harakiri",
    "cron2",
    "daemonize",
    "daemonize2",
    "declare-option",
    "die-on-term",
    "disable-logging",
    "early-envdir",
    "enable-metrics",
    "end-for",
    "end-if",
    "endfor",
    "endif",
    "env",
    "envdir",
    "evil-reload-on-as",
    "evil-reload-on-rss",
    "exec-as-root",
    "exec-as-user",
    "exec-as-user-atexit",
    "exec-asap",
    "exec-in-jail",
    "exec-post-app",
    "exec-pre-app",
    "exec-pre-jail",
    "exit",
    "exit-on-reload",
    "farm",
    "file",
    "for",
    "for-glob",
    "for-readline",
    "for-times",
    "fs-reload",
    "gid",
    "harakiri",
    "home",
    "honour-stdin",
    "hook-as-mule",
    "hook-as-root",
    "hook-as-user",
    "hook-as-user-atexit",
    "hook-asap",
    "hook-in-jail",
    "hook-master-start",
    "hook-post-app",
    "hook-post-fork",
    "hook-pre-app",
    "hook-pre-jail",
    "hook-touch",
    "http",
    "http-headers-timeout",
    "http-keepalive",
    "http-socket",
    "http-timeout",
    "http11-socket",
    "httprouter",
    "if-dir",
    "if-directory",
    "if-env",
    "if-exists",
    "if-file",
    "if-hostname",
    "if-not-dir",
    "if-not-env",
    "if-not-exists",
    "if-not-file",
    "if-not-hostname",
    "if-not-opt",
    "if-not-plugin",
    "if-not-reload",
    "if-opt",
    "if-plugin",
    "if-reload",
    "ifdir",
    "ifenv",
    "ifexists",
    "ifplugin",
    "immediate-gid",
    "immediate-uid",
    "import",
    "include",
    "inherit",
    "ini",
    "iprint",
    "js",
    "json",
    "lazy",
    "lazy-apps",
    "limit-as",
    "limit-nproc",
    "limit-post",
    "listen",
    "locks",
    "log-4xx",
    "log-5xx",
    "log-backupname",
    "log-date",
    "log-maxsize",
    "log-prefix",
    "log-reopen",
    "log-slow",
    "log-socket",
    "log-syslog",
    "log-truncate",
    "logdate",
    "logfile-chmod",
    "logfile-chown",
    "logger",
    "logto",
    "logto2",
    "master-fifo",
    "max-requests",
    "max-requests-delta",
    "max-worker-lifetime",
    "max-worker-lifetime-delta",
    "metric",
    "min-worker-lifetime",
    "module",
    "mule",
    "mule-harakiri",
    "mule-msg-size",
    "mule-reload-mercy",
    "mules",
    "need-app",
    "network-ca",
    "network-certificate",
    "network-certificate-key",
    "network-connections",
    "network-connections-per-peer",
    "network-idle-timeout",
    "network-keys",
    "network-open",
    "network-outbox",
    "network-task-bytes-max",
    "network-uids",
    "pidfile",
    "pidfile2",
    "post-buffering",
    "pp",
    "print",
    "processes",
    "procname",
    "procname-append",
    "procname-master",
    "procname-prefix",
    "procname-prefix-spaced",
    "py-auto-reload",
    "py-auto-reload-ignore",
    "py-autoreload",
    "py-import",
    "pyargv",
    "pyhome",
    "pyimport",
    "python-auto-reload",
    "python-autoreload",
    "python-import",
    "python-path",
    "pythonpath",
    "queue",
    "queue-blocksize",
    "queue-store",
    "rbtimer",
    "reload-mercy",
    "reload-on-as",
    "reload-on-rss",
    "safe-pidfile",
    "safe-pidfile2",
    "set",
    "set-ph",
    "set-placeholder",
    "shared-import",
    "shared-py-import",
    "shared-pyimport",
    "shared-python-import",
    "show-config",
    "signal-rbtimer",
    "signal-timer",
    "smart-attach-daemon",
    "smart-attach-daemon2",
    "socket",
    "socket-timeout",
    "spooler",
    "spooler-adopt",
    "spooler-adopt-age",
    "spooler-backoff-from",
    "spooler-backoff-max",
    "spooler-chdir",
    "spooler-cheap",
    "spooler-durability",
    "spooler-external",
    "spooler-fork",
    "spooler-freq",
    "spooler-frequency",
    "spooler-group",
    "spooler-harakiri",
    "spooler-import",
    "spooler-import-timeout",
    "spooler-keys",
    "spooler-log-format",
    "spooler-max-attempts",
    "spooler-max-deaths",
    "spooler-max-known",
    "spooler-max-pending",
    "spooler-max-pending-bytes",
    "spooler-max-retries",
    "spooler-max-tasks",
    "spooler-min-free",
    "spooler-mode",
    "spooler-network-pickle",
    "spooler-ordered",
    "spooler-processes",
    "spooler-processes-of",
    "spooler-py-import",
    "spooler-pyimport",
    "spooler-python-import",
    "spooler-quiet",
    "spooler-retry-delay",
    "spooler-settle",
    "spooler-shared-hosts",
    "spooler-signal-as-task",
    "spooler-soft-time-limit",
    "spooler-start-timeout",
    "spooler-stop-timeout",
    "spooler-strict-permissions",
    "spooler-unsigned-uids",
    "static-map",
    "static-map2",
    "stats",
    "stats-http",
    "stats-min",
    "stats-minified",
    "stats-server",
    "strict",
    "suwsgi-socket",
    "threads",
    "timer",
    "touch-chain-reload",
    "touch-exec",
    "touch-logreopen",
    "touch-logrotate",
    "touch-mules-reload",
    "touch-reload",
    "touch-signal",
    "touch-spoolers-reload",
    "touch-workers-reload",
    "uid",
    "umask",
    "unenv",
    "unique-cron",
    "uwsgi-socket",
    "vacuum",
    "venv",
    "virtualenv",
    "worker-reload-mercy",
    "workers",
    "wsgi",
    "wsgi-file",
    "xml",
    "xmlconfig",
    "yaml",
    "yml",
];

const SO_ANYWAY: &[&str] = &[
    "auto-procname",
    "autoload",
    "close-on-exec",
    "close-on-exec2",
    "command-mode",
    "disable-write-exception",
    "enable-threads",
    "harakiri-verbose",
    "ignore-sigpipe",
    "ignore-write-errors",
    "lock-engine",
    "log-master",
    "log-master-bufsize",
    "master",
    "max-vars",
    "memory-report",
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
    "signal-bufsize",
    "signals-bufsize",
    "single-interpreter",
    "stats-no-cores",
    "stats-no-metrics",
    "threaded-logger",
    "thunder-lock",
    "write-errors-exception-only",
    "write-errors-tolerance",
];

/// Those that concern processes, signals, logs and serving; whatever is in no list has no effect.
const NOT_YET: &[&str] = &["chroot", "logger-req", "queue-store-sync", "req-logger"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_sorted_and_disjoint() {
        let lists = [IN_EFFECT, SO_ANYWAY, NOT_YET];
        for list in lists {
            assert!(list.is_sorted_by(|a, b| a < b), "{list:?}");
        }
        let mut all = lists.concat();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count, "a name stands in two lists");
        for name in all {
            assert!(known::find(name).is_some(), "{name}");
        }
    }

    #[test]
    fn every_option_is_judged() {
        for name in known::names() {
            assert_ne!(effect(name), Effect::Unknown, "{name}");
        }
        assert_eq!(effect("fastrouter"), Effect::None);
        assert_eq!(effect("spoler"), Effect::Unknown);
    }
}
