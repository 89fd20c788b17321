//! Completing a workflow task: the commands in their order, each a rule of its own concept.
//!
//! All or nothing: a bad command drops what the commands before it did, fails the task and refuses the call.

use fermata_proto::command::{Command, CommandAttributes};
use fermata_proto::enums::{CommandType, WorkflowTaskFailedCause};
use fermata_proto::event::WorkflowTaskCompletedEventAttributes;
use fermata_proto::failure::{Failure, FailureFailureInfo, ServerFailureInfo};
use fermata_proto::rpc::Rejection;
use fermata_proto::service::{
    PollActivityTaskQueueResponse, RespondWorkflowTaskCompletedRequest,
    RespondWorkflowTaskCompletedResponse,
};

use crate::change::Fact;
use crate::context::Context;
use crate::decision::{Decision, Reply, View};
use crate::run::Sticky;
use crate::transaction::Transaction;
use crate::{
    activity, buffer, child_workflow, close, external, marker, timer, upsert, workflow_task,
};

/// Request id of a task that a completion's answer hands out.
const RETURNED_TASK_REQUEST_ID: &str = "request-from-RespondWorkflowTaskCompleted";

/// Why a command cannot be carried out.
#[derive(Debug)]
pub(crate) enum CommandError {
    /// The task fails and the call is refused with the same words.
    FailTask {
        cause: WorkflowTaskFailedCause,
        message: String,
    },
    /// The call is refused and nothing else happens: the task stays started.
    RefuseCall(Rejection),
}

impl CommandError {
    pub(crate) fn fail(cause: WorkflowTaskFailedCause, message: impl Into<String>) -> Self {
        Self::FailTask {
            cause,
            message: message.into(),
        }
    }
}

/// What the commands of one completion gather besides changes.
#[derive(Default)]
pub(crate) struct Outcome<'a> {
    /// Activities that the worker asked to run itself.
    pub eager: Vec<PollActivityTaskQueueResponse>,
    /// Activities canceled before a worker had them: closed after all commands.
    pub canceled_activities: Vec<i64>,
    /// The run that follows a closing command.
    pub next_run: Option<Transaction<'a>>,
}

pub(crate) fn on_completed<'a>(
    view: &View<'_>,
    request: &RespondWorkflowTaskCompletedRequest,
    ctx: &'a Context<'a>,
) -> Result<Decision, Rejection> {
    let (run, task) = workflow_task::started(view, &request.task_token)?;
    let mut tx = Transaction::of(run, ctx);
    workflow_task::make_real(&mut tx);
    let sticky = request.sticky_attributes.as_ref().and_then(|attributes| {
        Some(Sticky {
            queue: attributes.worker_task_queue.as_ref()?.name.clone(),
            schedule_to_start_timeout: attributes.schedule_to_start_timeout.unwrap_or_default(),
        })
    });
    let task_now = tx
        .run()
        .workflow_task
        .as_ref()
        .expect("the task is started");
    let (scheduled_event_id, started_event_id) =
        (task_now.scheduled_event_id, task_now.started_event_id);
    let completed_event_id = tx.event(WorkflowTaskCompletedEventAttributes {
        scheduled_event_id,
        started_event_id,
        identity: request.identity.clone(),
        binary_checksum: request.binary_checksum.clone(),
        worker_version: request.worker_version_stamp.clone(),
        sdk_metadata: request.sdk_metadata.clone(),
        metering_metadata: request.metering_metadata.clone(),
        ..WorkflowTaskCompletedEventAttributes::default()
    });
    if tx.run().sticky != sticky {
        tx.fact(Fact::Sticky(sticky));
    }
    let mut outcome = Outcome::default();
    match carry_out(&mut tx, completed_event_id, request, &mut outcome) {
        Ok(()) => {}
        Err(CommandError::RefuseCall(rejection)) => return Err(rejection),
        Err(CommandError::FailTask { cause, message }) => {
            return Ok(refused(run, task.attempt, cause, message, request, ctx));
        }
    }
    Ok(finish(tx, outcome, request))
}

fn carry_out<'a>(
    tx: &mut Transaction<'a>,
    completed_event_id: i64,
    request: &RespondWorkflowTaskCompletedRequest,
    outcome: &mut Outcome<'a>,
) -> Result<(), CommandError> {
    for command in &request.commands {
        if !tx.run().is_open() {
            return Err(CommandError::RefuseCall(Rejection::invalid_argument(
                "a command follows one that closes the workflow",
            )));
        }
        if close::is_closing(command.command_type) && !tx.run().buffered.is_empty() {
            return Err(CommandError::fail(
                WorkflowTaskFailedCause::UnhandledCommand,
                "UnhandledCommand",
            ));
        }
        carry_out_one(tx, completed_event_id, command, outcome)?;
    }
    if tx.run().is_open() {
        activity::cancel_unstarted(tx, &outcome.canceled_activities, &request.identity);
    }
    Ok(())
}

fn carry_out_one<'a>(
    tx: &mut Transaction<'a>,
    completed_event_id: i64,
    command: &Command,
    outcome: &mut Outcome<'a>,
) -> Result<(), CommandError> {
    use CommandAttributes as A;
    let Some(attributes) = &command.attributes else {
        return Err(CommandError::RefuseCall(Rejection::invalid_argument(
            format!(
                "command of type {:?} has no attributes",
                command.command_type
            ),
        )));
    };
    match attributes {
        A::ScheduleActivityTask(a) => {
            activity::on_schedule(tx, completed_event_id, command, a, outcome)
        }
        A::RequestCancelActivityTask(a) => {
            activity::on_request_cancel(tx, completed_event_id, a, outcome)
        }
        A::StartTimer(a) => timer::on_start(tx, completed_event_id, command, a),
        A::CancelTimer(a) => timer::on_cancel(tx, completed_event_id, a),
        A::CompleteWorkflowExecution(a) => close::on_complete(tx, completed_event_id, a, outcome),
        A::FailWorkflowExecution(a) => close::on_fail(tx, completed_event_id, a, outcome),
        A::CancelWorkflowExecution(a) => close::on_cancel(tx, completed_event_id, a),
        A::ContinueAsNewWorkflowExecution(a) => {
            close::on_continue_as_new(tx, completed_event_id, a, outcome)
        }
        A::RecordMarker(a) => marker::on_record(tx, completed_event_id, command, a),
        A::StartChildWorkflowExecution(a) => {
            child_workflow::on_start(tx, completed_event_id, command, a)
        }
        A::SignalExternalWorkflowExecution(a) => {
            external::on_signal(tx, completed_event_id, command, a)
        }
        A::RequestCancelExternalWorkflowExecution(a) => {
            external::on_cancel(tx, completed_event_id, command, a)
        }
        A::UpsertWorkflowSearchAttributes(a) => {
            upsert::on_search_attributes(tx, completed_event_id, a)
        }
        A::ModifyWorkflowProperties(a) => upsert::on_memo(tx, completed_event_id, a),
        A::ProtocolMessage(_)
        | A::ScheduleNexusOperation(_)
        | A::RequestCancelNexusOperation(_) => Err(CommandError::RefuseCall(Rejection::new(
            fermata_proto::rpc::RejectionKind::Unimplemented,
            format!("command {:?} is not supported yet", command.command_type),
        ))),
    }
}

/// Fails the task for a bad command. On a later attempt nothing is written: the attempt ends by its time-out.
fn refused(
    run: &crate::run::Run,
    attempt: i32,
    cause: WorkflowTaskFailedCause,
    message: String,
    request: &RespondWorkflowTaskCompletedRequest,
    ctx: &Context<'_>,
) -> Decision {
    let unhandled = cause == WorkflowTaskFailedCause::UnhandledCommand;
    let rejection = Rejection::invalid_argument(message.clone());
    if attempt > 1 && !unhandled {
        return Decision::refused(rejection);
    }
    let mut tx = Transaction::of(run, ctx);
    let failure = Failure {
        message,
        failure_info: Some(FailureFailureInfo::ServerFailureInfo(
            ServerFailureInfo::default(),
        )),
        ..Failure::default()
    };
    workflow_task::fail(&mut tx, cause, Some(failure), &request.identity, |_| {});
    if unhandled {
        tx.fact(Fact::CloseRefused(true));
    }
    Decision::of_refused([tx], rejection)
}

fn finish(
    mut tx: Transaction<'_>,
    outcome: Outcome<'_>,
    request: &RespondWorkflowTaskCompletedRequest,
) -> Decision {
    let mut handout = None;
    if tx.run().is_open() {
        if tx.run().close_refused {
            tx.fact(Fact::CloseRefused(false));
        }
        let more = buffer::flush(&mut tx);
        if more || request.force_create_new_workflow_task || tx.wants_task() {
            workflow_task::schedule_if_none(&mut tx);
            if request.return_new_workflow_task {
                tx.take_dispatch();
                workflow_task::start(&mut tx, &request.identity, RETURNED_TASK_REQUEST_ID);
                let mut returned = workflow_task::handout(tx.run(), true);
                returned.history_from = tx.run().last_task_completed_event_id;
                handout = Some(Box::new(returned));
            }
        }
    }
    let response = RespondWorkflowTaskCompletedResponse {
        activity_tasks: outcome.eager,
        ..RespondWorkflowTaskCompletedResponse::default()
    };
    let reply = Reply::WorkflowTaskCompleted {
        response: Box::new(response),
        workflow_task: handout,
    };
    Decision::of([tx].into_iter().chain(outcome.next_run), reply)
}

/// The types that end a run.
pub(crate) const CLOSING: [CommandType; 4] = [
    CommandType::CompleteWorkflowExecution,
    CommandType::FailWorkflowExecution,
    CommandType::CancelWorkflowExecution,
    CommandType::ContinueAsNewWorkflowExecution,
];
