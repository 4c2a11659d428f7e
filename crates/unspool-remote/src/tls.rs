//! TLS of a client: whom it trusts, and its own certificate.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use unspool_sys::files;

/// Bytes of a file of certificates or of a key.
const FILE_BYTES_MAX: usize = 1024 * 1024;

/// The files that it is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificates of the authorities that are trusted, as PEM.
    pub ca: PathBuf,
    /// The client's own certificates, and the file of its key.
    pub own: Option<(PathBuf, PathBuf)>,
}

/// Files that give no TLS.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    #[error("`{option}`: cannot read `{path}`")]
    Read {
        /// The option that names it.
        option: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others can read or change the key.
    #[error(
        "`network-certificate-key`: `{path}` has mode {mode:04o}, with which others can read or change \
         the key: run `chmod 600 {path}`"
    )]
    Open {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It does not hold what it should.
    #[error("`{option}`: `{path}` has no {what} in it that can be used: {why}")]
    Content {
        /// The option that names it.
        option: &'static str,
        /// The file.
        path: PathBuf,
        /// What it should have.
        what: &'static str,
        /// Why it has not.
        why: String,
    },
}

/// What TLS connections are made with.
#[derive(Clone)]
pub struct TlsClient(Arc<ClientConfig>);

impl fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TlsClient").finish_non_exhaustive()
    }
}

impl TlsClient {
    /// Reads the files.
    pub fn load(files: &TlsFiles) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates("network-ca", &files.ca)? {
            roots.add(certificate).map_err(|error| {
                content("network-ca", &files.ca, "certificate of an authority", &error)
            })?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| content("network-ca", &files.ca, "use", &error))?
            .with_root_certificates(roots);
        let config = match &files.own {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => {
                let own = certificates("network-certificate", chain)?;
                builder.with_client_auth_cert(own, private_key(key)?).map_err(|error| {
                    content("network-certificate", chain, "certificate of its key", &error)
                })?
            }
        };
        Ok(Self(Arc::new(config)))
    }

    /// A connection that has not begun.
    pub(crate) fn connection(&self, host: &str) -> io::Result<ClientConnection> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        ClientConnection::new(Arc::clone(&self.0), name).map_err(io::Error::other)
    }
}

fn certificates(
    option: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let (_, text) = read(option, path)?;
    let what = "certificate";
    let found = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| content(option, path, what, &error))?;
    if found.is_empty() {
        return Err(content(option, path, what, &PemError::NoItemsFound));
    }
    Ok(found)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let option = "network-certificate-key";
    let (mode, text) = read(option, path)?;
    // A group may read it, as with other keys.
    if mode & 0o027 != 0 {
        return Err(TlsError::Open { path: path.to_owned(), mode });
    }
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| content(option, path, "key", &error))
}

fn read(option: &'static str, path: &Path) -> Result<(u32, Vec<u8>), TlsError> {
    let (stat, text) = files::read_secret(path, FILE_BYTES_MAX)
        .map_err(|source| TlsError::Read { option, path: path.to_owned(), source })?;
    Ok((stat.mode & 0o7777, text))
}

fn content(
    option: &'static str,
    path: &Path,
    what: &'static str,
    why: &dyn fmt::Display,
) -> TlsError {
    TlsError::Content { option, path: path.to_owned(), what, why: why.to_string() }
}
