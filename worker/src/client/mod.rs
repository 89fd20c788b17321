//! The client: starts workflows and asks them.
//!
//! Absent: lists and counts, which are the REST API's.

mod activity;
mod error;
mod handle;
mod start;
mod update;

use std::sync::Arc;
use std::time::Duration;

use fermata_transport::{Options, Transport};

pub use activity::ActivityHandle;
pub use error::{ClientError, ResultError, UpdateError};
pub use handle::WorkflowHandle;
pub use start::{SignalWithStartCall, StartCall};
pub use update::{UpdateCall, UpdateHandle, UpdateStage, UpdateWithStartCall};

use crate::activity::ActivityToken;
use crate::codec::{Codec, PayloadCodec};
use crate::connection::Connection;
use crate::converter::{Converter, DataConverter};
use crate::interceptor::{Interceptor, Interceptors};
use crate::name::IntoWorkflow;
use crate::payload::Value;

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
    /// If NATS does not answer, holds no deployment, the deployment has no such namespace, or speaks another version of the
    /// protocol.
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
        transport
            .hello(&namespace.name)
            .await
            .map_err(|source| ClientError::OtherVersion { source })?;
        Ok(Self {
            connection: Connection {
                transport,
                namespace,
                identity: identity.into(),
                converter: Converter::default(),
                codec: Codec::default(),
                interceptors: Interceptors::default(),
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

    /// The same connection with values that the converter reads and writes, for this client and the workers made with it.
    #[must_use]
    pub fn with_converter(mut self, converter: impl DataConverter) -> Self {
        self.connection.converter = Converter::of(converter);
        self
    }

    /// The same connection with payloads that the codec makes, for this client and the workers made with it.
    #[must_use]
    pub fn with_codec(mut self, codec: impl PayloadCodec) -> Self {
        self.connection.codec = Codec::of(codec);
        self
    }

    /// The same connection with an interceptor more, for this client and the workers made with it.
    #[must_use]
    pub fn with_interceptor(mut self, interceptor: impl Interceptor) -> Self {
        self.connection.interceptors.0.push(Arc::new(interceptor));
        self
    }

    /// The attempt of an activity that gave out its token, see [`crate::ActivityContext::token`].
    ///
    /// # Errors
    /// If the token is none.
    pub fn activity(&self, token: &ActivityToken) -> Result<ActivityHandle, ClientError> {
        ActivityHandle::by_token(self.connection.clone(), token)
    }

    /// An activity by its id, in the current run of a workflow.
    pub fn activity_by_id(
        &self,
        workflow_id: impl Into<String>,
        activity_id: impl Into<String>,
    ) -> ActivityHandle {
        let (workflow_id, activity_id) = (workflow_id.into(), activity_id.into());
        ActivityHandle::by_id(
            self.connection.clone(),
            workflow_id,
            String::new(),
            activity_id,
        )
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
            self.connection.converter.to_payloads(&argument),
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
