//! Checks of what clients send, before any rule looks at it. The words are what Temporal's clients know.

use fermata_proto::rpc::Rejection;
use fermata_proto::service::StartWorkflowExecutionRequest;

use crate::context::Context;

pub(crate) fn start(
    request: &StartWorkflowExecutionRequest,
    ctx: &Context<'_>,
) -> Result<(), Rejection> {
    let max = ctx.limits.id_length_max;
    let required = |text: &str, name: &str| {
        if text.is_empty() {
            Err(Rejection::invalid_argument(format!(
                "{name} is not set on request."
            )))
        } else if text.len() > max {
            Err(Rejection::invalid_argument(format!(
                "{name} exceeds length limit."
            )))
        } else {
            Ok(())
        }
    };
    required(&request.workflow_id, "WorkflowId")?;
    required(
        request.workflow_type.as_ref().map_or("", |kind| &kind.name),
        "WorkflowType",
    )?;
    required(
        request.task_queue.as_ref().map_or("", |queue| &queue.name),
        "TaskQueue",
    )?;
    Ok(())
}
