//! Updates that a run receives: validated, accepted, worked on by a handler of their own, answered.
//!
//! | | live | replay |
//! |---|---|---|
//! | comes | with the workflow task, as a message, or as an UpdateAdmitted event of a reset | as the UpdateAccepted event of the task |
//! | validator | may refuse; a refusal is a message that leaves no trace in history | not asked: only what was accepted is there |
//! | acceptance, response | a message, and a command that gives it its place among the others | the command meets its event |
//!
//! Updates are handed out when a workflow task starts, behind the signals, in the order in which they came; one without a
//! handler waits for the code to register it, at the longest until the task ends.

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use fermata_proto::any::UpdateMessage;
use fermata_proto::command::{
    Command, CommandAttributes, ProtocolMessageCommandAttributes as ProtocolMessage,
};
use fermata_proto::common::Payloads;
use fermata_proto::enums::CommandType;
use fermata_proto::event::WorkflowExecutionUpdateAcceptedEventAttributes;
use fermata_proto::failure::Failure;
use fermata_proto::protocol::{Message, MessageSequencingId};
use fermata_proto::update::{
    Acceptance, Input, Meta, Outcome, OutcomeValue, Rejection, Request, Response,
};
use futures::future::LocalBoxFuture;

use super::Shared;
use super::command::Expected;
use super::executor::Executor;
use super::failure::TaskFailure;
use super::slot::UNNUMBERED;
use super::state::{Ended, State};
use crate::error::{ApplicationError, WorkflowError, panic_message};
use crate::workflow::WorkflowContext;

pub(crate) const ACCEPTED: &str = "update accepted";
pub(crate) const COMPLETED: &str = "update completed";

/// Code for the updates of one name.
pub(crate) trait UpdateHandler {
    /// Reads the argument, asks the validator if there is one and it is to be asked, and gives the code that is to run.
    fn begin(
        &self,
        ctx: WorkflowContext,
        arguments: Option<&Payloads>,
        validates: bool,
    ) -> Result<LocalBoxFuture<'static, Ended>, Box<Failure>>;
}

/// An update on its way to its handler.
#[derive(Debug, Clone)]
pub(crate) struct Arrived {
    pub update_id: String,
    request: Request,
    origin: Origin,
}

/// How an update came to this task.
#[derive(Debug, Clone)]
enum Origin {
    Message {
        message_id: String,
        sequencing_event_id: i64,
    },
    /// By an event of a reset run: the engine may not have kept the request.
    Event { event_id: i64 },
    /// History says that it was accepted in this task.
    Accepted,
}

impl Arrived {
    /// Out of a message that came with a workflow task.
    pub fn from_message(message: &Message) -> Result<Self, TaskFailure> {
        let unreadable = |why: String| {
            TaskFailure::Code(format!(
                "read the message {:?} of an update: {why}",
                message.id
            ))
        };
        let body = message.body.as_ref();
        let body = body.ok_or_else(|| unreadable("it has no body".to_owned()))?;
        let request = Request::from_body(body).map_err(|error| unreadable(error.to_string()))?;
        let sequencing_event_id = match message.sequencing_id {
            Some(MessageSequencingId::EventId(event_id)) => event_id,
            _ => 0,
        };
        Ok(Self {
            update_id: message.protocol_instance_id.clone(),
            request,
            origin: Origin::Message {
                message_id: message.id.clone(),
                sequencing_event_id,
            },
        })
    }

    pub fn name(&self) -> &str {
        let input = self.request.input.as_ref();
        input.map_or("", |input| &input.name)
    }

    pub fn arguments(&self) -> Option<&Payloads> {
        self.request.input.as_ref()?.args.as_ref()
    }

    /// Whether it may still be refused.
    pub fn is_open(&self) -> bool {
        !matches!(self.origin, Origin::Accepted)
    }

    fn meta(&self) -> Meta {
        let meta = self.request.meta.clone().unwrap_or_default();
        Meta {
            update_id: self.update_id.clone(),
            ..meta
        }
    }

    /// What an answer says of the request: the message's id, the event behind which it stands, and the request itself if the
    /// engine may need it.
    fn reference(&self, task_started_event_id: i64) -> (String, i64, Option<Request>) {
        let message_id = || format!("{}/request", self.update_id);
        match &self.origin {
            Origin::Message {
                message_id,
                sequencing_event_id,
            } if *sequencing_event_id > 0 => (message_id.clone(), *sequencing_event_id, None),
            Origin::Event { event_id } => (message_id(), *event_id, Some(self.request.clone())),
            _ => (message_id(), task_started_event_id - 1, None),
        }
    }
}

#[derive(Default)]
pub(crate) struct Updates {
    pub handlers: BTreeMap<String, Rc<dyn UpdateHandler>>,
    /// Of this workflow task, without a handler so far.
    pub waiting: VecDeque<Arrived>,
    /// By events of a reset, for the next task.
    admitted: Vec<Arrived>,
    /// Accepted and not answered: the names by update id.
    pub running: BTreeMap<String, String>,
    /// What this workflow task says about updates.
    messages: Vec<Message>,
}

impl Updates {
    /// A reset run has it in its history.
    pub fn admit(&mut self, event_id: i64, request: &Request) {
        let meta = request.meta.as_ref();
        self.admitted.push(Arrived {
            update_id: meta.map(|meta| meta.update_id.clone()).unwrap_or_default(),
            request: request.clone(),
            origin: Origin::Event { event_id },
        });
    }

    /// A workflow task starts, with updates that came along.
    pub fn begin_task(&mut self, arrived: Vec<Arrived>) {
        self.waiting = std::mem::take(&mut self.admitted).into();
        self.waiting.extend(arrived);
    }

    /// As [`Self::begin_task`], for a task of history, which shows what it accepted. What else had been admitted was refused
    /// by it.
    pub fn replay_task<'a>(
        &mut self,
        accepted: impl Iterator<Item = &'a WorkflowExecutionUpdateAcceptedEventAttributes>,
    ) {
        let admitted = std::mem::take(&mut self.admitted);
        self.waiting = accepted
            .filter_map(|accepted| {
                let update_id = &accepted.protocol_instance_id;
                let of_event = || {
                    let admitted = admitted.iter().find(|a| a.update_id == *update_id);
                    admitted.map(|admitted| admitted.request.clone())
                };
                Some(Arrived {
                    update_id: update_id.clone(),
                    request: accepted.accepted_request.clone().or_else(of_event)?,
                    origin: Origin::Accepted,
                })
            })
            .collect();
    }

    /// The first that has a handler, with it.
    pub fn next(&mut self) -> Option<(Arrived, Rc<dyn UpdateHandler>)> {
        let handlers = &self.handlers;
        let has_handler = |update: &Arrived| handlers.contains_key(update.name());
        let at = self.waiting.iter().position(has_handler)?;
        let update = self.waiting.remove(at)?;
        let handler = self.handlers.get(update.name())?.clone();
        Some((update, handler))
    }

    pub fn has_next(&self) -> bool {
        let has_handler = |update: &Arrived| self.handlers.contains_key(update.name());
        self.waiting.iter().any(has_handler)
    }

    pub fn take_messages(&mut self) -> Vec<Message> {
        std::mem::take(&mut self.messages)
    }

    pub fn has_messages(&self) -> bool {
        !self.messages.is_empty()
    }

    /// The run closes, and their callers hear of it.
    pub fn warn_of_unfinished(&self, workflow_id: &str) {
        if self.running.is_empty() {
            return;
        }
        let unfinished: Vec<&str> = self.running.values().map(String::as_str).collect();
        tracing::warn!(
            workflow_id,
            updates = unfinished.join(", "),
            "the workflow ends before handlers of its updates: their callers hear of a failure; wait for \
             ctx.all_handlers_finished() first"
        );
    }

    fn say(&mut self, update_id: &str, message_id: String, said: UpdateMessage) {
        self.messages.push(Message {
            id: message_id,
            protocol_instance_id: update_id.to_owned(),
            sequencing_id: None,
            body: Some(said.into_body()),
        });
    }
}

impl State {
    /// What the handler asks for comes behind this in history.
    pub fn accept_update(&mut self, update: &Arrived) {
        let (request_id, sequencing_event_id, request) = update.reference(self.history_length);
        let acceptance = Acceptance {
            accepted_request_message_id: request_id,
            accepted_request_sequencing_event_id: sequencing_event_id,
            accepted_request: request,
        };
        let message_id = format!("{}/accept", update.update_id);
        self.place_message(&update.update_id, ACCEPTED, message_id.clone());
        let said = UpdateMessage::Acceptance(acceptance);
        self.updates.say(&update.update_id, message_id, said);
        let name = update.name().to_owned();
        self.updates.running.insert(update.update_id.clone(), name);
    }

    pub fn reject_update(&mut self, update: &Arrived, failure: Box<Failure>) {
        let (request_id, sequencing_event_id, request) = update.reference(self.history_length);
        let said = UpdateMessage::Rejection(Rejection {
            rejected_request_message_id: request_id,
            rejected_request_sequencing_event_id: sequencing_event_id,
            rejected_request: request,
            failure: Some(*failure),
        });
        let message_id = format!("{}/reject", update.update_id);
        self.updates.say(&update.update_id, message_id, said);
    }

    /// The handler has ended.
    pub fn end_update(&mut self, update: &Arrived, ended: Ended) {
        let update_id = &update.update_id;
        self.updates.running.remove(update_id);
        let outcome = match ended {
            Ok(result) => OutcomeValue::Success(result.unwrap_or_default()),
            Err(WorkflowError::Failed(failure) | WorkflowError::Cancelled(failure)) => {
                OutcomeValue::Failure(*failure)
            }
            Err(WorkflowError::ContinueAsNew(_)) => {
                let text = format!(
                    "the handler of update {:?} asks to continue as new, which only the workflow itself can",
                    update.name()
                );
                self.result = Some(Err(WorkflowError::task_failed(text)));
                return;
            }
            Err(WorkflowError::TaskFailed(reason)) => {
                let text = format!("the handler of update {:?}: {reason}", update.name());
                self.result = Some(Err(WorkflowError::task_failed(text)));
                return;
            }
        };
        let message_id = format!("{update_id}/complete");
        self.place_message(update_id, COMPLETED, message_id.clone());
        let said = UpdateMessage::Response(Response {
            meta: Some(update.meta()),
            outcome: Some(Outcome {
                value: Some(outcome),
            }),
        });
        self.updates.say(update_id, message_id, said);
    }

    /// No handler was registered by the end of the task.
    pub fn reject_unhandled_updates(&mut self) {
        let known: Vec<&str> = self.updates.handlers.keys().map(String::as_str).collect();
        let known = known.join(", ");
        for update in std::mem::take(&mut self.updates.waiting) {
            let text = format!(
                "unknown update {:?}; this workflow takes [{known}]",
                update.name()
            );
            let error = ApplicationError::new(text).with_type("UnknownUpdate");
            self.reject_update(&update, Box::new(error.into_failure()));
        }
    }

    /// The command that stands for a message. It takes no number: an update must not shift those of the workflow's steps.
    fn place_message(&mut self, update_id: &str, name: &str, message_id: String) {
        let expected = Expected {
            sequence: UNNUMBERED,
            kind: CommandType::ProtocolMessage,
            id: update_id.to_owned(),
            name: name.to_owned(),
        };
        let attributes = ProtocolMessage { message_id };
        let command = Command::new(CommandAttributes::from(attributes));
        self.commands.push_as(expected, command);
    }
}

/// The name and arguments that an update was sent with, for those who send one.
pub(crate) fn input(name: String, args: Option<Payloads>) -> Input {
    Input {
        header: None,
        name,
        // An update without arguments has an empty list, as other SDKs send it.
        args: Some(args.unwrap_or_default()),
    }
}

/// Begins the handlers of updates that have come, in order.
pub(super) fn deliver(shared: &Rc<Shared>, executor: &mut Executor) {
    loop {
        let next = {
            let mut state = shared.state();
            if state.result.is_some() {
                return;
            }
            state.updates.next()
        };
        let Some((update, handler)) = next else {
            return;
        };
        let ctx = WorkflowContext::new(shared.clone()).of_update(&update.update_id);
        let begun = begin_update(shared, &update, &*handler, ctx);
        let mut state = shared.state();
        match begun {
            Ok(code) => {
                state.accept_update(&update);
                drop(state);
                let ended = Rc::downgrade(shared);
                let task = async move {
                    let result = code.await;
                    if let Some(shared) = ended.upgrade() {
                        shared.state().end_update(&update, result);
                    }
                };
                executor.begin(Box::pin(task), shared);
            }
            Err(failure) if update.is_open() => state.reject_update(&update, failure),
            Err(failure) => {
                let text = format!(
                    "begin update {:?}, which history says was accepted: {}",
                    update.name(),
                    failure.message
                );
                state.result = Some(Err(WorkflowError::task_failed(text)));
            }
        }
    }
}

/// Asks the validator of an update that may still be refused; its code only looks.
fn begin_update(
    shared: &Rc<Shared>,
    update: &Arrived,
    handler: &dyn UpdateHandler,
    ctx: WorkflowContext,
) -> Result<LocalBoxFuture<'static, Ended>, Box<Failure>> {
    shared.state().is_read_only = true;
    let begun = catch_unwind(AssertUnwindSafe(|| {
        handler.begin(ctx, update.arguments(), update.is_open())
    }));
    shared.state().is_read_only = false;
    begun.unwrap_or_else(|panic| {
        let text = format!("the validator panicked: {}", panic_message(&*panic));
        let error = ApplicationError::new(text).with_type("Panic");
        Err(Box::new(error.into_failure()))
    })
}
