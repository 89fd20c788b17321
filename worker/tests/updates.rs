//! Updates: in the test environment, and of workers on a real deployment.

mod deployment;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use deployment::Deployment;
use fermata_worker::*;

const SECOND: Duration = Duration::from_secs(1);
const SOON: Duration = Duration::from_secs(30);

async fn price(_ctx: ActivityContext, item: String) -> ActivityResult<i64> {
    match &*item {
        "nothing" => Err(ApplicationError::new("there is no such item")
            .with_type("NoSuchItem")
            .non_retryable()
            .into()),
        _ => Ok(i64::try_from(item.len()).unwrap_or(i64::MAX)),
    }
}

/// Items are added by updates, each priced by an activity; a signal checks out.
async fn cart(ctx: WorkflowContext, items_max: usize) -> WorkflowResult<i64> {
    let items = Rc::new(RefCell::new(Vec::new()));
    let total = Rc::new(Cell::new(0));
    let (taken, sum, held) = (items.clone(), total.clone(), items.clone());
    ctx.on_update("add", move |ctx, item: String| {
        let (taken, sum) = (taken.clone(), sum.clone());
        async move {
            taken.borrow_mut().push(item.clone());
            let price = ctx
                .activity(price, item)
                .start_to_close(SECOND * 10)
                .await?;
            sum.set(sum.get() + price);
            Ok(sum.get())
        }
    })
    .validator(move |_| {
        if held.borrow().len() >= items_max {
            return Err(ApplicationError::new("the cart is full").with_type("Full"));
        }
        Ok(())
    });
    let done = Rc::new(Cell::new(false));
    let checked_out = done.clone();
    ctx.on_signal("check_out", move |()| checked_out.set(true));
    ctx.wait_until(|| done.get() && ctx.all_handlers_finished())
        .await?;
    Ok(total.get())
}

#[tokio::test]
async fn updates_run_in_the_test_environment_and_replay() {
    let run = TestEnvironment::new()
        .workflow(cart)
        .mock_taking(price, SECOND, |item: String| {
            Ok(i64::try_from(item.len()).unwrap())
        })
        .start(cart, 2)
        .after(SECOND, |cart| cart.update("u1", "add", &"tea"))
        .after(SECOND * 3, |cart| {
            assert_eq!(cart.update_outcome::<i64>("u1").unwrap().unwrap(), 3);
            cart.update("u2", "add", &"coffee");
            assert!(cart.update_outcome::<i64>("u2").is_none());
        })
        .after(SECOND * 4, |cart| cart.update("u3", "add", &"milk"))
        .after(SECOND * 5, |cart| cart.update("u4", "remove", &"milk"))
        .after(SECOND * 6, |cart| cart.signal("check_out", &()))
        .run()
        .await;
    assert_eq!(*run.result.as_ref().unwrap(), 9);
    assert_eq!(run.update::<i64>("u2").unwrap(), 9);
    let refused = run.update::<i64>("u3").unwrap_err();
    assert_eq!(refused.error_type(), Some("Full"));
    let unknown = run.update::<i64>("u4").unwrap_err();
    assert!(unknown.message().contains("this workflow takes [add]"));
    let types: Vec<String> = run.histories()[0].event_types().collect();
    let of = |name: &str| types.iter().filter(|event| *event == name).count();
    assert_eq!(of("WorkflowExecutionUpdateAccepted"), 2);
    assert_eq!(of("WorkflowExecutionUpdateCompleted"), 2);
    // The first one, two updates with the ends of their activities, and the signal: refusals leave no task.
    assert_eq!(of("WorkflowTaskCompleted"), 6, "{types:?}");
    let history = WorkflowHistory::from_json(&run.histories()[0].to_json()).unwrap();
    Replayer::new().workflow(cart).replay(&history).unwrap();
}

#[tokio::test]
async fn a_workflow_that_ends_first_fails_the_updates_that_it_has_accepted() {
    async fn hasty(ctx: WorkflowContext, (): ()) -> WorkflowResult<()> {
        ctx.on_update("linger", |ctx: WorkflowContext, ()| async move {
            ctx.sleep(SECOND * 60).await
        });
        ctx.sleep(SECOND * 10).await
    }
    let run = TestEnvironment::new()
        .workflow(hasty)
        .start(hasty, ())
        .after(SECOND, |workflow| workflow.update("u1", "linger", &()))
        .run()
        .await;
    run.result.as_ref().unwrap();
    let error = run.update::<()>("u1").unwrap_err();
    assert_eq!(error.error_type(), Some("AcceptedUpdateCompletedWorkflow"));
}

async fn within<F: IntoFuture>(future: F) -> F::Output {
    tokio::time::timeout(SOON, future.into_future())
        .await
        .expect("an end in time")
}

/// With a cache of runs and without.
fn workers(client: &Client) -> Vec<(&'static str, Worker)> {
    [("cached", 100), ("uncached", 0)]
        .into_iter()
        .map(|(queue, cached_workflows_max)| {
            let worker = Worker::new(client, queue)
                .options(WorkerOptions {
                    cached_workflows_max,
                    ..WorkerOptions::default()
                })
                .workflow(cart)
                .activity(price);
            (queue, worker)
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_hear_results_refusals_and_failures_and_refusals_leave_no_history() {
    let deployment = Deployment::start().await;
    let client = &deployment.client;
    for (queue, worker) in workers(client) {
        let shutdown = worker.shutdown();
        let running = tokio::spawn(worker.run());
        let handle = client.start(cart, 3).queue(queue).id(queue).await.unwrap();

        let first: i64 = within(handle.update("add", &"tea")).await.unwrap();
        assert_eq!(first, 3, "{queue}");
        let failed = within(handle.update::<_, i64>("add", &"nothing")).await;
        let failed = failed.unwrap_err().workflow_error().unwrap();
        assert_eq!(failed.error_type(), Some("NoSuchItem"), "{queue}");

        let second = handle.update::<_, i64>("add", &"coffee").id("u2");
        let second = within(second.start(UpdateStage::Accepted)).await.unwrap();
        assert_eq!(second.update_id(), "u2");
        assert_eq!(within(second.result()).await.unwrap(), 9);
        // Once more, by the same id: the same update.
        let again = handle.update::<_, i64>("add", &"other").id("u2");
        assert_eq!(within(again).await.unwrap(), 9);
        let found = handle.update_by_id::<i64>("u2");
        assert_eq!(within(found.result()).await.unwrap(), 9);

        let before = handle.history().await.unwrap();
        for _ in 0..2 {
            let refused = within(handle.update::<_, i64>("add", &"milk")).await;
            let refused = refused.unwrap_err().workflow_error().unwrap();
            assert_eq!(refused.error_type(), Some("Full"), "{queue}");
        }
        let unknown = within(handle.update::<_, ()>("empty", &())).await;
        assert!(
            unknown.unwrap_err().to_string().contains("unknown update"),
            "{queue}"
        );
        let after = handle.history().await.unwrap();
        assert_eq!(after.events(), before.events(), "{queue}");

        handle.signal("check_out", &()).await.unwrap();
        assert_eq!(within(handle.result()).await.unwrap(), 9, "{queue}");
        let history = handle.history().await.unwrap();
        Replayer::new().workflow(cart).replay(&history).unwrap();
        let late = within(handle.update::<_, i64>("add", &"late")).await;
        assert!(
            matches!(&late, Err(UpdateError::Client(error)) if error.is_not_found()),
            "{late:?}"
        );
        shutdown.begin();
        within(running).await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_starts_its_workflow_or_finds_it() {
    let deployment = Deployment::start().await;
    let client = &deployment.client;
    let worker = Worker::new(client, "carts").workflow(cart).activity(price);
    let shutdown = worker.shutdown();
    let running = tokio::spawn(worker.run());
    let mut run_ids = Vec::new();
    for (update_id, item, sum) in [("u1", "tea", 3), ("u2", "coffee", 9)] {
        let call = client
            .start(cart, 5)
            .queue("carts")
            .id("cart-1")
            .update::<_, i64>("add", &item)
            .update_id(update_id);
        let (workflow, update) = within(call).await.unwrap();
        assert_eq!(within(update.result()).await.unwrap(), sum);
        assert_eq!(update.run_id(), workflow.run_id());
        run_ids.push(workflow.run_id().to_owned());
    }
    assert_eq!(run_ids[0], run_ids[1]);
    let full = client
        .start(cart, 0)
        .queue("carts")
        .id("cart-2")
        .update::<_, i64>("add", &"tea")
        .wait_for(UpdateStage::Completed);
    let (workflow, refused) = within(full).await.unwrap();
    let refused = refused.result().await.unwrap_err();
    assert_eq!(refused.workflow_error().unwrap().error_type(), Some("Full"));
    workflow.terminate("the test is over").await.unwrap();
    shutdown.begin();
    within(running).await.unwrap().unwrap();
}
