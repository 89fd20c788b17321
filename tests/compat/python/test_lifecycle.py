"""Starts, ends, chains, children, other workflows, resets, and what is told of a workflow."""

import asyncio
import uuid
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from temporalio import activity, workflow
from temporalio.api.enums.v1 import ResetReapplyType
from temporalio.api.workflowservice.v1 import (
    DeleteWorkflowExecutionRequest,
    GetWorkflowExecutionHistoryReverseRequest,
    ResetWorkflowExecutionRequest,
)
from temporalio.client import Client, WorkflowContinuedAsNewError, WorkflowExecutionStatus, WorkflowFailureError
from temporalio.common import (
    RetryPolicy,
    SearchAttributeKey,
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.exceptions import (
    ApplicationError,
    CancelledError,
    ChildWorkflowError,
    TerminatedError,
    TimeoutError,
    WorkflowAlreadyStartedError,
)
from temporalio.service import RPCStatusCode
from temporalio.workflow import ChildWorkflowCancellationType, ParentClosePolicy

from support import SHORT, attributes, eventually, find, history, kind, kinds, refused, replay, unique, worker


@workflow.defn
class Echo:
    @workflow.run
    async def run(self, text: str) -> str:
        return text


@workflow.defn
class Fail:
    @workflow.run
    async def run(self, times: int) -> int:
        attempt = workflow.info().attempt
        if attempt <= times:
            raise ApplicationError(f"attempt {attempt}", "detail", type="Unlucky")
        return attempt


@workflow.defn
class Wait:
    """Waits until it is told to go on; notes what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.is_done = False

    @workflow.run
    async def run(self, upto: int = 1_000) -> list[str]:
        await workflow.wait_condition(lambda: self.is_done or len(self.notes) >= upto)
        return self.notes

    @workflow.signal
    def note(self, text: str) -> None:
        self.notes.append(text)

    @workflow.signal
    def done(self) -> None:
        self.is_done = True

    @workflow.query
    def noted(self) -> list[str]:
        return self.notes


@workflow.defn
class Sleep:
    @workflow.run
    async def run(self, seconds: float) -> str:
        try:
            await asyncio.sleep(seconds)
            return "slept"
        except asyncio.CancelledError:
            if workflow.memo_value("swallow", False, type_hint=bool):
                return "cancelled, and goes on"
            raise


@workflow.defn
class Countdown:
    @workflow.run
    async def run(self, left: int) -> str:
        if left == 0:
            return workflow.info().first_execution_run_id
        workflow.continue_as_new(left - 1)


@workflow.defn
class Last:
    """Gives what the last run gave, and one more."""

    @workflow.run
    async def run(self) -> int:
        return (workflow.get_last_completion_result(int) or 0) + 1 if workflow.has_last_completion_result() else 1


@workflow.defn
class Parent:
    @workflow.run
    async def run(self, child: str, arg: Any, options: dict[str, Any]) -> Any:
        policy = ParentClosePolicy[options.get("close", "TERMINATE")]
        handle = await workflow.start_child_workflow(
            child, arg, id=options["id"], task_queue=options.get("queue"), parent_close_policy=policy, **options.get("more", {})
        )
        if options.get("leave"):
            return handle.first_execution_run_id
        return await handle


@workflow.defn
class ParentWhoseChildFails:
    @workflow.run
    async def run(self, child: str, arg: Any, id: str) -> list[str]:
        try:
            await workflow.execute_child_workflow(child, arg, id=id)
            return ["no failure"]
        except (ChildWorkflowError, WorkflowAlreadyStartedError) as error:
            return [type(error).__name__, type(error.cause).__name__ if error.cause else "", str(error.cause or "")]


@workflow.defn
class ParentThatCancels:
    @workflow.run
    async def run(self, id: str, wait: bool) -> str:
        kind = ChildWorkflowCancellationType.WAIT_CANCELLATION_COMPLETED if wait else ChildWorkflowCancellationType.TRY_CANCEL
        child = await workflow.start_child_workflow(Sleep.run, 60.0, id=id, cancellation_type=kind)
        child.cancel()
        try:
            return await child
        except ChildWorkflowError as error:
            return type(error.cause).__name__


@workflow.defn
class Outside:
    """Signals or cancels another workflow."""

    @workflow.run
    async def run(self, what: str, id: str, text: str) -> str:
        handle = workflow.get_external_workflow_handle(id)
        try:
            if what == "signal":
                await handle.signal("note", text)
            else:
                await handle.cancel()
            return "done"
        except ApplicationError as error:
            return error.message


@workflow.defn
class Steps:
    @workflow.run
    async def run(self) -> list[str]:
        first = await workflow.execute_activity(step, "one", start_to_close_timeout=SHORT)
        second = await workflow.execute_activity(step, "two", start_to_close_timeout=SHORT)
        return [first, second]


@activity.defn
async def step(name: str) -> str:
    return f"{name} {uuid.uuid4()}"


@workflow.defn
class Attributes:
    @workflow.run
    async def run(self) -> None:
        workflow.upsert_memo({"stage": "second", "owner": None})
        workflow.upsert_search_attributes([SearchAttributeKey.for_keyword("CompatStage").value_set("second")])


STAGE = SearchAttributeKey.for_keyword("CompatStage")


async def with_attributes(client: Client) -> None:
    from temporalio.api.enums.v1 import IndexedValueType
    from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest

    kinds = {"CompatStage": IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD, "CompatCount": IndexedValueType.INDEXED_VALUE_TYPE_INT}
    await client.operator_service.add_search_attributes(AddSearchAttributesRequest(namespace="default", search_attributes=kinds))


async def cause_of(handle: Any) -> Any:
    with pytest.raises(WorkflowFailureError) as failed:
        await handle.result()
    return failed.value.cause


# -- results ---------------------------------------------------------------------------------------------------------


async def test_a_result_follows_the_chain(client: Client):
    async with worker(client, Countdown) as queue:
        handle = await client.start_workflow(Countdown.run, 3, id=unique("chain"), task_queue=queue)
        assert await handle.result() == handle.first_execution_run_id
        with pytest.raises(WorkflowContinuedAsNewError):
            await client.get_workflow_handle(handle.id, run_id=handle.first_execution_run_id).result(follow_runs=False)
    first = client.get_workflow_handle(handle.id, run_id=handle.first_execution_run_id)
    assert await kinds(first) == ["WorkflowExecutionStarted", "WorkflowExecutionContinuedAsNew"]


async def test_a_result_is_waited_for(client: Client):
    async with worker(client, Sleep) as queue:
        handle = await client.start_workflow(Sleep.run, 1.5, id=unique("sleep"), task_queue=queue)
        waiting = [asyncio.create_task(client.get_workflow_handle(handle.id).result()) for _ in range(5)]
        assert await asyncio.gather(*waiting) == ["slept"] * 5
    assert await kinds(handle) == ["WorkflowExecutionStarted", "TimerStarted", "TimerFired", "WorkflowExecutionCompleted"]
    await replay(handle, Sleep)


async def test_a_failure_keeps_its_type_message_and_details(client: Client):
    async with worker(client, Fail) as queue:
        handle = await client.start_workflow(Fail.run, 9, id=unique("fail"), task_queue=queue)
        cause = await cause_of(handle)
    assert (cause.message, cause.type, list(cause.details)) == ("attempt 1", "Unlucky", ["detail"])
    assert (await find(handle, "WorkflowExecutionFailed")).failure.application_failure_info.type == "Unlucky"


async def test_history_is_read_while_it_grows(client: Client):
    async with worker(client, Wait) as queue:
        handle = await client.start_workflow(Wait.run, id=unique("wait"), task_queue=queue)

        async def read() -> list[str]:
            return [kind(event) async for event in handle.fetch_history_events(wait_new_event=True)]

        reading = asyncio.create_task(read())
        for text in ("one", "two"):
            await asyncio.sleep(0.2)
            await handle.signal(Wait.note, text)
        await handle.signal(Wait.done)
        assert await asyncio.wait_for(reading, 20) == await kinds(handle, tasks=True)


async def test_history_is_read_in_pages_and_backwards(client: Client):
    async with worker(client, Wait) as queue:
        handle = await client.start_workflow(Wait.run, id=unique("wait"), task_queue=queue)
        for n in range(10):
            await handle.signal(Wait.note, str(n))
        await handle.signal(Wait.done)
        await handle.result()
    forwards = [event.event_id for event in await history(handle)]
    paged = [event.event_id async for event in handle.fetch_history_events(page_size=3)]
    assert paged == forwards
    backwards, token = [], b""
    while True:
        request = GetWorkflowExecutionHistoryReverseRequest(namespace="default", maximum_page_size=4, next_page_token=token)
        request.execution.workflow_id = handle.id
        page = await client.workflow_service.get_workflow_execution_history_reverse(request)
        backwards += [event.event_id for event in page.history.events]
        if not (token := page.next_page_token):
            break
    assert backwards == forwards[::-1]


# -- starting --------------------------------------------------------------------------------------------------------


async def test_a_running_workflow_is_not_started_again(client: Client):
    handle = await client.start_workflow(Wait.run, id=unique("wait"), task_queue="nobody")
    with pytest.raises(WorkflowAlreadyStartedError) as refused_start:
        await client.start_workflow(Wait.run, id=handle.id, task_queue="nobody")
    assert refused_start.value.run_id == handle.result_run_id
    await handle.terminate()


async def test_a_running_workflow_may_be_used(client: Client):
    handle = await client.start_workflow(Wait.run, id=unique("wait"), task_queue="nobody")
    policy = WorkflowIDConflictPolicy.USE_EXISTING
    again = await client.start_workflow(Wait.run, id=handle.id, task_queue="nobody", id_conflict_policy=policy)
    assert again.result_run_id == handle.result_run_id
    await handle.terminate()


async def test_a_running_workflow_may_be_replaced(client: Client):
    handle = await client.start_workflow(Wait.run, id=unique("wait"), task_queue="nobody")
    policy = WorkflowIDConflictPolicy.TERMINATE_EXISTING
    again = await client.start_workflow(Wait.run, id=handle.id, task_queue="nobody", id_conflict_policy=policy)
    assert again.result_run_id != handle.result_run_id
    old = client.get_workflow_handle(handle.id, run_id=handle.result_run_id)
    assert (await old.describe()).status == WorkflowExecutionStatus.TERMINATED
    await again.terminate()


@pytest.mark.parametrize(
    ("policy", "after_success", "after_failure"),
    [
        (WorkflowIDReusePolicy.ALLOW_DUPLICATE, True, True),
        (WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY, False, True),
        (WorkflowIDReusePolicy.REJECT_DUPLICATE, False, False),
    ],
    ids=lambda value: getattr(value, "name", None),
)
async def test_the_id_of_a_closed_workflow(client: Client, policy: WorkflowIDReusePolicy, after_success: bool, after_failure: bool):
    async with worker(client, Fail) as queue:
        for times, expected in ((0, after_success), (9, after_failure)):
            id = unique("reuse")
            handle = await client.start_workflow(Fail.run, times, id=id, task_queue=queue)
            await asyncio.gather(handle.result(), return_exceptions=True)
            try:
                again = await client.start_workflow(Fail.run, 0, id=id, task_queue=queue, id_reuse_policy=policy)
                await again.result()
                assert expected
            except WorkflowAlreadyStartedError:
                assert not expected


async def test_a_start_may_be_delayed(client: Client):
    async with worker(client, Echo) as queue:
        handle = await client.start_workflow(Echo.run, "late", id=unique("delay"), task_queue=queue, start_delay=timedelta(seconds=1))
        assert await handle.result() == "late"
        events = await history(handle)
    waited = events[1].event_time.ToNanoseconds() - events[0].event_time.ToNanoseconds()
    assert 0.99e9 <= waited < 10e9
    assert events[0].workflow_execution_started_event_attributes.first_workflow_task_backoff.ToNanoseconds() == 1_000_000_000


async def test_a_signal_may_start_its_workflow(client: Client):
    async with worker(client, Wait) as queue:
        id = unique("wait")
        for text in ("one", "two"):
            handle = await client.start_workflow(Wait.run, 2, id=id, task_queue=queue, start_signal="note", start_signal_args=[text])
        assert await handle.result() == ["one", "two"]
    names = await kinds(client.get_workflow_handle(id))
    assert names == ["WorkflowExecutionStarted", "WorkflowExecutionSignaled", "WorkflowExecutionSignaled", "WorkflowExecutionCompleted"]


async def test_signals_before_the_workers_are_not_lost(client: Client):
    queue = unique("later")
    handle = await client.start_workflow(Wait.run, 50, id=unique("wait"), task_queue=queue)
    for n in range(50):
        await handle.signal(Wait.note, str(n))
    async with worker(client, Wait, queue=queue):
        assert await handle.result() == [str(n) for n in range(50)]
    await replay(handle, Wait)


async def test_a_start_may_be_eager(client: Client):
    async with worker(client, Echo) as queue:
        handle = await client.start_workflow(Echo.run, "eager", id=unique("eager"), task_queue=queue, request_eager_start=True)
        assert await handle.result() == "eager"
    started = (await history(handle))[0].workflow_execution_started_event_attributes
    assert started.eager_execution_accepted


async def test_the_started_event_holds_all_that_was_asked_for(client: Client):
    await with_attributes(client)
    handle = await client.start_workflow(
        Echo.run,
        "x",
        id=unique("full"),
        task_queue="nobody",
        execution_timeout=timedelta(hours=3),
        run_timeout=timedelta(hours=2),
        task_timeout=timedelta(seconds=7),
        retry_policy=RetryPolicy(maximum_attempts=4, initial_interval=timedelta(seconds=2), non_retryable_error_types=["Hopeless"]),
        memo={"note": "remember"},
        search_attributes=TypedSearchAttributes([SearchAttributePair(STAGE, "first")]),
        static_summary="a summary",
        static_details="the details",
    )
    event = (await history(handle))[0]
    started = event.workflow_execution_started_event_attributes
    assert (started.workflow_execution_timeout.seconds, started.workflow_run_timeout.seconds, started.workflow_task_timeout.seconds) == (10_800, 7_200, 7)
    assert (started.retry_policy.maximum_attempts, list(started.retry_policy.non_retryable_error_types)) == (4, ["Hopeless"])
    assert (started.attempt, started.identity, started.workflow_id) == (1, "compat", handle.id)
    assert started.original_execution_run_id == started.first_execution_run_id == handle.result_run_id
    assert started.memo.fields["note"].data == b'"remember"'
    assert started.search_attributes.indexed_fields["CompatStage"].data == b'"first"'
    assert event.user_metadata.summary.data == b'"a summary"'
    described = await handle.describe()
    assert await described.static_summary() == "a summary"
    assert await described.memo() == {"note": "remember"}
    assert described.typed_search_attributes[STAGE] == "first"
    await handle.terminate()


# -- the end ---------------------------------------------------------------------------------------------------------


async def test_a_cancelled_workflow_ends_as_cancelled(client: Client):
    async with worker(client, Sleep) as queue:
        handle = await client.start_workflow(Sleep.run, 60.0, id=unique("sleep"), task_queue=queue)
        await eventually(lambda: has(handle, "TimerStarted"))
        await handle.cancel()
        await handle.cancel()
        assert isinstance(await cause_of(handle), CancelledError)
        await handle.cancel()
    assert await kinds(handle) == [
        "WorkflowExecutionStarted",
        "TimerStarted",
        "WorkflowExecutionCancelRequested",
        "TimerCanceled",
        "WorkflowExecutionCanceled",
    ]
    await replay(handle, Sleep)


async def has(handle: Any, wanted: str) -> bool:
    return wanted in await kinds(handle)


async def test_a_workflow_may_go_on_in_spite_of_a_cancellation(client: Client):
    async with worker(client, Sleep) as queue:
        handle = await client.start_workflow(Sleep.run, 60.0, id=unique("sleep"), task_queue=queue, memo={"swallow": True})
        await eventually(lambda: has(handle, "TimerStarted"))
        await handle.cancel()
        assert await handle.result() == "cancelled, and goes on"


async def test_a_workflow_is_terminated_without_a_worker(client: Client):
    handle = await client.start_workflow(Wait.run, id=unique("wait"), task_queue=unique("nobody"))
    await handle.terminate("detail", reason="enough")
    cause = await cause_of(handle)
    assert isinstance(cause, TerminatedError) and cause.message == "enough"
    ended = await find(handle, "WorkflowExecutionTerminated")
    assert (ended.reason, ended.identity, ended.details.payloads[0].data) == ("enough", "compat", b'"detail"')
    with refused(RPCStatusCode.NOT_FOUND):
        await handle.terminate()
    with refused(RPCStatusCode.NOT_FOUND):
        await handle.signal("note", "late")


@pytest.mark.parametrize("which", ["execution_timeout", "run_timeout"])
async def test_a_workflow_times_out(client: Client, which: str):
    async with worker(client, Sleep) as queue:
        handle = await client.start_workflow(Sleep.run, 60.0, id=unique("sleep"), task_queue=queue, **{which: timedelta(seconds=1)})
        assert isinstance(await cause_of(handle), TimeoutError)
    assert (await kinds(handle))[-1] == "WorkflowExecutionTimedOut"
    assert (await handle.describe()).status == WorkflowExecutionStatus.TIMED_OUT


async def test_a_failed_workflow_is_tried_again(client: Client):
    async with worker(client, Fail) as queue:
        policy = RetryPolicy(initial_interval=timedelta(milliseconds=100), maximum_attempts=3)
        handle = await client.start_workflow(Fail.run, 2, id=unique("retry"), task_queue=queue, retry_policy=policy)
        assert await handle.result() == 3
    started = (await history(client.get_workflow_handle(handle.id)))[0].workflow_execution_started_event_attributes
    assert started.attempt == 3
    assert started.continued_failure.message == "attempt 2"
    assert started.first_execution_run_id == handle.first_execution_run_id


async def test_the_attempts_of_a_workflow_run_out(client: Client):
    async with worker(client, Fail) as queue:
        policy = RetryPolicy(initial_interval=timedelta(milliseconds=100), maximum_attempts=2)
        handle = await client.start_workflow(Fail.run, 9, id=unique("retry"), task_queue=queue, retry_policy=policy)
        assert (await cause_of(handle)).message == "attempt 2"


async def test_a_cron_workflow_hands_its_result_on(client: Client):
    async with worker(client, Last) as queue:
        handle = await client.start_workflow(Last.run, id=unique("cron"), task_queue=queue, cron_schedule="@every 1s")
        chain = client.get_workflow_handle(handle.id)

        async def third() -> bool:
            started = (await history(chain))[0].workflow_execution_started_event_attributes
            return started.last_completion_result.payloads[0].data == b"2" if started.last_completion_result.payloads else False

        await eventually(third)
        await chain.terminate()
        with pytest.raises(WorkflowFailureError):
            await handle.result()


async def test_first_run_ids_are_checked(client: Client):
    handle = await client.start_workflow(Wait.run, id=unique("wait"), task_queue=unique("nobody"))
    stranger = client.get_workflow_handle(handle.id, first_execution_run_id=str(uuid.uuid4()))
    with refused(RPCStatusCode.NOT_FOUND):
        await stranger.cancel()
    with refused(RPCStatusCode.NOT_FOUND):
        await stranger.terminate()
    await client.get_workflow_handle(handle.id, first_execution_run_id=handle.first_execution_run_id).terminate()


async def test_what_is_not_there_is_not_found(client: Client):
    nothing = client.get_workflow_handle(unique("nothing"))
    for call in (nothing.describe(), nothing.cancel(), nothing.terminate(), nothing.signal("note", "x"), nothing.result()):
        with refused(RPCStatusCode.NOT_FOUND):
            await call


async def test_a_workflow_is_deleted(client: Client):
    async with worker(client, Echo) as queue:
        handle = await client.start_workflow(Echo.run, "x", id=unique("echo"), task_queue=queue)
        await handle.result()
    request = DeleteWorkflowExecutionRequest(namespace="default")
    request.workflow_execution.workflow_id = handle.id
    await client.workflow_service.delete_workflow_execution(request)

    async def is_gone() -> bool:
        with refused(RPCStatusCode.NOT_FOUND):
            await handle.describe()
        return True

    await eventually(is_gone)


# -- children --------------------------------------------------------------------------------------------------------


async def test_a_child_gives_its_result(client: Client):
    async with worker(client, Parent, Echo) as queue:
        id = unique("child")
        handle = await client.start_workflow(Parent.run, args=["Echo", "hello", {"id": id}], id=unique("parent"), task_queue=queue)
        assert await handle.result() == "hello"
        child = client.get_workflow_handle(id)
        started = (await history(child))[0].workflow_execution_started_event_attributes
    assert started.parent_workflow_execution.workflow_id == handle.id
    assert started.root_workflow_execution.workflow_id == handle.id
    described = await child.describe()
    assert (described.parent_id, described.root_id) == (handle.id, handle.id)
    assert await kinds(handle) == [
        "WorkflowExecutionStarted",
        "StartChildWorkflowExecutionInitiated",
        "ChildWorkflowExecutionStarted",
        "ChildWorkflowExecutionCompleted",
        "WorkflowExecutionCompleted",
    ]
    await replay(handle, Parent)


async def test_a_child_may_run_on_another_queue(client: Client):
    async with worker(client, Echo) as elsewhere, worker(client, Parent) as queue:
        options = {"id": unique("child"), "queue": elsewhere}
        assert await client.execute_workflow(Parent.run, args=["Echo", "there", options], id=unique("parent"), task_queue=queue) == "there"


async def test_a_child_that_fails(client: Client):
    async with worker(client, ParentWhoseChildFails, Fail) as queue:
        handle = await client.start_workflow(ParentWhoseChildFails.run, args=["Fail", 9, unique("child")], id=unique("parent"), task_queue=queue)
        assert await handle.result() == ["ChildWorkflowError", "ApplicationError", "Unlucky: attempt 1"]
    failed = await find(handle, "ChildWorkflowExecutionFailed")
    assert failed.failure.message == "attempt 1"


async def test_a_child_whose_id_is_taken(client: Client):
    async with worker(client, ParentWhoseChildFails, Wait) as queue:
        taken = await client.start_workflow(Wait.run, id=unique("taken"), task_queue=queue)
        handle = await client.start_workflow(ParentWhoseChildFails.run, args=["Wait", 1, taken.id], id=unique("parent"), task_queue=queue)
        assert (await handle.result())[0] == "WorkflowAlreadyStartedError"
        await taken.terminate()
    assert "StartChildWorkflowExecutionFailed" in await kinds(handle)


async def test_a_child_that_is_terminated(client: Client):
    async with worker(client, ParentWhoseChildFails, Wait) as queue:
        id = unique("child")
        handle = await client.start_workflow(ParentWhoseChildFails.run, args=["Wait", 1, id], id=unique("parent"), task_queue=queue)
        await eventually(lambda: has(handle, "ChildWorkflowExecutionStarted"))
        await client.get_workflow_handle(id).terminate()
        assert (await handle.result())[:2] == ["ChildWorkflowError", "TerminatedError"]
    await find(handle, "ChildWorkflowExecutionTerminated")


async def test_a_child_that_continues_as_new(client: Client):
    async with worker(client, Parent, Countdown) as queue:
        id = unique("child")
        handle = await client.start_workflow(Parent.run, args=["Countdown", 2, {"id": id}], id=unique("parent"), task_queue=queue)
        first_run_id = await handle.result()
        started = await find(handle, "ChildWorkflowExecutionStarted")
        completed = await find(handle, "ChildWorkflowExecutionCompleted")
    assert started.workflow_execution.run_id == first_run_id
    assert completed.workflow_execution.run_id != first_run_id


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("TERMINATE", WorkflowExecutionStatus.TERMINATED),
        ("REQUEST_CANCEL", WorkflowExecutionStatus.CANCELED),
        ("ABANDON", WorkflowExecutionStatus.RUNNING),
    ],
)
async def test_the_end_of_a_parent(client: Client, policy: str, expected: WorkflowExecutionStatus):
    async with worker(client, Parent, Sleep) as queue:
        id = unique("child")
        options = {"id": id, "close": policy, "leave": True}
        run_id = await client.execute_workflow(Parent.run, args=["Sleep", 60.0, options], id=unique("parent"), task_queue=queue)
        child = client.get_workflow_handle(id, run_id=run_id)

        async def ended() -> bool:
            return (await child.describe()).status == expected

        if policy == "ABANDON":
            await asyncio.sleep(0.5)
        await eventually(ended)
        if policy == "ABANDON":
            await child.terminate()


@pytest.mark.parametrize("wait", [True, False], ids=["waiting", "trying"])
async def test_a_parent_cancels_its_child(client: Client, wait: bool):
    async with worker(client, ParentThatCancels, Sleep) as queue:
        id = unique("child")
        handle = await client.start_workflow(ParentThatCancels.run, args=[id, wait], id=unique("parent"), task_queue=queue)
        assert await handle.result() == "CancelledError"

        async def ended() -> bool:
            status = (await client.get_workflow_handle(id).describe()).status
            return status in (WorkflowExecutionStatus.CANCELED, WorkflowExecutionStatus.TERMINATED)

        await eventually(ended)
        assert ("ChildWorkflowExecutionCanceled" in await kinds(handle)) == wait
    await replay(handle, ParentThatCancels)


# -- other workflows -------------------------------------------------------------------------------------------------


async def test_a_workflow_signals_another(client: Client):
    async with worker(client, Outside, Wait) as queue:
        other = await client.start_workflow(Wait.run, 1, id=unique("wait"), task_queue=queue)
        handle = await client.start_workflow(Outside.run, args=["signal", other.id, "hello"], id=unique("outside"), task_queue=queue)
        assert await handle.result() == "done"
        assert await other.result() == ["hello"]
    names = await kinds(handle)
    assert names[1:3] == ["SignalExternalWorkflowExecutionInitiated", "ExternalWorkflowExecutionSignaled"]
    await replay(handle, Outside)


async def test_a_workflow_cancels_another(client: Client):
    async with worker(client, Outside, Sleep) as queue:
        other = await client.start_workflow(Sleep.run, 60.0, id=unique("sleep"), task_queue=queue)
        handle = await client.start_workflow(Outside.run, args=["cancel", other.id, ""], id=unique("outside"), task_queue=queue)
        assert await handle.result() == "done"
        assert isinstance(await cause_of(other), CancelledError)
    assert "ExternalWorkflowExecutionCancelRequested" in await kinds(handle)


@pytest.mark.parametrize("what", ["signal", "cancel"])
async def test_another_workflow_that_is_not_there(client: Client, what: str):
    async with worker(client, Outside) as queue:
        handle = await client.start_workflow(Outside.run, args=[what, unique("nothing"), ""], id=unique("outside"), task_queue=queue)
        assert "NOT_FOUND" in (await handle.result()).upper().replace(" ", "_")
    event = {"signal": "SignalExternalWorkflowExecutionFailed", "cancel": "RequestCancelExternalWorkflowExecutionFailed"}[what]
    await find(handle, event)
    await replay(handle, Outside)


# -- reset -----------------------------------------------------------------------------------------------------------


async def reset(client: Client, handle: Any, event_id: int, **fields: Any) -> Any:
    request = ResetWorkflowExecutionRequest(namespace="default", workflow_task_finish_event_id=event_id, reason="again", request_id=unique("request"), **fields)
    request.workflow_execution.workflow_id = handle.id
    answer = await client.workflow_service.reset_workflow_execution(request)
    return client.get_workflow_handle(handle.id, run_id=answer.run_id)


async def test_a_reset_keeps_what_was_before(client: Client):
    async with worker(client, Steps, activities=[step]) as queue:
        handle = await client.start_workflow(Steps.run, id=unique("steps"), task_queue=queue)
        before = await handle.result()
        completions = [event.event_id for event in await history(handle) if kind(event) == "WorkflowTaskCompleted"]
        again = await reset(client, handle, completions[1])
        after = await again.result()
    assert before[0] == after[0] and before[1] != after[1]
    failed = await find(again, "WorkflowTaskFailed")
    assert (failed.base_run_id, failed.new_run_id) == (handle.result_run_id, again.run_id)
    await replay(again, Steps)


async def test_a_reset_ends_a_running_workflow_and_applies_its_signals_again(client: Client):
    async with worker(client, Wait) as queue:
        handle = await client.start_workflow(Wait.run, 2, id=unique("wait"), task_queue=queue)
        first = client.get_workflow_handle(handle.id, run_id=handle.result_run_id)
        await handle.signal(Wait.note, "kept")

        async def noted() -> bool:
            return await first.query(Wait.noted) == ["kept"]

        await eventually(noted)
        again = await reset(client, handle, 4)
        assert (await first.describe()).status == WorkflowExecutionStatus.TERMINATED
        await again.signal(Wait.note, "new")
        assert await again.result() == ["kept", "new"]


async def test_a_reset_may_leave_signals_out(client: Client):
    async with worker(client, Wait) as queue:
        handle = await client.start_workflow(Wait.run, 1, id=unique("wait"), task_queue=queue)
        # With one task before the signal, whose end is event 4.
        await eventually(lambda: has_task(handle))
        await handle.signal(Wait.note, "left out")
        assert await handle.result() == ["left out"]
        again = await reset(client, handle, 4, reset_reapply_type=ResetReapplyType.RESET_REAPPLY_TYPE_NONE)
        await again.signal(Wait.note, "instead")
        assert await again.result() == ["instead"]


async def has_task(handle: Any) -> bool:
    return "WorkflowTaskCompleted" in await kinds(handle, tasks=True)


# -- what is told ----------------------------------------------------------------------------------------------------


async def test_a_description_tells_how_a_workflow_stands(client: Client):
    before = datetime.now(timezone.utc) - timedelta(seconds=5)
    async with worker(client, Echo) as queue:
        handle = await client.start_workflow(Echo.run, "x", id=unique("echo"), task_queue=queue)
        await handle.result()
        told = await handle.describe()
    assert (told.id, told.workflow_type, told.task_queue, told.status) == (handle.id, "Echo", queue, WorkflowExecutionStatus.COMPLETED)
    assert told.history_length == len(await history(handle))
    assert told.close_time and before < told.start_time <= told.close_time
    assert told.raw_description.workflow_execution_info.history_size_bytes > 0


async def test_workflows_are_listed_and_counted(client: Client):
    await with_attributes(client)
    async with worker(client, Echo, Fail) as queue:
        for n in range(3):
            await client.execute_workflow(Echo.run, str(n), id=unique(f"listed-{n}"), task_queue=queue)
        failing = await client.start_workflow(Fail.run, 9, id=unique("listed-failing"), task_queue=queue)
        await cause_of(failing)

    async def ids(query: str) -> list[str]:
        return [found.id async for found in client.list_workflows(query)]

    everything = f'TaskQueue = "{queue}"'

    async def complete() -> bool:
        return len(await ids(everything + " AND CloseTime IS NOT NULL")) == 4

    await eventually(complete)
    assert await ids(everything + ' AND ExecutionStatus = "Failed"') == [failing.id]
    assert await ids(everything + ' AND WorkflowType = "Fail"') == [failing.id]
    assert len(await ids(everything + ' AND WorkflowId STARTS_WITH "listed-1"')) == 1
    assert (await client.count_workflows(everything)).count == 4
    grouped = await client.count_workflows(everything + " GROUP BY ExecutionStatus")
    assert {group.group_values[0]: group.count for group in grouped.groups} == {"Completed": 3, "Failed": 1}
    assert [found.id async for found in client.list_workflows(everything, page_size=1)] == await ids(everything)
    with refused(RPCStatusCode.INVALID_ARGUMENT):
        await ids("Nonsense = ")


async def test_memo_and_search_attributes_change(client: Client):
    await with_attributes(client)
    async with worker(client, Attributes) as queue:
        handle = await client.start_workflow(
            Attributes.run,
            id=unique("attributes"),
            task_queue=queue,
            memo={"stage": "first", "owner": "somebody", "kept": 1},
            search_attributes=TypedSearchAttributes([SearchAttributePair(STAGE, "first")]),
        )
        await handle.result()
        told = await handle.describe()
        assert await told.memo() == {"stage": "second", "kept": 1}
        assert told.typed_search_attributes[STAGE] == "second"

    async def listed() -> bool:
        return [found.id async for found in client.list_workflows(f'CompatStage = "second" AND WorkflowId = "{handle.id}"')] == [handle.id]

    await eventually(listed)
    assert await kinds(handle) == [
        "WorkflowExecutionStarted",
        "WorkflowPropertiesModified",
        "UpsertWorkflowSearchAttributes",
        "WorkflowExecutionCompleted",
    ]
    await replay(handle, Attributes)
