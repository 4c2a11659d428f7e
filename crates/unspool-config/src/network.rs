//! The options of the network: where the daemon listens and for whom, and what a client needs.
//!
//! Addresses and names of users stay as they are written; `relay` has the spools that are elsewhere.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::addresses::AddressList;
use crate::bounds::parse_size;
use crate::error::ConfigError;
use crate::notice::Notice;
use crate::origin::Origin;
use crate::resolve::adjusted;
use crate::settings::{List, seconds};
use crate::values::Value;

/// Where the daemon listens and for whom, and what a client needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkOptions {
    /// In the order of the options.
    pub sockets: Vec<ListenSocket>,
    /// `chmod-socket`: the mode of a socket's file, that of `stats` too.
    pub socket_mode: Option<u32>,
    /// `chown-socket`.
    pub socket_owner: Option<SocketOwner>,
    /// `listen`: connections that the system keeps until they are taken.
    pub backlog: u32,
    /// `buffer-size`: bytes of the pairs of a packet.
    pub buffer_size: u16,
    /// `socket-timeout`: the time that a peer has for a packet.
    pub socket_timeout: Duration,
    /// `allow-from`: who may connect over TCP; `None`: everybody.
    pub allow_from: Option<AddressList>,
    /// `network-keys`: the file of keys of which a peer has to prove one. Absolute.
    pub keys: Option<PathBuf>,
    /// `network-open`: a listener that anybody reaches is meant so.
    pub open: bool,
    /// `network-uids`: who may submit over Unix sockets besides root and the daemon's own user.
    pub users: NetworkUsers,
    /// `network-connections`: at a time.
    pub connections: u32,
    /// `network-connections-per-peer`: of one address, or of one user of a Unix socket.
    pub connections_per_peer: u32,
    /// `network-idle-timeout`: after which a connection without a task in it is closed.
    pub idle_timeout: Duration,
    /// `network-task-bytes-max`: the longest task file that is taken.
    pub task_bytes_max: u64,
    /// `spooler-network-pickle`: pickles of tasks from the network are loaded.
    pub pickle: bool,
    /// `network-outbox`: the folder of outboxes. Absolute.
    pub outbox: Option<PathBuf>,
    /// `network-ca`: certificates of those who may sign a server's. Absolute.
    pub ca: Option<PathBuf>,
    /// `network-certificate`: that of a client. Absolute.
    pub certificate: Option<PathBuf>,
    /// `network-certificate-key`: its key. Absolute.
    pub certificate_key: Option<PathBuf>,
}

/// One address to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenSocket {
    /// As written: `HOST:PORT`, `:PORT`, a path or `@NAME`.
    pub address: String,
    pub tls: Option<TlsFiles>,
    /// The option's name.
    pub option: &'static str,
    pub origin: Origin,
}

/// The files of a listener with TLS, in the PEM format. Absolute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// Clients have to show a certificate that one of these has signed.
    pub client_ca: Option<PathBuf>,
}

/// Whom a socket's file is given to, by names or numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketOwner {
    pub user: Option<String>,
    pub group: Option<String>,
}

/// Users by names or numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetworkUsers {
    /// These.
    Listed(Vec<String>),
    /// Whoever can connect.
    All,
}

/// Sockets: more are a mistake.
const SOCKETS_MAX: usize = 64;
/// That of a file, in limits.rs of the core.
const TASK_BYTES_MAX: u64 = (1 << 31) - 4096;
/// Less would take no task with a body worth its name.
const TASK_BYTES_MIN: u64 = 4096;
/// Descriptors of a process: more are a mistake.
const CONNECTIONS_MAX: u64 = 65_536;
const BACKLOG_MAX: u64 = 65_535;
/// Between these a peer is waited for.
const WAIT_MIN: Duration = Duration::from_millis(100);
const WAIT_MAX: Duration = Duration::from_hours(24);

impl Default for NetworkOptions {
    fn default() -> Self {
        Self {
            sockets: Vec::new(),
            socket_mode: None,
            socket_owner: None,
            backlog: 100,
            buffer_size: u16::MAX,
            socket_timeout: Duration::from_secs(4),
            allow_from: None,
            keys: None,
            open: false,
            users: NetworkUsers::Listed(Vec::new()),
            connections: 1024,
            connections_per_peer: 256,
            idle_timeout: Duration::from_mins(1),
            task_bytes_max: TASK_BYTES_MAX,
            pickle: false,
            outbox: None,
            ca: None,
            certificate: None,
            certificate_key: None,
        }
    }
}

impl NetworkOptions {
    /// Carries one option out; whether it is one of these.
    pub(crate) fn apply(
        &mut self,
        value: Value<'_>,
        start: &Path,
        notices: &mut Vec<Notice>,
    ) -> Result<bool, ConfigError> {
        let path = || value.plain().map(|text| Some(start.join(text)));
        match value.name() {
            "socket" => self.add(plain_socket("socket", value)?, value)?,
            "uwsgi-socket" => self.add(plain_socket("uwsgi-socket", value)?, value)?,
            "suwsgi-socket" => self.add(tls_socket(value, start)?, value)?,
            // Bare, it stands for everybody, as in uWSGI.
            "chmod-socket" | "chmod" => {
                let mask = if value.text().is_empty() { "666" } else { value.plain()? };
                let mode = u32::from_str_radix(mask, 8).ok().filter(|&mode| mode <= 0o777);
                let why = "this is not a mode; write three octal digits, as in 660";
                self.socket_mode = Some(mode.ok_or_else(|| value.invalid(why))?);
            }
            "chown-socket" => self.socket_owner = Some(owner(value)?),
            "listen" => self.backlog = clamped(value, BACKLOG_MAX, notices)? as u32,
            "buffer-size" => self.buffer_size = clamped(value, u16::MAX.into(), notices)? as u16,
            "socket-timeout" => {
                let asked = value.seconds()?;
                self.socket_timeout = asked.clamp(WAIT_MIN, WAIT_MAX);
                if self.socket_timeout != asked {
                    notices.push(adjusted(value, &seconds(self.socket_timeout)));
                }
            }
            "allow-from" => {
                let list = self.allow_from.get_or_insert_default();
                list.extend(value.plain()?).map_err(|error| value.invalid(&error.to_string()))?;
            }
            "network-keys" => self.keys = path()?,
            "network-open" => self.open = value.plain_switch()?,
            "network-uids" => self.add_users(value.plain()?),
            "network-connections" => self.connections = count(value)?,
            "network-connections-per-peer" => self.connections_per_peer = count(value)?,
            "network-idle-timeout" => {
                self.idle_timeout = value.seconds()?;
                if !(WAIT_MIN..=WAIT_MAX).contains(&self.idle_timeout) {
                    return Err(value.invalid("write seconds from 0.1 to 86400"));
                }
            }
            "network-task-bytes-max" => self.task_bytes_max = task_bytes(value)?,
            "spooler-network-pickle" => self.pickle = value.plain_switch()?,
            "network-outbox" => self.outbox = path()?,
            "network-ca" => self.ca = path()?,
            "network-certificate" => self.certificate = path()?,
            "network-certificate-key" => self.certificate_key = path()?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn add(&mut self, socket: ListenSocket, value: Value<'_>) -> Result<(), ConfigError> {
        if self.sockets.len() >= SOCKETS_MAX {
            return Err(value.invalid("these are more than 64 sockets; remove some"));
        }
        self.sockets.push(socket);
        Ok(())
    }

    fn add_users(&mut self, text: &str) {
        for name in text.split([',', ' ', '\t']).filter(|name| !name.is_empty()) {
            match &mut self.users {
                NetworkUsers::All => {}
                NetworkUsers::Listed(_) if name == "*" => self.users = NetworkUsers::All,
                NetworkUsers::Listed(names) => names.push(name.to_owned()),
            }
        }
    }

    pub(crate) fn list(&self, list: &mut List<'_>, stats: bool) {
        for socket in &self.sockets {
            list.at(socket.option, socket.shown(), &socket.origin);
        }
        if stats || !self.sockets.is_empty() {
            list.some("chmod-socket", self.socket_mode.map(|mode| format!("{mode:03o}")));
        }
        if !self.sockets.is_empty() {
            list.some("chown-socket", self.socket_owner.as_ref().map(SocketOwner::shown));
            list.one("listen", self.backlog);
            list.one("buffer-size", self.buffer_size);
            list.one("socket-timeout", seconds(self.socket_timeout));
            list.some("allow-from", self.allow_from.as_ref());
            list.one("network-open", self.open);
            match &self.users {
                NetworkUsers::All => list.one("network-uids", "*"),
                NetworkUsers::Listed(names) if names.is_empty() => {}
                NetworkUsers::Listed(names) => list.one("network-uids", names.join(",")),
            }
            list.one("network-connections", self.connections);
            list.one("network-connections-per-peer", self.connections_per_peer);
            list.one("network-idle-timeout", seconds(self.idle_timeout));
            list.one("network-task-bytes-max", self.task_bytes_max);
        }
        for (name, path) in [
            ("network-keys", &self.keys),
            ("network-outbox", &self.outbox),
            ("network-ca", &self.ca),
            ("network-certificate", &self.certificate),
            ("network-certificate-key", &self.certificate_key),
        ] {
            list.some(name, path.as_deref().map(Path::display));
        }
        if self.pickle {
            list.one("spooler-network-pickle", true);
        }
    }

    /// What depends on several options.
    pub(crate) fn finish(&self, place: impl Fn(&str) -> Origin) -> Result<(), ConfigError> {
        let (given, missing) = match (&self.certificate, &self.certificate_key) {
            (Some(_), None) => ("network-certificate", "network-certificate-key"),
            (None, Some(_)) => ("network-certificate-key", "network-certificate"),
            _ => return Ok(()),
        };
        let origin = place(given);
        Err(ConfigError::Syntax {
            origin,
            problem: format!("`{given}` needs `{missing}` beside it, the other half of the pair"),
        })
    }
}

impl ListenSocket {
    /// The value as `unspool config` shows it.
    fn shown(&self) -> String {
        let Some(tls) = &self.tls else { return self.address.clone() };
        let files = format!("{},{}", tls.certificate.display(), tls.key.display());
        match &tls.client_ca {
            Some(ca) => format!("{},{files},,{}", self.address, ca.display()),
            None => format!("{},{files}", self.address),
        }
    }
}

impl SocketOwner {
    fn shown(&self) -> String {
        let user = self.user.as_deref().unwrap_or_default();
        self.group.as_deref().map_or_else(|| user.to_owned(), |group| format!("{user}:{group}"))
    }
}

fn plain_socket(option: &'static str, value: Value<'_>) -> Result<ListenSocket, ConfigError> {
    let address = listen_address(value.plain()?, value)?;
    Ok(ListenSocket { address, tls: None, option, origin: value.origin().clone() })
}

/// `ADDRESS,CERTIFICATE,KEY[,CIPHERS[,CLIENT_CA]]`, as in uWSGI.
fn tls_socket(value: Value<'_>, start: &Path) -> Result<ListenSocket, ConfigError> {
    const FORM: &str = "write ADDRESS,CERTIFICATE,KEY or ADDRESS,CERTIFICATE,KEY,,CLIENT_CA";
    let parts: Vec<&str> = value.plain()?.split(',').map(str::trim).collect();
    let (address, certificate, key, ciphers, client_ca) = match parts[..] {
        [address, certificate, key] => (address, certificate, key, "", ""),
        [address, certificate, key, ciphers] => (address, certificate, key, ciphers, ""),
        [address, certificate, key, ciphers, ca] => (address, certificate, key, ciphers, ca),
        _ => return Err(value.invalid(FORM)),
    };
    if certificate.is_empty() || key.is_empty() {
        return Err(value.invalid(FORM));
    }
    if !ciphers.is_empty() {
        return Err(value.invalid(
            "ciphers cannot be chosen: those of TLS 1.2 and 1.3 that are safe are used; leave that \
             part empty, as in ADDRESS,CERTIFICATE,KEY,,CLIENT_CA",
        ));
    }
    // uWSGI's `!` asks for what is so here: with it clients without a certificate are refused.
    let client_ca = client_ca.strip_prefix('!').unwrap_or(client_ca);
    let tls = TlsFiles {
        certificate: start.join(certificate),
        key: start.join(key),
        client_ca: Some(client_ca).filter(|ca| !ca.is_empty()).map(|ca| start.join(ca)),
    };
    let (address, option) = (listen_address(address, value)?, "suwsgi-socket");
    Ok(ListenSocket { address, tls: Some(tls), option, origin: value.origin().clone() })
}

pub(crate) fn listen_address(text: &str, value: Value<'_>) -> Result<String, ConfigError> {
    const FORM: &str = "write HOST:PORT, :PORT, a path or @NAME";
    if text.is_empty() {
        return Err(value.invalid(FORM));
    }
    if text.starts_with('=') || text.starts_with("fd://") {
        return Err(value.invalid(&format!("sockets are not taken over from others; {FORM}")));
    }
    Ok(text.to_owned())
}

fn owner(value: Value<'_>) -> Result<SocketOwner, ConfigError> {
    let text = value.plain()?;
    let (user, group) = text.split_once(':').unwrap_or((text, ""));
    if user.is_empty() && group.is_empty() || group.contains(':') {
        return Err(value.invalid("write USER, USER:GROUP or :GROUP, names or numbers"));
    }
    let some = |name: &str| Some(name.trim().to_owned()).filter(|name| !name.is_empty());
    Ok(SocketOwner { user: some(user), group: some(group) })
}

/// A number from 1 to `most`; of another one, as uWSGI's files have it, what comes nearest.
fn clamped(value: Value<'_>, most: u64, notices: &mut Vec<Notice>) -> Result<u64, ConfigError> {
    let asked = value.number()?;
    let used = asked.clamp(1, most);
    if used != asked {
        notices.push(adjusted(value, &used.to_string()));
    }
    Ok(used)
}

fn count(value: Value<'_>) -> Result<u32, ConfigError> {
    let count = value.number()?;
    if !(1..=CONNECTIONS_MAX).contains(&count) {
        return Err(value.invalid("write a number of connections from 1 to 65536"));
    }
    Ok(count as u32)
}

fn task_bytes(value: Value<'_>) -> Result<u64, ConfigError> {
    let bytes = parse_size(value.plain()?).map_err(|error| value.invalid(&error.to_string()))?;
    if !(TASK_BYTES_MIN..=TASK_BYTES_MAX).contains(&bytes) {
        return Err(value.invalid("write bytes from 4K to 2147479552, as in 64M"));
    }
    Ok(bytes)
}
