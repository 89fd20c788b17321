//! Waiting for a condition, with a deadline.

use std::panic::Location;
use std::time::{Duration, Instant};

const PAUSE_MIN: Duration = Duration::from_millis(1);
const PAUSE_MAX: Duration = Duration::from_millis(50);

/// Asks `probe` again and again until it gives a value, and returns that.
///
/// A probe that hangs is cut off at the deadline, so it must be safe to drop halfway.
///
/// # Panics
/// After `deadline`, naming `what` was waited for and the line that waited.
#[track_caller]
pub fn wait_for<T>(
    what: &str,
    deadline: Duration,
    mut probe: impl AsyncFnMut() -> Option<T>,
) -> impl Future<Output = T> {
    let caller = Location::caller();
    async move {
        let end = Instant::now() + deadline;
        let mut pause = PAUSE_MIN;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if let Ok(Some(found)) = tokio::time::timeout(left, probe()).await {
                return found;
            }
            assert!(
                Instant::now() < end,
                "no {what} within {deadline:?} (waited for at {caller})"
            );
            tokio::time::sleep(pause.min(left)).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_value_of_the_first_successful_probe_is_returned() {
        let mut asked = 0;
        let found = wait_for("third answer", Duration::from_secs(5), async || {
            asked += 1;
            (asked == 3).then_some(asked)
        })
        .await;
        assert_eq!(found, 3);
    }

    #[tokio::test]
    #[should_panic(expected = "no sign of life within 20ms (waited for at tests")]
    async fn a_hanging_probe_ends_at_the_deadline() {
        wait_for("sign of life", Duration::from_millis(20), async || {
            std::future::pending::<Option<()>>().await
        })
        .await;
    }
}
