use std::time::Duration;

use fermata_examples::approval::{DECIDE, Decision, Outcome, WAITING_FOR};
use fermata_examples::onboarding::Stage as Onboarding;
use fermata_examples::pipeline::Report;
use fermata_test_support::wait_for;

use crate::{Stage, told};

const PIPELINE: &str = env!("CARGO_BIN_EXE_pipeline");
const ONBOARDING: &str = env!("CARGO_BIN_EXE_onboarding");
const TRIP: &str = env!("CARGO_BIN_EXE_trip");
const BATCH: &str = env!("CARGO_BIN_EXE_batch");
const APPROVAL: &str = env!("CARGO_BIN_EXE_approval");
const ORDER: &str = env!("CARGO_BIN_EXE_order");

const SOON: Duration = Duration::from_secs(30);

/// The lines come in this order, with others between them.
fn assert_in_order(text: &str, lines: &[&str]) {
    let mut rest = text;
    for line in lines {
        let at = rest.find(line);
        let at = at.unwrap_or_else(|| panic!("no {line:?} (any more) in:\n{text}"));
        rest = &rest[at + line.len()..];
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_shipped_or_undone() {
    let stage = Stage::start().await;
    let text = stage.play(ORDER, &[]).await;
    assert_in_order(
        &text,
        &["confirmation sent", "result: {\"order_id\":\"ada-1\""],
    );
    let text = stage.play(ORDER, &["--country", "nowhere"]).await;
    assert_in_order(
        &text,
        &["inventory released", "payment refunded", "no result"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_goes_on_after_its_connection_broke() {
    let stage = Stage::start().await;
    let text = stage.play(PIPELINE, &["--batch-ms", "10"]).await;
    assert_in_order(
        &text,
        &["begins at row 0", "begins at row 1500", "published"],
    );
    stage.record("pipeline-2026-01-31", "pipeline-broken").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_goes_on_after_its_worker_was_killed() {
    let stage = Stage::start().await;
    let args = [
        "--rows",
        "20000",
        "--batch-ms",
        "20",
        "--breaks-at-row",
        "99999",
    ];
    let mut first = stage.spawn(PIPELINE, &args);
    let handle = stage.client.workflow::<Report>("pipeline-2026-01-31");
    wait_for("heartbeats of both copies", SOON, async || {
        let copies = handle.describe().await.ok()?.pending_activities;
        let told = copies
            .iter()
            .filter(|copy| copy.heartbeat_details.is_some());
        (told.count() == 2).then_some(())
    })
    .await;
    first.kill().await.unwrap();
    let text = stage.play(PIPELINE, &args).await;
    assert_in_order(&text, &["attempt 2 begins at row", "published"]);
    let report = handle.result().await.unwrap();
    assert!(report.copied.iter().all(|copy| copy.resumed_at_row > 0));
    let sales: u64 = (0..20_000).map(|row| row + 100).sum();
    assert_eq!(
        (report.rows, report.revenue_cents),
        (40_000, sales - 20_000)
    );
    stage.record("pipeline-2026-01-31", "pipeline-killed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_becomes_active_after_a_reminder_or_is_handed_over() {
    let stage = Stage::start().await;
    let text = stage.play(ONBOARDING, &["--wait", "1s"]).await;
    assert_in_order(
        &text,
        &[
            "Welcome!",
            "still empty",
            "You are in",
            "result: \"active\"",
        ],
    );
    stage.record("onboarding-ada", "onboarding-active").await;
    let text = stage.play(ONBOARDING, &["--wait", "1s", "--silent"]).await;
    assert_in_order(
        &text,
        &[
            "still empty",
            "still empty",
            "ticket",
            "result: \"handed_over\"",
        ],
    );
    let user = stage.client.workflow::<Onboarding>("onboarding-ada");
    assert_eq!(user.result().await.unwrap(), Onboarding::HandedOver);
    stage.record("onboarding-ada", "onboarding-silent").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trip_is_booked_or_undone_in_reverse_order() {
    let stage = Stage::start().await;
    let text = stage.play(TRIP, &[]).await;
    let story = [
        "booked the flight",
        "booked the hotel",
        "the car is sold out",
        "cancelled the car",
        "cancelled the hotel",
        "cancelled the flight",
        "no car in Lisbon",
    ];
    assert_in_order(&text, &story);
    stage.record("trip-ada", "trip-undone").await;
    let text = stage.play(TRIP, &["--sold-out", "nothing"]).await;
    assert_in_order(&text, &["booked the car", "result: [{\"part\":\"flight\""]);
    stage.record("trip-ada", "trip-booked").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_bills_all_but_two() {
    let stage = Stage::start().await;
    let text = stage.play(BATCH, &[]).await;
    let story = [
        "20 children, 5 at a time",
        "receipt to customer-1:",
        "\"billed_cents\":18000",
        "customer-10",
        "customer-20",
    ];
    assert_in_order(&text, &story);
    stage.record("bills-2026-01", "batch").await;
    let child = "bills-2026-01/customer-10";
    stage.record(child, "batch-declined").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expense_is_paid_rejected_or_passed_on() {
    let stage = Stage::start().await;
    let text = stage.play(APPROVAL, &[]).await;
    assert_in_order(
        &text,
        &["mail to bo", "paid 4200 cents", "result: {\"paid\""],
    );
    stage.record("expense-1", "approval-paid").await;
    let text = stage.play(APPROVAL, &["--answer", "reject"]).await;
    assert_in_order(&text, &["result: {\"rejected\""]);

    // Nobody answers in time; then the next in line does.
    let args = ["--answer", "nothing", "--wait", "3s"];
    let playing = stage.spawn(APPROVAL, &args);
    let expense = stage.client.workflow::<Outcome>("expense-1");
    wait_for("the next in line", SOON, async || {
        let asked: Option<String> = expense.query(WAITING_FOR, &()).await.ok()?;
        (asked.as_deref() == Some("cy@example.com")).then_some(())
    })
    .await;
    let decision = Decision {
        by: "cy@example.com".to_owned(),
        is_approved: true,
    };
    expense.signal(DECIDE, &decision).await.unwrap();
    let text = told(playing).await;
    assert_in_order(
        &text,
        &[
            "--name decide",
            "mail to cy",
            "{\"approved_by\":\"cy@example.com\"}",
        ],
    );
    stage.record("expense-1", "approval-passed-on").await;
}
