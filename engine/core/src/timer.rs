//! Timers of a workflow.

use std::sync::Arc;

use fermata_proto::command::{CancelTimerCommandAttributes, Command, StartTimerCommandAttributes};
use fermata_proto::enums::WorkflowTaskFailedCause as Cause;
use fermata_proto::event::*;
use fermata_proto::time::Timestamp;

use crate::change::Fact;
use crate::command::CommandError;
use crate::run::{Run, Timer};
use crate::transaction::Transaction;
use crate::workflow_task;

pub(crate) fn on_start(
    tx: &mut Transaction<'_>,
    completed_event_id: i64,
    command: &Command,
    attributes: &StartTimerCommandAttributes,
) -> Result<(), CommandError> {
    let bad = |text: &str| {
        CommandError::fail(
            Cause::BadStartTimerAttributes,
            format!("BadStartTimerAttributes: {text}"),
        )
    };
    if attributes.timer_id.is_empty() {
        return Err(bad("TimerId is not set on StartTimerCommand."));
    }
    if attributes.timer_id.len() > tx.ctx.limits.id_length_max {
        return Err(bad("TimerId on StartTimerCommand exceeds length limit."));
    }
    if tx.run().timers.contains_key(&attributes.timer_id) {
        return Err(CommandError::fail(
            Cause::StartTimerDuplicateId,
            format!(
                "StartTimerDuplicateId: invalid history builder state for action: add-timer-started-event, TimerID: {}",
                attributes.timer_id
            ),
        ));
    }
    tx.write(HistoryEvent {
        user_metadata: command.user_metadata.clone(),
        attributes: Some(
            TimerStartedEventAttributes {
                timer_id: attributes.timer_id.clone(),
                start_to_fire_timeout: attributes.start_to_fire_timeout,
                workflow_task_completed_event_id: completed_event_id,
            }
            .into(),
        ),
        ..HistoryEvent::default()
    });
    Ok(())
}

pub(crate) fn on_cancel(
    tx: &mut Transaction<'_>,
    completed_event_id: i64,
    attributes: &CancelTimerCommandAttributes,
    identity: &str,
) -> Result<(), CommandError> {
    if attributes.timer_id.is_empty() {
        return Err(CommandError::fail(
            Cause::BadCancelTimerAttributes,
            "BadCancelTimerAttributes: TimerId is not set on CancelTimerCommand.",
        ));
    }
    let Some(timer) = tx.run().timers.get(&attributes.timer_id) else {
        return Err(CommandError::fail(
            Cause::BadCancelTimerAttributes,
            format!(
                "BadCancelTimerAttributes: invalid history builder state for action: add-timer-canceled-event, TimerID: {}",
                attributes.timer_id
            ),
        ));
    };
    let (started_event_id, firing) = (timer.started_event_id, timer.firing);
    if firing {
        // It fired, but nobody has seen it: it has not.
        let mut buffered = tx.run().buffered.clone();
        buffered.retain(|buffered| {
            !matches!(&buffered.event.attributes, Some(HistoryEventAttributes::TimerFired(fired))
                if fired.started_event_id == started_event_id)
        });
        tx.fact(Fact::Buffer(buffered));
    }
    tx.event(TimerCanceledEventAttributes {
        timer_id: attributes.timer_id.clone(),
        started_event_id,
        workflow_task_completed_event_id: completed_event_id,
        identity: identity.to_owned(),
    });
    Ok(())
}

pub(crate) fn deadline(run: &Run) -> Option<Timestamp> {
    run.timers
        .values()
        .filter(|timer| !timer.firing)
        .map(|timer| timer.fires_at)
        .min()
}

/// Fires what is due, in the order of deadlines.
pub(crate) fn on_deadline(tx: &mut Transaction<'_>) {
    let mut due: Vec<(Timestamp, i64, String)> = tx
        .run()
        .timers
        .iter()
        .filter(|(_, timer)| !timer.firing && timer.fires_at <= tx.ctx.now)
        .map(|(id, timer)| (timer.fires_at, timer.started_event_id, id.clone()))
        .collect();
    due.sort();
    for (_, started_event_id, timer_id) in due {
        let attributes = TimerFiredEventAttributes {
            timer_id,
            started_event_id,
        };
        let event = HistoryEvent {
            attributes: Some(attributes.into()),
            ..HistoryEvent::default()
        };
        tx.write_or_buffer(event);
        workflow_task::schedule_if_none(tx);
    }
}

pub(crate) fn apply_started(
    run: &mut Run,
    event: &HistoryEvent,
    attributes: &TimerStartedEventAttributes,
) {
    let timer = Timer {
        started_event_id: event.event_id,
        fires_at: event.event_time.unwrap_or_default()
            + attributes.start_to_fire_timeout.unwrap_or_default(),
        firing: false,
    };
    Arc::make_mut(&mut run.timers).insert(attributes.timer_id.clone(), timer);
}

pub(crate) fn apply_gone(run: &mut Run, timer_id: &str) {
    Arc::make_mut(&mut run.timers).remove(timer_id);
}

/// The firing stands in the buffer.
pub(crate) fn apply_buffered(run: &mut Run, timer_id: &str) {
    if let Some(timer) = Arc::make_mut(&mut run.timers).get_mut(timer_id) {
        timer.firing = true;
    }
}
