//! The test environment: whole workflows without any server, on a clock that jumps.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use fermata_worker::testing::TestEnd;
use fermata_worker::*;

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);

async fn charge(_ctx: ActivityContext, amount: i64) -> ActivityResult<String> {
    Ok(format!("charged {amount}"))
}

async fn refund(_ctx: ActivityContext, _receipt: String) -> ActivityResult<()> {
    Ok(())
}

#[tokio::test]
async fn sixty_days_pass_at_once() {
    async fn trial(ctx: WorkflowContext, amount: i64) -> WorkflowResult<String> {
        ctx.sleep(DAY * 60).await?;
        ctx.activity(charge, amount).start_to_close(SECOND).await
    }
    let began = Instant::now();
    let run = TestEnvironment::new()
        .workflow(trial)
        .activity(charge)
        .start(trial, 42)
        .run()
        .await;
    assert_eq!(run.result.as_deref().unwrap(), "charged 42");
    assert_eq!(run.elapsed, DAY * 60);
    assert!(began.elapsed() < SECOND * 20);
    assert_eq!(run.inputs::<i64>("charge"), [42]);
    let types: Vec<String> = run.histories()[0].event_types().collect();
    assert_eq!(types.last().unwrap(), "WorkflowExecutionCompleted");
    let json = run.histories()[0].to_json();
    let history = WorkflowHistory::from_json(&json).unwrap();
    Replayer::new().workflow(trial).replay(&history).unwrap();
}

#[tokio::test]
async fn attempts_of_a_mock_are_repeated_and_time_out_as_on_a_server() {
    async fn buy(ctx: WorkflowContext, amount: i64) -> WorkflowResult<String> {
        let call = ctx.activity(charge, amount).start_to_close(SECOND * 10);
        call.attempts_max(4).await
    }
    let attempts = Rc::new(Cell::new(0));
    let counted = attempts.clone();
    let run = TestEnvironment::new()
        .workflow(buy)
        .mock(charge, move |amount| {
            counted.set(counted.get() + 1);
            match counted.get() {
                1..=3 => Err(std::io::Error::other("down").into()),
                _ => Ok(format!("at last {amount}")),
            }
        })
        .start(buy, 1)
        .run()
        .await;
    assert_eq!(run.result.unwrap(), "at last 1");
    assert_eq!(run.elapsed, SECOND * (1 + 2 + 4));
    assert_eq!(attempts.get(), 4);

    let run = TestEnvironment::new()
        .workflow(buy)
        .mock_taking(charge, SECOND * 30, |_| Ok(String::new()))
        .start(buy, 1)
        .run()
        .await;
    let end = run.result.unwrap_err();
    assert!(end.workflow_error().unwrap().is_timeout(), "{end}");
    assert_eq!(run.elapsed, SECOND * (4 * 10 + 1 + 2 + 4));
}

async fn order(ctx: WorkflowContext, amount: i64) -> WorkflowResult<String> {
    let address = Rc::new(RefCell::new("Lisbon".to_owned()));
    let (asked, changed) = (address.clone(), address.clone());
    ctx.on_query("address", move |()| asked.borrow().clone());
    ctx.on_signal("move", move |to: String| *changed.borrow_mut() = to);
    let mut saga = Saga::new(&ctx);
    let receipt = ctx.activity(charge, amount).start_to_close(SECOND).await?;
    saga.add("refund", move |ctx| async move {
        ctx.activity(refund, receipt).start_to_close(SECOND).await
    });
    if let Err(error) = ctx.sleep(DAY).await {
        return Err(saga.undo(error).await);
    }
    let address = address.borrow().clone();
    Ok(address)
}

#[tokio::test]
async fn signals_and_queries_come_when_the_test_says() {
    let run = TestEnvironment::new()
        .workflow(order)
        .activity(charge)
        .mock(refund, |_| Ok(()))
        .start(order, 5)
        .after(DAY / 2, |order| {
            let address: String = order.query("address", &()).unwrap();
            assert_eq!(address, "Lisbon");
            assert_eq!(order.elapsed(), DAY / 2);
            order.signal("move", &"Porto");
        })
        .after(DAY * 2, |_| panic!("the workflow has closed before"))
        .run()
        .await;
    assert_eq!(run.result.as_deref().unwrap(), "Porto");
    assert_eq!(run.query::<_, String>("address", &()).unwrap(), "Porto");
    assert!(run.query::<_, String>("phone", &()).is_err());
    assert!(run.inputs::<String>("refund").is_empty());
}

#[tokio::test]
async fn a_cancelled_workflow_undoes_what_it_did() {
    let run = TestEnvironment::new()
        .workflow(order)
        .activity(charge)
        .mock(refund, |_| Ok(()))
        .start(order, 5)
        .after(DAY / 2, |order| order.cancel("changed my mind"))
        .run()
        .await;
    assert!(matches!(run.result, Err(TestEnd::Cancelled)));
    assert_eq!(run.inputs::<String>("refund"), ["charged 5"]);
    assert_eq!(run.elapsed, DAY / 2);
}

async fn sum(ctx: WorkflowContext, numbers: Vec<i64>) -> WorkflowResult<i64> {
    let handed = ctx.signal::<i64>("more").wait().await?;
    ctx.sleep(DAY).await?;
    Ok(numbers.iter().sum::<i64>() + handed)
}

async fn parent(ctx: WorkflowContext, numbers: Vec<i64>) -> WorkflowResult<i64> {
    let child = ctx.child(sum, numbers).id("sum").start().await?;
    let by_parent = ctx.child("mocked", 3_i64).await;
    let by_parent: i64 = by_parent?;
    Ok(child.result().await? + by_parent)
}

#[tokio::test]
async fn children_run_in_it_too_or_are_played() {
    const MOCKED: Workflow<i64, i64> = Workflow::named("mocked");
    let run = TestEnvironment::new()
        .workflow(parent)
        .workflow(sum)
        .mock_workflow(MOCKED, |number| Ok(number * 100))
        .start(parent, vec![1, 2])
        .after(SECOND, |parent| parent.other("sum").signal("more", &10))
        .run()
        .await;
    assert_eq!(run.result.unwrap(), 313);
    assert_eq!(run.elapsed, DAY + SECOND);
}

async fn countdown(ctx: WorkflowContext, left: u32) -> WorkflowResult<String> {
    ctx.sleep(SECOND).await?;
    match left {
        0 => Ok("lift-off".to_owned()),
        _ => Err(ctx.continue_as_new(&(left - 1)).into()),
    }
}

#[tokio::test]
async fn continued_runs_are_followed_or_shown() {
    let environment = TestEnvironment::new().workflow(countdown);
    let run = environment.start(countdown, 3).run().await;
    assert_eq!(run.result.as_deref().unwrap(), "lift-off");
    assert_eq!(run.histories().len(), 4);
    let run = environment
        .start(countdown, 3)
        .stop_at_continue_as_new()
        .run()
        .await;
    let Err(TestEnd::ContinuedAsNew { input, .. }) = run.result else {
        panic!("{:?}", run.result);
    };
    assert_eq!(from_payloads::<u32>(input.as_ref()).unwrap(), 2);
}

#[tokio::test]
async fn local_activities_patches_and_side_effects_work_in_it() {
    async fn mixed(ctx: WorkflowContext, (): ()) -> WorkflowResult<(String, bool, u32, u64)> {
        let attempts = RetryPolicy {
            initial_interval: Some(SECOND * 90),
            ..RetryPolicy::default()
        };
        let before = ctx.now();
        let charged = ctx
            .local_activity(charge, 7)
            .start_to_close(SECOND)
            .retry(attempts)
            .await?;
        let took = ctx.now().since(before).as_secs();
        let number = ctx.side_effect(|| 17)?;
        Ok((charged, ctx.patched("new"), number, took))
    }
    let failed = Cell::new(false);
    let run = TestEnvironment::new()
        .workflow(mixed)
        .mock_taking(charge, SECOND / 2, move |amount| {
            if !failed.replace(true) {
                return Err(std::io::Error::other("down").into());
            }
            Ok(format!("{amount}"))
        })
        .start(mixed, ())
        .run()
        .await;
    let expected = ("7".to_owned(), true, 17, 91);
    assert_eq!(*run.result.as_ref().unwrap(), expected);
    assert_eq!(run.inputs::<i64>("charge"), [7, 7]);
    let types: Vec<String> = run
        .histories()
        .iter()
        .flat_map(|h| h.event_types())
        .collect();
    let timers = types.iter().filter(|name| *name == "TimerFired").count();
    assert_eq!(timers, 1, "{types:?}");
}

#[tokio::test]
async fn real_activities_heartbeat_fail_and_hear_of_cancellation() {
    async fn work(ctx: ActivityContext, (): ()) -> ActivityResult<()> {
        ctx.heartbeat(&1);
        ctx.cancelled().await;
        Err(ActivityError::cancelled())
    }
    async fn careful(ctx: WorkflowContext, (): ()) -> WorkflowResult<bool> {
        let working = ctx
            .activity(work, ())
            .start_to_close(DAY)
            .on_cancel(ActivityCancellation::WaitCompleted)
            .start();
        ctx.sleep(Duration::from_millis(30)).await?;
        working.cancel();
        Ok(working.await.is_err_and(|error| error.is_cancelled()))
    }
    let run = TestEnvironment::new()
        .workflow(careful)
        .activity(work)
        .start(careful, ())
        .run()
        .await;
    assert!(run.result.unwrap());
}

#[tokio::test]
async fn what_is_wrong_with_a_workflow_is_told() {
    static RUNS: AtomicU32 = AtomicU32::new(0);
    async fn fickle(ctx: WorkflowContext, (): ()) -> WorkflowResult<()> {
        let length = if RUNS.fetch_add(1, Ordering::Relaxed) == 0 {
            ctx.sleep(SECOND).await?;
            return Ok(());
        } else {
            SECOND
        };
        ctx.activity(charge, 1).start_to_close(length).await?;
        Ok(())
    }
    async fn waits(ctx: WorkflowContext, (): ()) -> WorkflowResult<()> {
        ctx.wait_until(|| false).await
    }
    async fn panics(_ctx: WorkflowContext, (): ()) -> WorkflowResult<()> {
        panic!("oh dear")
    }
    async fn calls(ctx: WorkflowContext, (): ()) -> WorkflowResult<()> {
        ctx.activity("nobody", ()).start_to_close(SECOND).await
    }
    let environment = TestEnvironment::new()
        .workflow(fickle)
        .workflow(waits)
        .workflow(panics)
        .workflow(calls);
    let end = environment
        .start(fickle, ())
        .run()
        .await
        .result
        .unwrap_err();
    assert!(
        matches!(&end, TestEnd::TaskFailed { source: TaskFailure::NonDeterminism(source), .. }
            if source.event_id() == 5 && source.event().unwrap().contains("StartTimer")),
        "{end:?}"
    );
    let end = environment.start(waits, ()).run().await.result.unwrap_err();
    assert!(matches!(end, TestEnd::Stuck), "{end:?}");
    let end = environment
        .start(panics, ())
        .run()
        .await
        .result
        .unwrap_err();
    assert!(
        matches!(&end, TestEnd::TaskFailed { source: TaskFailure::Panic(text), .. } if text == "oh dear"),
        "{end:?}"
    );
    let end = environment.start(calls, ()).run().await.result.unwrap_err();
    assert!(
        matches!(&end, TestEnd::NotRegistered { name, .. } if name == "nobody"),
        "{end:?}"
    );
}

#[tokio::test]
async fn the_next_attempt_of_a_real_activity_knows_the_last_heartbeat() {
    /// Fails once, takes too long once.
    async fn steps(ctx: ActivityContext, (): ()) -> ActivityResult<u32> {
        let done = ctx.heartbeat_details::<u32>()?.unwrap_or_default();
        ctx.heartbeat(&(done + 1));
        match ctx.info().attempt {
            1 => Err(std::io::Error::other("broken").into()),
            2 => std::future::pending().await,
            _ => Ok(done),
        }
    }
    async fn patient(ctx: WorkflowContext, (): ()) -> WorkflowResult<u32> {
        let call = ctx.activity(steps, ());
        call.start_to_close(Duration::from_millis(50)).await
    }
    let run = TestEnvironment::new()
        .workflow(patient)
        .activity(steps)
        .start(patient, ())
        .run()
        .await;
    assert_eq!(run.result.unwrap(), 2);
}
