//! What can go wrong in a simulation. Probabilities are from 0 to 1 and apply to each message by itself.

use std::ops::RangeInclusive;
use std::time::Duration;

/// Set by [`super::SimulatedBroker::set_faults`], at any time.
#[derive(Debug, Clone, PartialEq)]
pub struct Faults {
    /// How long each message is under way in one direction; whole milliseconds. Messages of one connection keep their order.
    pub delay: RangeInclusive<Duration>,
    /// The record is in the log and its acknowledgement never comes.
    pub acknowledgement_lost: f64,
    /// The record is not in the log and no word of that comes.
    pub append_lost: f64,
    /// A load, a store or the like gets no answer, though it took place.
    pub answer_lost: f64,
    /// A request gets to its owner twice.
    pub request_repeated: f64,
    /// A request or its reply is lost on the way.
    pub request_lost: f64,
    /// A task is delivered twice.
    pub task_repeated: f64,
    /// A task never reaches its queue. The owners hear of it by `tasks_lost`, when its acknowledgement is overdue.
    pub task_lost: f64,
    /// Nothing more can be written to a file.
    pub disk_full: bool,
}

impl Faults {
    /// Nothing goes wrong, and each message takes a millisecond.
    pub fn none() -> Self {
        Self {
            delay: Duration::from_millis(1)..=Duration::from_millis(1),
            acknowledgement_lost: 0.0,
            append_lost: 0.0,
            answer_lost: 0.0,
            request_repeated: 0.0,
            request_lost: 0.0,
            task_repeated: 0.0,
            task_lost: 0.0,
            disk_full: false,
        }
    }

    /// Everything that can happen by itself happens now and then.
    pub fn rough() -> Self {
        Self {
            delay: Duration::ZERO..=Duration::from_millis(20),
            acknowledgement_lost: 0.01,
            append_lost: 0.01,
            answer_lost: 0.01,
            request_repeated: 0.05,
            request_lost: 0.02,
            task_repeated: 0.05,
            task_lost: 0.02,
            disk_full: false,
        }
    }
}

impl Default for Faults {
    fn default() -> Self {
        Self::none()
    }
}
