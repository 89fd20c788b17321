"""Updates: outcomes, validators, what they leave in history, waiting, joining, limits, closing, and update-with-start."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from temporalio import activity, workflow
from temporalio.api.enums.v1 import ResourceExhaustedCause
from temporalio.api.enums.v1 import UpdateWorkflowExecutionLifecycleStage as Stage
from temporalio.api.errordetails.v1 import ResourceExhaustedFailure
from temporalio.api.workflowservice.v1 import PollWorkflowExecutionUpdateRequest, UpdateWorkflowExecutionRequest
from temporalio.client import (
    Client,
    WithStartWorkflowOperation,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
    WorkflowUpdateStage,
)
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.exceptions import ApplicationError, WorkflowAlreadyStartedError
from temporalio.service import RPCStatusCode

from support import SHORT, detail, eventually, find, kinds, payload, refused, replay, unique, worker


@activity.defn
async def double(number: int) -> int:
    return 2 * number


@workflow.defn
class Account:
    def __init__(self) -> None:
        self.balance = 0
        self.is_open = True
        self.released = False

    @workflow.run
    async def run(self) -> int:
        await workflow.wait_condition(lambda: not self.is_open)
        return self.balance

    @workflow.signal
    def close(self) -> None:
        self.is_open = False

    @workflow.signal
    def release(self) -> None:
        self.released = True

    @workflow.update
    def deposit(self, amount: int) -> int:
        self.balance += amount
        return self.balance

    @deposit.validator
    def is_positive(self, amount: int) -> None:
        if amount <= 0:
            raise ValueError("nothing to deposit")

    @workflow.update
    async def deposit_twice(self, amount: int) -> int:
        self.balance += await workflow.execute_activity(double, amount, start_to_close_timeout=SHORT)
        return self.balance

    @workflow.update
    async def wait(self) -> str:
        await workflow.wait_condition(lambda: self.released)
        return "released"

    @workflow.update
    def fail(self) -> None:
        raise ApplicationError("not today", "some", "details", type="Refusal")

    @workflow.update
    def close_now(self) -> str:
        self.is_open = False
        return "closing"

    @workflow.query
    def amount(self) -> int:
        return self.balance


@workflow.defn
class Successor:
    """Continues as new when told to; each run takes updates."""

    @workflow.init
    def __init__(self, generation: int) -> None:
        self.again, self.generation = False, generation

    @workflow.run
    async def run(self, generation: int) -> int:
        await workflow.wait_condition(lambda: self.again or generation == 1)
        if generation == 0:
            workflow.continue_as_new(1)
        await workflow.wait_condition(lambda: self.again)
        return generation

    @workflow.signal
    def go_on(self) -> None:
        self.again = True

    @workflow.update
    def which(self) -> int:
        return self.generation


async def start(client: Client, queue: str) -> Any:
    return await client.start_workflow(Account.run, id=unique("account"), task_queue=queue)


def accounts(client: Client, **options: Any) -> Any:
    return worker(client, Account, activities=[double], **options)


async def test_an_update_changes_and_answers(client: Client):
    async with accounts(client) as queue:
        handle = await start(client, queue)
        assert await handle.execute_update(Account.deposit, 10) == 10
        assert await handle.execute_update(Account.deposit, 5) == 15
        assert await handle.query(Account.amount) == 15
        await handle.signal(Account.close)
        assert await handle.result() == 15
    assert (await kinds(handle)) == [
        "WorkflowExecutionStarted",
        "WorkflowExecutionUpdateAccepted",
        "WorkflowExecutionUpdateCompleted",
        "WorkflowExecutionUpdateAccepted",
        "WorkflowExecutionUpdateCompleted",
        "WorkflowExecutionSignaled",
        "WorkflowExecutionCompleted",
    ]
    await replay(handle, Account)


async def test_history_tells_what_was_accepted_and_how_it_ended(client: Client):
    async with accounts(client) as queue:
        handle = await start(client, queue)
        await handle.execute_update(Account.deposit, 10, id="the-update")
        await handle.terminate()
    accepted = await find(handle, "WorkflowExecutionUpdateAccepted")
    assert accepted.protocol_instance_id == "the-update"
    assert accepted.accepted_request.meta.update_id == "the-update"
    assert accepted.accepted_request.input.name == "deposit"
    assert accepted.accepted_request.input.args.payloads[0].data == b"10"
    assert accepted.accepted_request_message_id == "the-update/request"
    completed = await find(handle, "WorkflowExecutionUpdateCompleted")
    assert completed.meta.update_id == "the-update"
    assert completed.outcome.success.payloads[0].data == b"10"


async def test_a_rejected_update_leaves_nothing(client: Client):
    async with accounts(client) as queue:
        handle = await start(client, queue)
        await handle.execute_update(Account.deposit, 1)
        before = await kinds(handle, tasks=True)
        for _ in range(3):
            with pytest.raises(WorkflowUpdateFailedError) as rejected:
                await handle.execute_update(Account.deposit, -1)
            assert "nothing to deposit" in str(rejected.value.cause)
        assert await kinds(handle, tasks=True) == before
        assert await handle.execute_update(Account.deposit, 1) == 2
        await handle.signal(Account.close)
        await handle.result()
    await replay(handle, Account)


async def test_a_failed_update_is_written_down(client: Client):
    async with accounts(client) as queue:
        handle = await start(client, queue)
        with pytest.raises(WorkflowUpdateFailedError) as failed:
            await handle.execute_update(Account.fail)
        cause: Any = failed.value.cause
        assert (cause.message, cause.type, list(cause.details)) == ("not today", "Refusal", ["some", "details"])
        await handle.terminate()
    completed = await find(handle, "WorkflowExecutionUpdateCompleted")
    assert completed.outcome.failure.message == "not today"


async def test_an_unknown_update_is_rejected(client: Client):
    async with accounts(client) as queue:
        handle = await start(client, queue)
        with pytest.raises(WorkflowUpdateFailedError) as rejected:
            await handle.execute_update("unknown")
        assert "unknown" in str(rejected.value.cause)
        assert "WorkflowExecutionUpdateAccepted" not in await kinds(handle)
        await handle.terminate()


async def test_an_update_may_run_an_activity(client: Client):
    async with accounts(client) as queue:
        handle = await start(client, queue)
        assert await handle.execute_update(Account.deposit_twice, 4) == 8
        await handle.signal(Account.close)
        await handle.result()
    names = await kinds(handle)
    assert names.index("WorkflowExecutionUpdateAccepted") < names.index("ActivityTaskScheduled") < names.index("WorkflowExecutionUpdateCompleted")
    await replay(handle, Account)


async def test_acceptance_comes_before_the_end(client: Client):
    async with accounts(client) as queue:
        handle = await start(client, queue)
        update = await handle.start_update(Account.wait, wait_for_stage=WorkflowUpdateStage.ACCEPTED)
        ended = asyncio.create_task(update.result())
        await asyncio.sleep(0.3)
        assert not ended.done()
        await handle.signal(Account.release)
        assert await asyncio.wait_for(ended, 20) == "released"
        await handle.terminate()


async def test_an_update_is_found_from_elsewhere(client: Client, address: str):
    async with accounts(client) as queue:
        handle = await start(client, queue)
        await handle.start_update(Account.wait, wait_for_stage=WorkflowUpdateStage.ACCEPTED, id="found")
        other = await Client.connect(address)
        found = other.get_workflow_handle(handle.id).get_update_handle("found", result_type=str)
        await handle.signal(Account.release)
        assert await found.result() == "released"
        await handle.terminate()


async def test_the_same_id_is_the_same_update(client: Client):
    async with accounts(client) as queue:
        handle = await start(client, queue)
        answers = await asyncio.gather(*(handle.execute_update(Account.deposit, 10, id="once") for _ in range(5)))
        assert answers == [10] * 5
        assert await handle.execute_update(Account.deposit, 99, id="once") == 10
        assert await handle.query(Account.amount) == 10
        await handle.terminate()


async def test_updates_come_in_order(client: Client):
    async with accounts(client) as queue:
        handle = await start(client, queue)
        answers = [await handle.execute_update(Account.deposit, 1) for _ in range(20)]
        assert answers == list(range(1, 21))
        await handle.terminate()


async def test_updates_at_once_are_each_done_once(client: Client):
    async with accounts(client) as queue:
        handle = await start(client, queue)
        answers = await asyncio.gather(*(handle.execute_update(Account.deposit, 1) for _ in range(30)))
        assert sorted(answers) == list(range(1, 31))
        await handle.signal(Account.close)
        assert await handle.result() == 30
    await replay(handle, Account)


async def test_an_update_waits_for_a_worker(client: Client):
    queue = unique("later")
    handle = await start(client, queue)
    answer = asyncio.create_task(handle.execute_update(Account.deposit, 7, id="waits"))

    async def stage() -> bool:
        request = PollWorkflowExecutionUpdateRequest(namespace="default")
        request.update_ref.workflow_execution.workflow_id = handle.id
        request.update_ref.update_id = "waits"
        told = await client.workflow_service.poll_workflow_execution_update(request)
        return told.stage == Stage.UPDATE_WORKFLOW_EXECUTION_LIFECYCLE_STAGE_ADMITTED

    await eventually(stage)
    assert not answer.done()
    async with accounts(client, queue=queue):
        assert await asyncio.wait_for(answer, 20) == 7
        await handle.terminate()


async def test_an_update_before_the_first_task_is_in_it(client: Client):
    queue = unique("later")
    handle = await start(client, queue)
    answer = asyncio.create_task(handle.execute_update(Account.deposit, 7, id="first"))
    await asyncio.sleep(0.3)
    async with accounts(client, queue=queue):
        await answer
        await handle.terminate()
    names = await kinds(handle, tasks=True)
    assert names[:5] == ["WorkflowExecutionStarted", "WorkflowTaskScheduled", "WorkflowTaskStarted", "WorkflowTaskCompleted", "WorkflowExecutionUpdateAccepted"]


async def test_a_caller_that_gives_up_does_not_take_the_update_along(client: Client):
    async with accounts(client) as queue:
        handle = await start(client, queue)
        with pytest.raises(WorkflowUpdateRPCTimeoutOrCancelledError):
            await handle.execute_update(Account.wait, id="left", rpc_timeout=timedelta(seconds=1))
        await handle.signal(Account.release)
        assert await handle.get_update_handle("left").result() == "released"
        await handle.terminate()


async def test_a_worker_without_a_cache_takes_updates(client: Client):
    async with accounts(client, max_cached_workflows=0) as queue:
        handle = await start(client, queue)
        assert [await handle.execute_update(Account.deposit, n) for n in (1, 2, 3)] == [1, 3, 6]
        with pytest.raises(WorkflowUpdateFailedError):
            await handle.execute_update(Account.deposit, 0)
        assert await handle.execute_update(Account.deposit_twice, 2) == 10
        await handle.terminate()


async def test_an_update_outlives_its_worker(client: Client):
    async with accounts(client) as queue:
        handle = await start(client, queue)
        update = await handle.start_update(Account.wait, wait_for_stage=WorkflowUpdateStage.ACCEPTED)
    async with accounts(client, queue=queue):
        await handle.signal(Account.release)
        assert await update.result() == "released"
        await handle.terminate()


async def test_a_closed_workflow_takes_no_updates(client: Client):
    async with accounts(client) as queue:
        handle = await start(client, queue)
        await handle.signal(Account.close)
        await handle.result()
        with refused(RPCStatusCode.NOT_FOUND):
            await handle.execute_update(Account.deposit, 1)


async def test_an_unknown_workflow_takes_no_updates(client: Client):
    with refused(RPCStatusCode.NOT_FOUND):
        await client.get_workflow_handle(unique("nothing")).execute_update("deposit", 1)


async def test_the_result_of_an_update_outlives_its_workflow(client: Client):
    async with accounts(client) as queue:
        handle = await start(client, queue)
        await handle.execute_update(Account.deposit, 3, id="kept")
        await handle.signal(Account.close)
        await handle.result()
        assert await handle.get_update_handle("kept").result() == 3


async def test_an_update_may_close_its_workflow(client: Client):
    async with accounts(client) as queue:
        handle = await start(client, queue)
        assert await handle.execute_update(Account.close_now) == "closing"
        assert await handle.result() == 0
    await replay(handle, Account)


async def test_an_accepted_update_fails_when_its_workflow_ends(client: Client):
    async with accounts(client) as queue:
        handle = await start(client, queue)
        update = await handle.start_update(Account.wait, wait_for_stage=WorkflowUpdateStage.ACCEPTED)
        ended = asyncio.create_task(update.result())
        await asyncio.sleep(0.2)
        await handle.terminate()
        with pytest.raises(WorkflowUpdateFailedError) as failed:
            await asyncio.wait_for(ended, 25)
        cause: Any = failed.value.cause
        assert cause.type == "AcceptedUpdateCompletedWorkflow"


async def test_an_admitted_update_is_gone_when_its_workflow_ends(client: Client):
    handle = await start(client, unique("nobody"))
    ended = asyncio.create_task(handle.execute_update(Account.deposit, 1))
    await asyncio.sleep(0.3)
    await handle.terminate()
    with refused(RPCStatusCode.NOT_FOUND):
        await asyncio.wait_for(ended, 25)


async def test_ten_updates_may_be_in_flight(client: Client):
    async with accounts(client) as queue:
        handle = await start(client, queue)
        for _ in range(10):
            await handle.start_update(Account.wait, wait_for_stage=WorkflowUpdateStage.ACCEPTED)
        request = UpdateWorkflowExecutionRequest(namespace="default")
        request.workflow_execution.workflow_id = handle.id
        request.wait_policy.lifecycle_stage = Stage.UPDATE_WORKFLOW_EXECUTION_LIFECYCLE_STAGE_ACCEPTED
        request.request.meta.update_id = "eleventh"
        request.request.input.name = "wait"
        with refused(RPCStatusCode.RESOURCE_EXHAUSTED) as refusal:
            await client.workflow_service.update_workflow_execution(request, retry=False)
        assert detail(refusal.error, ResourceExhaustedFailure).cause == ResourceExhaustedCause.RESOURCE_EXHAUSTED_CAUSE_CONCURRENT_LIMIT
        await handle.signal(Account.release)

        async def accepted() -> bool:
            await client.workflow_service.update_workflow_execution(request, retry=False)
            return True

        assert await eventually(accepted)
        await handle.terminate()


async def test_the_first_run_of_a_chain_is_checked(client: Client):
    async with accounts(client) as queue:
        handle = await start(client, queue)
        other = client.get_workflow_handle(handle.id, first_execution_run_id=handle.first_execution_run_id)
        assert await other.execute_update("deposit", 1) == 1
        request = UpdateWorkflowExecutionRequest(namespace="default", first_execution_run_id="8fb5fd5a-0a3c-4a70-8f9c-57aae7e9d7a3")
        request.workflow_execution.workflow_id = handle.id
        request.wait_policy.lifecycle_stage = Stage.UPDATE_WORKFLOW_EXECUTION_LIFECYCLE_STAGE_COMPLETED
        request.request.meta.update_id = "other-chain"
        request.request.input.name = "deposit"
        request.request.input.args.payloads.append(payload("1"))
        with refused(RPCStatusCode.NOT_FOUND):
            await client.workflow_service.update_workflow_execution(request)
        await handle.terminate()


async def test_updates_go_to_the_run_that_continues(client: Client):
    async with worker(client, Successor) as queue:
        handle = await client.start_workflow(Successor.run, 0, id=unique("successor"), task_queue=queue)
        chain = client.get_workflow_handle(handle.id)
        assert await chain.execute_update(Successor.which) == 0
        await chain.signal(Successor.go_on)

        async def is_next() -> bool:
            return await chain.execute_update(Successor.which) == 1

        await eventually(is_next)
        await chain.signal(Successor.go_on)
        assert await handle.result() == 1


# -- update with start -----------------------------------------------------------------------------------------------


def starting(queue: str, id: str, policy: WorkflowIDConflictPolicy) -> WithStartWorkflowOperation[Any, Any]:
    return WithStartWorkflowOperation(Account.run, id=id, task_queue=queue, id_conflict_policy=policy)


async def test_an_update_may_start_its_workflow(client: Client):
    async with accounts(client) as queue:
        id = unique("account")
        for expected in (5, 10):
            operation = starting(queue, id, WorkflowIDConflictPolicy.USE_EXISTING)
            assert await client.execute_update_with_start_workflow(Account.deposit, 5, start_workflow_operation=operation) == expected
            handle = await operation.workflow_handle()
        await handle.signal(Account.close)
        assert await handle.result() == 10
    assert (await kinds(handle)).count("WorkflowExecutionStarted") == 1
    await replay(handle, Account)


async def test_an_update_with_start_may_refuse_a_running_workflow(client: Client):
    async with accounts(client) as queue:
        handle = await start(client, queue)
        operation = starting(queue, handle.id, WorkflowIDConflictPolicy.FAIL)
        with pytest.raises(WorkflowAlreadyStartedError):
            await client.execute_update_with_start_workflow(Account.deposit, 5, start_workflow_operation=operation)
        with pytest.raises(WorkflowAlreadyStartedError):
            await operation.workflow_handle()
        assert await handle.query(Account.amount) == 0
        await handle.terminate()


async def test_a_rejected_update_with_start_still_starts(client: Client):
    async with accounts(client) as queue:
        operation = starting(queue, unique("account"), WorkflowIDConflictPolicy.FAIL)
        with pytest.raises(WorkflowUpdateFailedError):
            await client.execute_update_with_start_workflow(Account.deposit, -5, start_workflow_operation=operation)
        handle = await operation.workflow_handle()
        assert await handle.execute_update(Account.deposit, 1) == 1
        await handle.terminate()


async def test_an_update_with_start_may_be_accepted_first(client: Client):
    async with accounts(client) as queue:
        operation = starting(queue, unique("account"), WorkflowIDConflictPolicy.FAIL)
        update = await client.start_update_with_start_workflow(Account.wait, wait_for_stage=WorkflowUpdateStage.ACCEPTED, start_workflow_operation=operation)
        handle = await operation.workflow_handle()
        await handle.signal(Account.release)
        assert await update.result() == "released"
        await handle.terminate()
