use fermata_examples::pipeline::*;
use fermata_worker::TestEnvironment;

fn night(breaks_at_row: Option<u64>) -> Night {
    Night {
        day: "2026-01-31".to_owned(),
        rows: 1_000,
        batch_ms: 0,
        breaks_at_row,
    }
}

fn environment() -> TestEnvironment {
    TestEnvironment::new()
        .workflow(data_pipeline)
        .activity(copy_table)
        .activity(settle)
        .activity(publish)
}

#[tokio::test]
async fn copies_that_broke_go_on_where_their_last_heartbeat_was() {
    let run = environment()
        .start(data_pipeline, night(Some(550)))
        .run()
        .await;
    let report = run.result.as_ref().unwrap();
    let resumed: Vec<u64> = report.copied.iter().map(|it| it.resumed_at_row).collect();
    assert_eq!(resumed, [500, 500]);
    assert_eq!(run.inputs::<Table>("copy_table").len(), 4);
    assert_eq!(report.rows, 2_000);
    let sales: u64 = (0..1_000).map(|row| row + 100).sum();
    assert_eq!(report.revenue_cents, sales - 1_000);
}

#[tokio::test]
async fn nothing_is_settled_before_both_copies_are_there() {
    let run = environment()
        .mock(settle, |(day, sales, refunds)| {
            Ok(Report {
                day,
                rows: sales.rows.min(refunds.rows),
                revenue_cents: 0,
                copied: Vec::new(),
            })
        })
        .start(data_pipeline, night(None))
        .run()
        .await;
    assert_eq!(run.result.as_ref().unwrap().rows, 1_000);
    assert_eq!(run.inputs::<Report>("publish").len(), 1);
}
