//! The one reader of a queue in this process: asks the broker for as many tasks as polls wait, claims each for one of
//! them, and lets none get lost on the way.
//!
//! - A task is acknowledged to the broker when it is claimed, or refused as stale by the owner. Until then a reader that dies
//!   costs the broker's ack wait, no more.
//! - A task for which no poll waits any more is kept for a moment, since workers poll again at once, and then given back.
//! - A queue that nobody polls is closed; a sticky one after the time in which the owner counts its worker as alive.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_nats::jetstream::AckKind;
use async_nats::{StatusCode, Subscriber};
use bytes::Bytes;
use fermata_proto::codec;
use fermata_proto::hello::PROTOCOL_VERSION;
use fermata_proto::ids::{NamespaceId, WorkflowId};
use fermata_proto::rpc::{ClaimTask, RejectionKind, Response, TaskReference};
use fermata_proto::taskqueue::PollerScalingDecision;
use futures::StreamExt;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::connect::{Inner, Transport};
use crate::poller::Claimant;
use crate::scaling::{Scaling, Waited};
use crate::source::Source;

/// How many tasks are asked for at most at a time; more polls than this wait for their turn.
const TASKS_ASKED_MAX: usize = 256;
/// How long the broker keeps a request for tasks.
const ASK_EXPIRES: Duration = Duration::from_secs(30);
/// How long a task without a poll is kept.
const KEEP_MAX: Duration = Duration::from_millis(500);
/// How long a queue without polls is listened to. Temporal counts a sticky worker as gone 10 s after its last poll.
const IDLE_MAX: Duration = Duration::from_secs(10);
/// An owner that does not answer a claim; the broker hands the task out again.
const CLAIM_TIMEOUT: Duration = Duration::from_secs(4);
const RETRY_PERIOD: Duration = Duration::from_millis(100);
const NO_TASK_DELAY: Duration = Duration::from_secs(1);

/// A poll that waits.
pub(crate) struct Waiter {
    pub claimant: Box<Claimant>,
    pub since: Instant,
    pub until: Instant,
    /// Set when the poll wants no task any more but the one that is being claimed for it.
    pub has_left: Arc<AtomicBool>,
    pub answer: oneshot::Sender<Response>,
}

impl Waiter {
    fn is_live(&self) -> bool {
        !self.answer.is_closed()
            && !self.has_left.load(Ordering::Acquire)
            && self.until > Instant::now()
    }
}

pub(crate) enum Message {
    Wait(Waiter),
    /// A claimed task whose poll is gone.
    Back(Box<Response>),
    /// A poll whose task was stale.
    Again(Waiter),
    /// A poll has left: it is answered with nothing, unless a task is being claimed for it.
    Left,
    Close,
}

/// A handle on the reader of one queue.
#[derive(Clone)]
pub(crate) struct Driver {
    messages: mpsc::UnboundedSender<Message>,
    running: Arc<AtomicBool>,
}

impl Driver {
    pub(crate) fn start(transport: Weak<Inner>, source: Source) -> Self {
        // Unbounded, but each message stands for a poll that is open anyway.
        let (messages, receiver) = mpsc::unbounded_channel();
        let running = Arc::new(AtomicBool::new(true));
        let driver = Self {
            messages,
            running: Arc::clone(&running),
        };
        let reader = Reader {
            transport,
            source,
            messages: receiver,
            to_self: driver.messages.downgrade(),
            waiters: VecDeque::new(),
            kept: VecDeque::new(),
            claimed: VecDeque::new(),
            asked: VecDeque::new(),
            opened: None,
            is_shut: false,
            scaling: Scaling::default(),
            idle_since: Instant::now(),
        };
        tokio::spawn(async move {
            reader.run(&running).await;
            running.store(false, Ordering::Release);
        });
        driver
    }

    pub(crate) fn is_running(&self) -> bool {
        self.running.load(Ordering::Acquire) && !self.messages.is_closed()
    }

    /// The message comes back if the reader has ended.
    pub(crate) fn send(&self, message: Message) -> Result<(), Message> {
        self.messages.send(message).map_err(|error| error.0)
    }
}

/// A task without a poll, with what acknowledges it.
struct Kept {
    task: TaskReference,
    ack: Option<async_nats::Subject>,
    since: Instant,
    waited: Waited,
}

/// A request for tasks that the broker still holds.
struct Asked {
    left: usize,
    until: Instant,
}

/// The broker's side of an open queue.
struct Opened {
    subscription: Subscriber,
    /// Where tasks are asked for; none on a sticky queue, whose tasks come unasked.
    ask: Option<String>,
    inbox: String,
    connection: u64,
}

struct Reader {
    transport: Weak<Inner>,
    source: Source,
    messages: mpsc::UnboundedReceiver<Message>,
    to_self: mpsc::WeakUnboundedSender<Message>,
    waiters: VecDeque<Waiter>,
    kept: VecDeque<Kept>,
    claimed: VecDeque<Response>,
    asked: VecDeque<Asked>,
    opened: Option<Opened>,
    /// It could not be opened.
    is_shut: bool,
    scaling: Scaling,
    idle_since: Instant,
}

enum Next {
    Message(Option<Message>),
    Arrived(Option<async_nats::Message>),
    Tick,
}

impl Reader {
    async fn run(mut self, running: &AtomicBool) {
        loop {
            let now = Instant::now();
            if !self.waiters.is_empty() {
                self.idle_since = now;
            } else if now - self.idle_since > IDLE_MAX && self.claimed.is_empty() {
                // From now on pollers start a new reader; whoever got this one before finds its message here.
                running.store(false, Ordering::Release);
                self.messages.close();
                if self.messages.is_empty() {
                    break;
                }
            }
            let Some(transport) = self.transport.upgrade().map(|inner| Transport { inner }) else {
                break;
            };
            self.serve_waiting(&transport);
            if !self.waiters.is_empty() {
                self.ask(&transport).await;
            }
            self.give_back(&transport, KEEP_MAX).await;
            drop(transport);
            match self.next().await {
                Next::Message(Some(Message::Wait(waiter))) => self.waiters.push_back(waiter),
                Next::Message(Some(Message::Again(waiter))) => self.waiters.push_front(waiter),
                Next::Message(Some(Message::Back(task))) => {
                    self.claimed.push_back(*task);
                }
                Next::Message(Some(Message::Close) | None) => {
                    running.store(false, Ordering::Release);
                    break;
                }
                Next::Arrived(Some(message)) => self.on_arrived(message),
                Next::Arrived(None) => self.opened = None,
                Next::Message(Some(Message::Left)) | Next::Tick => {
                    self.waiters.retain(Waiter::is_live);
                }
            }
        }
        if let Some(transport) = self.transport.upgrade().map(|inner| Transport { inner }) {
            self.give_back(&transport, Duration::ZERO).await;
        }
    }

    /// What happens next. Each arm only receives, so that nothing is lost when another is taken.
    async fn next(&mut self) -> Next {
        let tick = tokio::time::sleep(RETRY_PERIOD);
        match &mut self.opened {
            Some(opened) => tokio::select! {
                biased;
                message = self.messages.recv() => Next::Message(message),
                arrived = opened.subscription.next() => Next::Arrived(arrived),
                () = tick => Next::Tick,
            },
            None => tokio::select! {
                biased;
                message = self.messages.recv() => Next::Message(message),
                () = tick => Next::Tick,
            },
        }
    }

    /// Hands what is here to the polls that wait.
    fn serve_waiting(&mut self, transport: &Transport) {
        while !self.claimed.is_empty() || !self.kept.is_empty() {
            let Some(waiter) = self.waiters.pop_front() else {
                return;
            };
            if !waiter.is_live() {
                continue;
            }
            if let Some(task) = self.claimed.pop_front() {
                if let Err(task) = waiter.answer.send(task) {
                    self.claimed.push_front(task);
                }
            } else if let (Some(kept), Some(to_self)) =
                (self.kept.pop_front(), self.to_self.upgrade())
            {
                let (transport, source) = (transport.clone(), self.source.clone());
                let advice = self.scaling.advice(waiter.since.elapsed(), &kept.waited);
                tokio::spawn(claim(transport, source, kept, waiter, advice, to_self));
            }
        }
    }

    /// Asks the broker for what the waiting polls lack.
    async fn ask(&mut self, transport: &Transport) {
        let connection = *transport.inner.connections.borrow();
        if self
            .opened
            .as_ref()
            .is_some_and(|opened| opened.connection != connection && opened.ask.is_some())
        {
            // A restarted broker has forgotten what was asked, and the queue's consumer with it.
            self.opened = None;
        }
        if self.opened.is_none() {
            self.asked.clear();
            match self.open(transport, connection).await {
                Ok(opened) => {
                    self.opened = Some(opened);
                    self.is_shut = false;
                }
                Err(reason) => {
                    // Tried again and again while somebody polls: told once.
                    if !std::mem::replace(&mut self.is_shut, true) {
                        tracing::warn!(source = ?self.source, reason, "open a task queue; trying again");
                    }
                    return;
                }
            }
        }
        let Some(Opened {
            ask: Some(ask),
            inbox,
            ..
        }) = &self.opened
        else {
            return;
        };
        let now = Instant::now();
        self.asked
            .retain(|asked| asked.until > now && asked.left > 0);
        let outstanding: usize = self.asked.iter().map(|asked| asked.left).sum();
        let wanted = self.waiters.len().min(TASKS_ASKED_MAX);
        if outstanding >= wanted {
            return;
        }
        let batch = wanted - outstanding;
        let request = format!(
            r#"{{"batch":{batch},"expires":{}}}"#,
            ASK_EXPIRES.as_nanos()
        );
        let sent = transport
            .nats()
            .publish_with_reply(ask.clone(), inbox.clone(), Bytes::from(request))
            .await;
        match sent {
            Ok(()) => self.asked.push_back(Asked {
                left: batch,
                until: now + ASK_EXPIRES,
            }),
            Err(error) => tracing::debug!(%error, "ask for tasks"),
        }
    }

    async fn open(&self, transport: &Transport, connection: u64) -> Result<Opened, String> {
        let client = transport.nats();
        let ask = self.source.open(transport.jetstream()).await?;
        let (inbox, subscription) = match self.source.sticky_subject() {
            // A group: of several readers of one sticky queue, one gets the task.
            Some(subject) => {
                let group = subject.clone();
                let subscription = client.queue_subscribe(subject.clone(), group).await;
                (subject, subscription)
            }
            None => {
                let inbox = client.new_inbox();
                let subscription = client.subscribe(inbox.clone()).await;
                (inbox, subscription)
            }
        };
        Ok(Opened {
            subscription: subscription.map_err(|error| error.to_string())?,
            ask,
            inbox,
            connection,
        })
    }

    fn on_arrived(&mut self, message: async_nats::Message) {
        if let Some(status) = message.status {
            self.on_status(status, &message);
            return;
        }
        if let Some(asked) = self.asked.iter_mut().find(|asked| asked.left > 0) {
            asked.left -= 1;
        }
        match codec::decode::<TaskReference>(&message.payload) {
            Ok(task) => self.kept.push_back(Kept {
                task,
                waited: Waited::of(message.reply.as_deref()),
                ack: message.reply,
                since: Instant::now(),
            }),
            Err(error) => {
                tracing::error!(%error, subject = %message.subject, "a message that is no task");
            }
        }
    }

    /// The broker tells of a request for tasks: it has ended, or there is no consumer to ask.
    fn on_status(&mut self, status: StatusCode, message: &async_nats::Message) {
        match status.as_u16() {
            503 => self.opened = None,
            404 | 408 | 409 => {
                let pending = message
                    .headers
                    .as_ref()
                    .and_then(|headers| headers.get("Nats-Pending-Messages"))
                    .and_then(|value| value.as_str().parse::<usize>().ok());
                match pending {
                    Some(pending) => {
                        if let Some(asked) =
                            self.asked.iter_mut().find(|asked| asked.left == pending)
                        {
                            asked.left = 0;
                        }
                    }
                    // The consumer is gone, or too many wait: begin anew.
                    None => self.opened = None,
                }
            }
            _ => {}
        }
    }

    /// Gives tasks back that have waited for a poll for longer than `age`.
    async fn give_back(&mut self, transport: &Transport, age: Duration) {
        let now = Instant::now();
        while let Some(kept) = self.kept.front() {
            if !self.waiters.is_empty() && !age.is_zero() || now - kept.since < age {
                break;
            }
            // A sticky queue's task waits as long as its queue is listened to.
            if self.source.sticky_subject().is_some() && !age.is_zero() {
                break;
            }
            let Some(kept) = self.kept.pop_front() else {
                break;
            };
            acknowledge(transport, kept.ack, AckKind::Nak(None)).await;
        }
    }
}

/// Claims a task for a poll; whatever comes out, neither gets lost.
async fn claim(
    transport: Transport,
    source: Source,
    kept: Kept,
    waiter: Waiter,
    advice: Option<PollerScalingDecision>,
    to_self: mpsc::UnboundedSender<Message>,
) {
    let claim = ClaimTask {
        task: kept.task.clone(),
        identity: waiter.claimant.identity.clone(),
        claim_id: uuid::Uuid::new_v4().to_string(),
        worker_version: waiter.claimant.worker_version.clone(),
        protocol: PROTOCOL_VERSION,
        worker_id: waiter.claimant.worker_id.clone(),
        ..ClaimTask::default()
    };
    let namespace_id: &NamespaceId = &kept.task.namespace_id;
    let workflow_id: &WorkflowId = &kept.task.workflow_id;
    let request = source.claim(claim);
    match transport
        .call(namespace_id, workflow_id, CLAIM_TIMEOUT, request)
        .await
    {
        Ok(mut task @ (Response::WorkflowTask(_) | Response::ActivityTask(_))) => {
            match &mut task {
                Response::WorkflowTask(task) => task.poller_scaling_decision = advice,
                Response::ActivityTask(task) => task.poller_scaling_decision = advice,
                _ => {}
            }
            acknowledge(&transport, kept.ack, AckKind::Ack).await;
            if let Err(task) = waiter.answer.send(task) {
                let _ = to_self.send(Message::Back(Box::new(task)));
            }
        }
        Ok(other) => {
            tracing::error!(?other, "a claim was answered with something else");
            acknowledge(&transport, kept.ack, AckKind::Ack).await;
            let _ = to_self.send(Message::Again(waiter));
        }
        Err(rejection) => {
            let later = matches!(
                rejection.kind,
                RejectionKind::Unavailable
                    | RejectionKind::NotOwner
                    | RejectionKind::ResourceExhausted
                    | RejectionKind::Internal
                    | RejectionKind::ProtocolMismatch
            );
            if rejection.kind == RejectionKind::ProtocolMismatch {
                // The task is for workers that the engine understands.
                tracing::error!(%rejection, queue = ?source, "this process cannot take tasks");
            }
            let kind = if later {
                AckKind::Nak(Some(NO_TASK_DELAY))
            } else {
                AckKind::Ack
            };
            acknowledge(&transport, kept.ack, kind).await;
            tracing::debug!(%rejection, task = ?kept.task, "a task was not to be had");
            let _ = to_self.send(Message::Again(waiter));
        }
    }
}

async fn acknowledge(transport: &Transport, ack: Option<async_nats::Subject>, kind: AckKind) {
    let Some(ack) = ack else { return };
    if let Err(error) = transport.nats().publish(ack, kind.into()).await {
        tracing::debug!(%error, "acknowledge a task");
    }
}
