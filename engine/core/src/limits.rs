//! What happens when a run outgrows a bound that no single request or command breaks.
//!
//! | bound | outcome |
//! |---|---|
//! | events or bytes of history | the run is terminated |
//! | buffered events or their bytes | the started workflow task fails, the buffer is written, a new task is scheduled |
//!
//! Looked at once, when a transition is complete.

use fermata_proto::enums::WorkflowTaskFailedCause;

use crate::transaction::Transaction;
use crate::{close, workflow_task};

pub(crate) fn enforce(tx: &mut Transaction<'_>) {
    let limits = tx.ctx.limits;
    if !tx.run().is_open() {
        return;
    }
    let buffered = &tx.run().buffered;
    if buffered.len() > limits.buffered_events_max
        || tx.run().buffered_bytes > limits.buffered_bytes_max
    {
        let cause = WorkflowTaskFailedCause::ForceCloseCommand;
        workflow_task::give_up(tx, cause, None, close::HISTORY_SERVICE);
        workflow_task::schedule_if_none(tx);
    }
    let reason = if tx.run().next_event_id - 1 > limits.history_events_max {
        "Workflow history count exceeds limit."
    } else if tx.run().history_bytes > limits.history_bytes_max {
        "Workflow history size exceeds limit."
    } else {
        return;
    };
    close::give_up_task(tx);
    close::terminate(tx, reason);
}
