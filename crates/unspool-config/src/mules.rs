//! The options of mules and farms.

use crate::config::{Farm, Mule};
use crate::error::ConfigError;
use crate::notice::Notice;
use crate::resolve::{Resolver, adjusted};
use crate::values::Value;

/// Mules of one daemon, and farms: more is a mistake.
const COUNT_MAX: usize = 256;
/// What a queue of messages holds if nothing else is said, and between what bounds it may lie.
pub(crate) const QUEUE_BYTES: u64 = 4 << 20;
const QUEUE_BYTES_MIN: u64 = 64 << 10;
const QUEUE_BYTES_MAX: u64 = 1 << 30;

impl Resolver {
    pub(crate) fn apply_mules(&mut self, value: Value<'_>) -> Result<bool, ConfigError> {
        match value.name() {
            "mule" => self.add_mule(value)?,
            "mules" => {
                for _ in 0..value.number()? {
                    self.push_mule(None, value)?;
                }
            }
            "farm" => self.add_farm(value)?,
            "mule-harakiri" => {
                self.config.mule_harakiri = Some(value.seconds()?).filter(|limit| !limit.is_zero());
            }
            "mule-reload-mercy" => self.config.mule_reload_mercy = value.seconds()?,
            "mule-msg-size" => {
                let bytes = value.number()?;
                let used = bytes.clamp(QUEUE_BYTES_MIN, QUEUE_BYTES_MAX);
                if used != bytes {
                    self.notices.push(adjusted(value, &used.to_string()));
                }
                self.config.mule_queue_bytes = used;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// As in uWSGI, what is neither a Python file nor `module:callable` makes a bare mule.
    fn add_mule(&mut self, value: Value<'_>) -> Result<(), ConfigError> {
        let text = if value.text().is_empty() { "" } else { value.plain()? };
        let program =
            (text.strip_suffix(".py").is_some() || text.contains(':')).then(|| text.to_owned());
        if program.is_none() && !text.is_empty() && text != "true" {
            self.notices.push(Notice::NoEffect {
                name: "mule".to_owned(),
                origin: value.origin().clone(),
                reason: "the value is neither a file `script.py` nor `package.module:callable`, so \
                         that the mule runs no program and handles messages, as in uWSGI; for \
                         several mules write `mules = N`",
            });
        }
        self.push_mule(program, value)
    }

    fn push_mule(&mut self, program: Option<String>, value: Value<'_>) -> Result<(), ConfigError> {
        if self.config.mules.len() >= COUNT_MAX {
            return Err(value.invalid("these are more than 256 mules; write a smaller number"));
        }
        self.config.mules.push(Mule { program, origin: value.origin().clone() });
        Ok(())
    }

    fn add_farm(&mut self, value: Value<'_>) -> Result<(), ConfigError> {
        let wrong = || value.invalid("write the name of the farm and its mules, as in name:1,2");
        let (name, list) = value.plain()?.split_once(':').ok_or_else(wrong)?;
        let mules: Result<Vec<u32>, _> = list.split(',').map(|mule| mule.trim().parse()).collect();
        let mules = mules.map_err(|_| wrong())?;
        if name.is_empty() {
            return Err(wrong());
        }
        if self.config.farms.len() >= COUNT_MAX {
            return Err(value.invalid("these are more than 256 farms"));
        }
        if self.config.farms.iter().any(|farm| farm.name == name) {
            return Err(value.invalid("there is a farm of this name already; choose another one"));
        }
        let origin = value.origin().clone();
        self.config.farms.push(Farm { name: name.to_owned(), mules, origin });
        Ok(())
    }

    /// Farms may stand above the mules that they name.
    pub(crate) fn check_farms(&self) -> Result<(), ConfigError> {
        let count = self.config.mules.len();
        for farm in &self.config.farms {
            let missing = farm.mules.iter().find(|&&mule| mule == 0 || mule as usize > count);
            if let Some(mule) = missing {
                let list: Vec<String> = farm.mules.iter().map(u32::to_string).collect();
                return Err(ConfigError::InvalidValue {
                    name: "farm".to_owned(),
                    value: format!("{}:{}", farm.name, list.join(",")),
                    origin: farm.origin.clone(),
                    problem: format!(
                        "there is no mule {mule}; mules are numbered from 1 in the order in which \
                         `mule` and `mules` name them, and here are {count}"
                    ),
                });
            }
        }
        Ok(())
    }
}
