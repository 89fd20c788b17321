//! Completing a workflow task: the commands in their order, each a rule of its own concept.
//!
//! All or nothing: a bad command drops what the commands before it did, fails the task and refuses the call.

use fermata_proto::codec;
use std::sync::Arc;

use fermata_proto::command::{Command, CommandAttributes};
use fermata_proto::common::{Payload, Payloads};
use fermata_proto::deployment::WorkerDeploymentVersion;
use fermata_proto::enums::{CommandType, WorkerVersioningMode, WorkflowTaskFailedCause};
use fermata_proto::event::WorkflowTaskCompletedEventAttributes;
use fermata_proto::failure::{Failure, FailureFailureInfo, ServerFailureInfo};
use fermata_proto::rpc::Rejection;
use fermata_proto::service::{
    PollActivityTaskQueueResponse, RespondWorkflowTaskCompletedRequest,
    RespondWorkflowTaskCompletedResponse,
};
use fermata_proto::time::Timestamp;

use crate::change::Fact;
use crate::context::Context;
use crate::decision::{Decision, Effect, Reply, TaskHandout, View};
use crate::run::{Run, Sticky, WorkflowTask};
use crate::transaction::Transaction;
use crate::update::Abort;
use crate::update::message::Messages;
use crate::{
    activity, buffer, child_workflow, close, external, marker, timer, update, upsert, validate,
    workflow_task,
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
    /// As [`CommandError::FailTask`], and the workflow is terminated: no attempt could do better.
    Terminate {
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
    /// The worker that completes the task, if it announces itself: what it takes along is held by it.
    pub worker_id: String,
    /// What the worker says about updates.
    pub messages: Messages<'a>,
}

pub(crate) fn on_completed<'a>(
    view: &View<'_>,
    request: &'a RespondWorkflowTaskCompletedRequest,
    ctx: &'a Context<'a>,
) -> Result<Decision, Rejection> {
    let (run, task) = workflow_task::started(view, &request.task_token)?;
    let mut tx = Transaction::of(run, ctx);
    if task.speculative && update::message::only_rejects(run, request, ctx) {
        workflow_task::vanish(&mut tx);
        return complete(tx, run, task, None, None, request, ctx);
    }
    workflow_task::make_real(&mut tx, &task.identity);
    let held_since = is_heartbeat(request).then_some(task.original_scheduled_time);
    if held_since.is_some_and(|since| ctx.now > since + ctx.limits.workflow_task_heartbeat_max) {
        return Ok(workflow_task::heartbeat_too_long(tx));
    }
    let task_now = tx
        .run()
        .workflow_task
        .as_ref()
        .expect("the task is started");
    let (scheduled_event_id, started_event_id) =
        (task_now.scheduled_event_id, task_now.started_event_id);
    let deployment = request
        .deployment_options
        .as_ref()
        .filter(|options| options.worker_versioning_mode == WorkerVersioningMode::Versioned);
    let completed_event_id = tx.event(WorkflowTaskCompletedEventAttributes {
        scheduled_event_id,
        started_event_id,
        identity: request.identity.clone(),
        binary_checksum: request.binary_checksum.clone(),
        worker_version: request.worker_version_stamp.clone(),
        sdk_metadata: request.sdk_metadata.clone(),
        metering_metadata: request.metering_metadata.clone(),
        versioning_behavior: request.versioning_behavior,
        worker_deployment_name: deployment
            .map(|options| options.deployment_name.clone())
            .unwrap_or_default(),
        deployment_version: deployment.map(|options| WorkerDeploymentVersion {
            build_id: options.build_id.clone(),
            deployment_name: options.deployment_name.clone(),
        }),
        ..WorkflowTaskCompletedEventAttributes::default()
    });
    complete(
        tx,
        run,
        task,
        Some(completed_event_id),
        held_since,
        request,
        ctx,
    )
}

/// The commands, the messages and what follows, when the task has ended: with an event, or without a trace.
fn complete<'a>(
    mut tx: Transaction<'a>,
    run: &Run,
    task: &WorkflowTask,
    completed_event_id: Option<i64>,
    held_since: Option<Timestamp>,
    request: &'a RespondWorkflowTaskCompletedRequest,
    ctx: &'a Context<'a>,
) -> Result<Decision, Rejection> {
    let sticky = sticky(request);
    if tx.run().sticky != sticky {
        tx.fact(Fact::Sticky(sticky));
    }
    // Without an event nothing of this completion is written, and all that is stood there before.
    let written_from = completed_event_id.unwrap_or(i64::MAX);
    let mut outcome = Outcome {
        worker_id: task.worker_id.clone(),
        messages: Messages::of(request, written_from),
        ..Outcome::default()
    };
    match carry_out(&mut tx, written_from, request, &mut outcome) {
        Ok(()) => {}
        Err(CommandError::RefuseCall(rejection)) => return Err(rejection),
        Err(CommandError::FailTask { cause, message }) => {
            return Ok(refused(run, task.attempt, cause, message, request, ctx));
        }
        Err(CommandError::Terminate { cause, message }) => {
            return Ok(terminated(run, cause, message, request, ctx));
        }
    }
    if !Arc::ptr_eq(&run.search_attributes, &tx.run().search_attributes) {
        let run_id = run.run_id.clone();
        tx.effect(Effect::PublishVisibility { run_id });
    }
    let reset_history_event_id = match completed_event_id {
        Some(_) => 0,
        None => run.last_completed_task_started_event_id,
    };
    Ok(finish(
        tx,
        outcome,
        request,
        held_since,
        reset_history_event_id,
    ))
}

/// The queue of the worker that keeps the run in its cache.
fn sticky(request: &RespondWorkflowTaskCompletedRequest) -> Option<Sticky> {
    let attributes = request.sticky_attributes.as_ref()?;
    Some(Sticky {
        queue: attributes.worker_task_queue.as_ref()?.name.clone(),
        schedule_to_start_timeout: attributes.schedule_to_start_timeout.unwrap_or_default(),
    })
}

/// A worker that is busy with local activities asks for nothing but a new task.
fn is_heartbeat(request: &RespondWorkflowTaskCompletedRequest) -> bool {
    request.force_create_new_workflow_task
        && request.commands.is_empty()
        && request.messages.is_empty()
}

fn carry_out<'a>(
    tx: &mut Transaction<'a>,
    completed_event_id: i64,
    request: &RespondWorkflowTaskCompletedRequest,
    outcome: &mut Outcome<'a>,
) -> Result<(), CommandError> {
    in_sequence(&request.commands)?;
    for command in &request.commands {
        if close::is_closing(command.command_type) && !tx.run().buffered.is_empty() {
            return Err(CommandError::fail(
                WorkflowTaskFailedCause::UnhandledCommand,
                "UnhandledCommand",
            ));
        }
        carry_out_one(tx, completed_event_id, command, request, outcome)?;
    }
    let mut messages = std::mem::take(&mut outcome.messages);
    messages.on_rest(tx)?;
    if tx.run().is_open() {
        activity::cancel_unstarted(tx, &outcome.canceled_activities, &request.identity);
        if !request.force_create_new_workflow_task {
            update::reject_unprocessed(tx);
        }
    } else if outcome.next_run.is_some() {
        update::abort_all(tx, Abort::WorkflowContinues);
    } else {
        update::abort_all(tx, Abort::WorkflowClosed);
    }
    Ok(())
}

/// # Errors
/// If a command is of no known type, or follows one that closes the workflow.
fn in_sequence(commands: &[Command]) -> Result<(), CommandError> {
    let refuse = |text: String| CommandError::RefuseCall(Rejection::invalid_argument(text));
    let types = || commands.iter().map(|command| command.command_type);
    if types().any(|command_type| command_type == CommandType::Unspecified) {
        return Err(refuse("unknown command type: Unspecified".to_owned()));
    }
    let before_last = types().rev().skip(1);
    match before_last.rev().find(|kind| close::is_closing(*kind)) {
        None => Ok(()),
        Some(closing) => Err(refuse(format!(
            "invalid command sequence: {:?}, command {closing:?} must be the last command.",
            types().collect::<Vec<_>>()
        ))),
    }
}

/// What a task fails with when the attributes of this command are bad.
fn cause_of(command_type: CommandType) -> WorkflowTaskFailedCause {
    use CommandType as C;
    use WorkflowTaskFailedCause as Cause;
    match command_type {
        C::Unspecified => Cause::Unspecified,
        C::ScheduleActivityTask => Cause::BadScheduleActivityAttributes,
        C::RequestCancelActivityTask => Cause::BadRequestCancelActivityAttributes,
        C::StartTimer => Cause::BadStartTimerAttributes,
        C::CompleteWorkflowExecution => Cause::BadCompleteWorkflowExecutionAttributes,
        C::FailWorkflowExecution => Cause::BadFailWorkflowExecutionAttributes,
        C::CancelTimer => Cause::BadCancelTimerAttributes,
        C::CancelWorkflowExecution => Cause::BadCancelWorkflowExecutionAttributes,
        C::RequestCancelExternalWorkflowExecution => {
            Cause::BadRequestCancelExternalWorkflowExecutionAttributes
        }
        C::RecordMarker => Cause::BadRecordMarkerAttributes,
        C::ContinueAsNewWorkflowExecution => Cause::BadContinueAsNewAttributes,
        C::StartChildWorkflowExecution => Cause::BadStartChildExecutionAttributes,
        C::SignalExternalWorkflowExecution => Cause::BadSignalWorkflowExecutionAttributes,
        C::UpsertWorkflowSearchAttributes => Cause::BadSearchAttributes,
        C::ProtocolMessage => Cause::BadUpdateWorkflowExecutionMessage,
        C::ModifyWorkflowProperties => Cause::BadModifyWorkflowPropertiesAttributes,
        C::ScheduleNexusOperation => Cause::BadScheduleNexusOperationAttributes,
        C::RequestCancelNexusOperation => Cause::BadRequestCancelNexusOperationAttributes,
    }
}

fn carry_out_one<'a>(
    tx: &mut Transaction<'a>,
    completed_event_id: i64,
    command: &Command,
    request: &RespondWorkflowTaskCompletedRequest,
    outcome: &mut Outcome<'a>,
) -> Result<(), CommandError> {
    use CommandAttributes as A;
    let command_type = command.command_type;
    let Some(attributes) = &command.attributes else {
        let cause = cause_of(command_type);
        return Err(CommandError::fail(
            cause,
            format!(
                "{cause:?}: {command_type:?}CommandAttributes is not set on {command_type:?}Command."
            ),
        ));
    };
    if !command.negative_duration.is_empty() {
        let cause = cause_of(command_type);
        let text = negative_duration(attributes, &command.negative_duration, tx.ctx);
        return Err(CommandError::fail(cause, format!("{cause:?}: {text}")));
    }
    within_limits(attributes, tx.ctx)?;
    match attributes {
        A::ScheduleActivityTask(a) => {
            activity::on_schedule(tx, completed_event_id, command, a, outcome)
        }
        A::RequestCancelActivityTask(a) => {
            activity::on_request_cancel(tx, completed_event_id, a, outcome)
        }
        A::StartTimer(a) => timer::on_start(tx, completed_event_id, command, a),
        A::CancelTimer(a) => timer::on_cancel(tx, completed_event_id, a, &request.identity),
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
        A::ProtocolMessage(a) => outcome.messages.on_command(tx, &a.message_id),
        A::ScheduleNexusOperation(_) | A::RequestCancelNexusOperation(_) => {
            Err(CommandError::RefuseCall(Rejection::new(
                fermata_proto::rpc::RejectionKind::Unimplemented,
                format!("command {:?} is not supported yet", command.command_type),
            )))
        }
    }
}

/// Fails the task and terminates the workflow for a command that is too large.
fn terminated(
    run: &Run,
    cause: WorkflowTaskFailedCause,
    message: String,
    request: &RespondWorkflowTaskCompletedRequest,
    ctx: &Context<'_>,
) -> Decision {
    let mut tx = Transaction::of(run, ctx);
    let failure = server_failure(message.clone());
    workflow_task::give_up(&mut tx, cause, Some(failure), &request.identity);
    close::terminate(&mut tx, &message);
    Decision::of_refused([tx], Rejection::invalid_argument(message))
}

fn server_failure(message: String) -> Failure {
    Failure {
        message,
        failure_info: Some(FailureFailureInfo::ServerFailureInfo(
            ServerFailureInfo::default(),
        )),
        ..Failure::default()
    }
}

/// # Errors
/// If a blob of the command is larger than one may be.
fn within_limits(attributes: &CommandAttributes, ctx: &Context<'_>) -> Result<(), CommandError> {
    use CommandAttributes as A;
    let limits = ctx.limits;
    let of = |payloads: &Option<Payloads>| {
        payloads
            .as_ref()
            .map_or(0, |payloads| validate::bytes_of(&payloads.payloads))
    };
    let (bytes, what) = match attributes {
        A::ScheduleActivityTask(a) => (of(&a.input), "ScheduleActivityTaskCommandAttributes.Input"),
        A::CompleteWorkflowExecution(a) => (
            of(&a.result),
            "CompleteWorkflowExecutionCommandAttributes.Result",
        ),
        A::FailWorkflowExecution(a) => (
            a.failure.as_ref().map_or(0, codec::encoded_len),
            "FailWorkflowExecutionCommandAttributes.Failure",
        ),
        A::RecordMarker(a) => (
            a.details
                .values()
                .map(|details| validate::bytes_of(&details.payloads))
                .sum(),
            "RecordMarkerCommandAttributes.Details",
        ),
        A::ContinueAsNewWorkflowExecution(a) => (
            of(&a.input),
            "ContinueAsNewWorkflowExecutionCommandAttributes. Input",
        ),
        A::StartChildWorkflowExecution(a) => (
            of(&a.input),
            "StartChildWorkflowExecutionCommandAttributes. Input",
        ),
        A::SignalExternalWorkflowExecution(a) => (
            of(&a.input),
            "SignalExternalWorkflowExecutionCommandAttributes.Input",
        ),
        A::ModifyWorkflowProperties(a) => (
            a.upserted_memo
                .as_ref()
                .map_or(0, |memo| validate::bytes_of(memo.fields.values())),
            "ModifyWorkflowPropertiesCommandAttributes",
        ),
        _ => return Ok(()),
    };
    if bytes <= limits.blob_bytes_max {
        return Ok(());
    }
    let cause = WorkflowTaskFailedCause::BadScheduleActivityAttributes;
    Err(CommandError::Terminate {
        cause,
        message: format!("{cause:?}: {what} exceeds size limit."),
    })
}

fn negative_duration(attributes: &CommandAttributes, field: &str, ctx: &Context<'_>) -> String {
    use CommandAttributes as A;
    let why = "negative duration";
    match attributes {
        A::StartTimer(a) => {
            let timer_id = &a.timer_id;
            format!("An invalid {field} is set on StartTimerCommand: {why}. TimerId={timer_id}")
        }
        A::StartChildWorkflowExecution(a) => {
            let workflow_id = &a.workflow_id;
            let workflow_type = a.workflow_type.as_ref().map_or("", |kind| &kind.name);
            let namespace = &ctx.namespace.name;
            format!(
                "Invalid {field} on StartChildWorkflowExecutionCommand: {why}. WorkflowId={workflow_id} WorkflowType={workflow_type} Namespace={namespace}"
            )
        }
        A::ContinueAsNewWorkflowExecution(a) => {
            let workflow_type = a.workflow_type.as_ref().map_or("", |kind| &kind.name);
            let queue = a.task_queue.as_ref().map_or("", |queue| &queue.name);
            format!(
                "Invalid {field} on ContinueAsNewWorkflowExecutionCommand: {why}. WorkflowType={workflow_type} TaskQueue=name:{queue:?} kind:TASK_QUEUE_KIND_NORMAL"
            )
        }
        _ if field.ends_with("Interval") => format!("invalid {field} set on retry policy: {why}"),
        _ => format!("invalid {field}: {why}"),
    }
}

/// Fails the task for a bad command. On a later attempt nothing is written: the attempt ends by its time-out.
fn refused(
    run: &Run,
    attempt: i32,
    cause: WorkflowTaskFailedCause,
    message: String,
    request: &RespondWorkflowTaskCompletedRequest,
    ctx: &Context<'_>,
) -> Decision {
    let unhandled = cause == WorkflowTaskFailedCause::UnhandledCommand;
    let rejection = Rejection::invalid_argument(message.clone());
    let mut tx = Transaction::of(run, ctx);
    if attempt > 1 && !unhandled {
        update::abort_sent(&mut tx);
        return Decision::of_refused([tx], rejection);
    }
    let failure = server_failure(message);
    workflow_task::fail(&mut tx, cause, Some(failure), &request.identity, |_| {});
    update::abort_sent(&mut tx);
    if unhandled {
        tx.fact(Fact::CloseRefused(true));
    }
    Decision::of_refused([tx], rejection)
}

fn finish(
    mut tx: Transaction<'_>,
    outcome: Outcome<'_>,
    request: &RespondWorkflowTaskCompletedRequest,
    held_since: Option<Timestamp>,
    reset_history_event_id: i64,
) -> Decision {
    let mut handout = None;
    if tx.run().is_open() {
        if tx.run().close_refused {
            tx.fact(Fact::CloseRefused(false));
        }
        let more = buffer::flush(&mut tx);
        let is_due = more || request.force_create_new_workflow_task || tx.wants_task();
        let has_updates = update::is_waited_for(tx.run());
        if is_due || has_updates && !request.return_new_workflow_task {
            workflow_task::schedule_if_none(&mut tx);
            if let Some(since) = held_since.filter(|_| !more && !tx.wants_task()) {
                workflow_task::hold_since(&mut tx, since);
            }
        } else if has_updates && tx.run().workflow_task.is_none() {
            workflow_task::schedule_speculative(&mut tx);
        }
        if (is_due || has_updates) && request.return_new_workflow_task {
            handout = Some(Box::new(returned_task(
                &mut tx,
                request,
                &outcome.worker_id,
            )));
        }
    }
    let response = RespondWorkflowTaskCompletedResponse {
        activity_tasks: outcome.eager,
        reset_history_event_id,
        ..RespondWorkflowTaskCompletedResponse::default()
    };
    let reply = Reply::WorkflowTaskCompleted {
        response: Box::new(response),
        workflow_task: handout,
    };
    Decision::of([tx].into_iter().chain(outcome.next_run), reply)
}

/// Starts the next workflow task for the worker that has completed one.
fn returned_task(
    tx: &mut Transaction<'_>,
    request: &RespondWorkflowTaskCompletedRequest,
    worker_id: &str,
) -> TaskHandout {
    // A worker that is busy still has the updates that it was given before.
    let unseen = request
        .force_create_new_workflow_task
        .then(|| update::unseen(tx.run()));
    tx.take_dispatch();
    workflow_task::start(tx, &request.identity, RETURNED_TASK_REQUEST_ID, worker_id);
    let mut returned = workflow_task::handout(tx.run(), true);
    returned.history_from = tx.run().last_task_completed_event_id;
    if let Some(unseen) = unseen {
        returned
            .response
            .messages
            .retain(|message| unseen.contains(&message.protocol_instance_id));
    }
    returned
}

/// A text as a JSON payload. `text` must not need escaping.
pub(crate) fn json_text(text: &str) -> Payload {
    Payload {
        metadata: [("encoding".to_owned(), "json/plain".into())].into(),
        data: format!("\"{text}\"").into(),
        ..Payload::default()
    }
}

/// The types that end a run.
pub(crate) const CLOSING: [CommandType; 4] = [
    CommandType::CompleteWorkflowExecution,
    CommandType::FailWorkflowExecution,
    CommandType::CancelWorkflowExecution,
    CommandType::ContinueAsNewWorkflowExecution,
];
