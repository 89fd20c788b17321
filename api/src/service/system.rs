//! What this deployment is and can.

use std::collections::HashMap;

use fermata_proto::pb::operatorservice::v1 as op;
use fermata_proto::pb::version::v1 as version;
use fermata_proto::pb::workflowservice::v1 as rr;
use fermata_proto::pb::workflowservice::v1::get_system_info_response::Capabilities;

use super::caller::Caller;
use super::{Handled, Service};

/// The release of Temporal's server whose behaviour this one has; clients compare it with what they need.
const SERVER_VERSION: &str = "1.32.1";
/// Clients known to work, by the header `client-name`, with the versions of each.
const SUPPORTED_CLIENTS: [(&str, &str); 8] = [
    ("Nexus-go-sdk", "<2.0.0"),
    ("temporal-cli", "<2.0.0"),
    ("temporal-go", "<2.0.0"),
    ("temporal-java", "<2.0.0"),
    ("temporal-php", "<3.0.0"),
    ("temporal-server", "<2.0.0"),
    ("temporal-typescript", "<2.0.0"),
    ("temporal-ui", "<3.0.0"),
];
/// A deployment is one cluster.
pub(super) const CLUSTER_NAME: &str = "active";
/// The store of everything, as clients name it.
const PERSISTENCE_STORE: &str = "nats";
const VISIBILITY_STORE: &str = "sqlite";

impl Service {
    /// Clients ask this when they connect. True is what works: clients ask for nothing else.
    pub(crate) async fn get_system_info(
        &self,
        _: &Caller,
        _: rr::GetSystemInfoRequest,
    ) -> Handled<rr::GetSystemInfoResponse> {
        Ok(rr::GetSystemInfoResponse {
            server_version: SERVER_VERSION.to_owned(),
            capabilities: Some(Capabilities {
                signal_and_query_header: true,
                internal_error_differentiation: true,
                activity_failure_include_heartbeat: true,
                encoded_failure_attributes: true,
                build_id_based_versioning: true,
                upsert_memo: true,
                eager_workflow_start: true,
                sdk_metadata: true,
                count_group_by_execution_status: true,
                supports_schedules: true,
                nexus: false,
                server_scaled_deployments: false,
                server_scaled_provider_cloud_run: false,
            }),
        })
    }

    pub(crate) async fn get_cluster_info(
        &self,
        _: &Caller,
        _: rr::GetClusterInfoRequest,
    ) -> Handled<rr::GetClusterInfoResponse> {
        let supported_clients: HashMap<_, _> = SUPPORTED_CLIENTS
            .into_iter()
            .map(|(name, versions)| (name.to_owned(), versions.to_owned()))
            .collect();
        Ok(rr::GetClusterInfoResponse {
            supported_clients,
            server_version: SERVER_VERSION.to_owned(),
            cluster_id: self.transport.cluster().id.clone(),
            version_info: None::<version::VersionInfo>,
            cluster_name: CLUSTER_NAME.to_owned(),
            history_shard_count: i32::from(self.transport.partitions()),
            persistence_store: PERSISTENCE_STORE.to_owned(),
            visibility_store: VISIBILITY_STORE.to_owned(),
            initial_failover_version: 1,
            failover_version_increment: 10,
        })
    }

    /// This cluster alone: there is no replication between deployments.
    pub(crate) async fn list_clusters(
        &self,
        _: &Caller,
        _: op::ListClustersRequest,
    ) -> Handled<op::ListClustersResponse> {
        Ok(op::ListClustersResponse {
            clusters: vec![op::ClusterMetadata {
                cluster_name: CLUSTER_NAME.to_owned(),
                cluster_id: self.transport.cluster().id.clone(),
                initial_failover_version: 1,
                history_shard_count: i32::from(self.transport.partitions()),
                is_connection_enabled: true,
                ..Default::default()
            }],
            next_page_token: Vec::new(),
        })
    }
}
