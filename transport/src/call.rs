//! Asking the owner of a workflow id.

use std::time::Duration;

use async_nats::RequestErrorKind;
use fermata_proto::codec;
use fermata_proto::hello::{Hello, PROTOCOL_VERSION, Welcomed};
use fermata_proto::ids::{NamespaceId, Partition, WorkflowId};
use fermata_proto::rpc::*;
use fermata_proto::subjects;
use tokio::time::Instant;
use tracing::Instrument;

use crate::connect::Transport;

/// An owner that says nothing for so long is thought dead; the request goes out again. Each try waits longer, so that an owner
/// that is only slow is not buried under repeats.
const TRY_TIMEOUT_FIRST: Duration = Duration::from_secs(1);
const TRY_TIMEOUT_MAX: Duration = Duration::from_secs(5);
/// On top of what a waiting request asks for, so that the owner's answer comes before the time-out.
const WAIT_MARGIN: Duration = Duration::from_millis(500);
/// How long a process waits at its start to be greeted.
const HELLO_MAX: Duration = Duration::from_secs(2);
const BACKOFF_FIRST: Duration = Duration::from_millis(10);
const BACKOFF_MAX: Duration = Duration::from_millis(500);
/// A namespace that was registered a moment ago may not have reached every engine yet.
const NAMESPACE_LAG_MAX: Duration = Duration::from_secs(2);

impl Transport {
    /// Asks the owner of `(namespace_id, workflow_id)`; repeats while no engine owns the partition, for at most `wait`.
    ///
    /// A repeat may reach an owner that has already done it; request ids, task tokens and claim ids make that harmless.
    ///
    /// # Errors
    /// The owner's refusal; UNAVAILABLE if there was no answer in time; INVALID_ARGUMENT if the request is larger than the
    /// broker takes.
    pub async fn call(
        &self,
        namespace_id: &NamespaceId,
        workflow_id: &WorkflowId,
        wait: Duration,
        request: Request,
    ) -> Answer {
        let span = tracing::debug_span!("call", %namespace_id, %workflow_id);
        self.call_until_answered(namespace_id, workflow_id, wait, request)
            .instrument(span)
            .await
    }

    /// Asks a replica whether it speaks this process' version of the protocol, and knows the namespace. True too if nobody answers:
    /// replicas may be starting, and those that are older than this question refuse by themselves.
    ///
    /// # Errors
    /// PROTOCOL_MISMATCH, in words for the author of this process.
    pub async fn hello(&self, namespace: &str) -> Result<(), Rejection> {
        let hello = Hello {
            protocol: PROTOCOL_VERSION,
            namespace: namespace.to_owned(),
            task_queue: String::new(),
        };
        let request = async_nats::Request::new()
            .payload(codec::encode(&hello))
            .timeout(Some(HELLO_MAX));
        let answer = self.nats().send_request(subjects::HELLO, request).await;
        let Ok(message) = answer else { return Ok(()) };
        match codec::decode::<Welcomed>(&message.payload) {
            Ok(Err(rejection)) if rejection.kind == RejectionKind::ProtocolMismatch => {
                Err(rejection)
            }
            _ => Ok(()),
        }
    }

    async fn call_until_answered(
        &self,
        namespace_id: &NamespaceId,
        workflow_id: &WorkflowId,
        wait: Duration,
        request: Request,
    ) -> Answer {
        let partition = Partition::of(namespace_id, workflow_id, self.partitions());
        let subject = subjects::rpc(partition);
        let began = Instant::now();
        let deadline = began + wait;
        let waits = waits_for_something(&request);
        let mut call = Call {
            namespace_id: namespace_id.clone(),
            workflow_id: workflow_id.clone(),
            wait_ms: 0,
            request,
        };
        let mut backoff = BACKOFF_FIRST;
        let mut try_timeout = TRY_TIMEOUT_FIRST;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            call.wait_ms = u32::try_from(left.as_millis()).unwrap_or(u32::MAX);
            let timeout = if waits {
                left + WAIT_MARGIN
            } else {
                left.min(try_timeout)
            };
            let why = match self.call_once(&subject, &call, timeout).await {
                Ok(Err(rejection)) if rejection.kind == RejectionKind::NotOwner => {
                    "its partition is moving between engines".to_owned()
                }
                Ok(Err(rejection))
                    if matches!(
                        rejection.detail.as_deref(),
                        Some(ErrorDetail::NamespaceNotFound(_))
                    ) && began.elapsed() < NAMESPACE_LAG_MAX =>
                {
                    rejection.message
                }
                Ok(answer) => return answer,
                Err(NoAnswer::TooLarge(rejection)) => return Err(*rejection),
                Err(NoAnswer::Why(why)) => why,
            };
            tracing::debug!(%partition, why, "asking again");
            if Instant::now() + backoff >= deadline {
                return Err(Rejection::new(
                    RejectionKind::Unavailable,
                    format!("no engine answered for workflow id {workflow_id:?}: {why}"),
                ));
            }
            tokio::time::sleep(backoff.mul_f64(0.5 + fastrand::f64())).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
            try_timeout = (try_timeout * 2).min(TRY_TIMEOUT_MAX);
        }
    }

    async fn call_once(
        &self,
        subject: &str,
        call: &Call,
        timeout: Duration,
    ) -> Result<Answer, NoAnswer> {
        let payload = codec::encode(call);
        let max = self.nats().server_info().max_payload;
        if payload.len() > max {
            let message = format!(
                "grpc: received message larger than max ({} vs. {max})",
                payload.len()
            );
            return Err(NoAnswer::TooLarge(Box::new(Rejection::invalid_argument(
                message,
            ))));
        }
        let request = async_nats::Request::new()
            .payload(payload)
            .timeout(Some(timeout));
        match self.nats().send_request(subject.to_owned(), request).await {
            Ok(message) => codec::decode(&message.payload)
                .map_err(|error| NoAnswer::Why(format!("an answer nobody understands: {error}"))),
            Err(error) => Err(NoAnswer::Why(match error.kind() {
                RequestErrorKind::NoResponders => "no engine owns its partition".to_owned(),
                RequestErrorKind::TimedOut => "the owner of its partition is silent".to_owned(),
                _ => error.to_string(),
            })),
        }
    }
}

enum NoAnswer {
    TooLarge(Box<Rejection>),
    Why(String),
}

/// Whether the owner may take its time on purpose.
fn waits_for_something(request: &Request) -> bool {
    match request {
        Request::QueryWorkflow(_)
        | Request::UpdateWorkflowExecution(_)
        | Request::PollWorkflowExecutionUpdate(_)
        | Request::ExecuteMultiOperation(_) => true,
        Request::GetWorkflowExecutionHistory(request) => request.wait_new_event,
        _ => false,
    }
}
