//! Patches: which of two ways code takes, written down once so that every replay takes the same.
//!
//! | | live | replay, the marker is in history | replay, it is not |
//! |---|---|---|---|
//! | `patched` | true, and a marker | true | false |
//! | `deprecate_patch` | a marker that says deprecated | | |
//! | neither, the call is gone | | fine if the marker says deprecated, else non-determinism | |

use std::collections::BTreeMap;

use fermata_proto::command::{
    RecordMarkerCommandAttributes, UpsertWorkflowSearchAttributesCommandAttributes,
};
use fermata_proto::common::SearchAttributes;
use fermata_proto::event::{HistoryEvent, HistoryEventAttributes};

use super::marker::{self, PatchData};
use super::slot::UNNUMBERED;
use super::state::State;

/// The search attribute that lists a run's patches, by which one finds the runs that still need old code.
const CHANGE_VERSION: &str = "TemporalChangeVersion";

#[derive(Default)]
pub(crate) struct Patches {
    /// What `patched` said: it says the same for the rest of the run.
    known: BTreeMap<String, bool>,
    /// In the order in which the code met them.
    taken: Vec<String>,
    /// The marker of a call that is gone was passed over: so is the search attribute that came with it.
    passes_over: bool,
}

impl State {
    /// Whether the code takes the new way.
    pub fn patched(&mut self, id: &str, deprecated: bool) -> bool {
        if let Some(&known) = self.patches.known.get(id) {
            return known;
        }
        let is_taken = !self.is_replaying || self.recorded.patches.contains(id);
        self.patches.known.insert(id.to_owned(), is_taken);
        if is_taken {
            self.record_patch(id, deprecated);
        }
        is_taken
    }

    fn record_patch(&mut self, id: &str, deprecated: bool) {
        self.patches.taken.push(id.to_owned());
        let data = PatchData {
            id: id.to_owned(),
            deprecated,
        };
        let attributes = RecordMarkerCommandAttributes {
            marker_name: marker::PATCH.to_owned(),
            details: [(marker::PATCH_DATA.to_owned(), marker::json(&data))].into(),
            ..RecordMarkerCommandAttributes::default()
        };
        self.check_writable();
        self.commands
            .push_marker(UNNUMBERED, id.to_owned(), attributes);
        let list = marker::keyword_list(&self.patches.taken);
        let field = (CHANGE_VERSION.to_owned(), list);
        self.search_attributes
            .insert(field.0.clone(), field.1.clone());
        let attributes = UpsertWorkflowSearchAttributesCommandAttributes {
            search_attributes: Some(SearchAttributes {
                indexed_fields: [field].into(),
            }),
        };
        self.commands.push(UNNUMBERED, attributes);
    }

    /// Whether `event` tells of a patch whose deprecated call is gone from the code.
    pub(super) fn passes_over(&mut self, event: &HistoryEvent) -> bool {
        use HistoryEventAttributes as A;
        match &event.attributes {
            Some(A::MarkerRecorded(recorded)) if recorded.marker_name == marker::PATCH => {
                let Some(data) = marker::patch(&recorded.details) else {
                    return false;
                };
                let is_gone = data.deprecated && !self.commands.awaits_marker(&data.id);
                self.patches.passes_over = is_gone;
                is_gone
            }
            Some(A::UpsertWorkflowSearchAttributes(upsert)) => {
                let passes_over = std::mem::take(&mut self.patches.passes_over);
                let fields = upsert.search_attributes.as_ref().map(|a| &a.indexed_fields);
                passes_over && fields.is_some_and(|fields| fields.keys().eq([CHANGE_VERSION]))
            }
            _ => false,
        }
    }
}
