//! What workers tell of themselves.
//!
//! Mirrors of Temporal's protobuf messages, which each type names.

use std::time::Duration;

use crate::deployment::WorkerDeploymentVersion;
use crate::enums::{
    EnvironmentInfoArchitecture, EnvironmentInfoHostingEnvironmentHostingEnvironmentType,
    EnvironmentInfoLinuxPlatformLibc, EnvironmentInfoRuntimeRuntimeType,
    EnvironmentInfoWindowsPlatformCrt, WorkerStatus,
};
use crate::pb;
use crate::time::Timestamp;
use crate::wire::{message, oneof};

message! {
    /// `temporal.api.worker.v1.WorkerHeartbeat`.
    WorkerHeartbeat = pb::worker::v1::WorkerHeartbeat {
        worker_instance_key: String,
        worker_identity: String,
        host_info: Option<WorkerHostInfo>,
        task_queue: String,
        deployment_version: Option<WorkerDeploymentVersion>,
        sdk_name: String,
        sdk_version: String,
        status: WorkerStatus,
        start_time: Option<Timestamp>,
        heartbeat_time: Option<Timestamp>,
        elapsed_since_last_heartbeat: Option<Duration>,
        workflow_task_slots_info: Option<WorkerSlotsInfo>,
        activity_task_slots_info: Option<WorkerSlotsInfo>,
        nexus_task_slots_info: Option<WorkerSlotsInfo>,
        local_activity_slots_info: Option<WorkerSlotsInfo>,
        workflow_poller_info: Option<WorkerPollerInfo>,
        workflow_sticky_poller_info: Option<WorkerPollerInfo>,
        activity_poller_info: Option<WorkerPollerInfo>,
        nexus_poller_info: Option<WorkerPollerInfo>,
        total_sticky_cache_hit: i32,
        total_sticky_cache_miss: i32,
        current_sticky_cache_size: i32,
        plugins: Vec<PluginInfo>,
        drivers: Vec<StorageDriverInfo>,
        environment: Option<EnvironmentInfo>,
    }
}

message! {
    /// `temporal.api.worker.v1.WorkerHostInfo`.
    WorkerHostInfo = pb::worker::v1::WorkerHostInfo {
        host_name: String,
        worker_grouping_key: String,
        process_id: String,
        current_host_cpu_usage: f32,
        current_host_mem_usage: f32,
    }
}

message! {
    /// `temporal.api.worker.v1.WorkerSlotsInfo`.
    WorkerSlotsInfo = pb::worker::v1::WorkerSlotsInfo {
        current_available_slots: i32,
        current_used_slots: i32,
        slot_supplier_kind: String,
        total_processed_tasks: i32,
        total_failed_tasks: i32,
        last_interval_processed_tasks: i32,
        last_interval_failure_tasks: i32,
    }
}

message! {
    /// `temporal.api.worker.v1.WorkerPollerInfo`.
    WorkerPollerInfo = pb::worker::v1::WorkerPollerInfo {
        current_pollers: i32,
        last_successful_poll_time: Option<Timestamp>,
        is_autoscaling: bool,
    }
}

message! {
    /// `temporal.api.worker.v1.PluginInfo`.
    PluginInfo = pb::worker::v1::PluginInfo {
        name: String,
        version: String,
    }
}

message! {
    /// `temporal.api.worker.v1.StorageDriverInfo`.
    StorageDriverInfo = pb::worker::v1::StorageDriverInfo {
        r#type: String,
    }
}

message! {
    /// `temporal.api.worker.v1.EnvironmentInfo`.
    EnvironmentInfo = pb::worker::v1::EnvironmentInfo {
        runtimes: Vec<EnvironmentInfoRuntime>,
        hosting_environments: Vec<EnvironmentInfoHostingEnvironment>,
        platform: Option<EnvironmentInfoPlatform>,
    }
}

message! {
    /// `temporal.api.worker.v1.EnvironmentInfo.Runtime`.
    EnvironmentInfoRuntime = pb::worker::v1::environment_info::Runtime {
        r#type: EnvironmentInfoRuntimeRuntimeType,
        version: String,
    }
}

message! {
    /// `temporal.api.worker.v1.EnvironmentInfo.HostingEnvironment`.
    EnvironmentInfoHostingEnvironment = pb::worker::v1::environment_info::HostingEnvironment {
        r#type: EnvironmentInfoHostingEnvironmentHostingEnvironmentType,
        version: String,
    }
}

message! {
    /// `temporal.api.worker.v1.EnvironmentInfo.Platform`.
    EnvironmentInfoPlatform = pb::worker::v1::environment_info::Platform {
        variant: Option<EnvironmentInfoPlatformVariant>,
    }
}

oneof! {
    /// The choice `variant` of [`EnvironmentInfoPlatform`].
    EnvironmentInfoPlatformVariant = pb::worker::v1::environment_info::platform::Variant {
        Linux = Linux(EnvironmentInfoLinuxPlatform),
        Macos = Macos(EnvironmentInfoMacOsPlatform),
        Windows = Windows(EnvironmentInfoWindowsPlatform),
    }
}

message! {
    /// `temporal.api.worker.v1.EnvironmentInfo.LinuxPlatform`.
    EnvironmentInfoLinuxPlatform = pb::worker::v1::environment_info::LinuxPlatform {
        version: String,
        architecture: EnvironmentInfoArchitecture,
        libc: EnvironmentInfoLinuxPlatformLibc,
    }
}

message! {
    /// `temporal.api.worker.v1.EnvironmentInfo.MacOsPlatform`.
    EnvironmentInfoMacOsPlatform = pb::worker::v1::environment_info::MacOsPlatform {
        version: String,
        architecture: EnvironmentInfoArchitecture,
    }
}

message! {
    /// `temporal.api.worker.v1.EnvironmentInfo.WindowsPlatform`.
    EnvironmentInfoWindowsPlatform = pb::worker::v1::environment_info::WindowsPlatform {
        version: String,
        architecture: EnvironmentInfoArchitecture,
        crt: EnvironmentInfoWindowsPlatformCrt,
    }
}
