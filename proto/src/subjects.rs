//! Every NATS name: subjects, streams, buckets, consumers. Built here and nowhere else. Persisted: names never change.
//!
//! | subject | stream | holds |
//! |---|---|---|
//! | `fm.hello` | | the first words of any worker or client, core NATS |
//! | `fm.call` | | requests of any client, handed to the right owner, core NATS |
//! | `fm.rpc.<partition>` | | requests to the partition's owner, core NATS |
//! | `fm.log.<partition>` | `FM_LOG_<partition>` | commits |
//! | `fm.state.<partition>.hist.<run id>.<chunk>` | `FM_STATE_<partition>` | history, chunk by chunk from 0 |
//! | `fm.state.<partition>.run.<run id>` | | mutable state of an open run |
//! | `fm.state.<partition>.closed.<run id>` | | what is kept of a closed run |
//! | `fm.state.<partition>.id.<hash>` | | the current run of a workflow id |
//! | `fm.state.<partition>.checkpoint` | | how far the log is applied |
//! | `fm.task.<workflow or activity>.<namespace id>.<queue token>` | `FM_TASKS` | task references |
//! | `fm.sticky.<namespace id>.<queue token>` | | workflow tasks for one worker, core NATS |
//! | `fm.inbox.<namespace id or name>` | `FM_INBOX` | durable requests of any NATS client |
//! | `fm.refused.<namespace id or name>` | `FM_REFUSED` | those that were refused, for a week |
//! | `fm.visibility.<namespace id>.<run id>` | `FM_VISIBILITY` | one record a run, for lists |
//! | `fm.apis` | | what api replicas tell each other, core NATS |

use serde::{Deserialize, Serialize};

use crate::ids::{NamespaceId, Partition, WorkflowId};

/// Answered by one of the engine replicas: [`crate::hello`].
pub const HELLO: &str = "fm.hello";
/// [`crate::rpc::Call`]s of those who do not know partitions; one of the engine replicas asks the owner for them.
pub const CALL: &str = "fm.call";
/// The group in which replicas share [`HELLO`] and [`CALL`].
pub const DOOR_GROUP: &str = "fermata";
/// Heard by all api replicas.
pub const APIS: &str = "fm.apis";
pub const TASKS_STREAM: &str = "FM_TASKS";
pub const TASKS_SUBJECTS: &str = "fm.task.>";
pub const INBOX_STREAM: &str = "FM_INBOX";
pub const INBOX_SUBJECTS: &str = "fm.inbox.*";
/// The durable consumer that all engine replicas share.
pub const INBOX_CONSUMER: &str = "inbox";
pub const REFUSED_STREAM: &str = "FM_REFUSED";
pub const REFUSED_SUBJECTS: &str = "fm.refused.*";
pub const VISIBILITY_STREAM: &str = "FM_VISIBILITY";
pub const VISIBILITY_SUBJECTS: &str = "fm.visibility.>";
/// Namespaces by id.
pub const NAMESPACES_BUCKET: &str = "FM_NAMESPACES";
/// Engine replicas; keys expire.
pub const MEMBERS_BUCKET: &str = "FM_MEMBERS";
/// Running workers that want their end to be noticed; keys expire.
pub const WORKERS_BUCKET: &str = "FM_WORKERS";
/// The deployment's fixed settings.
pub const CLUSTER_BUCKET: &str = "FM_CLUSTER";

/// Queue names up to this length stay readable in subjects.
const READABLE_QUEUE_BYTES_MAX: usize = 80;

/// The two kinds of task queue, which share names but not tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TaskKind {
    Workflow,
    Activity,
}

impl TaskKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Workflow => "workflow",
            Self::Activity => "activity",
        }
    }
}

pub fn rpc(partition: Partition) -> String {
    format!("fm.rpc.{partition}")
}

pub fn log(partition: Partition) -> String {
    format!("fm.log.{partition}")
}

pub fn log_stream(partition: Partition) -> String {
    format!("FM_LOG_{partition}")
}

pub fn state_stream(partition: Partition) -> String {
    format!("FM_STATE_{partition}")
}

pub fn state_subjects(partition: Partition) -> String {
    format!("fm.state.{partition}.>")
}

pub fn history_chunk(partition: Partition, run_id: &str, chunk: u32) -> String {
    format!("fm.state.{partition}.hist.{run_id}.{chunk}")
}

/// All chunks of one run, for a purge.
pub fn history_chunks(partition: Partition, run_id: &str) -> String {
    format!("fm.state.{partition}.hist.{run_id}.*")
}

pub fn run(partition: Partition, run_id: &str) -> String {
    format!("fm.state.{partition}.run.{run_id}")
}

/// All open runs, for a takeover.
pub fn runs(partition: Partition) -> String {
    format!("fm.state.{partition}.run.*")
}

pub fn closed_run(partition: Partition, run_id: &str) -> String {
    format!("fm.state.{partition}.closed.{run_id}")
}

pub fn current_run(
    partition: Partition,
    namespace_id: &NamespaceId,
    workflow_id: &WorkflowId,
) -> String {
    let mut hasher = xxhash_rust::xxh3::Xxh3Default::new();
    hasher.update(namespace_id.0.as_bytes());
    hasher.update(&[0]);
    hasher.update(workflow_id.0.as_bytes());
    current_run_of_hash(partition, hasher.digest128())
}

/// As [`current_run`], by the hash of namespace id and workflow id.
pub fn current_run_of_hash(partition: Partition, hash: u128) -> String {
    format!("fm.state.{partition}.id.{hash:032x}")
}

/// All current-run records, for a takeover.
pub fn current_runs(partition: Partition) -> String {
    format!("fm.state.{partition}.id.*")
}

pub fn checkpoint(partition: Partition) -> String {
    format!("fm.state.{partition}.checkpoint")
}

pub fn task(kind: TaskKind, namespace_id: &NamespaceId, queue: &str) -> String {
    format!(
        "fm.task.{}.{namespace_id}.{}",
        kind.as_str(),
        queue_token(queue)
    )
}

/// The durable consumer that all pollers of a queue share.
pub fn task_consumer(kind: TaskKind, namespace_id: &NamespaceId, queue: &str) -> String {
    format!("{}-{namespace_id}-{}", kind.as_str(), queue_token(queue))
}

pub fn sticky(namespace_id: &NamespaceId, queue: &str) -> String {
    format!("fm.sticky.{namespace_id}.{}", queue_token(queue))
}

pub fn inbox(namespace_id: &NamespaceId) -> String {
    format!("fm.inbox.{namespace_id}")
}

/// The namespace's id or name, as a message of the inbox was published for it.
pub fn inbox_namespace_of(subject: &str) -> Option<&str> {
    let namespace = subject.strip_prefix("fm.inbox.")?;
    (!namespace.is_empty() && !namespace.contains('.')).then_some(namespace)
}

/// Where refused messages of the inbox go; `namespace` as in the subject of the message.
pub fn refused(namespace: &str) -> String {
    format!("fm.refused.{namespace}")
}

pub fn visibility(namespace_id: &NamespaceId, run_id: &str) -> String {
    format!("fm.visibility.{namespace_id}.{run_id}")
}

/// A queue name as one subject token of at most 100 bytes: letters, digits, `-` and `_` stand for themselves, other bytes
/// are `=XX`; what would get too long is cut and ends in a hash. Different names have different tokens.
pub fn queue_token(queue: &str) -> String {
    let mut token = String::with_capacity(queue.len());
    for byte in queue.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_' {
            token.push(char::from(byte));
        } else {
            token.push_str(&format!("={byte:02X}"));
        }
    }
    if token.is_empty() {
        return "=".to_owned();
    }
    if token.len() > READABLE_QUEUE_BYTES_MAX {
        let hash = xxhash_rust::xxh3::xxh3_64(queue.as_bytes());
        token.truncate(READABLE_QUEUE_BYTES_MAX);
        token.push_str(&format!("=={hash:016x}"));
    }
    token
}

/// The kind, namespace id and queue name that a task's subject was made of; a name that was cut ends in its hash.
pub fn task_queue_of(subject: &str) -> Option<(&str, &str, String)> {
    let mut tokens = subject.strip_prefix("fm.task.")?.split('.');
    let (kind, namespace_id, token) = (tokens.next()?, tokens.next()?, tokens.next()?);
    let bytes = token.as_bytes();
    let mut name = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped = token
            .get(at + 1..at + 3)
            .filter(|_| bytes[at] == b'=')
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        name.push(escaped.unwrap_or(bytes[at]));
        at += if escaped.is_some() { 3 } else { 1 };
    }
    Some((
        kind,
        namespace_id,
        String::from_utf8_lossy(&name).into_owned(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_queue_names_stay_readable() {
        assert_eq!(queue_token("payment-queue"), "payment-queue");
        assert_eq!(queue_token("a.b c*>"), "a=2Eb=20c=2A=3E");
        assert_eq!(queue_token(""), "=");
    }

    #[test]
    fn long_queue_names_are_bounded_and_stay_apart() {
        let (one, two) = ("q".repeat(1_000), "q".repeat(999));
        assert!(queue_token(&one).len() <= 100);
        assert_ne!(queue_token(&one), queue_token(&two));
    }

    #[test]
    fn a_task_queue_is_read_back_from_its_subject() {
        let namespace = NamespaceId::from("ns");
        for queue in ["payment-queue", "a.b c*>", "Grüße"] {
            let subject = task(TaskKind::Activity, &namespace, queue);
            let found = ("activity", "ns", queue.to_owned());
            assert_eq!(task_queue_of(&subject), Some(found));
        }
        assert_eq!(task_queue_of("fm.log.1"), None);
    }

    #[test]
    fn names_are_as_documented() {
        let namespace = NamespaceId::from("ns");
        assert_eq!(
            task(TaskKind::Activity, &namespace, "q"),
            "fm.task.activity.ns.q"
        );
        assert_eq!(history_chunk(Partition(3), "r", 1), "fm.state.3.hist.r.1");
        assert_eq!(log_stream(Partition(3)), "FM_LOG_3");
        assert_eq!(inbox_namespace_of(&inbox(&namespace)), Some("ns"));
        assert_eq!(inbox_namespace_of("fm.inbox.a.b"), None);
    }
}
