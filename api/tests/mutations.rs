//! Damaged and hostile bodies at the REST door's decoder: a refusal or a message, never a panic. `SEED=<number>` repeats a round.

use std::panic::{AssertUnwindSafe, catch_unwind};

use fermata_api::descriptors;
use fermata_api::rest::json::{Style, decode, encode};

/// Damaged forms of each sample and message.
const ROUNDS: usize = 2_000;
/// Of the threads that requests are decoded on.
const STACK_BYTES: usize = 2 << 20;
const START: &str = "temporal.api.workflowservice.v1.StartWorkflowExecutionRequest";
const SAMPLES: [(&str, &str); 3] = [
    (
        START,
        r#"{"workflowId": "wf-\u00e9", "workflowType": {"name": "Flow"}, "taskQueue": {"name": "q", "kind": "TASK_QUEUE_KIND_NORMAL"},
            "input": [{"orderId": 7.50, "lines": [1, 2e3, -0]}, "x", null, true], "workflowRunTimeout": "3.000000001s",
            "workflowIdReusePolicy": 1, "memo": {"fields": {"a": null}}, "searchAttributes": {"indexedFields": {"CustomIntField": 5}},
            "retryPolicy": {"initialInterval": "1s", "backoffCoefficient": 2.0, "maximumAttempts": 3, "nonRetryableErrorTypes": ["A"]}}"#,
    ),
    (
        START,
        r#"{"input": {"payloads": [{"metadata": {"encoding": "anNvbi9wbGFpbg=="}, "data": "MQ"}]}, "requestEagerExecution": false}"#,
    ),
    (
        "temporal.api.workflowservice.v1.UpdateNamespaceRequest",
        r#"{"config": {"workflowExecutionRetentionTtl": "259200s", "badBinaries": {"binaries": {"b": {"createTime":
            "2026-01-02T03:04:05.678Z", "reason": "old"}}}}, "updateInfo": {"data": {"k": "v"}}}"#,
    ),
];

/// Damages a copy in one to four places.
fn mutate(sample: &str, random: &mut fastrand::Rng) -> String {
    const TELLING: [&str; 16] = [
        "{",
        "}",
        "[",
        "]",
        "\"",
        ",",
        ":",
        "\\u",
        "\\ud800",
        "null",
        "-",
        "1e999",
        "9223372036854775808",
        "\"-315576000001s\"",
        "\u{0}",
        "é",
    ];
    let mut text: Vec<char> = sample.chars().collect();
    for _ in 0..random.usize(1..5) {
        let at = random.usize(..=text.len());
        let rest = text.len() - at;
        match random.u8(..5) {
            0 => text.truncate(at),
            1 => {
                text.drain(at..at + random.usize(..=rest.min(12)));
            }
            2 => {
                let repeated = text[at..at + random.usize(..=rest.min(24))].to_vec();
                text.splice(at..at, repeated);
            }
            3 if rest > 0 => text[at] = char::from(random.u8(..)),
            _ => {
                let telling = TELLING[random.usize(..TELLING.len())];
                text.splice(at..at, telling.chars());
            }
        }
    }
    text.into_iter().collect()
}

/// Decodes and writes again what was decoded; whether there was anything.
fn is_taken(message: &str, text: &str, shorthand: bool) -> bool {
    let descriptor = descriptors::pool().get_message_by_name(message).unwrap();
    let Ok(message) = decode(descriptor, text, shorthand) else {
        return false;
    };
    let style = Style {
        pretty: false,
        shorthand,
    };
    !encode(&message, style).is_empty()
}

#[test]
fn damaged_bodies_are_refused_or_taken() {
    let seed = std::env::var("SEED").map_or_else(
        |_| fastrand::u64(..1_000_000),
        |seed| seed.parse().expect("SEED is a number"),
    );
    println!("SEED={seed}");
    let random = &mut fastrand::Rng::with_seed(seed);
    let mut taken = 0;
    for (message, sample) in SAMPLES {
        let sound = [true, false].map(|shorthand| is_taken(message, sample, shorthand));
        assert!(sound.contains(&true), "{sample}");
        for round in 0..ROUNDS {
            let text = mutate(sample, random);
            let run = AssertUnwindSafe(|| is_taken(message, &text, round % 2 == 0));
            taken +=
                usize::from(catch_unwind(run).unwrap_or_else(|_| panic!("{message}: {text:?}")));
        }
    }
    assert!(
        taken > 0,
        "the damage is slight enough to get past the first characters"
    );
}

#[test]
fn bodies_that_nest_without_end_are_refused() {
    for (begin, end) in [
        ("[", ""),
        (r#"{"input":[{"a":"#, ""),
        (r#"{"failure":{"cause":"#, ""),
        ("{\"input\":[", "]}"),
    ] {
        let text = begin.repeat(100_000) + &end.repeat(100_000);
        let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
        let run = move || [true, false].map(|shorthand| is_taken(START, &text, shorthand));
        let taken = thread.spawn(run).unwrap().join().unwrap();
        assert_eq!(taken, [false, false], "{begin}");
    }
    // One value, within what the parser reads and beyond.
    let deep = |depth: usize| {
        format!(
            r#"{{"input":[{}1{}]}}"#,
            "[".repeat(depth),
            "]".repeat(depth)
        )
    };
    for depth in [10, 100, 1_000, 20_000] {
        let text = deep(depth);
        let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
        let taken = thread
            .spawn(move || is_taken(START, &text, true))
            .unwrap()
            .join()
            .unwrap();
        assert_eq!(taken, depth <= 100, "{depth}");
    }
}
