//! Polling, and chains of work: a task that was taken, and what its completion brings along.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use fermata_proto::rpc::Response;
use fermata_proto::service::{PollActivityTaskQueueResponse, PollWorkflowTaskQueueResponse};
use fermata_transport::TaskPoller;
use futures::future::{BoxFuture, FutureExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::limits::RateLimit;
use super::{Inner, activity_task, workflow_task};

/// How long a poll waits before it is repeated.
const POLL_MAX: Duration = Duration::from_secs(60);
/// A poll that gives up sooner than this did not wait: the queue was closed under it.
const POLL_MIN: Duration = Duration::from_millis(100);

/// For how long a rate's turns may be held by polls that wait for tasks.
const TURNS_HELD_SECONDS: f64 = 0.05;

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
    let start = |queue: Queue, pollers: usize| {
        for _ in 0..pollers.max(1) {
            worker.polls.spawn(poll(worker.clone(), queue.clone()));
        }
    };
    let sticky = worker
        .sticky_queue
        .as_ref()
        .map(|sticky| transport.sticky_queue(namespace_id, sticky, queue));
    if !worker.registry.workflows.is_empty() {
        let pollers = worker.options.workflow_pollers;
        let of = |kind, poller| Queue {
            kind,
            poller,
            slots: worker.workflow_slots.clone(),
            waiting: worker.waiting.workflow.clone(),
            slots_max: worker.options.workflow_tasks_max,
            rates: Vec::new(),
        };
        if let Some(sticky) = &sticky {
            start(of("sticky", sticky.clone()), pollers);
        }
        let poller = transport.workflow_queue(namespace_id, queue);
        start(of("workflow", poller), pollers);
    }
    if !worker.registry.activities.is_empty() {
        let rates = worker.activity_rates.clone();
        // Each poll that waits holds a turn, so few polls keep a low rate even after a quiet time.
        let slowest = rates
            .iter()
            .map(RateLimit::per_second)
            .fold(f64::INFINITY, f64::min);
        let pollers_max = (slowest * TURNS_HELD_SECONDS).ceil() as usize;
        let activities = Queue {
            kind: "activity",
            poller: transport.activity_queue(namespace_id, queue),
            slots: worker.activity_slots.clone(),
            waiting: worker.waiting.activity.clone(),
            slots_max: worker.options.activities_max,
            rates,
        };
        start(activities, worker.options.activity_pollers.min(pollers_max));
    }
    sticky
}

/// One queue and what is needed to take from it.
#[derive(Clone)]
struct Queue {
    kind: &'static str,
    poller: TaskPoller,
    slots: Arc<Semaphore>,
    /// Of the slots, those of polls that wait for a task.
    waiting: Arc<AtomicUsize>,
    slots_max: usize,
    rates: Vec<RateLimit>,
}

/// Slots of polls that have no task yet.
#[derive(Default)]
pub(super) struct Waiting {
    pub workflow: Arc<AtomicUsize>,
    pub activity: Arc<AtomicUsize>,
}

/// Slots in which a task is.
pub(super) fn slots_used(max: usize, slots: &Semaphore, waiting: &AtomicUsize) -> usize {
    max.max(1)
        .saturating_sub(slots.available_permits())
        .saturating_sub(waiting.load(Relaxed))
}

/// Counts while it lives.
struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Relaxed);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

async fn poll(worker: Arc<Inner>, queue: Queue) {
    let mut room = worker.room.clone();
    loop {
        let began = Instant::now();
        // The waits give up nothing when dropped: a permit goes back, and so does a task on its way.
        let taken = async {
            if let Some(room) = &mut room {
                room.wait(|| slots_used(queue.slots_max, &queue.slots, &queue.waiting))
                    .await;
            }
            let slot = queue.slots.clone().acquire_owned().await.ok()?;
            let _waiting = Counted::new(&queue.waiting);
            for rate in &queue.rates {
                rate.wait().await;
            }
            let task = queue
                .poller
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
        let outcome = if task.is_some() { "task" } else { "nothing" };
        let polls = &worker.metrics.polls;
        polls.with_label_values(&[queue.kind, outcome]).inc();
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

pub(super) fn spawn(worker: &Arc<Inner>, work: Work) {
    worker.work.spawn(drive(worker.clone(), work));
}
