//! The options that say how often a task that failed runs again, and when.

use std::time::Duration;

use crate::error::ConfigError;
use crate::settings::List;
use crate::values::Value;

/// What becomes of tasks that fail, unless they ask for something else themselves. A limit of 0 is
/// none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryOptions {
    /// Failed attempts after which a task is buried.
    pub max_attempts: u8,
    /// Deaths of its worker after which a task is buried.
    pub max_deaths: u8,
    /// Failed attempts after which a task that asks to run again is buried.
    pub max_retries: u8,
    /// Time between attempts; `None`: `spooler-frequency`.
    pub delay: Option<Duration>,
    /// The failed attempt from which on the delay doubles; 0: never.
    pub backoff_from: u8,
    /// What the delay grows to.
    pub backoff_max: Duration,
    /// After which an exception is raised in a task.
    pub soft_time_limit: Option<Duration>,
}

impl Default for RetryOptions {
    fn default() -> Self {
        Self {
            max_attempts: 20,
            max_deaths: 5,
            max_retries: 0,
            delay: None,
            backoff_from: 5,
            backoff_max: Duration::from_hours(1),
            soft_time_limit: None,
        }
    }
}

impl RetryOptions {
    /// Carries one option out; whether it is one of these.
    pub(crate) fn apply(&mut self, value: Value<'_>) -> Result<bool, ConfigError> {
        match value.name() {
            "spooler-max-attempts" => self.max_attempts = count(value)?,
            "spooler-max-deaths" => self.max_deaths = count(value)?,
            "spooler-max-retries" => self.max_retries = count(value)?,
            "spooler-retry-delay" => self.delay = Some(value.seconds()?),
            "spooler-backoff-from" => self.backoff_from = count(value)?,
            "spooler-backoff-max" => self.backoff_max = value.seconds()?,
            "spooler-soft-time-limit" => {
                self.soft_time_limit = Some(value.seconds()?).filter(|limit| !limit.is_zero());
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    pub(crate) fn list(&self, list: &mut List<'_>) {
        let seconds = |limit: Duration| limit.as_secs_f64();
        list.one("spooler-max-attempts", self.max_attempts);
        list.one("spooler-max-deaths", self.max_deaths);
        list.one("spooler-max-retries", self.max_retries);
        list.some("spooler-retry-delay", self.delay.map(seconds));
        list.one("spooler-backoff-from", self.backoff_from);
        list.one("spooler-backoff-max", seconds(self.backoff_max));
        list.some("spooler-soft-time-limit", self.soft_time_limit.map(seconds));
    }
}

/// A number of attempts: the file has one byte for it.
fn count(value: Value<'_>) -> Result<u8, ConfigError> {
    u8::try_from(value.number()?)
        .map_err(|_| value.invalid("a task has 255 attempts at most; write 0 for no limit"))
}
