//! What a caller that wants tasks holds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fermata_proto::common::WorkerVersionCapabilities;
use fermata_proto::rpc::Response;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::connect::Transport;
use crate::driver::{Driver, Message, Waiter};
use crate::source::Source;

/// Who asks for a task; shown in history and describe.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Claimant {
    pub identity: String,
    pub worker_version: Option<WorkerVersionCapabilities>,
    /// As in [`crate::Transport::announce_worker`]; empty for one that does not announce itself.
    pub worker_id: String,
}

/// Takes tasks from one queue. Cheap to make and to clone; all pollers of a queue in a process share one reader.
#[derive(Clone)]
pub struct TaskPoller {
    transport: Transport,
    source: Source,
}

impl TaskPoller {
    pub(crate) fn new(transport: Transport, source: Source) -> Self {
        Self { transport, source }
    }

    /// The next task, claimed for `claimant`: [`Response::WorkflowTask`] or [`Response::ActivityTask`]; nothing if there was
    /// none until `until`, or the queue was closed meanwhile.
    ///
    /// Safe to drop: a task that was on its way to a poll that is gone goes to the next one.
    pub async fn poll(&self, claimant: &Claimant, until: Instant) -> Option<Response> {
        self.poll_unless(claimant, until, std::future::pending())
            .await
    }

    /// As [`Self::poll`], and nothing also when `ended` comes; but a task that is being claimed for this poll by then is
    /// still given, since it counts as started.
    pub async fn poll_unless(
        &self,
        claimant: &Claimant,
        until: Instant,
        ended: impl Future<Output = ()>,
    ) -> Option<Response> {
        let (answer, receiver) = oneshot::channel();
        let has_left = Arc::new(AtomicBool::new(false));
        let mut message = Message::Wait(Waiter {
            claimant: Box::new(claimant.clone()),
            since: Instant::now(),
            until,
            has_left: Arc::clone(&has_left),
            answer,
        });
        // A reader that ends because nobody polled is replaced by a new one.
        let driver = loop {
            let driver = self.transport.driver(&self.source);
            match driver.send(message) {
                Ok(()) => break driver,
                Err(back) => message = back,
            }
        };
        let mut pending = Pending { receiver, driver };
        tokio::select! {
            biased;
            answer = &mut pending.receiver => return answer.ok(),
            () = tokio::time::sleep_until(until) => {}
            () = ended => {
                has_left.store(true, Ordering::Release);
                // A reader that has ended has dropped the poll.
                let _ = pending.driver.send(Message::Left);
                // A claim is answered within its own time-out.
                if let Ok(answer) = tokio::time::timeout_at(until, &mut pending.receiver).await {
                    return answer.ok();
                }
            }
        }
        pending.receiver.close();
        pending.receiver.try_recv().ok()
    }

    /// Ends all polls that wait here in this process, with nothing, and stops listening.
    pub fn close(&self) {
        let _ = self.transport.driver(&self.source).send(Message::Close);
    }
}

/// Gives back what arrives after its poll was dropped.
struct Pending {
    receiver: oneshot::Receiver<Response>,
    driver: Driver,
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.receiver.close();
        if let Ok(task) = self.receiver.try_recv() {
            let _ = self.driver.send(Message::Back(Box::new(task)));
        }
    }
}
