//! TLS of a listener: its certificate, and whose certificates it asks for.
//!
//! Reads the files and judges them; connections are made elsewhere.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use unspool_sys::files;

/// Bytes of a file of certificates or of a key.
const FILE_BYTES_MAX: usize = 1024 * 1024;

/// The files that it is made of, in the PEM format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The listener's own certificate, with those between it and the authority.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The authorities of which clients have to show a certificate; `None`: nobody is asked.
    pub client_ca: Option<PathBuf>,
}

/// Files that give no TLS.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read `{path}`")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others can read or change the key.
    #[error(
        "`{path}` has mode {mode:04o}, with which others can read or change the key: run `chmod 600 \
         {path}`, and make a new key if somebody may have read this one"
    )]
    Open {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// A file is no file of certificates or of a key.
    #[error("`{path}` has more than {FILE_BYTES_MAX} bytes: it is no file of certificates")]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// A file does not hold what it should.
    #[error("`{path}` has no {what} in it that can be used: {why}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What it should have.
        what: &'static str,
        /// Why it has not.
        why: String,
    },
}

/// What TLS connections are answered with.
#[derive(Clone)]
pub struct TlsServer {
    config: Arc<ServerConfig>,
    /// Whether each client shows a certificate.
    pub knows_clients: bool,
}

impl fmt::Debug for TlsServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsServer")
            .field("knows_clients", &self.knows_clients)
            .finish_non_exhaustive()
    }
}

impl TlsServer {
    /// Reads the files.
    pub fn load(files: &TlsFiles) -> Result<Self, TlsError> {
        let TlsFiles { certificate, key, client_ca } = files;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = match client_ca {
            None => WebPkiClientVerifier::no_client_auth(),
            Some(path) => {
                let failed = |error: &dyn fmt::Display| content(path, AUTHORITY, error);
                let mut roots = RootCertStore::empty();
                for authority in certificates(path)? {
                    roots.add(authority).map_err(|error| failed(&error))?;
                }
                let known = Arc::new(roots);
                WebPkiClientVerifier::builder_with_provider(known, Arc::clone(&provider))
                    .build()
                    .map_err(|error| failed(&error))?
            }
        };
        let pair = "certificate of its key";
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| content(certificate, pair, &error))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(certificates(certificate)?, private_key(key)?)
            .map_err(|error| content(certificate, pair, &error))?;
        Ok(Self { config: Arc::new(config), knows_clients: client_ca.is_some() })
    }

    /// For the library that makes the connections.
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }
}

const AUTHORITY: &str = "certificate of an authority";

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let (_, text) = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let found = found.map_err(|error| content(path, "certificate", &error))?;
    if found.is_empty() {
        return Err(content(path, "certificate", &PemError::NoItemsFound));
    }
    Ok(found)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let (mode, text) = read(path)?;
    // A group may read it, as with other keys.
    if mode & 0o027 != 0 {
        return Err(TlsError::Open { path: path.to_owned(), mode });
    }
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| content(path, "key", &error))
}

fn read(path: &Path) -> Result<(u32, Vec<u8>), TlsError> {
    let path = || path.to_owned();
    let (stat, text) = files::read_secret(&path(), FILE_BYTES_MAX)
        .map_err(|source| TlsError::Read { path: path(), source })?;
    if text.len() > FILE_BYTES_MAX {
        return Err(TlsError::TooLarge { path: path() });
    }
    Ok((stat.mode & 0o7777, text))
}

fn content(path: &Path, what: &'static str, why: &dyn fmt::Display) -> TlsError {
    TlsError::Content { path: path.to_owned(), what, why: why.to_string() }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A certificate of its own and its key, in the PEM format.
    fn pair() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    fn put(directory: &Path, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = directory.join(name);
        files::replace(&path, text.as_bytes()).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn files_that_belong_together_give_a_server() {
        let directory = tempfile::tempdir().unwrap();
        let (certificate, key) = pair();
        let mut files = TlsFiles {
            certificate: put(directory.path(), "c", &certificate, 0o644),
            key: put(directory.path(), "k", &key, 0o600),
            client_ca: None,
        };
        assert!(!TlsServer::load(&files).unwrap().knows_clients);
        files.client_ca = Some(files.certificate.clone());
        assert!(TlsServer::load(&files).unwrap().knows_clients);
        put(directory.path(), "k", &key, 0o640);
        TlsServer::load(&files).unwrap();
    }

    #[test]
    fn others_are_refused_by_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let (certificate, key) = pair();
        let (_, other) = pair();
        put(directory.path(), "c", &certificate, 0o644);
        put(directory.path(), "k", &key, 0o600);
        put(directory.path(), "other", &other, 0o600);
        put(directory.path(), "open", &key, 0o644);
        put(directory.path(), "text", "no key\n", 0o600);
        put(directory.path(), "torn", &certificate[..certificate.len() / 2], 0o600);
        put(directory.path(), "long", &"a".repeat(FILE_BYTES_MAX + 1), 0o600);
        let files = |certificate: &str, key: &str, ca: Option<&str>| TlsFiles {
            certificate: path(certificate),
            key: path(key),
            client_ca: ca.map(path),
        };
        for (files, named, said) in [
            (files("missing", "k", None), "missing", "cannot read"),
            (files("text", "k", None), "text", "no certificate in it"),
            (files("torn", "k", None), "torn", "no certificate in it"),
            (files("long", "k", None), "long", "more than 1048576 bytes"),
            (files("c", "missing", None), "missing", "cannot read"),
            (files("c", "text", None), "text", "no key in it"),
            (files("c", "open", None), "open", "mode 0644"),
            (files("c", "other", None), "c", "no certificate of its key"),
            (files("c", "k", Some("text")), "text", "no certificate in it"),
            (files(".", "k", None), ".", "cannot read"),
        ] {
            let message = TlsServer::load(&files).unwrap_err().to_string();
            assert!(message.contains(&format!("`{}`", path(named).display())), "{message}");
            assert!(message.contains(said), "{message}");
        }
    }
}
