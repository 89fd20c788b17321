//! Replication settings of namespaces.
//!
//! Mirrors of Temporal's protobuf messages, which each type names.

use std::time::Duration;

use crate::enums::ReplicationState;
use crate::pb;
use crate::time::Timestamp;
use crate::wire::message;

message! {
    /// `temporal.api.replication.v1.ClusterReplicationConfig`.
    ClusterReplicationConfig = pb::replication::v1::ClusterReplicationConfig {
        cluster_name: String,
        replication_ramp_duration: Option<Duration>,
    }
}

message! {
    /// `temporal.api.replication.v1.NamespaceReplicationConfig`.
    NamespaceReplicationConfig = pb::replication::v1::NamespaceReplicationConfig {
        active_cluster_name: String,
        clusters: Vec<ClusterReplicationConfig>,
        state: ReplicationState,
    }
}

message! {
    /// `temporal.api.replication.v1.FailoverStatus`.
    FailoverStatus = pb::replication::v1::FailoverStatus {
        failover_time: Option<Timestamp>,
        failover_version: i64,
    }
}
