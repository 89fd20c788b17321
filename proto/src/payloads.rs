//! Going through all payloads of a message, wherever they lie in it: what a codec needs that encrypts them.
//!
//! Every mirrored message has this by the macros of [`crate::wire`]; here are the types that these do not make.

use std::any::Any;
use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use crate::any::UpdateMessage;
use crate::command::Command;
use crate::common::Payload;
use crate::event::HistoryEvent;
use crate::ids::{NamespaceId, WorkflowId};
use crate::rpc::*;
use crate::time::Timestamp;
use crate::update;

/// Sees each payload of a message once, in the order of its fields.
pub trait PayloadVisitor {
    type Error;

    /// # Errors
    /// Ends the visit; what was seen before stays changed.
    fn payload(&mut self, payload: &mut Payload) -> Result<(), Self::Error>;

    /// Whether payloads within a message of this name are wanted.
    fn enters(&self, _message: &'static str) -> bool {
        true
    }
}

/// A message whose payloads can be visited.
pub trait VisitPayloads: Any {
    /// # Errors
    /// The first of `visitor`.
    fn visit_payloads<V: PayloadVisitor>(&mut self, visitor: &mut V) -> Result<(), V::Error>;
}

macro_rules! without_payloads {
    ($($type:ty),* $(,)?) => {$(
        impl VisitPayloads for $type {
            fn visit_payloads<V: PayloadVisitor>(&mut self, _: &mut V) -> Result<(), V::Error> {
                Ok(())
            }
        }
    )*};
}

without_payloads!(
    String,
    bool,
    i32,
    i64,
    u32,
    u64,
    f32,
    f64,
    Bytes,
    Duration,
    Timestamp,
    NamespaceId,
    WorkflowId,
    crate::wire::FieldMask,
    crate::wire::Empty,
    ClaimTask,
    DetachActivity,
    ExternalSender,
);

/// The bodies of messages about updates hold payloads; what does not decode stays as it is.
impl VisitPayloads for crate::wire::Any {
    fn visit_payloads<V: PayloadVisitor>(&mut self, visitor: &mut V) -> Result<(), V::Error> {
        if let Ok(Some(mut said)) = UpdateMessage::from_body(self) {
            match &mut said {
                UpdateMessage::Acceptance(acceptance) => acceptance.visit_payloads(visitor)?,
                UpdateMessage::Rejection(rejection) => rejection.visit_payloads(visitor)?,
                UpdateMessage::Response(response) => response.visit_payloads(visitor)?,
            }
            *self = said.into_body();
        } else if UpdateMessage::is_request(self)
            && let Ok(mut request) = update::Request::from_body(self)
        {
            request.visit_payloads(visitor)?;
            *self = request.to_body();
        }
        Ok(())
    }
}

impl<T: VisitPayloads> VisitPayloads for Option<T> {
    fn visit_payloads<V: PayloadVisitor>(&mut self, visitor: &mut V) -> Result<(), V::Error> {
        self.iter_mut()
            .try_for_each(|value| value.visit_payloads(visitor))
    }
}

impl<T: VisitPayloads> VisitPayloads for Box<T> {
    fn visit_payloads<V: PayloadVisitor>(&mut self, visitor: &mut V) -> Result<(), V::Error> {
        (**self).visit_payloads(visitor)
    }
}

/// What others hold as well is copied first: they do not see the change.
impl<T: VisitPayloads + Clone> VisitPayloads for std::sync::Arc<T> {
    fn visit_payloads<V: PayloadVisitor>(&mut self, visitor: &mut V) -> Result<(), V::Error> {
        std::sync::Arc::make_mut(self).visit_payloads(visitor)
    }
}

impl<T: VisitPayloads> VisitPayloads for Vec<T> {
    fn visit_payloads<V: PayloadVisitor>(&mut self, visitor: &mut V) -> Result<(), V::Error> {
        self.iter_mut()
            .try_for_each(|value| value.visit_payloads(visitor))
    }
}

impl<K: Ord + 'static, T: VisitPayloads> VisitPayloads for BTreeMap<K, T> {
    fn visit_payloads<V: PayloadVisitor>(&mut self, visitor: &mut V) -> Result<(), V::Error> {
        self.values_mut()
            .try_for_each(|value| value.visit_payloads(visitor))
    }
}

macro_rules! with_payloads {
    ($($type:path { $($field:ident),* })*) => {$(
        impl VisitPayloads for $type {
            fn visit_payloads<V: PayloadVisitor>(&mut self, visitor: &mut V) -> Result<(), V::Error> {
                $(self.$field.visit_payloads(visitor)?;)*
                Ok(())
            }
        }
    )*};
}

with_payloads! {
    HistoryEvent { user_metadata, attributes }
    Command { user_metadata, attributes }
    SignalWorkflow { request }
    RequestCancelWorkflow { request }
    TerminateWorkflow { request }
    StartChildWorkflow { start }
    crate::schedule::StartScheduledWorkflow { start }
    crate::schedule::ScheduledWorkflowClosed { close_event }
    ChildWorkflowClosed { close_event }
    CompleteActivity { request }
    ActivityCompleted { workflow_task }
}

macro_rules! choices {
    ($type:ident { $($variant:ident),* } $($plain:ident),*) => {
        impl VisitPayloads for $type {
            fn visit_payloads<V: PayloadVisitor>(&mut self, visitor: &mut V) -> Result<(), V::Error> {
                match self {
                    $(Self::$variant(value) => value.visit_payloads(visitor),)*
                    $(Self::$plain => Ok(()),)*
                }
            }
        }
    };
}

choices! {
    Request {
        StartWorkflowExecution,
        SignalWithStartWorkflowExecution,
        SignalWorkflowExecution,
        RequestCancelWorkflowExecution,
        TerminateWorkflowExecution,
        DeleteWorkflowExecution,
        ResetWorkflowExecution,
        QueryWorkflow,
        UpdateWorkflowExecution,
        PollWorkflowExecutionUpdate,
        ExecuteMultiOperation,
        DescribeWorkflowExecution,
        GetWorkflowExecutionHistory,
        GetWorkflowExecutionHistoryReverse,
        ClaimWorkflowTask,
        ClaimActivityTask,
        RespondWorkflowTaskCompleted,
        RespondWorkflowTaskFailed,
        RespondQueryTaskCompleted,
        ResetStickyTaskQueue,
        RespondActivityTaskCompleted,
        RespondActivityTaskFailed,
        RespondActivityTaskCanceled,
        RecordActivityTaskHeartbeat,
        DetachActivity,
        RespondActivityTaskCompletedById,
        RespondActivityTaskFailedById,
        RespondActivityTaskCanceledById,
        RecordActivityTaskHeartbeatById,
        PauseActivity,
        UnpauseActivity,
        ResetActivity,
        UpdateActivityOptions,
        StartChildWorkflow,
        RecordChildWorkflowClosed,
        CreateSchedule,
        DescribeSchedule,
        UpdateSchedule,
        PatchSchedule,
        DeleteSchedule,
        ListScheduleMatchingTimes,
        StartScheduledWorkflow,
        RecordScheduledWorkflowClosed
    }
}

choices! {
    Response {
        StartWorkflowExecution,
        SignalWithStartWorkflowExecution,
        SignalWorkflowExecution,
        ResetWorkflowExecution,
        QueryWorkflow,
        UpdateWorkflowExecution,
        PollWorkflowExecutionUpdate,
        ExecuteMultiOperation,
        DescribeWorkflowExecution,
        GetWorkflowExecutionHistory,
        GetWorkflowExecutionHistoryReverse,
        WorkflowTask,
        ActivityTask,
        RespondWorkflowTaskCompleted,
        RespondActivityTaskCompleted,
        RecordActivityTaskHeartbeat,
        UpdateActivityOptions,
        CreateSchedule,
        DescribeSchedule,
        ListScheduleMatchingTimes
    } Done
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::{Header, Payloads};
    use crate::enums::TimeoutType;
    use crate::event::{
        ActivityTaskTimedOutEventAttributes, WorkflowExecutionStartedEventAttributes,
    };
    use crate::failure::{Failure, FailureFailureInfo, TimeoutFailureInfo};
    use crate::service::PollWorkflowTaskQueueResponse;

    struct Names(Vec<String>);

    impl PayloadVisitor for Names {
        type Error = std::convert::Infallible;

        fn payload(&mut self, payload: &mut Payload) -> Result<(), Self::Error> {
            self.0
                .push(String::from_utf8_lossy(&payload.data).into_owned());
            payload.data = "seen".into();
            Ok(())
        }

        fn enters(&self, message: &'static str) -> bool {
            message != "Header"
        }
    }

    fn payload(name: &str) -> Payload {
        Payload {
            data: name.to_owned().into(),
            ..Payload::default()
        }
    }

    fn payloads(name: &str) -> Option<Payloads> {
        Some(Payloads {
            payloads: vec![payload(name)],
        })
    }

    #[test]
    fn payloads_are_seen_wherever_they_lie_but_in_messages_that_are_left_out() {
        let started = WorkflowExecutionStartedEventAttributes {
            input: payloads("input"),
            header: Some(Header {
                fields: [("trace".to_owned(), payload("header"))].into(),
            }),
            ..Default::default()
        };
        let timed_out = ActivityTaskTimedOutEventAttributes {
            failure: Some(Failure {
                cause: Some(Box::new(Failure {
                    failure_info: Some(FailureFailureInfo::TimeoutFailureInfo(
                        TimeoutFailureInfo {
                            timeout_type: TimeoutType::Heartbeat,
                            last_heartbeat_details: payloads("details"),
                        },
                    )),
                    ..Failure::default()
                })),
                ..Failure::default()
            }),
            ..Default::default()
        };
        let events = [started.into(), timed_out.into()].map(|attributes| HistoryEvent {
            attributes: Some(attributes),
            ..HistoryEvent::default()
        });
        let mut response = Response::WorkflowTask(Box::new(PollWorkflowTaskQueueResponse {
            history: Some(crate::event::History {
                events: events.into(),
            }),
            ..Default::default()
        }));
        let mut names = Names(Vec::new());
        let Ok(()) = response.visit_payloads(&mut names);
        assert_eq!(names.0, ["input", "details"]);
        let mut again = Names(Vec::new());
        let Ok(()) = response.visit_payloads(&mut again);
        assert_eq!(again.0, ["seen", "seen"]);
    }

    #[test]
    fn payloads_in_bodies_of_messages_are_seen() {
        let request = update::Request {
            input: Some(update::Input {
                args: payloads("argument"),
                ..update::Input::default()
            }),
            ..update::Request::default()
        };
        let response = UpdateMessage::Response(update::Response {
            outcome: Some(update::Outcome {
                value: Some(update::OutcomeValue::Success(payloads("result").unwrap())),
            }),
            ..update::Response::default()
        });
        let mut bodies = vec![
            request.to_body(),
            response.into_body(),
            crate::wire::Any::default(),
        ];
        for expected in [["argument", "result"], ["seen", "seen"]] {
            let mut names = Names(Vec::new());
            let Ok(()) = bodies.visit_payloads(&mut names);
            assert_eq!(names.0, expected);
        }
    }
}
