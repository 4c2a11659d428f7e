//! Web workers: from options to what they are told, and what the supervisor has for them.
//!
//! Sockets are bound by `listening`.

use std::os::fd::OwnedFd;
use std::time::Duration;

use tracing::info;
use unspool_config::Config;
use unspool_core::limits::WEB_SOCKETS_MAX;
use unspool_server::Listener;
use unspool_supervisor::{Settings, WebSettings};
use unspool_wire::control::{Web, WebApplication, WebProtocol, WebSocket};

use crate::resolve::{ResolveError, text};

/// How long a worker that is to leave may take to answer what it has, unless a mercy says so.
const MERCY: Duration = Duration::from_mins(1);

/// Sockets of the application that are bound.
#[derive(Debug)]
pub(crate) struct WebListening {
    /// Each with what is spoken there.
    sockets: Vec<(Listener, WebProtocol)>,
    /// Over which workers hand connections over.
    handover: OwnedFd,
}

impl WebListening {
    pub(crate) fn new(sockets: Vec<(Listener, WebProtocol)>, handover: OwnedFd) -> Self {
        Self { sockets, handover }
    }

    /// Gives the sockets to the supervisor. What is returned has the names of their files, which go
    /// with it.
    pub(crate) fn give(
        self,
        config: &Config,
        settings: &mut Settings,
    ) -> Result<Vec<Listener>, ResolveError> {
        let (mut shown, mut taken, mut listeners) = (Vec::new(), Vec::new(), Vec::new());
        for (at, (mut listener, protocol)) in self.sockets.into_iter().enumerate() {
            let address = listener.shown().to_owned();
            tell(at, &listener, protocol);
            // As the system knows it: one that ends with a NUL is its own twin.
            taken.extend(listener.take_socket());
            shown.push(WebSocket { protocol, shown: address });
            listeners.push(listener);
        }
        settings.zygote.setup.web = setup(config, shown)?;
        settings.web = Some(WebSettings {
            sockets: taken,
            backlog: config.network.backlog,
            handover: self.handover,
            mercy: config.workers.reload_mercy().unwrap_or(MERCY),
            need_app: config.web.need_app,
        });
        Ok(listeners)
    }
}

fn tell(at: usize, listener: &Listener, protocol: WebProtocol) {
    let address = listener.shown();
    match protocol {
        WebProtocol::Uwsgi => {
            info!(address, "answering requests, and taking tasks from the network");
        }
        WebProtocol::Http => info!(address, "answering requests of HTTP"),
    }
    let protocol = match protocol {
        WebProtocol::Uwsgi => "uwsgi",
        WebProtocol::Http => "http",
    };
    let family = if listener.is_tcp() { "TCP" } else { "UNIX" };
    let number = listener.number();
    info!(
        target: "uwsgi",
        "{protocol} socket {at} bound to {family} address {address} fd {number}"
    );
}

/// What web workers are told; `None`: there are none.
pub(crate) fn setup(config: &Config, sockets: Vec<WebSocket>) -> Result<Option<Web>, ResolveError> {
    let Some((number, application)) = config.application().filter(|_| config.has_web_workers())
    else {
        return Ok(None);
    };
    let (web, network) = (&config.web, &config.network);
    let static_maps = web.static_maps.iter().map(|map| Ok((map.prefix.clone(), text(&map.path)?)));
    Ok(Some(Web {
        processes: web.processes,
        threads: web.threads,
        sockets,
        buffer_size: network.buffer_size.into(),
        post_buffering: web.post_buffering,
        limit_post: web.limit_post,
        max_requests: web.max_requests,
        max_requests_delta: web.max_requests_delta,
        lifetime_min: web.lifetime_min.as_secs_f64(),
        socket_timeout: network.socket_timeout.as_secs_f64(),
        http_timeout: web.head_timeout.as_secs_f64(),
        keep_alive: web.keep_alive.as_secs_f64(),
        connections: network.connections,
        static_maps: static_maps.collect::<Result<_, ResolveError>>()?,
        log_requests: web.log_requests,
        log_4xx: web.log_4xx,
        log_5xx: web.log_5xx,
        log_slow_ms: web.log_slow_ms,
        harakiri: config.workers.handler_harakiri.map(|limit| limit.as_secs_f64()),
        application: Some(WebApplication { number, callable: application.callable.clone() }),
    }))
}

/// The sockets as far as they can be told before they are bound, for the length of the settings.
pub(crate) fn sockets_as_written(config: &Config) -> Vec<WebSocket> {
    let of = |protocol| move |address: &String| WebSocket { protocol, shown: address.clone() };
    let uwsgi = config.web_sockets().map(|socket| &socket.address).map(of(WebProtocol::Uwsgi));
    let http = config.web.sockets.iter().map(|socket| &socket.address).map(of(WebProtocol::Http));
    uwsgi.chain(http).collect()
}

/// Whether there are more sockets than a worker can be given, twins included.
pub(crate) fn too_many(sockets: usize) -> bool {
    sockets > WEB_SOCKETS_MAX
}
