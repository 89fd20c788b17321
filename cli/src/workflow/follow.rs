//! `fermata workflow show --follow`: a timeline that grows, until the run ends.
//!
//! Attempts of an activity are in no history until the activity ends. A second look at the workflow, now and then, shows them
//! while they happen.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use serde_json::Value;

use super::rest::Rest;
use super::table::text;
use super::timeline::Timeline;
use super::{Execution, Output};

const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Prints events as they come; with JSON one event a line.
///
/// # Errors
/// If there is no answer, or a refusal.
pub fn run(rest: &Rest, execution: &Execution, output: Output) -> anyhow::Result<ExitCode> {
    // The run is fixed here: a following one is another timeline.
    let described = describe(rest, execution)?;
    let run_id = text(&described["workflowExecutionInfo"]["execution"]["runId"]);
    let fixed = Execution {
        workflow_id: execution.workflow_id.clone(),
        run_id: Some(run_id),
    };
    std::thread::scope(|scope| {
        let (stop, stopped) = mpsc::channel::<()>();
        if output == Output::Table {
            let fixed = &fixed;
            scope.spawn(move || watch_attempts(rest, fixed, &stopped));
        }
        let followed = follow(rest, &fixed, output);
        drop(stop);
        followed
    })?;
    Ok(ExitCode::SUCCESS)
}

fn follow(rest: &Rest, execution: &Execution, output: Output) -> anyhow::Result<()> {
    let mut timeline = Timeline::default();
    let mut token: Option<String> = None;
    loop {
        let (events, next) = rest.new_events(
            &execution.workflow_id,
            execution.run_id.as_deref(),
            token.as_deref(),
        )?;
        for event in &events {
            let line = match output {
                Output::Table => timeline.line(event),
                Output::Json => Some(format!("{event}\n")),
            };
            if !line.is_none_or(|line| written(&line)) {
                return Ok(());
            }
        }
        match next {
            Some(next) => token = Some(next),
            None => return Ok(()),
        }
    }
}

/// False if nobody reads any more.
fn written(line: &str) -> bool {
    let mut out = std::io::stdout().lock();
    out.write_all(line.as_bytes()).is_ok() && out.flush().is_ok()
}

fn describe(rest: &Rest, execution: &Execution) -> anyhow::Result<Value> {
    rest.get(
        &["workflows", &execution.workflow_id],
        &[("execution.runId", execution.run_id.as_deref())],
    )
}

/// Tells of each attempt that failed, once.
fn watch_attempts(rest: &Rest, execution: &Execution, stopped: &mpsc::Receiver<()>) {
    let mut told: BTreeMap<String, i64> = BTreeMap::new();
    while stopped.recv_timeout(LOOK_AGAIN) == Err(RecvTimeoutError::Timeout) {
        // The timeline itself tells of a server that is away.
        let Ok(described) = describe(rest, execution) else {
            continue;
        };
        for line in new_attempts(&described, &mut told) {
            written(&line);
        }
    }
}

/// A line for each pending activity whose attempt is not what `told` says.
fn new_attempts(described: &Value, told: &mut BTreeMap<String, i64>) -> Vec<String> {
    let pending = described["pendingActivities"].as_array();
    let mut lines = Vec::new();
    for activity in pending.into_iter().flatten() {
        let attempt = activity["attempt"].as_i64().unwrap_or(1);
        let id = text(&activity["activityId"]);
        if attempt > 1 && told.insert(id, attempt) != Some(attempt) {
            lines.push(format!(
                "    -                 {} is at attempt {attempt}, the last one failed: {}\n",
                text(&activity["activityType"]["name"]),
                text(&activity["lastFailure"]["message"])
            ));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_attempt_is_told_once() {
        let at = |attempt: i64| {
            json!({"pendingActivities": [{"activityId": "5", "activityType": {"name": "charge"}, "attempt": attempt,
                "lastFailure": {"message": "down"}}]})
        };
        let mut told = BTreeMap::new();
        assert_eq!(new_attempts(&at(1), &mut told), Vec::<String>::new());
        let lines = new_attempts(&at(2), &mut told);
        assert_eq!(lines.len(), 1);
        assert!(lines[0].contains("charge is at attempt 2, the last one failed: down"));
        assert!(new_attempts(&at(2), &mut told).is_empty());
        assert_eq!(new_attempts(&at(3), &mut told).len(), 1);
    }
}
