//! Options of activities.
//!
//! Mirrors of Temporal's protobuf messages, which each type names.

use std::time::Duration;

use crate::common::{Priority, RetryPolicy};
use crate::pb;
use crate::taskqueue::TaskQueue;
use crate::wire::message;

message! {
    /// `temporal.api.activity.v1.ActivityOptions`.
    ActivityOptions = pb::activity::v1::ActivityOptions {
        task_queue: Option<TaskQueue>,
        schedule_to_close_timeout: Option<Duration>,
        schedule_to_start_timeout: Option<Duration>,
        start_to_close_timeout: Option<Duration>,
        heartbeat_timeout: Option<Duration>,
        retry_policy: Option<RetryPolicy>,
        priority: Option<Priority>,
        start_delay: Option<Duration>,
    }
}
