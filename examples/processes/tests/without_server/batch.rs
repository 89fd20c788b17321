use std::time::Duration;

use fermata_examples::batch::*;
use fermata_worker::TestEnvironment;
use fermata_worker::testing::TestEnd;

const SECOND: Duration = Duration::from_secs(1);

fn batch(customers: u64, at_once: usize) -> Batch {
    let bill = |number: u64| Bill {
        customer: format!("customer-{number}"),
        cents: number,
        is_declined: number.is_multiple_of(10),
    };
    Batch {
        bills: (1..=customers).map(bill).collect(),
        at_once,
    }
}

fn environment() -> TestEnvironment {
    TestEnvironment::new()
        .workflow(bill_customers)
        .workflow(bill_customer)
        .activity(charge)
        .mock(send_receipt, |_| Ok(()))
}

#[tokio::test]
async fn declined_cards_are_told_of_and_stop_nobody_else() {
    let run = environment()
        .start(bill_customers, batch(25, 5))
        .run()
        .await;
    let report = run.result.as_ref().unwrap();
    assert_eq!(report.billed_cents, (1..=25).sum::<u64>() - 10 - 20);
    let declined = "the card was declined".to_owned();
    assert_eq!(
        report.failed,
        [
            ("customer-10".to_owned(), declined.clone()),
            ("customer-20".to_owned(), declined),
        ]
    );
    assert_eq!(run.inputs::<(String, u64)>("send_receipt").len(), 23);
}

#[tokio::test]
async fn no_more_children_run_than_are_allowed() {
    // Each child takes a second: twenty of them, four at a time, take five.
    let run = environment()
        .mock_taking(charge, SECOND, |bill| Ok(bill.cents))
        .start(bill_customers, batch(20, 4))
        .run()
        .await;
    assert_eq!(run.result.as_ref().unwrap().billed_cents, 210);
    assert_eq!(run.elapsed, SECOND * 5);
}

#[tokio::test]
async fn a_cancelled_batch_starts_no_further_children() {
    let run = environment()
        .mock_taking(charge, SECOND * 2, |bill| Ok(bill.cents))
        .start(bill_customers, batch(20, 4))
        .after(SECOND * 3, |batch| batch.cancel("wrong month"))
        .run()
        .await;
    assert!(matches!(run.result, Err(TestEnd::Cancelled)));
    assert_eq!(run.inputs::<Bill>("charge").len(), 8);
}
