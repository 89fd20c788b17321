//! Rules of resets that no recorded transcript shows, each as a short story.

mod support;

use fermata_core::Reply;
use fermata_proto::command::*;
use fermata_proto::common::*;
use fermata_proto::enums::*;
use fermata_proto::rpc::*;
use fermata_proto::service::*;
use support::client::*;
use support::world::World;

fn child(workflow_id: &str) -> Command {
    Command::new(StartChildWorkflowExecutionCommandAttributes {
        workflow_id: workflow_id.to_owned(),
        workflow_type: Some(WorkflowType {
            name: "Flow".to_owned(),
        }),
        ..StartChildWorkflowExecutionCommandAttributes::default()
    })
}

fn reset(world: &mut World, run_id: &str, event_id: i64) -> Result<String, Rejection> {
    let request = ResetWorkflowExecutionRequest {
        workflow_execution: Some(WorkflowExecution {
            workflow_id: "wf".to_owned(),
            run_id: run_id.to_owned(),
        }),
        workflow_task_finish_event_id: event_id,
        request_id: world.new_id(),
        reason: "try again".to_owned(),
        ..ResetWorkflowExecutionRequest::default()
    };
    let request = Request::ResetWorkflowExecution(Box::new(request));
    match world.ask_owner("wf", request)? {
        Reply::Response(Response::ResetWorkflowExecution(reset)) => Ok(reset.run_id),
        other => panic!("a reset was answered by {other:?}"),
    }
}

/// The next task of `workflow_id`; those of others are lost.
fn task_of(world: &mut World, workflow_id: &str) -> PollWorkflowTaskQueueResponse {
    loop {
        let task = world.poll().expect("a task");
        if task.workflow_execution.as_ref().unwrap().workflow_id == workflow_id {
            return task;
        }
    }
}

/// A parent whose child was started before its second task, which is started.
fn with_child(world: &mut World) -> (String, PollWorkflowTaskQueueResponse) {
    let parent = world.start("wf", |_| {}).unwrap();
    let task = world.poll().unwrap();
    world.complete_task(&task, vec![child("child")]).unwrap();
    let first = world.poll().unwrap();
    let second = world.poll().unwrap();
    let is_child = |task: &PollWorkflowTaskQueueResponse| {
        task.workflow_execution.as_ref().unwrap().workflow_id == "child"
    };
    let (of_child, of_parent) = if is_child(&first) {
        (first, second)
    } else {
        (second, first)
    };
    world.complete_task(&of_parent, vec![]).unwrap();
    (parent, of_child)
}

#[test]
fn a_child_that_ended_behind_the_point_has_ended_in_the_new_run_too() {
    let mut world = World::new(1);
    let (parent, child) = with_child(&mut world);
    world.complete_task(&child, vec![done(None)]).unwrap();
    let run_id = reset(&mut world, &parent, 9).unwrap();
    assert_eq!(
        world.event_types(&run_id)[8..],
        [
            "WorkflowTaskFailed",
            "ChildWorkflowExecutionCompleted",
            "WorkflowTaskScheduled",
        ]
    );
    assert!(world.runs[&run_id].children.is_empty());
}

#[test]
fn a_kept_child_tells_the_run_that_goes_on_after_several_resets() {
    let mut world = World::new(1);
    let (parent, child) = with_child(&mut world);
    let second = reset(&mut world, &parent, 9).unwrap();
    let task = task_of(&mut world, "wf");
    world.complete_task(&task, vec![]).unwrap();
    let third = reset(&mut world, &second, 12).unwrap();
    assert!(world.runs[&third].is_open());
    world.complete_task(&child, vec![done(None)]).unwrap();
    let events = world.event_types(&third);
    assert!(events.contains(&"ChildWorkflowExecutionCompleted".to_owned()));
    assert!(
        !world
            .event_types(&second)
            .contains(&"ChildWorkflowExecutionCompleted".to_owned())
    );
}

#[test]
fn a_child_from_behind_the_point_ends_as_its_policy_says() {
    let mut world = World::new(1);
    let (parent, child) = with_child(&mut world);
    let child_run = child.workflow_execution.unwrap().run_id;
    reset(&mut world, &parent, 4).unwrap();
    assert_eq!(
        world.runs[&child_run].status,
        WorkflowExecutionStatus::Terminated
    );
}

#[test]
fn signals_of_the_runs_that_followed_are_applied_again() {
    let mut world = World::new(1);
    let base = world.start("wf", |_| {}).unwrap();
    world.signal("wf", None).unwrap();
    let task = world.poll().unwrap();
    world.signal("wf", None).unwrap();
    let go_on = Command::new(ContinueAsNewWorkflowExecutionCommandAttributes::default());
    let refused = world.complete_task(&task, vec![go_on.clone()]);
    assert!(refused.is_err(), "a signal came in between");
    let task = world.poll().unwrap();
    world.complete_task(&task, vec![go_on]).unwrap();
    world.signal("wf", None).unwrap();
    let next = world
        .current
        .iter()
        .find(|((_, id), _)| id == "wf")
        .unwrap()
        .1
        .clone();
    assert_ne!(next, base);
    let run_id = reset(&mut world, &base, 5).unwrap();
    let signals = world
        .event_types(&run_id)
        .iter()
        .filter(|kind| *kind == "WorkflowExecutionSignaled")
        .count();
    assert_eq!(signals, 3);
    assert_eq!(
        world.runs[&next].status,
        WorkflowExecutionStatus::Terminated
    );
}

#[test]
fn a_point_that_no_task_is_open_at_is_refused_and_changes_nothing() {
    let mut world = World::new(1);
    let run_id = world.start("wf", |_| {}).unwrap();
    let task = world.poll().unwrap();
    let commands = vec![timer("t", 100.0)];
    world.complete_task(&task, commands).unwrap();
    world.signal("wf", None).unwrap();
    let before = world.runs[&run_id].clone();
    // Behind the first task, before the second.
    let refused = reset(&mut world, &run_id, 6).unwrap_err();
    assert_eq!(refused.kind, RejectionKind::InvalidArgument);
    assert_eq!(world.runs[&run_id], before);
}
