//! The one table of what each event and fact does to mutable state.

use std::sync::Arc;

use fermata_proto::codec;
use fermata_proto::enums::WorkflowExecutionStatus as Status;
use fermata_proto::event::*;

use crate::run::{RequestIdRecord, Run};
use crate::{
    activity, child_workflow, close, external, signal, start, timer, update, upsert, workflow_task,
};

impl Run {
    pub(crate) fn apply_event(&mut self, event: &Arc<HistoryEvent>) {
        use HistoryEventAttributes as A;
        assert_eq!(
            event.event_id, self.next_event_id,
            "event ids of run {} are contiguous",
            self.run_id
        );
        assert!(
            self.next_event_id == 1 || self.is_open(),
            "nothing follows the closing event of run {}",
            self.run_id
        );
        self.next_event_id += 1;
        self.history_bytes += i64::try_from(codec::encoded_len(&**event)).unwrap_or(i64::MAX);
        let attributes = event.attributes.as_ref().expect("an event has attributes");
        match attributes {
            A::WorkflowExecutionStarted(a) => start::apply_started(self, event, a),
            A::WorkflowExecutionCompleted(_) => close::apply_closed(self, event, Status::Completed),
            A::WorkflowExecutionFailed(_) => close::apply_closed(self, event, Status::Failed),
            A::WorkflowExecutionTimedOut(_) => close::apply_closed(self, event, Status::TimedOut),
            A::WorkflowExecutionCanceled(_) => close::apply_closed(self, event, Status::Canceled),
            A::WorkflowExecutionTerminated(_) => {
                close::apply_closed(self, event, Status::Terminated)
            }
            A::WorkflowExecutionContinuedAsNew(_) => {
                close::apply_closed(self, event, Status::ContinuedAsNew)
            }
            A::WorkflowTaskScheduled(a) => workflow_task::apply_scheduled(self, event, a),
            A::WorkflowTaskStarted(a) => workflow_task::apply_started(self, event, a),
            A::WorkflowTaskCompleted(a) => workflow_task::apply_completed(self, event, a),
            A::WorkflowTaskTimedOut(_) | A::WorkflowTaskFailed(_) => {
                workflow_task::apply_ended(self)
            }
            A::ActivityTaskScheduled(a) => activity::apply_scheduled(self, event, a),
            A::ActivityTaskStarted(_) => {}
            A::ActivityTaskCancelRequested(a) => {
                activity::apply_cancel_requested(self, event, a.scheduled_event_id);
            }
            A::ActivityTaskCompleted(a) => activity::apply_closed(self, a.scheduled_event_id),
            A::ActivityTaskFailed(a) => activity::apply_closed(self, a.scheduled_event_id),
            A::ActivityTaskTimedOut(a) => activity::apply_closed(self, a.scheduled_event_id),
            A::ActivityTaskCanceled(a) => activity::apply_closed(self, a.scheduled_event_id),
            A::TimerStarted(a) => timer::apply_started(self, event, a),
            A::TimerFired(a) => timer::apply_gone(self, &a.timer_id),
            A::TimerCanceled(a) => timer::apply_gone(self, &a.timer_id),
            A::WorkflowExecutionSignaled(a) => {
                signal::apply_signaled(self);
                self.apply_request_id(&a.request_id, event.event_id);
            }
            A::WorkflowExecutionOptionsUpdated(a) => {
                self.apply_request_id(&a.attached_request_id, event.event_id);
            }
            A::WorkflowExecutionCancelRequested(_) => self.cancel_requested = true,
            A::WorkflowExecutionUpdateAdmitted(a) => update::state::apply_admitted_event(self, a),
            A::WorkflowExecutionUpdateAccepted(a) => update::state::apply_accepted(self, event, a),
            A::WorkflowExecutionUpdateCompleted(a) => {
                update::state::apply_completed(self, event, a);
            }
            A::UpsertWorkflowSearchAttributes(a) => {
                upsert::apply_search_attributes(self, a.search_attributes.as_ref());
            }
            A::WorkflowPropertiesModified(a) => upsert::apply_memo(self, a.upserted_memo.as_ref()),
            A::StartChildWorkflowExecutionInitiated(a) => {
                child_workflow::apply_initiated(self, event, a)
            }
            A::ChildWorkflowExecutionStarted(a) => child_workflow::apply_started(self, event, a),
            A::StartChildWorkflowExecutionFailed(a) => {
                child_workflow::apply_closed(self, a.initiated_event_id)
            }
            A::ChildWorkflowExecutionCompleted(a) => {
                child_workflow::apply_closed(self, a.initiated_event_id)
            }
            A::ChildWorkflowExecutionFailed(a) => {
                child_workflow::apply_closed(self, a.initiated_event_id)
            }
            A::ChildWorkflowExecutionCanceled(a) => {
                child_workflow::apply_closed(self, a.initiated_event_id)
            }
            A::ChildWorkflowExecutionTimedOut(a) => {
                child_workflow::apply_closed(self, a.initiated_event_id)
            }
            A::ChildWorkflowExecutionTerminated(a) => {
                child_workflow::apply_closed(self, a.initiated_event_id)
            }
            A::SignalExternalWorkflowExecutionInitiated(a) => {
                external::apply_signal_initiated(self, event, a)
            }
            A::ExternalWorkflowExecutionSignaled(a) => {
                self.external_signals.remove(&a.initiated_event_id);
            }
            A::SignalExternalWorkflowExecutionFailed(a) => {
                self.external_signals.remove(&a.initiated_event_id);
            }
            A::RequestCancelExternalWorkflowExecutionInitiated(a) => {
                external::apply_cancel_initiated(self, event, a);
            }
            A::ExternalWorkflowExecutionCancelRequested(a) => {
                self.external_cancels.remove(&a.initiated_event_id);
            }
            A::RequestCancelExternalWorkflowExecutionFailed(a) => {
                self.external_cancels.remove(&a.initiated_event_id);
            }
            _ => {}
        }
    }

    /// A buffered event has got its id.
    fn apply_request_id(&mut self, request_id: &str, event_id: i64) {
        let is_buffered = |record: &RequestIdRecord| record.event_id == 0;
        if self.request_ids.get(request_id).is_some_and(is_buffered)
            && let Some(record) = Arc::make_mut(&mut self.request_ids).get_mut(request_id)
        {
            record.event_id = event_id;
        }
    }

    /// Notes what a buffered event will end, so that it is not ended twice.
    pub(crate) fn apply_buffered(&mut self, event: &HistoryEvent) {
        use HistoryEventAttributes as A;
        match event.attributes.as_ref().expect("an event has attributes") {
            A::ActivityTaskCompleted(a) => activity::apply_buffered(self, a.scheduled_event_id),
            A::ActivityTaskFailed(a) => activity::apply_buffered(self, a.scheduled_event_id),
            A::ActivityTaskTimedOut(a) => activity::apply_buffered(self, a.scheduled_event_id),
            A::ActivityTaskCanceled(a) => activity::apply_buffered(self, a.scheduled_event_id),
            A::TimerFired(a) => timer::apply_buffered(self, &a.timer_id),
            A::ChildWorkflowExecutionStarted(a) => {
                let run_id = a
                    .workflow_execution
                    .as_ref()
                    .map_or("", |child| &child.run_id);
                child_workflow::apply_buffered(self, a.initiated_event_id, Some(run_id));
            }
            A::StartChildWorkflowExecutionFailed(a) => {
                child_workflow::apply_buffered(self, a.initiated_event_id, None)
            }
            A::ChildWorkflowExecutionCompleted(a) => {
                child_workflow::apply_buffered(self, a.initiated_event_id, None)
            }
            A::ChildWorkflowExecutionFailed(a) => {
                child_workflow::apply_buffered(self, a.initiated_event_id, None)
            }
            A::ChildWorkflowExecutionCanceled(a) => {
                child_workflow::apply_buffered(self, a.initiated_event_id, None)
            }
            A::ChildWorkflowExecutionTimedOut(a) => {
                child_workflow::apply_buffered(self, a.initiated_event_id, None)
            }
            A::ChildWorkflowExecutionTerminated(a) => {
                child_workflow::apply_buffered(self, a.initiated_event_id, None)
            }
            A::WorkflowExecutionCancelRequested(_) => self.cancel_requested = true,
            _ => {}
        }
    }
}
