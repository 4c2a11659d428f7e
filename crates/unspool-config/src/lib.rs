//! Configuration of unspool: uWSGI's ini files, command line and environment variables, read as
//! uWSGI 2.0.31 reads them, and turned into one [`Config`].
//!
//! This crate is the only reader of the environment. It reads configuration files and does nothing
//! else to the world: it prints nothing, creates nothing, changes no directory, never exits. What
//! cannot be used is a [`ConfigError`], what can be used but deserves a word is a [`Notice`]; both
//! say where, what and what to do.
//!
//! From text to settings: `magic`, and `ini`, `yaml`, `xml` or `json`, turn a file into the lines of
//! a `section`, `cli` and `environment` do the same for the other sources, `loader` brings them into
//! uWSGI's order with `logic` and `expand`, `resolve` gives them their meaning, `settings` tells
//! where each came from and `effect` what becomes of it.

mod addresses;
mod bounds;
mod cli;
mod config;
mod daemon;
mod effect;
mod envdir;
mod environment;
mod error;
mod expand;
mod files;
mod glob;
mod hooks;
mod ini;
mod json;
mod known;
mod limits;
mod loader;
mod logic;
mod magic;
mod mules;
mod network;
mod notice;
mod origin;
mod programs;
mod relay;
mod resolve;
mod retry;
mod secrets;
mod section;
mod security;
mod settings;
mod shared;
mod stats;
mod suggest;
mod values;
mod watch;
mod web;
mod workers;
mod xml;
mod yaml;

use std::ffi::OsString;

pub use addresses::AddressList;
pub use bounds::{BoundsOptions, InvalidSize, MinFree, parse_size};
pub use config::{Config, Farm, Import, ImportKind, Mule, Spooler};
pub use daemon::{DaemonConfig, Daemonize, LogDate, LogFile, LogForm, Logger, PidFiles, Titles};
pub use effect::{Effect, effect, options_in_effect, options_not_yet};
pub use environment::{
    CONFIG_VARIABLE, Environment, LOG_VARIABLE, ProducerSource, SPOOL_VARIABLE,
    spool_from_environment,
};
pub use error::ConfigError;
pub use hooks::{Hook, HookAction, HookPhase, Hooks};
pub use magic::UWSGI_VERSION;
pub use network::{ListenSocket, NetworkOptions, NetworkUsers, SocketOwner, TlsFiles};
pub use notice::Notice;
pub use origin::{Entry, Origin};
pub use programs::{AttachedDaemon, CronCommand, Programs, SignalTimer};
pub use retry::RetryOptions;
pub use secrets::{bytes_without_secrets, is_secret_name, without_secrets};
pub use security::{FileMode, SecurityOptions};
pub use settings::Setting;
pub use stats::StatsOptions;
pub use watch::{Touch, TouchAction, Watched};
pub use web::{StaticMap, WebOptions};
pub use workers::{Fork, WorkerOptions};

/// Where options come from.
#[derive(Debug, Clone)]
pub struct Sources {
    /// Everything after `unspool run`: options and positional configuration files.
    pub args: Vec<OsString>,
    pub environment: Environment,
}

/// A usable configuration and the remarks on it.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    pub config: Config,
    pub notices: Vec<Notice>,
    /// Every setting, with its place and effect.
    pub settings: Vec<Setting>,
}

/// Reads all sources.
///
/// # Errors
///
/// An unknown option on the command line or under `strict`, a file that cannot be read, a value
/// that is not what its option needs. The first one found is returned.
///
/// # Example: options of a command line
///
/// ```
/// use unspool_config::{Environment, Sources, load};
///
/// let sources = Sources {
///     args: ["--spooler", "/var/spool/mail", "-M"].map(Into::into).to_vec(),
///     environment: Environment::from_pairs([("UWSGI_SPOOLER_PROCESSES", "2")]),
/// };
/// let config = load(&sources)?.config;
/// assert_eq!(config.spoolers[0].path.to_str(), Some("/var/spool/mail"));
/// assert_eq!(config.spooler_processes, 2);
/// assert_eq!(config.opt()[2], ("master".to_owned(), None));
/// # Ok::<(), unspool_config::ConfigError>(())
/// ```
pub fn load(sources: &Sources) -> Result<Loaded, ConfigError> {
    let start = sources.environment.current_directory().ok_or(ConfigError::NoCurrentDirectory)?;
    let gathered = loader::gather(&sources.args, None, &sources.environment, start)?;
    resolve::resolve(gathered, start)
}

/// Reads one file, or `FILE:SECTION`, and the `UWSGI_*` variables. `origin` is what named the file,
/// for messages about it.
///
/// # Errors
///
/// As for [`load`].
pub fn load_file(
    file: &std::path::Path,
    origin: &Origin,
    environment: &Environment,
) -> Result<Loaded, ConfigError> {
    let start = environment.current_directory().ok_or(ConfigError::NoCurrentDirectory)?;
    let name = file.to_str().ok_or_else(|| ConfigError::ArgumentNotUtf8 {
        shown: file.to_string_lossy().into_owned(),
    })?;
    let gathered = loader::gather(&[], Some((name, origin)), environment, start)?;
    resolve::resolve(gathered, start)
}
