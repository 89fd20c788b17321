"""What histories hold, as the SDK's replay needs it: order, references, markers, task attempts, size hints, and failures of tasks."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from temporalio import activity, workflow
from temporalio.api.command.v1 import (
    Command,
    CompleteWorkflowExecutionCommandAttributes,
    RecordMarkerCommandAttributes,
    RequestCancelActivityTaskCommandAttributes,
    ScheduleActivityTaskCommandAttributes,
    StartTimerCommandAttributes,
    CancelTimerCommandAttributes,
    StartChildWorkflowExecutionCommandAttributes,
    SignalExternalWorkflowExecutionCommandAttributes,
)
from temporalio.api.common.v1 import ActivityType, WorkflowType
from temporalio.api.enums.v1 import CommandType, EventType, TaskQueueKind, TimeoutType, WorkflowTaskFailedCause
from temporalio.api.taskqueue.v1 import StickyExecutionAttributes, TaskQueue
from temporalio.api.workflowservice.v1 import (
    GetWorkflowExecutionHistoryRequest,
    PollActivityTaskQueueRequest,
    PollWorkflowTaskQueueResponse,
    ResetStickyTaskQueueRequest,
    RespondWorkflowTaskFailedRequest,
)
from temporalio.client import Client, WorkflowFailureError
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCStatusCode
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner, Worker

from support import SHORT, Raw, attributes, eventually, find, history, kind, kinds, refused, replay, unique, worker


@activity.defn
async def say(text: str) -> str:
    return text


@workflow.defn
class Everything:
    """An activity, a timer, a local activity and a marker begun in one task."""

    @workflow.run
    async def run(self) -> list[str]:
        said = workflow.start_activity(say, "activity", start_to_close_timeout=SHORT)
        timer = asyncio.create_task(asyncio.sleep(0.1))
        workflow.patched("a-patch")
        local = workflow.start_local_activity(say, "local", start_to_close_timeout=SHORT)
        await timer
        return [await said, await local]


@workflow.defn
class Random:
    @workflow.run
    async def run(self) -> list[str]:
        found = [str(workflow.uuid4()), str(workflow.random().random())]
        await asyncio.sleep(0.05)
        return found + [str(workflow.uuid4()), workflow.now().isoformat()]


@workflow.defn
class Collect:
    def __init__(self) -> None:
        self.received: list[int] = []

    @workflow.run
    async def run(self, count: int) -> int:
        await workflow.wait_condition(lambda: len(self.received) >= count)
        assert self.received == list(range(count))
        return len(self.received)

    @workflow.signal
    def add(self, number: int) -> None:
        self.received.append(number)


@workflow.defn
class Growth:
    def __init__(self) -> None:
        self.told: list[tuple[int, int, bool]] = []

    @workflow.run
    async def run(self) -> list[list[int]]:
        sizes = []
        for _ in range(3):
            info = workflow.info()
            sizes.append([info.get_current_history_length(), info.get_current_history_size()])
            await asyncio.sleep(0.01)
        assert not workflow.info().is_continue_as_new_suggested()
        return sizes


@workflow.defn(name="Changing")
class Before:
    @workflow.run
    async def run(self) -> str:
        await asyncio.sleep(0.05)
        await workflow.wait_condition(lambda: self.go)
        return "before"

    def __init__(self) -> None:
        self.go = False

    @workflow.signal
    def go_on(self) -> None:
        self.go = True


@workflow.defn(name="Changing")
class After:
    """Where there was a timer there is an activity now."""

    @workflow.run
    async def run(self) -> str:
        await workflow.execute_activity(say, "changed", start_to_close_timeout=SHORT)
        return "after"

    @workflow.signal
    def go_on(self) -> None: ...


@workflow.defn(name="Broken")
class Broken:
    @workflow.run
    async def run(self) -> str:
        raise RuntimeError("a mistake in the code")


@workflow.defn(name="Broken")
class Mended:
    @workflow.run
    async def run(self) -> str:
        return "mended"


@workflow.defn(name="Patched")
class Old:
    def __init__(self) -> None:
        self.go = False

    @workflow.run
    async def run(self) -> str:
        await workflow.wait_condition(lambda: self.go)
        return "old"

    @workflow.signal
    def go_on(self) -> None:
        self.go = True


@workflow.defn(name="Patched")
class New:
    def __init__(self) -> None:
        self.go = False

    @workflow.run
    async def run(self) -> str:
        way = "new" if workflow.patched("the-new-way") else "old"
        await workflow.wait_condition(lambda: self.go)
        return way

    @workflow.signal
    def go_on(self) -> None:
        self.go = True


@workflow.defn
class Summaries:
    @workflow.run
    async def run(self) -> None:
        await workflow.sleep(0.01, summary="a short rest")


def command(which: str, **fields: Any) -> Command:
    kinds = {
        "complete": (CommandType.COMMAND_TYPE_COMPLETE_WORKFLOW_EXECUTION, "complete_workflow_execution", CompleteWorkflowExecutionCommandAttributes),
        "timer": (CommandType.COMMAND_TYPE_START_TIMER, "start_timer", StartTimerCommandAttributes),
        "cancel_timer": (CommandType.COMMAND_TYPE_CANCEL_TIMER, "cancel_timer", CancelTimerCommandAttributes),
        "activity": (CommandType.COMMAND_TYPE_SCHEDULE_ACTIVITY_TASK, "schedule_activity_task", ScheduleActivityTaskCommandAttributes),
        "cancel_activity": (CommandType.COMMAND_TYPE_REQUEST_CANCEL_ACTIVITY_TASK, "request_cancel_activity_task", RequestCancelActivityTaskCommandAttributes),
        "marker": (CommandType.COMMAND_TYPE_RECORD_MARKER, "record_marker", RecordMarkerCommandAttributes),
        "child": (CommandType.COMMAND_TYPE_START_CHILD_WORKFLOW_EXECUTION, "start_child_workflow_execution", StartChildWorkflowExecutionCommandAttributes),
        "signal": (CommandType.COMMAND_TYPE_SIGNAL_EXTERNAL_WORKFLOW_EXECUTION, "signal_external_workflow_execution", SignalExternalWorkflowExecutionCommandAttributes),
    }
    number, name, message = kinds[which]
    return Command(command_type=number, **{f"{name}_command_attributes": message(**fields)})


def timer(id: str, seconds: float = 3_600) -> Command:
    return command("timer", timer_id=id, start_to_fire_timeout=Duration(seconds=int(seconds), nanos=int(seconds % 1 * 1e9)))


def scheduled(id: str, queue: str, **fields: Any) -> Command:
    fields.setdefault("start_to_close_timeout", Duration(seconds=10))
    return command("activity", activity_id=id, activity_type=ActivityType(name="say"), task_queue=TaskQueue(name=queue), **fields)


# -- order and references --------------------------------------------------------------------------------------------


async def test_commands_of_one_task_are_written_together(client: Client):
    async with worker(client, Everything, activities=[say]) as queue:
        handle = await client.start_workflow(Everything.run, id=unique("everything"), task_queue=queue)
        assert await handle.result() == ["activity", "local"]
    names = await kinds(handle, tasks=True)
    first = names.index("WorkflowTaskCompleted")
    assert {"ActivityTaskScheduled", "TimerStarted", "MarkerRecorded"} <= set(names[first + 1 : names.index("WorkflowTaskScheduled", first)])
    await replay(handle, Everything)


async def test_events_during_a_task_follow_its_commands(client: Client):
    raw = Raw(client)
    await raw.start()
    task = await raw.task()
    await raw.handle.signal("during", "the task")
    assert await kinds(raw.handle) == ["WorkflowExecutionStarted"]
    await raw.complete(task, timer("one"), timer("two"))
    assert (await kinds(raw.handle, tasks=True))[3:] == [
        "WorkflowTaskCompleted",
        "TimerStarted",
        "TimerStarted",
        "WorkflowExecutionSignaled",
        "WorkflowTaskScheduled",
    ]
    await raw.handle.terminate()


async def test_references_name_the_events_they_mean(client: Client):
    raw = Raw(client)
    await raw.start()
    await raw.complete(await raw.task(), timer("never"), timer("soon", 0.05), command("marker", marker_name="a marker"))
    await raw.complete(await raw.task(), command("cancel_timer", timer_id="never"), command("complete"))
    events = {kind(event): attributes(event) for event in await history(raw.handle)}
    assert (events["TimerFired"].timer_id, events["TimerFired"].started_event_id) == ("soon", 6)
    assert (events["TimerCanceled"].timer_id, events["TimerCanceled"].started_event_id) == ("never", 5)
    assert events["MarkerRecorded"].workflow_task_completed_event_id == 4


async def test_nothing_follows_the_end(client: Client):
    raw = Raw(client)
    await raw.start()
    await raw.complete(await raw.task(), timer("soon", 0.2), command("complete"))
    await asyncio.sleep(0.5)
    with refused(RPCStatusCode.NOT_FOUND):
        await raw.handle.signal("late")
    assert (await kinds(raw.handle))[-1] == "WorkflowExecutionCompleted"


async def test_signals_hold_who_sent_them_and_what(client: Client):
    async with worker(client, Collect) as queue:
        handle = await client.start_workflow(Collect.run, 1, id=unique("collect"), task_queue=queue)
        await handle.signal(Collect.add, 0)
        await handle.result()
    signaled = await find(handle, "WorkflowExecutionSignaled")
    assert (signaled.signal_name, signaled.identity, signaled.input.payloads[0].data) == ("add", "compat", b"0")


# -- what replay reads -----------------------------------------------------------------------------------------------


async def test_the_sdks_name_and_flags_are_kept(client: Client):
    async with worker(client, Everything, activities=[say]) as queue:
        handle = await client.start_workflow(Everything.run, id=unique("everything"), task_queue=queue)
        await handle.result()
    completed = [attributes(event) for event in await history(handle) if kind(event) == "WorkflowTaskCompleted"]
    assert completed[0].sdk_metadata.sdk_name == "temporal-python"
    assert completed[0].sdk_metadata.sdk_version
    assert completed[0].sdk_metadata.core_used_flags
    assert all(each.worker_version.build_id for each in completed)


async def test_randomness_is_the_same_in_a_replay(client: Client):
    async with worker(client, Random, max_cached_workflows=0) as queue:
        handle = await client.start_workflow(Random.run, id=unique("random"), task_queue=queue)
        found = await handle.result()
        other = await client.execute_workflow(Random.run, id=unique("random"), task_queue=queue)
    assert len(set(found)) == 4
    assert found[0] != other[0]
    await replay(handle, Random)


async def test_a_task_is_told_the_size_of_its_history(client: Client):
    async with worker(client, Growth) as queue:
        handle = await client.start_workflow(Growth.run, id=unique("growth"), task_queue=queue)
        told = await handle.result()
    started = [attributes(event) for event in await history(handle) if kind(event) == "WorkflowTaskStarted"]
    assert [length for length, _ in told] == [3, 8, 13]
    assert [size for _, size in told] == [each.history_size_bytes for each in started[:3]]
    assert all(0 < before[1] < after[1] for before, after in zip(told, told[1:]))


async def test_a_patch_is_a_marker_and_a_search_attribute(client: Client):
    async with worker(client, New) as queue:
        handle = await client.start_workflow(New.run, id=unique("patched"), task_queue=queue)
        await handle.signal("go_on")
        assert await handle.result() == "new"
    marker = await find(handle, "MarkerRecorded")
    assert marker.marker_name == "core_patch"
    upserted = await find(handle, "UpsertWorkflowSearchAttributes")
    assert b"the-new-way" in upserted.search_attributes.indexed_fields["TemporalChangeVersion"].data
    await replay(handle, New)


async def test_old_runs_go_the_old_way_through_a_patch(client: Client):
    queue = unique("patched")
    async with worker(client, Old, queue=queue):
        handle = await client.start_workflow("Patched", id=unique("patched"), task_queue=queue, result_type=str)
        await eventually(lambda: completed(handle, 1))
    async with worker(client, New, queue=queue):
        await handle.signal("go_on")
        assert await handle.result() == "old"
    await replay(handle, New)


async def completed(handle: Any, count: int) -> bool:
    return (await kinds(handle, tasks=True)).count("WorkflowTaskCompleted") >= count


async def test_a_timer_keeps_its_summary(client: Client):
    async with worker(client, Summaries) as queue:
        handle = await client.start_workflow(Summaries.run, id=unique("summaries"), task_queue=queue)
        await handle.result()
    started = [event for event in await history(handle) if kind(event) == "TimerStarted"]
    assert started[0].user_metadata.summary.data == b'"a short rest"'


async def test_a_long_history_is_read_to_its_end_by_a_worker_without_a_cache(client: Client):
    count = 600
    async with worker(client, Collect, max_cached_workflows=0) as queue:
        handle = await client.start_workflow(Collect.run, count, id=unique("long"), task_queue=queue)
        for n in range(count):
            await handle.signal(Collect.add, n)
        assert await handle.result() == count
    assert (await kinds(handle)).count("WorkflowExecutionSignaled") == count
    await replay(handle, Collect)


# -- tasks that fail -------------------------------------------------------------------------------------------------


async def test_a_mistake_in_the_code_fails_tasks_until_it_is_mended(client: Client):
    queue = unique("broken")
    async with worker(client, Broken, queue=queue):
        handle = await client.start_workflow("Broken", id=unique("broken"), task_queue=queue, result_type=str)
        await eventually(lambda: failed(handle))
        event = await find(handle, "WorkflowTaskFailed")
        assert event.cause == WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_WORKFLOW_WORKER_UNHANDLED_FAILURE
        assert event.failure.message == "a mistake in the code"
    async with worker(client, Mended, queue=queue):
        # The next attempt comes when the last one, of which nobody tells, has timed out.
        assert await asyncio.wait_for(handle.result(), 30) == "mended"
    assert (await kinds(handle, tasks=True)).count("WorkflowTaskFailed") == 1


async def failed(handle: Any) -> bool:
    return "WorkflowTaskFailed" in await kinds(handle, tasks=True)


async def test_changed_code_is_found_out(client: Client):
    queue = unique("changing")
    async with worker(client, Before, queue=queue):
        handle = await client.start_workflow("Changing", id=unique("changing"), task_queue=queue, result_type=str)
        await eventually(lambda: has(handle, "TimerFired"))
        await eventually(lambda: completed(handle, 2))
    async with worker(client, After, activities=[say], queue=queue):
        await handle.signal("go_on")
        await eventually(lambda: failed(handle))
    # A failure on the sticky queue is followed by a first attempt for all, which may fail too.
    causes = {attributes(event).cause for event in await history(handle) if kind(event) == "WorkflowTaskFailed"}
    assert causes == {WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_NON_DETERMINISTIC_ERROR}
    with pytest.raises(workflow.NondeterminismError):
        await replay(handle, After)
    async with worker(client, Before, queue=queue):
        assert await asyncio.wait_for(handle.result(), 30) == "before"


async def has(handle: Any, wanted: str) -> bool:
    return wanted in await kinds(handle)


async def test_only_the_first_failure_of_a_row_is_written(client: Client):
    raw = Raw(client)
    await raw.start()
    attempts = []
    for _ in range(3):
        task = await raw.task()
        attempts.append(task.attempt)
        request = RespondWorkflowTaskFailedRequest(namespace="default", task_token=task.task_token, identity="raw")
        await client.workflow_service.respond_workflow_task_failed(request)
    task = await raw.task()
    attempts.append(task.attempt)
    assert [event.event_id for event in task.history.events] == list(range(1, task.started_event_id + 1))
    assert kind(task.history.events[-1]) == "WorkflowTaskStarted"
    await raw.complete(task, command("complete"))
    assert attempts == [1, 2, 3, 4]
    assert (await kinds(raw.handle, tasks=True)) == [
        "WorkflowExecutionStarted",
        "WorkflowTaskScheduled",
        "WorkflowTaskStarted",
        "WorkflowTaskFailed",
        "WorkflowTaskScheduled",
        "WorkflowTaskStarted",
        "WorkflowTaskCompleted",
        "WorkflowExecutionCompleted",
    ]


async def test_a_task_that_nobody_answers_times_out(client: Client):
    raw = Raw(client)
    await raw.start(workflow_task_timeout=Duration(seconds=1))
    first = await raw.task()
    second = await raw.task()
    assert second.attempt == 2
    with refused(RPCStatusCode.NOT_FOUND):
        await raw.complete(first, command("complete"))
    await raw.complete(second, command("complete"))
    timed_out = await find(raw.handle, "WorkflowTaskTimedOut")
    assert timed_out.timeout_type == TimeoutType.TIMEOUT_TYPE_START_TO_CLOSE


@pytest.mark.parametrize(
    ("commands", "cause"),
    [
        ([command("timer", timer_id="")], "BAD_START_TIMER_ATTRIBUTES"),
        ([timer("twice"), timer("twice")], "START_TIMER_DUPLICATE_ID"),
        ([command("cancel_timer", timer_id="unknown")], "BAD_CANCEL_TIMER_ATTRIBUTES"),
        ([command("activity", activity_id="1")], "BAD_SCHEDULE_ACTIVITY_ATTRIBUTES"),
        ([scheduled("1", "q"), scheduled("1", "q")], "SCHEDULE_ACTIVITY_DUPLICATE_ID"),
        ([command("cancel_activity", scheduled_event_id=99)], "BAD_REQUEST_CANCEL_ACTIVITY_ATTRIBUTES"),
        ([command("marker", marker_name="")], "BAD_RECORD_MARKER_ATTRIBUTES"),
        ([command("child", workflow_id="child")], "BAD_START_CHILD_EXECUTION_ATTRIBUTES"),
        ([command("signal", signal_name="")], "BAD_SIGNAL_WORKFLOW_EXECUTION_ATTRIBUTES"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_bad_command_fails_the_task(client: Client, commands: list[Command], cause: str):
    raw = Raw(client)
    await raw.start()
    task = await raw.task()
    with refused(RPCStatusCode.INVALID_ARGUMENT):
        await raw.complete(task, *commands)
    event = await find(raw.handle, "WorkflowTaskFailed")
    assert WorkflowTaskFailedCause.Name(event.cause) == f"WORKFLOW_TASK_FAILED_CAUSE_{cause}"
    await raw.complete(await raw.task(), command("complete"))


async def test_a_workflow_does_not_end_on_events_it_has_not_seen(client: Client):
    raw = Raw(client)
    await raw.start()
    task = await raw.task()
    await raw.handle.signal("unseen")
    with refused(RPCStatusCode.INVALID_ARGUMENT, "UnhandledCommand") as refusal:
        await raw.complete(task, command("complete"))
    assert refusal.error.message == "UnhandledCommand"
    event = await find(raw.handle, "WorkflowTaskFailed")
    assert event.cause == WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_UNHANDLED_COMMAND
    task = await raw.task()
    assert "WorkflowExecutionSignaled" in [kind(event) for event in task.history.events]
    await raw.complete(task, command("complete"))


async def test_a_token_is_good_once(client: Client):
    raw = Raw(client)
    await raw.start()
    task = await raw.task()
    await raw.complete(task, timer("one"))
    with refused(RPCStatusCode.NOT_FOUND):
        await raw.complete(task, timer("two"))
    await raw.handle.terminate()
    assert (await kinds(raw.handle)).count("TimerStarted") == 1


# -- tasks as workers get them ---------------------------------------------------------------------------------------


async def test_an_empty_poll_gives_the_empty_message(client: Client):
    raw = Raw(client)
    started = asyncio.get_running_loop().time()
    assert await raw.poll(seconds=3) == PollWorkflowTaskQueueResponse()
    assert 1 < asyncio.get_running_loop().time() - started < 3
    request = PollActivityTaskQueueRequest(namespace="default", task_queue=TaskQueue(name=raw.queue), identity="raw")
    empty = await client.workflow_service.poll_activity_task_queue(request, timeout=timedelta(seconds=3))
    assert empty.task_token == b""


async def test_a_poll_without_time_is_refused(client: Client):
    with refused(RPCStatusCode.FAILED_PRECONDITION, "Context timeout is too short"):
        await Raw(client).poll(seconds=1)


async def test_a_first_task_is_complete(client: Client):
    raw = Raw(client)
    await raw.start()
    task = await raw.task()
    assert (task.workflow_execution.workflow_id, task.workflow_execution.run_id) == (raw.id, raw.run_id)
    assert (task.workflow_type.name, task.workflow_execution_task_queue.name) == ("Raw", raw.queue)
    assert (task.attempt, task.previous_started_event_id, task.started_event_id) == (1, 0, 3)
    assert [event.event_id for event in task.history.events] == [1, 2, 3]
    assert task.HasField("scheduled_time") and task.HasField("started_time")
    assert not task.HasField("query") and not task.queries
    await raw.complete(task, command("complete"))


async def test_a_sticky_task_holds_what_is_new(client: Client):
    raw = Raw(client)
    sticky = TaskQueue(name=unique("sticky"), kind=TaskQueueKind.TASK_QUEUE_KIND_STICKY, normal_name=raw.queue)
    attributes = StickyExecutionAttributes(worker_task_queue=sticky, schedule_to_start_timeout=Duration(seconds=5))
    await raw.start()
    task = await raw.task()
    waiting = asyncio.create_task(raw.task(sticky))
    await asyncio.sleep(0.2)
    await raw.complete(task, timer("one"), sticky_attributes=attributes)
    await raw.handle.signal("new")
    task = await waiting
    assert [kind(event) for event in task.history.events] == [
        "WorkflowTaskCompleted",
        "TimerStarted",
        "WorkflowExecutionSignaled",
        "WorkflowTaskScheduled",
        "WorkflowTaskStarted",
    ]
    assert task.workflow_execution_task_queue.name == raw.queue
    assert task.previous_started_event_id == 3
    await raw.complete(task, command("complete"))


async def test_a_sticky_task_that_nobody_takes_goes_to_all(client: Client):
    raw = Raw(client)
    sticky = TaskQueue(name=unique("sticky"), kind=TaskQueueKind.TASK_QUEUE_KIND_STICKY, normal_name=raw.queue)
    attributes = StickyExecutionAttributes(worker_task_queue=sticky, schedule_to_start_timeout=Duration(seconds=1))
    await raw.start()
    await raw.complete(await raw.task(), sticky_attributes=attributes)
    await raw.handle.signal("new")
    task = await raw.task()
    assert task.history.events[0].event_id == 1, "the whole history"
    await raw.complete(task, command("complete"))


async def test_stickiness_is_given_up_on_request(client: Client):
    raw = Raw(client)
    sticky = TaskQueue(name=unique("sticky"), kind=TaskQueueKind.TASK_QUEUE_KIND_STICKY, normal_name=raw.queue)
    attributes = StickyExecutionAttributes(worker_task_queue=sticky, schedule_to_start_timeout=Duration(seconds=60))
    await raw.start()
    await raw.complete(await raw.task(), sticky_attributes=attributes)
    await client.workflow_service.reset_sticky_task_queue(ResetStickyTaskQueueRequest(namespace="default", execution=raw.execution))
    await raw.handle.signal("new")
    task = await raw.task()
    assert task.history.events[0].event_id == 1
    await raw.complete(task, command("complete"))


async def test_a_completion_may_bring_the_next_task(client: Client):
    raw = Raw(client)
    await raw.start()
    answer = await raw.complete(await raw.task(), force_create_new_workflow_task=True, return_new_workflow_task=True)
    task = answer.workflow_task
    assert task.task_token and [kind(event) for event in task.history.events] == ["WorkflowTaskCompleted", "WorkflowTaskScheduled", "WorkflowTaskStarted"]
    await raw.complete(task, command("complete"))


async def test_a_completion_may_bring_activities(client: Client):
    raw = Raw(client)
    await raw.start()
    answer = await raw.complete(await raw.task(), scheduled("1", raw.queue, request_eager_execution=True), scheduled("2", raw.queue))
    assert [task.activity_id for task in answer.activity_tasks] == ["1"]
    assert answer.activity_tasks[0].attempt == 1 and answer.activity_tasks[0].task_token
    request = PollActivityTaskQueueRequest(namespace="default", task_queue=TaskQueue(name=raw.queue), identity="raw")
    polled = await client.workflow_service.poll_activity_task_queue(request, timeout=timedelta(seconds=20))
    assert polled.activity_id == "2"
    await raw.handle.terminate()


async def test_a_start_may_bring_its_first_task(client: Client):
    raw = Raw(client)
    started = await raw.start(request_eager_execution=True)
    assert started.eager_workflow_task.task_token
    assert [event.event_id for event in started.eager_workflow_task.history.events] == [1, 2, 3]
    await raw.complete(started.eager_workflow_task, command("complete"))


async def test_a_poll_that_is_given_up_takes_no_task_along(client: Client):
    raw = Raw(client)
    waiting = asyncio.create_task(raw.poll())
    await asyncio.sleep(0.3)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await raw.start()
    started = asyncio.get_running_loop().time()
    await raw.complete(await raw.task(), command("complete"))
    assert asyncio.get_running_loop().time() - started < 5


async def test_an_open_attempt_is_seen_in_history(client: Client):
    raw = Raw(client)
    await raw.start()
    task = await raw.task()
    request = RespondWorkflowTaskFailedRequest(namespace="default", task_token=task.task_token, identity="raw")
    await client.workflow_service.respond_workflow_task_failed(request)
    await raw.task()
    assert (await kinds(raw.handle, tasks=True))[4:] == ["WorkflowTaskScheduled", "WorkflowTaskStarted"]
    told = await raw.handle.describe()
    assert told.history_length == 4
    await raw.handle.terminate()


async def test_pages_join_without_a_gap(client: Client):
    raw = Raw(client)
    await raw.start()
    for n in range(300):
        await raw.handle.signal("fill", n)
    task = await raw.task()
    ids, token = [event.event_id for event in task.history.events], task.next_page_token
    pages = 1
    while token:
        request = GetWorkflowExecutionHistoryRequest(namespace="default", execution=raw.execution, next_page_token=token)
        page = await client.workflow_service.get_workflow_execution_history(request)
        ids += [event.event_id for event in page.history.events]
        token, pages = page.next_page_token, pages + 1
    assert ids == list(range(1, task.started_event_id + 1))
    assert pages > 1
    await raw.handle.terminate()


# -- workers that come and go ----------------------------------------------------------------------------------------


async def test_two_workers_share_a_queue(client: Client, address: str):
    queue, other = unique("shared"), await Client.connect(address)
    async with worker(client, Everything, activities=[say], queue=queue), worker(other, Everything, activities=[say], queue=queue):
        results = [client.execute_workflow(Everything.run, id=unique("everything"), task_queue=queue) for _ in range(20)]
        assert await asyncio.gather(*results) == [["activity", "local"]] * 20


async def test_another_worker_goes_on_at_once(client: Client):
    queue = unique("relay")
    async with worker(client, Collect, queue=queue):
        handle = await client.start_workflow(Collect.run, 2, id=unique("collect"), task_queue=queue)
        await handle.signal(Collect.add, 0)
        await eventually(lambda: completed(handle, 1))
    started = asyncio.get_running_loop().time()
    async with worker(client, Collect, queue=queue):
        await handle.signal(Collect.add, 1)
        assert await handle.result() == 2
    assert asyncio.get_running_loop().time() - started < 9, "it did not wait for the sticky queue's time-out"


async def test_a_worker_that_stops_lets_activities_end(client: Client):
    started = asyncio.Event()

    @activity.defn(name="say")
    async def slow(text: str) -> str:
        started.set()
        await asyncio.sleep(0.5)
        return text

    queue = unique("graceful")
    async with worker(client, Everything, queue=queue, max_cached_workflows=5):
        async with worker(client, activities=[slow], queue=queue, graceful_shutdown_timeout=timedelta(seconds=10)):
            raw = Raw(client, queue)
            raw.queue = unique("raw")
            await raw.start()
            await raw.complete(await raw.task(), scheduled("1", queue, input={"payloads": [{"metadata": {"encoding": b"json/plain"}, "data": b'"done"'}]}))
            await asyncio.wait_for(started.wait(), 20)
    completed_event = await eventually(lambda: found(raw.handle, "ActivityTaskCompleted"))
    assert completed_event.result.payloads[0].data == b'"done"'
    await raw.handle.terminate()


async def found(handle: Any, wanted: str) -> Any:
    events = [attributes(event) for event in await history(handle) if kind(event) == wanted]
    return events[0] if events else None


async def test_a_worker_stops_soon_with_polls_open(client: Client):
    started = asyncio.get_running_loop().time()
    async with worker(client, Everything, activities=[say]):
        await asyncio.sleep(0.2)
    assert asyncio.get_running_loop().time() - started < 5
