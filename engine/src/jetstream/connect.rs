//! Connecting, and what is checked before the engine relies on a server.

use std::path::PathBuf;
use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::context::ContextBuilder;
use async_nats::{Client, ConnectOptions, Event};
use fermata_proto::servers::{Credentials, Servers};
use tokio::sync::watch;
use tracing::{info, warn};

/// The smallest message limit of a server that Fermata runs on: a payload of 2 MiB with what surrounds it, twice.
pub const MAX_PAYLOAD_BYTES_MIN: usize = 4 << 20;
/// The first server version with atomic batches (ADR-50).
const VERSION_MIN: (i64, i64, i64) = (2, 12, 0);

/// Messages that one subscription holds before the client drops some: requests of a partition that is being taken over.
const SUBSCRIPTION_MESSAGES_MAX: usize = 65_536;
/// Commands on their way to the socket.
const COMMANDS_MAX: usize = 16_384;
const REQUEST_MAX: Duration = Duration::from_secs(10);
const RECONNECT_DELAY_MAX: Duration = Duration::from_secs(1);

/// Where the NATS servers are and how to get in.
#[derive(Debug, Clone)]
pub struct NatsOptions {
    /// URLs, separated by commas: `nats://user:password@host:4222`, `tls://host`; see [`Servers::of`].
    pub servers: String,
    /// Shown in the server's connection list.
    pub name: String,
    /// PEM files that are trusted beside the system's roots.
    pub root_certificates: Option<PathBuf>,
    /// Certificate and key, PEM, for servers that verify their clients.
    pub client_certificate: Option<(PathBuf, PathBuf)>,
    /// Copies of every stream: 1, or 3 (5) in a cluster.
    pub replicas: usize,
    /// For the first connection; later ones are tried for ever.
    pub connect_timeout: Duration,
}

impl Default for NatsOptions {
    fn default() -> Self {
        Self {
            servers: "nats://127.0.0.1:4222".to_owned(),
            name: "fermata".to_owned(),
            root_certificates: None,
            client_certificate: None,
            replicas: 1,
            connect_timeout: Duration::from_secs(5),
        }
    }
}

/// Why the engine cannot run on this server.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("connect to NATS at {servers}; start nats-server there, or give its address")]
    Unreachable {
        servers: String,
        #[source]
        source: async_nats::ConnectError,
    },
    #[error(
        "use JetStream at {servers}: {reason}; start nats-server with `jetstream {{ store_dir: ... }}` and let this account use it"
    )]
    WithoutJetStream { servers: String, reason: String },
    #[error("NATS server at {servers} is version {found}; Fermata needs 2.12.0 or later")]
    TooOld { servers: String, found: String },
    #[error(
        "NATS server at {servers} takes messages of up to {found} bytes; set `max_payload: 8MB` in its configuration (at least {MAX_PAYLOAD_BYTES_MIN})"
    )]
    PayloadTooSmall { servers: String, found: usize },
    #[error("make stream {stream}: {reason}")]
    Stream { stream: String, reason: String },
}

pub(super) struct Connected {
    pub(super) quick: Client,
    pub(super) bulk: Client,
    /// Counts the times that `quick` has connected.
    pub(super) connects: watch::Receiver<u64>,
}

pub(super) async fn connect(options: &NatsOptions) -> Result<Connected, ConnectError> {
    let (connected, connects) = watch::channel(0);
    let quick = client(options, "", Some(connected)).await?;
    let bulk = client(options, " bulk", None).await?;
    check(options, &quick).await?;
    Ok(Connected {
        quick,
        bulk,
        connects,
    })
}

/// A context that holds back publishers while too many acknowledgements are due.
pub(super) fn context(client: Client) -> Context {
    ContextBuilder::new()
        .timeout(super::ACKNOWLEDGEMENT_MAX)
        .build(client)
}

async fn client(
    options: &NatsOptions,
    suffix: &str,
    connected: Option<watch::Sender<u64>>,
) -> Result<Client, ConnectError> {
    let name = format!("{}{suffix}", options.name);
    let mut connect = ConnectOptions::new()
        .name(&name)
        .connection_timeout(options.connect_timeout)
        .request_timeout(Some(REQUEST_MAX))
        .subscription_capacity(SUBSCRIPTION_MESSAGES_MAX)
        .client_capacity(COMMANDS_MAX)
        .ping_interval(Duration::from_secs(10))
        .max_reconnects(None)
        .reconnect_delay_callback(|attempts| {
            let shift = u32::try_from(attempts.min(6)).unwrap_or(6);
            (Duration::from_millis(20) * 2_u32.pow(shift)).min(RECONNECT_DELAY_MAX)
        })
        .event_callback(move |event| {
            match &event {
                Event::Connected => {
                    if let Some(connected) = &connected {
                        connected.send_modify(|times| *times += 1);
                    }
                    info!(connection = %name, "connected to NATS");
                }
                Event::SlowConsumer(_) => {
                    warn!(connection = %name, %event, "messages from NATS dropped");
                }
                _ => info!(connection = %name, %event, "NATS connection"),
            }
            std::future::ready(())
        });
    if let Some(path) = &options.root_certificates {
        connect = connect.add_root_certificates(path.clone());
    }
    if let Some((certificate, key)) = &options.client_certificate {
        connect = connect.add_client_certificate(certificate.clone(), key.clone());
    }
    let servers = Servers::of(&options.servers);
    match &servers.credentials {
        Some(Credentials::UserAndPassword(user, password)) => {
            connect = connect.user_and_password(user.clone(), password.clone());
        }
        Some(Credentials::Token(token)) => connect = connect.token(token.clone()),
        None => {}
    }
    connect
        .connect(&servers.urls)
        .await
        .map_err(|source| ConnectError::Unreachable {
            servers: servers.to_string(),
            source,
        })
}

async fn check(options: &NatsOptions, client: &Client) -> Result<(), ConnectError> {
    let servers = Servers::of(&options.servers).to_string();
    let (major, minor, patch) = VERSION_MIN;
    if !client.is_server_compatible(major, minor, patch) {
        return Err(ConnectError::TooOld {
            servers,
            found: client.server_info().version,
        });
    }
    let found = client.max_payload();
    if found < MAX_PAYLOAD_BYTES_MIN {
        return Err(ConnectError::PayloadTooSmall { servers, found });
    }
    context(client.clone())
        .query_account()
        .await
        .map_err(|error| ConnectError::WithoutJetStream {
            servers,
            reason: error.to_string(),
        })?;
    Ok(())
}
