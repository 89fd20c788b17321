//! When runs are due: a heap of (deadline, run). Entries are not removed when a run's deadline moves: whoever takes one
//! out asks whether it still stands.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use fermata_proto::time::Timestamp;

use super::state::RunId;

/// See the module.
#[derive(Debug, Default)]
pub struct Deadlines {
    heap: BinaryHeap<Reverse<(Timestamp, RunId)>>,
}

impl Deadlines {
    pub fn arm(&mut self, deadline: Timestamp, run_id: RunId) {
        self.heap.push(Reverse((deadline, run_id)));
    }

    /// The earliest one, which may no longer stand.
    pub fn next(&self) -> Option<Timestamp> {
        self.heap.peek().map(|Reverse((deadline, _))| *deadline)
    }

    /// Takes the earliest one out if it is not later than `now`.
    pub fn take_due(&mut self, now: Timestamp) -> Option<(Timestamp, RunId)> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| entry)
    }

    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Drops entries that do not stand, once they are the larger part.
    pub fn compact(&mut self, live: usize, stands: impl Fn(&RunId, Timestamp) -> bool) {
        if self.heap.len() < 1_024 || self.heap.len() < live.saturating_mul(4) {
            return;
        }
        let entries: std::collections::BTreeSet<_> = std::mem::take(&mut self.heap)
            .into_iter()
            .map(|Reverse(entry)| entry)
            .filter(|(deadline, run_id)| stands(run_id, *deadline))
            .collect();
        self.heap = entries.into_iter().map(Reverse).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn the_earliest_deadline_comes_first_and_none_before_its_time() {
        let mut deadlines = Deadlines::default();
        deadlines.arm(at(20), "b".into());
        deadlines.arm(at(10), "a".into());
        assert_eq!(deadlines.next(), Some(at(10)));
        assert_eq!(deadlines.take_due(at(9)), None);
        assert_eq!(deadlines.take_due(at(15)), Some((at(10), "a".into())));
        assert_eq!(deadlines.take_due(at(15)), None);
        assert_eq!(deadlines.take_due(at(20)), Some((at(20), "b".into())));
    }

    #[test]
    fn compaction_keeps_what_stands_and_only_that() {
        let mut deadlines = Deadlines::default();
        for millis in 0..2_000 {
            deadlines.arm(at(millis), "moving".into());
        }
        deadlines.arm(at(5), "other".into());
        deadlines.compact(2, |run_id, deadline| {
            &**run_id == "other" || deadline == at(1_999)
        });
        assert_eq!(deadlines.len(), 2);
        assert_eq!(deadlines.take_due(at(5)), Some((at(5), "other".into())));
        assert_eq!(deadlines.next(), Some(at(1_999)));
    }
}
