//! What a task asks for itself, as a Python dictionary.

use pyo3::prelude::*;
use pyo3::types::PyDict;
use unspool_core::{Durability, TaskPolicy, UnknownDurability};

use crate::errors::SpoolError;

/// Counts, milliseconds and a level of durability by their names, as `unspool/_policy.py` checks them.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    pub(crate) policy: TaskPolicy,
    pub(crate) durability: Option<Durability>,
}

impl Asked {
    pub(crate) fn read(options: &Bound<'_, PyDict>) -> PyResult<Self> {
        let mut asked = Self::default();
        let policy = &mut asked.policy;
        for (name, value) in options {
            let name: String = name.extract()?;
            match name.as_str() {
                "max_attempts" => policy.attempts = Some(value.extract()?),
                "max_deaths" => policy.deaths = Some(value.extract()?),
                "max_retries" => policy.retries = Some(value.extract()?),
                "retry_delay" => policy.delay_ms = Some(value.extract()?),
                "backoff_from" => policy.backoff_from = Some(value.extract()?),
                "backoff_max" => policy.delay_max_ms = Some(value.extract()?),
                "soft_time_limit" => policy.soft_limit_ms = Some(value.extract()?),
                "time_limit" => policy.time_limit_ms = Some(value.extract()?),
                "expires" => policy.expires_ms = Some(value.extract()?),
                "durability" => {
                    let level: String = value.extract()?;
                    asked.durability =
                        Some(level.parse().map_err(|error: UnknownDurability| {
                            SpoolError::new_err(error.to_string())
                        })?);
                }
                _ => {
                    return Err(SpoolError::new_err(format!("there is no task option `{name}`")));
                }
            }
        }
        Ok(asked)
    }

    /// What a dictionary says beside its items, as the decorators' own kind of dictionary does; a
    /// plain one says nothing.
    pub(crate) fn beside(items: &Bound<'_, PyDict>) -> PyResult<Self> {
        if items.is_exact_instance_of::<PyDict>() {
            return Ok(Self::default());
        }
        let options = items.getattr_opt(pyo3::intern!(items.py(), "unspool_options"))?;
        match options.as_ref().map(|options| options.cast::<PyDict>()) {
            Some(Ok(options)) => Self::read(options),
            _ => Ok(Self::default()),
        }
    }
}
