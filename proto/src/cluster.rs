//! The deployment's own records. Persisted: names never change.

use serde::{Deserialize, Serialize};

/// The key of [`ClusterRecord`] in its bucket.
pub const CLUSTER_KEY: &str = "cluster";

/// The fixed settings of a deployment, made by the first engine that starts on it; MessagePack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterRecord {
    pub id: String,
    /// Slices of workflow ids, 1 to 1,024; never changes.
    pub partitions: u16,
}
