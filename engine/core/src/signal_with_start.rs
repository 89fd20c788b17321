//! Signal-with-start: a signal to the open run, or a new run that begins with it.

use fermata_proto::enums::WorkflowIdConflictPolicy;
use fermata_proto::rpc::{Rejection, Response, SignalWorkflow};
use fermata_proto::service::*;

use crate::context::Context;
use crate::decision::{Decision, Reply, View};
use crate::run::Run;
use crate::transaction::Transaction;
use crate::{signal, start, validate};

pub(crate) fn on_signal_with_start(
    view: &View<'_>,
    request: &SignalWithStartWorkflowExecutionRequest,
    ctx: &Context<'_>,
) -> Result<Decision, Rejection> {
    let start_request = StartWorkflowExecutionRequest {
        namespace: request.namespace.clone(),
        workflow_id: request.workflow_id.clone(),
        workflow_type: request.workflow_type.clone(),
        task_queue: request.task_queue.clone(),
        input: request.input.clone(),
        workflow_execution_timeout: request.workflow_execution_timeout,
        workflow_run_timeout: request.workflow_run_timeout,
        workflow_task_timeout: request.workflow_task_timeout,
        identity: request.identity.clone(),
        request_id: request.request_id.clone(),
        workflow_id_reuse_policy: request.workflow_id_reuse_policy,
        workflow_id_conflict_policy: match request.workflow_id_conflict_policy {
            WorkflowIdConflictPolicy::Unspecified => WorkflowIdConflictPolicy::UseExisting,
            given => given,
        },
        retry_policy: request.retry_policy.clone(),
        cron_schedule: request.cron_schedule.clone(),
        memo: request.memo.clone(),
        search_attributes: request.search_attributes.clone(),
        header: request.header.clone(),
        workflow_start_delay: request.workflow_start_delay,
        user_metadata: request.user_metadata.clone(),
        links: request.links.clone(),
        versioning_override: request.versioning_override.clone(),
        priority: request.priority.clone(),
        ..StartWorkflowExecutionRequest::default()
    };
    if request.signal_name.is_empty() {
        return Err(Rejection::invalid_argument("signal not set"));
    }
    if start_request.workflow_id_conflict_policy == WorkflowIdConflictPolicy::Fail {
        return Err(Rejection::invalid_argument(
            "Invalid WorkflowIDConflictPolicy: WORKFLOW_ID_CONFLICT_POLICY_FAIL is not supported for this operation.",
        ));
    }
    if request.signal_name.len() > ctx.limits.id_length_max {
        return Err(Rejection::invalid_argument(
            "SignalName length exceeds limit.",
        ));
    }
    validate::blob(request.signal_input.as_ref(), ctx).map_err(Rejection::invalid_argument)?;
    let start_request = validate::signal_with_start(&start_request, ctx)?;
    let signal = SignalWorkflow {
        request: SignalWorkflowExecutionRequest {
            signal_name: request.signal_name.clone(),
            input: request.signal_input.clone(),
            identity: request.identity.clone(),
            request_id: request.request_id.clone(),
            header: request.header.clone(),
            links: request.links.clone(),
            ..SignalWorkflowExecutionRequest::default()
        },
        sender: None,
    };
    match start::admit(view, &start_request, ctx)? {
        start::Admission::Existing { run, .. } => {
            let mut tx = Transaction::of(run, ctx);
            if run.is_open() && !run.request_ids.contains_key(&request.request_id) {
                signal::may_take(run, ctx)?;
                signal::write(&mut tx, &signal);
            }
            let reply = reply(run, false, request, ctx);
            Ok(Decision::one(tx, reply))
        }
        start::Admission::New { terminated } => {
            let tx = start::begin_with(&start_request, &start::Origin::default(), ctx, |tx| {
                signal::write_event(tx, &signal);
            });
            let terminated = start::terminate(terminated, &tx);
            let reply = reply(tx.run(), true, request, ctx);
            Ok(Decision::of(terminated.into_iter().chain([tx]), reply))
        }
    }
}

fn reply(
    run: &Run,
    started: bool,
    request: &SignalWithStartWorkflowExecutionRequest,
    ctx: &Context<'_>,
) -> Reply {
    let response = SignalWithStartWorkflowExecutionResponse {
        run_id: run.run_id.clone(),
        first_execution_run_id: run.started.first_execution_run_id.clone(),
        started,
        signal_link: Some(signal::link(run, &request.request_id, ctx)),
    };
    Reply::Response(Response::SignalWithStartWorkflowExecution(Box::new(
        response,
    )))
}
