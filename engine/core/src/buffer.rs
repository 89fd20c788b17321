//! Events that arrived while a workflow task was started: kept without ids, written when the task ends.
//!
//! They keep their order of arrival, but for the events that close an activity, child or Nexus operation, which go last, so
//! that a signal sent before them is seen first. Events that refer to a Started event in the same buffer are wired to its id.

use std::collections::BTreeMap;
use std::sync::Arc;

use fermata_proto::event::*;

use crate::change::Fact;
use crate::transaction::Transaction;

/// Writes what is buffered; false if there was nothing.
pub(crate) fn flush(tx: &mut Transaction<'_>) -> bool {
    if tx.run().buffered.is_empty() {
        return false;
    }
    let buffered = tx.run().buffered.clone();
    tx.fact(Fact::Buffer(Vec::new()));
    let (closing, others): (Vec<_>, Vec<_>) = buffered
        .into_iter()
        .map(|buffered| buffered.event)
        .partition(closes_something);
    // Started events by the event they belong to.
    let mut started: BTreeMap<i64, i64> = BTreeMap::new();
    for mut event in others.into_iter().chain(closing) {
        wire(&mut event, &started);
        let of = begins(&event);
        let event_id = tx.write(event);
        if let Some(of) = of {
            started.insert(of, event_id);
        }
    }
    true
}

fn closes_something(event: &HistoryEvent) -> bool {
    use HistoryEventAttributes as A;
    matches!(
        event.attributes,
        Some(
            A::ActivityTaskCompleted(_)
                | A::ActivityTaskFailed(_)
                | A::ActivityTaskTimedOut(_)
                | A::ActivityTaskCanceled(_)
                | A::ChildWorkflowExecutionCompleted(_)
                | A::ChildWorkflowExecutionFailed(_)
                | A::ChildWorkflowExecutionTimedOut(_)
                | A::ChildWorkflowExecutionCanceled(_)
                | A::ChildWorkflowExecutionTerminated(_)
                | A::StartChildWorkflowExecutionFailed(_)
                | A::NexusOperationCompleted(_)
                | A::NexusOperationFailed(_)
                | A::NexusOperationTimedOut(_)
                | A::NexusOperationCanceled(_)
        )
    )
}

/// The scheduled or initiated event whose Started event this is.
fn begins(event: &HistoryEvent) -> Option<i64> {
    use HistoryEventAttributes as A;
    match event.attributes.as_ref()? {
        A::ActivityTaskStarted(attributes) => Some(attributes.scheduled_event_id),
        A::ChildWorkflowExecutionStarted(attributes) => Some(attributes.initiated_event_id),
        _ => None,
    }
}

fn wire(event: &mut HistoryEvent, started: &BTreeMap<i64, i64>) {
    use HistoryEventAttributes as A;
    macro_rules! parts {
        ($attributes:ident, $of:ident) => {{
            let attributes = Arc::make_mut($attributes);
            (attributes.$of, &mut attributes.started_event_id)
        }};
    }
    let (of, started_event_id) = match &mut event.attributes {
        Some(A::ActivityTaskCompleted(a)) => parts!(a, scheduled_event_id),
        Some(A::ActivityTaskFailed(a)) => parts!(a, scheduled_event_id),
        Some(A::ActivityTaskTimedOut(a)) => parts!(a, scheduled_event_id),
        Some(A::ActivityTaskCanceled(a)) => parts!(a, scheduled_event_id),
        Some(A::ChildWorkflowExecutionCompleted(a)) => parts!(a, initiated_event_id),
        Some(A::ChildWorkflowExecutionFailed(a)) => parts!(a, initiated_event_id),
        Some(A::ChildWorkflowExecutionTimedOut(a)) => parts!(a, initiated_event_id),
        Some(A::ChildWorkflowExecutionCanceled(a)) => parts!(a, initiated_event_id),
        Some(A::ChildWorkflowExecutionTerminated(a)) => parts!(a, initiated_event_id),
        _ => return,
    };
    if let Some(event_id) = started.get(&of) {
        *started_event_id = *event_id;
    }
}
