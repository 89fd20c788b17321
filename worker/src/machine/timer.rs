//! Timers of a run: started by a command, ended by firing or by a cancel command.

use std::collections::BTreeMap;
use std::time::Duration;

use fermata_proto::command::{CancelTimerCommandAttributes, StartTimerCommandAttributes};

use super::scope::ScopeId;
use super::slot::{Outcome, Sequence};
use super::state::State;
use crate::error::cancelled;

struct OpenTimer {
    scope: ScopeId,
}

/// The timers that run; a timer's id is its sequence number in digits.
#[derive(Default)]
pub(crate) struct Timers {
    open: BTreeMap<Sequence, OpenTimer>,
}

impl Timers {
    /// What goes down with `scopes`.
    pub fn within(&self, scopes: &[ScopeId]) -> Vec<Sequence> {
        let within = self
            .open
            .iter()
            .filter(|(_, timer)| scopes.contains(&timer.scope));
        within.map(|(sequence, _)| *sequence).collect()
    }
}

impl State {
    pub fn start_timer(&mut self, length: Duration, scope: ScopeId) -> Sequence {
        let sequence = self.next_sequence();
        self.slots.open(sequence);
        self.commands.push(
            sequence,
            StartTimerCommandAttributes {
                timer_id: sequence.to_string(),
                start_to_fire_timeout: Some(length),
            },
        );
        self.timers.open.insert(sequence, OpenTimer { scope });
        sequence
    }

    pub fn cancel_timer(&mut self, sequence: Sequence) {
        if self.timers.open.remove(&sequence).is_none() {
            return;
        }
        if !self.commands.retract(sequence) {
            let timer_id = sequence.to_string();
            let cancel = CancelTimerCommandAttributes { timer_id };
            self.commands.push(sequence, cancel);
        }
        let failure = cancelled("timer canceled".to_owned(), None);
        self.slots
            .resolve(sequence, Outcome::Cancelled(Box::new(failure)));
    }

    /// False if no such timer runs.
    pub(super) fn fire_timer(&mut self, timer_id: &str) -> bool {
        let Ok(sequence) = timer_id.parse() else {
            return false;
        };
        if self.timers.open.remove(&sequence).is_none() {
            return false;
        }
        self.slots.resolve(sequence, Outcome::Done(None));
        true
    }
}
