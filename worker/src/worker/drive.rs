//! Polling, and chains of work: a task that was taken, and what its completion brings along.

use std::sync::Arc;
use std::time::Duration;

use fermata_proto::rpc::Response;
use fermata_proto::service::{PollActivityTaskQueueResponse, PollWorkflowTaskQueueResponse};
use fermata_transport::TaskPoller;
use futures::future::{BoxFuture, FutureExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::{Inner, activity_task, workflow_task};

/// How long a poll waits before it is repeated.
const POLL_MAX: Duration = Duration::from_secs(60);
/// A poll that gives up sooner than this did not wait: the queue was closed under it.
const POLL_MIN: Duration = Duration::from_millis(100);

/// A task with the slot that it occupies.
pub(super) enum Work {
    Workflow(Box<PollWorkflowTaskQueueResponse>, OwnedSemaphorePermit),
    Activity(Box<PollActivityTaskQueueResponse>, OwnedSemaphorePermit),
}

/// Starts the poll loops; they end with the worker's shutdown. Gives the sticky queue, for when they have.
pub(super) fn start_polling(worker: &Arc<Inner>) -> Option<TaskPoller> {
    let transport = &worker.connection.transport;
    let namespace_id = &worker.connection.namespace.id;
    let queue = &worker.task_queue;
    let start = |poller: TaskPoller, slots: &Arc<Semaphore>, pollers: usize| {
        for _ in 0..pollers.max(1) {
            worker
                .polls
                .spawn(poll(worker.clone(), poller.clone(), slots.clone()));
        }
    };
    let sticky = worker
        .sticky_queue
        .as_ref()
        .map(|sticky| transport.sticky_queue(namespace_id, sticky, queue));
    if !worker.registry.workflows.is_empty() {
        let pollers = worker.options.workflow_pollers;
        let slots = &worker.workflow_slots;
        if let Some(sticky) = &sticky {
            start(sticky.clone(), slots, pollers);
        }
        start(
            transport.workflow_queue(namespace_id, queue),
            slots,
            pollers,
        );
    }
    if !worker.registry.activities.is_empty() {
        let pollers = worker.options.activity_pollers;
        let slots = &worker.activity_slots;
        start(
            transport.activity_queue(namespace_id, queue),
            slots,
            pollers,
        );
    }
    sticky
}

async fn poll(worker: Arc<Inner>, poller: TaskPoller, slots: Arc<Semaphore>) {
    loop {
        let began = Instant::now();
        // Both waits give up nothing when dropped: a permit goes back, and so does a task on its way.
        let taken = async {
            let slot = slots.clone().acquire_owned().await.ok()?;
            let task = poller
                .poll(&worker.claimant, Instant::now() + POLL_MAX)
                .await;
            Some((task, slot))
        };
        let taken = tokio::select! {
            biased;
            () = worker.shutdown.cancelled() => return,
            taken = taken => taken,
        };
        let Some((task, slot)) = taken else { return };
        let work = match task {
            Some(Response::WorkflowTask(task)) => Work::Workflow(task, slot),
            Some(Response::ActivityTask(task)) => Work::Activity(task, slot),
            Some(other) => {
                tracing::error!(?other, "a poll was answered with something else");
                continue;
            }
            None => {
                drop(slot);
                if began.elapsed() < POLL_MIN {
                    tokio::time::sleep(POLL_MIN).await;
                }
                continue;
            }
        };
        worker.work.spawn(drive(worker.clone(), work));
    }
}

/// Works on a task, then on what its completion brought, until nothing more comes.
pub(super) fn drive(worker: Arc<Inner>, work: Work) -> BoxFuture<'static, ()> {
    async move {
        let mut next = Some(work);
        while let Some(work) = next.take() {
            next = match work {
                Work::Workflow(task, slot) => {
                    let brought = workflow_task::work(&worker, task).await;
                    let mut activities = brought.activities.into_iter();
                    match brought.workflow_task {
                        Some(task) => {
                            for (task, slot) in activities {
                                spawn(&worker, Work::Activity(task, slot));
                            }
                            Some(Work::Workflow(task, slot))
                        }
                        None => {
                            drop(slot);
                            let first = activities.next();
                            for (task, slot) in activities {
                                spawn(&worker, Work::Activity(task, slot));
                            }
                            first.map(|(task, slot)| Work::Activity(task, slot))
                        }
                    }
                }
                Work::Activity(task, slot) => {
                    let task = activity_task::work(&worker, task).await;
                    drop(slot);
                    match task {
                        Some(task) => match worker.workflow_slots.clone().acquire_owned().await {
                            Ok(slot) => Some(Work::Workflow(task, slot)),
                            Err(_) => None,
                        },
                        None => None,
                    }
                }
            };
        }
    }
    .boxed()
}

fn spawn(worker: &Arc<Inner>, work: Work) {
    worker.work.spawn(drive(worker.clone(), work));
}
