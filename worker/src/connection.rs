//! A connection and the namespace that it speaks for: what the client and the worker call the engine through.

use std::sync::Arc;
use std::time::Duration;

use fermata_proto::ids::WorkflowId;
use fermata_proto::namespace::NamespaceRecord;
use fermata_proto::rpc::{Answer, Request, Response};
use fermata_transport::Transport;

use crate::codec::Codec;
use crate::converter::Converter;
use crate::interceptor::Interceptors;

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct Connection {
    pub transport: Transport,
    pub namespace: Arc<NamespaceRecord>,
    pub identity: Arc<str>,
    pub converter: Converter,
    pub codec: Codec,
    pub interceptors: Interceptors,
}

impl Connection {
    /// Asks the owner of `workflow_id`, and repeats until `wait` is over. Payloads go out encoded and come back decoded, but
    /// for those of tasks that the answer brings: these are decoded where they are worked on, which can tell the engine.
    ///
    /// # Errors
    /// The owner's refusal; INTERNAL if the codec fails.
    pub async fn call(&self, workflow_id: &str, wait: Duration, mut request: Request) -> Answer {
        self.interceptors.on_request(workflow_id, &mut request);
        self.codec
            .encode(&mut request)
            .await
            .map_err(|error| error.rejection())?;
        let mut response = self
            .transport
            .call(
                &self.namespace.id,
                &WorkflowId::from(workflow_id),
                wait,
                request,
            )
            .await?;
        let brings_tasks = matches!(
            response,
            Response::RespondWorkflowTaskCompleted(_) | Response::RespondActivityTaskCompleted(_)
        );
        if !brings_tasks {
            self.codec
                .decode(&mut response)
                .await
                .map_err(|error| error.rejection())?;
        }
        Ok(response)
    }
}
