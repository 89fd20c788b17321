//! What a worker says about updates when it completes a workflow task.
//!
//! | message | the update is | otherwise the task fails |
//! |---|---|---|
//! | acceptance | admitted or sent: UpdateAccepted event | |
//! | rejection | admitted or sent: forgotten, callers hear of it | |
//! | response | accepted: UpdateCompleted event | |
//! | acceptance or rejection with the request | unknown: it is taken for admitted | |
//!
//! A PROTOCOL_MESSAGE command places a message among the other commands; the others come behind all commands, in order.

use std::collections::BTreeSet;
use std::sync::Arc;

use fermata_proto::any::UpdateMessage;
use fermata_proto::enums::WorkflowTaskFailedCause;
use fermata_proto::event::*;
use fermata_proto::protocol::Message;
use fermata_proto::rpc::Rejection;
use fermata_proto::service::RespondWorkflowTaskCompletedRequest;
use fermata_proto::update::{self as said, Request};
use fermata_proto::wire::Any;

use super::{Stage, Status, Update, failed, message_id, moved, within_total};
use crate::change::Fact;
use crate::command::CommandError;
use crate::context::Context;
use crate::run::Run;
use crate::transaction::Transaction;

const CAUSE: WorkflowTaskFailedCause = WorkflowTaskFailedCause::BadUpdateWorkflowExecutionMessage;
/// The package of the only protocol that is spoken.
const PROTOCOL: &str = "temporal.api.update.v1";

/// The messages of one completion.
#[derive(Default)]
pub(crate) struct Messages<'a> {
    /// Those that have not been looked at.
    left: Vec<&'a Message>,
    /// Updates that this completion rejects.
    rejected: BTreeSet<String>,
    /// What is written behind this event is not settled before all messages are.
    completed_event_id: i64,
}

impl<'a> Messages<'a> {
    pub(crate) fn of(
        request: &'a RespondWorkflowTaskCompletedRequest,
        completed_event_id: i64,
    ) -> Self {
        Self {
            left: request.messages.iter().collect(),
            completed_event_id,
            ..Self::default()
        }
    }

    /// Takes the message that a command places here.
    ///
    /// # Errors
    /// If it is not there or bad.
    pub(crate) fn on_command(
        &mut self,
        tx: &mut Transaction<'_>,
        message_id: &str,
    ) -> Result<(), CommandError> {
        if message_id.is_empty() {
            return Err(bad("MessageID is not set on ProtocolMessageCommand."));
        }
        let Some(at) = self
            .left
            .iter()
            .position(|message| message.id == message_id)
        else {
            return Err(bad(format!(
                "ProtocolMessageCommand referenced absent message ID {message_id}"
            )));
        };
        let message = self.left.remove(at);
        self.on_message(tx, message)
    }

    /// Takes all that no command has placed.
    ///
    /// # Errors
    /// If one is bad.
    pub(crate) fn on_rest(&mut self, tx: &mut Transaction<'_>) -> Result<(), CommandError> {
        for message in std::mem::take(&mut self.left) {
            self.on_message(tx, message)?;
        }
        Ok(())
    }

    fn on_message(
        &mut self,
        tx: &mut Transaction<'_>,
        message: &Message,
    ) -> Result<(), CommandError> {
        let said = read(message, tx.ctx)?;
        let update_id = &message.protocol_instance_id;
        if !self.rejected.contains(update_id) && !tx.run().updates.contains_key(update_id) {
            resurrect(tx, update_id, &said)?;
        }
        if !tx.run().is_open() && !matches!(said, UpdateMessage::Rejection(_)) {
            // Nothing follows the closing event: the update ends with the run.
            return Ok(());
        }
        match said {
            UpdateMessage::Acceptance(acceptance) => self.on_acceptance(tx, update_id, &acceptance),
            UpdateMessage::Rejection(rejection) => self.on_rejection(tx, update_id, rejection),
            UpdateMessage::Response(response) => self.on_response(tx, update_id, response),
        }
    }

    fn on_acceptance(
        &self,
        tx: &mut Transaction<'_>,
        update_id: &str,
        acceptance: &said::Acceptance,
    ) -> Result<(), CommandError> {
        let update = self.expect(tx.run(), update_id, "Acceptance", is_unaccepted)?;
        let accepted_request = update.request.as_deref().cloned();
        let unset = |field: &str| bad(format!("invalid *update.Acceptance: {field} is not set"));
        if acceptance.accepted_request_sequencing_event_id == 0 {
            return Err(unset("accepted_request_sequencing_event_id"));
        }
        if acceptance.accepted_request_message_id.is_empty() {
            return Err(unset("accepted_request_message_id"));
        }
        tx.event(WorkflowExecutionUpdateAcceptedEventAttributes {
            protocol_instance_id: update_id.to_owned(),
            accepted_request_message_id: message_id(update_id),
            accepted_request_sequencing_event_id: acceptance.accepted_request_sequencing_event_id,
            accepted_request,
        });
        moved(tx, update_id, Status::Accepted);
        Ok(())
    }

    fn on_rejection(
        &mut self,
        tx: &mut Transaction<'_>,
        update_id: &str,
        rejection: said::Rejection,
    ) -> Result<(), CommandError> {
        self.expect(tx.run(), update_id, "Rejection", is_unaccepted)?;
        moved(tx, update_id, failed(rejection.failure.unwrap_or_default()));
        tx.fact(Fact::UpdateGone {
            update_id: update_id.to_owned(),
        });
        self.rejected.insert(update_id.to_owned());
        Ok(())
    }

    fn on_response(
        &self,
        tx: &mut Transaction<'_>,
        update_id: &str,
        response: said::Response,
    ) -> Result<(), CommandError> {
        let is_accepted = |update: &Update| update.stage == Stage::Accepted;
        let update = self.expect(tx.run(), update_id, "Response", is_accepted)?;
        let accepted_event_id = update.accepted_event_id;
        let invalid = |what: &str| bad(format!("invalid *update.Response: {what}"));
        let Some(meta) = response.meta else {
            return Err(invalid("meta is not set"));
        };
        if meta.update_id.is_empty() {
            return Err(invalid("meta.update_id is not set"));
        }
        if meta.update_id != update_id {
            return Err(invalid(&format!("meta.update_id != {update_id}")));
        }
        let Some(outcome) = response.outcome else {
            return Err(invalid("outcome is not set"));
        };
        tx.event(WorkflowExecutionUpdateCompletedEventAttributes {
            meta: Some(meta),
            accepted_event_id,
            outcome: Some(outcome.clone()),
        });
        moved(tx, update_id, Status::Completed(Box::new(outcome)));
        Ok(())
    }

    /// The update, if it is where the message makes sense.
    fn expect<'r>(
        &self,
        run: &'r Run,
        update_id: &str,
        message: &str,
        allowed: impl Fn(&Update) -> bool,
    ) -> Result<&'r Update, CommandError> {
        let update = run.updates.get(update_id);
        if let Some(update) = update.filter(|update| allowed(update)) {
            return Ok(update);
        }
        let is_provisional = |event_id: i64| event_id > self.completed_event_id;
        let state = match update {
            None => "ProvisionallyCompleted",
            Some(update) => match update.stage {
                Stage::Admitted => "Admitted",
                Stage::Sent => "Sent",
                Stage::Accepted if is_provisional(update.accepted_event_id) => {
                    "ProvisionallyAccepted"
                }
                Stage::Accepted => "Accepted",
                Stage::Completed if is_provisional(update.completed_event_id) => {
                    "ProvisionallyCompleted"
                }
                Stage::Completed => "Completed",
            },
        };
        Err(bad(format!(
            "invalid state transition attempted for Update {update_id}: received *update.{message} message while in state {state}"
        )))
    }
}

fn is_unaccepted(update: &Update) -> bool {
    update.stage < Stage::Accepted
}

fn bad(text: impl AsRef<str>) -> CommandError {
    CommandError::fail(CAUSE, format!("{CAUSE:?}: {}", text.as_ref()))
}

fn read(message: &Message, ctx: &Context<'_>) -> Result<UpdateMessage, CommandError> {
    let refuse = |text: &str| Err(CommandError::RefuseCall(Rejection::invalid_argument(text)));
    let Some(body) = &message.body else {
        return refuse("nil message body");
    };
    let name = body.message_name();
    if name.is_empty() {
        return refuse("no message name specified");
    }
    let Some((protocol, kind)) = name.rsplit_once('.') else {
        return refuse(&format!(
            "failed to extract protocol type: no . found in {name:?}"
        ));
    };
    if body.value.len() > ctx.limits.blob_bytes_max {
        return Err(CommandError::Terminate {
            cause: CAUSE,
            message: format!("{CAUSE:?}: Message type {name} exceeds size limit."),
        });
    }
    if protocol != PROTOCOL {
        return Err(bad(format!("unsupported protocol type {protocol}")));
    }
    match UpdateMessage::from_body(body) {
        Ok(Some(said)) => Ok(said),
        Ok(None) => Err(bad(format!("Message type *update.{kind} not supported"))),
        Err(error) => Err(bad(format!("unable to unmarshal request: {error}"))),
    }
}

/// An update that is unknown here may have been lost on its way back: the worker has its request.
fn resurrect(
    tx: &mut Transaction<'_>,
    update_id: &str,
    said: &UpdateMessage,
) -> Result<(), CommandError> {
    let request: Option<&Request> = match said {
        UpdateMessage::Acceptance(acceptance) => acceptance.accepted_request.as_ref(),
        UpdateMessage::Rejection(rejection) => rejection.rejected_request.as_ref(),
        UpdateMessage::Response(_) => None,
    };
    within_total(tx.run(), tx.ctx).map_err(bad)?;
    let Some(request) = request else {
        return Err(bad(format!(
            "update {update_id} wasn't found on the server. This is most likely a transient error which will be resolved automatically by retries"
        )));
    };
    tx.fact(Fact::UpdateAdmitted {
        update_id: update_id.to_owned(),
        request: Arc::new(request.clone()),
    });
    Ok(())
}

/// Whether a speculative task may vanish: its worker has done nothing but reject updates, and has got no events that history
/// would show it again, or few of them and says that it minds them not.
pub(crate) fn only_rejects(
    run: &Run,
    request: &RespondWorkflowTaskCompletedRequest,
    ctx: &Context<'_>,
) -> bool {
    let takes_events_again = request
        .capabilities
        .as_ref()
        .is_some_and(|capabilities| capabilities.discard_speculative_workflow_task_with_events);
    let events_max = if takes_events_again {
        ctx.limits.speculative_task_events_max
    } else {
        0
    };
    // Behind the started event stands the completed one.
    let events = run.next_event_id - run.last_completed_task_started_event_id - 2;
    let is_rejection = |body: &Option<Any>| body.as_ref().is_some_and(UpdateMessage::is_rejection);
    request.commands.is_empty()
        && !request.force_create_new_workflow_task
        && events <= events_max
        && request
            .messages
            .iter()
            .all(|message| is_rejection(&message.body))
}
