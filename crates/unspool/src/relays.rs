//! Relays: from `spooler = relay:ADDRESS` to forwarders that run.

use std::io;
use std::sync::Arc;

use unspool_config::{Config, Spooler};
use unspool_server::{Forwarders, RelaySettings};
use unspool_spool::{OpenError, SpoolDir};

use crate::cli::RemoteOptions;
use crate::exit;
use crate::remote::{self, ToError};
use crate::security::{self, SecurityError};

/// What keeps a relay from working.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum RelayError {
    #[error("`spooler = relay:{address}`")]
    Remote { address: String, source: Box<ToError> },
    #[error(transparent)]
    Outbox(#[from] OpenError),
    #[error(transparent)]
    Security(#[from] SecurityError),
    #[error("a forwarder cannot be started")]
    Start(#[from] io::Error),
}

impl RelayError {
    pub(crate) fn exit_status(&self) -> u8 {
        match self {
            Self::Remote { source, .. } => source.exit_status(),
            Self::Security(error) => error.exit_status(),
            Self::Outbox(_) | Self::Start(_) => exit::FAILED,
        }
    }
}

/// The relays of a configuration that this daemon sends on, with their addresses. Those of
/// `spooler-external` another one does.
pub(crate) fn relays(config: &Config) -> impl Iterator<Item = (&Spooler, &str)> {
    let own = config.spoolers.iter().filter(|spooler| !spooler.external);
    own.filter_map(|spooler| Some((spooler, spooler.relay.as_deref()?)))
}

/// Opens the outboxes, making those that are missing.
pub(crate) fn settings(config: &Config) -> Result<Vec<RelaySettings>, RelayError> {
    let access = security::access(config)?;
    let keys = security::keys(config)?;
    let trust = security::trust(config)?;
    let open = |(spooler, address): (&Spooler, &str)| {
        let remote = remote::remote(address, &RemoteOptions::default(), Some(config), keys.clone());
        let remote = remote.map_err(|error| RelayError::Remote {
            address: address.to_owned(),
            source: Box::new(error),
        })?;
        let outbox = Arc::new(SpoolDir::open_outbox(&spooler.path, &access, address)?);
        Ok(RelaySettings {
            address: address.to_owned(),
            outbox,
            remote,
            trust: trust.clone(),
            frequency: config.spooler_frequency,
        })
    };
    relays(config).map(open).collect()
}

/// Starts to forward.
pub(crate) fn start(relays: Vec<RelaySettings>) -> Result<Forwarders, RelayError> {
    Ok(Forwarders::start(relays)?)
}
