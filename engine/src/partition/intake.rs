//! Where requests to a partition wait: a bounded queue between the broker and the owner.
//!
//! It opens before the takeover begins, so that requests that arrive meanwhile wait instead of failing.

use std::sync::Arc;
use std::time::Duration;

use fermata_proto::enums::{ResourceExhaustedCause, ResourceExhaustedScope};
use fermata_proto::error_details::ResourceExhaustedFailure;
use fermata_proto::hello::check_protocol;
use fermata_proto::ids::Partition;
use fermata_proto::rpc::{ErrorDetail, Rejection, RejectionKind, Request};
use futures::StreamExt;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::info;

use super::address;
use super::release::Asker;
use super::work::Work;
use crate::broker::{BrokerError, Incoming};
use crate::engine::Shared;

/// How long a request waits for this replica to hear of its namespace, which its caller knows already.
const NAMESPACE_WAIT: Duration = Duration::from_secs(2);
/// How long a caller waits that does not say it.
const WAIT_DEFAULT: Duration = Duration::from_secs(30);
/// How long to wait before a broken subscription begins again.
const SERVE_AGAIN: Duration = Duration::from_millis(200);

/// A request in the queue.
pub struct Queued {
    pub work: Work,
    /// Nobody waits for the answer any more after this.
    pub until: Instant,
}

/// Subscribes to a partition's requests, until the receiver is dropped.
///
/// # Errors
/// If the broker does not let us.
pub async fn open(
    shared: Arc<Shared>,
    partition: Partition,
) -> Result<mpsc::Receiver<Queued>, BrokerError> {
    // Fused: it is asked again after its end until the next subscription begins.
    let mut requests = shared.broker.serve(partition).await?.fuse();
    let (tx, rx) = mpsc::channel(shared.options.requests_queued_max.max(1));
    tokio::spawn(async move {
        loop {
            // Cancellation-safe: a request that is dropped here is repeated by its caller.
            let incoming = tokio::select! {
                biased;
                () = tx.closed() => return,
                incoming = requests.next() => incoming,
            };
            if let Some(incoming) = incoming {
                accept(&shared, &tx, incoming);
                continue;
            }
            info!(%partition, "the subscription to requests ended; it begins again");
            tokio::select! {
                biased;
                () = tx.closed() => return,
                () = tokio::time::sleep(SERVE_AGAIN) => {}
            }
            if let Ok(again) = shared.broker.serve(partition).await {
                requests = again.fuse();
            }
        }
    });
    Ok(rx)
}

fn accept(shared: &Arc<Shared>, tx: &mpsc::Sender<Queued>, incoming: Incoming) {
    let Incoming { call, reply } = incoming;
    let asker = Asker {
        reply,
        operation: address::operation(&call.request),
        is_repeat: false,
        shared: shared.clone(),
    };
    if let Request::ClaimWorkflowTask(claim) | Request::ClaimActivityTask(claim) = &call.request
        && let Err(rejection) = check_protocol(claim.protocol)
    {
        info!(namespace_id = %call.namespace_id, identity = claim.identity, %rejection, "a worker was refused");
        asker.answer(Err(rejection));
        return;
    }
    let wait = match call.wait_ms {
        0 => WAIT_DEFAULT,
        wait_ms => Duration::from_millis(u64::from(wait_ms)),
    };
    let until = Instant::now() + wait;
    let is_known = shared
        .namespaces
        .borrow()
        .record(&call.namespace_id)
        .is_some();
    let namespace_id = (!is_known).then(|| call.namespace_id.clone());
    let queued = Queued {
        work: Work::Request {
            call: Box::new(call),
            asker,
        },
        until,
    };
    match (namespace_id, tx.try_reserve()) {
        (None, Ok(permit)) => permit.send(queued),
        (Some(namespace_id), Ok(_)) => {
            // The place in the queue bounds these waits too.
            let (shared, tx) = (shared.clone(), tx.clone());
            tokio::spawn(async move {
                if let Ok(permit) = tx.reserve().await {
                    let mut namespaces = shared.namespaces.clone();
                    let known = namespaces.wait_for(|known| known.record(&namespace_id).is_some());
                    // Still unknown, or the watch is gone: the owner refuses the request in its words.
                    let _ = tokio::time::timeout(NAMESPACE_WAIT, known).await;
                    permit.send(queued);
                }
            });
        }
        (_, Err(_)) => {
            if let Work::Request { asker, .. } = queued.work {
                asker.answer(Err(overloaded()));
            }
        }
    }
}

/// Empties the queue.
pub fn refuse_all(intake: &mut mpsc::Receiver<Queued>, rejection: &Rejection) {
    while let Ok(queued) = intake.try_recv() {
        if let Work::Request { asker, .. } = queued.work {
            asker.answer(Err(rejection.clone()));
        }
    }
}

/// The partition goes to another owner.
pub fn not_owner() -> Rejection {
    Rejection::new(
        RejectionKind::NotOwner,
        "this replica does not own the partition any more",
    )
}

/// The queue is full.
pub fn overloaded() -> Rejection {
    Rejection::new(
        RejectionKind::ResourceExhausted,
        "the partition's queue of requests is full",
    )
    .with(ErrorDetail::ResourceExhausted(ResourceExhaustedFailure {
        cause: ResourceExhaustedCause::SystemOverloaded,
        scope: ResourceExhaustedScope::System,
    }))
}
