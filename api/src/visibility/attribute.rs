//! Search attributes: those that every namespace has, and where a run's values are stored.

use std::collections::BTreeMap;

use fermata_proto::enums::IndexedValueType::{self, *};

/// Where the value of an attribute lies in a run's row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A column of its own. The server sets it; nobody else may.
    Column(&'static str),
    /// A member of the JSON column `attributes`.
    Member,
}

/// A search attribute as a filter needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute {
    pub name: String,
    pub value_type: IndexedValueType,
    pub place: Place,
}

/// The attribute that sets the server's own workflows apart.
pub const NAMESPACE_DIVISION: &str = "TemporalNamespaceDivision";
/// The attribute whose values are the names of statuses.
pub const EXECUTION_STATUS: &str = "ExecutionStatus";
/// Names with this prefix belong to the server.
const RESERVED_PREFIX: &str = "Temporal";

/// What every namespace has, in the order of names.
const SYSTEM: [(&str, IndexedValueType, Place); 33] = [
    ("BatcherNamespace", Keyword, Place::Member),
    ("BatcherUser", Keyword, Place::Member),
    ("BinaryChecksums", KeywordList, Place::Member),
    ("BuildIds", KeywordList, Place::Member),
    ("CloseTime", Datetime, Place::Column("close_time")),
    (
        "ExecutionDuration",
        Int,
        Place::Column("execution_duration"),
    ),
    (EXECUTION_STATUS, Keyword, Place::Column("status")),
    ("ExecutionTime", Datetime, Place::Column("execution_time")),
    ("HistoryLength", Int, Place::Column("history_length")),
    ("HistorySizeBytes", Int, Place::Column("history_bytes")),
    ("ParentRunId", Keyword, Place::Column("parent_run_id")),
    (
        "ParentWorkflowId",
        Keyword,
        Place::Column("parent_workflow_id"),
    ),
    ("RootRunId", Keyword, Place::Column("root_run_id")),
    ("RootWorkflowId", Keyword, Place::Column("root_workflow_id")),
    ("RunId", Keyword, Place::Column("run_id")),
    ("StartTime", Datetime, Place::Column("start_time")),
    ("StateTransitionCount", Int, Place::Column("transitions")),
    ("TaskQueue", Keyword, Place::Column("task_queue")),
    ("TemporalChangeVersion", KeywordList, Place::Member),
    ("TemporalExternalPayloadCount", Int, Place::Member),
    ("TemporalExternalPayloadSizeBytes", Int, Place::Member),
    (NAMESPACE_DIVISION, Keyword, Place::Member),
    ("TemporalPauseInfo", KeywordList, Place::Member),
    ("TemporalReportedProblems", KeywordList, Place::Member),
    ("TemporalSchedulePaused", Bool, Place::Member),
    ("TemporalScheduledById", Keyword, Place::Member),
    ("TemporalScheduledStartTime", Datetime, Place::Member),
    (
        "TemporalUsedWorkerDeploymentVersions",
        KeywordList,
        Place::Member,
    ),
    ("TemporalWorkerDeployment", Keyword, Place::Member),
    ("TemporalWorkerDeploymentVersion", Keyword, Place::Member),
    ("TemporalWorkflowVersioningBehavior", Keyword, Place::Member),
    ("WorkflowId", Keyword, Place::Column("workflow_id")),
    ("WorkflowType", Keyword, Place::Column("workflow_type")),
];

/// The attributes that every namespace has, by name.
pub fn system() -> impl Iterator<Item = (&'static str, IndexedValueType, Place)> {
    SYSTEM.into_iter()
}

/// The attribute of this name among the server's own and a namespace's `custom` ones.
pub fn find(name: &str, custom: &BTreeMap<String, IndexedValueType>) -> Option<Attribute> {
    let (value_type, place) = match SYSTEM.iter().find(|(known, ..)| *known == name) {
        Some((_, value_type, place)) => (*value_type, *place),
        None => (*custom.get(name)?, Place::Member),
    };
    Some(Attribute {
        name: name.to_owned(),
        value_type,
        place,
    })
}

/// Whether a namespace may not define an attribute of this name.
pub fn is_reserved(name: &str) -> bool {
    name.starts_with(RESERVED_PREFIX) || SYSTEM.iter().any(|(known, ..)| *known == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_and_custom_attributes_are_found_by_their_exact_names() {
        let custom = BTreeMap::from([("Customer".to_owned(), Keyword)]);
        let found = find("WorkflowType", &custom).unwrap();
        assert_eq!(found.place, Place::Column("workflow_type"));
        assert_eq!(find("Customer", &custom).unwrap().place, Place::Member);
        assert_eq!(find("workflowtype", &custom), None);
        assert!(is_reserved("TemporalThing") && is_reserved("WorkflowId"));
        assert!(!is_reserved("Customer"));
    }
}
