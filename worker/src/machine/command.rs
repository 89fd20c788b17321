//! Commands on their way: asked for by code, sent when the workflow task completes, then met again as events of history.
//!
//! | the workflow asks | history shows | |
//! |---|---|---|
//! | a command | the event of that command | they match: the step is bound to the event id |
//! | a command | another command's event, or the next workflow task | [`NonDeterminism`] |
//! | nothing | a command's event | [`NonDeterminism`] |
//!
//! Commands meet their events in order. What is asked for and taken back within one workflow task is never sent.

use std::collections::VecDeque;
use std::fmt;

use fermata_proto::command::{Command, CommandAttributes, RecordMarkerCommandAttributes};
use fermata_proto::enums::CommandType;
use fermata_proto::event::{HistoryEvent, HistoryEventAttributes};

use super::slot::Sequence;
use super::{marker, update};

/// A command as its event will show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Expected {
    pub sequence: Sequence,
    pub kind: CommandType,
    /// The activity id, timer id, or workflow id.
    pub id: String,
    /// The activity, workflow or signal type.
    pub name: String,
}

/// The workflow code does not do what history says it did.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NonDeterminism {
    #[error(
        "history event {event_id} is {event}, but replaying the workflow code asks for {command} here"
    )]
    Different {
        event_id: i64,
        event: String,
        command: String,
    },
    #[error(
        "history event {event_id} is {event}, but replaying the workflow code asks for nothing more here"
    )]
    Missing { event_id: i64, event: String },
    #[error(
        "replaying the workflow code asks for {command}, but history goes on without it at event {event_id}"
    )]
    Extra { event_id: i64, command: String },
    #[error("history event {event_id} is {event}, which nothing in the workflow code waits for")]
    Unknown { event_id: i64, event: String },
}

impl NonDeterminism {
    /// The event of history at which the code went another way.
    pub fn event_id(&self) -> i64 {
        match self {
            Self::Different { event_id, .. }
            | Self::Missing { event_id, .. }
            | Self::Extra { event_id, .. }
            | Self::Unknown { event_id, .. } => *event_id,
        }
    }

    /// What history shows at [`Self::event_id`]; none if history goes on without what the code asks for.
    pub fn event(&self) -> Option<&str> {
        match self {
            Self::Different { event, .. }
            | Self::Missing { event, .. }
            | Self::Unknown { event, .. } => Some(event),
            Self::Extra { .. } => None,
        }
    }

    /// What the code asks for instead; none if it asks for nothing.
    pub fn command(&self) -> Option<&str> {
        match self {
            Self::Different { command, .. } | Self::Extra { command, .. } => Some(command),
            Self::Missing { .. } | Self::Unknown { .. } => None,
        }
    }

    /// What its author can do about it.
    pub fn advice(&self) -> &'static str {
        "if the code was changed, put the old way back and the new one behind ctx.patched(\"...\"), or let the old \
         code finish its runs; if it was not, look for what differs between two runs of it: clocks, random numbers, the \
         order of a hash map, I/O outside of activities"
    }
}

#[derive(Default)]
pub(crate) struct Commands {
    /// Asked for in this workflow task.
    asked: Vec<(Expected, Command)>,
    /// Asked for in the task before, not yet met in history.
    awaited: VecDeque<Expected>,
}

impl Commands {
    pub fn push(&mut self, sequence: Sequence, attributes: impl Into<CommandAttributes>) {
        let command = Command::new(attributes);
        self.asked.push((expected(sequence, &command), command));
    }

    /// As [`Self::push`], for a marker whose id is known: it need not be read out of the details.
    pub fn push_marker(
        &mut self,
        sequence: Sequence,
        id: String,
        attributes: RecordMarkerCommandAttributes,
    ) {
        let expected = Expected {
            sequence,
            kind: CommandType::RecordMarker,
            id,
            name: attributes.marker_name.clone(),
        };
        self.push_as(expected, Command::new(attributes));
    }

    /// As [`Self::push`], for a command that does not tell by itself how its event will show it.
    pub fn push_as(&mut self, expected: Expected, command: Command) {
        self.asked.push((expected, command));
    }

    /// Whether the next event must be the marker of this id.
    pub fn awaits_marker(&self, id: &str) -> bool {
        self.awaited
            .front()
            .is_some_and(|next| next.kind == CommandType::RecordMarker && next.id == id)
    }

    /// Whether anything but markers was asked for in this workflow task.
    pub fn has_more_than_markers(&self) -> bool {
        self.asked
            .iter()
            .any(|(asked, _)| asked.kind != CommandType::RecordMarker)
    }

    /// Takes back what was asked for and not sent. False if there is no such command.
    pub fn retract(&mut self, sequence: Sequence) -> bool {
        let before = self.asked.len();
        self.asked.retain(|(asked, _)| asked.sequence != sequence);
        self.asked.len() < before
    }

    /// The workflow task ends: what it asked for is what history must show next.
    pub fn send(&mut self) -> Vec<Command> {
        let asked = std::mem::take(&mut self.asked);
        self.awaited.reserve(asked.len());
        asked
            .into_iter()
            .map(|(expected, command)| {
                self.awaited.push_back(expected);
                command
            })
            .collect()
    }

    /// The command that a command's event answers.
    pub fn meet(
        &mut self,
        event: &HistoryEvent,
        shown: &Shown<'_>,
    ) -> Result<Sequence, NonDeterminism> {
        let Some(expected) = self.awaited.pop_front() else {
            return Err(NonDeterminism::Missing {
                event_id: event.event_id,
                event: shown.to_string(),
            });
        };
        if expected.kind == shown.kind && expected.id == shown.id && expected.name == shown.name {
            return Ok(expected.sequence);
        }
        Err(NonDeterminism::Different {
            event_id: event.event_id,
            event: shown.to_string(),
            command: expected.to_string(),
        })
    }

    /// Nothing may be left when the next workflow task of history begins.
    pub fn check_all_met(&self, event_id: i64) -> Result<(), NonDeterminism> {
        match self.awaited.front() {
            None => Ok(()),
            Some(expected) => Err(NonDeterminism::Extra {
                event_id,
                command: expected.to_string(),
            }),
        }
    }
}

/// What a command's event shows of the command.
pub(crate) struct Shown<'a> {
    pub kind: CommandType,
    pub id: &'a str,
    pub name: &'a str,
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(f, self.kind, &self.id, &self.name)
    }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(f, self.kind, self.id, self.name)
    }
}

fn write(f: &mut fmt::Formatter<'_>, kind: CommandType, id: &str, name: &str) -> fmt::Result {
    write!(f, "{kind:?}")?;
    match (id, name) {
        ("", "") => Ok(()),
        (id, "") => write!(f, " ({id:?})"),
        ("", name) => write!(f, " ({name})"),
        (id, name) => write!(f, " ({name}, id {id:?})"),
    }
}

fn expected(sequence: Sequence, command: &Command) -> Expected {
    use CommandAttributes as A;
    let text = str::to_owned;
    let (id, name) = match command.attributes.as_ref() {
        Some(A::ScheduleActivityTask(a)) => (
            a.activity_id.clone(),
            a.activity_type
                .as_ref()
                .map(|t| t.name.clone())
                .unwrap_or_default(),
        ),
        Some(A::StartTimer(a)) => (a.timer_id.clone(), String::new()),
        Some(A::CancelTimer(a)) => (a.timer_id.clone(), String::new()),
        // The event names the activity by its scheduled event, as the command does.
        Some(A::RequestCancelActivityTask(a)) => (a.scheduled_event_id.to_string(), String::new()),
        Some(A::StartChildWorkflowExecution(a)) => (
            a.workflow_id.clone(),
            a.workflow_type
                .as_ref()
                .map(|t| t.name.clone())
                .unwrap_or_default(),
        ),
        Some(A::SignalExternalWorkflowExecution(a)) => (
            a.execution
                .as_ref()
                .map(|e| e.workflow_id.clone())
                .unwrap_or_default(),
            a.signal_name.clone(),
        ),
        Some(A::RequestCancelExternalWorkflowExecution(a)) => {
            (a.workflow_id.clone(), String::new())
        }
        Some(A::RecordMarker(a)) => (
            marker::id_of(&a.marker_name, &a.details),
            a.marker_name.clone(),
        ),
        _ => (text(""), text("")),
    };
    Expected {
        sequence,
        kind: command.command_type,
        id,
        name,
    }
}

/// What `event` shows of a command; none if no command makes such events. `scratch` holds text that has to be made up.
pub(crate) fn shown<'a>(event: &'a HistoryEvent, scratch: &'a mut String) -> Option<Shown<'a>> {
    use CommandType as C;
    use HistoryEventAttributes as A;
    let (kind, id, name): (C, &str, &str) = match event.attributes.as_ref()? {
        A::ActivityTaskScheduled(a) => (
            C::ScheduleActivityTask,
            &a.activity_id,
            a.activity_type.as_ref().map_or("", |t| &t.name),
        ),
        A::ActivityTaskCancelRequested(a) => {
            *scratch = a.scheduled_event_id.to_string();
            (C::RequestCancelActivityTask, scratch, "")
        }
        A::TimerStarted(a) => (C::StartTimer, &a.timer_id, ""),
        A::TimerCanceled(a) => (C::CancelTimer, &a.timer_id, ""),
        A::StartChildWorkflowExecutionInitiated(a) => (
            C::StartChildWorkflowExecution,
            &a.workflow_id,
            a.workflow_type.as_ref().map_or("", |t| &t.name),
        ),
        A::SignalExternalWorkflowExecutionInitiated(a) => (
            C::SignalExternalWorkflowExecution,
            a.workflow_execution.as_ref().map_or("", |e| &e.workflow_id),
            &a.signal_name,
        ),
        A::RequestCancelExternalWorkflowExecutionInitiated(a) => (
            C::RequestCancelExternalWorkflowExecution,
            a.workflow_execution.as_ref().map_or("", |e| &e.workflow_id),
            "",
        ),
        A::MarkerRecorded(a) => {
            *scratch = marker::id_of(&a.marker_name, &a.details);
            (C::RecordMarker, scratch, &a.marker_name)
        }
        A::WorkflowExecutionUpdateAccepted(a) => (
            C::ProtocolMessage,
            &a.protocol_instance_id,
            update::ACCEPTED,
        ),
        A::WorkflowExecutionUpdateCompleted(a) => (
            C::ProtocolMessage,
            a.meta.as_ref().map_or("", |meta| &meta.update_id),
            update::COMPLETED,
        ),
        A::UpsertWorkflowSearchAttributes(_) => (C::UpsertWorkflowSearchAttributes, "", ""),
        A::WorkflowPropertiesModified(_) => (C::ModifyWorkflowProperties, "", ""),
        A::WorkflowExecutionCompleted(_) => (C::CompleteWorkflowExecution, "", ""),
        A::WorkflowExecutionFailed(_) => (C::FailWorkflowExecution, "", ""),
        A::WorkflowExecutionCanceled(_) => (C::CancelWorkflowExecution, "", ""),
        A::WorkflowExecutionContinuedAsNew(_) => (C::ContinueAsNewWorkflowExecution, "", ""),
        _ => return None,
    };
    Some(Shown { kind, id, name })
}
