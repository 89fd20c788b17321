//! Plays the transcripts of tests/wire, recorded from the reference server, directly against the rules, without a server.
//!
//! Not played here is what the edge and the owner do by themselves: [`NOT_OF_THE_CORE`].

// Which transcript is played is asked of the environment; the rules never ask it.
#![allow(clippy::disallowed_methods)]

#[path = "transcripts/compare.rs"]
mod compare;
#[path = "transcripts/edge.rs"]
mod edge;
#[path = "transcripts/json.rs"]
mod json;
#[path = "transcripts/player.rs"]
mod player;
mod support;
#[path = "transcripts/waiting.rs"]
mod waiting;

use std::path::{Path, PathBuf};

use serde_json::Value;

/// Transcripts that are about the edge or the owner, with what they are about.
const NOT_OF_THE_CORE: &[(&str, &str)] = &[
    ("lifecycle/close_event_not_in_time", "long polls of history"),
    ("lifecycle/new_events_awaited", "long polls of history"),
    ("lifecycle/unknown_execution", "page tokens of history"),
    ("system/bad_queue_requests", "task queues"),
    ("system/bad_reads", "page tokens of history"),
    ("system/cluster_info", "the cluster"),
    ("system/describe_queue", "task queues"),
    ("system/describe_queue_enhanced", "task queues"),
    ("system/describe_queue_with_stats", "task queues"),
    ("system/health", "health"),
    ("system/listed_search_attributes", "the operator service"),
    ("system/queue_partitions", "task queues"),
    ("system/rubbish_request", "gRPC"),
    ("system/system_info", "the system"),
    (
        "system/too_big",
        "requests too large to record; see limits.rs",
    ),
    ("system/unknown_method", "gRPC"),
    (
        "updates/too_many",
        "updates that were sent silently; see updates.rs",
    ),
    ("workflow_tasks/poll_refused", "polls"),
    ("workflow_tasks/poll_with_a_short_deadline", "polls"),
    ("workflow_tasks/poll_without_work", "polls"),
];

/// What a scenario's decorator says is not compared in it.
fn ignored(source: &str, scenario: &str) -> Vec<String> {
    let definition = source
        .find(&format!("\ndef {scenario}("))
        .unwrap_or_else(|| panic!("the scenario {scenario} is defined"));
    let decorator = source[..definition].rsplit('\n').next().unwrap_or_default();
    let Some((_, names)) = decorator.split_once("ignore=(") else {
        return Vec::new();
    };
    let names = names.split(')').next().unwrap_or_default();
    names
        .split(',')
        .map(|name| name.trim().trim_matches('"').to_owned())
        .filter(|name| !name.is_empty())
        .collect()
}

fn play_area(area: &str) {
    let wire = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/wire");
    let source = std::fs::read_to_string(wire.join(format!("scenarios/{area}.py")))
        .expect("the area has scenarios");
    let only = std::env::var("TRANSCRIPT").ok();
    let mut paths: Vec<PathBuf> = std::fs::read_dir(wire.join("golden").join(area))
        .expect("the area has transcripts")
        .map(|entry| entry.expect("a transcript").path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "no transcripts in {area}");
    let (mut played, mut failed) = (0, Vec::new());
    for path in paths {
        let name = path
            .file_stem()
            .and_then(|name| name.to_str())
            .expect("a file name")
            .to_owned();
        let full = format!("{area}/{name}");
        if NOT_OF_THE_CORE.iter().any(|(known, _)| *known == full)
            || only.as_ref().is_some_and(|only| !full.contains(only))
        {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("a transcript");
        let calls: Vec<Value> = serde_json::from_str(&text).expect("a transcript is JSON");
        let comparison = compare::Comparison {
            ignore: ignored(&source, &name),
        };
        played += 1;
        let outcome = std::panic::catch_unwind(|| player::play(&calls, comparison));
        match outcome {
            Ok(Ok(())) => {}
            Ok(Err(difference)) => {
                let rpc = &calls[difference.call]["rpc"];
                let lines = difference.lines.join("\n      ");
                failed.push(format!(
                    "{full}: call {} {rpc}\n      {lines}",
                    difference.call
                ));
            }
            Err(panic) => {
                let text = panic
                    .downcast_ref::<String>()
                    .map(String::as_str)
                    .or_else(|| panic.downcast_ref::<&str>().copied())
                    .unwrap_or("panicked");
                failed.push(format!("{full}: {text}"));
            }
        }
    }
    assert!(
        failed.is_empty(),
        "{} of {played} transcripts of {area} differ:\n  {}",
        failed.len(),
        failed.join("\n  ")
    );
}

macro_rules! areas {
    ($($area:ident),*) => {$(
        #[test]
        fn $area() {
            play_area(stringify!($area));
        }
    )*};
}

areas!(
    activities,
    system,
    workflow_tasks,
    timers,
    signals,
    queries,
    lifecycle,
    children,
    external,
    updates,
    update_with_start,
    reset
);
