//! How fast a worker takes activities: its own rate, and its share of its task queue's.
//!
//! The queue's rate is shared by the workers that announce themselves on the queue: each takes at most its even part. Nobody
//! counts for all of them, so no task waits for a counter; what a busy worker could take of an idle one's part is left.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// How much of a second's tasks may come at once after a quiet time.
const BURST: Duration = Duration::from_millis(100);

/// Lets at most so many through in a second.
#[derive(Clone)]
pub(super) struct RateLimit {
    per_second: f64,
    /// Among so many the rate is divided.
    shared_by: Option<watch::Receiver<usize>>,
    /// When the next one is let through.
    next: Arc<Mutex<Instant>>,
}

impl RateLimit {
    pub fn new(per_second: f64, shared_by: Option<watch::Receiver<usize>>) -> Self {
        Self {
            per_second,
            shared_by,
            next: Arc::new(Mutex::new(Instant::now())),
        }
    }

    /// How many a second it lets through now.
    pub fn per_second(&self) -> f64 {
        let workers = self.shared_by.as_ref().map_or(1, |count| *count.borrow());
        self.per_second / workers.max(1) as f64
    }

    /// Waits for its turn. Dropped while it waits, the turn is lost.
    pub async fn wait(&self) {
        let at = self.take_turn(Instant::now());
        tokio::time::sleep_until(at).await;
    }

    fn take_turn(&self, now: Instant) -> Instant {
        // Nothing a clock can tell apart from never, and nothing that a duration cannot hold.
        let step = Duration::from_secs_f64(1.0 / self.per_second().clamp(1e-6, 1e9));
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let earliest = now.checked_sub(BURST).unwrap_or(now);
        let at = (*next).max(earliest);
        *next = at + step;
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many turns come within `span`.
    fn turns(limit: &RateLimit, span: Duration) -> usize {
        let now = Instant::now();
        (0..10_000)
            .take_while(|_| limit.take_turn(now) < now + span)
            .count()
    }

    #[test]
    fn a_rate_is_kept() {
        let limit = RateLimit::new(50.0, None);
        let count = turns(&limit, Duration::from_secs(2));
        assert!((100..=106).contains(&count), "{count}");
    }

    #[test]
    fn a_shared_rate_is_divided_among_those_who_are_there() {
        let (workers, count) = watch::channel(4);
        let limit = RateLimit::new(50.0, Some(count));
        assert!((limit.per_second() - 12.5).abs() < 1e-9);
        workers.send_replace(0);
        assert!((limit.per_second() - 50.0).abs() < 1e-9);
    }
}
