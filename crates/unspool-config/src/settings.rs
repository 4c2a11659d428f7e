//! Every setting with its value, the place it comes from and what becomes of it: what
//! `unspool config` shows. It decides nothing; `resolve` has done so.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::time::Duration;

use crate::config::Config;
use crate::effect::{Effect, effect};
use crate::known;
use crate::logic;
use crate::origin::{Entry, Origin};
use crate::secrets;
use crate::section::Format;
use crate::workers::WorkerOptions;

/// One setting. Options that may be given several times are a setting each.
#[derive(Clone, PartialEq, Eq)]
pub struct Setting {
    /// The option's name, of several the usual one.
    pub name: String,
    /// What it amounts to: directories absolute, durations in seconds.
    pub value: String,
    /// Where it comes from; `None` for a default.
    pub origin: Option<Origin>,
    pub effect: Effect,
    secret: bool,
}

impl Setting {
    /// The value as it may be shown.
    pub fn shown(&self) -> String {
        secrets::shown(&self.name, &self.value, self.secret)
    }
}

impl Entry {
    /// The value as it may be shown.
    pub fn shown(&self) -> Option<String> {
        self.value.as_deref().map(|value| secrets::shown(&self.name, value, self.secret))
    }
}

/// Values may be secrets and stay out.
impl std::fmt::Debug for Setting {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Setting")
            .field("name", &self.name)
            .field("origin", &self.origin)
            .field("effect", &self.effect)
            .finish_non_exhaustive()
    }
}

/// Where the settings come from.
#[derive(Default)]
pub(crate) struct Places {
    /// By option, or by option and what tells one of several.
    places: HashMap<(&'static str, String), (Origin, bool)>,
}

impl Places {
    /// Where an option was given last.
    pub(crate) fn of(&self, name: &str) -> Option<Origin> {
        let known = known::find(name)?;
        self.places.get(&(known.name, String::new())).map(|place| place.0.clone())
    }

    pub(crate) fn put(&mut self, name: &'static str, which: &str, origin: &Origin, secret: bool) {
        self.places.insert((name, which.to_owned()), (origin.clone(), secret));
    }
}

pub(crate) struct List<'a> {
    places: &'a Places,
    secrets: Vec<&'a Entry>,
    settings: Vec<Setting>,
}

impl List<'_> {
    fn add(&mut self, name: &'static str, which: &str, value: String) {
        let place = self.places.places.get(&(name, which.to_owned()));
        self.settings.push(Setting {
            name: name.to_owned(),
            value,
            origin: place.map(|place| place.0.clone()),
            effect: effect(name),
            secret: place.is_some_and(|place| place.1),
        });
    }

    pub(crate) fn one(&mut self, name: &'static str, value: impl ToString) {
        self.add(name, "", value.to_string());
    }

    pub(crate) fn some(&mut self, name: &'static str, value: Option<impl ToString>) {
        if let Some(value) = value {
            self.one(name, value);
        }
    }

    pub(crate) fn at(&mut self, name: &str, value: String, origin: &Origin) {
        // An application is shown with its callable, which may be told elsewhere.
        let named = |entry: &&Entry| {
            entry.name == "callable"
                || known::canonical(&entry.name) == name && entry.origin == *origin
        };
        self.settings.push(Setting {
            name: name.to_owned(),
            value,
            origin: Some(origin.clone()),
            effect: effect(name),
            secret: self.secrets.iter().any(named),
        });
    }
}

/// The settings in the order in which a reader looks for them: spools, application, surroundings,
/// then every other option as it stands.
pub(crate) fn list(config: &Config, places: &Places) -> Vec<Setting> {
    let secrets = config.entries.iter().filter(|entry| entry.secret).collect();
    let mut list = List { places, secrets, settings: Vec::new() };
    for spooler in &config.spoolers {
        list.at(spooler.option(), shown(&spooler.name()), &spooler.origin);
    }
    spools(&mut list, config);
    mules(&mut list, config);
    for import in &config.imports {
        let value = match &import.callable {
            Some(callable) => format!("{}:{callable}", import.target),
            None => import.target.clone(),
        };
        list.at(import.kind.as_str(), value, &import.origin);
    }
    surroundings(&mut list, config);
    watched(&mut list, config);
    stats(&mut list, config);
    config.network.list(&mut list, config.stats.address.is_some());
    config.web.list(&mut list, config);
    others(&mut list, config);
    list.settings
}

fn spools(list: &mut List<'_>, config: &Config) {
    list.one("spooler-processes", config.spooler_processes);
    list.one("spooler-frequency", seconds(config.spooler_frequency));
    list.some("spooler-chdir", config.spooler_chdir.as_deref().map(shown));
    list.one("spooler-ordered", config.spooler_ordered);
    list.one("spooler-quiet", config.spooler_quiet);
    list.one("spooler-shared-hosts", config.spooler_shared_hosts);
    list.one("spooler-durability", &config.spooler_durability);
    list.one("spooler-settle", seconds(config.spooler_settle));
    if let Some(decision) = &config.spooler_adopt {
        list.one("spooler-adopt", decision);
    }
    list.one("spooler-adopt-age", seconds(config.spooler_adopt_age));
    config.retry.list(list);
    config.bounds.list(list);
    config.security.list(list);
    list.one("spooler-stop-timeout", seconds(config.stop_timeout));
    list.one("spooler-fork", config.fork().as_str());
    workers(list, &config.workers);
}

fn workers(list: &mut List<'_>, workers: &WorkerOptions) {
    for (path, (count, origin)) in &workers.processes_of {
        let value = format!("{}={count}", shown(path));
        list.at("spooler-processes-of", value, origin);
    }
    list.one("spooler-max-tasks", workers.max_tasks);
    list.one("spooler-signal-as-task", workers.signal_as_task);
    list.one("spooler-harakiri", seconds(workers.harakiri.unwrap_or_default()));
    list.one("spooler-cheap", workers.cheap);
    list.one("spooler-import-timeout", seconds(workers.import_timeout));
    list.one("spooler-start-timeout", seconds(workers.start_timeout));
    for (name, limit) in [
        ("harakiri", workers.handler_harakiri),
        ("max-worker-lifetime", workers.lifetime),
        (
            "max-worker-lifetime-delta",
            Some(workers.lifetime_delta).filter(|delta| !delta.is_zero()),
        ),
        ("worker-reload-mercy", workers.worker_mercy),
        ("reload-mercy", workers.mercy),
    ] {
        list.some(name, limit.map(seconds));
    }
    for (name, limit) in [
        ("reload-on-rss", workers.reload_on_rss),
        ("reload-on-as", workers.reload_on_as),
        ("evil-reload-on-rss", workers.evil_reload_on_rss),
        ("evil-reload-on-as", workers.evil_reload_on_as),
        ("limit-as", workers.limit_as),
        ("limit-nproc", workers.limit_nproc),
    ] {
        list.some(name, limit);
    }
}

fn mules(list: &mut List<'_>, config: &Config) {
    for mule in &config.mules {
        list.at("mule", mule.program.clone().unwrap_or_default(), &mule.origin);
    }
    for farm in &config.farms {
        let mules: Vec<String> = farm.mules.iter().map(u32::to_string).collect();
        list.at("farm", format!("{}:{}", farm.name, mules.join(",")), &farm.origin);
    }
    if !config.mules.is_empty() {
        list.one("mule-harakiri", seconds(config.mule_harakiri.unwrap_or_default()));
        list.one("mule-reload-mercy", seconds(config.mule_reload_mercy));
        list.one("mule-msg-size", config.mule_queue_bytes);
    }
}

fn surroundings(list: &mut List<'_>, config: &Config) {
    for path in &config.pythonpath {
        let path = shown(path);
        list.add("pythonpath", &path, path.clone());
    }
    list.some("virtualenv", config.virtualenv.as_deref().map(shown));
    list.some("chdir", config.chdir.as_deref().map(shown));
    list.some("chdir2", config.chdir2.as_deref().map(shown));
    for (name, value) in &config.env {
        list.add("env", name, format!("{name}={value}"));
    }
    for name in &config.unenv {
        list.add("unenv", name, name.clone());
    }
    list.some("pyargv", config.pyargv.as_deref());
    config.daemon.list(list);
    list.one("master", config.master);
    list.one("strict", config.strict);
    if config.lazy_apps {
        list.one("lazy-apps", true);
    }
}

fn watched(list: &mut List<'_>, config: &Config) {
    for touch in &config.watched.touches {
        list.at(touch.option, touch.shown(), &touch.origin);
    }
    list.some("py-autoreload", config.watched.autoreload.map(seconds));
}

fn stats(list: &mut List<'_>, config: &Config) {
    let stats = &config.stats;
    let Some(address) = &stats.address else { return };
    list.one("stats", address);
    list.one("stats-http", stats.http);
    list.one("stats-minified", stats.minified);
}

/// What has no setting of its own, and steers no reading.
fn others(list: &mut List<'_>, config: &Config) {
    let done: HashSet<String> = list.settings.iter().map(|setting| setting.name.clone()).collect();
    for entry in &config.entries {
        let name = known::canonical(&entry.name);
        let effect = effect(&entry.name);
        let folded = done.contains(name) || name == "callable";
        if folded || effect == Effect::InEffect && steers_reading(&entry.name) {
            continue;
        }
        list.settings.push(Setting {
            name: entry.name.clone(),
            value: entry.value.clone().unwrap_or_else(|| "true".to_owned()),
            origin: Some(entry.origin.clone()),
            effect,
            secret: entry.secret,
        });
    }
}

/// Whether an option was acted on while the options were read: what it has brought in is shown.
fn steers_reading(name: &str) -> bool {
    Format::of_option(name).is_some()
        || logic::is_closing(name)
        || name == "for"
        || ["for-", "if", "print", "iprint", "exit", "show-config"]
            .iter()
            .any(|start| name.starts_with(start))
        || ["include", "inherit", "config", "declare-option", "envdir", "early-envdir"]
            .contains(&name)
        || ["set", "set-placeholder", "set-ph"].contains(&name)
}

fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

pub(crate) fn seconds(duration: Duration) -> String {
    duration.as_secs_f64().to_string()
}
