//! One partition at this replica: takes it over, runs its owner, and takes it again when it was lost but is still ours.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fermata_proto::ids::Partition;
use fermata_proto::rpc::{Rejection, RejectionKind};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tracing::{error, info, warn};

use crate::engine::Shared;
use intake::Queued;
use owner::{Exit, Owner};
use takeover::{Taken, TakeoverError};

mod address;
mod answers;
mod append;
mod checkpoint;
mod claimants;
mod commit;
mod confirm;
mod deadlines;
mod history;
mod intake;
mod load;
mod outbox;
mod owner;
mod publish;
mod reads;
mod release;
mod reset;
mod schedules;
mod state;
mod takeover;
mod updates;
mod waiting;
mod work;

const BACKOFF_FIRST: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(2);
/// A partition that was lost although it is ours is taken again after this: both replicas have heard of each other by then.
const LOST_BACKOFF: Duration = Duration::from_millis(700);

/// A partition that this replica owns or is about to.
pub struct Handle {
    wanted: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// Why a partition does not serve; none while it does.
#[derive(Clone, Default)]
pub struct Status(Arc<Mutex<Option<String>>>);

impl Status {
    fn set(&self, reason: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = reason;
    }

    pub fn reason(&self) -> Option<String> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Handle {
    pub fn start(shared: Arc<Shared>, partition: Partition) -> Self {
        let (wanted, is_wanted) = watch::channel(true);
        let status = shared.status(partition);
        status.set(Some("it is being taken over".to_owned()));
        let task = tokio::spawn(keep(shared, partition, is_wanted));
        Self { wanted, task }
    }

    /// Hands the partition over.
    pub fn stop(&self) {
        self.wanted.send_replace(false);
    }

    /// Takes [`Self::stop`] back.
    pub fn resume(&self) {
        self.wanted
            .send_if_modified(|wanted| !std::mem::replace(wanted, true));
    }

    pub fn is_finished(&self) -> bool {
        self.task.is_finished()
    }

    pub async fn finished(self) {
        // A panic was told by its own message.
        let _ = self.task.await;
    }
}

/// Owns `partition` for as long as it is wanted.
async fn keep(shared: Arc<Shared>, partition: Partition, mut wanted: watch::Receiver<bool>) {
    let status = shared.status(partition);
    while *wanted.borrow() {
        status.set(Some("it is being taken over".to_owned()));
        let stop = tokio_util::sync::CancellationToken::new();
        let owning = own(&shared, partition, &status, stop.clone());
        tokio::pin!(owning);
        let exit = tokio::select! {
            biased;
            () = unwanted(&mut wanted) => {
                stop.cancel();
                owning.await
            }
            exit = &mut owning => exit,
        };
        let (reason, pause) = match exit {
            Exit::Stopped => continue,
            Exit::Lost(reason) => (reason, LOST_BACKOFF),
            Exit::Refused(reason) => (reason, BACKOFF_FIRST),
        };
        info!(%partition, reason, "the partition is not owned any more");
        status.set(Some(reason));
        tokio::select! {
            biased;
            () = unwanted(&mut wanted) => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
    shared.forget(partition);
}

async fn unwanted(wanted: &mut watch::Receiver<bool>) {
    // The handle is gone only with the engine.
    let _ = wanted.wait_for(|wanted| !*wanted).await;
}

async fn own(
    shared: &Arc<Shared>,
    partition: Partition,
    status: &Status,
    stop: tokio_util::sync::CancellationToken,
) -> Exit {
    let mut backoff = BACKOFF_FIRST;
    let (intake, taken) = loop {
        let taking = tokio::select! {
            biased;
            () = stop.cancelled() => return Exit::Stopped,
            taking = take(shared, partition, status, &mut backoff) => taking,
        };
        if let Some(taking) = taking {
            break taking;
        }
    };
    status.set(None);
    shared.metrics.partitions_owned.inc();
    shared.count_owned(1);
    let owner = Owner::new(shared.clone(), partition, taken);
    // A broken invariant of the partition itself stops it, loudly; it is then taken over anew from the log.
    let run = tokio::spawn(owner.run(intake, stop));
    let exit = match run.await {
        Ok(exit) => exit,
        Err(panic) => {
            error!(%partition, %panic, "the partition's owner broke an invariant");
            Exit::Lost("its owner broke an invariant".to_owned())
        }
    };
    shared.metrics.partitions_owned.dec();
    shared.metrics.forget(partition);
    shared.count_owned(-1);
    exit
}

/// One takeover, with the requests that arrive meanwhile; nothing if it has to be tried again.
async fn take(
    shared: &Arc<Shared>,
    partition: Partition,
    status: &Status,
    backoff: &mut Duration,
) -> Option<(mpsc::Receiver<Queued>, Taken)> {
    let error = match intake::open(shared.clone(), partition).await {
        Ok(mut intake) => loop {
            match takeover::take(shared, partition).await {
                Ok(taken) => return Some((intake, taken)),
                Err(error) => {
                    let reason = chain(&error);
                    warn!(%partition, reason, "a takeover failed; it is tried again");
                    if error.is_refusal() {
                        // The broker takes no records: callers hear it rather than wait.
                        let refusal = Rejection::new(RejectionKind::Unavailable, &*reason);
                        intake::refuse_all(&mut intake, &refusal);
                    }
                    status.set(Some(reason));
                    tokio::time::sleep(*backoff).await;
                    *backoff = (*backoff * 2).min(BACKOFF_MAX);
                }
            }
        },
        Err(error) => error,
    };
    let reason = error.to_string();
    info!(%partition, reason, "requests to the partition cannot be received yet");
    status.set(Some(reason));
    tokio::time::sleep(*backoff).await;
    *backoff = (*backoff * 2).min(BACKOFF_MAX);
    None
}

fn chain(error: &TakeoverError) -> String {
    let mut words = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        words = format!("{words}: {cause}");
        source = cause.source();
    }
    words
}
