//! Where tasks come from: a queue's consumer, or a subject that only one worker listens on.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, pull};
use async_nats::jetstream::{self, consumer};
use fermata_proto::enums::TaskQueueKind;
use fermata_proto::ids::NamespaceId;
use fermata_proto::rpc::{ClaimTask, Request};
use fermata_proto::subjects::{self, TaskKind};
use fermata_proto::taskqueue::TaskQueue;

/// A task that was handed out and neither claimed nor given back goes to another poller after this.
const ACK_WAIT: Duration = Duration::from_secs(5);
const ACKS_PENDING_MAX: i64 = 100_000;
const PULLS_WAITING_MAX: i64 = 20_000;
/// A queue that nobody polls keeps its consumer for this long; its tasks stay in any case.
const CONSUMER_IDLE_MAX: Duration = Duration::from_secs(3_600);

/// One queue of tasks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    Queue {
        kind: TaskKind,
        namespace_id: NamespaceId,
        queue: String,
    },
    Sticky {
        namespace_id: NamespaceId,
        queue: String,
        normal: String,
    },
}

impl Source {
    pub(crate) fn queue(kind: TaskKind, namespace_id: &NamespaceId, queue: &str) -> Self {
        Self::Queue {
            kind,
            namespace_id: namespace_id.clone(),
            queue: queue.to_owned(),
        }
    }

    pub(crate) fn sticky(namespace_id: &NamespaceId, queue: &str, normal: &str) -> Self {
        Self::Sticky {
            namespace_id: namespace_id.clone(),
            queue: queue.to_owned(),
            normal: normal.to_owned(),
        }
    }

    /// The claim of a task from here.
    pub(crate) fn claim(&self, claim: ClaimTask) -> Request {
        let task_queue = match self {
            Self::Queue { queue, .. } => TaskQueue {
                name: queue.clone(),
                kind: TaskQueueKind::Normal,
                normal_name: String::new(),
            },
            Self::Sticky { queue, normal, .. } => TaskQueue {
                name: queue.clone(),
                kind: TaskQueueKind::Sticky,
                normal_name: normal.clone(),
            },
        };
        let claim = Box::new(ClaimTask {
            task_queue,
            ..claim
        });
        match self {
            Self::Queue {
                kind: TaskKind::Activity,
                ..
            } => Request::ClaimActivityTask(claim),
            _ => Request::ClaimWorkflowTask(claim),
        }
    }

    /// The subject on which tasks are asked for, when the consumer of the queue exists; none for a sticky queue.
    ///
    /// # Errors
    /// If the broker or the stream of tasks is away.
    pub(crate) async fn open(
        &self,
        jetstream: &jetstream::Context,
    ) -> Result<Option<String>, String> {
        let Self::Queue {
            kind,
            namespace_id,
            queue,
        } = self
        else {
            return Ok(None);
        };
        let name = subjects::task_consumer(*kind, namespace_id, queue);
        let config = pull::Config {
            durable_name: Some(name.clone()),
            filter_subject: subjects::task(*kind, namespace_id, queue),
            ack_policy: AckPolicy::Explicit,
            ack_wait: ACK_WAIT,
            max_ack_pending: ACKS_PENDING_MAX,
            max_waiting: PULLS_WAITING_MAX,
            inactive_threshold: CONSUMER_IDLE_MAX,
            ..pull::Config::default()
        };
        let _: consumer::PullConsumer = jetstream
            .create_consumer_on_stream(config, subjects::TASKS_STREAM)
            .await
            .map_err(|error| error.to_string())?;
        Ok(Some(format!(
            "$JS.API.CONSUMER.MSG.NEXT.{}.{name}",
            subjects::TASKS_STREAM
        )))
    }

    /// The subject that a sticky queue's tasks come on.
    pub(crate) fn sticky_subject(&self) -> Option<String> {
        match self {
            Self::Queue { .. } => None,
            Self::Sticky {
                namespace_id,
                queue,
                ..
            } => Some(subjects::sticky(namespace_id, queue)),
        }
    }
}
