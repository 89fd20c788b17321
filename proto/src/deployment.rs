//! Worker deployments and versions.
//!
//! Mirrors of Temporal's protobuf messages, which each type names.

use crate::enums::{ContinueAsNewVersioningBehavior, WorkerVersioningMode};
use crate::pb;
use crate::wire::message;

message! {
    /// `temporal.api.deployment.v1.WorkerDeploymentVersion`.
    WorkerDeploymentVersion = pb::deployment::v1::WorkerDeploymentVersion {
        build_id: String,
        deployment_name: String,
    }
}

message! {
    /// `temporal.api.deployment.v1.Deployment`.
    Deployment = pb::deployment::v1::Deployment {
        series_name: String,
        build_id: String,
    }
}

message! {
    /// `temporal.api.deployment.v1.WorkerDeploymentOptions`.
    WorkerDeploymentOptions = pb::deployment::v1::WorkerDeploymentOptions {
        deployment_name: String,
        build_id: String,
        worker_versioning_mode: WorkerVersioningMode,
    }
}

message! {
    /// `temporal.api.deployment.v1.InheritedAutoUpgradeInfo`.
    InheritedAutoUpgradeInfo = pb::deployment::v1::InheritedAutoUpgradeInfo {
        source_deployment_version: Option<WorkerDeploymentVersion>,
        source_deployment_revision_number: i64,
        continue_as_new_initial_versioning_behavior: ContinueAsNewVersioningBehavior,
    }
}
