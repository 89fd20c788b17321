//! Joining a deployment.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::jetstream;
use fermata_proto::cluster::ClusterRecord;
use fermata_proto::ids::NamespaceId;
use fermata_proto::servers::{Credentials, Servers};
use fermata_proto::subjects::{self, TaskKind};
use fermata_proto::{cluster, codec};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::driver::Driver;
use crate::namespaces::Namespaces;
use crate::poller::TaskPoller;
use crate::source::Source;

/// Requests and answers wait here for their turn; a reader that falls behind further loses messages, so it is large.
const SUBSCRIPTION_CAPACITY: usize = 65_536;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const RETRY_PERIOD: Duration = Duration::from_millis(200);

/// How to reach a deployment.
#[derive(Debug, Clone)]
pub struct Options {
    /// URLs of NATS servers with commas between: `nats://127.0.0.1:4222`, `nats://user:password@host`; see [`Servers::of`].
    pub servers: String,
    /// Shown in the broker's list of connections.
    pub name: String,
    /// How long to wait at start for NATS to answer and for an engine to have set the deployment up.
    pub wait: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            servers: "nats://127.0.0.1:4222".to_owned(),
            name: "fermata".to_owned(),
            wait: Duration::from_secs(10),
        }
    }
}

/// Why a deployment could not be joined.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("{servers:?} are no NATS addresses: expected something like nats://127.0.0.1:4222")]
    Address {
        servers: String,
        #[source]
        source: std::io::Error,
    },
    #[error(
        "connect to NATS at {servers}: no answer within {wait:?}; is nats-server running there?"
    )]
    Unreachable {
        servers: String,
        wait: Duration,
        #[source]
        source: async_nats::ConnectError,
    },
    #[error(
        "NATS at {servers} has no Fermata yet ({reason}) after {wait:?}: start an engine on it first"
    )]
    NoDeployment {
        servers: String,
        reason: String,
        wait: Duration,
    },
}

/// A connection to a deployment. Cheap to clone; all clones share it.
#[derive(Clone)]
pub struct Transport {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) client: async_nats::Client,
    pub(crate) jetstream: jetstream::Context,
    pub(crate) cluster: ClusterRecord,
    pub(crate) namespaces: Namespaces,
    /// Counts connections made: a change means that what the broker held for the old one is gone.
    pub(crate) connections: watch::Receiver<u64>,
    drivers: Mutex<HashMap<Source, Driver>>,
}

impl Transport {
    /// Joins the deployment at `options.servers`; reconnects by itself for ever afterwards.
    ///
    /// # Errors
    /// If NATS does not answer, or holds no deployment, within `options.wait`.
    pub async fn connect(options: &Options) -> Result<Self, ConnectError> {
        let deadline = Instant::now() + options.wait;
        let servers = Servers::of(&options.servers);
        let (connected, connections) = watch::channel(0);
        let connected = Arc::new(connected);
        let client = loop {
            match connect_once(options, &servers, Arc::clone(&connected)).await {
                Ok(client) => break client,
                Err(source) if Instant::now() >= deadline => {
                    return Err(ConnectError::Unreachable {
                        servers: servers.to_string(),
                        wait: options.wait,
                        source,
                    });
                }
                Err(_) => tokio::time::sleep(RETRY_PERIOD).await,
            }
        };
        let jetstream = jetstream::new(client.clone());
        let (cluster, namespaces) = loop {
            match deployment(&jetstream).await {
                Ok(found) => break found,
                Err(reason) if Instant::now() >= deadline => {
                    return Err(ConnectError::NoDeployment {
                        servers: servers.to_string(),
                        reason,
                        wait: options.wait,
                    });
                }
                Err(_) => tokio::time::sleep(RETRY_PERIOD).await,
            }
        };
        Ok(Self {
            inner: Arc::new(Inner {
                client,
                jetstream,
                cluster,
                namespaces,
                connections,
                drivers: Mutex::default(),
            }),
        })
    }

    /// Slices of workflow ids in this deployment.
    pub fn partitions(&self) -> u16 {
        self.inner.cluster.partitions
    }

    pub fn cluster(&self) -> &ClusterRecord {
        &self.inner.cluster
    }

    pub fn namespaces(&self) -> &Namespaces {
        &self.inner.namespaces
    }

    pub fn nats(&self) -> &async_nats::Client {
        &self.inner.client
    }

    pub fn jetstream(&self) -> &jetstream::Context {
        &self.inner.jetstream
    }

    pub fn is_connected(&self) -> bool {
        self.inner.client.connection_state() == async_nats::connection::State::Connected
    }

    /// Makes the consumer that pollers of a queue share, unless it is there; gives its name in the stream of tasks.
    ///
    /// # Errors
    /// If the broker or the stream of tasks is away; says why.
    pub async fn task_consumer(
        &self,
        kind: TaskKind,
        namespace_id: &NamespaceId,
        queue: &str,
    ) -> Result<String, String> {
        Source::queue(kind, namespace_id, queue)
            .open(self.jetstream())
            .await?;
        Ok(subjects::task_consumer(kind, namespace_id, queue))
    }

    /// Takes workflow tasks from a normal queue.
    pub fn workflow_queue(&self, namespace_id: &NamespaceId, queue: &str) -> TaskPoller {
        let source = Source::queue(TaskKind::Workflow, namespace_id, queue);
        TaskPoller::new(self.clone(), source)
    }

    /// Takes activity tasks from a queue.
    pub fn activity_queue(&self, namespace_id: &NamespaceId, queue: &str) -> TaskPoller {
        let source = Source::queue(TaskKind::Activity, namespace_id, queue);
        TaskPoller::new(self.clone(), source)
    }

    /// Takes workflow tasks from a worker's own queue, which belongs to the normal queue `normal`.
    pub fn sticky_queue(
        &self,
        namespace_id: &NamespaceId,
        sticky: &str,
        normal: &str,
    ) -> TaskPoller {
        TaskPoller::new(self.clone(), Source::sticky(namespace_id, sticky, normal))
    }

    /// The reader of a queue in this process.
    pub(crate) fn driver(&self, source: &Source) -> Driver {
        let mut drivers = self
            .inner
            .drivers
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(driver) = drivers.get(source)
            && driver.is_running()
        {
            return driver.clone();
        }
        // Queues that nobody polls any more leave when another one comes.
        drivers.retain(|_, driver| driver.is_running());
        // Weak: a reader must not keep alive what keeps it alive.
        let driver = Driver::start(Arc::downgrade(&self.inner), source.clone());
        drivers.insert(source.clone(), driver.clone());
        driver
    }
}

async fn connect_once(
    options: &Options,
    servers: &Servers,
    connected: Arc<watch::Sender<u64>>,
) -> Result<async_nats::Client, async_nats::ConnectError> {
    let mut connect = async_nats::ConnectOptions::new()
        .name(&options.name)
        .connection_timeout(CONNECT_TIMEOUT)
        .subscription_capacity(SUBSCRIPTION_CAPACITY)
        .client_capacity(SUBSCRIPTION_CAPACITY)
        .max_reconnects(None)
        .reconnect_delay_callback(|attempts| Duration::from_millis(50 * attempts.min(20) as u64))
        .event_callback(move |event| {
            let connected = Arc::clone(&connected);
            async move {
                match event {
                    async_nats::Event::Connected => connected.send_modify(|count| *count += 1),
                    async_nats::Event::Disconnected => {
                        tracing::info!("connection to NATS lost; connecting again");
                    }
                    other => tracing::debug!(event = %other, "nats"),
                }
            }
        });
    match &servers.credentials {
        Some(Credentials::UserAndPassword(user, password)) => {
            connect = connect.user_and_password(user.clone(), password.clone());
        }
        Some(Credentials::Token(token)) => connect = connect.token(token.clone()),
        None => {}
    }
    connect.connect(&servers.urls).await
}

async fn deployment(jetstream: &jetstream::Context) -> Result<(ClusterRecord, Namespaces), String> {
    let bucket = jetstream
        .get_key_value(subjects::CLUSTER_BUCKET)
        .await
        .map_err(|error| error.to_string())?;
    let record = bucket
        .get(cluster::CLUSTER_KEY)
        .await
        .map_err(|error| error.to_string())?
        .ok_or("its record is not there")?;
    let cluster = codec::decode(&record).map_err(|error| error.to_string())?;
    let namespaces = Namespaces::watch(jetstream)
        .await
        .map_err(|error| error.to_string())?;
    Ok((cluster, namespaces))
}
