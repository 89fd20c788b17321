//! What activity code calls: [`ActivityContext`]. Who runs it: [`crate::worker`].

mod context;
mod heartbeat;

pub use context::{ActivityContext, ActivityInfo, ActivityToken, CancelReason};
pub(crate) use heartbeat::Throttle;
