//! What mutable state knows of an update.
//!
//! | stage | by | request kept |
//! |---|---|---|
//! | admitted | a fact, or the UpdateAdmitted event of a reset | yes; an event's stays in history |
//! | sent | a fact, when the workflow task with it starts | as before |
//! | accepted | the UpdateAccepted event, which holds the request | no |
//! | completed | the UpdateCompleted event, which holds the outcome | no |
//! | rejected, aborted | a fact; nothing is left | |
//!
//! Persisted: field names never change.

use std::collections::BTreeMap;
use std::sync::Arc;

use fermata_proto::codec;
use fermata_proto::enums::EventType;
use fermata_proto::event::*;
use fermata_proto::update::Request;
use fermata_proto::wire::is_default;
use serde::{Deserialize, Serialize};

use crate::run::{RequestIdRecord, Run};

/// One update of a run, under its id.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Update {
    #[serde(skip_serializing_if = "is_default")]
    pub stage: Stage,
    /// Tells the order of arrival among those that are not accepted.
    #[serde(skip_serializing_if = "is_default")]
    pub number: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub request: Option<Arc<Request>>,
    /// 0 until accepted.
    #[serde(skip_serializing_if = "is_default")]
    pub accepted_event_id: i64,
    /// 0 until completed.
    #[serde(skip_serializing_if = "is_default")]
    pub completed_event_id: i64,
}

/// How far an update is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Stage {
    #[default]
    Admitted,
    Sent,
    Accepted,
    Completed,
}

impl Update {
    /// The bytes that its request takes in mutable state.
    pub(crate) fn request_bytes(&self) -> usize {
        self.request.as_deref().map_or(0, codec::encoded_len)
    }
}

/// Those that wait for a worker's word, in order of arrival.
pub(crate) fn unaccepted(run: &Run) -> Vec<(&String, &Update)> {
    let mut unaccepted: Vec<_> = run
        .updates
        .iter()
        .filter(|(_, update)| update.stage < Stage::Accepted)
        .collect();
    unaccepted.sort_by_key(|(_, update)| update.number);
    unaccepted
}

fn updates(run: &mut Run) -> &mut BTreeMap<String, Update> {
    Arc::make_mut(&mut run.updates)
}

pub(crate) fn apply_admitted(run: &mut Run, update_id: &str, request: Option<Arc<Request>>) {
    let updates = updates(run);
    let last = updates.values().map(|update| update.number).max();
    let update = Update {
        stage: Stage::Admitted,
        number: last.map_or(0, |last| last + 1),
        request,
        ..Update::default()
    };
    updates.insert(update_id.to_owned(), update);
}

pub(crate) fn apply_admitted_event(
    run: &mut Run,
    attributes: &WorkflowExecutionUpdateAdmittedEventAttributes,
) {
    let meta = attributes
        .request
        .as_ref()
        .and_then(|request| request.meta.as_ref());
    if let Some(meta) = meta {
        apply_admitted(run, &meta.update_id, None);
    }
}

pub(crate) fn apply_sent(run: &mut Run) {
    for update in updates(run).values_mut() {
        if update.stage == Stage::Admitted {
            update.stage = Stage::Sent;
        }
    }
}

pub(crate) fn apply_gone(run: &mut Run, update_id: &str) {
    updates(run).remove(update_id);
}

pub(crate) fn apply_accepted(
    run: &mut Run,
    event: &HistoryEvent,
    attributes: &WorkflowExecutionUpdateAcceptedEventAttributes,
) {
    let update = updates(run)
        .entry(attributes.protocol_instance_id.clone())
        .or_default();
    update.stage = Stage::Accepted;
    update.request = None;
    update.accepted_event_id = event.event_id;
    let request_id = attributes
        .accepted_request
        .as_ref()
        .map_or("", |request| &request.request_id);
    if !request_id.is_empty() {
        let record = RequestIdRecord {
            event_type: EventType::WorkflowExecutionUpdateAccepted,
            event_id: event.event_id,
        };
        Arc::make_mut(&mut run.request_ids)
            .entry(request_id.to_owned())
            .or_insert(record);
    }
}

pub(crate) fn apply_completed(
    run: &mut Run,
    event: &HistoryEvent,
    attributes: &WorkflowExecutionUpdateCompletedEventAttributes,
) {
    let meta = attributes.meta.as_ref();
    let update = updates(run)
        .entry(meta.map(|meta| meta.update_id.clone()).unwrap_or_default())
        .or_default();
    update.stage = Stage::Completed;
    update.accepted_event_id = attributes.accepted_event_id;
    update.completed_event_id = event.event_id;
}
