//! Who has polled which queue lately, as seen by this process. Each api replica knows its own callers only.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use fermata_proto::ids::NamespaceId;
use fermata_proto::pb::taskqueue::v1 as taskqueue;
use fermata_proto::subjects::TaskKind;
use fermata_proto::time::Timestamp;
use fermata_proto::wire::Wire;

/// A poller that was not seen for so long is forgotten.
const KEPT: Duration = Duration::from_secs(300);
/// Queues remembered at most.
const QUEUES_MAX: usize = 10_000;
/// Pollers of one queue remembered at most.
const POLLERS_MAX: usize = 1_000;

type Queue = (NamespaceId, TaskKind, String);

/// The pollers of all queues.
#[derive(Default)]
pub(crate) struct Pollers {
    queues: Mutex<BTreeMap<Queue, BTreeMap<String, Seen>>>,
}

struct Seen {
    at: Timestamp,
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
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (namespace_id.clone(), kind, queue.to_owned());
        if queues.len() >= QUEUES_MAX && !queues.contains_key(&key) {
            queues.retain(|_, pollers| forget(pollers, now));
            if queues.len() >= QUEUES_MAX {
                return;
            }
        }
        let pollers = queues.entry(key).or_default();
        if pollers.len() >= POLLERS_MAX && !pollers.contains_key(&info.identity) {
            forget(pollers, now);
            if pollers.len() >= POLLERS_MAX {
                return;
            }
        }
        pollers.insert(info.identity.clone(), Seen { at: now, info });
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
