//! Markers: what workflow code writes down for its own replay.

use fermata_proto::command::{Command, RecordMarkerCommandAttributes};
use fermata_proto::enums::WorkflowTaskFailedCause as Cause;
use fermata_proto::event::*;

use crate::command::CommandError;
use crate::transaction::Transaction;

pub(crate) fn on_record(
    tx: &mut Transaction<'_>,
    completed_event_id: i64,
    command: &Command,
    attributes: &RecordMarkerCommandAttributes,
) -> Result<(), CommandError> {
    let bad = |text: &str| {
        CommandError::fail(
            Cause::BadRecordMarkerAttributes,
            format!("BadRecordMarkerAttributes: {text}"),
        )
    };
    if attributes.marker_name.is_empty() {
        return Err(bad("MarkerName is not set on RecordMarkerCommand."));
    }
    if attributes.marker_name.len() > tx.ctx.limits.id_length_max {
        return Err(bad(
            "MarkerName on RecordMarkerCommand exceeds length limit.",
        ));
    }
    let marker = MarkerRecordedEventAttributes {
        marker_name: attributes.marker_name.clone(),
        details: attributes.details.clone(),
        workflow_task_completed_event_id: completed_event_id,
        header: attributes.header.clone(),
        failure: attributes.failure.clone(),
    };
    tx.write(HistoryEvent {
        user_metadata: command.user_metadata.clone(),
        attributes: Some(marker.into()),
        ..HistoryEvent::default()
    });
    Ok(())
}
