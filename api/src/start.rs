//! Ties the parts together: the read model, the services, both doors.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fermata_transport::Transport;
use prometheus::Registry;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::backlog;
use crate::grpc::server::Services;
use crate::ops::{Metrics, Readiness};
use crate::rest::{self, Transcoder};
use crate::service::{Service, SizeLimits};
use crate::visibility::{self, StoreError, Visibility};

/// How long open calls may go on after the shutdown began; long polls end with it.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// What an api replica needs.
pub struct ApiOptions {
    /// Temporal's gRPC API.
    pub grpc: TcpListener,
    /// REST and the operator's pages; not served if there is none.
    pub http: Option<TcpListener>,
    /// The operator's pages once more, on a port of their own.
    pub pages: Option<TcpListener>,
    /// Where the read model behind lists lies; in memory if nowhere. Removed at start and at the end.
    pub visibility_file: Option<PathBuf>,
    /// What clients are told that they may send.
    pub sizes: SizeLimits,
    /// What else must be ready in this process.
    pub also_ready: Vec<Arc<dyn Readiness>>,
}

/// Why the api does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("register the api's metrics")]
    Metrics(#[source] prometheus::Error),
    #[error("make the read model behind lists")]
    Visibility(#[source] StoreError),
}

/// A running api replica.
pub struct Api {
    readiness: Arc<ApiReadiness>,
    service: Service,
    stop: CancellationToken,
    doors: Vec<JoinHandle<()>>,
    projection: JoinHandle<()>,
}

/// Starts to serve.
///
/// # Errors
/// If the metrics exist already, or the read model cannot be made.
pub fn start(
    transport: Transport,
    options: ApiOptions,
    registry: &Registry,
) -> Result<Api, StartError> {
    let metrics = Metrics::new(registry).map_err(StartError::Metrics)?;
    let visibility =
        Visibility::open(options.visibility_file.as_deref()).map_err(StartError::Visibility)?;
    let backlog = backlog::gauge(registry).map_err(StartError::Metrics)?;
    let stop = CancellationToken::new();
    tokio::spawn(backlog::follow(transport.clone(), backlog, stop.clone()));
    let projection = tokio::spawn(visibility::follow(
        visibility.clone(),
        transport.nats().clone(),
        stop.clone(),
    ));
    let readiness = Arc::new(ApiReadiness {
        transport: transport.clone(),
        visibility: visibility.clone(),
        also: options.also_ready,
    });
    let service = Service::new(transport, visibility, stop.clone()).telling(options.sizes);
    service.resume_deletions();
    tokio::spawn(service.clone().talk_to_replicas());
    let shared = Arc::new(service.clone());
    let services = Services::new(
        Arc::clone(&shared),
        shared,
        Arc::clone(&readiness) as Arc<dyn Readiness>,
        metrics.clone(),
    );
    let mut doors = Vec::new();
    if let Some(listener) = options.pages {
        let ready = Arc::clone(&readiness) as Arc<dyn Readiness>;
        let pages = rest::server::operator_pages(ready, metrics.clone());
        let shutdown = stop.clone().cancelled_owned();
        doors.push(tokio::spawn(async move {
            if let Err(error) = rest::server::serve(pages, listener, shutdown).await {
                tracing::error!(%error, "serve the operator's pages");
            }
        }));
    }
    if let Some(listener) = options.http {
        let transcoder = Transcoder::new(services.in_process());
        let router = rest::server::router(
            transcoder,
            Arc::clone(&readiness) as Arc<dyn Readiness>,
            metrics,
        )
        .merge(rest::result::router(service.clone()));
        let shutdown = stop.clone().cancelled_owned();
        doors.push(tokio::spawn(async move {
            if let Err(error) = rest::server::serve(router, listener, shutdown).await {
                tracing::error!(%error, "serve HTTP");
            }
        }));
    }
    let shutdown = stop.clone().cancelled_owned();
    doors.push(tokio::spawn(async move {
        if let Err(error) = services.serve(options.grpc, shutdown).await {
            tracing::error!(%error, "serve gRPC");
        }
    }));
    Ok(Api {
        readiness,
        service,
        stop,
        doors,
        projection,
    })
}

impl Api {
    /// Why this replica is not ready, a line each; empty if it is.
    pub fn not_ready(&self) -> Vec<String> {
        self.readiness.not_ready()
    }

    /// The services, for calls in process.
    pub fn service(&self) -> &Service {
        &self.service
    }

    /// Takes no more calls, lets those under way end for a moment, and stops.
    pub async fn shutdown(self) {
        self.stop.cancel();
        let deadline = tokio::time::Instant::now() + DRAIN_MAX;
        for mut door in self.doors {
            if tokio::time::timeout_at(deadline, &mut door).await.is_err() {
                door.abort();
            }
        }
        self.projection.abort();
    }
}

/// Ready when NATS is there and lists are complete.
struct ApiReadiness {
    transport: Transport,
    visibility: Visibility,
    also: Vec<Arc<dyn Readiness>>,
}

impl Readiness for ApiReadiness {
    fn not_ready(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if !self.transport.is_connected() {
            reasons.push("the connection to NATS is lost".to_owned());
        }
        if !self.visibility.is_caught_up() {
            reasons.push("the lists of workflows are still being read".to_owned());
        }
        reasons.extend(self.also.iter().flat_map(|other| other.not_ready()));
        reasons
    }
}
