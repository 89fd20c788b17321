//! The record that an owner publishes of each run, from which lists and counts are answered.
//!
//! Persisted: field names never change.

use serde::{Deserialize, Serialize};

use crate::ids::NamespaceId;
use crate::workflow::WorkflowExecutionInfo;

/// A run as lists show it: the last one published for a run stands.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct VisibilityRecord {
    pub namespace_id: NamespaceId,
    pub info: WorkflowExecutionInfo,
    /// The run was deleted: it leaves the lists.
    pub deleted: bool,
}
