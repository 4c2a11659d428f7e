//! Submitting to spoolers of other machines: ours by the peer protocol, real uWSGIs by uwsgi packets.
//!
//! Synchronous: each call waits, and every wait has an end. `session` is one connection to one of
//! ours, on which many tasks may be on their way; `submit` sends one task, whoever answers, and keeps
//! connections for the next (`pool`); `packet` sends any uwsgi packet. Below them are `transport`
//! (bytes over TCP, Unix sockets and TLS) and `tls`. The bytes themselves are `unspool-wire`'s. Keeps
//! nothing on a disk: what is to outlive this process, `unspool-spool` stores.

mod error;
mod packet;
mod plain;
mod pool;
mod remote;
mod session;
mod submit;
mod tls;
mod transport;

pub use error::{LinkError, RemoteError};
pub use packet::{Destination, Payload, Reply, send_packet};
pub use remote::{Options, Remote};
pub use session::{Opened, Session};
pub use submit::{Submitted, submit};
pub use tls::{TlsClient, TlsError, TlsFiles};
