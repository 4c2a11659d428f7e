//! The options of the web server: what answers requests, on which sockets besides those of the
//! network, how many at a time, and what of them is logged.
//!
//! Sockets that take tasks too are `network`'s, the application is one of the imports, and limits that
//! web workers share with others are `workers`'.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::{Config, Import, ImportKind};
use crate::error::ConfigError;
use crate::network::{ListenSocket, listen_address};
use crate::notice::Notice;
use crate::origin::Origin;
use crate::resolve::adjusted;
use crate::settings::{List, seconds};
use crate::values::Value;

/// What answers requests, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is one switch of uWSGI")]
pub struct WebOptions {
    /// `http-socket`, `http11-socket` and `http`, in the order of the options.
    pub sockets: Vec<ListenSocket>,
    /// `processes`: 0 is none.
    pub processes: u32,
    /// `threads`: requests that a process answers at a time.
    pub threads: u32,
    /// `post-buffering`: bytes of a body above which it is read before the application is called;
    /// 0: never.
    pub post_buffering: u64,
    /// `limit-post`: bytes that a body may have; 0: any number.
    pub limit_post: u64,
    /// `max-requests`: requests after which a worker is replaced; 0: never.
    pub max_requests: u64,
    /// `max-requests-delta`: how many more each next worker answers than the one before it.
    pub max_requests_delta: u64,
    /// `min-worker-lifetime`: a worker is not replaced for its requests before.
    pub lifetime_min: Duration,
    /// `http-headers-timeout`, else `http-timeout`: the time for the head of a request of HTTP.
    pub head_timeout: Duration,
    /// `http-keepalive`: how long a connection of HTTP may be idle; zero: it has one request.
    pub keep_alive: Duration,
    /// `static-map`: in the order of the options.
    pub static_maps: Vec<StaticMap>,
    /// A line of the log for each request: not with `disable-logging`.
    pub log_requests: bool,
    /// `log-4xx`, `log-5xx`: such requests have one all the same.
    pub log_4xx: bool,
    /// See `log_4xx`.
    pub log_5xx: bool,
    /// `log-slow`: requests that took so many milliseconds, likewise.
    pub log_slow_ms: Option<u64>,
    /// `need-app`: without the application the daemon ends.
    pub need_app: bool,
    /// As they were given; see `finish`.
    http_timeout: Duration,
    headers_timeout: Option<Duration>,
    keep_alive_given: Option<KeepAlive>,
}

/// Requests below a prefix that are answered with files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaticMap {
    /// What the path of a request begins with.
    pub prefix: String,
    /// The directory, or the file. Absolute.
    pub path: PathBuf,
}

/// What `http-keepalive` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KeepAlive {
    No,
    AsLongAsHttpTimeout,
    For(Duration),
}

/// More web workers are a mistake.
const PROCESSES_MAX: u64 = 4096;
/// More threads of one are a mistake.
const THREADS_MAX: u64 = 4096;
/// More of both together are a mistake.
const CORES_MAX: u64 = 65_536;
/// Sockets of HTTP: more are a mistake.
const SOCKETS_MAX: usize = 32;
/// Prefixes are compared one by one.
const STATIC_MAPS_MAX: usize = 1024;
/// Between these a client of HTTP is waited for.
const WAIT_MIN: Duration = Duration::from_millis(100);
const WAIT_MAX: Duration = Duration::from_hours(24);

impl Default for WebOptions {
    fn default() -> Self {
        Self {
            sockets: Vec::new(),
            processes: 1,
            threads: 1,
            post_buffering: 0,
            limit_post: 0,
            max_requests: 0,
            max_requests_delta: 0,
            lifetime_min: Duration::from_mins(1),
            head_timeout: Duration::from_mins(1),
            keep_alive: Duration::from_mins(1),
            static_maps: Vec::new(),
            log_requests: true,
            log_4xx: false,
            log_5xx: false,
            log_slow_ms: None,
            need_app: false,
            http_timeout: Duration::from_mins(1),
            headers_timeout: None,
            keep_alive_given: None,
        }
    }
}

impl WebOptions {
    /// Carries one option out; whether it is one of these.
    pub(crate) fn apply(
        &mut self,
        value: Value<'_>,
        notices: &mut Vec<Notice>,
    ) -> Result<bool, ConfigError> {
        match value.name() {
            "http-socket" => self.add("http-socket", value)?,
            "http11-socket" => self.add("http11-socket", value)?,
            "http" | "httprouter" => self.add("http", value)?,
            "processes" | "workers" => self.processes = count(value, PROCESSES_MAX)?,
            "threads" => {
                let threads = count(value, THREADS_MAX)?;
                self.threads = threads.max(1);
                if threads == 0 {
                    notices.push(adjusted(value, "1"));
                }
            }
            "post-buffering" => self.post_buffering = value.number()?,
            "limit-post" => self.limit_post = value.number()?,
            "max-requests" => self.max_requests = value.number()?,
            "max-requests-delta" => self.max_requests_delta = value.number()?,
            "min-worker-lifetime" => self.lifetime_min = value.seconds()?,
            "http-timeout" => self.http_timeout = wait(value, notices)?,
            "http-headers-timeout" => self.headers_timeout = Some(wait(value, notices)?),
            "http-keepalive" => self.keep_alive_given = Some(keep_alive(value, notices)?),
            "static-map" => self.add_static(value, false)?,
            "static-map2" => self.add_static(value, true)?,
            "disable-logging" => self.log_requests = !value.switch(),
            "log-4xx" => self.log_4xx = value.switch(),
            "log-5xx" => self.log_5xx = value.switch(),
            "log-slow" => {
                self.log_slow_ms = Some(value.number()?).filter(|milliseconds| *milliseconds > 0);
            }
            "need-app" => self.need_app = value.switch(),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn add(&mut self, option: &'static str, value: Value<'_>) -> Result<(), ConfigError> {
        if self.sockets.len() >= SOCKETS_MAX {
            return Err(value.invalid("these are more than 32 sockets of HTTP; remove some"));
        }
        let address = listen_address(value.plain()?, value)?;
        let origin = value.origin().clone();
        self.sockets.push(ListenSocket { address, tls: None, option, origin });
        Ok(())
    }

    /// `PREFIX=PATH`; `static-map2` looks for the whole path of a request below the directory.
    fn add_static(&mut self, value: Value<'_>, whole: bool) -> Result<(), ConfigError> {
        let parts = value.plain()?.split_once('=');
        let Some((prefix, path)) =
            parts.filter(|(prefix, path)| !prefix.is_empty() && !path.is_empty())
        else {
            return Err(value.invalid("write PREFIX=DIR, as in /static=/srv/static"));
        };
        if self.static_maps.len() >= STATIC_MAPS_MAX {
            return Err(value.invalid("these are more than 1024 mapped prefixes; remove some"));
        }
        let path = Path::new(path);
        let path = if whole { path.join(prefix.trim_start_matches('/')) } else { path.to_owned() };
        self.static_maps.push(StaticMap { prefix: prefix.to_owned(), path });
        Ok(())
    }

    /// What depends on several options. `base` is where the application runs.
    pub(crate) fn finish(
        &mut self,
        base: &Path,
        place: impl Fn(&str) -> Origin,
    ) -> Result<(), ConfigError> {
        let cores = u64::from(self.processes) * u64::from(self.threads);
        if cores > CORES_MAX {
            return Err(ConfigError::Syntax {
                origin: place("threads"),
                problem: format!(
                    "`processes` and `threads` make {cores} threads, more than {CORES_MAX}; write \
                     smaller numbers"
                ),
            });
        }
        self.head_timeout = self.headers_timeout.unwrap_or(self.http_timeout);
        self.keep_alive = match self.keep_alive_given {
            Some(KeepAlive::No) => Duration::ZERO,
            Some(KeepAlive::For(time)) => time,
            Some(KeepAlive::AsLongAsHttpTimeout) | None => self.http_timeout,
        };
        for map in &mut self.static_maps {
            map.path = base.join(&map.path);
        }
        Ok(())
    }

    pub(crate) fn list(&self, list: &mut List<'_>, config: &Config) {
        for socket in &self.sockets {
            list.at(socket.option, socket.address.clone(), &socket.origin);
        }
        if !config.has_web_workers() {
            return;
        }
        list.one("processes", self.processes);
        list.one("threads", self.threads);
        list.one("max-requests", self.max_requests);
        if self.max_requests > 0 {
            list.one("max-requests-delta", self.max_requests_delta);
            list.one("min-worker-lifetime", seconds(self.lifetime_min));
        }
        list.one("post-buffering", self.post_buffering);
        list.one("limit-post", self.limit_post);
        if !self.sockets.is_empty() {
            list.one("http-timeout", seconds(self.http_timeout));
            list.one("http-headers-timeout", seconds(self.head_timeout));
            list.one("http-keepalive", seconds(self.keep_alive));
        }
        list.one("disable-logging", !self.log_requests);
        if !self.log_requests {
            list.one("log-4xx", self.log_4xx);
            list.one("log-5xx", self.log_5xx);
            list.some("log-slow", self.log_slow_ms);
        }
        list.one("need-app", self.need_app);
    }
}

impl Config {
    /// The application: its place among the imports, and what is imported.
    pub fn application(&self) -> Option<(usize, &Import)> {
        let is_application =
            |import: &Import| matches!(import.kind, ImportKind::Module | ImportKind::WsgiFile);
        self.imports.iter().enumerate().find(|(_, import)| is_application(import))
    }

    /// Sockets of the network on which web workers answer requests of the uwsgi protocol, if there
    /// are such workers.
    pub fn web_sockets(&self) -> impl Iterator<Item = &ListenSocket> {
        self.network.sockets.iter().filter(|socket| socket.tls.is_none())
    }

    /// Whether requests are answered: there is an application, and a socket that takes some.
    pub fn has_web_workers(&self) -> bool {
        let sockets = !self.web.sockets.is_empty() || self.web_sockets().next().is_some();
        sockets && self.web.processes > 0 && self.application().is_some()
    }

    /// Why sockets of HTTP that are there are of no use.
    pub(crate) fn idle_http(&self) -> impl Iterator<Item = Notice> {
        let reason = if self.application().is_none() {
            Some("there is no application: name one with `module` or `wsgi-file`")
        } else if self.web.processes == 0 {
            Some("`processes = 0` leaves nobody to answer requests")
        } else {
            None
        };
        reason.into_iter().flat_map(|reason| {
            self.web.sockets.iter().map(move |socket| Notice::NoEffect {
                name: socket.option.to_owned(),
                origin: socket.origin.clone(),
                reason,
            })
        })
    }
}

fn count(value: Value<'_>, most: u64) -> Result<u32, ConfigError> {
    let count = value.number()?;
    if count > most {
        return Err(value.invalid("this is more than 4096; write a smaller number"));
    }
    Ok(count as u32)
}

/// A time that a client has; of one that no client can keep, what comes nearest.
fn wait(value: Value<'_>, notices: &mut Vec<Notice>) -> Result<Duration, ConfigError> {
    let asked = value.seconds()?;
    let used = asked.clamp(WAIT_MIN, WAIT_MAX);
    if used != asked {
        notices.push(adjusted(value, &seconds(used)));
    }
    Ok(used)
}

/// Bare, and 1, it is a switch, as in uWSGI.
fn keep_alive(value: Value<'_>, notices: &mut Vec<Notice>) -> Result<KeepAlive, ConfigError> {
    if value.is_empty() {
        return Ok(KeepAlive::AsLongAsHttpTimeout);
    }
    match value.plain()?.to_lowercase().as_str() {
        "1" | "true" | "on" | "yes" => Ok(KeepAlive::AsLongAsHttpTimeout),
        "0" | "false" | "off" | "no" => Ok(KeepAlive::No),
        _ => wait(value, notices).map(KeepAlive::For),
    }
}
