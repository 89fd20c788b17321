//! Side effects: values that code takes from outside once, written down so that every replay sees the same.

use fermata_proto::command::RecordMarkerCommandAttributes;
use fermata_proto::common::Payloads;

use super::marker;
use super::slot::UNNUMBERED;
use super::state::State;

/// What became of asking for a side effect.
pub(crate) enum SideEffect {
    /// As recorded in history.
    Recorded(Option<Payloads>),
    /// To be made now, and handed to [`State::record_side_effect`].
    New(i64),
    /// The code repeats what history does not hold.
    Missing,
}

impl State {
    pub fn side_effect(&mut self) -> SideEffect {
        self.last_side_effect += 1;
        let id = self.last_side_effect;
        if !self.is_replaying {
            return SideEffect::New(id);
        }
        match self.recorded.side_effects.remove(&id) {
            Some(value) => {
                self.record_side_effect(id, value.clone());
                SideEffect::Recorded(value)
            }
            None => {
                // The marker that history lacks is what the task is going to fail with.
                self.record_side_effect(id, None);
                SideEffect::Missing
            }
        }
    }

    pub fn record_side_effect(&mut self, id: i64, value: Option<Payloads>) {
        let mut details = std::collections::BTreeMap::new();
        details.insert(marker::SIDE_EFFECT_ID.to_owned(), marker::json(&id));
        if let Some(value) = value {
            details.insert(marker::DATA.to_owned(), value);
        }
        let attributes = RecordMarkerCommandAttributes {
            marker_name: marker::SIDE_EFFECT.to_owned(),
            details,
            ..RecordMarkerCommandAttributes::default()
        };
        self.check_writable();
        self.commands
            .push_marker(UNNUMBERED, id.to_string(), attributes);
    }
}
