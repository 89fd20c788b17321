//! A visibility record as a row of the table `runs`.

use std::time::Duration;

use fermata_proto::common::{Payload, SearchAttributes};
use fermata_proto::enums::WorkflowExecutionStatus;
use fermata_proto::time::Timestamp;
use fermata_proto::visibility::VisibilityRecord;
use fermata_proto::wire::Wire;
use fermata_proto::workflow::WorkflowExecutionInfo;
use prost::Message;
use serde_json::Value;

use super::attribute::NAMESPACE_DIVISION;

/// The metadata that names a search attribute's type.
pub const TYPE_METADATA: &str = "type";

/// The columns of a run.
#[derive(Debug, PartialEq)]
pub struct Row {
    pub namespace_id: String,
    pub run_id: String,
    pub workflow_id: String,
    pub workflow_type: String,
    pub status: i32,
    pub start_time: i64,
    pub execution_time: i64,
    pub close_time: Option<i64>,
    pub execution_duration: Option<i64>,
    pub task_queue: String,
    pub history_length: Option<i64>,
    pub history_bytes: Option<i64>,
    pub transitions: Option<i64>,
    pub parent_workflow_id: Option<String>,
    pub parent_run_id: Option<String>,
    pub root_workflow_id: Option<String>,
    pub root_run_id: Option<String>,
    pub division: Option<String>,
    /// Search attributes as JSON: times in nanoseconds, texts as lists of words.
    pub attributes: String,
    /// `WorkflowExecutionInfo` in protobuf, as lists give it.
    pub info: Vec<u8>,
    /// When the broker drops the record.
    pub expires_at: Option<i64>,
}

impl Row {
    /// The row of a run that was published at `published` to stay for `ttl`.
    pub fn of(record: &VisibilityRecord, published: Timestamp, ttl: Option<Duration>) -> Self {
        let info = &record.info;
        let ids = |execution: &Option<fermata_proto::common::WorkflowExecution>| {
            let execution = execution.as_ref();
            (
                execution.map(|execution| execution.workflow_id.clone()),
                execution.map(|execution| execution.run_id.clone()),
            )
        };
        let (workflow_id, run_id) = ids(&info.execution);
        let (parent_workflow_id, parent_run_id) = ids(&info.parent_execution);
        let (root_workflow_id, root_run_id) = ids(&info.root_execution);
        let shown = shown(info);
        let attributes = json(info.search_attributes.as_ref());
        let when_closed = |number: i64| info.close_time.map(|_| number);
        Self {
            namespace_id: record.namespace_id.0.clone(),
            run_id: run_id.unwrap_or_default(),
            workflow_id: workflow_id.unwrap_or_default(),
            workflow_type: info
                .r#type
                .as_ref()
                .map(|of| of.name.clone())
                .unwrap_or_default(),
            status: info.status as i32,
            start_time: info.start_time.unwrap_or_default().as_nanos(),
            execution_time: info
                .execution_time
                .or(info.start_time)
                .unwrap_or_default()
                .as_nanos(),
            close_time: info.close_time.map(Timestamp::as_nanos),
            execution_duration: shown
                .execution_duration
                .map(|duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)),
            task_queue: info.task_queue.clone(),
            history_length: when_closed(info.history_length),
            history_bytes: when_closed(info.history_size_bytes),
            transitions: when_closed(info.state_transition_count),
            parent_workflow_id,
            parent_run_id,
            root_workflow_id,
            root_run_id,
            division: attributes
                .get(NAMESPACE_DIVISION)
                .and_then(Value::as_str)
                .map(str::to_owned),
            attributes: Value::Object(attributes).to_string(),
            info: shown.into_wire().encode_to_vec(),
            expires_at: ttl.map(|ttl| (published + ttl).as_nanos()),
        }
    }
}

/// What lists show of a run: less than describe does, and the sizes only when it has closed.
fn shown(info: &WorkflowExecutionInfo) -> WorkflowExecutionInfo {
    let is_open = matches!(
        info.status,
        WorkflowExecutionStatus::Running | WorkflowExecutionStatus::Paused
    );
    let mut shown = WorkflowExecutionInfo {
        execution: info.execution.clone(),
        r#type: info.r#type.clone(),
        start_time: info.start_time,
        execution_time: info.execution_time,
        close_time: info.close_time,
        status: info.status,
        parent_execution: info.parent_execution.clone(),
        root_execution: info.root_execution.clone(),
        memo: Some(info.memo.clone().unwrap_or_default()),
        search_attributes: Some(info.search_attributes.clone().unwrap_or_default()),
        task_queue: info.task_queue.clone(),
        ..WorkflowExecutionInfo::default()
    };
    if !is_open {
        shown.history_length = info.history_length;
        shown.history_size_bytes = info.history_size_bytes;
        shown.state_transition_count = info.state_transition_count;
        shown.execution_duration = info
            .close_time
            .map(|close| close.since(info.execution_time.or(info.start_time).unwrap_or(close)));
    }
    shown
}

fn json(attributes: Option<&SearchAttributes>) -> serde_json::Map<String, Value> {
    let fields = attributes.into_iter().flat_map(|all| &all.indexed_fields);
    fields
        .filter_map(|(name, payload)| Some((name.clone(), stored(payload)?)))
        .collect()
}

/// A search attribute's value in the form that filters compare with; nothing for null or what is no JSON.
fn stored(payload: &Payload) -> Option<Value> {
    let value: Value = serde_json::from_slice(&payload.data).ok()?;
    let value_type = payload
        .metadata
        .get(TYPE_METADATA)
        .map(|name| &name[..])
        .unwrap_or_default();
    match (value_type, value) {
        (_, Value::Null) => None,
        (b"Datetime", Value::String(text)) => {
            let time: jiff::Timestamp = text.parse().ok()?;
            i64::try_from(time.as_nanosecond()).ok().map(Value::from)
        }
        (b"Text", Value::String(text)) => Some(words(&text).map(Value::from).collect()),
        (_, value) => Some(value),
    }
}

/// The words of a text, in lower case.
pub fn words(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
}
