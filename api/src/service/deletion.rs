//! What follows the deletion of a namespace: its runs go, one by one.
//!
//! The record stays and says that the namespace is deleted; so whichever replica starts later goes on with what is left.

use std::time::Duration;

use fermata_proto::common::WorkflowExecution;
use fermata_proto::enums::NamespaceState;
use fermata_proto::namespace::NamespaceRecord;
use fermata_proto::rpc::{Rejection, RejectionKind};
use fermata_proto::service as own;
use fermata_proto::wire::Wire;

use super::caller::Caller;
use super::{Handled, Service, lists};
use crate::visibility::filter::expression::{Expression, Operator, Value};

/// Deleted between two looks at the list.
const PAGE_SIZE: i32 = 200;
/// The list follows what was deleted a moment later.
const LOOK_PERIOD: Duration = Duration::from_secs(2);
/// So many empty lists in a row end it.
const EMPTY_LOOKS: u32 = 3;

impl Service {
    /// Takes up what another process left of deleted namespaces.
    pub fn resume_deletions(&self) {
        for record in self.transport.namespaces().all() {
            if record.state == NamespaceState::Deleted {
                self.delete_runs_of((*record).clone());
            }
        }
    }

    /// Deletes all runs of a deleted namespace, in the background. Doing so twice is harmless.
    pub(super) fn delete_runs_of(&self, namespace: NamespaceRecord) {
        let service = self.clone();
        let stop = self.stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = service.delete_all(&namespace) => {
                    tracing::info!(namespace = namespace.name, "all runs of the namespace are deleted");
                }
            }
        });
    }

    async fn delete_all(&self, namespace: &NamespaceRecord) {
        let mut empty_looks = 0;
        while empty_looks < EMPTY_LOOKS {
            match self.delete_some(namespace).await {
                Ok(0) if self.visibility.is_caught_up() => empty_looks += 1,
                Ok(_) => empty_looks = 0,
                Err(rejection) if rejection.kind == RejectionKind::Unimplemented => {
                    tracing::error!(%rejection, namespace = namespace.name, "delete the runs of a namespace");
                    return;
                }
                Err(rejection) => {
                    tracing::info!(%rejection, namespace = namespace.name, "delete the runs of a namespace; trying again");
                }
            }
            tokio::time::sleep(LOOK_PERIOD).await;
        }
    }

    /// Deletes the first runs of the list; says how many there were.
    async fn delete_some(&self, namespace: &NamespaceRecord) -> Handled<usize> {
        // Those of the server's own divisions too: the filter mentions all values there are.
        let any = Expression::IsNull {
            attribute: crate::visibility::attribute::NAMESPACE_DIVISION.to_owned(),
            negated: false,
        };
        let any = Expression::Or(
            Box::new(any),
            Box::new(Expression::compare(
                crate::visibility::attribute::NAMESPACE_DIVISION,
                Operator::GreaterOrEqual,
                Value::Text(String::new()),
            )),
        );
        let page = self
            .page(lists::chosen(namespace, &any)?, PAGE_SIZE, &[])
            .await?;
        let count = page.executions.len();
        for info in page.executions {
            let Some(execution) = info.execution else {
                continue;
            };
            let request = own::DeleteWorkflowExecutionRequest {
                namespace: namespace.name.clone(),
                workflow_execution: Some(taken_execution(execution)?),
            };
            let workflow_id = request
                .workflow_execution
                .as_ref()
                .map(|execution| execution.workflow_id.clone())
                .unwrap_or_default();
            match self
                .delete(&Caller::patient(), namespace, &workflow_id, request)
                .await
            {
                Ok(()) => {}
                Err(rejection) if rejection.kind == RejectionKind::NotFound => {}
                Err(rejection) => return Err(rejection),
            }
        }
        Ok(count)
    }
}

fn taken_execution(
    wire: fermata_proto::pb::common::v1::WorkflowExecution,
) -> Result<WorkflowExecution, Rejection> {
    WorkflowExecution::from_wire(wire).map_err(|error| crate::error::refused_field(&error))
}
