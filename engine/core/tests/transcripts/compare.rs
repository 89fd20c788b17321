//! Where our answer differs from the recorded one, in the normal form of the transcripts.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::json::{normal_payload, spelled_payload};

const TOKENS: [&str; 4] = [
    "taskToken",
    "nextPageToken",
    "longPollToken",
    "conflictToken",
];

/// Fields that only describe the reference server's storage: as in the recorder.
const VOLATILE: [&str; 17] = [
    "taskId",
    "version",
    "historySizeBytes",
    "stateTransitionCount",
    "externalPayloadSizeBytes",
    "externalPayloadCount",
    "executionStateSizeBytes",
    "stateSizeBytes",
    "sizeBytes",
    "pollerScalingDecision",
    "backlogCountHint",
    "branchToken",
    "executionDuration",
    "shardId",
    "autoResetPoints",
    "prevAutoResetPoints",
    "currentRetryInterval",
];

/// Which of our ids stands for which recorded one.
#[derive(Clone, Default)]
pub struct Ids {
    ours: BTreeMap<String, String>,
    golden: BTreeMap<String, String>,
}

impl Ids {
    /// Our id for a recorded one, made up if it is new: a request brings it in.
    pub fn bring_in(&mut self, golden: &str) -> String {
        if let Some(ours) = self.ours.get(golden) {
            return ours.clone();
        }
        let number = golden.trim_start_matches("<id-").trim_end_matches('>');
        let ours = format!("00000000-0000-4000-8000-{number:0>12}");
        self.same(golden, &ours);
        ours
    }

    /// Takes `ours` for a recorded id, unless it is known already.
    pub fn learn(&mut self, golden: &str, ours: &str) {
        if !self.ours.contains_key(golden) && !self.golden.contains_key(ours) {
            self.same(golden, ours);
        }
    }

    fn same(&mut self, golden: &str, ours: &str) -> bool {
        let known = self
            .ours
            .entry(golden.to_owned())
            .or_insert_with(|| ours.to_owned());
        let back = self
            .golden
            .entry(ours.to_owned())
            .or_insert_with(|| golden.to_owned());
        known == ours && back == golden
    }

    /// Replaces recorded ids by ours, in texts and in keys.
    pub fn for_request(&mut self, value: &Value) -> Value {
        match value {
            Value::String(text) => json!(self.text_for_request(text)),
            Value::Array(items) => items.iter().map(|item| self.for_request(item)).collect(),
            Value::Object(fields) => fields
                .iter()
                .map(|(key, value)| (self.text_for_request(key), self.for_request(value)))
                .collect::<Map<_, _>>()
                .into(),
            other => other.clone(),
        }
    }

    fn text_for_request(&mut self, text: &str) -> String {
        let (template, ids) = golden_ids(text);
        let mut parts = template.split("<id>");
        let mut out = parts.next().unwrap_or_default().to_owned();
        for (part, id) in parts.zip(ids) {
            out += &self.bring_in(&id);
            out += part;
        }
        out
    }
}

/// A text with its recorded ids taken out.
fn golden_ids(text: &str) -> (String, Vec<String>) {
    let (mut template, mut ids, mut rest) = (String::new(), Vec::new(), text);
    while let Some(at) = rest.find("<id-") {
        let Some(length) = rest[at..].find('>') else {
            break;
        };
        template += &rest[..at];
        template += "<id>";
        ids.push(rest[at..=at + length].to_owned());
        rest = &rest[at + length + 1..];
    }
    (template + rest, ids)
}

/// A text with its UUIDs taken out.
fn our_ids(text: &str) -> (String, Vec<String>) {
    const LENGTH: usize = 36;
    let is_uuid = |text: &str| {
        text.char_indices().all(|(at, c)| match at {
            8 | 13 | 18 | 23 => c == '-',
            _ => c.is_ascii_hexdigit() && !c.is_ascii_uppercase(),
        })
    };
    let (mut template, mut ids, mut at) = (String::new(), Vec::new(), 0);
    while at < text.len() {
        match text.get(at..at + LENGTH) {
            Some(part) if is_uuid(part) => {
                template += "<id>";
                ids.push(part.to_owned());
                at += LENGTH;
            }
            _ => {
                let next = text[at..].chars().next().expect("not at the end");
                template.push(next);
                at += next.len_utf8();
            }
        }
    }
    (template, ids)
}

fn is_time(text: &str) -> bool {
    text.len() >= 20 && text.ends_with('Z') && text.as_bytes()[10] == b'T'
}

/// What is compared, and what not.
#[derive(Clone, Default)]
pub struct Comparison {
    pub ignore: Vec<String>,
}

impl Comparison {
    /// The differences as `path: golden -> ours`.
    pub fn lines(&self, ids: &mut Ids, golden: &Value, ours: &Value) -> Vec<String> {
        let mut lines = Vec::new();
        self.walk(ids, "", "", golden, ours, &mut lines);
        lines
    }

    fn walk(
        &self,
        ids: &mut Ids,
        at: &str,
        key: &str,
        golden: &Value,
        ours: &Value,
        lines: &mut Vec<String>,
    ) {
        if VOLATILE.contains(&key) || self.ignore.iter().any(|ignored| ignored == key) {
            return;
        }
        if let (Value::Object(golden), Value::Object(fields)) = (golden, ours) {
            let payload = if golden.contains_key("text") && golden.contains_key("metadata") {
                spelled_payload(fields)
            } else {
                normal_payload(fields)
            };
            let ours = match &payload {
                Some(Value::Object(payload)) => payload,
                _ => fields,
            };
            return self.walk_object(ids, at, golden, ours, lines);
        }
        let differs = match (golden, ours) {
            (Value::Array(golden), Value::Array(ours)) => {
                for index in 0..golden.len().max(ours.len()) {
                    let (golden, ours) = (golden.get(index), ours.get(index));
                    let at = format!("{at}[{index}]");
                    self.walk(
                        ids,
                        &at,
                        key,
                        golden.unwrap_or(&Value::Null),
                        ours.unwrap_or(&Value::Null),
                        lines,
                    );
                }
                return;
            }
            (Value::String(golden), Value::String(ours)) => {
                !(TOKENS.contains(&key) && golden == "<token>" || is_same_text(ids, golden, ours))
            }
            (Value::Number(golden), Value::Number(ours)) => golden.as_f64() != ours.as_f64(),
            (golden, ours) => golden != ours,
        };
        if differs {
            lines.push(format!("{at}: {golden} -> {ours}"));
        }
    }

    fn walk_object(
        &self,
        ids: &mut Ids,
        at: &str,
        golden: &Map<String, Value>,
        ours: &Map<String, Value>,
        lines: &mut Vec<String>,
    ) {
        for (key, golden_value) in golden {
            let our_key = if key.contains("<id-") {
                our_key(ids, key, golden, ours)
            } else {
                key.clone()
            };
            let ours = ours.get(&our_key).unwrap_or(&Value::Null);
            self.walk(ids, &format!("{at}.{key}"), key, golden_value, ours, lines);
        }
        let has_ids = golden.keys().any(|key| key.contains("<id-"));
        for (key, value) in ours {
            let is_known = golden.contains_key(key) || has_ids && golden.len() == ours.len();
            if !is_known {
                self.walk(ids, &format!("{at}.{key}"), key, &Value::Null, value, lines);
            }
        }
    }
}

/// The key of ours that stands for a recorded key with an id in it.
fn our_key(
    ids: &mut Ids,
    key: &str,
    golden: &Map<String, Value>,
    ours: &Map<String, Value>,
) -> String {
    if let Some(known) = ids.ours.get(key) {
        return known.clone();
    }
    let taken = |key: &String| ids.golden.contains_key(key) || golden.contains_key(key);
    match ours.keys().find(|key| !taken(key)).cloned() {
        Some(found) => {
            ids.same(key, &found);
            found
        }
        None => key.to_owned(),
    }
}

fn is_same_text(ids: &mut Ids, golden: &str, ours: &str) -> bool {
    if golden == "<time>" {
        return is_time(ours);
    }
    // The recorder's names were longer on the wire than they stand in the transcript.
    const TOO_LONG: &str = "exceeds maximum allowed length (";
    if let (Some((golden, _)), Some((ours, _))) =
        (golden.split_once(TOO_LONG), ours.split_once(TOO_LONG))
    {
        return golden == ours;
    }
    let (golden_template, golden_ids) = golden_ids(golden);
    let (our_template, our_ids) = our_ids(ours);
    golden_template == our_template
        && golden_ids.len() == our_ids.len()
        && golden_ids
            .iter()
            .zip(&our_ids)
            .all(|(golden, ours)| ids.same(golden, ours))
}
