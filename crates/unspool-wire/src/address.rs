//! Addresses as uWSGI writes them, and those of other machines: where to listen, where to connect.
//!
//! Owns their text. Looks at no file and asks for no name's number.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// Where to listen, or to connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A host, empty for all of IPv4, and a port.
    Tcp {
        /// A name or a number; one of IPv6 without its brackets.
        host: String,
        /// 0 lets the system choose.
        port: u16,
    },
    /// A socket in the file system.
    Path(PathBuf),
    /// A name in the abstract namespace, without its `@`.
    Abstract(String),
}

/// What stands before an address that is reached by TLS.
const TLS: &str = "tls:";
/// What stands before the path of a socket.
const UNIX: &str = "unix:";
/// What stands before an address that tasks are forwarded to.
const RELAY: &str = "relay:";

/// A text that is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no address: {why}; write HOST:PORT, :PORT, a path, unix:PATH or @NAME")]
pub struct InvalidAddress {
    text: String,
    why: &'static str,
}

impl Address {
    /// Another name that means the same: to an abstract one uWSGI adds a NUL, as do its clients, where
    /// all others do not.
    pub fn twin(&self) -> Option<Self> {
        match self {
            Self::Abstract(name) => Some(Self::Abstract(format!("{name}\0"))),
            Self::Tcp { .. } | Self::Path(_) => None,
        }
    }

    /// Reads an address by uWSGI's rules: with a colon it is one of TCP, after an `@` a name in the
    /// abstract namespace, and anything else a path, here joined to `directory`. What follows `unix:`
    /// is a path in any case.
    pub fn parse(text: &str, directory: &Path) -> Result<Self, InvalidAddress> {
        let invalid = |why| InvalidAddress { text: text.to_owned(), why };
        if let Some(path) = text.strip_prefix(UNIX) {
            return match path {
                "" => Err(invalid("the path is missing")),
                path => Ok(Self::Path(directory.join(path))),
            };
        }
        if let Some(name) = text.strip_prefix('@') {
            if name.is_empty() {
                return Err(invalid("the name is missing"));
            }
            return Ok(Self::Abstract(name.to_owned()));
        }
        if let Some((host, port)) = text.rsplit_once(':') {
            let port = port.parse().map_err(|_| invalid("the port is not a number up to 65535"))?;
            let inside = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
            let host = match inside.unwrap_or(host) {
                "*" => "",
                host => host,
            };
            if inside.is_none() && host.contains(':') {
                return Err(invalid("an IPv6 address stands in brackets"));
            }
            return Ok(Self::Tcp { host: host.to_owned(), port });
        }
        if text.is_empty() {
            return Err(invalid("it is empty"));
        }
        Ok(Self::Path(directory.join(text)))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Path(path) => write!(f, "{}", path.display()),
            Self::Abstract(name) => write!(f, "@{}", name.trim_end_matches('\0')),
        }
    }
}

/// Where to connect: an address, and whether by TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerAddress {
    /// The address.
    pub address: Address,
    /// Whether the connection is one of TLS. Then the address has a host.
    pub tls: bool,
}

impl PeerAddress {
    /// Reads an address, with `tls:` before one of TCP that is reached by TLS.
    pub fn parse(text: &str, directory: &Path) -> Result<Self, InvalidAddress> {
        let Some(rest) = text.strip_prefix(TLS) else {
            return Ok(Self { address: Address::parse(text, directory)?, tls: false });
        };
        match Address::parse(rest, directory) {
            Ok(address @ Address::Tcp { .. }) => Ok(Self { address, tls: true }),
            _ => Err(InvalidAddress {
                text: text.to_owned(),
                why: "after `tls:` stand a host and a port",
            }),
        }
    }

    /// Reads `relay:ADDRESS`; `None` if it does not begin so.
    pub fn parse_relay(text: &str, directory: &Path) -> Option<Result<Self, InvalidAddress>> {
        text.strip_prefix(RELAY).map(|rest| Self::parse(rest, directory))
    }

    /// Whether a text can only mean an address, and no directory. The path of a socket can mean both:
    /// whether there is one, the file system knows.
    pub fn is_meant_by(text: &str) -> bool {
        let is_port = |port: &str| {
            !port.is_empty() && port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit())
        };
        [TLS, UNIX, "@"].iter().any(|start| text.starts_with(start))
            || text
                .rsplit_once(':')
                .is_some_and(|(host, port)| is_port(port) && !host.contains('/'))
    }

    /// Whether what is sent there stays on this machine, as far as its text tells.
    pub fn is_local(&self) -> bool {
        match &self.address {
            Address::Path(_) | Address::Abstract(_) => true,
            Address::Tcp { host, .. } => {
                host.is_empty()
                    || host == "localhost"
                    || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
            }
        }
    }
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.tls { TLS } else { "" }, self.address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_uwsgi_reads_them() {
        let parse = |text: &str| Address::parse(text, Path::new("/run"));
        let tcp = |host: &str, port| Ok(Address::Tcp { host: host.to_owned(), port });
        assert_eq!(parse("127.0.0.1:9191"), tcp("127.0.0.1", 9191));
        assert_eq!(parse(":9191"), tcp("", 9191));
        assert_eq!(parse("*:9191"), tcp("", 9191));
        assert_eq!(parse("[::1]:9191"), tcp("::1", 9191));
        assert_eq!(parse("[::1]:9191").unwrap().to_string(), "[::1]:9191");
        assert_eq!(parse("/tmp/s.sock"), Ok(Address::Path("/tmp/s.sock".into())));
        assert_eq!(parse("s.sock"), Ok(Address::Path("/run/s.sock".into())));
        // Without a colon it is a file, also if it looks like a port.
        assert_eq!(parse("9191"), Ok(Address::Path("/run/9191".into())));
        let name = parse("@name").unwrap();
        assert_eq!(name, Address::Abstract("name".into()));
        assert_eq!(name.twin().unwrap().to_string(), "@name");
        assert_eq!(parse(":9191").unwrap().twin(), None);
        assert_eq!(parse("unix:/tmp/a:b"), Ok(Address::Path("/tmp/a:b".into())));
        assert_eq!(parse("unix:s.sock"), Ok(Address::Path("/run/s.sock".into())));
        for text in ["", "@", "host:", "host:x", ":70000", "::1:80", "/tmp/a:b", "unix:"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn peers_are_read_with_tls_and_as_relays() {
        let parse = |text: &str| PeerAddress::parse(text, Path::new("/run"));
        let peer = parse("tls:[::1]:10001").unwrap();
        assert!(peer.tls && peer.is_local());
        assert_eq!(peer.to_string(), "tls:[::1]:10001");
        assert!(!parse("tasks.example:10001").unwrap().is_local());
        assert!(parse(":10001").unwrap().is_local() && parse("s.sock").unwrap().is_local());
        for text in ["tls:", "tls:/tmp/s.sock", "tls:@name", "tls:host", "tls:unix:/tmp/s"] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains("after `tls:` stand a host and a port"), "{error}");
        }
        let relay = |text: &str| PeerAddress::parse_relay(text, Path::new("/run"));
        assert_eq!(relay("relay:tls:h:1").unwrap(), parse("tls:h:1"));
        assert!(relay("relay:h").unwrap().is_ok_and(|peer| !peer.tls));
        assert!(relay("relay:h:x").unwrap().is_err());
        assert_eq!(relay("/run/spool"), None);
    }

    #[test]
    fn a_directory_is_not_taken_for_an_address() {
        for text in ["127.0.0.1:10001", "[::1]:1", ":1", "host:65535", "@n", "unix:/a", "tls:h:1"] {
            assert!(PeerAddress::is_meant_by(text), "{text}");
        }
        for text in ["/srv/spool", "spool", "/srv/a:1", "./a:1", "a:b", "a:", "a:123456", ""] {
            assert!(!PeerAddress::is_meant_by(text), "{text}");
        }
    }
}
