//! Runs that are under way when new code is installed were begun by old code: it must fit them. What they look like lies in
//! `tests/histories`, recorded by the tests in `tests/with_server`.

use std::collections::BTreeSet;

use fermata_examples::{approval, batch, onboarding, pipeline, trip};
use fermata_worker::{Replayer, WorkflowHistory};

#[test]
fn recorded_runs_still_replay() {
    let replayer = Replayer::new()
        .workflow(pipeline::data_pipeline)
        .workflow(onboarding::onboard_user)
        .workflow(trip::book_trip)
        .workflow(batch::bill_customers)
        .workflow(batch::bill_customer)
        .workflow(approval::approve_expense);
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/histories");
    let mut replayed = BTreeSet::new();
    for file in std::fs::read_dir(folder).unwrap() {
        let file = file.unwrap().path();
        let text = std::fs::read_to_string(&file).unwrap();
        let history = WorkflowHistory::from_json(&text).unwrap();
        if let Err(error) = replayer.replay(&history) {
            panic!("{}: {error}", file.display());
        }
        replayed.insert(history.workflow_type().to_owned());
    }
    let all = [
        "approve_expense",
        "bill_customer",
        "bill_customers",
        "book_trip",
        "data_pipeline",
        "onboard_user",
    ];
    assert_eq!(
        replayed,
        all.map(str::to_owned).into(),
        "of each process one"
    );
}
