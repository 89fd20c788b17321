//! Which workers hold what of this partition, and which of them are lost.
//!
//! | the worker of a started task | is lost |
//! |---|---|
//! | announces itself | no |
//! | announced itself since it holds something here, and does no more | at once |
//! | is unknown (its claim overtook its announcement, the partition was taken over) | after a grace |
//! | has no id (a gRPC worker, a NATS client of one's own) | never: time-outs tell of its end |
//!
//! Runs are noted whether they are loaded or not. Deliberately absent: clocks, and what is done about a lost worker.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::state::RunId;
use crate::workers::Workers;

/// What one worker holds.
#[derive(Debug, Default)]
struct Held {
    runs: BTreeSet<RunId>,
    /// As it announced itself, since it holds something here.
    ttl: Option<Duration>,
    absent_since: Option<Instant>,
}

/// A run of which a lost worker holds something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    pub run_id: RunId,
    pub worker_id: Arc<str>,
    /// At least for so long.
    pub silent_for: Duration,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Claimants {
    by_worker: BTreeMap<Arc<str>, Held>,
    by_run: HashMap<RunId, Vec<Arc<str>>>,
    lost: VecDeque<Lost>,
    /// Somebody has come who was not judged yet.
    has_new: bool,
}

impl Claimants {
    /// These workers, and no others, hold something of the run now.
    pub fn note(&mut self, run_id: &RunId, workers: &BTreeSet<&str>) {
        let before = self.by_run.remove(run_id).unwrap_or_default();
        for worker in &before {
            if !workers.contains(&**worker)
                && let Some(held) = self.by_worker.get_mut(worker)
            {
                held.runs.remove(run_id);
                if held.runs.is_empty() {
                    self.by_worker.remove(worker);
                }
            }
        }
        if workers.is_empty() {
            return;
        }
        let mut now = Vec::with_capacity(workers.len());
        for worker in workers {
            let id = match before.iter().find(|known| known.as_ref() == *worker) {
                Some(known) => known.clone(),
                None => Arc::from(*worker),
            };
            let held = self.by_worker.entry(id.clone()).or_insert_with(|| {
                self.has_new = true;
                Held::default()
            });
            held.runs.insert(run_id.clone());
            now.push(id);
        }
        self.by_run.insert(run_id.clone(), now);
    }

    /// Finds the lost ones. To be asked when `present` has changed, and at [`Self::next_check`].
    pub fn judge(&mut self, present: &Workers, grace: Duration, now: Instant) {
        if !present.is_complete() {
            return;
        }
        self.has_new = false;
        let mut gone = Vec::new();
        for (worker_id, held) in &mut self.by_worker {
            if let Some(ttl) = present.ttl(worker_id) {
                held.ttl = Some(ttl);
                held.absent_since = None;
                continue;
            }
            let since = *held.absent_since.get_or_insert(now);
            if held.ttl.is_some() || now - since >= grace {
                gone.push(worker_id.clone());
            }
        }
        for worker_id in gone {
            let Some(held) = self.by_worker.remove(&worker_id) else {
                continue;
            };
            for run_id in held.runs {
                if let Some(workers) = self.by_run.get_mut(&run_id) {
                    workers.retain(|known| *known != worker_id);
                    if workers.is_empty() {
                        self.by_run.remove(&run_id);
                    }
                }
                self.lost.push_back(Lost {
                    run_id,
                    worker_id: worker_id.clone(),
                    silent_for: held.ttl.unwrap_or(grace),
                });
            }
        }
    }

    /// Whether somebody should be judged who never was.
    pub fn has_new(&self) -> bool {
        self.has_new
    }

    /// When an unknown worker's grace ends.
    pub fn next_check(&self, grace: Duration) -> Option<Instant> {
        self.by_worker
            .values()
            .filter_map(|held| held.absent_since)
            .min()
            .map(|since| since + grace)
    }

    pub fn has_lost(&self) -> bool {
        !self.lost.is_empty()
    }

    pub fn next_lost(&mut self) -> Option<Lost> {
        self.lost.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(2);
    const TTL: Duration = Duration::from_secs(5);

    fn present(workers: &[&str]) -> Workers {
        Workers::all(workers.iter().map(|id| ((*id).to_owned(), TTL)))
    }

    fn holding(run: &str, workers: &[&str]) -> Claimants {
        let mut claimants = Claimants::default();
        claimants.note(&run.into(), &workers.iter().copied().collect());
        claimants
    }

    fn lost(claimants: &mut Claimants) -> Vec<(String, String, Duration)> {
        std::iter::from_fn(|| claimants.next_lost())
            .map(|lost| {
                (
                    lost.run_id.to_string(),
                    lost.worker_id.to_string(),
                    lost.silent_for,
                )
            })
            .collect()
    }

    #[test]
    fn a_worker_that_was_there_is_lost_at_once() {
        let mut claimants = holding("run", &["one", "two"]);
        let now = Instant::now();
        claimants.judge(&present(&["one", "two"]), GRACE, now);
        assert!(!claimants.has_lost());
        claimants.judge(&present(&["two"]), GRACE, now);
        let expected = [("run".to_owned(), "one".to_owned(), TTL)];
        assert_eq!(lost(&mut claimants), expected);
        claimants.judge(&present(&["two"]), GRACE, now + TTL);
        assert!(!claimants.has_lost(), "it is lost once");
    }

    #[test]
    fn an_unknown_worker_has_a_grace() {
        let mut claimants = holding("run", &["one"]);
        let now = Instant::now();
        assert!(claimants.has_new());
        claimants.judge(&present(&[]), GRACE, now);
        assert!(!claimants.has_lost() && !claimants.has_new());
        assert_eq!(claimants.next_check(GRACE), Some(now + GRACE));
        claimants.judge(&present(&[]), GRACE, now + GRACE);
        let expected = [("run".to_owned(), "one".to_owned(), GRACE)];
        assert_eq!(lost(&mut claimants), expected);
    }

    #[test]
    fn a_worker_that_comes_within_its_grace_is_not_lost() {
        let mut claimants = holding("run", &["one"]);
        let now = Instant::now();
        claimants.judge(&present(&[]), GRACE, now);
        claimants.judge(&present(&["one"]), GRACE, now + GRACE / 2);
        assert_eq!(claimants.next_check(GRACE), None);
        claimants.judge(&present(&["one"]), GRACE, now + GRACE * 2);
        assert!(!claimants.has_lost());
    }

    #[test]
    fn nobody_is_judged_before_all_are_known() {
        let mut claimants = holding("run", &["one"]);
        let now = Instant::now();
        claimants.judge(&Workers::default(), GRACE, now);
        claimants.judge(&Workers::default(), GRACE, now + GRACE * 2);
        assert!(!claimants.has_lost());
        assert_eq!(claimants.next_check(GRACE), None);
    }

    #[test]
    fn a_worker_that_holds_nothing_more_is_forgotten() {
        let mut claimants = holding("run", &["one"]);
        let now = Instant::now();
        claimants.judge(&present(&["one"]), GRACE, now);
        claimants.note(&"run".into(), &BTreeSet::new());
        claimants.judge(&present(&[]), GRACE, now);
        assert!(!claimants.has_lost());
        assert!(claimants.by_worker.is_empty() && claimants.by_run.is_empty());
    }

    #[test]
    fn a_claim_of_a_worker_that_was_lost_counts_anew() {
        let mut claimants = holding("run", &["one"]);
        let now = Instant::now();
        claimants.judge(&present(&["one"]), GRACE, now);
        claimants.judge(&present(&[]), GRACE, now);
        assert_eq!(lost(&mut claimants).len(), 1);
        claimants.note(&"run".into(), &["one"].into());
        claimants.judge(&present(&[]), GRACE, now);
        assert!(!claimants.has_lost());
        claimants.judge(&present(&[]), GRACE, now + GRACE);
        assert_eq!(lost(&mut claimants).len(), 1);
    }
}
