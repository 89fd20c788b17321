//! Answers as text for people.

use serde_json::Value;

/// A JSON value on one line; a text without quotes.
pub fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// `WORKFLOW_EXECUTION_STATUS_TIMED_OUT` as `TimedOut`.
pub fn enum_name(value: &Value, prefix: &str) -> String {
    let name = value.as_str().unwrap_or_default();
    name.strip_prefix(prefix)
        .unwrap_or(name)
        .split('_')
        .map(|word| {
            let mut letters = word.chars();
            letters
                .next()
                .map(|first| first.to_string() + &letters.as_str().to_lowercase())
                .unwrap_or_default()
        })
        .collect()
}

/// Each payload on a line.
pub fn payloads(value: &Value) -> String {
    let values = match value {
        Value::Array(values) => values.as_slice(),
        Value::Null => &[],
        other => std::slice::from_ref(other),
    };
    values
        .iter()
        .map(|value| {
            format!(
                "{}\n",
                serde_json::to_string_pretty(value).unwrap_or_default()
            )
        })
        .collect()
}

pub fn executions(executions: &[Value]) -> String {
    let mut rows = vec![[
        "STATUS".to_owned(),
        "WORKFLOW ID".to_owned(),
        "TYPE".to_owned(),
        "STARTED".to_owned(),
        "CLOSED".to_owned(),
    ]];
    rows.extend(executions.iter().map(|info| {
        [
            enum_name(&info["status"], "WORKFLOW_EXECUTION_STATUS_"),
            text(&info["execution"]["workflowId"]),
            text(&info["type"]["name"]),
            moment(&info["startTime"]),
            moment(&info["closeTime"]),
        ]
    }));
    columns(&rows)
}

pub fn description(answer: &Value) -> String {
    let info = &answer["workflowExecutionInfo"];
    let mut rows = vec![
        [
            "workflow id".to_owned(),
            text(&info["execution"]["workflowId"]),
        ],
        ["run id".to_owned(), text(&info["execution"]["runId"])],
        ["type".to_owned(), text(&info["type"]["name"])],
        [
            "status".to_owned(),
            enum_name(&info["status"], "WORKFLOW_EXECUTION_STATUS_"),
        ],
        ["task queue".to_owned(), text(&info["taskQueue"])],
        ["started".to_owned(), moment(&info["startTime"])],
    ];
    if !info["closeTime"].is_null() {
        rows.push(["closed".to_owned(), moment(&info["closeTime"])]);
    }
    rows.push(["events".to_owned(), text(&info["historyLength"])]);
    let mut out = columns(&rows);
    let pending = answer["pendingActivities"].as_array();
    if let Some(pending) = pending.filter(|pending| !pending.is_empty()) {
        let mut rows = vec![[
            "\nPENDING ACTIVITY".to_owned(),
            "STATE".to_owned(),
            "ATTEMPT".to_owned(),
            "LAST FAILURE".to_owned(),
        ]];
        rows.extend(pending.iter().map(|activity| {
            [
                text(&activity["activityType"]["name"]),
                enum_name(&activity["state"], "PENDING_ACTIVITY_STATE_"),
                text(&activity["attempt"]),
                text(&activity["lastFailure"]["message"]),
            ]
        }));
        out.push_str(&columns(&rows));
    }
    out
}

/// A time without its date's `T` and its fraction.
pub fn moment(value: &Value) -> String {
    let text = text(value);
    text.split(['.', 'Z'])
        .next()
        .unwrap_or_default()
        .replace('T', " ")
}

/// Rows as text; the first row is the head.
pub fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.trim_start_matches('\n').chars().count());
        }
    }
    rows.iter()
        .map(|row| {
            let line: Vec<String> = row
                .iter()
                .zip(widths)
                .map(|(cell, width)| {
                    let lead = if cell.starts_with('\n') {
                        width + 1
                    } else {
                        width
                    };
                    format!("{cell:<lead$}")
                })
                .collect();
            line.join("  ").trim_end().to_owned() + "\n"
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn enum_names_read_as_in_lists_filters() {
        let name = enum_name(
            &json!("WORKFLOW_EXECUTION_STATUS_TIMED_OUT"),
            "WORKFLOW_EXECUTION_STATUS_",
        );
        assert_eq!(name, "TimedOut");
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [
            ["a".to_owned(), "b".to_owned()],
            ["longer".to_owned(), "c".to_owned()],
        ];
        assert_eq!(columns(&rows), "a       b\nlonger  c\n");
    }
}
