//! What must hold of any history of a closed run, whatever happened while it was written.

use std::collections::BTreeSet;

use fermata_proto::event::{HistoryEvent, HistoryEventAttributes as A};

/// Everything that is wrong with `events`, in words.
pub fn problems(events: &[HistoryEvent]) -> Vec<String> {
    let mut check = Check {
        events,
        problems: Vec::new(),
        ended: BTreeSet::new(),
    };
    check.order();
    for event in events {
        check.references(event);
    }
    check.problems
}

/// Whether nothing may follow.
pub fn is_closing(attributes: &A) -> bool {
    matches!(
        attributes,
        A::WorkflowExecutionCompleted(_)
            | A::WorkflowExecutionFailed(_)
            | A::WorkflowExecutionTimedOut(_)
            | A::WorkflowExecutionTerminated(_)
            | A::WorkflowExecutionCanceled(_)
            | A::WorkflowExecutionContinuedAsNew(_)
    )
}

/// What comes from outside while a workflow task is worked on is written after it, and keeps the time at which it came; the
/// start of an activity is written with its end.
fn may_be_late(attributes: &A) -> bool {
    matches!(
        attributes,
        A::ActivityTaskStarted(_)
            | A::ActivityTaskCompleted(_)
            | A::ActivityTaskFailed(_)
            | A::ActivityTaskTimedOut(_)
            | A::ActivityTaskCanceled(_)
            | A::TimerFired(_)
            | A::WorkflowExecutionSignaled(_)
            | A::WorkflowExecutionCancelRequested(_)
            | A::StartChildWorkflowExecutionFailed(_)
            | A::ChildWorkflowExecutionStarted(_)
            | A::ChildWorkflowExecutionCompleted(_)
            | A::ChildWorkflowExecutionFailed(_)
            | A::ChildWorkflowExecutionCanceled(_)
            | A::ChildWorkflowExecutionTimedOut(_)
            | A::ChildWorkflowExecutionTerminated(_)
            | A::ExternalWorkflowExecutionSignaled(_)
            | A::SignalExternalWorkflowExecutionFailed(_)
    )
}

struct Check<'a> {
    events: &'a [HistoryEvent],
    problems: Vec<String>,
    /// What has ended already, with the id of the event that began it.
    ended: BTreeSet<(&'static str, i64)>,
}

impl Check<'_> {
    fn order(&mut self) {
        let mut time = None;
        for (expected, event) in (1..).zip(self.events) {
            if event.event_id != expected {
                self.problems.push(format!(
                    "event {} is where {expected} should be",
                    event.event_id
                ));
            }
            let is_late = event.attributes.as_ref().is_some_and(may_be_late);
            if event.event_time.is_none() || (event.event_time < time && !is_late) {
                self.problems.push(format!(
                    "event {expected} is of {:?}, one before of {time:?}",
                    event.event_time
                ));
            }
            time = time.max(event.event_time);
            let is_last = event.event_id == self.events.len() as i64;
            let is_closing = event.attributes.as_ref().is_some_and(is_closing);
            if is_closing != is_last {
                self.problems.push(format!(
                    "event {expected} of {}: closing is {is_closing}",
                    self.events.len()
                ));
            }
        }
        let first = self
            .events
            .first()
            .and_then(|event| event.attributes.as_ref());
        if !matches!(first, Some(A::WorkflowExecutionStarted(_))) {
            self.problems
                .push("the first event is not Started".to_owned());
        }
    }

    /// The events that this one names are there, earlier, of the right type, and ended by no other.
    fn references(&mut self, event: &HistoryEvent) {
        let id = event.event_id;
        let Some(attributes) = &event.attributes else {
            self.problems.push(format!("event {id} is empty"));
            return;
        };
        match attributes {
            A::WorkflowTaskStarted(a) => {
                self.task_scheduled(id, a.scheduled_event_id);
                self.once(id, "the start of workflow task", a.scheduled_event_id);
            }
            A::WorkflowTaskCompleted(a) => {
                self.task_scheduled(id, a.scheduled_event_id);
                self.task_started(id, a.started_event_id);
                self.once(id, "the end of workflow task", a.scheduled_event_id);
            }
            A::WorkflowTaskTimedOut(a) => {
                self.task_scheduled(id, a.scheduled_event_id);
                // 0: it waited for a worker for too long.
                if a.started_event_id != 0 {
                    self.task_started(id, a.started_event_id);
                }
                self.once(id, "the end of workflow task", a.scheduled_event_id);
            }
            A::WorkflowTaskFailed(a) => {
                self.task_scheduled(id, a.scheduled_event_id);
                self.task_started(id, a.started_event_id);
                self.once(id, "the end of workflow task", a.scheduled_event_id);
            }
            A::ActivityTaskScheduled(a) => self.by_task(id, a.workflow_task_completed_event_id),
            A::ActivityTaskStarted(a) => {
                self.activity_scheduled(id, a.scheduled_event_id);
                self.once(id, "the start of activity", a.scheduled_event_id);
            }
            A::ActivityTaskCompleted(a) => {
                self.activity_ended(id, a.scheduled_event_id, a.started_event_id);
            }
            A::ActivityTaskFailed(a) => {
                self.activity_ended(id, a.scheduled_event_id, a.started_event_id);
            }
            A::ActivityTaskTimedOut(a) => {
                self.activity_ended(id, a.scheduled_event_id, a.started_event_id);
            }
            A::ActivityTaskCanceled(a) => {
                self.activity_ended(id, a.scheduled_event_id, a.started_event_id);
            }
            A::ActivityTaskCancelRequested(a) => self.activity_scheduled(id, a.scheduled_event_id),
            A::TimerStarted(a) => self.by_task(id, a.workflow_task_completed_event_id),
            A::TimerFired(a) => self.timer_ended(id, a.started_event_id),
            A::TimerCanceled(a) => self.timer_ended(id, a.started_event_id),
            A::StartChildWorkflowExecutionInitiated(a) => {
                self.by_task(id, a.workflow_task_completed_event_id);
            }
            A::ChildWorkflowExecutionStarted(a) => {
                self.child_initiated(id, a.initiated_event_id);
                self.once(id, "the start of child", a.initiated_event_id);
            }
            A::StartChildWorkflowExecutionFailed(a) => {
                self.child_initiated(id, a.initiated_event_id);
                self.once(id, "the start of child", a.initiated_event_id);
            }
            A::ChildWorkflowExecutionCompleted(a) => {
                self.child_ended(id, a.initiated_event_id, a.started_event_id);
            }
            A::ChildWorkflowExecutionFailed(a) => {
                self.child_ended(id, a.initiated_event_id, a.started_event_id);
            }
            A::ChildWorkflowExecutionCanceled(a) => {
                self.child_ended(id, a.initiated_event_id, a.started_event_id);
            }
            A::ChildWorkflowExecutionTimedOut(a) => {
                self.child_ended(id, a.initiated_event_id, a.started_event_id);
            }
            A::ChildWorkflowExecutionTerminated(a) => {
                self.child_ended(id, a.initiated_event_id, a.started_event_id);
            }
            A::SignalExternalWorkflowExecutionInitiated(a) => {
                self.by_task(id, a.workflow_task_completed_event_id);
            }
            A::ExternalWorkflowExecutionSignaled(a) => self.signal_ended(id, a.initiated_event_id),
            A::SignalExternalWorkflowExecutionFailed(a) => {
                self.signal_ended(id, a.initiated_event_id);
            }
            A::WorkflowExecutionCompleted(a) => {
                self.by_task(id, a.workflow_task_completed_event_id)
            }
            A::WorkflowExecutionFailed(a) => self.by_task(id, a.workflow_task_completed_event_id),
            A::WorkflowExecutionCanceled(a) => self.by_task(id, a.workflow_task_completed_event_id),
            A::WorkflowExecutionContinuedAsNew(a) => {
                self.by_task(id, a.workflow_task_completed_event_id);
            }
            A::WorkflowExecutionStarted(_)
            | A::WorkflowTaskScheduled(_)
            | A::WorkflowExecutionSignaled(_)
            | A::WorkflowExecutionCancelRequested(_)
            | A::WorkflowExecutionTerminated(_) => {}
            other => self.problems.push(format!(
                "event {id} is of a type that these workflows have no use for: {other:?}"
            )),
        }
    }

    fn refers(&mut self, from: i64, to: i64, what: &str, is: fn(&A) -> bool) {
        let at = usize::try_from(to).ok().and_then(|to| to.checked_sub(1));
        let found = at.and_then(|at| self.events.get(at));
        let attributes = found.and_then(|event| event.attributes.as_ref());
        if to >= from || !attributes.is_some_and(is) {
            self.problems.push(format!(
                "event {from} names event {to}, which is no {what} before it"
            ));
            return;
        }
        let time = |id: i64| {
            let at = usize::try_from(id - 1).ok()?;
            self.events.get(at)?.event_time
        };
        if time(from) < time(to) {
            let (time, began) = (time(from), time(to));
            self.problems.push(format!(
                "event {from} is of {time:?}, and event {to} that it follows from of {began:?}"
            ));
        }
    }

    fn once(&mut self, event_id: i64, what: &'static str, began: i64) {
        if !self.ended.insert((what, began)) {
            self.problems
                .push(format!("event {event_id} is {what} {began} a second time"));
        }
    }

    fn task_scheduled(&mut self, from: i64, to: i64) {
        self.refers(from, to, "WorkflowTaskScheduled", |a| {
            matches!(a, A::WorkflowTaskScheduled(_))
        });
    }

    fn task_started(&mut self, from: i64, to: i64) {
        self.refers(from, to, "WorkflowTaskStarted", |a| {
            matches!(a, A::WorkflowTaskStarted(_))
        });
    }

    fn by_task(&mut self, from: i64, to: i64) {
        self.refers(from, to, "WorkflowTaskCompleted", |a| {
            matches!(a, A::WorkflowTaskCompleted(_))
        });
    }

    fn activity_scheduled(&mut self, from: i64, to: i64) {
        self.refers(from, to, "ActivityTaskScheduled", |a| {
            matches!(a, A::ActivityTaskScheduled(_))
        });
    }

    fn activity_ended(&mut self, id: i64, scheduled: i64, started: i64) {
        self.activity_scheduled(id, scheduled);
        // 0: it never started, which only a time-out or a cancellation can say.
        if started != 0 {
            self.refers(id, started, "ActivityTaskStarted", |a| {
                matches!(a, A::ActivityTaskStarted(_))
            });
        }
        self.once(id, "the end of activity", scheduled);
    }

    fn timer_ended(&mut self, id: i64, started: i64) {
        self.refers(id, started, "TimerStarted", |a| {
            matches!(a, A::TimerStarted(_))
        });
        self.once(id, "the end of timer", started);
    }

    fn child_initiated(&mut self, from: i64, to: i64) {
        self.refers(from, to, "StartChildWorkflowExecutionInitiated", |a| {
            matches!(a, A::StartChildWorkflowExecutionInitiated(_))
        });
    }

    fn child_ended(&mut self, id: i64, initiated: i64, started: i64) {
        self.child_initiated(id, initiated);
        self.refers(id, started, "ChildWorkflowExecutionStarted", |a| {
            matches!(a, A::ChildWorkflowExecutionStarted(_))
        });
        self.once(id, "the end of child", initiated);
    }

    fn signal_ended(&mut self, id: i64, initiated: i64) {
        self.refers(
            id,
            initiated,
            "SignalExternalWorkflowExecutionInitiated",
            |a| matches!(a, A::SignalExternalWorkflowExecutionInitiated(_)),
        );
        self.once(id, "the end of signal", initiated);
    }
}
