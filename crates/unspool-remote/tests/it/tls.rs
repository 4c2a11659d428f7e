use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use unspool_remote::{Options, RemoteError, TlsClient, TlsFiles, submit};
use unspool_wire::peer::Verdict;

use crate::peer::{Connection, Played, message, remote};

/// An authority, and a folder with what a client needs.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: tempfile::TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let made = Self { issuer, folder: tempfile::tempdir().unwrap() };
        made.write("ca", &made.issuer.pem());
        made
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        use std::os::unix::fs::OpenOptionsExt;
        let path = self.folder.path().join(name);
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create(true).mode(0o600).open(&path).unwrap();
        std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
        path
    }

    fn issue(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    fn server(&self, name: &str, asks: bool) -> Arc<ServerConfig> {
        let (certificate, key) = self.issue(name);
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone());
        let builder = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = if asks {
            builder.with_client_cert_verifier(verifier.build().unwrap())
        } else {
            builder.with_no_client_auth()
        };
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        builder.with_single_cert(vec![certificate.der().clone()], key).unwrap().into()
    }

    fn client(&self, own: bool) -> Options {
        let own = own.then(|| {
            let (certificate, key) = self.issue("client");
            (self.write("own", &certificate.pem()), self.write("key", &key.serialize_pem()))
        });
        let files = TlsFiles { ca: self.folder.path().join("ca"), own };
        Options { tls: Some(TlsClient::load(&files).unwrap()), ..Options::default() }
    }
}

/// A receiver that stores what it gets, if it is given anything.
fn stores(config: Arc<ServerConfig>) -> Played {
    Played::new(1, move |_, stream: TcpStream| {
        let mut tls = StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), stream);
        while tls.conn.is_handshaking() {
            if tls.conn.complete_io(&mut tls.sock).is_err() {
                return;
            }
        }
        let mut connection = Connection::welcome(tls, None, 1 << 31, 4);
        while let Some((begin, _)) = connection.task() {
            connection.answer(begin.number, Verdict::Stored, "");
        }
    })
}

#[test]
fn tasks_go_through_tls_with_and_without_a_certificate() {
    let authority = Authority::new();
    for asks in [false, true] {
        let played = stores(authority.server("127.0.0.1", asks));
        let to = remote(&format!("tls:{}", played.address), authority.client(asks));
        for body in [0, 2_000_000] {
            submit(&to, &message(body)).unwrap();
        }
    }
}

#[test]
fn whoever_is_not_certified_gets_nothing() {
    let authority = Authority::new();
    // Another name, another authority.
    for (config, client) in [
        (authority.server("example.org", false), authority.client(false)),
        (Authority::new().server("127.0.0.1", false), authority.client(false)),
    ] {
        let played = stores(config);
        let to = remote(&format!("tls:{}", played.address), client);
        let error = submit(&to, &message(0)).unwrap_err();
        assert!(matches!(error, RemoteError::Tls { .. }), "{error}");
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains("certificate"), "{cause}");
        played.finish();
    }
    // The client has none, and one is asked for.
    let played = stores(authority.server("127.0.0.1", true));
    let to = remote(&format!("tls:{}", played.address), authority.client(false));
    assert!(submit(&to, &message(0)).is_err());
    played.finish();
    let to = remote("tls:127.0.0.1:9", Options::default());
    let error = submit(&to, &message(0)).unwrap_err().to_string();
    assert!(error.contains("give `network-ca`"), "{error}");
}

#[test]
fn files_that_give_no_tls_are_told_by_name() {
    let authority = Authority::new();
    let ca = authority.folder.path().join("ca");
    let none = authority.folder.path().join("none");
    let text = authority.write("text", "no PEM");
    let (certificate, key) = authority.issue("client");
    let own = authority.write("own", &certificate.pem());
    let open = authority.write("open", &key.serialize_pem());
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(&open, permissions).unwrap();
    for (ca, own, expected) in [
        (&none, None, "`network-ca`: cannot read"),
        (&text, None, "`network-ca`: `"),
        (&ca, Some((text.clone(), text.clone())), "`network-certificate`: `"),
        (&ca, Some((own.clone(), text.clone())), "`network-certificate-key`: `"),
        (&ca, Some((own, open)), "has mode 0644"),
    ] {
        let error = TlsClient::load(&TlsFiles { ca: ca.clone(), own }).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}
