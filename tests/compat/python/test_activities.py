"""Activities: what they are told, time-outs, retries, heartbeats, the forms of cancellation, and completion from elsewhere."""

import asyncio
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from temporalio import activity, workflow
from temporalio.client import AsyncActivityCancelledError, Client, WorkflowFailureError
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, CancelledError, TimeoutError, TimeoutType
from temporalio.service import RPCError, RPCStatusCode

from support import SHORT, attributes, eventually, find, history, kind, kinds, refused, replay, unique, worker

ONCE = RetryPolicy(maximum_attempts=1)


@dataclass
class Call:
    """An activity to run, and how."""

    name: str
    args: Sequence[Any] = ()
    attempts: int = 0
    interval: float = 0.05
    start_to_close: float = 10
    schedule_to_close: float | None = None
    schedule_to_start: float | None = None
    heartbeat: float | None = None
    non_retryable: Sequence[str] = ()
    queue: str | None = None
    cancellation: workflow.ActivityCancellationType = workflow.ActivityCancellationType.TRY_CANCEL

    def options(self) -> dict[str, Any]:
        def span(value: float | None) -> timedelta | None:
            return None if value is None else timedelta(seconds=value)

        return {
            "args": self.args,
            "task_queue": self.queue,
            "start_to_close_timeout": span(self.start_to_close),
            "schedule_to_close_timeout": span(self.schedule_to_close),
            "schedule_to_start_timeout": span(self.schedule_to_start),
            "heartbeat_timeout": span(self.heartbeat),
            "cancellation_type": self.cancellation,
            "retry_policy": RetryPolicy(
                initial_interval=timedelta(seconds=self.interval),
                backoff_coefficient=1,
                maximum_attempts=self.attempts,
                non_retryable_error_types=list(self.non_retryable),
            ),
        }


@workflow.defn
class RunActivity:
    @workflow.run
    async def run(self, call: Call) -> Any:
        return await workflow.execute_activity(call.name, **call.options())


@workflow.defn
class CancelActivity:
    """Starts an activity, cancels it when told to, and gives how it ended."""

    def __init__(self) -> None:
        self.is_told = False

    @workflow.signal
    def cancel(self) -> None:
        self.is_told = True

    @workflow.run
    async def run(self, call: Call) -> str:
        running = workflow.start_activity(call.name, **call.options())
        await workflow.wait_condition(lambda: self.is_told)
        running.cancel()
        try:
            return f"result {await running}"
        except ActivityError as error:
            return f"{type(error.cause).__name__} {getattr(error.cause, 'details', ())}"


@workflow.defn
class Fifty:
    @workflow.run
    async def run(self) -> list[int]:
        calls = [workflow.execute_activity("add", args=[n, n], start_to_close_timeout=SHORT) for n in range(50)]
        return list(await asyncio.gather(*calls))


@workflow.defn
class Summary:
    @workflow.run
    async def run(self) -> int:
        return await workflow.execute_activity("add", args=[1, 1], start_to_close_timeout=SHORT, summary="adds")


@workflow.defn
class Growing:
    @workflow.run
    async def run(self) -> int:
        policy = RetryPolicy(initial_interval=timedelta(milliseconds=200), backoff_coefficient=3, maximum_interval=timedelta(seconds=1))
        return await workflow.execute_activity("fail", 3, start_to_close_timeout=SHORT, retry_policy=policy)


@workflow.defn
class Long:
    @workflow.run
    async def run(self) -> str:
        return await workflow.execute_local_activity("sleep", 3.0, start_to_close_timeout=SHORT)


class Activities:
    """Each case has its own, so that what they note is not mixed."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.release = asyncio.Event()
        self.token = b""
        self.notes: list[Any] = []

    @activity.defn
    async def tell(self) -> dict[str, Any]:
        info = activity.info()
        return {
            "attempt": info.attempt,
            "id": info.activity_id,
            "type": info.activity_type,
            "workflow": info.workflow_id,
            "workflow_type": info.workflow_type,
            "namespace": info.namespace or info.workflow_namespace,
            "queue": info.task_queue,
            "start_to_close": info.start_to_close_timeout.total_seconds() if info.start_to_close_timeout else None,
            "heartbeat": info.heartbeat_timeout.total_seconds() if info.heartbeat_timeout else None,
            "has_token": bool(info.task_token),
            "in_order": info.scheduled_time <= info.current_attempt_scheduled_time <= info.started_time,
        }

    @activity.defn
    async def add(self, a: int, b: int) -> int:
        return a + b

    @activity.defn
    async def fail(self, times: int) -> int:
        attempt = activity.info().attempt
        self.notes.append(time.monotonic())
        if attempt <= times:
            raise ApplicationError(f"attempt {attempt}", "some", "details", type="Unlucky")
        return attempt

    @activity.defn
    async def fail_for_good(self) -> None:
        raise ApplicationError("for good", type="Hopeless", non_retryable=True)

    @activity.defn
    async def fail_until_later(self) -> int:
        self.notes.append(time.monotonic())
        if activity.info().attempt == 1:
            raise ApplicationError("later", next_retry_delay=timedelta(seconds=1))
        return activity.info().attempt

    @activity.defn
    async def sleep(self, seconds: float) -> str:
        await asyncio.sleep(seconds)
        return "slept"

    @activity.defn
    async def remember(self, upto: int) -> list[Any]:
        """Fails at each step and goes on from what the last attempt told."""
        details = list(activity.info().heartbeat_details)
        step = details[0] + 1 if details else 1
        self.notes.append(step)
        activity.heartbeat(step)
        if step < upto:
            raise RuntimeError(f"at step {step}")
        return details

    @activity.defn
    async def heartbeat_until_cancelled(self, answer: str) -> str:
        self.started.set()
        try:
            while True:
                activity.heartbeat()
                await asyncio.sleep(0.1)
        except asyncio.CancelledError:
            self.cancelled.set()
            if answer:
                return answer
            raise

    @activity.defn
    async def wait_for_release(self) -> str:
        self.started.set()
        await self.release.wait()
        return "released"

    @activity.defn
    async def complete_elsewhere(self) -> None:
        self.token = activity.info().task_token
        self.notes.append(activity.info().activity_id)
        self.started.set()
        activity.raise_complete_async()

    @property
    def all(self) -> list[Any]:
        return [
            self.tell,
            self.add,
            self.fail,
            self.fail_for_good,
            self.fail_until_later,
            self.sleep,
            self.remember,
            self.heartbeat_until_cancelled,
            self.wait_for_release,
            self.complete_elsewhere,
        ]


async def run(client: Client, activities: Activities, call: Call, **options: Any) -> Any:
    async with worker(client, RunActivity, activities=activities.all, **options) as queue:
        return await client.execute_workflow(RunActivity.run, call, id=unique("activity"), task_queue=queue)


async def failure_of(client: Client, activities: Activities, call: Call) -> tuple[ActivityError, Any]:
    """How the activity failed, and the workflow."""
    async with worker(client, RunActivity, activities=activities.all) as queue:
        handle = await client.start_workflow(RunActivity.run, call, id=unique("activity"), task_queue=queue)
        with pytest.raises(WorkflowFailureError) as failed:
            await handle.result()
    assert isinstance(failed.value.cause, ActivityError)
    return failed.value.cause, handle


# -- what an activity is told ----------------------------------------------------------------------------------------


async def test_an_activity_is_told_all_about_itself(client: Client):
    async with worker(client, RunActivity, activities=Activities().all) as queue:
        id = unique("activity")
        told = await client.execute_workflow(RunActivity.run, Call("tell", heartbeat=7), id=id, task_queue=queue)
    assert told == {
        "attempt": 1,
        "id": "1",
        "type": "tell",
        "workflow": id,
        "workflow_type": "RunActivity",
        "namespace": "default",
        "queue": queue,
        "start_to_close": 10.0,
        "heartbeat": 7.0,
        "has_token": True,
        "in_order": True,
    }


async def test_arguments_and_results_pass(client: Client):
    assert await run(client, Activities(), Call("add", [40, 2])) == 42


async def test_activities_of_another_queue_run_there(client: Client):
    activities = Activities()
    async with worker(client, activities=activities.all) as elsewhere, worker(client, RunActivity) as queue:
        told = await client.execute_workflow(RunActivity.run, Call("tell", queue=elsewhere), id=unique("activity"), task_queue=queue)
    assert told["queue"] == elsewhere


async def test_activities_in_threads(client: Client):
    @activity.defn(name="tell")
    def thread() -> str:
        activity.heartbeat("from a thread")
        return threading.current_thread().name

    with ThreadPoolExecutor(2, thread_name_prefix="compat") as executor:
        async with worker(client, RunActivity, activities=[thread], activity_executor=executor) as queue:
            name = await client.execute_workflow(RunActivity.run, Call("tell"), id=unique("activity"), task_queue=queue)
    assert name.startswith("compat")


async def test_fifty_at_once(client: Client):
    async with worker(client, Fifty, activities=Activities().all) as queue:
        handle = await client.start_workflow(Fifty.run, id=unique("fifty"), task_queue=queue)
        assert await handle.result() == [2 * n for n in range(50)]
    names = await kinds(handle)
    assert (names.count("ActivityTaskScheduled"), names.count("ActivityTaskStarted"), names.count("ActivityTaskCompleted")) == (50, 50, 50)
    assert names[1:51] == ["ActivityTaskScheduled"] * 50
    await replay(handle, Fifty)


async def test_the_summary_of_an_activity_is_kept(client: Client):
    async with worker(client, Summary, activities=Activities().all) as queue:
        handle = await client.start_workflow(Summary.run, id=unique("summary"), task_queue=queue)
        await handle.result()
    scheduled = [event for event in await history(handle) if kind(event) == "ActivityTaskScheduled"]
    assert scheduled[0].user_metadata.summary.data == b'"adds"'


# -- retries ---------------------------------------------------------------------------------------------------------


async def test_a_failing_activity_is_tried_again(client: Client):
    async with worker(client, RunActivity, activities=Activities().all) as queue:
        handle = await client.start_workflow(RunActivity.run, Call("fail", [3]), id=unique("retry"), task_queue=queue)
        assert await handle.result() == 4
    started = await find(handle, "ActivityTaskStarted")
    assert started.attempt == 4
    assert started.last_failure.message == "attempt 3"
    assert (await kinds(handle)).count("ActivityTaskFailed") == 0


async def test_attempts_run_out(client: Client):
    error, handle = await failure_of(client, Activities(), Call("fail", [9], attempts=3))
    assert isinstance(error.cause, ApplicationError)
    assert (error.cause.message, error.cause.type, list(error.cause.details)) == ("attempt 3", "Unlucky", ["some", "details"])
    assert error.retry_state and error.retry_state.name == "MAXIMUM_ATTEMPTS_REACHED"
    assert (await find(handle, "ActivityTaskStarted")).attempt == 3
    await replay(handle, RunActivity)


async def test_an_error_of_a_named_type_is_final(client: Client):
    activities = Activities()
    error, _ = await failure_of(client, activities, Call("fail", [9], non_retryable=["Unlucky"]))
    assert error.retry_state and error.retry_state.name == "NON_RETRYABLE_FAILURE"
    assert len(activities.notes) == 1


async def test_an_error_that_says_so_is_final(client: Client):
    error, _ = await failure_of(client, Activities(), Call("fail_for_good"))
    assert isinstance(error.cause, ApplicationError) and error.cause.non_retryable
    assert error.retry_state and error.retry_state.name == "NON_RETRYABLE_FAILURE"


async def test_the_delay_that_a_failure_asks_for_is_kept(client: Client):
    activities = Activities()
    assert await run(client, activities, Call("fail_until_later")) == 2
    assert 0.9 <= activities.notes[1] - activities.notes[0] < 5


async def test_intervals_grow(client: Client):
    activities = Activities()
    async with worker(client, Growing, activities=activities.all) as queue:
        assert await client.execute_workflow(Growing.run, id=unique("growing"), task_queue=queue) == 4
    waits = [after - before for before, after in zip(activities.notes, activities.notes[1:])]
    assert waits[0] >= 0.19 and waits[1] >= 0.59 and waits[2] >= 0.99, waits
    assert waits[2] < 1.8, "the largest interval bounds the third"


async def test_a_pending_activity_shows_its_attempts(client: Client):
    async with worker(client, RunActivity, activities=Activities().all) as queue:
        handle = await client.start_workflow(RunActivity.run, Call("fail", [99], interval=0.1), id=unique("pending"), task_queue=queue)

        async def told() -> Any:
            pending = (await handle.describe()).raw_description.pending_activities
            return pending and pending[0].attempt >= 3 and pending[0].last_failure.message.startswith("attempt") and pending[0]

        shown = await eventually(told)
        assert (shown.activity_type.name, shown.activity_id, shown.maximum_attempts) == ("fail", "1", 0)
        await handle.terminate()


async def test_an_unknown_activity_is_tried_until_a_worker_knows_it(client: Client):
    @activity.defn
    async def other() -> None: ...

    async with worker(client, RunActivity, activities=[other]) as queue:
        handle = await client.start_workflow(RunActivity.run, Call("add", [1, 2]), id=unique("unknown"), task_queue=queue)

        async def failed() -> bool:
            pending = (await handle.describe()).raw_description.pending_activities
            return bool(pending) and "add" in pending[0].last_failure.message

        await eventually(failed)
    async with worker(client, RunActivity, activities=Activities().all, queue=queue):
        assert await handle.result() == 3


# -- time-outs -------------------------------------------------------------------------------------------------------


async def test_start_to_close_ends_an_attempt(client: Client):
    error, handle = await failure_of(client, Activities(), Call("sleep", [30], start_to_close=0.5, attempts=2))
    assert isinstance(error.cause, TimeoutError) and error.cause.type == TimeoutType.START_TO_CLOSE
    assert (await find(handle, "ActivityTaskStarted")).attempt == 2


async def test_schedule_to_start_is_final(client: Client):
    error, handle = await failure_of(client, Activities(), Call("add", [1, 2], schedule_to_start=0.5, queue=unique("nobody")))
    assert isinstance(error.cause, TimeoutError) and error.cause.type == TimeoutType.SCHEDULE_TO_START
    assert (await kinds(handle)).count("ActivityTaskStarted") == 0


async def test_schedule_to_close_ends_retries_and_tells_the_last_failure(client: Client):
    error, handle = await failure_of(client, Activities(), Call("fail", [99], interval=0.4, schedule_to_close=1))
    timed_out = [attributes(event) for event in await history(handle) if kind(event) in ("ActivityTaskTimedOut", "ActivityTaskFailed")]
    assert len(timed_out) == 1
    cause: Any = error.cause
    messages = []
    while cause is not None:
        messages.append(str(cause))
        cause = cause.__cause__
    assert any("attempt" in message for message in messages), messages
    assert error.retry_state and error.retry_state.name == "TIMEOUT"


async def test_a_heartbeat_that_stays_away_is_noticed(client: Client):
    error, handle = await failure_of(client, Activities(), Call("sleep", [30], heartbeat=0.5, start_to_close=30, attempts=1))
    assert isinstance(error.cause, TimeoutError) and error.cause.type == TimeoutType.HEARTBEAT
    assert (await kinds(handle))[-2:] == ["ActivityTaskTimedOut", "WorkflowExecutionFailed"]


async def test_heartbeats_keep_an_activity_alive(client: Client):
    @activity.defn
    async def beat() -> str:
        for n in range(15):
            activity.heartbeat(n)
            await asyncio.sleep(0.1)
        return "alive"

    async with worker(client, RunActivity, activities=[beat]) as queue:
        handle = await client.start_workflow(RunActivity.run, Call("beat", heartbeat=0.8, attempts=1), id=unique("beat"), task_queue=queue)
        assert await handle.result() == "alive"


async def test_the_next_attempt_goes_on_from_the_last_heartbeat(client: Client):
    activities = Activities()
    assert await run(client, activities, Call("remember", [4], heartbeat=10)) == [3]
    assert activities.notes == [1, 2, 3, 4]


async def test_a_time_out_carries_the_last_heartbeat(client: Client):
    @activity.defn
    async def hang() -> None:
        activity.heartbeat("so far")
        await asyncio.sleep(30)

    async with worker(client, RunActivity, activities=[hang]) as queue:
        call = Call("hang", heartbeat=0.6, attempts=1, start_to_close=30)
        with pytest.raises(WorkflowFailureError) as failed:
            await client.execute_workflow(RunActivity.run, call, id=unique("hang"), task_queue=queue)
    cause: Any = failed.value.cause
    assert isinstance(cause.cause, TimeoutError)
    assert list(cause.cause.last_heartbeat_details) == ["so far"]


# -- cancellation ----------------------------------------------------------------------------------------------------


async def cancelled(client: Client, call: Call, activities: Activities | None = None) -> tuple[str, Any, Activities]:
    activities = activities or Activities()
    async with worker(client, CancelActivity, activities=activities.all, max_cached_workflows=10) as queue:
        handle = await client.start_workflow(CancelActivity.run, call, id=unique("cancel"), task_queue=queue)
        if call.queue is None:
            await asyncio.wait_for(activities.started.wait(), 20)
        else:

            async def is_scheduled() -> bool:
                return bool((await handle.describe()).raw_description.pending_activities)

            await eventually(is_scheduled)
        await handle.signal(CancelActivity.cancel)
        result = await handle.result()
        activities.release.set()
    return result, handle, activities


async def test_try_cancel_does_not_wait(client: Client):
    result, handle, activities = await cancelled(client, Call("heartbeat_until_cancelled", [""], heartbeat=2, start_to_close=60))
    assert result == "CancelledError ()"
    names = await kinds(handle)
    assert "ActivityTaskCancelRequested" in names and "ActivityTaskCanceled" not in names
    await replay(handle, CancelActivity)


async def test_cancellation_may_be_waited_for(client: Client):
    call = Call("heartbeat_until_cancelled", [""], heartbeat=2, start_to_close=60, cancellation=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED)
    result, handle, activities = await cancelled(client, call)
    assert result.startswith("CancelledError")
    assert activities.cancelled.is_set()
    assert [name for name in await kinds(handle) if name.startswith("ActivityTask")] == [
        "ActivityTaskScheduled",
        "ActivityTaskCancelRequested",
        "ActivityTaskStarted",
        "ActivityTaskCanceled",
    ]
    await replay(handle, CancelActivity)


async def test_an_activity_may_complete_in_spite_of_a_cancellation(client: Client):
    call = Call("heartbeat_until_cancelled", ["anyway"], heartbeat=2, start_to_close=60, cancellation=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED)
    result, handle, _ = await cancelled(client, call)
    assert result == "result anyway"
    assert "ActivityTaskCompleted" in await kinds(handle)


async def test_an_abandoned_activity_is_not_told(client: Client):
    call = Call("wait_for_release", start_to_close=60, cancellation=workflow.ActivityCancellationType.ABANDON)
    result, handle, activities = await cancelled(client, call)
    assert result.startswith("CancelledError")
    assert "ActivityTaskCancelRequested" not in await kinds(handle)
    assert not activities.cancelled.is_set()


async def test_an_activity_that_did_not_start_is_cancelled_at_once(client: Client):
    call = Call("add", [1, 2], queue=unique("nobody"), cancellation=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED)
    result, handle, _ = await cancelled(client, call)
    assert result.startswith("CancelledError")
    assert [name for name in await kinds(handle) if name.startswith("ActivityTask")] == [
        "ActivityTaskScheduled",
        "ActivityTaskCancelRequested",
        "ActivityTaskCanceled",
    ]


async def test_cancelling_the_workflow_cancels_its_activity(client: Client):
    activities = Activities()
    async with worker(client, RunActivity, activities=activities.all) as queue:
        call = Call("heartbeat_until_cancelled", [""], heartbeat=2, start_to_close=60)
        handle = await client.start_workflow(RunActivity.run, call, id=unique("cancel"), task_queue=queue)
        await asyncio.wait_for(activities.started.wait(), 20)
        await handle.cancel()
        with pytest.raises(WorkflowFailureError) as failed:
            await handle.result()
        assert isinstance(failed.value.cause, CancelledError)
        await asyncio.wait_for(activities.cancelled.wait(), 20)


async def test_terminating_the_workflow_ends_its_activity(client: Client):
    activities = Activities()
    async with worker(client, RunActivity, activities=activities.all) as queue:
        call = Call("heartbeat_until_cancelled", [""], heartbeat=2, start_to_close=60)
        handle = await client.start_workflow(RunActivity.run, call, id=unique("gone"), task_queue=queue)
        await asyncio.wait_for(activities.started.wait(), 20)
        await handle.terminate()
        await asyncio.wait_for(activities.cancelled.wait(), 20)


# -- completion from elsewhere ---------------------------------------------------------------------------------------


async def elsewhere(client: Client, activities: Activities, queue: str, **call: Any) -> Any:
    handle = await client.start_workflow(RunActivity.run, Call("complete_elsewhere", start_to_close=60, **call), id=unique("elsewhere"), task_queue=queue)
    await asyncio.wait_for(activities.started.wait(), 20)
    return handle


@pytest.mark.parametrize("by", ["token", "id"])
async def test_an_activity_is_completed_from_elsewhere(client: Client, by: str):
    activities = Activities()
    async with worker(client, RunActivity, activities=activities.all) as queue:
        handle = await elsewhere(client, activities, queue)
        if by == "token":
            from_here = client.get_async_activity_handle(task_token=activities.token)
        else:
            from_here = client.get_async_activity_handle(workflow_id=handle.id, run_id=handle.result_run_id, activity_id=activities.notes[0])
        await from_here.heartbeat("working")
        await from_here.complete("done")
        assert await handle.result() == "done"
        with refused(RPCStatusCode.NOT_FOUND):
            await from_here.complete("twice")


@pytest.mark.parametrize("by", ["token", "id"])
async def test_an_activity_is_failed_from_elsewhere(client: Client, by: str):
    activities = Activities()
    async with worker(client, RunActivity, activities=activities.all) as queue:
        handle = await elsewhere(client, activities, queue, attempts=1)
        if by == "token":
            from_here = client.get_async_activity_handle(task_token=activities.token)
        else:
            from_here = client.get_async_activity_handle(workflow_id=handle.id, run_id=None, activity_id=activities.notes[0])
        await from_here.fail(ApplicationError("from elsewhere", type="Elsewhere"))
        with pytest.raises(WorkflowFailureError) as failed:
            await handle.result()
    cause: Any = failed.value.cause
    assert (cause.cause.message, cause.cause.type) == ("from elsewhere", "Elsewhere")


async def test_a_cancellation_is_told_to_heartbeats_from_elsewhere(client: Client):
    activities = Activities()
    async with worker(client, CancelActivity, activities=activities.all) as queue:
        call = Call("complete_elsewhere", start_to_close=60, cancellation=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED)
        handle = await client.start_workflow(CancelActivity.run, call, id=unique("elsewhere"), task_queue=queue)
        await asyncio.wait_for(activities.started.wait(), 20)
        from_here = client.get_async_activity_handle(task_token=activities.token)
        await handle.signal(CancelActivity.cancel)

        async def is_told() -> bool:
            try:
                await from_here.heartbeat()
                return False
            except AsyncActivityCancelledError:
                return True

        await eventually(is_told)
        await from_here.report_cancellation("given up")
        assert await handle.result() == "CancelledError ('given up',)"


async def test_an_activity_of_a_closed_workflow_is_gone(client: Client):
    activities = Activities()
    async with worker(client, RunActivity, activities=activities.all) as queue:
        handle = await elsewhere(client, activities, queue)
        await handle.terminate()
        from_here = client.get_async_activity_handle(task_token=activities.token)
        with refused(RPCStatusCode.NOT_FOUND):
            await from_here.heartbeat()
        with refused(RPCStatusCode.NOT_FOUND):
            await from_here.complete("late")


# -- local activities ------------------------------------------------------------------------------------------------


@workflow.defn
class RunLocally:
    @workflow.run
    async def run(self, times: int) -> int:
        policy = RetryPolicy(initial_interval=timedelta(milliseconds=50), backoff_coefficient=1)
        return await workflow.execute_local_activity("fail", times, start_to_close_timeout=SHORT, retry_policy=policy)


async def test_a_local_activity_is_a_marker(client: Client):
    async with worker(client, RunLocally, activities=Activities().all) as queue:
        handle = await client.start_workflow(RunLocally.run, 2, id=unique("local"), task_queue=queue)
        assert await handle.result() == 3
    assert await kinds(handle) == ["WorkflowExecutionStarted", "MarkerRecorded", "WorkflowExecutionCompleted"]
    assert (await find(handle, "MarkerRecorded")).marker_name == "core_local_activity"
    await replay(handle, RunLocally)


async def test_a_long_local_activity_keeps_its_workflow_task(client: Client):
    async with worker(client, Long, activities=Activities().all) as queue:
        handle = await client.start_workflow(Long.run, id=unique("long"), task_queue=queue, task_timeout=timedelta(seconds=2))
        assert await handle.result() == "slept"
    names = await kinds(handle, tasks=True)
    assert "WorkflowTaskTimedOut" not in names and "WorkflowTaskFailed" not in names
    assert names.count("WorkflowTaskCompleted") >= 2, "heartbeats force new tasks"
    await replay(handle, Long)
