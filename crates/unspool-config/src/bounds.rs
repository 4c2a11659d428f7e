//! The options that bound a spool, for those who submit to it.

use std::fmt;
use std::str::FromStr;

use crate::error::ConfigError;
use crate::settings::List;
use crate::values::Value;

/// How much a spool may hold, 0 being no bound, and how much of it a daemon has in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BoundsOptions {
    /// `spooler-max-pending`: tasks that wait, are delayed or run.
    pub max_pending: u64,
    /// `spooler-max-pending-bytes`: bytes of their files.
    pub max_pending_bytes: u64,
    /// `spooler-min-free`: what a submission leaves free of the disk.
    pub min_free: MinFree,
    /// `spooler-max-known`: tasks that a daemon keeps in memory.
    pub max_known: u64,
}

impl Default for BoundsOptions {
    fn default() -> Self {
        Self {
            max_pending: 0,
            max_pending_bytes: 0,
            min_free: MinFree::default(),
            max_known: KNOWN,
        }
    }
}

/// About 600 MB.
const KNOWN: u64 = 4_000_000;
/// Fewer are a mistake. The index counts in 32 bits.
const KNOWN_MIN: u64 = 100;
/// See [`KNOWN_MIN`].
const KNOWN_MAX: u64 = 1 << 31;

/// What stays free of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MinFree {
    /// Bytes.
    Bytes(u64),
    /// Hundredths of a percent.
    Share(u16),
}

/// A floor of fewer bytes is a mistake: an ini file takes the sign off `5%`.
const BYTES_MIN: u64 = 4096;

impl Default for MinFree {
    fn default() -> Self {
        Self::Bytes(0)
    }
}

impl FromStr for MinFree {
    type Err = InvalidSize;

    fn from_str(text: &str) -> Result<Self, InvalidSize> {
        let Some(percent) = text.strip_suffix('%').or_else(|| text.strip_suffix("percent")) else {
            let bytes = parse_size(text)?;
            let meant = bytes == 0 || bytes >= BYTES_MIN;
            return if meant { Ok(Self::Bytes(bytes)) } else { Err(InvalidSize) };
        };
        let percent = percent.trim_end();
        let decimal = percent.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        let share = percent.parse::<f64>().ok().filter(|_| decimal);
        match share.map(|share| (share * 100.0).round()) {
            Some(share) if share <= 10_000.0 => Ok(Self::Share(share as u16)),
            _ => Err(InvalidSize),
        }
    }
}

impl fmt::Display for MinFree {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(to, "{bytes}"),
            Self::Share(share) => write!(to, "{}%", f64::from(*share) / 100.0),
        }
    }
}

/// What is no size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is no size: write bytes, or as in 512K, 200M, 10G, 1T")]
pub struct InvalidSize;

/// Bytes, with K, M, G or T behind them for powers of 1024.
///
/// # Errors
/// It is something else, or more than 64 bits hold.
pub fn parse_size(text: &str) -> Result<u64, InvalidSize> {
    let (digits, shift) = match text.bytes().last().map(|last| last.to_ascii_uppercase()) {
        Some(b'K') => (&text[..text.len() - 1], 10),
        Some(b'M') => (&text[..text.len() - 1], 20),
        Some(b'G') => (&text[..text.len() - 1], 30),
        Some(b'T') => (&text[..text.len() - 1], 40),
        _ => (text, 0),
    };
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(InvalidSize);
    }
    let number = digits.parse::<u64>().map_err(|_| InvalidSize)?;
    number.checked_mul(1 << shift).ok_or(InvalidSize)
}

impl BoundsOptions {
    /// Carries one option out; whether it is one of these.
    pub(crate) fn apply(&mut self, value: Value<'_>) -> Result<bool, ConfigError> {
        match value.name() {
            "spooler-max-pending" => self.max_pending = value.number()?,
            "spooler-max-pending-bytes" => {
                let bytes = parse_size(value.plain()?);
                self.max_pending_bytes =
                    bytes.map_err(|error| value.invalid(&error.to_string()))?;
            }
            "spooler-min-free" => {
                self.min_free = value.plain()?.parse().map_err(|_| {
                    value.invalid(
                        "write bytes, as in 200M or 10G, or a share of the disk, as in `5 percent`: \
                         `%` has another meaning in files",
                    )
                })?;
            }
            "spooler-max-known" => {
                self.max_known = value.number()?;
                if !(KNOWN_MIN..=KNOWN_MAX).contains(&self.max_known) {
                    return Err(value.invalid("write a number of tasks from 100 to 2147483648"));
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    pub(crate) fn list(&self, list: &mut List<'_>) {
        list.one("spooler-max-pending", self.max_pending);
        list.one("spooler-max-pending-bytes", self.max_pending_bytes);
        list.one("spooler-min-free", self.min_free);
        list.one("spooler-max-known", self.max_known);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        for (text, bytes) in
            [("0", 0), ("1000", 1000), ("3k", 3072), ("2M", 2 << 20), ("7T", 7 << 40)]
        {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "K", "-1", "1.5G", "10 M", "1KB", "+1", "99999999T", "\u{e9}"] {
            assert_eq!(parse_size(text), Err(InvalidSize), "{text}");
        }
    }

    #[test]
    fn a_floor_is_bytes_or_a_share() {
        for (text, floor) in [
            ("5%", MinFree::Share(500)),
            ("2.5%", MinFree::Share(250)),
            ("2.5 percent", MinFree::Share(250)),
            ("5percent", MinFree::Share(500)),
            ("0", MinFree::Bytes(0)),
            ("4096", MinFree::Bytes(4096)),
            ("100%", MinFree::Share(10_000)),
            ("1G", MinFree::Bytes(1 << 30)),
        ] {
            assert_eq!(text.parse(), Ok(floor), "{text}");
            assert_eq!(floor.to_string().parse(), Ok(floor), "{text}");
        }
        for text in ["%", "101%", "-1%", "1e1%", "x%", "inf%", "5", "4095", "percent"] {
            assert_eq!(text.parse::<MinFree>(), Err(InvalidSize), "{text}");
        }
    }
}
