//! The durable inbox: what was published while no engine ran is done when one does.
//!
//! All replicas share one pull consumer. A message is acknowledged after the owner has committed what it asks for; a replica that
//! dies before leaves it to be delivered again, and the request id that it carries makes that harmless:
//!
//! | the owner's answer | the message |
//! |---|---|
//! | done | acknowledged |
//! | not now (no owner, broker away, overload) | delivered again later |
//! | no such workflow, and the message is young | delivered again soon: its start may be on the way by another replica |
//! | refused | kept in `FM_REFUSED`, told to its sender, ended |
//!
//! Messages for one workflow id are done in order within a replica: they share a lane. Between replicas, and after a message
//! that has to wait, there is no order.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, PullConsumer, pull};
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};
use async_nats::jetstream::{self, AckKind};
use fermata_proto::rpc::{ErrorDetail, Rejection, RejectionKind};
use fermata_proto::subjects;
use fermata_transport::Transport;
use futures::StreamExt;
use prometheus::IntCounterVec;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::request::{self, Wanted};
use super::{DoorError, refusal};
use crate::service::{Caller, Service};

/// The inbox takes so much, and then no more: the publisher hears it from its acknowledgement. The broker sets so much of its
/// storage aside. An operator may change it on the stream; what is stored there wins.
const INBOX_BYTES_MAX: i64 = 256 << 20;
/// Refused messages push out older ones.
const REFUSED_BYTES_MAX: i64 = 64 << 20;
const REFUSED_AGE_MAX: Duration = Duration::from_secs(7 * 86_400);

/// A message that a replica neither ended nor gave back goes to another after this.
const ACK_WAIT: Duration = Duration::from_secs(10);
/// Messages that are asked for at once.
const BATCH_MAX: usize = 256;
/// Messages delivered and not acknowledged, over all replicas.
const ACKS_PENDING_MAX: i64 = 10_000;
/// How long one ask lasts when nothing comes.
const ASK_EXPIRES: Duration = Duration::from_secs(30);
/// Requests under way at once, each of other workflows.
const LANES: usize = 64;
const LANE_LENGTH: usize = 8;
/// A request that has waited for its lane for so long is left to its redelivery.
const START_MAX: Duration = Duration::from_secs(4);
/// How long the owner may take. With [`START_MAX`] less than [`ACK_WAIT`].
const CALL_MAX: Duration = Duration::from_secs(5);
/// So old may a message get before a workflow or namespace that is not there is thought never to come.
const YOUNG_MAX: Duration = Duration::from_secs(5);
const YOUNG_DELAY: Duration = Duration::from_millis(250);
/// Between deliveries of what could not be done: doubled each time.
const AGAIN_FIRST: Duration = Duration::from_millis(250);
const AGAIN_MAX: Duration = Duration::from_secs(30);
/// Deliveries of a message to an engine that fails on it; being away does not count.
const FAILURES_MAX: i64 = 10;
const OPEN_AGAIN: Duration = Duration::from_secs(1);

/// Makes the inbox and the place of refused messages, if they do not exist.
pub(super) async fn make_streams(
    jetstream: &jetstream::Context,
    replicas: usize,
) -> Result<(), DoorError> {
    let inbox = Config {
        name: subjects::INBOX_STREAM.to_owned(),
        subjects: vec![subjects::INBOX_SUBJECTS.to_owned()],
        retention: RetentionPolicy::WorkQueue,
        discard: DiscardPolicy::New,
        storage: StorageType::File,
        max_bytes: INBOX_BYTES_MAX,
        num_replicas: replicas,
        ..Config::default()
    };
    let refused = Config {
        name: subjects::REFUSED_STREAM.to_owned(),
        subjects: vec![subjects::REFUSED_SUBJECTS.to_owned()],
        storage: StorageType::File,
        max_bytes: REFUSED_BYTES_MAX,
        max_age: REFUSED_AGE_MAX,
        num_replicas: replicas,
        ..Config::default()
    };
    for config in [inbox, refused] {
        let stream = config.name.clone();
        jetstream
            .get_or_create_stream(config)
            .await
            .map_err(|error| DoorError::Stream {
                stream,
                reason: format!(
                    "{error} (FM_INBOX and FM_REFUSED want 320 MiB of JetStream's file storage; other sizes can be had by making them first)"
                ),
            })?;
    }
    Ok(())
}

/// What all lanes share.
#[derive(Clone)]
pub(super) struct Inbox {
    pub transport: Transport,
    pub service: Service,
    /// By operation and outcome.
    pub requests: IntCounterVec,
}

/// A message on its way through a lane.
struct Job {
    message: jetstream::Message,
    message_id: String,
    wanted: Result<Wanted, Rejection>,
    began: Instant,
    age: Duration,
    deliveries: i64,
}

impl Inbox {
    /// Takes messages until `stop`; those that were begun are ended.
    pub(super) async fn serve(self, stop: CancellationToken) {
        let lanes_running = TaskTracker::new();
        let lanes: Vec<mpsc::Sender<Job>> = (0..LANES)
            .map(|_| {
                let (tx, mut rx) = mpsc::channel::<Job>(LANE_LENGTH);
                let inbox = self.clone();
                lanes_running.spawn(async move {
                    while let Some(job) = rx.recv().await {
                        inbox.work(job).await;
                    }
                });
                tx
            })
            .collect();
        lanes_running.close();
        let mut told = false;
        while !stop.is_cancelled() {
            match self.take(&lanes, &stop, &mut told).await {
                Ok(()) => {}
                Err(reason) => {
                    if !told {
                        tracing::info!(
                            reason,
                            "take messages of the inbox; tried again until it works"
                        );
                        told = true;
                    }
                    tokio::select! {
                        biased;
                        () = stop.cancelled() => {}
                        () = tokio::time::sleep(OPEN_AGAIN) => {}
                    }
                }
            }
        }
        drop(lanes);
        lanes_running.wait().await;
    }

    /// Takes messages from the consumer until that breaks or `stop`.
    async fn take(
        &self,
        lanes: &[mpsc::Sender<Job>],
        stop: &CancellationToken,
        told: &mut bool,
    ) -> Result<(), String> {
        let config = pull::Config {
            durable_name: Some(subjects::INBOX_CONSUMER.to_owned()),
            ack_policy: AckPolicy::Explicit,
            ack_wait: ACK_WAIT,
            max_ack_pending: ACKS_PENDING_MAX,
            ..pull::Config::default()
        };
        let consumer: PullConsumer = self
            .transport
            .jetstream()
            .create_consumer_on_stream(config, subjects::INBOX_STREAM)
            .await
            .map_err(|error| error.to_string())?;
        let mut messages = consumer
            .stream()
            .max_messages_per_batch(BATCH_MAX)
            .expires(ASK_EXPIRES)
            .heartbeat(ASK_EXPIRES / 2)
            .messages()
            .await
            .map_err(|error| error.to_string())?;
        *told = false;
        loop {
            // Safe to drop: what was delivered and not taken is delivered again.
            let message = tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                message = messages.next() => message,
            };
            let message = match message {
                Some(message) => message.map_err(|error| error.to_string())?,
                None => return Err("the consumer ended".to_owned()),
            };
            let job = self.job(message);
            let lane = lane_of(&job);
            // Waits while the lane is full; the consumer stops delivering meanwhile.
            if lanes[lane].send(job).await.is_err() {
                return Err("a lane has ended".to_owned());
            }
        }
    }

    fn job(&self, message: jetstream::Message) -> Job {
        let (place, age, deliveries) = match message.info() {
            Ok(info) => {
                let published = info.published.unix_timestamp_nanos();
                let age = now_nanos().saturating_sub(published).max(0);
                let age = Duration::from_nanos(u64::try_from(age).unwrap_or(u64::MAX));
                // The time tells the message from one in a stream that was made anew.
                let place = format!("inbox-{}-{published}", info.stream_sequence);
                (place, age, info.delivered)
            }
            Err(error) => {
                tracing::error!(%error, "a message of the inbox without its place");
                (uuid::Uuid::new_v4().to_string(), Duration::MAX, 1)
            }
        };
        let message_id = message
            .headers
            .as_ref()
            .and_then(|headers| headers.get("Nats-Msg-Id"))
            .map_or(place, |id| id.as_str().to_owned());
        let wanted = request::namespace(&self.transport, &message.subject).and_then(|namespace| {
            let mut wanted = request::read(message.headers.as_ref(), &message.payload)?;
            wanted.complete(&namespace, &message_id);
            Ok(wanted)
        });
        Job {
            message,
            message_id,
            wanted,
            began: Instant::now(),
            age,
            deliveries,
        }
    }

    /// Has a request done, and the message ended or delivered again.
    async fn work(&self, job: Job) {
        if job.began.elapsed() > START_MAX {
            return;
        }
        let (operation, needs_a_run) = match &job.wanted {
            Ok(wanted) => (wanted.operation(), wanted.needs_a_run()),
            Err(_) => ("unknown", false),
        };
        let workflow_id = match &job.wanted {
            Ok(wanted) => wanted.workflow_id().to_owned(),
            Err(_) => String::new(),
        };
        let done = match job.wanted {
            Ok(wanted) => self.ask(wanted).await,
            Err(rejection) => Err(rejection),
        };
        let (outcome, acknowledgement) = match done {
            Ok(()) => ("done", AckKind::Ack),
            Err(rejection) => match again(&rejection, needs_a_run, job.age, job.deliveries) {
                Some(delay) => {
                    tracing::debug!(%rejection, ?delay, workflow_id, "a request of the inbox has to wait");
                    ("again", AckKind::Nak(Some(delay)))
                }
                None => {
                    let about = (operation, &*workflow_id, &*job.message_id);
                    let kept =
                        refusal::keep_and_tell(&self.transport, &job.message, about, &rejection);
                    match kept.await {
                        Ok(()) => ("refused", AckKind::Term),
                        Err(reason) => {
                            tracing::info!(reason, "keep a refused request of the inbox");
                            ("again", AckKind::Nak(Some(AGAIN_MAX)))
                        }
                    }
                }
            },
        };
        self.requests.with_label_values(&[operation, outcome]).inc();
        if let Err(error) = job.message.ack_with(acknowledgement).await {
            // It is delivered again, which is harmless.
            tracing::info!(%error, "acknowledge a message of the inbox");
        }
    }

    async fn ask(&self, wanted: Wanted) -> Result<(), Rejection> {
        let caller = Caller::for_at_most(CALL_MAX);
        let service = &self.service;
        match wanted {
            Wanted::Start(request) => service
                .start_workflow_execution(&caller, *request)
                .await
                .map(drop),
            Wanted::Signal(request) => service
                .signal_workflow_execution(&caller, *request)
                .await
                .map(drop),
            Wanted::SignalWithStart(request) => service
                .signal_with_start_workflow_execution(&caller, *request)
                .await
                .map(drop),
            Wanted::RequestCancel(request) => service
                .request_cancel_workflow_execution(&caller, *request)
                .await
                .map(drop),
        }
    }
}

/// Messages for one workflow id share a lane.
fn lane_of(job: &Job) -> usize {
    let mut hasher = DefaultHasher::new();
    job.message.subject.as_str().hash(&mut hasher);
    if let Ok(wanted) = &job.wanted {
        wanted.workflow_id().hash(&mut hasher);
    }
    let lanes = LANES as u64;
    usize::try_from(hasher.finish() % lanes).expect("a lane's number is small")
}

/// After which delay a refused message is delivered again; nothing if that would not help.
fn again(
    rejection: &Rejection,
    needs_a_run: bool,
    age: Duration,
    deliveries: i64,
) -> Option<Duration> {
    let doublings = u32::try_from(deliveries.clamp(1, 8) - 1).unwrap_or_default();
    let later = (AGAIN_FIRST * 2_u32.pow(doublings)).min(AGAIN_MAX);
    let is_unknown_namespace = matches!(
        rejection.detail.as_deref(),
        Some(ErrorDetail::NamespaceNotFound(_))
    );
    match rejection.kind {
        RejectionKind::NotFound => {
            ((needs_a_run || is_unknown_namespace) && age < YOUNG_MAX).then_some(YOUNG_DELAY)
        }
        RejectionKind::Unavailable
        | RejectionKind::NotOwner
        | RejectionKind::ResourceExhausted
        | RejectionKind::DeadlineExceeded
        | RejectionKind::ProtocolMismatch
        | RejectionKind::Canceled
        | RejectionKind::Aborted => Some(later),
        RejectionKind::Corrupt | RejectionKind::Internal => {
            (deliveries < FAILURES_MAX).then_some(later)
        }
        RejectionKind::InvalidArgument
        | RejectionKind::AlreadyExists
        | RejectionKind::FailedPrecondition
        | RejectionKind::PermissionDenied
        | RejectionKind::Unimplemented => None,
    }
}

fn now_nanos() -> i128 {
    let now = std::time::SystemTime::now();
    let since = now.duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| {
        i128::try_from(since.as_nanos()).unwrap_or(i128::MAX)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_is_tried_again_and_what_cannot_is_refused() {
        let of = |kind| Rejection::new(kind, "");
        let young = Duration::from_secs(1);
        let old = Duration::from_secs(60);
        let unavailable = of(RejectionKind::Unavailable);
        assert_eq!(again(&unavailable, false, old, 1), Some(AGAIN_FIRST));
        assert_eq!(again(&unavailable, false, old, 1_000), Some(AGAIN_MAX));
        assert_eq!(
            again(&of(RejectionKind::InvalidArgument), true, young, 1),
            None
        );
        let absent = of(RejectionKind::NotFound);
        assert_eq!(again(&absent, true, young, 1), Some(YOUNG_DELAY));
        assert_eq!(again(&absent, true, old, 1), None);
        assert_eq!(again(&absent, false, young, 1), None);
        let broken = of(RejectionKind::Internal);
        assert!(again(&broken, false, old, FAILURES_MAX - 1).is_some());
        assert_eq!(again(&broken, false, old, FAILURES_MAX), None);
    }
}
