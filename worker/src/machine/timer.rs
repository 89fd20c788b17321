//! Timers of a run: started by a command, ended by firing or by a cancel command.

use std::collections::BTreeMap;
use std::time::Duration;

use fermata_proto::command::{CancelTimerCommandAttributes, StartTimerCommandAttributes};

use super::slot::{Outcome, Sequence};
use super::state::State;
use crate::error::cancelled;

struct OpenTimer {
    /// Not cancelled with the workflow.
    shielded: bool,
}

/// The timers that run; a timer's id is its sequence number in digits.
#[derive(Default)]
pub(crate) struct Timers {
    open: BTreeMap<Sequence, OpenTimer>,
}

impl Timers {
    /// What goes down when the workflow is cancelled.
    pub fn unshielded(&self) -> Vec<Sequence> {
        let open = self.open.iter().filter(|(_, timer)| !timer.shielded);
        open.map(|(sequence, _)| *sequence).collect()
    }
}

impl State {
    pub fn start_timer(&mut self, length: Duration, shielded: bool) -> Sequence {
        let sequence = self.next_sequence();
        self.slots.open(sequence);
        self.commands.push(
            sequence,
            StartTimerCommandAttributes {
                timer_id: sequence.to_string(),
                start_to_fire_timeout: Some(length),
            },
        );
        self.timers.open.insert(sequence, OpenTimer { shielded });
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
