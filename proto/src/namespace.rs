//! Namespaces: as the API shows them, and as they are stored.
//!
//! Mirrors of Temporal's protobuf messages, which each type names.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::enums::{ArchivalState, IndexedValueType, NamespaceState};
use serde::{Deserialize, Serialize};

use crate::ids::NamespaceId;
use crate::pb;
use crate::time::Timestamp;
use crate::wire::message;

message! {
    /// `temporal.api.namespace.v1.NamespaceInfo`.
    NamespaceInfo = pb::namespace::v1::NamespaceInfo {
        name: String,
        state: NamespaceState,
        description: String,
        owner_email: String,
        data: BTreeMap<String, String>,
        id: String,
        capabilities: Option<NamespaceInfoCapabilities>,
        limits: Option<NamespaceInfoLimits>,
        supports_schedules: bool,
    }
}

message! {
    /// `temporal.api.namespace.v1.NamespaceInfo.Capabilities`.
    NamespaceInfoCapabilities = pb::namespace::v1::namespace_info::Capabilities {
        eager_workflow_start: bool,
        sync_update: bool,
        async_update: bool,
        worker_heartbeats: bool,
        reported_problems_search_attribute: bool,
        workflow_pause: bool,
        standalone_activities: bool,
        worker_poll_complete_on_shutdown: bool,
        poller_autoscaling: bool,
        worker_commands: bool,
        standalone_nexus_operation: bool,
        workflow_update_callbacks: bool,
        poller_autoscaling_auto_enroll: bool,
        workflow_task_completion_pagination: bool,
        standalone_activity_start_delay: bool,
        standalone_activity_batch_operations: bool,
        standalone_activity_operator_commands: bool,
    }
}

message! {
    /// `temporal.api.namespace.v1.NamespaceInfo.Limits`.
    NamespaceInfoLimits = pb::namespace::v1::namespace_info::Limits {
        blob_size_limit_error: i64,
        memo_size_limit_error: i64,
        workflow_task_completion_size_limit_error: i64,
    }
}

message! {
    /// `temporal.api.namespace.v1.NamespaceConfig`.
    NamespaceConfig = pb::namespace::v1::NamespaceConfig {
        workflow_execution_retention_ttl: Option<Duration>,
        bad_binaries: Option<BadBinaries>,
        history_archival_state: ArchivalState,
        history_archival_uri: String,
        visibility_archival_state: ArchivalState,
        visibility_archival_uri: String,
        custom_search_attribute_aliases: BTreeMap<String, String>,
    }
}

message! {
    /// `temporal.api.namespace.v1.BadBinaries`.
    BadBinaries = pb::namespace::v1::BadBinaries {
        binaries: BTreeMap<String, BadBinaryInfo>,
    }
}

message! {
    /// `temporal.api.namespace.v1.BadBinaryInfo`.
    BadBinaryInfo = pb::namespace::v1::BadBinaryInfo {
        reason: String,
        operator: String,
        create_time: Option<Timestamp>,
    }
}

message! {
    /// `temporal.api.namespace.v1.UpdateNamespaceInfo`.
    UpdateNamespaceInfo = pb::namespace::v1::UpdateNamespaceInfo {
        description: String,
        owner_email: String,
        data: BTreeMap<String, String>,
        state: NamespaceState,
    }
}

message! {
    /// `temporal.api.namespace.v1.NamespaceFilter`.
    NamespaceFilter = pb::namespace::v1::NamespaceFilter {
        include_deleted: bool,
    }
}

/// What is stored of a namespace, in the key-value bucket FM_NAMESPACES under its id. Persisted: field names never change.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NamespaceRecord {
    pub id: NamespaceId,
    pub name: String,
    pub state: NamespaceState,
    pub description: String,
    pub owner_email: String,
    pub data: BTreeMap<String, String>,
    /// How long closed runs are kept.
    pub retention: Duration,
    pub is_global: bool,
    /// Custom search attributes by name.
    pub search_attributes: BTreeMap<String, IndexedValueType>,
    /// Counts updates of the record.
    pub config_version: i64,
}
