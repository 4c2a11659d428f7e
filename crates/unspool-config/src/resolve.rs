//! Options to settings: what each option means, which are carried out, and what is worth a notice.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Loaded;
use crate::bounds::BoundsOptions;
use crate::config::{Config, Import, ImportKind, Spooler};
use crate::daemon::{Bases, DaemonConfig};
use crate::effect::{Effect, effect};
use crate::envdir;
use crate::error::ConfigError;
use crate::expand;
use crate::glob;
use crate::hooks::{self, Hooks};
use crate::known;
use crate::loader::{Definition, Gathered, ReadOption};
use crate::logic;
use crate::network::NetworkOptions;
use crate::notice::Notice;
use crate::origin::{Entry, Origin};
use crate::programs::{self, Programs};
use crate::relay;
use crate::retry::RetryOptions;
use crate::secrets;
use crate::security::SecurityOptions;
use crate::settings::{self, Places};
use crate::shared;
use crate::stats::StatsOptions;
use crate::suggest;
use crate::values::Value;
use crate::watch::Watched;
use crate::web::WebOptions;
use crate::workers::WorkerOptions;

/// A waiting task is looked at again this soon at the earliest: less would keep a core busy.
const FREQUENCY_MIN: Duration = Duration::from_millis(10);
/// What `spooler-frequency = 0` becomes.
const FREQUENCY_INSTEAD_OF_ZERO: Duration = Duration::from_secs(1);
/// More processes than this for one spool is a mistake.
const SPOOLER_PROCESSES_MAX: u64 = 4096;
/// The callable of an application that names none.
const CALLABLE: &str = "application";

pub(crate) struct Resolver {
    pub(crate) config: Config,
    pub(crate) notices: Vec<Notice>,
    shared_imports: Vec<Import>,
    imports: Vec<Import>,
    module: Option<Import>,
    wsgi_file: Option<Import>,
    spooler_imports: Vec<Import>,
    callable: Option<String>,
    pythonpath: Vec<(PathBuf, Origin, bool)>,
    /// Each variable once: set, or taken away.
    variables: Vec<(String, Option<String>)>,
    variable_positions: HashMap<String, usize>,
    places: Places,
}

/// Turns what was read into settings.
pub(crate) fn resolve(gathered: Gathered, start: &Path) -> Result<Loaded, ConfigError> {
    let strict = gathered
        .options
        .iter()
        .rfind(|option| option.entry.name == "strict")
        .is_some_and(|option| Value { option }.switch());
    let mut resolver = Resolver {
        config: Config {
            config_sections: gathered.sections,
            ..empty_config(start, gathered.files)
        },
        notices: gathered.notices,
        shared_imports: Vec::new(),
        imports: Vec::new(),
        module: None,
        wsgi_file: None,
        spooler_imports: Vec::new(),
        callable: None,
        pythonpath: Vec::new(),
        variables: Vec::new(),
        variable_positions: HashMap::new(),
        places: Places::default(),
    };
    resolver.config.strict = strict;
    resolver.set_variables_of("early-envdir", &gathered.options)?;
    let mut idle = Idle::default();
    let mut reported: HashSet<&str> = HashSet::new();
    for option in &gathered.options {
        let value = Value { option };
        let name = value.name();
        if let Some(known) = known::find(name) {
            if resolver.apply(value)? {
                resolver.note_leftovers(value);
            }
            if !known.switch || value.switch() {
                idle.note(name);
            }
        } else if strict
            && option.definition != Definition::Placeholder
            && !gathered.declared.contains_key(name)
        {
            return Err(strict_unknown(option));
        } else if option.definition == Definition::Plain
            && !gathered.referenced.contains(name)
            && !gathered.declared.contains_key(name)
            && reported.insert(name)
        {
            resolver.notices.push(Notice::UnknownOption {
                name: name.to_owned(),
                origin: value.origin().clone(),
                nearest: nearest(name),
            });
        }
    }
    resolver.set_variables_of("envdir", &gathered.options)?;
    resolver.check_farms()?;
    resolver.finish(start)?;
    let Resolver { mut config, mut notices, places, .. } = resolver;
    notices.extend(idle.notices());
    let options = gathered.options.into_iter().filter(|option| !option.derived);
    config.entries = options.map(entry).collect();
    let settings = settings::list(&config, &places);
    Ok(Loaded { config, notices, settings })
}

fn entry(option: ReadOption) -> Entry {
    let secret = option.raw.as_deref().is_some_and(secrets::refers_to_secret);
    Entry { secret, ..option.entry }
}

/// Options that are asked for and not carried out, each once.
#[derive(Default)]
struct Idle {
    not_yet: Vec<String>,
    ignored: Vec<String>,
}

impl Idle {
    fn note(&mut self, name: &str) {
        let names = match effect(name) {
            Effect::NotYet => &mut self.not_yet,
            Effect::None => &mut self.ignored,
            _ => return,
        };
        if !names.iter().any(|other| other == name) {
            names.push(name.to_owned());
        }
    }

    fn notices(self) -> impl Iterator<Item = Notice> {
        let Self { not_yet, ignored } = self;
        let not_yet = (!not_yet.is_empty()).then_some(Notice::NotYetInEffect { names: not_yet });
        let ignored = (!ignored.is_empty()).then_some(Notice::Ignored { names: ignored });
        not_yet.into_iter().chain(ignored)
    }
}

impl Resolver {
    /// Carries one option out; whether this option is one of those that are.
    fn apply(&mut self, value: Value<'_>) -> Result<bool, ConfigError> {
        if value.is_empty() && self.take_back(known::canonical(value.name())) {
            self.no_effect(value, "its value is empty");
            return Ok(true);
        }
        shared::check(value)?;
        let start = self.config.start_directory.clone();
        let applied = self.apply_spooler(value)?
            || self.config.security.apply(value, &self.config.start_directory)?
            || self.apply_python(value)?
            || self.apply_process(value)?
            || self.apply_stats(value)?
            || self.config.network.apply(value, &start, &mut self.notices)?
            || self.config.web.apply(value, &mut self.notices)?
            || self.apply_mules(value)?
            || self.config.workers.apply(value, &start)?
            || self.config.watched.apply(value, &mut self.notices)?
            || self.config.daemon.apply(value, &start)?
            || self.config.programs.apply(value, &mut self.notices)?
            || self.config.hooks.apply(value, &mut self.notices)?;
        if applied && let Some(known) = known::find(known::canonical(value.name())) {
            self.places.put(known.name, "", value.origin(), value.secret());
        }
        Ok(applied)
    }

    fn no_effect(&mut self, value: Value<'_>, reason: &'static str) {
        let (name, origin) = (value.name().to_owned(), value.origin().clone());
        self.notices.push(Notice::NoEffect { name, origin, reason });
    }

    /// An empty value of an option that names a module, a file or a directory, as `$(VARIABLE)` makes
    /// one: the option is as if it were not there. Whether it is such a one; uWSGI goes on with those.
    fn take_back(&mut self, name: &str) -> bool {
        match name {
            "shared-import" | "import" | "spooler-import" | "pythonpath" | "unenv" | "socket"
            | "uwsgi-socket" | "suwsgi-socket" | "http-socket" | "http11-socket" | "http"
            | "static-map" | "static-map2" => {}
            "module" => self.module = None,
            "wsgi-file" => self.wsgi_file = None,
            "callable" => self.callable = None,
            "virtualenv" => self.config.virtualenv = None,
            "chdir2" => self.config.chdir2 = None,
            "spooler-chdir" => self.config.spooler_chdir = None,
            "umask" => self.config.daemon.umask = None,
            "spooler-group" => self.config.security.group = None,
            _ => return false,
        }
        true
    }

    fn apply_spooler(&mut self, value: Value<'_>) -> Result<bool, ConfigError> {
        let config = &mut self.config;
        match value.name() {
            "spooler" => self.add_spooler(value, false)?,
            "spooler-external" => self.add_spooler(value, true)?,
            "spooler-processes" => {
                let count = value.number()?;
                if count > SPOOLER_PROCESSES_MAX {
                    return Err(value.invalid("this is more than 4096; write a smaller number"));
                }
                if count == 0 {
                    self.notices.push(adjusted(value, "1"));
                }
                self.config.spooler_processes = u32::try_from(count).unwrap_or(1).max(1);
            }
            "spooler-frequency" | "spooler-freq" => self.set_frequency(value)?,
            "spooler-ordered" => config.spooler_ordered = value.switch(),
            "spooler-chdir" => config.spooler_chdir = Some(PathBuf::from(value.plain()?)),
            "spooler-quiet" => config.spooler_quiet = value.switch(),
            "spooler-shared-hosts" => config.spooler_shared_hosts = value.switch(),
            "spooler-durability" => {
                let level = value.plain()?;
                if !["none", "file", "group"].contains(&level) {
                    return Err(value.invalid("write none, file or group"));
                }
                level.clone_into(&mut config.spooler_durability);
            }
            "spooler-settle" => config.spooler_settle = value.seconds()?,
            "spooler-adopt" => {
                let decision = value.plain()?;
                if !["run", "hold", "bury"].contains(&decision) {
                    return Err(value.invalid("write run, hold or bury"));
                }
                config.spooler_adopt = Some(decision.to_owned());
            }
            "spooler-adopt-age" => config.spooler_adopt_age = value.seconds()?,
            "spooler-stop-timeout" => {
                config.stop_timeout = value.seconds()?;
                config.workers.stop_timeout_given = true;
            }
            _ => return Ok(config.retry.apply(value)? || config.bounds.apply(value)?),
        }
        Ok(true)
    }

    fn apply_python(&mut self, value: Value<'_>) -> Result<bool, ConfigError> {
        match value.name() {
            "shared-import" | "shared-pyimport" | "shared-py-import" | "shared-python-import" => {
                self.shared_imports.push(import(ImportKind::SharedImport, value)?);
            }
            "import" | "pyimport" | "py-import" | "python-import" => {
                self.imports.push(import(ImportKind::Import, value)?);
            }
            "spooler-import"
            | "spooler-pyimport"
            | "spooler-py-import"
            | "spooler-python-import" => {
                self.spooler_imports.push(import(ImportKind::SpoolerImport, value)?);
            }
            "module" | "wsgi" => self.set_module(value)?,
            "wsgi-file" | "file" => {
                self.wsgi_file = Some(import(ImportKind::WsgiFile, value)?);
            }
            "callable" => self.callable = Some(value.plain()?.to_owned()),
            "pythonpath" | "python-path" | "pp" => {
                let path = PathBuf::from(value.plain()?);
                self.pythonpath.push((path, value.origin().clone(), value.secret()));
            }
            "home" | "virtualenv" | "venv" | "pyhome" => {
                self.config.virtualenv = Some(PathBuf::from(value.plain()?));
            }
            "pyargv" => self.config.pyargv = Some(value.text().to_owned()),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn apply_process(&mut self, value: Value<'_>) -> Result<bool, ConfigError> {
        let config = &mut self.config;
        match value.name() {
            "chdir" => config.chdir = Some(config.start_directory.join(value.plain()?)),
            "chdir2" => config.chdir2 = Some(PathBuf::from(value.plain()?)),
            // Without a value it takes the variable away, as `putenv` does in uWSGI.
            "env" => match value.text().split_once('=') {
                Some(("", _)) => self.no_effect(value, "it names no variable"),
                Some((name, text)) => self.set_variable(name, Some(text), value),
                None if value.text().is_empty() => {}
                None => self.set_variable(value.text(), None, value),
            },
            "unenv" => self.set_variable(value.plain()?, None, value),
            "print" | "iprint" => {
                self.notices.push(Notice::Printed { text: value.text().to_owned() });
            }
            "show-config" => config.show_config = value.switch(),
            "master" => config.master = value.switch(),
            "lazy" | "lazy-apps" => config.lazy_apps |= value.switch(),
            // Acted on while the options were read.
            "envdir" | "early-envdir" | "strict" | "ini" | "include" | "inherit" | "config"
            | "set" | "set-placeholder" | "set-ph" | "yaml" | "yml" | "xml" | "xmlconfig"
            | "json" | "js" | "exit" | "declare-option" => {}
            name if name == "for" || name.starts_with("for-") => {}
            name if name.starts_with("if-") || logic::is_closing(name) => {}
            "ifenv" | "ifexists" | "ifplugin" | "ifdir" => {}
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn apply_stats(&mut self, value: Value<'_>) -> Result<bool, ConfigError> {
        let stats = &mut self.config.stats;
        match value.name() {
            "stats" | "stats-server" => stats.address = Some(value.plain()?.to_owned()),
            "stats-http" => stats.http = value.switch(),
            "stats-min" | "stats-minified" => stats.minified = value.switch(),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// A variable of the application's processes: set, or taken away.
    fn set_variable(&mut self, name: &str, text: Option<&str>, value: Value<'_>) {
        let option = if text.is_some() { "env" } else { "unenv" };
        self.places.put(option, name, value.origin(), value.secret());
        let text = text.map(str::to_owned);
        if let Some(&at) = self.variable_positions.get(name) {
            self.variables[at].1 = text;
        } else {
            self.variable_positions.insert(name.to_owned(), self.variables.len());
            self.variables.push((name.to_owned(), text));
        }
    }

    /// Directories of variables. As in uWSGI the early ones come before every `env` and `unenv`, the
    /// others after them, wherever they stand.
    fn set_variables_of(&mut self, name: &str, options: &[ReadOption]) -> Result<(), ConfigError> {
        for option in options.iter().filter(|option| option.entry.name == name) {
            let value = Value { option };
            let directory = self.config.start_directory.join(value.plain()?);
            for (name, text) in envdir::read(&directory, value.origin())? {
                self.set_variable(&name, text.as_deref(), value);
            }
        }
        Ok(())
    }

    fn add_spooler(&mut self, value: Value<'_>, external: bool) -> Result<(), ConfigError> {
        let text = value.plain()?;
        let relay = text.strip_prefix(relay::RELAY);
        let relay = relay.map(|address| relay::address(address, value)).transpose()?;
        // That of a relay is known once all options are.
        let path =
            if relay.is_some() { PathBuf::new() } else { self.config.start_directory.join(text) };
        if self.config.spoolers.iter().any(|known| known.path == path && known.relay == relay) {
            self.no_effect(
                value,
                if relay.is_some() {
                    "this address is a relay already"
                } else {
                    "this directory is a spool already; for more workers set `spooler-processes`"
                },
            );
            return Ok(());
        }
        let origin = value.origin().clone();
        self.config.spoolers.push(Spooler { path, relay, external, origin });
        Ok(())
    }

    fn set_frequency(&mut self, value: Value<'_>) -> Result<(), ConfigError> {
        let asked = value.seconds()?;
        let used =
            if asked.is_zero() { FREQUENCY_INSTEAD_OF_ZERO } else { asked.max(FREQUENCY_MIN) };
        if used != asked {
            self.notices.push(adjusted(value, &used.as_secs_f64().to_string()));
        }
        self.config.spooler_frequency = used;
        Ok(())
    }

    /// `module` or `module:callable`, where a blank after the colon is forgiven.
    fn set_module(&mut self, value: Value<'_>) -> Result<(), ConfigError> {
        let mut module = import(ImportKind::Module, value)?;
        if let Some((target, callable)) = module.target.clone().rsplit_once(':') {
            let (trimmed, name) = (target.trim(), callable.trim());
            if trimmed.is_empty() || name.is_empty() {
                return Err(value.invalid("write `module = package.module:callable`"));
            }
            if trimmed.len() + name.len() < target.len() + callable.len() {
                self.notices.push(Notice::BlankTrimmed {
                    name: value.name().to_owned(),
                    origin: value.origin().clone(),
                    value: module.target.clone(),
                    used: format!("{trimmed}:{name}"),
                });
            }
            module.callable = Some(name.to_owned());
            trimmed.clone_into(&mut module.target);
        }
        self.module = Some(module);
        Ok(())
    }

    /// What a value in use still carries that its author did not mean.
    fn note_leftovers(&mut self, value: Value<'_>) {
        let (name, origin) = (value.name().to_owned(), value.origin().clone());
        let text = value.text();
        let quoted = |quote: char| {
            text.len() > 1 && text.starts_with(quote) && text.ends_with(quote) && name != "env"
        };
        if matches!(origin, Origin::File { .. }) && (quoted('"') || quoted('\'')) {
            let value = value.told().to_owned();
            self.notices.push(Notice::Quoted { name, origin, value });
        } else if let Some(used) = value.read_as() {
            let (value, used) = (value.told().to_owned(), used.to_owned());
            self.notices.push(Notice::NumberReadAs { name, origin, value, used });
        } else if let Some(placeholder) = leftover(value) {
            self.notices.push(Notice::Unexpanded { name, origin, placeholder });
        }
    }

    /// What depends on all options together.
    fn finish(&mut self, start: &Path) -> Result<(), ConfigError> {
        let config = &mut self.config;
        // Python and the tasks see these after `chdir`.
        let base = config.chdir.clone().unwrap_or_else(|| start.to_owned());
        for (name, text) in std::mem::take(&mut self.variables) {
            match text {
                Some(text) => config.env.push((name, text)),
                None => config.unenv.push(name),
            }
        }
        config.watched.join(&base);
        config.security.finish();
        config.network.finish(|name| self.places.of(name).unwrap_or(Origin::CommandLine))?;
        relay::finish(&mut config.spoolers, config.network.outbox.as_deref())?;
        config.web.finish(&base, |name| self.places.of(name).unwrap_or(Origin::CommandLine))?;
        config.daemon.finish(&Bases { start, chdir: &base });
        config.chdir2 = config.chdir2.take().map(|path| base.join(path));
        config.spooler_chdir = config.spooler_chdir.take().map(|path| base.join(path));
        config.virtualenv = config.virtualenv.take().map(|path| base.join(path));
        for (path, origin, secret) in &self.pythonpath {
            for path in python_paths(&base, path) {
                self.places.put("pythonpath", &path.to_string_lossy(), origin, *secret);
                config.pythonpath.push(path);
            }
        }
        let programs_in = config.chdir2.clone().unwrap_or_else(|| base.clone());
        config.programs.finish(&programs_in);
        config.master |= !config.spoolers.is_empty();
        config.stop_timeout = config.workers.stop_timeout(config.stop_timeout);
        let application = match (self.module.take(), self.wsgi_file.take()) {
            (Some(module), ignored) => {
                if let Some(file) = ignored {
                    self.notices.push(Notice::NoEffect {
                        name: "wsgi-file".to_owned(),
                        origin: file.origin,
                        reason: "`module` names the application; remove one of them",
                    });
                }
                Some(module)
            }
            (None, file) => file,
        };
        let callable = self.callable.take().unwrap_or_else(|| CALLABLE.to_owned());
        let application = application
            .map(|import| Import { callable: import.callable.or(Some(callable)), ..import });
        config.imports.append(&mut self.shared_imports);
        config.imports.append(&mut self.imports);
        config.imports.extend(application);
        config.imports.append(&mut self.spooler_imports);
        self.notices.extend(config.idle_http());
        Ok(())
    }
}

fn empty_config(start: &Path, config_files: Vec<PathBuf>) -> Config {
    Config {
        entries: Vec::new(),
        config_files,
        config_sections: Vec::new(),
        start_directory: start.to_owned(),
        spoolers: Vec::new(),
        spooler_processes: 1,
        spooler_frequency: Duration::from_secs(30),
        spooler_ordered: false,
        spooler_chdir: None,
        spooler_quiet: false,
        spooler_shared_hosts: false,
        workers: WorkerOptions::default(),
        spooler_durability: "group".to_owned(),
        retry: RetryOptions::default(),
        bounds: BoundsOptions::default(),
        spooler_settle: Duration::from_mins(1),
        spooler_adopt: None,
        spooler_adopt_age: Duration::from_hours(24),
        stop_timeout: Duration::from_mins(1),
        security: SecurityOptions::default(),
        network: NetworkOptions::default(),
        web: WebOptions::default(),
        stats: StatsOptions::default(),
        mules: Vec::new(),
        farms: Vec::new(),
        mule_harakiri: None,
        mule_reload_mercy: Duration::from_mins(1),
        mule_queue_bytes: crate::mules::QUEUE_BYTES,
        imports: Vec::new(),
        pythonpath: Vec::new(),
        virtualenv: None,
        chdir: None,
        chdir2: None,
        env: Vec::new(),
        unenv: Vec::new(),
        pyargv: None,
        show_config: false,
        watched: Watched::default(),
        daemon: DaemonConfig::default(),
        programs: Programs::default(),
        hooks: Hooks::default(),
        strict: false,
        master: false,
        lazy_apps: false,
    }
}

fn import(kind: ImportKind, value: Value<'_>) -> Result<Import, ConfigError> {
    let target = value.plain()?.to_owned();
    Ok(Import { kind, target, callable: None, origin: value.origin().clone() })
}

pub(crate) fn adjusted(value: Value<'_>, used: &str) -> Notice {
    Notice::Adjusted {
        name: value.name().to_owned(),
        origin: value.origin().clone(),
        value: value.told().to_owned(),
        used: used.to_owned(),
    }
}

fn strict_unknown(option: &ReadOption) -> ConfigError {
    ConfigError::StrictUnknown {
        name: option.entry.name.clone(),
        origin: option.entry.origin.clone(),
        nearest: nearest(&option.entry.name),
    }
}

fn nearest(name: &str) -> Option<String> {
    suggest::nearest(name, known::names()).map(str::to_owned)
}

/// A placeholder or variable that nothing defined, in an option whose value is used.
fn leftover(value: Value<'_>) -> Option<String> {
    // These were used while the options were read and are kept as they are written.
    let keeps_its_text = matches!(
        value.name(),
        "set"
            | "set-placeholder"
            | "set-ph"
            | "ini"
            | "include"
            | "config"
            | "env"
            | "yaml"
            | "yml"
            | "xml"
            | "xmlconfig"
            | "json"
            | "js"
            | "iprint"
            | "declare-option"
    );
    if keeps_its_text {
        return None;
    }
    let sigils: &[char] = if programs::is_command(value.name()) || hooks::is_command(value.name()) {
        &['%']
    } else {
        &['%', '$']
    };
    sigils.iter().find_map(|&sigil| expand::first_marked(value.text(), sigil))
}

/// The directories that one `pythonpath` stands for: it may be a pattern.
fn python_paths(base: &Path, path: &Path) -> Vec<PathBuf> {
    let text = path.to_string_lossy();
    let matching = if glob::is_pattern(&text) { glob::expand(base, &text) } else { Vec::new() };
    if matching.is_empty() {
        return vec![base.join(path)];
    }
    matching.into_iter().map(|path| base.join(path)).collect()
}
