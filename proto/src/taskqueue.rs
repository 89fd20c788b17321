//! Task queues and their statistics.
//!
//! Mirrors of Temporal's protobuf messages, which each type names.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::common::WorkerVersionCapabilities;
use crate::deployment::{WorkerDeploymentOptions, WorkerDeploymentVersion};
use crate::enums::{BuildIdTaskReachability, TaskQueueKind};
use crate::pb;
use crate::time::Timestamp;
use crate::wire::message;

message! {
    /// `temporal.api.taskqueue.v1.TaskQueue`.
    TaskQueue = pb::taskqueue::v1::TaskQueue {
        name: String,
        kind: TaskQueueKind,
        normal_name: String,
    }
}

message! {
    /// `temporal.api.taskqueue.v1.PollerScalingDecision`.
    PollerScalingDecision = pb::taskqueue::v1::PollerScalingDecision {
        poll_request_delta_suggestion: i32,
    }
}

message! {
    /// `temporal.api.taskqueue.v1.PollerGroupInfo`.
    PollerGroupInfo = pb::taskqueue::v1::PollerGroupInfo {
        id: String,
        weight: f32,
    }
}

message! {
    /// `temporal.api.taskqueue.v1.PollerGroupsInfo`.
    PollerGroupsInfo = pb::taskqueue::v1::PollerGroupsInfo {
        version: i64,
        poller_groups: Vec<PollerGroupInfo>,
    }
}

message! {
    /// `temporal.api.taskqueue.v1.StickyExecutionAttributes`.
    StickyExecutionAttributes = pb::taskqueue::v1::StickyExecutionAttributes {
        worker_task_queue: Option<TaskQueue>,
        schedule_to_start_timeout: Option<Duration>,
    }
}

message! {
    /// `temporal.api.taskqueue.v1.TaskQueueMetadata`.
    TaskQueueMetadata = pb::taskqueue::v1::TaskQueueMetadata {
        max_tasks_per_second: Option<f64>,
    }
}

message! {
    /// `temporal.api.taskqueue.v1.TaskQueueVersionSelection`.
    TaskQueueVersionSelection = pb::taskqueue::v1::TaskQueueVersionSelection {
        build_ids: Vec<String>,
        unversioned: bool,
        all_active: bool,
    }
}

message! {
    /// `temporal.api.taskqueue.v1.PollerInfo`.
    PollerInfo = pb::taskqueue::v1::PollerInfo {
        last_access_time: Option<Timestamp>,
        identity: String,
        rate_per_second: f64,
        worker_version_capabilities: Option<WorkerVersionCapabilities>,
        deployment_options: Option<WorkerDeploymentOptions>,
    }
}

message! {
    /// `temporal.api.taskqueue.v1.TaskQueueStats`.
    TaskQueueStats = pb::taskqueue::v1::TaskQueueStats {
        approximate_backlog_count: i64,
        approximate_backlog_age: Option<Duration>,
        tasks_add_rate: f32,
        tasks_dispatch_rate: f32,
        rate_limiting_active: bool,
    }
}

message! {
    /// `temporal.api.taskqueue.v1.TaskQueueVersioningInfo`.
    TaskQueueVersioningInfo = pb::taskqueue::v1::TaskQueueVersioningInfo {
        current_deployment_version: Option<WorkerDeploymentVersion>,
        current_version: String,
        ramping_deployment_version: Option<WorkerDeploymentVersion>,
        ramping_version: String,
        ramping_version_percentage: f32,
        update_time: Option<Timestamp>,
    }
}

message! {
    /// `temporal.api.taskqueue.v1.TaskQueueConfig`.
    TaskQueueConfig = pb::taskqueue::v1::TaskQueueConfig {
        queue_rate_limit: Option<RateLimitConfig>,
        fairness_keys_rate_limit_default: Option<RateLimitConfig>,
        fairness_weight_overrides: BTreeMap<String, f32>,
    }
}

message! {
    /// `temporal.api.taskqueue.v1.RateLimitConfig`.
    RateLimitConfig = pb::taskqueue::v1::RateLimitConfig {
        rate_limit: Option<RateLimit>,
        metadata: Option<ConfigMetadata>,
    }
}

message! {
    /// `temporal.api.taskqueue.v1.RateLimit`.
    RateLimit = pb::taskqueue::v1::RateLimit {
        requests_per_second: f32,
    }
}

message! {
    /// `temporal.api.taskqueue.v1.ConfigMetadata`.
    ConfigMetadata = pb::taskqueue::v1::ConfigMetadata {
        reason: String,
        update_identity: String,
        update_time: Option<Timestamp>,
    }
}

message! {
    /// `temporal.api.taskqueue.v1.TaskQueueStatus`.
    TaskQueueStatus = pb::taskqueue::v1::TaskQueueStatus {
        backlog_count_hint: i64,
        read_level: i64,
        ack_level: i64,
        rate_per_second: f64,
        task_id_block: Option<TaskIdBlock>,
    }
}

message! {
    /// `temporal.api.taskqueue.v1.TaskIdBlock`.
    TaskIdBlock = pb::taskqueue::v1::TaskIdBlock {
        start_id: i64,
        end_id: i64,
    }
}

message! {
    /// `temporal.api.taskqueue.v1.TaskQueueVersionInfo`.
    TaskQueueVersionInfo = pb::taskqueue::v1::TaskQueueVersionInfo {
        types_info: BTreeMap<i32, TaskQueueTypeInfo>,
        task_reachability: BuildIdTaskReachability,
    }
}

message! {
    /// `temporal.api.taskqueue.v1.TaskQueueTypeInfo`.
    TaskQueueTypeInfo = pb::taskqueue::v1::TaskQueueTypeInfo {
        pollers: Vec<PollerInfo>,
        stats: Option<TaskQueueStats>,
    }
}
