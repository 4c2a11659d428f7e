//! Spools that are elsewhere: `spooler = relay:ADDRESS`.
//!
//! What is submitted to one lies in an outbox, a folder of this machine, until it is sent on.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::config::Spooler;
use crate::error::ConfigError;
use crate::values::Value;

/// What a relay's value begins with.
pub(crate) const RELAY: &str = "relay:";
/// Outboxes of a spool, below its folder.
const OUTBOX: &str = ".unspool/outbox";
/// A file name has 255 bytes, and an outbox may get something behind its own.
const NAME_BYTES_MAX: usize = 200;

const FORMS: &str =
    "write relay:HOST:PORT, relay:tls:HOST:PORT, relay:/path/of.sock or relay:@NAME";

/// The address of a relay, as it is written, if it can be one.
pub(crate) fn address(text: &str, value: Value<'_>) -> Result<String, ConfigError> {
    let invalid = |why: &str| value.invalid(&format!("{why}; {FORMS}"));
    if text.is_empty() {
        return Err(invalid("the address is missing"));
    }
    if text.chars().any(|letter| letter.is_control() || letter.is_whitespace()) {
        return Err(invalid("an address has no blanks"));
    }
    if file_name(text).len() > NAME_BYTES_MAX {
        return Err(invalid("the address is too long"));
    }
    if text == "@" {
        return Err(invalid("the name is missing"));
    }
    if text == "unix:" {
        return Err(invalid("the path is missing"));
    }
    if !["/", "@", "unix:"].iter().any(|start| text.starts_with(start)) {
        check_host(text.strip_prefix("tls:").unwrap_or(text)).map_err(invalid)?;
    }
    Ok(text.to_owned())
}

fn check_host(text: &str) -> Result<(), &'static str> {
    let (host, port) = text.rsplit_once(':').ok_or("this is neither HOST:PORT nor absolute")?;
    if !port.parse::<u16>().is_ok_and(|port| port > 0) {
        return Err("the port is not a number from 1 to 65535");
    }
    let inside = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    if inside.unwrap_or(host).is_empty() {
        return Err("the host is missing");
    }
    if inside.is_none() && host.contains([':', '[', ']', '/']) {
        return Err("this is no host; an IPv6 address stands in brackets");
    }
    match inside.map(str::parse::<std::net::Ipv6Addr>) {
        Some(Err(_)) => Err("what stands in brackets is no IPv6 address"),
        _ => Ok(()),
    }
}

/// An address as the name of a folder, another one for each: what is no letter, digit, `.`, `_` or `-`
/// is `=` and two hexadecimal digits, as is a point at the start.
pub(crate) fn file_name(address: &str) -> String {
    let mut name = String::with_capacity(address.len() + 8);
    for (at, byte) in address.bytes().enumerate() {
        let plain = byte.is_ascii_alphanumeric() || b"_-".contains(&byte) || byte == b'.' && at > 0;
        if plain {
            name.push(char::from(byte));
        } else {
            // Writing to a text cannot fail.
            let _ = write!(name, "={byte:02X}");
        }
    }
    name
}

/// Gives each relay its outbox: below `outbox`, or else in the first spool that is run here.
pub(crate) fn finish(spoolers: &mut [Spooler], outbox: Option<&Path>) -> Result<(), ConfigError> {
    let own = spoolers.iter().find(|spooler| spooler.relay.is_none() && !spooler.external);
    let below: Option<PathBuf> =
        outbox.map(Path::to_owned).or_else(|| own.map(|spooler| spooler.path.join(OUTBOX)));
    for spooler in spoolers {
        let Some(address) = &spooler.relay else { continue };
        let Some(below) = &below else {
            return Err(ConfigError::InvalidValue {
                name: spooler.option().to_owned(),
                value: format!("{RELAY}{address}"),
                origin: spooler.origin.clone(),
                problem: "there is no spool of this machine whose folder could hold what waits to \
                          be sent; give a folder with `network-outbox = DIR`"
                    .to_owned(),
            });
        };
        spooler.path = below.join(file_name(address));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_of_outboxes_are_safe() {
        for (address, name) in [
            ("10.0.0.1:3031", "10.0.0.1=3A3031"),
            ("tls:[::1]:3031", "tls=3A=5B=3A=3A1=5D=3A3031"),
            ("/run/a=3A.sock", "=2Frun=2Fa=3D3A.sock"),
            ("..", "=2E."),
        ] {
            assert_eq!(file_name(address), name);
        }
    }

    proptest! {
        #[test]
        fn no_two_addresses_share_an_outbox(one in ".{1,30}", other in ".{1,30}") {
            let names = [file_name(&one), file_name(&other)];
            prop_assert_eq!(one == other, names[0] == names[1]);
            for name in names {
                prop_assert!(!name.starts_with('.') && !name.contains(['/', '\0']), "{}", name);
            }
        }
    }
}
