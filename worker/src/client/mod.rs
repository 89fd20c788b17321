//! The client: starts workflows and asks them.
//!
//! Absent: lists and counts, which are the REST API's.

mod error;
mod handle;
mod start;

use std::time::Duration;

use fermata_transport::{Options, Transport};

pub use error::{ClientError, ResultError};
pub use handle::WorkflowHandle;
pub use start::{SignalWithStartCall, StartCall};

use crate::connection::Connection;
use crate::name::IntoWorkflow;
use crate::payload::{Value, to_payloads};

/// How long a request is repeated while no engine answers.
pub(crate) const REQUEST_MAX: Duration = Duration::from_secs(30);

/// Where to connect, and for which namespace to speak.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// URLs of NATS servers with commas between.
    pub servers: String,
    pub namespace: String,
    /// Shown in histories; by default process id and host.
    pub identity: Option<String>,
    /// How long to wait at start for NATS and an engine.
    pub wait: Duration,
}

impl Default for ClientOptions {
    fn default() -> Self {
        let transport = Options::default();
        Self {
            servers: transport.servers,
            namespace: "default".to_owned(),
            identity: None,
            wait: transport.wait,
        }
    }
}

/// A connection to one namespace of a deployment. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    connection: Connection,
}

impl Client {
    /// Connects to the namespace `default` of the deployment at `servers`.
    ///
    /// # Errors
    /// As [`Self::connect_with`].
    pub async fn connect(servers: impl Into<String>) -> Result<Self, ClientError> {
        Self::connect_with(ClientOptions {
            servers: servers.into(),
            ..ClientOptions::default()
        })
        .await
    }

    /// # Errors
    /// If NATS does not answer, holds no deployment, or the deployment has no such namespace.
    pub async fn connect_with(options: ClientOptions) -> Result<Self, ClientError> {
        let identity = options.identity.unwrap_or_else(default_identity);
        let transport = Transport::connect(&Options {
            servers: options.servers,
            name: identity.clone(),
            wait: options.wait,
        })
        .await?;
        let namespace = transport.namespaces().by_name(&options.namespace);
        let namespace = namespace.ok_or(ClientError::NamespaceNotFound {
            namespace: options.namespace,
        })?;
        Ok(Self {
            connection: Connection {
                transport,
                namespace,
                identity: identity.into(),
            },
        })
    }

    /// The same connection for another namespace.
    ///
    /// # Errors
    /// If there is no such namespace.
    pub fn namespace(&self, name: &str) -> Result<Self, ClientError> {
        let namespace = self.connection.transport.namespaces().by_name(name);
        let namespace = namespace.ok_or_else(|| ClientError::NamespaceNotFound {
            namespace: name.to_owned(),
        })?;
        Ok(Self {
            connection: Connection {
                namespace,
                ..self.connection.clone()
            },
        })
    }

    /// Starts a workflow: by its function, by a [`crate::Workflow`] or by name. Set at least the queue, then await.
    pub fn start<A: Value, R: Value, Kind>(
        &self,
        workflow: impl IntoWorkflow<A, R, Kind>,
        argument: A,
    ) -> StartCall<R> {
        StartCall::new(
            self.connection.clone(),
            &workflow.workflow_type(),
            to_payloads(&argument),
        )
    }

    /// A workflow that was started before, its current run.
    pub fn workflow<R: Value>(&self, workflow_id: impl Into<String>) -> WorkflowHandle<R> {
        WorkflowHandle::new(self.connection.clone(), workflow_id.into(), String::new())
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }
}

fn default_identity() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .or_else(|| std::env::var("HOSTNAME").ok())
        .unwrap_or_default();
    format!("{}@{}", std::process::id(), host.trim())
}
