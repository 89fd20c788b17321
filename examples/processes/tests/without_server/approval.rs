use fermata_examples::approval::*;
use fermata_worker::TestEnvironment;
use fermata_worker::testing::TestRun;

use crate::{DAY, HOUR};

fn expense() -> Expense {
    let text = r#"{"what": "a metronome", "cents": 4200, "approvers": ["bo", "cy"]}"#;
    serde_json::from_str(text).unwrap()
}

fn decision(by: &str, is_approved: bool) -> Decision {
    Decision {
        by: by.to_owned(),
        is_approved,
    }
}

fn environment() -> TestEnvironment {
    TestEnvironment::new()
        .workflow(approve_expense)
        .mock(ask, |_| Ok(()))
        .mock(pay, |_| Ok(()))
}

fn asked(run: &TestRun<Outcome>) -> Vec<String> {
    let inputs = run.inputs::<(String, Expense)>("ask");
    inputs.into_iter().map(|(approver, _)| approver).collect()
}

fn payments(run: &TestRun<Outcome>) -> usize {
    run.inputs::<Expense>("pay").len()
}

#[tokio::test]
async fn an_approved_expense_is_paid_once() {
    let run = environment()
        .start(approve_expense, expense())
        .after(HOUR, |expense| {
            expense.signal(DECIDE, &decision("bo", true));
            expense.signal(DECIDE, &decision("bo", true));
        })
        .run()
        .await;
    let paid = Outcome::Paid {
        approved_by: "bo".to_owned(),
    };
    assert_eq!(*run.result.as_ref().unwrap(), paid);
    assert_eq!(run.elapsed, HOUR);
    assert_eq!((asked(&run), payments(&run)), (vec!["bo".to_owned()], 1));
}

#[tokio::test]
async fn who_does_not_answer_within_a_day_is_passed_over() {
    let run = environment()
        .start(approve_expense, expense())
        .after(DAY + HOUR, |expense| {
            let waiting_for: Option<String> = expense.query(WAITING_FOR, &()).unwrap();
            assert_eq!(waiting_for.as_deref(), Some("cy"));
            expense.signal(DECIDE, &decision("cy", false));
        })
        .run()
        .await;
    let rejected = Outcome::Rejected {
        by: "cy".to_owned(),
    };
    assert_eq!(*run.result.as_ref().unwrap(), rejected);
    assert_eq!(run.elapsed, DAY + HOUR);
    assert_eq!(payments(&run), 0);
}

#[tokio::test]
async fn an_expense_that_nobody_looks_at_expires() {
    let run = environment().start(approve_expense, expense()).run().await;
    assert_eq!(*run.result.as_ref().unwrap(), Outcome::Expired);
    assert_eq!(run.elapsed, DAY * 2);
    assert_eq!((asked(&run).len(), payments(&run)), (2, 0));
}
