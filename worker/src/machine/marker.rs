//! Markers: what workflow code writes into history for its own replay, and what of it lies ahead.
//!
//! | marker | made by | details |
//! |---|---|---|
//! | `core_local_activity` | a local activity that ended | `data`: JSON of [`LocalActivityData`]; `result` |
//! | `core_patch` | [`crate::WorkflowContext::patched`] | `patch-data`: JSON of [`PatchData`] |
//! | `SideEffect` | [`crate::WorkflowContext::side_effect`] | `side-effect-id`: a number; `data` |
//!
//! The first two are as Temporal's core SDK writes them (`coresdk.external_data`), the last as the Go SDK does. When a
//! workflow task of history is replayed, its markers are read first ([`Recorded`]): code asks for their values before their
//! events come. So it is with the updates that it accepted.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use fermata_proto::common::{Payload, Payloads};
use fermata_proto::event::{
    HistoryEvent, HistoryEventAttributes, MarkerRecordedEventAttributes,
    WorkflowExecutionUpdateAcceptedEventAttributes,
};
use fermata_proto::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::payload::{from_payloads, to_payload};

pub(crate) const LOCAL_ACTIVITY: &str = "core_local_activity";
pub(crate) const PATCH: &str = "core_patch";
pub(crate) const SIDE_EFFECT: &str = "SideEffect";

pub(crate) const DATA: &str = "data";
pub(crate) const RESULT: &str = "result";
pub(crate) const PATCH_DATA: &str = "patch-data";
pub(crate) const SIDE_EFFECT_ID: &str = "side-effect-id";

/// Seconds and nanoseconds, as the core SDK writes times and durations in JSON.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Parts {
    pub seconds: i64,
    pub nanos: i32,
}

impl From<Timestamp> for Parts {
    fn from(time: Timestamp) -> Self {
        let (seconds, nanos) = time.to_parts();
        Self { seconds, nanos }
    }
}

impl From<Parts> for Timestamp {
    fn from(parts: Parts) -> Self {
        Self::from_parts(parts.seconds, parts.nanos).unwrap_or_default()
    }
}

impl From<Duration> for Parts {
    fn from(length: Duration) -> Self {
        Self {
            seconds: i64::try_from(length.as_secs()).unwrap_or(i64::MAX),
            nanos: length.subsec_nanos().cast_signed(),
        }
    }
}

impl From<Parts> for Duration {
    fn from(parts: Parts) -> Self {
        let seconds = u64::try_from(parts.seconds).unwrap_or_default();
        Self::new(seconds, u32::try_from(parts.nanos).unwrap_or_default())
    }
}

/// `coresdk.external_data.LocalActivityMarkerData`. Persisted in histories: names never change.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct LocalActivityData {
    /// The step of the run, and the activity id in digits.
    pub seq: u32,
    pub attempt: u32,
    #[serde(default)]
    pub activity_id: String,
    #[serde(default)]
    pub activity_type: String,
    /// What the workflow's clock shows from here on.
    #[serde(default)]
    pub complete_time: Option<Parts>,
    /// It failed, and is tried again after a timer of this length.
    #[serde(default)]
    pub backoff: Option<Parts>,
    #[serde(default)]
    pub original_schedule_time: Option<Parts>,
}

/// `coresdk.external_data.PatchedMarkerData`. Persisted in histories: names never change.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct PatchData {
    pub id: String,
    #[serde(default)]
    pub deprecated: bool,
}

/// One value as a list of payloads.
pub(crate) fn json<T: Serialize + 'static>(value: &T) -> Payloads {
    let payload = to_payload(value).expect("marker data has a JSON form");
    Payloads {
        payloads: vec![payload],
    }
}

/// The list of patches that visibility shows of a run.
pub(crate) fn keyword_list(words: &[String]) -> Payload {
    let mut payload = to_payload(&words.to_vec()).expect("texts have a JSON form");
    payload
        .metadata
        .insert("type".to_owned(), "KeywordList".into());
    payload
}

/// What tells a marker from others of its name; empty for markers that this SDK does not make.
pub(crate) fn id_of(name: &str, details: &BTreeMap<String, Payloads>) -> String {
    match name {
        LOCAL_ACTIVITY => local_activity(details)
            .map(|data| local_activity_id(data.seq, &data.activity_type))
            .unwrap_or_default(),
        PATCH => patch(details).map(|data| data.id).unwrap_or_default(),
        SIDE_EFFECT => side_effect_id(details)
            .map(|id| id.to_string())
            .unwrap_or_default(),
        _ => String::new(),
    }
}

/// `3 charge`.
pub(crate) fn local_activity_id(seq: u32, activity_type: &str) -> String {
    format!("{seq} {activity_type}")
}

pub(crate) fn local_activity(details: &BTreeMap<String, Payloads>) -> Option<LocalActivityData> {
    // Not by way of the converter: it would look at the type first, and this is read for every marker.
    let payload = details.get(DATA)?.payloads.first()?;
    serde_json::from_slice(&payload.data).ok()
}

pub(crate) fn patch(details: &BTreeMap<String, Payloads>) -> Option<PatchData> {
    from_payloads(Some(details.get(PATCH_DATA)?)).ok()
}

fn side_effect_id(details: &BTreeMap<String, Payloads>) -> Option<i64> {
    from_payloads(Some(details.get(SIDE_EFFECT_ID)?)).ok()
}

/// A local activity's end as a marker tells it.
#[derive(Debug, Clone)]
pub(crate) struct RecordedLocalActivity {
    pub event_id: i64,
    pub data: LocalActivityData,
    pub marker: std::sync::Arc<MarkerRecordedEventAttributes>,
}

/// What the workflow task that is replayed wrote for those that come after.
#[derive(Default)]
pub(crate) struct Recorded {
    pub patches: BTreeSet<String>,
    pub side_effects: BTreeMap<i64, Option<Payloads>>,
    pub local_activities: VecDeque<RecordedLocalActivity>,
    /// The updates that it accepted.
    pub updates: Vec<std::sync::Arc<WorkflowExecutionUpdateAcceptedEventAttributes>>,
}

impl Recorded {
    /// Of the task whose completion and commands come first in `events`.
    pub fn ahead(events: &[HistoryEvent]) -> Self {
        use HistoryEventAttributes as A;
        let mut recorded = Self::default();
        for event in events {
            let Some(attributes) = &event.attributes else {
                continue;
            };
            let marker = match attributes {
                A::MarkerRecorded(marker) => marker,
                A::WorkflowExecutionUpdateAccepted(accepted) => {
                    recorded.updates.push(accepted.clone());
                    continue;
                }
                A::WorkflowTaskScheduled(_) | A::WorkflowTaskStarted(_) => break,
                _ => continue,
            };
            match &*marker.marker_name {
                LOCAL_ACTIVITY => {
                    if let Some(data) = local_activity(&marker.details) {
                        recorded.local_activities.push_back(RecordedLocalActivity {
                            event_id: event.event_id,
                            data,
                            marker: marker.clone(),
                        });
                    }
                }
                PATCH => recorded
                    .patches
                    .extend(patch(&marker.details).map(|data| data.id)),
                SIDE_EFFECT => {
                    if let Some(id) = side_effect_id(&marker.details) {
                        let value = marker.details.get(DATA).cloned();
                        recorded.side_effects.insert(id, value);
                    }
                }
                _ => {}
            }
        }
        recorded
    }
}
