//! `docs/compatibility.md` tells of every call, event and command that Temporal's API has, of each once, and of no other.

use std::collections::BTreeMap;

use fermata_api::descriptors::{self, OPERATOR_SERVICE, WORKFLOW_SERVICE};

const PAGE: &str = include_str!("../../docs/compatibility.md");

/// The names in the table under a heading, with the state that stands beside them.
fn table(heading: &str) -> BTreeMap<String, String> {
    let (_, section) = PAGE
        .split_once(&format!("\n## {heading}\n"))
        .unwrap_or_else(|| panic!("a section {heading}"));
    let section = section
        .split_once("\n## ")
        .map_or(section, |(section, _)| section);
    let mut found = BTreeMap::new();
    let rows = section.lines().filter_map(|line| {
        let (names, state) = line
            .strip_prefix("| ")?
            .strip_suffix(" |")?
            .split_once(" | ")?;
        Some((names, state))
    });
    for (names, state) in rows.skip(1) {
        let known = ["works", "partly: ", "not yet", "never written"];
        assert!(
            known.iter().any(|known| state.starts_with(known)),
            "{names}: {state:?} is no state"
        );
        for name in names.split(", ") {
            let before = found.insert(name.to_owned(), state.to_owned());
            assert_eq!(before, None, "{name} is in the table twice");
        }
    }
    assert!(!found.is_empty(), "the table under {heading} is empty");
    found
}

fn assert_same(table: &BTreeMap<String, String>, mut expected: Vec<String>) {
    expected.sort();
    let told: Vec<String> = table.keys().cloned().collect();
    let missing: Vec<_> = expected
        .iter()
        .filter(|name| !told.contains(name))
        .collect();
    let unknown: Vec<_> = told
        .iter()
        .filter(|name| !expected.contains(name))
        .collect();
    assert!(missing.is_empty(), "not in the table: {missing:?}");
    assert!(unknown.is_empty(), "not in Temporal's API: {unknown:?}");
}

/// `EVENT_TYPE_TIMER_FIRED` is `TimerFired`.
fn enum_names(full_name: &str, prefix: &str) -> Vec<String> {
    let values = descriptors::pool().get_enum_by_name(full_name).unwrap();
    let names = values.values().filter(|value| value.number() != 0);
    names
        .map(|value| {
            let name = value.name().strip_prefix(prefix).unwrap().to_lowercase();
            let words = name.split('_').map(|word| {
                let (first, rest) = word.split_at(1);
                first.to_uppercase() + rest
            });
            words.collect()
        })
        .collect()
}

#[test]
fn every_call_is_in_the_table() {
    let services =
        [WORKFLOW_SERVICE, OPERATOR_SERVICE].map(|name| descriptors::service(name).unwrap());
    let methods = services.iter().flat_map(|service| service.methods());
    assert_same(
        &table("Calls"),
        methods.map(|method| method.name().to_owned()).collect(),
    );
}

#[test]
fn every_event_is_in_the_table() {
    assert_same(
        &table("Events"),
        enum_names("temporal.api.enums.v1.EventType", "EVENT_TYPE_"),
    );
}

#[test]
fn every_command_is_in_the_table() {
    assert_same(
        &table("Commands"),
        enum_names("temporal.api.enums.v1.CommandType", "COMMAND_TYPE_"),
    );
}
