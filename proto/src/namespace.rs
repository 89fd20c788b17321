//! What is stored of a namespace, in the key-value bucket FM_NAMESPACES under its id.
//!
//! Persisted: field names never change.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::enums::{IndexedValueType, NamespaceState};
use crate::ids::NamespaceId;

/// One namespace.
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
