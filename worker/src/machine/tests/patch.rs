//! Patches and side effects: written down once, and the same ever after.

use std::sync::atomic::{AtomicU32, Ordering};

use fermata_proto::command::CommandAttributes;

use super::script::*;
use crate::machine::TaskFailure;
use crate::payload::from_payload;
use crate::workflow::WorkflowContext;

const PATCHED: [&str; 3] = [
    "RecordMarker core_patch",
    "UpsertWorkflowSearchAttributes",
    "StartTimer 1",
];

async fn patched(ctx: WorkflowContext) -> crate::WorkflowResult<bool> {
    let is_new = ctx.patched("slower");
    ctx.sleep(if is_new { SECOND * 2 } else { SECOND }).await?;
    assert_eq!(ctx.patched("slower"), is_new);
    Ok(is_new)
}

async fn before_the_patch(ctx: WorkflowContext) -> crate::WorkflowResult<bool> {
    ctx.sleep(SECOND).await?;
    Ok(false)
}

async fn deprecated(ctx: WorkflowContext) -> crate::WorkflowResult<bool> {
    ctx.deprecate_patch("slower");
    ctx.sleep(SECOND * 2).await?;
    Ok(true)
}

async fn after_the_patch(ctx: WorkflowContext) -> crate::WorkflowResult<bool> {
    ctx.sleep(SECOND * 2).await?;
    Ok(true)
}

#[test]
fn a_new_run_takes_the_new_way_and_writes_it_down() {
    let mut script = Script::of(code(patched));
    let commands = script.task();
    assert_eq!(shorts(&commands), PATCHED);
    let Some(CommandAttributes::UpsertWorkflowSearchAttributes(upsert)) = &commands[1].attributes
    else {
        panic!("no search attribute")
    };
    let fields = &upsert.search_attributes.as_ref().unwrap().indexed_fields;
    let list: Vec<String> = from_payload(&fields["TemporalChangeVersion"]).unwrap();
    assert_eq!(list, ["slower"]);
    script.fire_timer("1");
    assert_eq!(shorts(&script.task()), ["CompleteWorkflowExecution true"]);
    script.check_replay();
    script.check_replay_of(code(patched)).unwrap();
}

#[test]
fn a_run_from_before_takes_the_old_way_in_replay_and_from_then_on() {
    let mut script = Script::of(code(before_the_patch));
    assert_eq!(shorts(&script.task()), ["StartTimer 1"]);
    script.fire_timer("1");
    let mut machine = machine(code(patched));
    let mut events = script.events.clone();
    let next = i64::try_from(events.len()).unwrap();
    script.begin_task();
    events.extend_from_slice(&script.events[events.len()..]);
    let commands = machine.advance(&events, next + 2).unwrap();
    assert_eq!(shorts(&commands), ["CompleteWorkflowExecution false"]);
}

#[test]
fn a_deprecated_patch_fits_runs_with_the_patch_and_runs_after_the_call_is_gone() {
    let mut recorded = Script::of(code(patched));
    recorded.task();
    recorded.fire_timer("1");
    let mut machine_of_deprecated = machine(code(deprecated));
    machine_of_deprecated.advance(&recorded.events, 0).unwrap();

    let mut script = Script::of(code(deprecated));
    assert_eq!(shorts(&script.task()), PATCHED);
    script.check_replay();
    let replayed = machine(code(after_the_patch)).advance(&script.events, 0);
    assert!(replayed.is_ok(), "{replayed:?}");

    let failure = machine(code(after_the_patch))
        .advance(&recorded.events, 0)
        .unwrap_err();
    assert!(
        failure
            .to_string()
            .contains("RecordMarker (core_patch, id \"slower\")"),
        "{failure}"
    );
}

#[test]
fn a_side_effect_is_taken_once() {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    let definition = code(|ctx: WorkflowContext| async move {
        let first = ctx.side_effect(|| TAKEN.fetch_add(1, Ordering::Relaxed) + 40)?;
        ctx.sleep(SECOND).await?;
        let second = ctx.side_effect(|| TAKEN.fetch_add(1, Ordering::Relaxed) + 40)?;
        Ok((first, second))
    });
    let mut script = Script::of(definition);
    let commands = script.task();
    assert_eq!(
        shorts(&commands),
        ["RecordMarker SideEffect", "StartTimer 1"]
    );
    script.fire_timer("1");
    let commands = script.task();
    assert_eq!(short(&commands[1]), "CompleteWorkflowExecution [40,41]");
    machine(code(|ctx: WorkflowContext| async move {
        ctx.side_effect(|| -> u32 { panic!("taken in a replay") })?;
        ctx.sleep(SECOND).await?;
        ctx.side_effect(|| -> u32 { panic!("taken in a replay") })
    }))
    .advance(&script.events, 0)
    .unwrap();
    assert_eq!(TAKEN.load(Ordering::Relaxed), 2);
}

#[test]
fn a_side_effect_that_history_lacks_is_told() {
    let mut script = Script::of(code(before_the_patch));
    script.task();
    let failure = machine(code(|ctx: WorkflowContext| async move {
        ctx.side_effect(|| 1)?;
        ctx.sleep(SECOND).await
    }))
    .advance(&script.events, 0)
    .unwrap_err();
    assert!(
        matches!(
            &failure,
            TaskFailure::NonDeterminism(_) | TaskFailure::Code(_)
        ),
        "{failure}"
    );
}
