//! What must hold after every transition, whatever the rules decided. Each panics with what it found.

use std::collections::BTreeMap;
use std::sync::Arc;

use fermata_core::update::Stage;
use fermata_core::{Decision, Run, Wait};
use fermata_proto::codec;
use fermata_proto::enums::EventType;
use fermata_proto::event::{HistoryEvent, HistoryEventAttributes};

/// All that concerns one run and its history.
pub fn check_run(run: &Run, history: &[Arc<HistoryEvent>]) {
    if run.schedule.is_some() {
        invariant_a_schedule_has_no_history(run, history);
        return;
    }
    invariant_event_ids_are_dense(run, history);
    invariant_nothing_follows_the_closing_event(run, history);
    invariant_at_most_one_started_workflow_task(run, history);
    invariant_back_references_point_backwards(history);
    invariant_a_run_can_move(run);
    invariant_news_are_told(run, history);
    invariant_updates_are_where_they_may_be(run, history);
}

/// A caller waits only for an update that may still get where it waits for.
pub fn invariant_callers_of_updates_are_told<'a>(
    runs: &BTreeMap<String, Run>,
    waiting: impl Iterator<Item = &'a Wait>,
) {
    for wait in waiting {
        let Some(run) = runs.get(&wait.run_id) else {
            continue;
        };
        let status = run.update_status(&wait.update_id);
        assert!(
            status.as_ref().is_some_and(|status| !wait.is_over(status)),
            "a caller waits for update {} of {}, which is {status:?}",
            wait.update_id,
            wait.run_id
        );
    }
}

/// A closed run brings no updates to workers any more, and one that is not accepted has its request or an event with it.
fn invariant_updates_are_where_they_may_be(run: &Run, history: &[Arc<HistoryEvent>]) {
    use HistoryEventAttributes as A;
    for (update_id, update) in run.updates.iter() {
        let is_accepted = update.stage >= Stage::Accepted;
        assert!(
            run.is_open() || is_accepted,
            "update {update_id} waits for a worker of the closed run {}",
            run.run_id
        );
        // One that a reset applies again has its request in the event.
        let is_in_history = || {
            history.iter().any(|event| {
                matches!(&event.attributes, Some(A::WorkflowExecutionUpdateAdmitted(a))
                    if a.request.as_ref().and_then(|request| request.meta.as_ref()).is_some_and(|meta| meta.update_id == *update_id))
            })
        };
        assert!(
            if is_accepted {
                update.request.is_none()
            } else {
                update.request.is_some() || is_in_history()
            },
            "request of {update_id}"
        );
        let event = |event_id: i64| {
            let at = usize::try_from(event_id - 1).ok()?;
            history.get(at)?.attributes.as_ref()
        };
        let accepted = event(update.accepted_event_id);
        assert_eq!(
            matches!(accepted, Some(A::WorkflowExecutionUpdateAccepted(a)) if a.protocol_instance_id == *update_id),
            is_accepted,
            "accepted event of {update_id}"
        );
        let completed = event(update.completed_event_id);
        assert_eq!(
            matches!(completed, Some(A::WorkflowExecutionUpdateCompleted(a)) if a.accepted_event_id == update.accepted_event_id),
            update.stage == Stage::Completed,
            "completed event of {update_id}"
        );
    }
    let is_waited_for = run.is_open()
        && run
            .updates
            .values()
            .any(|update| update.stage < Stage::Accepted);
    assert!(
        !is_waited_for || run.workflow_task.is_some(),
        "no workflow task brings the updates of {}",
        run.run_id
    );
}

/// A schedule is a run without events, and so nothing of a workflow's is open in it.
pub fn invariant_a_schedule_has_no_history(run: &Run, history: &[Arc<HistoryEvent>]) {
    assert!(
        history.is_empty(),
        "the schedule {} has events",
        run.workflow_id
    );
    assert_eq!(run.next_event_id, 1, "next event id of {}", run.workflow_id);
    assert!(run.workflow_task.is_none() && run.activities.is_empty() && run.timers.is_empty());
}

/// Event ids are contiguous from 1, and mutable state knows the next.
pub fn invariant_event_ids_are_dense(run: &Run, history: &[Arc<HistoryEvent>]) {
    for (index, event) in history.iter().enumerate() {
        assert_eq!(
            event.event_id,
            index as i64 + 1,
            "event ids of {}",
            run.run_id
        );
    }
    assert_eq!(
        run.next_event_id,
        history.len() as i64 + 1,
        "next event id of {}",
        run.run_id
    );
    for pair in history.windows(2) {
        // An activity's start is written when it ends, with the time at which it was.
        let dated_back = |event: &HistoryEvent| {
            matches!(
                event.attributes,
                Some(HistoryEventAttributes::ActivityTaskStarted(_))
            )
        };
        if !pair.iter().any(|event| dated_back(event)) && !is_buffered_kind(&pair[1]) {
            assert!(
                pair[0].event_time <= pair[1].event_time || is_buffered_kind(&pair[0]),
                "time goes backwards in {} at {:?}",
                run.run_id,
                pair[1]
            );
        }
    }
}

/// Events from outside keep the time at which they came, however late they are written.
fn is_buffered_kind(event: &HistoryEvent) -> bool {
    use HistoryEventAttributes as A;
    !matches!(
        event.attributes,
        Some(
            A::WorkflowExecutionStarted(_)
                | A::WorkflowTaskCompleted(_)
                | A::WorkflowTaskFailed(_)
                | A::WorkflowTaskTimedOut(_)
                | A::ActivityTaskScheduled(_)
                | A::TimerStarted(_)
        )
    )
}

/// At most one closing event, and it is the last.
pub fn invariant_nothing_follows_the_closing_event(run: &Run, history: &[Arc<HistoryEvent>]) {
    let closing: Vec<i64> = history
        .iter()
        .filter(|event| is_closing(event))
        .map(|event| event.event_id)
        .collect();
    match closing[..] {
        [] => assert!(run.is_open(), "run {} closed without an event", run.run_id),
        [last] => {
            assert_eq!(
                last,
                history.len() as i64,
                "closing event of {}",
                run.run_id
            );
            assert!(!run.is_open(), "run {} is open after its end", run.run_id);
        }
        _ => panic!("run {} closed more than once: {closing:?}", run.run_id),
    }
}

fn is_closing(event: &HistoryEvent) -> bool {
    use HistoryEventAttributes as A;
    matches!(
        event.attributes,
        Some(
            A::WorkflowExecutionCompleted(_)
                | A::WorkflowExecutionFailed(_)
                | A::WorkflowExecutionTimedOut(_)
                | A::WorkflowExecutionCanceled(_)
                | A::WorkflowExecutionTerminated(_)
                | A::WorkflowExecutionContinuedAsNew(_)
        )
    )
}

/// Scheduled, Started and an end alternate, and mutable state agrees with history about what is open.
pub fn invariant_at_most_one_started_workflow_task(run: &Run, history: &[Arc<HistoryEvent>]) {
    use HistoryEventAttributes as A;
    let (mut scheduled, mut started) = (0, 0);
    for event in history {
        match event.attributes.as_ref().expect("attributes") {
            A::WorkflowTaskScheduled(_) => {
                assert_eq!(
                    scheduled, 0,
                    "two workflow tasks scheduled in {}",
                    run.run_id
                );
                scheduled = event.event_id;
            }
            A::WorkflowTaskStarted(a) => {
                assert_eq!(
                    a.scheduled_event_id, scheduled,
                    "started task of {}",
                    run.run_id
                );
                assert_eq!(started, 0, "two workflow tasks started in {}", run.run_id);
                started = event.event_id;
            }
            A::WorkflowTaskCompleted(a) => {
                assert_eq!(
                    (a.scheduled_event_id, a.started_event_id),
                    (scheduled, started)
                );
                (scheduled, started) = (0, 0);
            }
            A::WorkflowTaskFailed(a) => {
                assert_eq!(
                    (a.scheduled_event_id, a.started_event_id),
                    (scheduled, started)
                );
                (scheduled, started) = (0, 0);
            }
            A::WorkflowTaskTimedOut(a) => {
                assert_eq!(
                    (a.scheduled_event_id, a.started_event_id),
                    (scheduled, started)
                );
                (scheduled, started) = (0, 0);
            }
            _ if is_closing(event) => (scheduled, started) = (0, 0),
            _ => {}
        }
    }
    match &run.workflow_task {
        // Kept to be described.
        Some(_) if !run.is_open() => {}
        Some(task) if !task.is_unwritten() => {
            assert_eq!(
                (task.scheduled_event_id, task.started_event_id),
                (scheduled, started)
            );
        }
        _ => assert_eq!(
            (scheduled, started),
            (0, 0),
            "open task of {} in history",
            run.run_id
        ),
    }
}

/// What an event refers to lies before it and is of the right kind.
pub fn invariant_back_references_point_backwards(history: &[Arc<HistoryEvent>]) {
    use HistoryEventAttributes as A;
    let kinds: BTreeMap<i64, EventType> = history
        .iter()
        .filter_map(|event| Some((event.event_id, event.attributes.as_ref()?.event_type())))
        .collect();
    let expect = |event: &HistoryEvent, id: i64, kind: EventType| {
        assert!(
            id < event.event_id,
            "event {} refers to {id}",
            event.event_id
        );
        assert_eq!(
            kinds.get(&id),
            Some(&kind),
            "event {} refers to {id}",
            event.event_id
        );
    };
    for event in history {
        match event.attributes.as_ref().expect("attributes") {
            A::ActivityTaskStarted(a) => {
                expect(
                    event,
                    a.scheduled_event_id,
                    EventType::ActivityTaskScheduled,
                );
            }
            A::ActivityTaskCompleted(a) => {
                expect(
                    event,
                    a.scheduled_event_id,
                    EventType::ActivityTaskScheduled,
                );
                expect(event, a.started_event_id, EventType::ActivityTaskStarted);
            }
            A::ActivityTaskFailed(a) if a.started_event_id != 0 => {
                expect(event, a.started_event_id, EventType::ActivityTaskStarted);
            }
            A::ActivityTaskTimedOut(a) if a.started_event_id != 0 => {
                expect(event, a.started_event_id, EventType::ActivityTaskStarted);
            }
            A::TimerFired(a) => expect(event, a.started_event_id, EventType::TimerStarted),
            A::TimerCanceled(a) => expect(event, a.started_event_id, EventType::TimerStarted),
            A::ChildWorkflowExecutionStarted(a) => expect(
                event,
                a.initiated_event_id,
                EventType::StartChildWorkflowExecutionInitiated,
            ),
            A::ChildWorkflowExecutionCompleted(a) => {
                expect(
                    event,
                    a.started_event_id,
                    EventType::ChildWorkflowExecutionStarted,
                );
            }
            _ => {}
        }
    }
}

/// An open run has a task on a queue, a started task, a deadline, or waits for something from outside that can come.
pub fn invariant_a_run_can_move(run: &Run) {
    if !run.is_open() {
        assert_eq!(run.next_deadline(), None, "a closed run waits for nothing");
        assert!(run.dispatches().is_empty(), "a closed run has no tasks");
        return;
    }
    let has_begun = run.last_completed_task_started_event_id != 0;
    assert!(
        run.next_deadline().is_some()
            || !run.dispatches().is_empty()
            || run.workflow_task.is_some()
            // All its code has run: signals, children and answers of others move it.
            || has_begun,
        "nothing will ever move run {}: {run:?}",
        run.run_id
    );
    if run
        .workflow_task
        .as_ref()
        .is_none_or(|task| !task.is_started())
    {
        assert!(
            run.buffered.is_empty(),
            "events of {} wait for no task",
            run.run_id
        );
    }
}

/// Whatever came from outside after the last completed workflow task has a task that brings it, or a first task to come.
pub fn invariant_news_are_told(run: &Run, history: &[Arc<HistoryEvent>]) {
    use HistoryEventAttributes as A;
    if !run.is_open() || run.workflow_task.is_some() || run.first_workflow_task_at.is_some() {
        return;
    }
    let untold = history
        .iter()
        .filter(|event| event.event_id > run.last_task_completed_event_id)
        .find(|event| {
            matches!(
                event.attributes,
                Some(
                    A::WorkflowExecutionSignaled(_)
                        | A::WorkflowExecutionCancelRequested(_)
                        | A::TimerFired(_)
                        | A::ActivityTaskCompleted(_)
                        | A::ActivityTaskFailed(_)
                        | A::ActivityTaskTimedOut(_)
                        | A::ActivityTaskCanceled(_)
                        | A::StartChildWorkflowExecutionFailed(_)
                        | A::ChildWorkflowExecutionStarted(_)
                        | A::ChildWorkflowExecutionCompleted(_)
                        | A::ChildWorkflowExecutionFailed(_)
                        | A::ChildWorkflowExecutionCanceled(_)
                        | A::ChildWorkflowExecutionTimedOut(_)
                        | A::ChildWorkflowExecutionTerminated(_)
                        | A::SignalExternalWorkflowExecutionFailed(_)
                        | A::ExternalWorkflowExecutionSignaled(_)
                        | A::RequestCancelExternalWorkflowExecutionFailed(_)
                        | A::ExternalWorkflowExecutionCancelRequested(_)
                )
            )
        });
    assert!(
        untold.is_none(),
        "run {} is never told of {untold:?}",
        run.run_id
    );
}

/// Replaying the transitions over the states before gives the states after, byte for byte, also through storage.
pub fn invariant_replay_equals_live(before: &BTreeMap<String, Run>, decision: &Decision) {
    for (transition, after) in decision.transitions.iter().zip(&decision.runs) {
        let stored = codec::encode(transition);
        let transition: fermata_core::Transition =
            codec::decode(&stored).expect("a stored transition reads back");
        let mut replayed = match before.get(&transition.run_id) {
            Some(run) => run.clone(),
            None => {
                assert!(
                    transition.creates,
                    "run {} comes from nowhere",
                    transition.run_id
                );
                Run::new(
                    transition.namespace_id.clone(),
                    transition.workflow_id.clone(),
                    transition.run_id.clone(),
                )
            }
        };
        replayed.apply(&transition);
        assert_eq!(
            codec::encode(&replayed),
            codec::encode(after),
            "replay of {} differs:\n{replayed:?}\n{after:?}",
            transition.run_id
        );
        let read: Run = codec::decode(&codec::encode(after)).expect("a stored run reads back");
        assert_eq!(
            &read, after,
            "run {} differs after storage",
            transition.run_id
        );
    }
}
