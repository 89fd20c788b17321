//! Namespaces: registered, described, changed, listed.

use std::sync::Arc;
use std::time::Duration;

use fermata_proto::enums::{ArchivalState, NamespaceState, ReplicationState};
use fermata_proto::error_details::NamespaceAlreadyExistsFailure;
use fermata_proto::ids::NamespaceId;
use fermata_proto::namespace::{
    BadBinaries, NamespaceConfig, NamespaceInfo, NamespaceInfoCapabilities, NamespaceInfoLimits,
    NamespaceRecord,
};
use fermata_proto::pb::operatorservice::v1 as op;
use fermata_proto::pb::workflowservice::v1 as rr;
use fermata_proto::replication::{ClusterReplicationConfig, NamespaceReplicationConfig};
use fermata_proto::rpc::{ErrorDetail, Rejection, RejectionKind};
use fermata_proto::service as own;
use fermata_proto::wire::Wire;
use fermata_transport::PutError;
use uuid::Uuid;

use super::caller::Caller;
use super::system::CLUSTER_NAME;
use super::{Handled, Service, SizeLimits, checks};

/// Closed runs are kept at least so long.
const RETENTION_MIN: Duration = Duration::from_secs(3_600);
/// How often a change is tried again that met another one.
const TRIES_MAX: u32 = 8;
/// Meanwhile the other change arrives here.
const TRY_DELAY: Duration = Duration::from_millis(25);
/// Namespaces on one page.
const PAGE_SIZE_DEFAULT: usize = 100;
const PAGE_SIZE_MAX: usize = 1_000;
/// The space of ids that are made from names. Never changes.
const NAME_SPACE: Uuid = Uuid::from_u128(0x6f2a_1c5e_9b0d_4c7e_8f3a_fe13_a7a0_0001);
/// The server's own namespace.
const SYSTEM_NAMESPACE: &str = "temporal-system";

impl Service {
    pub(crate) async fn register_namespace(
        &self,
        _: &Caller,
        request: rr::RegisterNamespaceRequest,
    ) -> Handled<rr::RegisterNamespaceResponse> {
        let name = named(&request.namespace)?;
        checks::limited(name, "Namespace")?;
        let retention = retention(request.workflow_execution_retention_period.as_ref())?;
        if request.is_global_namespace {
            return Err(Rejection::invalid_argument(
                "Cannot register global namespace when not enabled",
            ));
        }
        let record = NamespaceRecord {
            id: self.new_id(name)?,
            name: name.to_owned(),
            state: NamespaceState::Registered,
            description: request.description,
            owner_email: request.owner_email,
            data: request.data.into_iter().collect(),
            retention,
            ..Default::default()
        };
        match self.transport.namespaces().put(record).await {
            Ok(()) => Ok(rr::RegisterNamespaceResponse {}),
            Err(PutError::Conflict(name)) => Err(already_exists(&name)),
            Err(error) => Err(unavailable(&error)),
        }
    }

    pub(crate) async fn describe_namespace(
        &self,
        _: &Caller,
        request: rr::DescribeNamespaceRequest,
    ) -> Handled<rr::DescribeNamespaceResponse> {
        let record = if request.id.is_empty() {
            self.namespace(named(&request.namespace)?)?
        } else {
            self.namespace_by_id(&request.id.into())?
        };
        Ok(described(&record, self.sizes).into_wire())
    }

    pub(crate) async fn list_namespaces(
        &self,
        _: &Caller,
        request: rr::ListNamespacesRequest,
    ) -> Handled<rr::ListNamespacesResponse> {
        let deleted_too = request
            .namespace_filter
            .is_some_and(|filter| filter.include_deleted);
        let after = String::from_utf8(request.next_page_token)
            .map_err(|_| Rejection::invalid_argument("Invalid NextPageToken."))?;
        let size = match usize::try_from(request.page_size) {
            Ok(0) | Err(_) => PAGE_SIZE_DEFAULT,
            Ok(size) => size.min(PAGE_SIZE_MAX),
        };
        let mut found: Vec<Arc<NamespaceRecord>> = self
            .transport
            .namespaces()
            .all()
            .into_iter()
            .filter(|record| deleted_too || record.state != NamespaceState::Deleted)
            .filter(|record| after.is_empty() || record.name > after)
            .take(size + 1)
            .collect();
        let next_page_token = if found.len() > size {
            found.truncate(size);
            found
                .last()
                .map(|record| record.name.clone().into_bytes())
                .unwrap_or_default()
        } else {
            Vec::new()
        };
        Ok(rr::ListNamespacesResponse {
            namespaces: found
                .iter()
                .map(|record| described(record, self.sizes).into_wire())
                .collect(),
            next_page_token,
        })
    }

    /// What is given replaces, `data` is merged, the rest stays.
    pub(crate) async fn update_namespace(
        &self,
        _: &Caller,
        request: rr::UpdateNamespaceRequest,
    ) -> Handled<rr::UpdateNamespaceResponse> {
        let name = named(&request.namespace)?;
        self.namespace(name)?;
        let retention = match &request.config {
            Some(config) if config.workflow_execution_retention_ttl.is_some() => {
                Some(retention(config.workflow_execution_retention_ttl.as_ref())?)
            }
            _ => None,
        };
        if request.promote_namespace {
            return Err(Rejection::invalid_argument(
                "Cannot promote namespace to global namespace when not enabled",
            ));
        }
        let record = self
            .change_namespace(name, |record| {
                if let Some(info) = &request.update_info {
                    if !info.description.is_empty() {
                        record.description.clone_from(&info.description);
                    }
                    if !info.owner_email.is_empty() {
                        record.owner_email.clone_from(&info.owner_email);
                    }
                    let data = info.data.iter();
                    record
                        .data
                        .extend(data.map(|(key, value)| (key.clone(), value.clone())));
                }
                if let Some(retention) = retention {
                    record.retention = retention;
                }
                Ok(())
            })
            .await?;
        let described = described(&record, self.sizes);
        Ok(own::UpdateNamespaceResponse {
            namespace_info: described.namespace_info,
            config: described.config,
            replication_config: described.replication_config,
            failover_version: described.failover_version,
            is_global_namespace: described.is_global_namespace,
        }
        .into_wire())
    }

    pub(crate) async fn deprecate_namespace(
        &self,
        _: &Caller,
        request: rr::DeprecateNamespaceRequest,
    ) -> Handled<rr::DeprecateNamespaceResponse> {
        self.change_namespace(named(&request.namespace)?, |record| {
            record.state = NamespaceState::Deprecated;
            Ok(())
        })
        .await?;
        Ok(rr::DeprecateNamespaceResponse {})
    }

    /// Frees the name at once; [`super::deletion`] removes the runs afterwards.
    pub(crate) async fn delete_namespace(
        &self,
        _: &Caller,
        request: op::DeleteNamespaceRequest,
    ) -> Handled<op::DeleteNamespaceResponse> {
        let name = if request.namespace_id.is_empty() {
            named(&request.namespace)?.to_owned()
        } else {
            let id = request.namespace_id.into();
            self.namespace_by_id(&id)?.name.clone()
        };
        if name == SYSTEM_NAMESPACE {
            return Err(Rejection::invalid_argument(
                "Unable to delete system namespace.",
            ));
        }
        let record = self
            .change_namespace(&name, |record| {
                if record.state != NamespaceState::Deleted {
                    record.state = NamespaceState::Deleted;
                    let short: String = record.id.0.chars().take(5).collect();
                    record.name = format!("{}-deleted-{short}", record.name);
                }
                Ok(())
            })
            .await?;
        let deleted_namespace = record.name.clone();
        self.delete_runs_of(record);
        Ok(op::DeleteNamespaceResponse { deleted_namespace })
    }

    /// Changes a record as it stands now, again if somebody else does so at the same time.
    pub(super) async fn change_namespace(
        &self,
        name: &str,
        change: impl Fn(&mut NamespaceRecord) -> Handled<()>,
    ) -> Handled<NamespaceRecord> {
        let mut tries = 0;
        let id = self.namespace(name)?.id.clone();
        loop {
            let mut record = (*self.namespace_by_id(&id)?).clone();
            change(&mut record)?;
            record.config_version += 1;
            match self.transport.namespaces().put(record.clone()).await {
                Ok(()) => return Ok(record),
                Err(PutError::Conflict(_)) if tries < TRIES_MAX => {
                    tries += 1;
                    tokio::time::sleep(TRY_DELAY).await;
                }
                Err(error) => return Err(unavailable(&error)),
            }
        }
    }

    /// An id made from the name, so that of two that register a name at the same time one meets the other. Ids are not
    /// used again: a name that was used by deleted namespaces has the next one.
    fn new_id(&self, name: &str) -> Handled<NamespaceId> {
        let namespaces = self.transport.namespaces();
        if namespaces.by_name(name).is_some() {
            return Err(already_exists(name));
        }
        let mut generation = 0_u64;
        loop {
            let id = Uuid::new_v5(&NAME_SPACE, format!("{generation}/{name}").as_bytes());
            let id = NamespaceId(id.to_string());
            match namespaces.by_id(&id) {
                None => return Ok(id),
                Some(record) if record.state == NamespaceState::Deleted => generation += 1,
                Some(_) => return Err(already_exists(name)),
            }
        }
    }
}

fn named(name: &str) -> Handled<&str> {
    if name.is_empty() {
        return Err(Rejection::invalid_argument("Namespace not set on request."));
    }
    Ok(name)
}

fn retention(wire: Option<&prost_wkt_types::Duration>) -> Handled<Duration> {
    wire.and_then(|wire| Duration::try_from(*wire).ok())
        .filter(|retention| *retention >= RETENTION_MIN)
        .ok_or_else(|| {
            Rejection::invalid_argument("A valid retention period is not set on request.")
        })
}

fn already_exists(name: &str) -> Rejection {
    Rejection::new(
        RejectionKind::AlreadyExists,
        format!("Namespace \"{name}\" already exists"),
    )
    .with(ErrorDetail::NamespaceAlreadyExists(
        NamespaceAlreadyExistsFailure {},
    ))
}

fn unavailable(error: &PutError) -> Rejection {
    Rejection::new(RejectionKind::Unavailable, error.to_string())
}

/// A record as the API shows it.
fn described(record: &NamespaceRecord, sizes: SizeLimits) -> own::DescribeNamespaceResponse {
    own::DescribeNamespaceResponse {
        namespace_info: Some(NamespaceInfo {
            name: record.name.clone(),
            state: record.state,
            description: record.description.clone(),
            owner_email: record.owner_email.clone(),
            data: record.data.clone(),
            id: record.id.0.clone(),
            // True is what works: workers use what they are told of.
            capabilities: Some(NamespaceInfoCapabilities {
                eager_workflow_start: true,
                sync_update: true,
                async_update: true,
                worker_poll_complete_on_shutdown: true,
                poller_autoscaling: true,
                ..Default::default()
            }),
            limits: Some(NamespaceInfoLimits {
                blob_size_limit_error: bytes(sizes.blob_bytes_max),
                memo_size_limit_error: bytes(sizes.memo_bytes_max),
                ..Default::default()
            }),
            supports_schedules: true,
        }),
        config: Some(NamespaceConfig {
            workflow_execution_retention_ttl: Some(record.retention),
            bad_binaries: Some(BadBinaries::default()),
            history_archival_state: ArchivalState::Disabled,
            visibility_archival_state: ArchivalState::Disabled,
            ..Default::default()
        }),
        replication_config: Some(NamespaceReplicationConfig {
            active_cluster_name: CLUSTER_NAME.to_owned(),
            clusters: vec![ClusterReplicationConfig {
                cluster_name: CLUSTER_NAME.to_owned(),
                ..Default::default()
            }],
            state: ReplicationState::Normal,
        }),
        is_global_namespace: record.is_global,
        ..Default::default()
    }
}

fn bytes(size: usize) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}
