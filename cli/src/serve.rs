//! Runs the roles of a server process until it is told to stop.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Weak};
use std::time::Duration;

use anyhow::Context;
use fermata_api::nats::{Door, DoorOptions};
use fermata_api::ops::{Metrics, Readiness};
use fermata_api::rest::server::operator_pages;
use fermata_api::service::{Setup, SizeLimits};
use fermata_api::{Api, ApiOptions};
use fermata_engine::jetstream::{JetStream, NatsOptions};
use fermata_engine::{Engine, EngineOptions, Limits, SystemClock};
use fermata_proto::servers::Servers;
use fermata_transport::Transport;
use prometheus::Registry;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::logging;
use crate::settings::Settings;

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roles {
    pub api: bool,
    pub engine: bool,
}

/// One server process.
pub struct Serve {
    pub roles: Roles,
    pub ip: IpAddr,
    /// For a deployment that does not exist yet.
    pub partitions: u16,
    pub nats: String,
    /// Shown when ready, if the process has a folder.
    pub data: Option<PathBuf>,
    pub limits: Limits,
    /// What there is to be before the api listens, which then also waits for the engine: clients find all of it.
    pub setup: Option<Setup>,
    /// A second port for the operator's pages of an api.
    pub metrics_port: Option<u16>,
    pub settings: Settings,
}

impl Serve {
    /// All roles on this machine, with nothing special.
    pub fn new(nats: String, settings: Settings) -> Self {
        Self {
            roles: Roles {
                api: true,
                engine: true,
            },
            ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
            partitions: 16,
            nats,
            data: None,
            limits: settings.limits(),
            setup: None,
            metrics_port: None,
            settings,
        }
    }
}

/// Begins logging as the settings say.
///
/// # Errors
/// If the log level is none.
pub fn init(settings: &Settings) -> anyhow::Result<()> {
    logging::init(
        settings.log_level(),
        settings.log_format.unwrap_or_default(),
    )
}

/// Serves until SIGTERM or SIGINT, then hands over and ends.
///
/// # Errors
/// If it cannot start; the message says what is missing.
pub fn run(serve: Serve) -> anyhow::Result<ExitCode> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("start the runtime")?
        .block_on(serve.run())
}

/// How long a new replica waits for the engines of others to have set the deployment up.
const DEPLOYMENT_WAIT: Duration = Duration::from_secs(30);

impl Serve {
    async fn run(self) -> anyhow::Result<ExitCode> {
        let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
        // Bound before anything is started: a port that is taken is the user's first mistake.
        let http = self.bind(self.settings.http_port(), "http-port").await?;
        let http_address = http.local_addr().context("look at the HTTP port")?;
        let pages = match self.metrics_port {
            Some(port) => Some(self.bind(port, "metrics-port").await?),
            None => None,
        };
        let registry = Registry::new();
        let engine = match self.roles.engine {
            true => Some(Arc::new(self.start_engine(&registry).await?)),
            false => None,
        };
        let engine_readiness: Vec<Arc<dyn Readiness>> = engine
            .iter()
            .map(|engine| Arc::new(EngineReadiness(Arc::downgrade(engine))) as Arc<dyn Readiness>)
            .collect();
        let stop = CancellationToken::new();
        let ports = Ports { http, pages };
        let opened = self.open_doors(ports, engine_readiness, &registry, &stop);
        let (role, door) = match opened.await {
            Ok(opened) => opened,
            Err(error) => {
                if let Some(engine) = engine.and_then(Arc::into_inner) {
                    engine.shutdown().await;
                }
                return Err(error);
            }
        };
        self.announce(&role, engine.as_deref(), http_address).await;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("shutting down");
        // The doors first: their callers get their answers while the engine still serves.
        if let Some(door) = door {
            door.close().await;
        }
        match role {
            Role::Api(api) => api.shutdown().await,
            Role::Pages(pages) => {
                stop.cancel();
                pages.abort();
            }
        }
        if let Some(engine) = engine.and_then(Arc::into_inner) {
            engine.shutdown().await;
        }
        Ok(ExitCode::SUCCESS)
    }

    async fn start_engine(&self, registry: &Registry) -> anyhow::Result<Engine> {
        let broker = JetStream::connect(&NatsOptions {
            servers: self.nats.clone(),
            name: "fermata-engine".to_owned(),
            replicas: self.settings.nats_replicas.unwrap_or(1),
            ..NatsOptions::default()
        })
        .await?;
        let options = EngineOptions {
            partitions: self.partitions,
            partitions_must_match: self.settings.partitions.is_some(),
            cache_bytes_max: self.settings.cache_bytes_max(),
            limits: self.limits.clone(),
            worker_grace: self.settings.worker_grace(),
            ..EngineOptions::default()
        };
        Engine::start(Arc::new(broker), options, Arc::new(SystemClock), registry)
            .await
            .context("start the engine")
    }

    /// Everything by which this process is reached, besides the engine's own subjects.
    async fn open_doors(
        &self,
        ports: Ports,
        also_ready: Vec<Arc<dyn Readiness>>,
        registry: &Registry,
        stop: &CancellationToken,
    ) -> anyhow::Result<(Role, Option<Door>)> {
        let transport = Transport::connect(&fermata_transport::Options {
            servers: self.nats.clone(),
            name: if self.roles.api {
                "fermata-api"
            } else {
                "fermata-door"
            }
            .to_owned(),
            wait: DEPLOYMENT_WAIT,
        })
        .await?;
        let door = if self.roles.engine {
            let options = DoorOptions {
                replicas: self.settings.nats_replicas.unwrap_or(1),
            };
            let door = Door::open(transport.clone(), &options, registry).await;
            Some(door.context("open the door for NATS clients")?)
        } else {
            None
        };
        if let Some(setup) = &self.setup {
            settle(&also_ready).await;
            setup
                .apply(transport.clone())
                .await
                .context("set the deployment up")?;
        }
        let role = if self.roles.api {
            let api = self.start_api(transport, ports, also_ready, registry);
            Role::Api(Box::new(api.await?))
        } else {
            let metrics = Metrics::new(registry).context("register metrics")?;
            let pages = operator_pages(Arc::new(All(also_ready)), metrics);
            let stopped = stop.clone().cancelled_owned();
            let served = fermata_api::rest::server::serve(pages, ports.http, stopped);
            Role::Pages(tokio::spawn(served))
        };
        Ok((role, door))
    }

    async fn start_api(
        &self,
        transport: Transport,
        ports: Ports,
        also_ready: Vec<Arc<dyn Readiness>>,
        registry: &Registry,
    ) -> anyhow::Result<Api> {
        let grpc = self.bind(self.settings.port(), "port").await?;
        let options = ApiOptions {
            grpc,
            http: Some(ports.http),
            pages: ports.pages,
            visibility_file: None,
            sizes: SizeLimits {
                blob_bytes_max: self.limits.blob_bytes_max,
                memo_bytes_max: self.limits.memo_bytes_max,
            },
            also_ready,
        };
        fermata_api::start(transport, options, registry).context("start the api")
    }

    async fn bind(&self, port: u16, flag: &str) -> anyhow::Result<TcpListener> {
        let address = SocketAddr::new(self.ip, port);
        TcpListener::bind(address).await.with_context(|| {
            format!("listen on {address}: give --{flag} another port, or end what listens there")
        })
    }

    /// Says where everything is as soon as it is ready.
    async fn announce(&self, role: &Role, engine: Option<&Engine>, http: SocketAddr) {
        let reasons = || match role {
            Role::Api(api) => api.not_ready(),
            Role::Pages(_) => engine.map(Engine::not_ready).unwrap_or_default(),
        };
        let patience = tokio::time::Instant::now() + READY_PATIENCE;
        let mut is_told = false;
        loop {
            let reasons = reasons();
            if reasons.is_empty() {
                break;
            }
            if !is_told && tokio::time::Instant::now() > patience {
                tracing::warn!("not ready yet: {}", reasons.join("; "));
                is_told = true;
            }
            tokio::time::sleep(READY_POLL).await;
        }
        let mut told = "Fermata is ready\n".to_owned();
        if self.roles.api {
            let address = SocketAddr::new(self.ip, self.settings.port());
            told += &format!("  gRPC   {address}  (Temporal SDKs)\n");
        }
        told += &format!("  HTTP   http://{http}\n");
        told += &format!("  NATS   {}\n", Servers::of(&self.nats));
        if let Some(data) = &self.data {
            told += &format!("  data   {}\n", data.display());
        }
        // Whoever started this may have stopped listening, which is no reason not to serve.
        let _ = std::io::stdout().write_all(told.as_bytes());
    }
}

/// Waits until the engine of this process serves, for as long as that is likely to help.
async fn settle(readiness: &[Arc<dyn Readiness>]) {
    let patience = tokio::time::Instant::now() + READY_PATIENCE;
    while readiness.iter().any(|role| !role.not_ready().is_empty()) {
        if tokio::time::Instant::now() > patience {
            return;
        }
        tokio::time::sleep(READY_POLL).await;
    }
}

/// After this a process that is not ready says why.
const READY_PATIENCE: Duration = Duration::from_secs(10);
const READY_POLL: Duration = Duration::from_millis(20);

/// What is bound before anything is started.
struct Ports {
    http: TcpListener,
    pages: Option<TcpListener>,
}

/// What listens on the HTTP port.
enum Role {
    Api(Box<Api>),
    Pages(JoinHandle<std::io::Result<()>>),
}

/// Weak: the shutdown takes the engine whole.
struct EngineReadiness(Weak<Engine>);

impl Readiness for EngineReadiness {
    fn not_ready(&self) -> Vec<String> {
        match self.0.upgrade() {
            Some(engine) => engine.not_ready(),
            None => vec!["this replica shuts down".to_owned()],
        }
    }
}

/// All reasons of all roles.
struct All(Vec<Arc<dyn Readiness>>);

impl Readiness for All {
    fn not_ready(&self) -> Vec<String> {
        self.0.iter().flat_map(|role| role.not_ready()).collect()
    }
}
