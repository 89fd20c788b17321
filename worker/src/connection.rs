//! A connection and the namespace that it speaks for: what the client and the worker call the engine through.

use std::sync::Arc;
use std::time::Duration;

use fermata_proto::ids::WorkflowId;
use fermata_proto::namespace::NamespaceRecord;
use fermata_proto::rpc::{Answer, Request};
use fermata_transport::Transport;

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct Connection {
    pub transport: Transport,
    pub namespace: Arc<NamespaceRecord>,
    pub identity: Arc<str>,
}

impl Connection {
    /// Asks the owner of `workflow_id`, and repeats until `wait` is over.
    pub async fn call(&self, workflow_id: &str, wait: Duration, request: Request) -> Answer {
        self.transport
            .call(
                &self.namespace.id,
                &WorkflowId::from(workflow_id),
                wait,
                request,
            )
            .await
    }
}
