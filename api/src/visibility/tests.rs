//! Lists over a few runs, as recorded from Temporal.

use std::collections::BTreeMap;
use std::time::Duration;

use fermata_proto::common::{Payload, SearchAttributes, WorkflowExecution, WorkflowType};
use fermata_proto::enums::{IndexedValueType, WorkflowExecutionStatus as Status};
use fermata_proto::ids::NamespaceId;
use fermata_proto::time::Timestamp;
use fermata_proto::visibility::VisibilityRecord;
use fermata_proto::workflow::WorkflowExecutionInfo;

use super::record::Row;
use super::store::Write;
use super::*;

const ATTRIBUTES: [(&str, IndexedValueType); 7] = [
    ("Customer", IndexedValueType::Keyword),
    ("Due", IndexedValueType::Datetime),
    ("Items", IndexedValueType::Int),
    ("Tags", IndexedValueType::KeywordList),
    ("Title", IndexedValueType::Text),
    ("Urgent", IndexedValueType::Bool),
    ("Weight", IndexedValueType::Double),
];

fn custom() -> BTreeMap<String, IndexedValueType> {
    ATTRIBUTES
        .map(|(name, value_type)| (name.to_owned(), value_type))
        .into()
}

/// A run that started at second `start`, with search attributes as JSON.
fn run(
    name: &str,
    of: &str,
    start: i64,
    closed: Option<(i64, Status)>,
    attributes: &[(&str, &str)],
) -> VisibilityRecord {
    let second = |second: i64| Timestamp::from_millis(second * 1_000);
    let value = |(name, json): &(&str, &str)| {
        let value_type = custom()[*name];
        let payload = Payload {
            metadata: [(TYPE_METADATA.to_owned(), format!("{value_type:?}").into())].into(),
            data: json.to_string().into(),
            ..Default::default()
        };
        ((*name).to_owned(), payload)
    };
    VisibilityRecord {
        namespace_id: "ns".into(),
        info: WorkflowExecutionInfo {
            execution: Some(WorkflowExecution {
                workflow_id: name.to_owned(),
                run_id: format!("run-of-{name}"),
            }),
            r#type: Some(WorkflowType {
                name: of.to_owned(),
            }),
            start_time: Some(second(start)),
            execution_time: Some(second(start)),
            close_time: closed.map(|(time, _)| second(time)),
            status: closed.map_or(Status::Running, |(_, status)| status),
            history_length: 5,
            task_queue: "tq".to_owned(),
            search_attributes: Some(SearchAttributes {
                indexed_fields: attributes.iter().map(value).collect(),
            }),
            ..Default::default()
        },
        deleted: false,
    }
}

fn sample() -> Vec<VisibilityRecord> {
    vec![
        run("done", "Order", 1, Some((2, Status::Completed)), &[]),
        run("failed", "Order", 3, Some((4, Status::Failed)), &[]),
        run(
            "terminated",
            "Invoice",
            5,
            Some((6, Status::Terminated)),
            &[],
        ),
        run("running", "Invoice", 7, None, &[]),
        run("also", "Order", 8, None, &[]),
    ]
}

fn with_attributes() -> Vec<VisibilityRecord> {
    let one = [
        ("Customer", r#""ann""#),
        ("Items", "3"),
        ("Weight", "1.5"),
        ("Urgent", "true"),
        ("Due", r#""2030-01-02T03:04:05Z""#),
        ("Tags", r#"["new", "big"]"#),
        ("Title", r#""A red bicycle""#),
    ];
    let two = [
        ("Customer", r#""bob""#),
        ("Items", "30"),
        ("Weight", "100.25"),
        ("Urgent", "false"),
        ("Due", r#""2031-01-02T03:04:05+02:00""#),
        ("Tags", r#"["old"]"#),
        ("Title", r#""A blue car""#),
    ];
    vec![
        run("one", "Flow", 1, None, &one),
        run("two", "Flow", 2, None, &two),
        run("bare", "Flow", 3, None, &[]),
    ]
}

fn model(records: &[VisibilityRecord], file: Option<&Path>) -> Visibility {
    let visibility = Visibility::open(file).unwrap();
    let writes: Vec<_> = records.iter().map(put).collect();
    visibility.inner.store.write(&writes).unwrap();
    visibility
}

fn put(record: &VisibilityRecord) -> Write {
    Write::Put(Box::new(Row::of(record, Timestamp::default(), None)))
}

fn selection(query: &str) -> Selection {
    Selection::parse(query, &NamespaceId::from("ns"), &custom()).unwrap()
}

fn names(page: &Page) -> Vec<&str> {
    let executions = page.executions.iter();
    executions
        .map(|info| &*info.execution.as_ref().unwrap().workflow_id)
        .collect()
}

async fn check(visibility: &Visibility, cases: &[(&str, &[&str])]) {
    for (query, expected) in cases {
        let page = visibility.list(selection(query), 100, None).await.unwrap();
        assert_eq!(names(&page), *expected, "{query}");
    }
}

#[tokio::test]
async fn runs_are_found_by_what_every_run_has() {
    let visibility = model(&sample(), None);
    check(
        &visibility,
        &[
            ("", &["also", "running", "terminated", "failed", "done"]),
            ("WorkflowType = 'Order'", &["also", "failed", "done"]),
            ("WorkflowType != \"Order\"", &["running", "terminated"]),
            (
                "WorkflowType NOT IN ('Order', 'Other')",
                &["running", "terminated"],
            ),
            (
                "WorkflowType STARTS_WITH 'Ord'",
                &["also", "failed", "done"],
            ),
            (
                "WorkflowType NOT STARTS_WITH \"Ord\"",
                &["running", "terminated"],
            ),
            ("WorkflowType STARTS_WITH '%'", &[]),
            ("WorkflowType > \"J\"", &["also", "failed", "done"]),
            (
                "WorkflowType BETWEEN \"A\" AND \"K\"",
                &["running", "terminated"],
            ),
            ("`WorkflowType` = 'Order'", &["also", "failed", "done"]),
            ("WorkflowType = \"order\"", &[]),
            ("CloseTime IS NULL", &["also", "running"]),
            ("CloseTime IS NOT NULL", &["terminated", "failed", "done"]),
            (
                "WorkflowType = \"Invoice\" OR WorkflowType = \"Order\" AND CloseTime IS NULL",
                &["also", "running", "terminated"],
            ),
            (
                "(WorkflowType = \"Invoice\" OR WorkflowType = \"Order\") AND CloseTime IS NULL",
                &["also", "running"],
            ),
            (
                "NOT (WorkflowType = \"Order\" AND CloseTime IS NULL)",
                &["running", "terminated", "failed", "done"],
            ),
            ("ExecutionStatus = \"Running\"", &["also", "running"]),
            (
                "ExecutionStatus IN (\"Failed\", \"Terminated\")",
                &["terminated", "failed"],
            ),
            (
                "ExecutionStatus = \"WORKFLOW_EXECUTION_STATUS_RUNNING\"",
                &["also", "running"],
            ),
            ("ExecutionStatus = 2", &["done"]),
            ("ExecutionStatus = \"TimedOut\"", &[]),
            ("ExecutionStatus IS NULL", &[]),
            ("StartTime = \"1970-01-01T00:00:01Z\"", &["done"]),
            (
                "StartTime BETWEEN '1970-01-01T00:00:00Z' AND '1970-01-01T02:00:03+02:00'",
                &["failed", "done"],
            ),
            ("CloseTime <= 2000000000", &["done"]),
            ("HistoryLength = 5 AND RunId = 'run-of-failed'", &["failed"]),
            // Open runs have no duration.
            ("ExecutionDuration > 0", &["terminated", "failed", "done"]),
        ],
    )
    .await;
}

#[tokio::test]
async fn runs_are_found_by_their_own_attributes() {
    let visibility = model(&with_attributes(), None);
    check(
        &visibility,
        &[
            ("Customer != \"ann\"", &["two"]),
            ("Customer IS NULL", &["bare"]),
            ("Customer STARTS_WITH \"b\"", &["two"]),
            ("Customer IN (\"ann\", \"bob\")", &["two", "one"]),
            ("Items > 3", &["two"]),
            ("Items BETWEEN 3 AND 30", &["two", "one"]),
            ("Items IN (30, 31)", &["two"]),
            ("Items != 3", &["two"]),
            ("Weight < 2", &["one"]),
            ("Weight = 100.25", &["two"]),
            ("Urgent = true", &["one"]),
            ("Urgent != true", &["two"]),
            ("Due > \"2030-06-01T00:00:00Z\"", &["two"]),
            ("Due = \"2031-01-02T01:04:05Z\"", &["two"]),
            ("Tags = \"new\"", &["one"]),
            ("Tags IN (\"old\", \"big\")", &["two", "one"]),
            ("Tags != \"new\"", &["bare", "two"]),
            ("Tags NOT IN ('new', 'old')", &["bare"]),
            ("Tags IS NULL", &["bare"]),
            ("Title = \"bicycle\"", &["one"]),
            ("Title = \"RED car\"", &["two", "one"]),
            ("Title != \"car\"", &["bare", "one"]),
            ("`Customer` = 'ann' AND Items >= 3", &["one"]),
        ],
    )
    .await;
    for query in [
        "Items = \"3\"",
        "Urgent = \"true\"",
        "Tags STARTS_WITH \"n\"",
        "Title STARTS_WITH \"A\"",
        "Title IN ('a')",
    ] {
        let refused = Selection::parse(query, &NamespaceId::from("ns"), &custom());
        assert!(refused.is_err(), "{query}");
    }
}

#[tokio::test]
async fn pages_follow_each_other_and_a_full_one_has_a_token() {
    let file = tempfile::tempdir().unwrap();
    let visibility = model(&sample(), Some(&file.path().join("visibility.db")));
    let mut after = None;
    let mut pages = Vec::new();
    loop {
        let page = visibility.list(selection(""), 2, after).await.unwrap();
        pages.push(names(&page).join(" "));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(pages, ["also running", "terminated failed", "done"]);
    let full = visibility.list(selection(""), 5, None).await.unwrap();
    assert!(full.next.is_some());
}

#[tokio::test]
async fn counts_are_total_or_by_status() {
    let visibility = model(&sample(), None);
    let count = |query| visibility.count(selection(query));
    assert_eq!(count("").await.unwrap().total, 5);
    assert_eq!(count("WorkflowType = 'Order'").await.unwrap().total, 3);
    let counts = count("GROUP BY ExecutionStatus").await.unwrap();
    assert_eq!(
        counts.groups,
        [
            ("Completed", 1),
            ("Failed", 1),
            ("Running", 2),
            ("Terminated", 1)
        ]
    );
    let counts = count("WorkflowType = 'no' GROUP BY ExecutionStatus");
    assert_eq!(counts.await.unwrap(), Counts::default());
}

#[test]
fn what_may_not_follow_a_filter_is_refused_in_known_words() {
    let message = |query: &str| {
        Selection::parse(query, &NamespaceId::from("ns"), &custom())
            .unwrap_err()
            .to_string()
    };
    let unsupported = "invalid query: operation is not supported: ";
    assert_eq!(
        message("WorkflowType = \"x\" LIMIT 3"),
        format!("{unsupported}'LIMIT' clause")
    );
    assert_eq!(
        message("GROUP BY WorkflowType"),
        format!(
            "{unsupported}'GROUP BY' clause is not supported for search attribute WorkflowType"
        )
    );
    assert_eq!(
        message("GROUP BY ExecutionStatus, WorkflowType"),
        format!("{unsupported}'GROUP BY' clause supports only a single field")
    );
    assert_eq!(
        message("WorkflowType = \"x\" ORDER BY NoSuchThing"),
        "invalid query: invalid search attribute: NoSuchThing"
    );
    assert!(message("ORDER BY StartTime").contains("'ORDER BY' clause"));
}

#[tokio::test]
async fn the_last_record_of_a_run_stands_until_it_is_deleted_or_expires() {
    let visibility = model(&sample(), None);
    let closed = run("also", "Order", 8, Some((9, Status::Completed)), &[]);
    let hour = Duration::from_secs(3_600);
    let closed = Row::of(&closed, Timestamp::from_millis(0), Some(hour));
    let removed = Write::Remove {
        namespace_id: "ns".to_owned(),
        run_id: "run-of-running".to_owned(),
    };
    let store = &visibility.inner.store;
    store
        .write(&[Write::Put(Box::new(closed)), removed])
        .unwrap();
    let left: &[&str] = &["also", "terminated", "failed", "done"];
    check(&visibility, &[("", left)]).await;
    store.expire(Timestamp::from_millis(3_599_999)).unwrap();
    check(&visibility, &[("", left)]).await;
    store.expire(Timestamp::from_millis(3_600_000)).unwrap();
    check(&visibility, &[("", &["terminated", "failed", "done"])]).await;
}

#[tokio::test]
async fn an_entry_shows_sizes_only_when_the_run_has_closed() {
    let visibility = model(&sample(), None);
    let entry = |query| visibility.list(selection(query), 1, None);
    let open = entry("WorkflowId = 'running'").await.unwrap();
    assert_eq!(open.executions[0].history_length, 0);
    assert!(open.executions[0].memo.is_some());
    let done = entry("WorkflowId = 'done'").await.unwrap();
    assert_eq!(done.executions[0].history_length, 5);
    assert_eq!(done.executions[0].execution_duration.unwrap().seconds, 1);
}

#[tokio::test]
async fn the_servers_own_workflows_are_hidden_unless_asked_for() {
    let mut own = run("schedule", "Scheduler", 1, None, &[]);
    let division = Payload {
        data: r#""TemporalScheduler""#.into(),
        ..Default::default()
    };
    let attributes = own.info.search_attributes.as_mut().unwrap();
    attributes
        .indexed_fields
        .insert(attribute::NAMESPACE_DIVISION.to_owned(), division);
    let visibility = model(&[own], None);
    check(
        &visibility,
        &[
            ("", &[]),
            (
                "TemporalNamespaceDivision = 'TemporalScheduler'",
                &["schedule"],
            ),
        ],
    )
    .await;
}
