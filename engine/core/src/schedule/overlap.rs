//! What becomes of the actions that are due, by their overlap policies.
//!
//! | policy | nothing runs | something runs |
//! |---|---|---|
//! | allow all | starts | starts |
//! | skip | starts | skipped |
//! | buffer one | starts | waits, if it is the only one, else skipped |
//! | buffer all | starts | waits |
//! | cancel other | starts instead of one that starts now | waits; what runs is asked to cancel |
//! | terminate other | starts instead of one that starts now | waits; what runs is terminated |
//!
//! "Something" is an action of another policy than allow all, and the first action that starts now counts as running for
//! those behind it.

use std::collections::VecDeque;

use fermata_proto::enums::ScheduleOverlapPolicy as Policy;

use super::state::Buffered;

/// The outcome for a whole buffer.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Sorted {
    /// Actions that start whatever runs.
    pub overlapping: Vec<Buffered>,
    /// The one that starts because nothing runs.
    pub alone: Option<Buffered>,
    pub waiting: VecDeque<Buffered>,
    pub skipped: i64,
    pub cancels: bool,
    pub terminates: bool,
}

/// `overlapping_max` bounds how many of the overlapping ones start now; the others wait.
pub(super) fn sort(
    buffer: &VecDeque<Buffered>,
    is_running: bool,
    policy_of_schedule: Policy,
    overlapping_max: usize,
) -> Sorted {
    let mut sorted = Sorted::default();
    // Besides those that only wait for room.
    let mut in_turn = 0;
    for start in buffer {
        let policy = match start.overlap_policy {
            Policy::Unspecified => policy_of_schedule,
            given => given,
        };
        if policy == Policy::AllowAll {
            if sorted.overlapping.len() < overlapping_max {
                sorted.overlapping.push(start.clone());
            } else {
                sorted.waiting.push_back(start.clone());
            }
            continue;
        }
        if !is_running && sorted.alone.is_none() {
            sorted.alone = Some(start.clone());
            continue;
        }
        let waits = match policy {
            Policy::Skip | Policy::Unspecified | Policy::AllowAll => false,
            Policy::BufferOne => in_turn == 0,
            Policy::BufferAll => true,
            Policy::CancelOther | Policy::TerminateOther if !is_running => {
                sorted.alone = Some(start.clone());
                continue;
            }
            Policy::CancelOther => {
                sorted.cancels = true;
                true
            }
            Policy::TerminateOther => {
                sorted.terminates = true;
                true
            }
        };
        if waits {
            in_turn += 1;
            sorted.waiting.push_back(start.clone());
        } else {
            sorted.skipped += 1;
        }
    }
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;
    use fermata_proto::time::Timestamp;

    fn buffer(policies: &[Policy]) -> VecDeque<Buffered> {
        let at = |(index, policy): (usize, &Policy)| Buffered {
            nominal: Timestamp::from_millis(i64::try_from(index).unwrap()),
            overlap_policy: *policy,
            ..Buffered::default()
        };
        policies.iter().enumerate().map(at).collect()
    }

    /// Indices of what starts alone, what overlaps and what waits.
    fn outcome(policies: &[Policy], is_running: bool) -> (Option<i64>, Vec<i64>, Vec<i64>, i64) {
        let sorted = sort(&buffer(policies), is_running, Policy::Skip, 10);
        let index = |start: &Buffered| start.nominal.as_millis();
        (
            sorted.alone.as_ref().map(index),
            sorted.overlapping.iter().map(index).collect(),
            sorted.waiting.iter().map(index).collect(),
            sorted.skipped,
        )
    }

    #[test]
    fn one_starts_when_nothing_runs_and_the_others_follow_their_policies() {
        use Policy::*;
        let all = [Skip, Unspecified, BufferOne, BufferOne, BufferAll, AllowAll];
        assert_eq!(outcome(&all, false), (Some(0), vec![5], vec![2, 4], 2));
        assert_eq!(outcome(&all, true), (None, vec![5], vec![2, 4], 3));
    }

    #[test]
    fn cancel_and_terminate_replace_what_has_not_begun() {
        use Policy::*;
        assert_eq!(
            outcome(&[Skip, CancelOther, TerminateOther], false),
            (Some(2), vec![], vec![], 0)
        );
        let sorted = sort(&buffer(&[CancelOther, TerminateOther]), true, Skip, 10);
        assert!(sorted.cancels && sorted.terminates);
        assert_eq!(sorted.waiting.len(), 2);
    }

    #[test]
    fn overlapping_ones_wait_for_room() {
        use Policy::*;
        let sorted = sort(&buffer(&[AllowAll, AllowAll, BufferOne]), true, Skip, 1);
        assert_eq!((sorted.overlapping.len(), sorted.waiting.len()), (1, 2));
    }
}
