//! Addresses as uWSGI writes them.

use std::fmt;
use std::path::{Path, PathBuf};

/// Where to listen.
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

/// A text that is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no address: {why}; write HOST:PORT, :PORT, a path or @NAME")]
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
    /// abstract namespace, and anything else a path, here joined to `directory`.
    pub fn parse(text: &str, directory: &Path) -> Result<Self, InvalidAddress> {
        let invalid = |why| InvalidAddress { text: text.to_owned(), why };
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
        for text in ["", "@", "host:", "host:x", ":70000", "::1:80", "/tmp/a:b"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
