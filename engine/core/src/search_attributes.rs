//! Search attributes: which names a namespace knows, and which values fit their types.
//!
//! A value is JSON in a payload whose metadata tells its type; the type is added where the client left it out.

use std::borrow::Cow;

use fermata_proto::common::{Payload, SearchAttributes};
use fermata_proto::enums::IndexedValueType;

use crate::context::Context;
use crate::upsert;

/// Set by the server alone.
const SYSTEM: [&str; 16] = [
    "CloseTime",
    "ExecutionDuration",
    "ExecutionStatus",
    "ExecutionTime",
    "HistoryLength",
    "HistorySizeBytes",
    "ParentRunId",
    "ParentWorkflowId",
    "RootRunId",
    "RootWorkflowId",
    "RunId",
    "StartTime",
    "StateTransitionCount",
    "TaskQueue",
    "WorkflowId",
    "WorkflowType",
];

/// Known in every namespace; set by SDKs and by the server's own workflows.
const PREDEFINED: [(&str, IndexedValueType); 15] = [
    ("BatcherNamespace", IndexedValueType::Keyword),
    ("BatcherUser", IndexedValueType::Keyword),
    ("BinaryChecksums", IndexedValueType::KeywordList),
    ("BuildIds", IndexedValueType::KeywordList),
    ("TemporalChangeVersion", IndexedValueType::KeywordList),
    ("TemporalNamespaceDivision", IndexedValueType::Keyword),
    ("TemporalPauseInfo", IndexedValueType::KeywordList),
    ("TemporalReportedProblems", IndexedValueType::KeywordList),
    ("TemporalScheduledById", IndexedValueType::Keyword),
    ("TemporalScheduledStartTime", IndexedValueType::Datetime),
    ("TemporalSchedulePaused", IndexedValueType::Bool),
    (
        "TemporalUsedWorkerDeploymentVersions",
        IndexedValueType::KeywordList,
    ),
    ("TemporalWorkerDeployment", IndexedValueType::Keyword),
    ("TemporalWorkerDeploymentVersion", IndexedValueType::Keyword),
    (
        "TemporalWorkflowVersioningBehavior",
        IndexedValueType::Keyword,
    ),
];

/// The attributes with their types in the metadata.
///
/// # Errors
/// In words: an unknown name, one that only the server sets, a value of another type, or too much of them.
pub(crate) fn typed(
    attributes: &SearchAttributes,
    ctx: &Context<'_>,
) -> Result<SearchAttributes, String> {
    let limits = ctx.limits;
    if attributes.indexed_fields.len() > limits.search_attributes_keys_max {
        return Err(format!(
            "number of search attributes {} exceeds limit {}",
            attributes.indexed_fields.len(),
            limits.search_attributes_keys_max
        ));
    }
    let mut typed = SearchAttributes::default();
    let mut total = 0;
    for (name, value) in &attributes.indexed_fields {
        let value_type = type_of(name, ctx)?;
        if !upsert::is_null(value) && !fits(value, value_type) {
            return Err(format!(
                "invalid value for search attribute {name} of type {}: {}",
                type_name(value_type),
                shown(&value.data)
            ));
        }
        if value.data.len() > limits.search_attribute_bytes_max {
            return Err(format!(
                "search attribute {name} value size {} exceeds size limit {}",
                value.data.len(),
                limits.search_attribute_bytes_max
            ));
        }
        total += name.len() + value.data.len();
        typed
            .indexed_fields
            .insert(name.clone(), with_type(value, value_type).into_owned());
    }
    if total > limits.search_attributes_bytes_max {
        return Err(format!(
            "total size of search attributes {total} exceeds size limit {}",
            limits.search_attributes_bytes_max
        ));
    }
    Ok(typed)
}

/// A value in the words of Temporal's refusals: texts without quotes, lists with spaces between.
fn shown(data: &[u8]) -> String {
    let text = String::from_utf8_lossy(data);
    let list = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let one = |item: &str| item.trim().trim_matches('"').to_owned();
    match list {
        Some(items) => {
            let items: Vec<_> = items.split(',').map(one).collect();
            format!("[{}]", items.join(" "))
        }
        None => one(&text),
    }
}

fn type_of(name: &str, ctx: &Context<'_>) -> Result<IndexedValueType, String> {
    if SYSTEM.contains(&name) {
        return Err(format!("{name} attribute can't be set in SearchAttributes"));
    }
    let predefined = PREDEFINED
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, value_type)| *value_type);
    predefined
        .or_else(|| ctx.namespace.search_attributes.get(name).copied())
        .ok_or_else(|| {
            format!(
                "Namespace {} has no mapping defined for search attribute {name}",
                ctx.namespace.name
            )
        })
}

fn type_name(value_type: IndexedValueType) -> &'static str {
    match value_type {
        IndexedValueType::Unspecified => "Unspecified",
        IndexedValueType::Text => "Text",
        IndexedValueType::Keyword => "Keyword",
        IndexedValueType::Int => "Int",
        IndexedValueType::Double => "Double",
        IndexedValueType::Bool => "Bool",
        IndexedValueType::Datetime => "Datetime",
        IndexedValueType::KeywordList => "KeywordList",
    }
}

fn with_type(value: &Payload, value_type: IndexedValueType) -> Cow<'_, Payload> {
    let name = type_name(value_type);
    if value
        .metadata
        .get("type")
        .is_some_and(|given| given == name)
    {
        return Cow::Borrowed(value);
    }
    let mut value = value.clone();
    value.metadata.insert("type".to_owned(), name.into());
    Cow::Owned(value)
}

/// Whether the JSON text can be a value of the type, judged by its first letters: a full parse is the reader's.
fn fits(value: &Payload, value_type: IndexedValueType) -> bool {
    let Ok(text) = std::str::from_utf8(&value.data) else {
        return false;
    };
    let text = text.trim();
    let is_string = text.len() >= 2 && text.starts_with('"') && text.ends_with('"');
    let is_list = text.starts_with('[') && text.ends_with(']');
    // A list of one stands for its item.
    if is_list && value_type != IndexedValueType::KeywordList {
        let inner = Payload {
            data: text[1..text.len() - 1].trim().to_owned().into(),
            ..Payload::default()
        };
        return !inner.data.is_empty() && fits(&inner, value_type);
    }
    match value_type {
        IndexedValueType::Unspecified => true,
        IndexedValueType::Text | IndexedValueType::Keyword => is_string,
        IndexedValueType::KeywordList => is_string || is_list,
        IndexedValueType::Int => text.parse::<i64>().is_ok(),
        IndexedValueType::Double => text.parse::<f64>().is_ok(),
        IndexedValueType::Bool => text == "true" || text == "false",
        IndexedValueType::Datetime => {
            is_string && text[1..text.len() - 1].parse::<jiff::Timestamp>().is_ok()
        }
    }
}
