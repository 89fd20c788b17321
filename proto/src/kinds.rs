//! Which attributes belong to which event type and command type, and the conversions of [`HistoryEvent`] and [`Command`].

use crate::command::*;
use crate::enums::{CommandType, EventType};
use crate::event::*;
use crate::pb;
use crate::wire::{Wire, WireError};

macro_rules! event_kinds {
    ($($kind:ident($attributes:ty),)*) => {
        impl HistoryEventAttributes {
            pub const fn event_type(&self) -> EventType {
                match self { $(Self::$kind(_) => EventType::$kind,)* }
            }
        }
        $(impl From<$attributes> for HistoryEventAttributes {
            fn from(attributes: $attributes) -> Self { Self::$kind(attributes.into()) }
        }
        impl From<std::sync::Arc<$attributes>> for HistoryEventAttributes {
            fn from(attributes: std::sync::Arc<$attributes>) -> Self { Self::$kind(attributes) }
        })*
    };
}

macro_rules! command_kinds {
    ($($kind:ident($attributes:ty),)*) => {
        impl CommandAttributes {
            pub const fn command_type(&self) -> CommandType {
                match self { $(Self::$kind(_) => CommandType::$kind,)* }
            }
        }
        $(impl From<$attributes> for CommandAttributes {
            fn from(attributes: $attributes) -> Self { Self::$kind(Box::new(attributes)) }
        })*
    };
}

event_kinds! {
    WorkflowExecutionStarted(WorkflowExecutionStartedEventAttributes),
    WorkflowExecutionCompleted(WorkflowExecutionCompletedEventAttributes),
    WorkflowExecutionFailed(WorkflowExecutionFailedEventAttributes),
    WorkflowExecutionTimedOut(WorkflowExecutionTimedOutEventAttributes),
    WorkflowTaskScheduled(WorkflowTaskScheduledEventAttributes),
    WorkflowTaskStarted(WorkflowTaskStartedEventAttributes),
    WorkflowTaskCompleted(WorkflowTaskCompletedEventAttributes),
    WorkflowTaskTimedOut(WorkflowTaskTimedOutEventAttributes),
    WorkflowTaskFailed(WorkflowTaskFailedEventAttributes),
    ActivityTaskScheduled(ActivityTaskScheduledEventAttributes),
    ActivityTaskStarted(ActivityTaskStartedEventAttributes),
    ActivityTaskCompleted(ActivityTaskCompletedEventAttributes),
    ActivityTaskFailed(ActivityTaskFailedEventAttributes),
    ActivityTaskTimedOut(ActivityTaskTimedOutEventAttributes),
    TimerStarted(TimerStartedEventAttributes),
    TimerFired(TimerFiredEventAttributes),
    ActivityTaskCancelRequested(ActivityTaskCancelRequestedEventAttributes),
    ActivityTaskCanceled(ActivityTaskCanceledEventAttributes),
    TimerCanceled(TimerCanceledEventAttributes),
    MarkerRecorded(MarkerRecordedEventAttributes),
    WorkflowExecutionSignaled(WorkflowExecutionSignaledEventAttributes),
    WorkflowExecutionTerminated(WorkflowExecutionTerminatedEventAttributes),
    WorkflowExecutionCancelRequested(WorkflowExecutionCancelRequestedEventAttributes),
    WorkflowExecutionCanceled(WorkflowExecutionCanceledEventAttributes),
    RequestCancelExternalWorkflowExecutionInitiated(RequestCancelExternalWorkflowExecutionInitiatedEventAttributes),
    RequestCancelExternalWorkflowExecutionFailed(RequestCancelExternalWorkflowExecutionFailedEventAttributes),
    ExternalWorkflowExecutionCancelRequested(ExternalWorkflowExecutionCancelRequestedEventAttributes),
    WorkflowExecutionContinuedAsNew(WorkflowExecutionContinuedAsNewEventAttributes),
    StartChildWorkflowExecutionInitiated(StartChildWorkflowExecutionInitiatedEventAttributes),
    StartChildWorkflowExecutionFailed(StartChildWorkflowExecutionFailedEventAttributes),
    ChildWorkflowExecutionStarted(ChildWorkflowExecutionStartedEventAttributes),
    ChildWorkflowExecutionCompleted(ChildWorkflowExecutionCompletedEventAttributes),
    ChildWorkflowExecutionFailed(ChildWorkflowExecutionFailedEventAttributes),
    ChildWorkflowExecutionCanceled(ChildWorkflowExecutionCanceledEventAttributes),
    ChildWorkflowExecutionTimedOut(ChildWorkflowExecutionTimedOutEventAttributes),
    ChildWorkflowExecutionTerminated(ChildWorkflowExecutionTerminatedEventAttributes),
    SignalExternalWorkflowExecutionInitiated(SignalExternalWorkflowExecutionInitiatedEventAttributes),
    SignalExternalWorkflowExecutionFailed(SignalExternalWorkflowExecutionFailedEventAttributes),
    ExternalWorkflowExecutionSignaled(ExternalWorkflowExecutionSignaledEventAttributes),
    UpsertWorkflowSearchAttributes(UpsertWorkflowSearchAttributesEventAttributes),
    WorkflowExecutionUpdateAccepted(WorkflowExecutionUpdateAcceptedEventAttributes),
    WorkflowExecutionUpdateRejected(WorkflowExecutionUpdateRejectedEventAttributes),
    WorkflowExecutionUpdateCompleted(WorkflowExecutionUpdateCompletedEventAttributes),
    WorkflowPropertiesModifiedExternally(WorkflowPropertiesModifiedExternallyEventAttributes),
    ActivityPropertiesModifiedExternally(ActivityPropertiesModifiedExternallyEventAttributes),
    WorkflowPropertiesModified(WorkflowPropertiesModifiedEventAttributes),
    WorkflowExecutionUpdateAdmitted(WorkflowExecutionUpdateAdmittedEventAttributes),
    NexusOperationScheduled(NexusOperationScheduledEventAttributes),
    NexusOperationStarted(NexusOperationStartedEventAttributes),
    NexusOperationCompleted(NexusOperationCompletedEventAttributes),
    NexusOperationFailed(NexusOperationFailedEventAttributes),
    NexusOperationCanceled(NexusOperationCanceledEventAttributes),
    NexusOperationTimedOut(NexusOperationTimedOutEventAttributes),
    NexusOperationCancelRequested(NexusOperationCancelRequestedEventAttributes),
    WorkflowExecutionOptionsUpdated(WorkflowExecutionOptionsUpdatedEventAttributes),
    NexusOperationCancelRequestCompleted(NexusOperationCancelRequestCompletedEventAttributes),
    NexusOperationCancelRequestFailed(NexusOperationCancelRequestFailedEventAttributes),
    WorkflowExecutionPaused(WorkflowExecutionPausedEventAttributes),
    WorkflowExecutionUnpaused(WorkflowExecutionUnpausedEventAttributes),
    WorkflowExecutionTimeSkippingTransitioned(WorkflowExecutionTimeSkippingTransitionedEventAttributes),
}

command_kinds! {
    ScheduleActivityTask(ScheduleActivityTaskCommandAttributes),
    StartTimer(StartTimerCommandAttributes),
    CompleteWorkflowExecution(CompleteWorkflowExecutionCommandAttributes),
    FailWorkflowExecution(FailWorkflowExecutionCommandAttributes),
    RequestCancelActivityTask(RequestCancelActivityTaskCommandAttributes),
    CancelTimer(CancelTimerCommandAttributes),
    CancelWorkflowExecution(CancelWorkflowExecutionCommandAttributes),
    RequestCancelExternalWorkflowExecution(RequestCancelExternalWorkflowExecutionCommandAttributes),
    RecordMarker(RecordMarkerCommandAttributes),
    ContinueAsNewWorkflowExecution(ContinueAsNewWorkflowExecutionCommandAttributes),
    StartChildWorkflowExecution(StartChildWorkflowExecutionCommandAttributes),
    SignalExternalWorkflowExecution(SignalExternalWorkflowExecutionCommandAttributes),
    UpsertWorkflowSearchAttributes(UpsertWorkflowSearchAttributesCommandAttributes),
    ProtocolMessage(ProtocolMessageCommandAttributes),
    ModifyWorkflowProperties(ModifyWorkflowPropertiesCommandAttributes),
    ScheduleNexusOperation(ScheduleNexusOperationCommandAttributes),
    RequestCancelNexusOperation(RequestCancelNexusOperationCommandAttributes),
}

impl HistoryEvent {
    /// The type that the attributes say; unspecified without any.
    pub fn event_type(&self) -> EventType {
        self.attributes
            .as_ref()
            .map_or(EventType::Unspecified, HistoryEventAttributes::event_type)
    }
}

impl Command {
    /// A command with the type of its attributes.
    pub fn new(attributes: impl Into<CommandAttributes>) -> Self {
        let attributes = attributes.into();
        Self {
            command_type: attributes.command_type(),
            attributes: Some(attributes),
            ..Self::default()
        }
    }
}

impl Wire<pb::history::v1::HistoryEvent> for HistoryEvent {
    fn from_wire(wire: pb::history::v1::HistoryEvent) -> Result<Self, WireError> {
        let event = Self {
            event_id: wire.event_id,
            event_time: Wire::from_wire(wire.event_time)
                .map_err(|error: WireError| error.within("event_time"))?,
            version: wire.version,
            task_id: wire.task_id,
            worker_may_ignore: wire.worker_may_ignore,
            user_metadata: Wire::from_wire(wire.user_metadata)?,
            links: Wire::from_wire(wire.links)?,
            principal: Wire::from_wire(wire.principal)?,
            event_group_markers: Wire::from_wire(wire.event_group_markers)?,
            attributes: Wire::from_wire(wire.attributes)
                .map_err(|error: WireError| error.within("attributes"))?,
        };
        if event.event_type().into_wire() != wire.event_type {
            let text = format!(
                "{} does not fit attributes of {:?}",
                wire.event_type,
                event.event_type()
            );
            return Err(WireError::new(text).within("event_type"));
        }
        Ok(event)
    }

    fn into_wire(self) -> pb::history::v1::HistoryEvent {
        pb::history::v1::HistoryEvent {
            event_type: self.event_type().into_wire(),
            event_id: self.event_id,
            event_time: self.event_time.into_wire(),
            version: self.version,
            task_id: self.task_id,
            worker_may_ignore: self.worker_may_ignore,
            user_metadata: self.user_metadata.into_wire(),
            links: self.links.into_wire(),
            principal: self.principal.into_wire(),
            event_group_markers: self.event_group_markers.into_wire(),
            attributes: self.attributes.into_wire(),
        }
    }
}

impl Wire<pb::command::v1::Command> for Command {
    fn from_wire(mut wire: pb::command::v1::Command) -> Result<Self, WireError> {
        // A negative duration is workflow code's mistake: it fails the workflow task, not the call.
        let negative_duration = wire
            .attributes
            .as_mut()
            .and_then(take_negative_duration)
            .unwrap_or_default()
            .to_owned();
        Ok(Self {
            command_type: Wire::from_wire(wire.command_type)
                .map_err(|error: WireError| error.within("command_type"))?,
            user_metadata: Wire::from_wire(wire.user_metadata)?,
            event_group_markers: Wire::from_wire(wire.event_group_markers)?,
            attributes: Wire::from_wire(wire.attributes)
                .map_err(|error: WireError| error.within("attributes"))?,
            negative_duration,
        })
    }

    fn into_wire(self) -> pb::command::v1::Command {
        pb::command::v1::Command {
            command_type: self.command_type.into_wire(),
            user_metadata: self.user_metadata.into_wire(),
            event_group_markers: self.event_group_markers.into_wire(),
            attributes: self.attributes.into_wire(),
        }
    }
}

/// Takes negative durations out of a command's attributes; gives the name of the first.
fn take_negative_duration(
    attributes: &mut pb::command::v1::command::Attributes,
) -> Option<&'static str> {
    use pb::command::v1::command::Attributes as A;
    type Field<'f> = (&'static str, &'f mut Option<prost_wkt_types::Duration>);
    fn of_policy(policy: &mut Option<pb::common::v1::RetryPolicy>) -> Vec<Field<'_>> {
        policy.as_mut().map_or_else(Vec::new, |policy| {
            vec![
                ("InitialInterval", &mut policy.initial_interval),
                ("MaximumInterval", &mut policy.maximum_interval),
            ]
        })
    }
    let mut fields: Vec<Field<'_>> = match attributes {
        A::ScheduleActivityTaskCommandAttributes(a) => vec![
            ("ScheduleToCloseTimeout", &mut a.schedule_to_close_timeout),
            ("ScheduleToStartTimeout", &mut a.schedule_to_start_timeout),
            ("StartToCloseTimeout", &mut a.start_to_close_timeout),
            ("HeartbeatTimeout", &mut a.heartbeat_timeout),
        ]
        .into_iter()
        .chain(of_policy(&mut a.retry_policy))
        .collect(),
        A::StartTimerCommandAttributes(a) => {
            vec![("StartToFireTimeout", &mut a.start_to_fire_timeout)]
        }
        A::ContinueAsNewWorkflowExecutionCommandAttributes(a) => vec![
            ("WorkflowRunTimeout", &mut a.workflow_run_timeout),
            ("WorkflowTaskTimeout", &mut a.workflow_task_timeout),
            ("BackoffStartInterval", &mut a.backoff_start_interval),
        ]
        .into_iter()
        .chain(of_policy(&mut a.retry_policy))
        .collect(),
        A::StartChildWorkflowExecutionCommandAttributes(a) => vec![
            (
                "WorkflowExecutionTimeout",
                &mut a.workflow_execution_timeout,
            ),
            ("WorkflowRunTimeout", &mut a.workflow_run_timeout),
            ("WorkflowTaskTimeout", &mut a.workflow_task_timeout),
        ]
        .into_iter()
        .chain(of_policy(&mut a.retry_policy))
        .collect(),
        A::ScheduleNexusOperationCommandAttributes(a) => vec![
            ("ScheduleToCloseTimeout", &mut a.schedule_to_close_timeout),
            ("ScheduleToStartTimeout", &mut a.schedule_to_start_timeout),
            ("StartToCloseTimeout", &mut a.start_to_close_timeout),
        ],
        _ => Vec::new(),
    };
    let mut first = None;
    for (name, field) in &mut fields {
        let is_negative =
            |length: &prost_wkt_types::Duration| length.seconds < 0 || length.nanos < 0;
        if field.as_ref().is_some_and(is_negative) {
            **field = None;
            first.get_or_insert(*name);
        }
    }
    first
}
