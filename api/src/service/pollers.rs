//! Who has polled which queue lately: seen by this replica, and heard of from the others ([`super::replicas`]).

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use fermata_proto::ids::NamespaceId;
use fermata_proto::pb::taskqueue::v1 as taskqueue;
use fermata_proto::subjects::TaskKind;
use fermata_proto::time::Timestamp;
use fermata_proto::wire::Wire;
use prost::Message;

use super::replicas::PollerSeen;

/// A poller that was not seen for so long is forgotten.
const KEPT: Duration = Duration::from_secs(300);
/// The other replicas hear of a poller again after this.
const RETOLD: Duration = Duration::from_secs(60);
/// Pollers that wait to be told of at most; further ones are told of when they poll again.
const FRESH_MAX: usize = 10_000;
/// Queues remembered at most.
const QUEUES_MAX: usize = 10_000;
/// Pollers of one queue remembered at most.
const POLLERS_MAX: usize = 1_000;

type Queue = (NamespaceId, TaskKind, String);

/// The pollers of all queues.
#[derive(Default)]
pub(crate) struct Pollers {
    queues: Mutex<BTreeMap<Queue, BTreeMap<String, Seen>>>,
    /// What the other replicas have not heard yet.
    fresh: Mutex<Vec<PollerSeen>>,
}

struct Seen {
    at: Timestamp,
    /// When the other replicas were told; never of one that they told of.
    told: Option<Timestamp>,
    info: taskqueue::PollerInfo,
}

impl Pollers {
    /// Takes note of a poll. One too many is not remembered.
    pub(crate) fn saw(
        &self,
        namespace_id: &NamespaceId,
        kind: TaskKind,
        queue: &str,
        now: Timestamp,
        mut info: taskqueue::PollerInfo,
    ) {
        info.last_access_time = Some(now.into_wire());
        let known = Seen {
            at: now,
            told: Some(now),
            info: info.clone(),
        };
        let told = self.keep(namespace_id, kind, queue, known);
        if told.is_none_or(|told| now.since(told) >= RETOLD) {
            let mut fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
            if fresh.len() < FRESH_MAX {
                fresh.push(PollerSeen {
                    namespace_id: namespace_id.clone(),
                    kind,
                    queue: queue.to_owned(),
                    info: info.encode_to_vec().into(),
                });
            }
        }
    }

    /// Takes note of a poller that another replica has seen.
    pub(crate) fn heard(&self, poller: &PollerSeen) {
        let Some(info) = poller.info() else { return };
        let at = info
            .last_access_time
            .and_then(|time| Timestamp::from_wire(time).ok());
        let Some(at) = at else { return };
        let known = Seen {
            at,
            told: None,
            info,
        };
        self.keep(&poller.namespace_id, poller.kind, &poller.queue, known);
    }

    /// Pollers that the other replicas have to hear of.
    pub(crate) fn take_fresh(&self) -> Vec<PollerSeen> {
        std::mem::take(&mut *self.fresh.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Keeps the newer of what is known of a poller; gives when others were told of it before.
    fn keep(
        &self,
        namespace_id: &NamespaceId,
        kind: TaskKind,
        queue: &str,
        mut seen: Seen,
    ) -> Option<Timestamp> {
        let now = seen.at;
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (namespace_id.clone(), kind, queue.to_owned());
        if queues.len() >= QUEUES_MAX && !queues.contains_key(&key) {
            queues.retain(|_, pollers| forget(pollers, now));
            if queues.len() >= QUEUES_MAX {
                return Some(now);
            }
        }
        let pollers = queues.entry(key).or_default();
        if pollers.len() >= POLLERS_MAX && !pollers.contains_key(&seen.info.identity) {
            forget(pollers, now);
            if pollers.len() >= POLLERS_MAX {
                return Some(now);
            }
        }
        let before = pollers.get(&seen.info.identity);
        let told = before.and_then(|before| before.told);
        if before.is_none_or(|before| before.at <= seen.at) {
            // Still told lately: the next time counts from then.
            if told.is_some_and(|told| seen.told.is_none() || now.since(told) < RETOLD) {
                seen.told = told;
            }
            pollers.insert(seen.info.identity.clone(), seen);
        }
        told
    }

    /// The pollers of a queue, in the order of their identities.
    pub(crate) fn of(
        &self,
        namespace_id: &NamespaceId,
        kind: TaskKind,
        queue: &str,
        now: Timestamp,
    ) -> Vec<taskqueue::PollerInfo> {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (namespace_id.clone(), kind, queue.to_owned());
        let Some(pollers) = queues.get_mut(&key) else {
            return Vec::new();
        };
        forget(pollers, now);
        pollers.values().map(|seen| seen.info.clone()).collect()
    }
}

/// Drops who was not seen for long; says whether anybody is left.
fn forget(pollers: &mut BTreeMap<String, Seen>, now: Timestamp) -> bool {
    pollers.retain(|_, seen| now.since(seen.at) < KEPT);
    !pollers.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pollers_are_known_by_queue_and_kind_for_five_minutes() {
        let pollers = Pollers::default();
        let namespace = NamespaceId::from("ns");
        let start = Timestamp::from_millis(0);
        let worker = |identity: &str| taskqueue::PollerInfo {
            identity: identity.to_owned(),
            ..Default::default()
        };
        pollers.saw(&namespace, TaskKind::Workflow, "q", start, worker("b"));
        pollers.saw(
            &namespace,
            TaskKind::Workflow,
            "q",
            start + Duration::from_secs(200),
            worker("a"),
        );
        let names = |kind, queue: &str, after| {
            let found = pollers.of(&namespace, kind, queue, start + Duration::from_secs(after));
            found
                .into_iter()
                .map(|info| info.identity)
                .collect::<Vec<_>>()
        };
        assert_eq!(names(TaskKind::Workflow, "q", 201), ["a", "b"]);
        assert_eq!(names(TaskKind::Activity, "q", 201), [""; 0]);
        assert_eq!(names(TaskKind::Workflow, "q", 301), ["a"]);
    }
}
