//! Path variables and query parameters put into a request message.
//!
//! `execution.runId=...` reaches into a nested message, a repeated name fills a repeated field, `map[key]=value` a map. A name
//! that the message lacks is ignored, as grpc-gateway does; a value that does not fit is refused.

use percent_encoding::percent_decode_str;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, ReflectMessage, Value};

use super::json;

/// Names and values of a query string, decoded, in their order.
pub fn query_pairs(query: &str) -> Vec<(String, String)> {
    let decoded = |text: &str| {
        percent_decode_str(&text.replace('+', " "))
            .decode_utf8_lossy()
            .into_owned()
    };
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(name), decoded(value))
        })
        .collect()
}

/// Sets the field at a dotted path from a path segment.
///
/// # Errors
/// What is wrong with the value.
pub fn set_variable(message: &mut DynamicMessage, path: &str, value: &str) -> Result<(), String> {
    let (message, field) = match reach(message, path)? {
        Some(found) => found,
        None => {
            return Err(format!(
                "type mismatch, parameter: {path}, error: no such field"
            ));
        }
    };
    let parsed = json::from_text(&field.kind(), value);
    let parsed = parsed.ok_or_else(|| {
        format!(
            "type mismatch, parameter: {path}, error: {}",
            unfit(&field, value)
        )
    })?;
    message.set_field(&field, parsed);
    Ok(())
}

/// Fills the message from a query string.
///
/// # Errors
/// What is wrong with a parameter.
pub fn set_query(message: &mut DynamicMessage, pairs: &[(String, String)]) -> Result<(), String> {
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in pairs {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    for name in names {
        let values: Vec<_> = pairs
            .iter()
            .filter(|(other, _)| other == name)
            .map(|(_, value)| value.as_str())
            .collect();
        set_parameter(message, name, &values)?;
    }
    Ok(())
}

fn set_parameter(message: &mut DynamicMessage, name: &str, values: &[&str]) -> Result<(), String> {
    let (path, key) = match name.split_once('[') {
        Some((path, rest)) => (path, rest.strip_suffix(']')),
        None => (name, None),
    };
    let Some((message, field)) = reach(message, path)? else {
        return Ok(());
    };
    let one = |kind: &Kind, value: &str| {
        json::from_text(kind, value)
            .ok_or_else(|| format!("parsing field {:?}: {}", field.name(), unfit(&field, value)))
    };
    if field.is_map() {
        let Kind::Message(entry) = field.kind() else {
            unreachable!("a map field is a list of entry messages")
        };
        let (Some(key), [value]) = (key, values) else {
            return Err(format!(
                "cannot convert to map: field {:?} needs one value as {path}[key]=value",
                field.name()
            ));
        };
        let value = one(&entry.map_entry_value_field().kind(), value)?;
        if let Some(map) = message.get_field_mut(&field).as_map_mut() {
            map.insert(MapKey::String(key.to_owned()), value);
        }
        return Ok(());
    }
    if let Kind::Message(inner) = field.kind()
        && !inner.full_name().starts_with("google.protobuf.")
    {
        return Err(format!(
            "parsing field {:?}: unsupported message type: {:?}",
            field.name(),
            inner.full_name()
        ));
    }
    if field.is_list() {
        let items = values
            .iter()
            .map(|value| one(&field.kind(), value))
            .collect::<Result<_, _>>()?;
        message.set_field(&field, Value::List(items));
        return Ok(());
    }
    let [value] = values else {
        return Err(format!(
            "too many values for field {:?}: {}",
            field.name(),
            values.join(", ")
        ));
    };
    let value = one(&field.kind(), value)?;
    message.set_field(&field, value);
    Ok(())
}

/// The innermost message and the field of a dotted path, in either spelling. `None` if there is no such field.
fn reach<'a>(
    message: &'a mut DynamicMessage,
    path: &str,
) -> Result<Option<(&'a mut DynamicMessage, FieldDescriptor)>, String> {
    let (first, rest) = match path.split_once('.') {
        Some((first, rest)) => (first, Some(rest)),
        None => (path, None),
    };
    let descriptor = message.descriptor();
    let field = descriptor
        .get_field_by_name(first)
        .or_else(|| descriptor.get_field_by_json_name(first));
    let Some(field) = field else { return Ok(None) };
    let Some(rest) = rest else {
        return Ok(Some((message, field)));
    };
    if field.is_list() || field.is_map() || !matches!(field.kind(), Kind::Message(_)) {
        return Err(format!("invalid path: {first:?} is not a message"));
    }
    match message.get_field_mut(&field).as_message_mut() {
        Some(inner) => reach(inner, rest),
        None => Ok(None),
    }
}

fn unfit(field: &FieldDescriptor, value: &str) -> String {
    match field.kind() {
        Kind::Enum(_) => format!("{value:?} is not a valid value"),
        Kind::Message(message) => format!("{value:?} is not a valid {}", message.full_name()),
        kind => format!("{value:?} is not a valid {kind:?}").to_lowercase(),
    }
}

#[cfg(test)]
#[allow(deprecated)]
mod tests {
    use temporalio_protos::temporal::api::workflowservice::v1::{
        DescribeTaskQueueRequest, GetWorkflowExecutionHistoryRequest,
    };

    use super::*;
    use crate::descriptors::pool;

    fn message(name: &str) -> DynamicMessage {
        let full_name = format!("temporal.api.workflowservice.v1.{name}");
        DynamicMessage::new(pool().get_message_by_name(&full_name).unwrap())
    }

    #[test]
    fn nested_names_enums_bytes_and_flags() {
        let mut request = message("GetWorkflowExecutionHistoryRequest");
        set_variable(&mut request, "execution.workflow_id", "a/b").unwrap();
        let query = "maximumPageSize=2&execution.runId=r+1&next_page_token=YWI%3D&pretty&waitNewEvent=true\
                     &historyEventFilterType=HISTORY_EVENT_FILTER_TYPE_CLOSE_EVENT&who=knows";
        set_query(&mut request, &query_pairs(query)).unwrap();
        let request: GetWorkflowExecutionHistoryRequest = request.transcode_to().unwrap();
        let execution = request.execution.unwrap();
        assert_eq!(
            (execution.workflow_id.as_str(), execution.run_id.as_str()),
            ("a/b", "r 1")
        );
        assert_eq!(
            (
                request.maximum_page_size,
                request.wait_new_event,
                request.history_event_filter_type
            ),
            (2, true, 2)
        );
        assert_eq!(request.next_page_token, b"ab");
    }

    #[test]
    fn repeated_names_fill_lists() {
        let mut request = message("DescribeTaskQueueRequest");
        set_query(
            &mut request,
            &query_pairs("taskQueueTypes=1&taskQueueTypes=TASK_QUEUE_TYPE_ACTIVITY"),
        )
        .unwrap();
        let request: DescribeTaskQueueRequest = request.transcode_to().unwrap();
        assert_eq!(request.task_queue_types, [1, 2]);
    }

    #[test]
    fn values_that_do_not_fit_are_refused() {
        let mut request = message("GetWorkflowExecutionHistoryRequest");
        let mut refused = |query: &str| set_query(&mut request, &query_pairs(query)).unwrap_err();
        assert_eq!(
            refused("maximumPageSize=x"),
            r#"parsing field "maximum_page_size": "x" is not a valid int32"#
        );
        assert_eq!(
            refused("maximumPageSize=1&maximumPageSize=2"),
            r#"too many values for field "maximum_page_size": 1, 2"#
        );
        assert!(refused("execution=x").contains("unsupported message type"));
        assert!(refused("namespace.x=1").contains("invalid path"));
    }
}
