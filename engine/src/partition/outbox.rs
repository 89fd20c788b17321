//! Requests to other workflows: sent until there is a definite answer, which goes back into the owner's loop.
//!
//! A delivery may happen twice (after a takeover, after a lost answer): each request carries an id that makes that harmless.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use fermata_proto::ids::Partition;
use fermata_proto::rpc::{Answer, Call, RejectionKind};
use tokio::task::JoinSet;

use super::commit::Delivery;
use super::work::Work;
use crate::engine::Shared;

/// Deliveries under way in one partition; others wait.
const DELIVERIES_MAX: usize = 256;
const TRY_TIMEOUT: Duration = Duration::from_secs(5);
const BACKOFF_FIRST: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// See the module. Dropped, it stops delivering; the entries stay in the log.
pub struct Outbox {
    shared: Arc<Shared>,
    waiting: VecDeque<Delivery>,
    under_way: JoinSet<Work>,
}

impl Outbox {
    pub fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            waiting: VecDeque::new(),
            under_way: JoinSet::new(),
        }
    }

    pub fn send(&mut self, deliveries: impl IntoIterator<Item = Delivery>) {
        self.waiting.extend(deliveries);
        self.fill();
    }

    pub fn is_idle(&self) -> bool {
        self.under_way.is_empty()
    }

    pub fn len(&self) -> usize {
        self.waiting.len() + self.under_way.len()
    }

    /// The next answer. Cancellation-safe.
    pub async fn next(&mut self) -> Option<Work> {
        let work = self.under_way.join_next().await?.ok();
        self.fill();
        work
    }

    fn fill(&mut self) {
        while self.under_way.len() < DELIVERIES_MAX
            && let Some(delivery) = self.waiting.pop_front()
        {
            self.under_way.spawn(deliver(self.shared.clone(), delivery));
        }
    }
}

async fn deliver(shared: Arc<Shared>, delivery: Delivery) -> Work {
    let entry = &delivery.entry;
    let target = Partition::of(&entry.namespace_id, &entry.workflow_id, shared.partitions);
    let call = Call {
        namespace_id: entry.namespace_id.clone(),
        workflow_id: entry.workflow_id.clone(),
        wait_ms: u32::try_from(TRY_TIMEOUT.as_millis()).unwrap_or(u32::MAX),
        request: entry.request.clone(),
    };
    let mut backoff = BACKOFF_FIRST;
    loop {
        match shared.broker.request(target, &call, TRY_TIMEOUT).await {
            Ok(answer) if is_definite(&answer) => {
                return Work::Delivered {
                    key: delivery.key,
                    run_id: delivery.run_id,
                    outbox_id: entry.id,
                    answer,
                };
            }
            Ok(_) | Err(_) => {
                tokio::time::sleep(backoff).await;
                backoff = (backoff * 2).min(BACKOFF_MAX);
            }
        }
    }
}

/// Whether asking again could not lead to another answer.
fn is_definite(answer: &Answer) -> bool {
    let Err(rejection) = answer else { return true };
    match rejection.kind {
        RejectionKind::Unavailable
        | RejectionKind::NotOwner
        | RejectionKind::ResourceExhausted
        | RejectionKind::DeadlineExceeded
        | RejectionKind::Canceled
        | RejectionKind::Aborted
        | RejectionKind::Corrupt
        | RejectionKind::Internal => false,
        RejectionKind::InvalidArgument
        | RejectionKind::NotFound
        | RejectionKind::AlreadyExists
        | RejectionKind::FailedPrecondition
        | RejectionKind::PermissionDenied
        | RejectionKind::Unimplemented
        | RejectionKind::ProtocolMismatch => true,
    }
}
