//! Temporal's dynamic configuration, as far as it sets something that Fermata has.
//!
//! Keys are Temporal's, in any case of letters. What is not here is named in a warning and does nothing.

use std::time::Duration;

use anyhow::{Context, bail};
use fermata_engine::Limits;
use serde_json::Value;

use crate::settings;

/// Changes `limits` by settings of the form `KEY=JSON`. Gives what had no effect, a line each.
///
/// # Errors
/// If a value is not of the key's type, or no JSON.
pub fn apply(given: &[String], limits: &mut Limits) -> anyhow::Result<Vec<String>> {
    let mut warnings = Vec::new();
    for text in given {
        let (key, json) = text
            .split_once('=')
            .with_context(|| format!("--dynamic-config-value {text:?}: expected KEY=VALUE"))?;
        let value: Value = serde_json::from_str(json)
            .with_context(|| format!("--dynamic-config-value {text:?}: the value is no JSON"))?;
        let outcome = set(&key.to_ascii_lowercase(), &value, limits)
            .with_context(|| format!("--dynamic-config-value {text:?}"))?;
        match outcome {
            Outcome::Done => {}
            Outcome::AlwaysOn => {
                warnings.push(format!("{key}={json}: it cannot be switched off"));
            }
            Outcome::Unknown => warnings.push(format!("{key}={json} has no effect here")),
        }
    }
    Ok(warnings)
}

enum Outcome {
    Done,
    AlwaysOn,
    Unknown,
}

/// What is on, and stays so.
const ALWAYS_ON: [&str; 9] = [
    "frontend.enableupdateworkflowexecution",
    "frontend.enableupdateworkflowexecutionasyncaccepted",
    "frontend.enableexecutemultioperation",
    "frontend.enableschedules",
    "frontend.activityapisenabled",
    "system.enableeagerworkflowstart",
    "system.enableactivityeagerexecution",
    "system.forcesearchattributescacherefreshonread",
    "system.enablestickyquery",
];
/// What does not exist, and so is off.
const ALWAYS_OFF: [&str; 1] = ["frontend.enableserverversioncheck"];

fn set(key: &str, value: &Value, limits: &mut Limits) -> anyhow::Result<Outcome> {
    match key {
        "limit.historycount.error" => limits.history_events_max = number(value)?,
        "limit.historycount.suggestcontinueasnew" => {
            limits.history_events_suggest_continue_as_new = number(value)?;
        }
        "limit.historysize.error" => limits.history_bytes_max = number(value)?,
        "limit.historysize.suggestcontinueasnew" => {
            limits.history_bytes_suggest_continue_as_new = number(value)?;
        }
        "limit.blobsize.error" => limits.blob_bytes_max = number(value)?,
        "limit.memosize.error" => limits.memo_bytes_max = number(value)?,
        "limit.maxidlength" => limits.id_length_max = number(value)?,
        "limit.numpendingactivities.error" => limits.pending_activities_max = number(value)?,
        "limit.numpendingchildexecutions.error" => limits.pending_children_max = number(value)?,
        "limit.numpendingsignals.error" => limits.pending_signals_max = number(value)?,
        "limit.numpendingcancelrequests.error" => {
            limits.pending_cancel_requests_max = number(value)?;
        }
        "history.maximumsignalsperexecution" => limits.signals_per_run_max = number(value)?,
        "history.maxinflightupdates" => limits.updates_in_flight_max = number(value)?,
        "history.maxtotalupdates" => limits.updates_total_max = number(value)?,
        "history.maxinflightupdatepayloads" => {
            limits.updates_in_flight_bytes_max = number(value)?;
        }
        "history.maximumbufferedeventsbatch" => limits.buffered_events_max = number(value)?,
        "history.maximumbufferedeventssizeinbytes" => limits.buffered_bytes_max = number(value)?,
        "frontend.searchattributesnumberofkeyslimit" => {
            limits.search_attributes_keys_max = number(value)?;
        }
        "frontend.searchattributessizeofvaluelimit" => {
            limits.search_attribute_bytes_max = number(value)?;
        }
        "frontend.searchattributestotalsizelimit" => {
            limits.search_attributes_bytes_max = number(value)?;
        }
        "limit.usermetadatasummarysize" => limits.summary_bytes_max = number(value)?,
        "limit.usermetadatadetailssize" => limits.details_bytes_max = number(value)?,
        "history.defaultworkflowtasktimeout" => {
            limits.workflow_task_timeout_default = duration(value)?;
        }
        "history.workflowtaskheartbeattimeout" => {
            limits.workflow_task_heartbeat_max = duration(value)?;
        }
        "history.workflowidreuseminimalinterval" => {
            limits.workflow_id_reuse_interval_min = duration(value)?;
        }
        "system.enablecrossnamespacecommands" => {
            limits.allow_cross_namespace_commands = truth(value)?;
        }
        key if ALWAYS_ON.contains(&key) => {
            return Ok(if truth(value)? {
                Outcome::Done
            } else {
                Outcome::AlwaysOn
            });
        }
        key if ALWAYS_OFF.contains(&key) && !truth(value)? => {}
        _ => return Ok(Outcome::Unknown),
    }
    Ok(Outcome::Done)
}

fn number<T: TryFrom<u64>>(value: &Value) -> anyhow::Result<T> {
    let number = value.as_u64().and_then(|number| T::try_from(number).ok());
    number.context("the value is no whole number of this kind")
}

fn truth(value: &Value) -> anyhow::Result<bool> {
    value
        .as_bool()
        .context("the value is neither true nor false")
}

/// A text such as `"30s"`, or whole seconds.
fn duration(value: &Value) -> anyhow::Result<Duration> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(seconds) => seconds.to_string(),
        _ => bail!("the value is no duration"),
    };
    settings::duration(&text).map_err(anyhow::Error::msg)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(given: &[&str]) -> anyhow::Result<(Limits, Vec<String>)> {
        let given: Vec<String> = given.iter().map(|text| (*text).to_owned()).collect();
        let mut limits = Limits::default();
        let warnings = apply(&given, &mut limits)?;
        Ok((limits, warnings))
    }

    #[test]
    fn limits_are_set_by_temporals_names() {
        let (limits, warnings) = applied(&[
            "limit.historyCount.suggestContinueAsNew=50",
            "limit.blobSize.error=10240",
            "history.defaultWorkflowTaskTimeout=\"5s\"",
            "system.enableCrossNamespaceCommands=false",
            "frontend.enableUpdateWorkflowExecution=true",
            "frontend.enableServerVersionCheck=false",
        ])
        .unwrap();
        assert_eq!(limits.history_events_suggest_continue_as_new, 50);
        assert_eq!(limits.blob_bytes_max, 10_240);
        assert_eq!(limits.workflow_task_timeout_default, Duration::from_secs(5));
        assert!(!limits.allow_cross_namespace_commands);
        assert!(warnings.is_empty(), "{warnings:?}");
    }

    #[test]
    fn what_does_nothing_is_named() {
        let (_, warnings) = applied(&[
            "history.enableChasm=true",
            "frontend.enableUpdateWorkflowExecution=false",
        ])
        .unwrap();
        assert_eq!(warnings.len(), 2);
        assert!(warnings[0].contains("history.enableChasm"), "{warnings:?}");
        assert!(warnings[1].contains("switched off"), "{warnings:?}");
    }

    #[test]
    fn a_value_of_another_type_is_refused() {
        assert!(applied(&["limit.blobSize.error=true"]).is_err());
        assert!(applied(&["limit.blobSize.error=-1"]).is_err());
        assert!(applied(&["limit.blobSize.error"]).is_err());
        assert!(applied(&["system.enableCrossNamespaceCommands=maybe"]).is_err());
    }
}
