//! What a deployment is to have before it serves: namespaces and search attributes.

use std::collections::BTreeMap;
use std::time::Duration;

use fermata_proto::enums::IndexedValueType;
use fermata_proto::pb::operatorservice::v1 as op;
use fermata_proto::pb::workflowservice::v1 as rr;
use fermata_proto::rpc::{Rejection, RejectionKind};
use fermata_proto::wire::Wire;
use fermata_transport::Transport;
use tokio_util::sync::CancellationToken;

use super::Service;
use super::caller::Caller;
use crate::visibility::{StoreError, Visibility};

/// Namespaces, and search attributes that each of them has.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    pub namespaces: Vec<String>,
    /// Of namespaces that are made.
    pub retention: Duration,
    pub search_attributes: BTreeMap<String, IndexedValueType>,
}

/// Why a deployment could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error("make the read model behind lists")]
    Visibility(#[source] StoreError),
    #[error("register namespace {name}: {}", reason.message)]
    Namespace {
        name: String,
        reason: Box<Rejection>,
    },
    #[error("add search attributes to namespace {namespace}: {}", reason.message)]
    SearchAttributes {
        namespace: String,
        reason: Box<Rejection>,
    },
}

impl Setup {
    /// Makes what is missing. What is there stays as it is.
    ///
    /// # Errors
    /// If a name is refused or the deployment does not answer.
    pub async fn apply(&self, transport: Transport) -> Result<(), SetupError> {
        // Nobody asks for lists here, so the read model stays empty.
        let visibility = Visibility::open(None).map_err(SetupError::Visibility)?;
        let service = Service::new(transport, visibility, CancellationToken::new());
        for name in &self.namespaces {
            service.set_up(name, self).await?;
        }
        Ok(())
    }
}

impl Service {
    async fn set_up(&self, namespace: &str, setup: &Setup) -> Result<(), SetupError> {
        let caller = Caller::patient();
        let retention = setup.retention.try_into().unwrap_or_default();
        let request = rr::RegisterNamespaceRequest {
            namespace: namespace.to_owned(),
            workflow_execution_retention_period: Some(retention),
            ..Default::default()
        };
        match self.register_namespace(&caller, request).await {
            Ok(_) => {}
            Err(refusal) if refusal.kind == RejectionKind::AlreadyExists => {}
            Err(refusal) => {
                return Err(SetupError::Namespace {
                    name: namespace.to_owned(),
                    reason: Box::new(refusal),
                });
            }
        }
        if setup.search_attributes.is_empty() {
            return Ok(());
        }
        let attributes = setup.search_attributes.iter();
        let request = op::AddSearchAttributesRequest {
            namespace: namespace.to_owned(),
            search_attributes: attributes
                .map(|(name, value_type)| (name.clone(), value_type.into_wire()))
                .collect(),
        };
        match self.add_search_attributes(&caller, request).await {
            Ok(_) => Ok(()),
            Err(refusal) => Err(SetupError::SearchAttributes {
                namespace: namespace.to_owned(),
                reason: Box::new(refusal),
            }),
        }
    }
}
