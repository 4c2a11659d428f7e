//! Logic blocks: `for`, `for-times`, `for-glob`, `for-readline` and the `if-*` family.
//!
//! A block changes the lines up to its `end`: a false condition drops them, a loop repeats each
//! line for itself, and `%(_)` is the current item. As in uWSGI a condition is asked anew for each
//! line, so that a line can end what `if-not-opt` began, and blocks do not nest. Unlike there a
//! block ends with its file and does not reach into included ones.

use std::path::Path;
use std::sync::Arc;

use crate::environment::Environment;
use crate::error::ConfigError;
use crate::files;
use crate::glob;
use crate::limits::OPTIONS_MAX;
use crate::loader::{ReadOption, first_value};
use crate::origin::Origin;

/// The placeholder of the current item.
pub(crate) const ITEM: &str = "%(_)";

/// Plugins that a default build of uWSGI contains, for `if-plugin`.
const PLUGINS: &str = "python python3 gevent nagios rrdtool carbon corerouter fastrouter http \
    ugreen syslog rsyslog logsocket router_uwsgi router_redirect router_basicauth zergpool \
    redislog mongodblog router_rewrite router_http logfile router_cache rawrouter router_static \
    sslrouter cheaper_busyness transformation_tofile transformation_gzip transformation_chunked \
    transformation_offload router_memcached router_redis router_hash router_expires \
    router_metrics transformation_template stats_pusher_socket spooler symcall ping signal cache \
    rpc";

/// What the block around a line does to it.
#[derive(Debug, Default)]
pub(crate) enum Block {
    #[default]
    None,
    Loop {
        name: String,
        opened: Origin,
        items: Arc<[String]>,
    },
    If {
        name: String,
        opened: Origin,
        condition: String,
    },
}

/// What a block does to the line that is looked at.
#[derive(Debug)]
pub(crate) enum Effect {
    Keep,
    Drop,
    /// `%(_)` is this.
    Fill(String),
    /// Once for each item.
    Repeat(Arc<[String]>),
}

/// What conditions look at.
pub(crate) struct Surroundings<'a> {
    pub(crate) environment: &'a Environment,
    pub(crate) start: &'a Path,
    /// What has been read so far.
    pub(crate) options: &'a [ReadOption],
}

impl Block {
    /// The block that is open, if one is.
    pub(crate) fn opened(&self) -> Option<(&str, &Origin)> {
        match self {
            Self::None => None,
            Self::Loop { name, opened, .. } | Self::If { name, opened, .. } => Some((name, opened)),
        }
    }

    pub(crate) fn effect(&self, around: &Surroundings<'_>) -> Effect {
        match self {
            Self::None => Effect::Keep,
            // Blocks inside vanish too, as they do inside a condition that does not hold.
            Self::Loop { items, .. } if items.is_empty() => Effect::Drop,
            Self::Loop { items, .. } => Effect::Repeat(Arc::clone(items)),
            Self::If { name, condition, .. } => match ask(name, condition, around) {
                Some((true, Some(item))) => Effect::Fill(item),
                Some((true, None)) => Effect::Keep,
                Some((false, _)) | None => Effect::Drop,
            },
        }
    }
}

impl Effect {
    /// What [`ITEM`] is in the lines that a line stands for; `None` if it stands for itself.
    pub(crate) fn items(&self) -> Option<&[String]> {
        match self {
            Self::Keep => None,
            Self::Drop => Some(&[]),
            Self::Fill(item) => Some(std::slice::from_ref(item)),
            Self::Repeat(items) => Some(items),
        }
    }
}

/// Whether this name ends a block.
pub(crate) fn is_closing(name: &str) -> bool {
    matches!(name, "end" | "endif" | "end-if" | "endfor" | "end-for")
}

/// Opens the block that `name` begins; `None` when it begins none.
pub(crate) fn open(
    name: &str,
    value: &str,
    origin: &Origin,
    around: &Surroundings<'_>,
) -> Result<Option<Block>, ConfigError> {
    if let Some(items) = loop_items(name, value, origin, around)? {
        if items.len() > OPTIONS_MAX {
            let origin = origin.clone();
            return Err(ConfigError::TooManyOptions { origin, options_max: OPTIONS_MAX });
        }
        let items = items.into();
        return Ok(Some(Block::Loop { name: name.to_owned(), opened: origin.clone(), items }));
    }
    Ok(ask(name, value, around).map(|_| Block::If {
        name: name.to_owned(),
        opened: origin.clone(),
        condition: value.to_owned(),
    }))
}

fn loop_items(
    name: &str,
    value: &str,
    origin: &Origin,
    around: &Surroundings<'_>,
) -> Result<Option<Vec<String>>, ConfigError> {
    Ok(Some(match name {
        "for" => value.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect(),
        "for-times" => {
            let times: usize = value.trim().parse().map_err(|_| ConfigError::InvalidValue {
                name: name.to_owned(),
                value: value.to_owned(),
                origin: origin.clone(),
                problem: "this is not a number; write how often, as in `for-times = 4`".to_owned(),
            })?;
            (1..=times.min(OPTIONS_MAX + 1)).map(|number| number.to_string()).collect()
        }
        "for-glob" => {
            let found = glob::expand(around.start, value);
            // A pattern that nothing matches stands for itself, as in the shell.
            if found.is_empty() { vec![value.to_owned()] } else { found }
        }
        "for-readline" => {
            let path = around.start.join(value);
            files::read(&path, origin)?.lines().map(str::to_owned).collect()
        }
        _ => return Ok(None),
    }))
}

/// Whether the condition holds, and what `%(_)` is inside its block; `None` if it is no condition.
fn ask(name: &str, value: &str, around: &Surroundings<'_>) -> Option<(bool, Option<String>)> {
    let path = around.start.join(value);
    let itself = || Some(value.to_owned());
    Some(match name {
        "if-env" | "ifenv" => {
            let found = variable_if(value, around);
            (found.is_some(), found)
        }
        "if-not-env" => (variable_if(value, around).is_none(), None),
        "if-opt" => {
            let found = option_if(value, around);
            (found.is_some(), found)
        }
        "if-not-opt" => (option_if(value, around).is_none(), None),
        "if-exists" | "ifexists" => (path.exists(), itself()),
        "if-not-exists" => (!path.exists(), itself()),
        "if-file" => (path.is_file(), itself()),
        "if-not-file" => (!path.is_file(), itself()),
        "if-dir" | "ifdir" | "if-directory" => (path.is_dir(), itself()),
        "if-not-dir" => (!path.is_dir(), itself()),
        "if-hostname" => (around.environment.hostname() == value, itself()),
        "if-not-hostname" => (around.environment.hostname() != value, itself()),
        "if-plugin" | "ifplugin" => (is_plugin(value), itself()),
        "if-not-plugin" => (!is_plugin(value), itself()),
        // A reload starts with the options read at the start.
        "if-reload" => (false, None),
        "if-not-reload" => (true, None),
        _ => return None,
    })
}

fn variable_if(value: &str, around: &Surroundings<'_>) -> Option<String> {
    wanted_if(value, |name| Some(around.environment.variable(name)?.to_str()?.to_owned()))
}

fn option_if(value: &str, around: &Surroundings<'_>) -> Option<String> {
    wanted_if(value, |name| first_value(around.options, name).map(str::to_owned))
}

/// The value of `NAME`, or of the name in `NAME=value` if it has that value.
fn wanted_if(text: &str, lookup: impl Fn(&str) -> Option<String>) -> Option<String> {
    match text.split_once('=') {
        None => lookup(text),
        Some((name, wanted)) => lookup(name).filter(|found| found == wanted),
    }
}

fn is_plugin(name: &str) -> bool {
    PLUGINS.split_whitespace().any(|plugin| plugin == name)
}
