//! A history as a timeline: what happened, when, and how long each activity, timer and child took.
//!
//! Workflow tasks are left out unless one failed: they are how Fermata works, not what the process did.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use super::table::{enum_name, text};

/// Longest text of a payload or a failure on a line, in characters.
const TEXT_MAX: usize = 100;

/// What later events refer to by an event id.
#[derive(Default)]
struct Begun {
    /// Name and time of scheduled activities, started timers and initiated children.
    by_event: BTreeMap<String, (String, Option<Timestamp>)>,
    /// Attempts of started activities, in words.
    started: BTreeMap<String, String>,
}

/// A history as it is read, event by event.
#[derive(Default)]
pub struct Timeline {
    first: Option<Timestamp>,
    begun: Begun,
}

impl Timeline {
    /// The line of the next event, if it tells something.
    pub fn line(&mut self, event: &Value) -> Option<String> {
        let now = time(&event["eventTime"]);
        self.first = self.first.or(now);
        let what = line(event, &mut self.begun)?;
        let since = match (self.first, now) {
            (Some(first), Some(now)) => (now - first).total(jiff::Unit::Second).unwrap_or_default(),
            _ => 0.0,
        };
        Some(format!(
            "{:>5}  {since:>9.3} s  {what}\n",
            text(&event["eventId"])
        ))
    }
}

/// One line an event that tells something.
pub fn render(events: &[Value]) -> String {
    let mut timeline = Timeline::default();
    events
        .iter()
        .filter_map(|event| timeline.line(event))
        .collect()
}

fn line(event: &Value, begun: &mut Begun) -> Option<String> {
    let kind = enum_name(&event["eventType"], "EVENT_TYPE_");
    let id = text(&event["eventId"]);
    let at = time(&event["eventTime"]);
    let attributes = attributes(event);
    Some(match kind.as_str() {
        "WorkflowTaskScheduled" | "WorkflowTaskStarted" | "WorkflowTaskCompleted" => return None,
        "WorkflowExecutionStarted" => format!(
            "workflow {} started{}",
            text(&attributes["workflowType"]["name"]),
            shown(&attributes["input"])
        ),
        "WorkflowExecutionCompleted" => {
            format!("workflow completed{}", shown(&attributes["result"]))
        }
        "WorkflowExecutionFailed" => format!("workflow failed{}", failure(&attributes["failure"])),
        "WorkflowExecutionSignaled" => format!(
            "signal {}{}",
            text(&attributes["signalName"]),
            shown(&attributes["input"])
        ),
        "ActivityTaskScheduled" => {
            let name = text(&attributes["activityType"]["name"]);
            begun.by_event.insert(id, (name.clone(), at));
            let queue = text(&attributes["taskQueue"]["name"]);
            format!("  {name} scheduled on {queue}")
        }
        "ActivityTaskStarted" => {
            if let Some(scheduled) = attributes["scheduledEventId"].as_str() {
                begun
                    .started
                    .insert(scheduled.to_owned(), attempts(attributes));
            }
            return None;
        }
        "ActivityTaskCompleted"
        | "ActivityTaskFailed"
        | "ActivityTaskTimedOut"
        | "ActivityTaskCanceled" => {
            let (name, took) = ended(&attributes["scheduledEventId"], at, begun);
            let attempts = attributes["scheduledEventId"]
                .as_str()
                .and_then(|scheduled| begun.started.remove(scheduled))
                .unwrap_or_default();
            let verb = match kind.as_str() {
                "ActivityTaskCompleted" => "completed",
                "ActivityTaskFailed" => "failed",
                "ActivityTaskTimedOut" => "timed out",
                _ => "canceled",
            };
            let what = match kind.as_str() {
                "ActivityTaskCompleted" => shown(&attributes["result"]),
                _ => failure(&attributes["failure"]),
            };
            format!("  {name} {verb}{took}{attempts}{what}")
        }
        "TimerStarted" => {
            let name = format!("timer {}", text(&attributes["timerId"]));
            begun.by_event.insert(id, (name.clone(), at));
            format!(
                "  {name} started, {}",
                text(&attributes["startToFireTimeout"])
            )
        }
        "TimerFired" | "TimerCanceled" => {
            let (name, took) = ended(&attributes["startedEventId"], at, begun);
            let verb = if kind == "TimerFired" {
                "fired"
            } else {
                "canceled"
            };
            format!("  {name} {verb}{took}")
        }
        "StartChildWorkflowExecutionInitiated" => {
            let name = format!(
                "child {} ({})",
                text(&attributes["workflowType"]["name"]),
                text(&attributes["workflowId"])
            );
            begun.by_event.insert(id, (name.clone(), at));
            format!("  {name} asked for")
        }
        "WorkflowTaskFailed" | "WorkflowTaskTimedOut" => format!(
            "workflow task {}: {}{}",
            if kind.ends_with("Failed") {
                "failed"
            } else {
                "timed out"
            },
            enum_name(&attributes["cause"], "WORKFLOW_TASK_FAILED_CAUSE_"),
            failure(&attributes["failure"])
        ),
        other => match attributes["initiatedEventId"].as_str() {
            Some(initiated) if begun.by_event.contains_key(initiated) => {
                let (name, took) = ended(&attributes["initiatedEventId"], at, begun);
                let verb = words(other.trim_start_matches("ChildWorkflowExecution"));
                let what = shown(&attributes["result"]) + &failure(&attributes["failure"]);
                format!("  {name} {verb}{took}{what}")
            }
            _ => words(other) + &failure(&attributes["failure"]),
        },
    })
}

/// The one field that ends in `EventAttributes`.
fn attributes(event: &Value) -> &Value {
    event
        .as_object()
        .into_iter()
        .flatten()
        .find(|(name, _)| name.ends_with("EventAttributes"))
        .map_or(&Value::Null, |(_, attributes)| attributes)
}

fn ended(began: &Value, at: Option<Timestamp>, begun: &Begun) -> (String, String) {
    match begun.by_event.get(&text(began)) {
        Some((name, Some(from))) => {
            let took = at
                .and_then(|at| (at - *from).total(jiff::Unit::Second).ok())
                .map(|seconds| format!(" after {seconds:.3} s"))
                .unwrap_or_default();
            (name.clone(), took)
        }
        Some((name, None)) => (name.clone(), String::new()),
        None => ("?".to_owned(), String::new()),
    }
}

/// Which attempt it was, and why the one before failed; nothing for the first.
fn attempts(started: &Value) -> String {
    let attempt = text(&started["attempt"]);
    if attempt.is_empty() || attempt == "1" {
        return String::new();
    }
    match started["lastFailure"]["message"].as_str() {
        Some(message) => format!(", attempt {attempt} (before: {})", cut(message)),
        None => format!(", attempt {attempt}"),
    }
}

fn failure(failure: &Value) -> String {
    match failure["message"].as_str() {
        Some(message) => format!(": {}", cut(message)),
        None => String::new(),
    }
}

fn shown(payloads: &Value) -> String {
    let values = match payloads {
        Value::Array(values) => values.iter().map(Value::to_string).collect::<Vec<_>>(),
        _ => return String::new(),
    };
    if values.is_empty() {
        return String::new();
    }
    format!(": {}", cut(&values.join(", ")))
}

fn cut(text: &str) -> String {
    if text.chars().count() <= TEXT_MAX {
        return text.to_owned();
    }
    let kept: String = text.chars().take(TEXT_MAX).collect();
    format!("{kept}...")
}

/// `WorkflowExecutionTimedOut` as `workflow execution timed out`.
fn words(name: &str) -> String {
    let mut out = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !out.is_empty() {
            out.push(' ');
        }
        out.extend(letter.to_lowercase());
    }
    out
}

fn time(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_retried_activity_shows_its_attempt_and_what_failed_before() {
        let events = [
            json!({"eventId": "1", "eventTime": "2026-01-01T00:00:00Z", "eventType": "EVENT_TYPE_WORKFLOW_EXECUTION_STARTED",
                "workflowExecutionStartedEventAttributes": {"workflowType": {"name": "Pay"}, "input": [7]}}),
            json!({"eventId": "2", "eventTime": "2026-01-01T00:00:00Z", "eventType": "EVENT_TYPE_WORKFLOW_TASK_SCHEDULED",
                "workflowTaskScheduledEventAttributes": {}}),
            json!({"eventId": "5", "eventTime": "2026-01-01T00:00:01Z", "eventType": "EVENT_TYPE_ACTIVITY_TASK_SCHEDULED",
                "activityTaskScheduledEventAttributes": {"activityType": {"name": "charge"}, "taskQueue": {"name": "q"}}}),
            json!({"eventId": "6", "eventTime": "2026-01-01T00:00:02Z", "eventType": "EVENT_TYPE_ACTIVITY_TASK_STARTED",
                "activityTaskStartedEventAttributes": {"scheduledEventId": "5", "attempt": 3, "lastFailure": {"message": "down"}}}),
            json!({"eventId": "7", "eventTime": "2026-01-01T00:00:03.500Z", "eventType": "EVENT_TYPE_ACTIVITY_TASK_COMPLETED",
                "activityTaskCompletedEventAttributes": {"scheduledEventId": "5", "result": ["ok"]}}),
        ];
        let expected = "    1      0.000 s  workflow Pay started: 7\n    \
                        5      1.000 s    charge scheduled on q\n    \
                        7      3.500 s    charge completed after 2.500 s, attempt 3 (before: down): \"ok\"\n";
        assert_eq!(render(&events), expected);
    }

    #[test]
    fn unknown_events_read_as_words() {
        let events = [json!({"eventId": "9", "eventTime": "2026-01-01T00:00:00Z",
            "eventType": "EVENT_TYPE_WORKFLOW_EXECUTION_TIMED_OUT", "workflowExecutionTimedOutEventAttributes": {}})];
        assert!(render(&events).contains("workflow execution timed out"));
    }
}
