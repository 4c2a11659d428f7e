//! From options to what the other crates want.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use unspool_config::{Config, Fork, LogForm, Origin, Spooler};
use unspool_core::limits::PACKET_BYTES_MAX;
use unspool_core::{Durability, Priority, RetryPolicy, UnknownDurability};
use unspool_spool::{OpenError, SpoolDir};
use unspool_supervisor::{
    AdoptChoice, AdoptSettings, ForkPolicy, Moments, MuleSettings, OnQuit, RetrySettings, Settings,
    SpoolSettings, Touch, TouchAction, WatchSettings, ZygoteSettings,
};
use unspool_wire::address::InvalidAddress;
use unspool_wire::control::{Import, Lines, Retry, Setup, Titles};

use crate::bounds;
use crate::logging::date_of_lines;
use crate::network::{self, NetworkError};
use crate::security::{self, SecurityError};
use crate::{exit, hooks, programs, relays, serving, web, workers};

/// Options that do not amount to a daemon.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ResolveError {
    #[error(
        "nothing to run: name a spool (`spooler = DIR` or `--spooler DIR`), something to import \
         (`module`, `import`, `spooler-import`), a program (`cron`, `attach-daemon`) or a mule \
         (`mule = script.py`)"
    )]
    Nothing,
    #[error(transparent)]
    Durability(#[from] UnknownDurability),
    #[error(transparent)]
    Spool(#[from] OpenError),
    #[error("`stats`")]
    Stats(#[from] InvalidAddress),
    #[error(
        "{workers} workers are too many: those of all spools (`spooler-processes`, \
         `spooler-processes-of`) and web workers (`processes`) may be {most} at most"
    )]
    Workers { workers: usize, most: usize },
    #[error(
        "`spooler-processes-of`: `{path}` is neither a spool that is run here nor the folder of a \
         priority in one; name it with `spooler` too"
    )]
    ProcessesOf { path: PathBuf },
    #[error("`{option}`: `{path}` cannot be entered")]
    Directory { option: &'static str, path: PathBuf, source: io::Error },
    #[error("`virtualenv`: there is no Python in `{path}` (looked for bin/python3 and bin/python)")]
    Virtualenv { path: PathBuf },
    #[error(
        "the settings of the application are {bytes} bytes, more than {most}: shorten the longest \
         values of `env` and other options"
    )]
    TooLarge { bytes: usize, most: usize },
    #[error("the spool's internals cannot be opened again")]
    Schedule { source: io::Error },
    #[error("{origin}: there is no {what} `{name}`")]
    Unknown { what: &'static str, name: String, origin: Origin },
    #[error(transparent)]
    Security(#[from] SecurityError),
    #[error(transparent)]
    Network(#[from] NetworkError),
    #[error("`{path}` is not UTF-8 text, which the application's settings need to be")]
    Text { path: PathBuf },
}

impl ResolveError {
    pub(crate) fn exit_status(&self) -> u8 {
        match self {
            Self::Security(error) => error.exit_status(),
            Self::Network(error) => error.exit_status(),
            Self::Spool(_) | Self::Directory { .. } => exit::FAILED,
            _ => exit::USAGE,
        }
    }
}

/// What can be found wrong without creating or starting anything.
pub(crate) fn check(config: &Config) -> Result<(), ResolveError> {
    let own = own_spoolers(config);
    let programs = !config.programs.crons.is_empty() || !config.programs.daemons.is_empty();
    let others = programs || !config.mules.is_empty();
    let relays = relays::relays(config).next().is_some();
    // As a uWSGI whose web workers store tasks that another one runs.
    let stores = !config.network.sockets.is_empty() && !config.spoolers.is_empty();
    if own.is_empty() && config.imports.is_empty() && !others && !relays && !stores {
        return Err(ResolveError::Nothing);
    }
    config.spooler_durability.parse::<Durability>()?;
    for (option, path) in [
        ("chdir", &config.chdir),
        ("chdir2", &config.chdir2),
        ("spooler-chdir", &config.spooler_chdir),
    ] {
        if let Some(path) = path {
            std::fs::read_dir(path).map_err(|source| ResolveError::Directory {
                option,
                path: path.clone(),
                source,
            })?;
        }
    }
    let access = security::access(config)?;
    security::keys(config)?;
    network::check(config)?;
    for spooler in config.spoolers.iter().filter(|spooler| !spooler.external) {
        // A spool that is missing will be created, unless a file is in the way: then opening fails
        // and creates nothing.
        if spooler.path.ancestors().find(|path| path.exists()).is_some_and(|path| !path.is_dir()) {
            SpoolDir::open_with(&spooler.path, &access)?;
        }
    }
    workers::check(config)?;
    serving::stats_address(config)?;
    python(config)?;
    programs::settings(config)?;
    let mut setup = setup(config)?;
    setup.web = web::setup(config, web::sockets_as_written(config))?;
    // What the packet with these settings may still need for other things.
    let most = PACKET_BYTES_MAX - 1024;
    match serde_json::to_vec(&setup).map_or(0, |packet| packet.len()) {
        bytes if bytes > most => Err(ResolveError::TooLarge { bytes, most }),
        _ => Ok(()),
    }
}

/// The spools whose tasks run here.
pub(crate) fn own_spoolers(config: &Config) -> Vec<&Spooler> {
    config.spoolers.iter().filter(|spooler| !spooler.external && spooler.relay.is_none()).collect()
}

/// What a daemon needs, from its configuration. Creates the spools that are missing.
pub(crate) fn settings(config: &Config, states: Vec<PathBuf>) -> Result<Settings, ResolveError> {
    check(config)?;
    let own = own_spoolers(config);
    let access = security::access(config)?;
    let mut spools: Vec<SpoolSettings> = Vec::new();
    for spooler in own.iter().filter(|spooler| !is_priority_of(spooler, &own)) {
        let dir = SpoolDir::open_with(&spooler.path, &access)?.bounded(bounds::own(&config.bounds));
        access.check_folders(&dir)?;
        // Named twice, it is still one.
        if spools.iter().all(|known| known.dir.path() != dir.path()) {
            spools.push(SpoolSettings {
                dir,
                workers: workers::general(config, spooler),
                dedicated: workers::dedicated(config, spooler),
                frequency: config.spooler_frequency,
                retry: retry(config),
                settle: config.spooler_settle,
                tasks_max: usize::try_from(config.bounds.max_known).unwrap_or(usize::MAX),
                adopt: adopt(config),
                // In uWSGI's form the workers themselves say what becomes of their tasks.
                quiet: config.spooler_quiet || config.daemon.log_form == LogForm::Uwsgi,
                shared_hosts: config.spooler_shared_hosts,
            });
        }
    }
    let python = python(config)?;
    let setup = setup(config)?;
    let schedule = programs::schedule(config, spools.first().map(|spool| &spool.dir), states)
        .map_err(|source| ResolveError::Schedule { source })?;
    Ok(Settings {
        spools,
        programs: programs::settings(config)?,
        hooks: hooks::of_supervisor(&config.hooks),
        schedule,
        zygote: ZygoteSettings {
            python,
            setup,
            fork: match config.fork() {
                Fork::Auto => ForkPolicy::Auto,
                Fork::Always => ForkPolicy::Always,
                Fork::Never => ForkPolicy::Never,
            },
            start_timeout: config.workers.start_timeout,
            honour_stdin: config.daemon.honour_stdin,
        },
        mules: MuleSettings {
            harakiri: config.mule_harakiri,
            reload_mercy: config.mule_reload_mercy,
            queue_bytes: usize::try_from(config.mule_queue_bytes).unwrap_or(usize::MAX),
        },
        web: None,
        stop_timeout: config.stop_timeout,
        limits: workers::limits(config),
        config_files: config.config_files.clone(),
        inquiries: None,
        lines: Arc::default(),
        watch: watch(config),
        on_quit: if config.daemon.die_on_term { OnQuit::Reload } else { OnQuit::Stop },
        moments: Moments::default(),
    })
}

/// What is watched besides the spools.
fn watch(config: &Config) -> WatchSettings {
    let watched = &config.watched;
    let touches = watched.touches.iter().map(|touch| Touch {
        option: touch.option,
        path: touch.path.clone(),
        any_event: touch.option == "fs-reload",
        action: match &touch.action {
            unspool_config::TouchAction::Reload => TouchAction::Reload,
            unspool_config::TouchAction::Exec(command) => TouchAction::Exec(command.clone()),
            unspool_config::TouchAction::Signal(number) => TouchAction::Signal(*number),
            unspool_config::TouchAction::ReopenLog => TouchAction::ReopenLog,
            unspool_config::TouchAction::RotateLog => TouchAction::RotateLog,
        },
    });
    WatchSettings {
        touches: touches.collect(),
        autoreload: watched.autoreload,
        directory: config.chdir.clone().unwrap_or_else(|| config.start_directory.clone()),
        fifos: watched.master_fifos.clone(),
        remove_fifo: config.option("vacuum").is_some(),
        exit_on_reload: watched.exit_on_reload,
    }
}

/// What becomes of tasks that uWSGI left behind.
pub(crate) fn adopt(config: &Config) -> AdoptSettings {
    let choice = config.spooler_adopt.as_deref().and_then(|choice| match choice {
        "run" => Some(AdoptChoice::Run),
        "hold" => Some(AdoptChoice::Hold),
        "bury" => Some(AdoptChoice::Bury),
        _ => None,
    });
    AdoptSettings { ordered: config.spooler_ordered, age: config.spooler_adopt_age, choice }
}

/// The directories of the spools that a configuration runs, priorities of others left out.
pub(crate) fn spool_paths(config: &Config) -> Vec<PathBuf> {
    let own = own_spoolers(config);
    let spools = own.iter().filter(|spooler| !is_priority_of(spooler, &own));
    spools.map(|spooler| spooler.path.clone()).collect()
}

/// The same with the outboxes of relays, as far as they are there.
pub(crate) fn spool_and_outbox_paths(config: &Config) -> Vec<PathBuf> {
    let mut paths = spool_paths(config);
    let outboxes = relays::relays(config).map(|(spooler, _)| spooler.path.clone());
    paths.extend(outboxes.filter(|path| path.is_dir()));
    paths
}

/// The interpreter of the workers: that of `virtualenv`, else the one beside this binary, else the
/// first on the path.
pub(crate) fn python(config: &Config) -> Result<PathBuf, ResolveError> {
    let of = |bin: &Path| {
        ["python3", "python"]
            .iter()
            .map(|name| bin.join(name))
            // One that is there and cannot be used is an error, not a reason to take another.
            .find(|python| python.symlink_metadata().is_ok())
    };
    if let Some(home) = &config.virtualenv {
        return of(&home.join("bin"))
            .ok_or_else(|| ResolveError::Virtualenv { path: home.clone() });
    }
    let beside = std::env::current_exe().ok().and_then(|exe| exe.parent().and_then(of));
    Ok(beside.unwrap_or_else(|| PathBuf::from("python3")))
}

/// Whether a spool is the folder of a priority in another one (`spooler = DIR` and `DIR/5`): its
/// tasks are that one's.
pub(crate) fn is_priority_of(spooler: &Spooler, all: &[&Spooler]) -> bool {
    let name = spooler.path.file_name().map(std::os::unix::ffi::OsStrExt::as_bytes);
    name.is_some_and(|name| Priority::new(name).is_ok())
        && all.iter().any(|other| Some(other.path.as_path()) == spooler.path.parent())
}

pub(crate) fn setup(config: &Config) -> Result<Setup, ResolveError> {
    let imports = config.imports.iter().map(|import| Import {
        kind: import.kind.as_str().to_owned(),
        target: import.target.clone(),
        callable: import.callable.clone(),
    });
    let relays = config.spoolers.iter().filter(|spooler| spooler.relay.is_some());
    let relays =
        relays.map(|relay| Ok::<_, ResolveError>((text(&relay.name())?, text(&relay.path)?)));
    Ok(Setup {
        spoolers: config.spoolers.iter().map(|s| text(&s.path)).collect::<Result<_, _>>()?,
        relays: relays.collect::<Result<_, _>>()?,
        imports: imports.collect(),
        pythonpath: config.pythonpath.iter().map(|p| text(p)).collect::<Result<_, _>>()?,
        chdir: config.chdir.as_deref().map(text).transpose()?,
        chdir2: config.chdir2.as_deref().map(text).transpose()?,
        spooler_chdir: config.spooler_chdir.as_deref().map(text).transpose()?,
        env: config.env.clone(),
        unenv: config.unenv.clone(),
        opt: config.opt(),
        shared: config.shared_state(),
        mules: config.mules.iter().map(|mule| mule.program.clone()).collect(),
        farms: config.farms.iter().map(|farm| (farm.name.clone(), farm.mules.clone())).collect(),
        durability: config.spooler_durability.clone(),
        frequency: config.spooler_frequency.as_secs_f64(),
        retry: Retry {
            delay: config.retry.delay.unwrap_or(config.spooler_frequency).as_secs_f64(),
            max_retries: config.retry.max_retries,
            backoff_from: config.retry.backoff_from,
            backoff_max: config.retry.backoff_max.as_secs_f64(),
        },
        hooks: hooks::of_application(&config.hooks)?,
        soft_time_limit: config.retry.soft_time_limit.map(|limit| limit.as_secs_f64()),
        harakiri: config.workers.harakiri.map(|limit| limit.as_secs_f64()),
        handler_harakiri: config.workers.handler_harakiri.map(|limit| limit.as_secs_f64()),
        limit_as: config.workers.limit_as.map(|mib| mib.saturating_mul(1 << 20)),
        limit_nproc: config.workers.limit_nproc,
        security: security::of_workers(config)?,
        bounds: bounds::of_workers(&config.bounds),
        network: security::network_of_workers(config)?,
        autoreload: config.watched.autoreload.is_some(),
        autoreload_ignore: config.watched.autoreload_ignore.clone(),
        lines: Lines {
            uwsgi: config.daemon.log_form == LogForm::Uwsgi,
            quiet: config.spooler_quiet,
            date: date_of_lines(&config.daemon.log_date),
        },
        titles: Titles {
            name: config.daemon.titles.name.clone(),
            prefix: config.daemon.titles.prefix.clone(),
            append: config.daemon.titles.append.clone(),
        },
        ..Setup::default()
    })
}

pub(crate) fn retry(config: &Config) -> RetrySettings {
    let options = &config.retry;
    let ns = |duration: Duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
    let policy = RetryPolicy {
        attempts_max: options.max_attempts,
        deaths_max: options.max_deaths,
        retries_max: options.max_retries,
        delay_ns: ns(config.spooler_frequency),
        backoff_from: options.backoff_from,
        delay_max_ns: ns(options.backoff_max),
    };
    RetrySettings { policy, delay: options.delay }
}

pub(crate) fn text(path: &Path) -> Result<String, ResolveError> {
    path.to_str().map(str::to_owned).ok_or_else(|| ResolveError::Text { path: path.to_owned() })
}
