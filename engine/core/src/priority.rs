//! Priorities: what a workflow starts takes from it what it does not say itself.

use fermata_proto::common::Priority;

/// `own` with what it leaves open taken from `base`.
pub(crate) fn merged(base: Option<&Priority>, own: Option<&Priority>) -> Option<Priority> {
    let (Some(base), Some(own)) = (base, own) else {
        return own.or(base).cloned();
    };
    let mut merged = own.clone();
    if merged.priority_key == 0 {
        merged.priority_key = base.priority_key;
    }
    if merged.fairness_key.is_empty() {
        merged.fairness_key.clone_from(&base.fairness_key);
    }
    if merged.fairness_weight == 0.0 {
        merged.fairness_weight = base.fairness_weight;
    }
    Some(merged)
}

/// Temporal's limit.
const FAIRNESS_KEY_BYTES_MAX: usize = 64;

/// # Errors
/// What is wrong with a priority.
pub(crate) fn check(priority: Option<&Priority>) -> Result<(), &'static str> {
    let Some(priority) = priority else {
        return Ok(());
    };
    if priority.priority_key < 0 {
        return Err("priority key can't be negative");
    }
    if priority.fairness_key.len() > FAIRNESS_KEY_BYTES_MAX {
        return Err("fairness key length exceeds limit");
    }
    if priority.fairness_weight < 0.0 {
        return Err("must be greater than zero");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn priority(priority_key: i32, fairness_key: &str, fairness_weight: f32) -> Priority {
        Priority {
            priority_key,
            fairness_key: fairness_key.to_owned(),
            fairness_weight,
        }
    }

    #[test]
    fn what_is_out_of_bounds_is_refused() {
        assert!(check(None).is_ok());
        assert!(check(Some(&priority(0, &"k".repeat(64), 0.0))).is_ok());
        let refused = [
            priority(-1, "", 0.0),
            priority(0, &"k".repeat(65), 0.0),
            priority(0, "", -1.0),
        ];
        for priority in refused {
            assert!(check(Some(&priority)).is_err(), "{priority:?}");
        }
    }

    #[test]
    fn each_field_that_is_left_open_is_taken_from_the_base() {
        let base = priority(1, "base", 2.0);
        let (own, all) = (priority(0, "own", 0.0), priority(5, "own", 4.0));
        let expected = Some(priority(1, "own", 2.0));
        assert_eq!(merged(Some(&base), Some(&own)), expected);
        assert_eq!(merged(Some(&base), Some(&all)), Some(all.clone()));
        assert_eq!(merged(Some(&base), None), Some(base));
        assert_eq!(merged(None, Some(&own)), Some(own));
        assert_eq!(merged(None, None), None);
    }
}
