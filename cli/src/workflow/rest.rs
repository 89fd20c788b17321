//! Fermata's REST API, as far as the commands need it.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

/// What stays as it is in a path segment or a parameter.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');
const TIMEOUT: Duration = Duration::from_secs(30);
/// One wait for a result; longer ones are made of several.
const WAIT_MAX: Duration = Duration::from_secs(20);

pub struct Rest {
    agent: ureq::Agent,
    base: String,
}

impl Rest {
    pub fn new(address: &str, namespace: &str) -> Self {
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(TIMEOUT + WAIT_MAX))
            .http_status_as_error(false)
            .build()
            .into();
        let scheme = if address.contains("://") {
            ""
        } else {
            "http://"
        };
        let base = format!(
            "{scheme}{}/api/v1/namespaces/{}",
            address.trim_end_matches('/'),
            segment(namespace)
        );
        Self { agent, base }
    }

    /// # Errors
    /// If there is no answer, or a refusal; with the server's words.
    pub fn get(&self, path: &[&str], query: &[(&str, Option<&str>)]) -> anyhow::Result<Value> {
        let url = self.url(path, query)?;
        let answer = self.agent.get(&url).call();
        read(answer, &url)
    }

    /// # Errors
    /// As [`Self::get`].
    pub fn post(&self, path: &[&str], body: &Value) -> anyhow::Result<Value> {
        let url = self.url(path, &[])?;
        let answer = self.agent.post(&url).send_json(body);
        read(answer, &url)
    }

    /// All events of a run.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn history(&self, workflow_id: &str, run_id: Option<&str>) -> anyhow::Result<Vec<Value>> {
        let mut events = Vec::new();
        let mut token: Option<String> = None;
        loop {
            let answer = self.get(
                &["workflows", workflow_id, "history"],
                &[
                    ("execution.runId", run_id),
                    ("nextPageToken", token.as_deref()),
                ],
            )?;
            events.extend(list_of(&answer["history"]["events"]));
            token = next_page(&answer);
            if token.is_none() {
                return Ok(events);
            }
        }
    }

    /// Events from `token` on, waited for if there are none yet, and where the next ones begin; nothing after the end of the run.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn new_events(
        &self,
        workflow_id: &str,
        run_id: Option<&str>,
        token: Option<&str>,
    ) -> anyhow::Result<(Vec<Value>, Option<String>)> {
        let answer = self.get(
            &["workflows", workflow_id, "history"],
            &[
                ("execution.runId", run_id),
                ("waitNewEvent", Some("true")),
                ("nextPageToken", token),
            ],
        )?;
        Ok((list_of(&answer["history"]["events"]), next_page(&answer)))
    }

    /// The newest executions that match, at most `limit`.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn list(&self, query: Option<&str>, limit: usize) -> anyhow::Result<Vec<Value>> {
        let mut found = Vec::new();
        let mut token: Option<String> = None;
        loop {
            let page_size = (limit - found.len()).clamp(1, 1_000).to_string();
            let answer = self.get(
                &["workflows"],
                &[
                    ("query", query),
                    ("pageSize", Some(&page_size)),
                    ("nextPageToken", token.as_deref()),
                ],
            )?;
            found.extend(list_of(&answer["executions"]));
            found.truncate(limit);
            token = next_page(&answer);
            if token.is_none() || found.len() >= limit {
                return Ok(found);
            }
        }
    }

    /// Waits for the end of a workflow; `RUNNING` if it has not ended after `wait`.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn result(
        &self,
        workflow_id: &str,
        run_id: Option<&str>,
        wait: Duration,
    ) -> anyhow::Result<Value> {
        let end = Instant::now() + wait;
        loop {
            let left = end.saturating_duration_since(Instant::now()).min(WAIT_MAX);
            let wait = format!("{}ms", left.as_millis());
            let answer = self.get(
                &["workflows", workflow_id, "result"],
                &[("wait", Some(&wait)), ("runId", run_id)],
            )?;
            if answer["status"] != "RUNNING" || Instant::now() >= end {
                return Ok(answer);
            }
            if std::io::stderr().is_terminal() {
                eprintln!("{workflow_id} is still running; waiting for it");
            }
        }
    }

    fn url(&self, path: &[&str], query: &[(&str, Option<&str>)]) -> anyhow::Result<String> {
        let mut url = self.base.clone();
        for part in path {
            super::checked_id(part)?;
            url.push('/');
            url.push_str(&segment(part));
        }
        let mut separator = '?';
        for (name, value) in query {
            if let Some(value) = value {
                url.push(separator);
                url.push_str(&format!("{name}={}", segment(value)));
                separator = '&';
            }
        }
        Ok(url)
    }
}

fn segment(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

fn list_of(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

fn next_page(answer: &Value) -> Option<String> {
    answer["nextPageToken"]
        .as_str()
        .filter(|token| !token.is_empty())
        .map(str::to_owned)
}

fn read(
    answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    url: &str,
) -> anyhow::Result<Value> {
    let mut answer = answer.with_context(|| format!("call {url}: is Fermata running there?"))?;
    let status = answer.status();
    let text = answer
        .body_mut()
        .with_config()
        .limit(64 << 20)
        .read_to_string()
        .with_context(|| format!("read the answer of {url}"))?;
    let value: Value = serde_json::from_str(&text).map_err(|_| {
        anyhow!(
            "{url} answered {status} with something that is not JSON: is it Fermata's HTTP port?"
        )
    })?;
    if status.is_success() {
        return Ok(value);
    }
    let message = value["message"].as_str().unwrap_or(&text).to_owned();
    Err(anyhow!("{message} ({status})"))
}
