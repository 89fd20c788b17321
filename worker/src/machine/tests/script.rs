//! Writes histories as an engine would, and runs code against them live and as a replay.

use std::sync::Arc;
use std::time::Duration;

use fermata_proto::any::UpdateMessage;
use fermata_proto::command::{Command, CommandAttributes};
use fermata_proto::common::{ActivityType, Payloads, WorkflowExecution, WorkflowType};
use fermata_proto::event::*;
use fermata_proto::failure::Failure;
use fermata_proto::protocol::{Message, MessageSequencingId};
use fermata_proto::taskqueue::TaskQueue;
use fermata_proto::time::Timestamp;
use fermata_proto::update::{Meta, OutcomeValue, Request};
use futures::future::{FutureExt, LocalBoxFuture};
use serde::Serialize;

use crate::error::{ApplicationError, WorkflowResult};
use crate::machine::{
    Definition, Ended, LocalActivityEnd, LocalActivityResult, LocalActivityTask, Machine, RunName,
    TaskFailure, update_input,
};
use crate::payload::to_payloads;
use crate::workflow::WorkflowContext;

pub const SECOND: Duration = Duration::from_secs(1);

/// A run that is worked on live, by a cached machine, while its history is written down.
pub struct Script {
    definition: Definition,
    machine: Machine,
    /// All of history.
    pub events: Vec<HistoryEvent>,
    /// What the machine has not been fed yet.
    unseen: usize,
    commands: Vec<Vec<Command>>,
    /// Updates that come with the next task.
    updates: Vec<Message>,
    /// Those that came with each task, and what was said about them.
    brought: Vec<Vec<Message>>,
    pub said: Vec<Message>,
}

/// Workflow code without arguments.
pub fn code<F, Fut, R>(function: F) -> Definition
where
    F: Fn(WorkflowContext) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = WorkflowResult<R>> + 'static,
    R: Serialize + 'static,
{
    Arc::new(move |ctx, _| -> LocalBoxFuture<'static, Ended> {
        let running = function(ctx);
        async move { Ok(to_payloads(&running.await?).unwrap()) }.boxed_local()
    })
}

pub fn request(update_id: &str, name: &str, argument: &(impl Serialize + 'static)) -> Request {
    Request {
        meta: Some(Meta {
            update_id: update_id.to_owned(),
            identity: "caller".to_owned(),
        }),
        input: Some(update_input(
            name.to_owned(),
            to_payloads(argument).unwrap(),
        )),
        ..Request::default()
    }
}

pub fn machine(definition: Definition) -> Machine {
    let name = RunName {
        namespace: "default".to_owned(),
        workflow_id: "w".to_owned(),
        run_id: "r".to_owned(),
    };
    Machine::new(name, definition)
}

impl Script {
    /// A started workflow, before its first task.
    pub fn of(definition: Definition) -> Self {
        let mut script = Self {
            machine: machine(definition.clone()),
            definition,
            events: Vec::new(),
            unseen: 0,
            commands: Vec::new(),
            updates: Vec::new(),
            brought: Vec::new(),
            said: Vec::new(),
        };
        script.event(WorkflowExecutionStartedEventAttributes {
            workflow_type: Some(WorkflowType {
                name: "test".to_owned(),
            }),
            task_queue: Some(TaskQueue {
                name: "queue".to_owned(),
                ..TaskQueue::default()
            }),
            original_execution_run_id: "r".to_owned(),
            attempt: 1,
            ..WorkflowExecutionStartedEventAttributes::default()
        });
        script
    }

    pub fn event(&mut self, attributes: impl Into<HistoryEventAttributes>) -> i64 {
        let event_id = i64::try_from(self.events.len()).unwrap() + 1;
        self.events.push(HistoryEvent {
            event_id,
            event_time: Some(Timestamp::from_millis(event_id * 1_000)),
            attributes: Some(attributes.into()),
            ..HistoryEvent::default()
        });
        event_id
    }

    /// Schedules and starts a workflow task, and has it worked on.
    pub fn try_task(&mut self) -> Result<Vec<Command>, TaskFailure> {
        self.event(WorkflowTaskScheduledEventAttributes::default());
        let started = self.event(WorkflowTaskStartedEventAttributes::default());
        let brought = std::mem::take(&mut self.updates);
        self.machine.bring(&brought)?;
        let commands = self.machine.advance(&self.events[self.unseen..], started)?;
        self.unseen = self.events.len();
        self.said = self.machine.take_messages();
        self.brought.push(brought);
        self.complete(&commands);
        self.commands.push(commands.clone());
        Ok(commands)
    }

    /// An update that comes with the next task.
    pub fn update(&mut self, update_id: &str, name: &str, argument: &(impl Serialize + 'static)) {
        let request = request(update_id, name, argument);
        self.updates.push(Message {
            id: format!("{update_id}/request"),
            protocol_instance_id: update_id.to_owned(),
            sequencing_id: Some(MessageSequencingId::EventId(
                i64::try_from(self.events.len()).unwrap() + 1,
            )),
            body: Some(request.to_body()),
        });
    }

    /// The task that comes next does nothing but refuse updates: it leaves no trace in history.
    pub fn vanishing_task(&mut self) {
        let before = self.events.len();
        self.event(WorkflowTaskScheduledEventAttributes::default());
        let started = self.event(WorkflowTaskStartedEventAttributes::default());
        self.machine
            .bring(&std::mem::take(&mut self.updates))
            .unwrap();
        let commands = self
            .machine
            .advance(&self.events[self.unseen..], started)
            .unwrap();
        assert!(commands.is_empty());
        self.said = self.machine.take_messages();
        self.events.truncate(before);
        self.machine.rewind(started);
    }

    /// What was said in the last task, in short: `accept`, `reject` with its reason, `complete` with its outcome.
    pub fn heard(&self) -> Vec<String> {
        let said = self.said.iter().map(|message| {
            let body = message.body.as_ref().unwrap();
            let id = &message.protocol_instance_id;
            match UpdateMessage::from_body(body).unwrap().unwrap() {
                UpdateMessage::Acceptance(_) => format!("accept {id}"),
                UpdateMessage::Rejection(rejection) => {
                    format!("reject {id}: {}", rejection.failure.unwrap().message)
                }
                UpdateMessage::Response(response) => {
                    match response.outcome.unwrap().value.unwrap() {
                        OutcomeValue::Success(result) => {
                            let data = result.payloads.first().map(|p| p.data.clone());
                            let data = data.unwrap_or_default();
                            format!("complete {id}: {}", String::from_utf8_lossy(&data))
                        }
                        OutcomeValue::Failure(failure) => format!("fail {id}: {}", failure.message),
                    }
                }
            }
        });
        said.collect()
    }

    /// As [`Self::task`]; local activities end as `run` says, one after the other, until none is open. What `run` gives
    /// nothing for is still at work when the task ends.
    pub fn task_with(
        &mut self,
        mut run: impl FnMut(&LocalActivityTask) -> Option<LocalActivityResult>,
    ) -> Vec<Command> {
        self.event(WorkflowTaskScheduledEventAttributes::default());
        let started = self.event(WorkflowTaskStartedEventAttributes::default());
        self.machine
            .feed(&self.events[self.unseen..], started)
            .unwrap();
        self.unseen = self.events.len();
        loop {
            let tasks = self.machine.local_activities_to_start();
            if tasks.is_empty() {
                break;
            }
            let ends = tasks.iter().filter_map(|task| {
                Some(LocalActivityEnd {
                    sequence: task.sequence,
                    attempt: task.activity.attempt,
                    elapsed: SECOND / 2,
                    result: run(task)?,
                })
            });
            let ends = ends.collect();
            self.machine.end_local_activities(ends).unwrap();
        }
        let commands = self.machine.finish_task();
        self.brought.push(Vec::new());
        self.complete(&commands);
        self.commands.push(commands.clone());
        commands
    }

    /// Between two tasks, or within one that is still open: a local activity that was at work has ended.
    pub fn end_local(&mut self, sequence: u64, result: LocalActivityResult) {
        self.machine
            .end_local_activities(vec![LocalActivityEnd {
                sequence,
                attempt: 1,
                elapsed: SECOND,
                result,
            }])
            .unwrap();
    }

    /// Starts a task and leaves it open.
    pub fn begin_task(&mut self) {
        self.event(WorkflowTaskScheduledEventAttributes::default());
        let started = self.event(WorkflowTaskStartedEventAttributes::default());
        self.machine
            .feed(&self.events[self.unseen..], started)
            .unwrap();
        self.unseen = self.events.len();
    }

    /// Completes the task that [`Self::begin_task`] started.
    pub fn finish_task(&mut self) -> Vec<Command> {
        let commands = self.machine.finish_task();
        self.brought.push(Vec::new());
        self.complete(&commands);
        self.commands.push(commands.clone());
        commands
    }

    pub fn machine(&mut self) -> &mut Machine {
        &mut self.machine
    }

    pub fn task(&mut self) -> Vec<Command> {
        self.try_task().unwrap()
    }

    pub fn query(&self, name: &str) -> Result<Option<Payloads>, Box<Failure>> {
        self.machine.query(&fermata_proto::query::WorkflowQuery {
            query_type: name.to_owned(),
            ..Default::default()
        })
    }

    /// Replays history from its first event, each task of it: the commands must be those of the live run.
    pub fn check_replay(&self) {
        self.check_replay_of(self.definition.clone()).unwrap();
    }

    pub fn check_replay_of(&self, definition: Definition) -> Result<(), TaskFailure> {
        let mut task = 0;
        for (index, event) in self.events.iter().enumerate() {
            if let Some(HistoryEventAttributes::WorkflowTaskStarted(_)) = &event.attributes {
                if let Some(HistoryEventAttributes::WorkflowTaskFailed(_)) = self
                    .events
                    .get(index + 1)
                    .and_then(|next| next.attributes.as_ref())
                {
                    continue;
                }
                let mut machine = machine(definition.clone());
                if let Some(brought) = self.brought.get(task) {
                    machine.bring(brought)?;
                }
                let commands = machine.advance(&self.events[..=index], event.event_id)?;
                // Ends of local activities come to a live task from the worker only.
                let is_local = |command: &Command| short(command).ends_with("core_local_activity");
                if !self.commands[task].iter().any(is_local) {
                    assert_eq!(commands, self.commands[task], "replayed task {task}");
                }
                task += 1;
            }
        }
        // As for a query: everything there is.
        let mut machine = machine(definition);
        machine.advance(&self.events, 0)?;
        for (task, commands) in machine.replayed.iter().enumerate() {
            assert_eq!(*commands, self.commands[task], "replayed task {task}");
        }
        Ok(())
    }

    /// What the engine writes for an acceptance or a response.
    fn update_event(&self, message_id: &str) -> HistoryEventAttributes {
        let said = self.said.iter().find(|said| said.id == message_id).unwrap();
        let update_id = said.protocol_instance_id.clone();
        match UpdateMessage::from_body(said.body.as_ref().unwrap()).unwrap() {
            Some(UpdateMessage::Acceptance(acceptance)) => {
                let brought = self.brought.last().unwrap().iter();
                let mut brought = brought.filter(|m| m.protocol_instance_id == update_id);
                let body = brought.next().and_then(|message| message.body.as_ref());
                WorkflowExecutionUpdateAcceptedEventAttributes {
                    accepted_request: body.map(|body| Request::from_body(body).unwrap()),
                    accepted_request_message_id: acceptance.accepted_request_message_id,
                    accepted_request_sequencing_event_id: acceptance
                        .accepted_request_sequencing_event_id,
                    protocol_instance_id: update_id,
                }
                .into()
            }
            Some(UpdateMessage::Response(response)) => {
                WorkflowExecutionUpdateCompletedEventAttributes {
                    meta: response.meta,
                    outcome: response.outcome,
                    ..Default::default()
                }
                .into()
            }
            other => panic!("{other:?} is no event"),
        }
    }

    /// What the engine writes for commands.
    fn complete(&mut self, commands: &[Command]) {
        use CommandAttributes as C;
        self.event(WorkflowTaskCompletedEventAttributes::default());
        for command in commands {
            let attributes: HistoryEventAttributes = match command.attributes.clone().unwrap() {
                C::ProtocolMessage(a) => self.update_event(&a.message_id),
                C::ScheduleActivityTask(a) => ActivityTaskScheduledEventAttributes {
                    activity_id: a.activity_id,
                    activity_type: a.activity_type,
                    ..Default::default()
                }
                .into(),
                C::RequestCancelActivityTask(a) => ActivityTaskCancelRequestedEventAttributes {
                    scheduled_event_id: a.scheduled_event_id,
                    ..Default::default()
                }
                .into(),
                C::StartTimer(a) => TimerStartedEventAttributes {
                    timer_id: a.timer_id,
                    start_to_fire_timeout: a.start_to_fire_timeout,
                    ..Default::default()
                }
                .into(),
                C::CancelTimer(a) => TimerCanceledEventAttributes {
                    timer_id: a.timer_id,
                    ..Default::default()
                }
                .into(),
                C::StartChildWorkflowExecution(a) => {
                    StartChildWorkflowExecutionInitiatedEventAttributes {
                        workflow_id: a.workflow_id,
                        workflow_type: a.workflow_type,
                        ..Default::default()
                    }
                    .into()
                }
                C::SignalExternalWorkflowExecution(a) => {
                    SignalExternalWorkflowExecutionInitiatedEventAttributes {
                        workflow_execution: a.execution,
                        signal_name: a.signal_name,
                        ..Default::default()
                    }
                    .into()
                }
                C::RequestCancelExternalWorkflowExecution(a) => {
                    RequestCancelExternalWorkflowExecutionInitiatedEventAttributes {
                        workflow_execution: Some(WorkflowExecution {
                            workflow_id: a.workflow_id,
                            run_id: a.run_id,
                        }),
                        ..Default::default()
                    }
                    .into()
                }
                C::RecordMarker(a) => MarkerRecordedEventAttributes {
                    marker_name: a.marker_name,
                    details: a.details,
                    failure: a.failure,
                    ..Default::default()
                }
                .into(),
                C::ModifyWorkflowProperties(_) => {
                    WorkflowPropertiesModifiedEventAttributes::default().into()
                }
                C::UpsertWorkflowSearchAttributes(a) => {
                    UpsertWorkflowSearchAttributesEventAttributes {
                        search_attributes: a.search_attributes,
                        ..Default::default()
                    }
                    .into()
                }
                C::CompleteWorkflowExecution(_) => {
                    WorkflowExecutionCompletedEventAttributes::default().into()
                }
                C::FailWorkflowExecution(_) => {
                    WorkflowExecutionFailedEventAttributes::default().into()
                }
                C::CancelWorkflowExecution(_) => {
                    WorkflowExecutionCanceledEventAttributes::default().into()
                }
                C::ContinueAsNewWorkflowExecution(_) => {
                    WorkflowExecutionContinuedAsNewEventAttributes::default().into()
                }
                other => panic!("no event for {other:?}"),
            };
            self.event(attributes);
        }
    }

    /// The event of the nth activity, timer, child or external command, from 0.
    pub fn find(&self, wanted: fn(&HistoryEventAttributes) -> bool, nth: usize) -> i64 {
        self.events
            .iter()
            .filter(|event| event.attributes.as_ref().is_some_and(wanted))
            .nth(nth)
            .expect("there is such an event")
            .event_id
    }

    fn scheduled(&self, nth: usize) -> i64 {
        self.find(
            |a| matches!(a, HistoryEventAttributes::ActivityTaskScheduled(_)),
            nth,
        )
    }

    pub fn complete_activity<T: Serialize + 'static>(&mut self, nth: usize, result: &T) {
        let scheduled_event_id = self.scheduled(nth);
        let started_event_id = self.event(ActivityTaskStartedEventAttributes {
            scheduled_event_id,
            ..Default::default()
        });
        self.event(ActivityTaskCompletedEventAttributes {
            result: to_payloads(result).unwrap(),
            scheduled_event_id,
            started_event_id,
            ..Default::default()
        });
    }

    pub fn fail_activity(&mut self, nth: usize, error_type: &str) {
        let scheduled_event_id = self.scheduled(nth);
        let failure = ApplicationError::new("broken").with_type(error_type);
        self.event(ActivityTaskFailedEventAttributes {
            failure: Some(failure.into_failure()),
            scheduled_event_id,
            ..Default::default()
        });
    }

    pub fn activity_canceled(&mut self, nth: usize) {
        let scheduled_event_id = self.scheduled(nth);
        self.event(ActivityTaskCanceledEventAttributes {
            scheduled_event_id,
            ..Default::default()
        });
    }

    pub fn fire_timer(&mut self, timer_id: &str) {
        self.event(TimerFiredEventAttributes {
            timer_id: timer_id.to_owned(),
            ..Default::default()
        });
    }

    pub fn signal<T: Serialize + 'static>(&mut self, name: &str, input: &T) {
        self.event(WorkflowExecutionSignaledEventAttributes {
            signal_name: name.to_owned(),
            input: to_payloads(input).unwrap(),
            ..Default::default()
        });
    }

    pub fn request_cancel(&mut self) {
        self.event(WorkflowExecutionCancelRequestedEventAttributes {
            cause: "enough".to_owned(),
            ..Default::default()
        });
    }
}

/// `ScheduleActivityTask charge`, `StartTimer 1`: a command in short.
pub fn short(command: &Command) -> String {
    use CommandAttributes as C;
    let kind = format!("{:?}", command.command_type);
    let what = match command.attributes.as_ref().unwrap() {
        C::ScheduleActivityTask(a) => a.activity_type.clone().unwrap_or_default().name,
        C::RequestCancelActivityTask(a) => a.scheduled_event_id.to_string(),
        C::StartTimer(a) => a.timer_id.clone(),
        C::RecordMarker(a) => a.marker_name.clone(),
        C::CancelTimer(a) => a.timer_id.clone(),
        C::StartChildWorkflowExecution(a) => a.workflow_id.clone(),
        C::SignalExternalWorkflowExecution(a) => a.signal_name.clone(),
        C::RequestCancelExternalWorkflowExecution(a) => a.workflow_id.clone(),
        C::CompleteWorkflowExecution(a) => a
            .result
            .as_ref()
            .map(|result| String::from_utf8_lossy(&result.payloads[0].data).into_owned())
            .unwrap_or_default(),
        C::FailWorkflowExecution(a) => a.failure.clone().unwrap_or_default().message,
        C::ProtocolMessage(a) => a.message_id.clone(),
        _ => String::new(),
    };
    format!("{kind} {what}").trim_end().to_owned()
}

pub fn shorts(commands: &[Command]) -> Vec<String> {
    commands.iter().map(short).collect()
}

/// An activity type, for events that no code asked for.
pub fn activity_type(name: &str) -> Option<ActivityType> {
    Some(ActivityType {
        name: name.to_owned(),
    })
}
