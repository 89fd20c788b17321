"""Queries: of open and closed workflows, waiting for a first task, refusals, and that they leave no trace."""

import asyncio
from datetime import timedelta

import pytest
from temporalio import workflow
from temporalio.api.errordetails.v1 import QueryFailedFailure, WorkflowNotReadyFailure
from temporalio.api.query.v1 import WorkflowQuery
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.api.workflowservice.v1 import QueryWorkflowRequest, RespondWorkflowTaskFailedRequest
from temporalio.client import (
    Client,
    RPCTimeoutOrCancelledError,
    WorkflowExecutionStatus,
    WorkflowQueryFailedError,
    WorkflowQueryRejectedError,
)
from temporalio.common import QueryRejectCondition
from temporalio.service import RPCError, RPCStatusCode

from support import Raw, detail, history, kinds, refused, replay, unique, worker


@workflow.defn
class Counter:
    def __init__(self) -> None:
        self.count = 0
        self.is_done = False

    @workflow.run
    async def run(self, start: int) -> int:
        self.count += start
        await workflow.wait_condition(lambda: self.is_done)
        return self.count

    @workflow.signal
    def add(self, by: int) -> None:
        self.count += by

    @workflow.signal
    def finish(self) -> None:
        self.is_done = True

    @workflow.query
    def value(self) -> int:
        return self.count

    @workflow.query
    def times(self, factor: int, offset: int = 0) -> int:
        return self.count * factor + offset

    @workflow.query(name="by another name", description="Named by hand")
    def renamed(self) -> str:
        return "found"

    @workflow.query
    def fail(self) -> int:
        raise ValueError("no answer")


@workflow.defn
class Chain:
    @workflow.run
    async def run(self, left: int) -> None:
        self.left = left
        if left > 0:
            workflow.continue_as_new(left - 1)

    @workflow.query
    def remaining(self) -> int:
        return self.left


async def test_a_running_workflow_answers(client: Client):
    async with worker(client, Counter) as queue:
        handle = await client.start_workflow(Counter.run, 3, id=unique("counter"), task_queue=queue)
        assert await handle.query(Counter.value) == 3
        await handle.signal(Counter.add, 4)
        assert await handle.query(Counter.value) == 7
        await handle.terminate()


async def test_arguments_and_names(client: Client):
    async with worker(client, Counter) as queue:
        handle = await client.start_workflow(Counter.run, 5, id=unique("counter"), task_queue=queue)
        assert await handle.query(Counter.times, args=[10, 1]) == 51
        assert await handle.query("times", 2) == 10
        assert await handle.query("by another name") == "found"
        await handle.terminate()


async def test_a_closed_workflow_answers(client: Client):
    async with worker(client, Counter) as queue:
        handle = await client.start_workflow(Counter.run, 1, id=unique("counter"), task_queue=queue)
        await handle.signal(Counter.add, 1)
        await handle.signal(Counter.finish)
        assert await handle.result() == 2
        assert await handle.query(Counter.value) == 2


async def test_a_closed_workflow_answers_on_a_worker_that_never_saw_it(client: Client):
    async with worker(client, Counter) as queue:
        handle = await client.start_workflow(Counter.run, 1, id=unique("counter"), task_queue=queue)
        await handle.signal(Counter.finish)
        await handle.result()
    async with worker(client, Counter, queue=queue, max_cached_workflows=0):
        assert await handle.query(Counter.times, 9) == 9


async def test_queries_leave_no_history(client: Client):
    async with worker(client, Counter) as queue:
        handle = await client.start_workflow(Counter.run, 1, id=unique("counter"), task_queue=queue)
        assert await handle.query(Counter.value) == 1
        before = await kinds(handle, tasks=True)
        for _ in range(5):
            await handle.query(Counter.value)
        assert await kinds(handle, tasks=True) == before
        await handle.signal(Counter.finish)
        await handle.result()
    await replay(handle, Counter)


async def test_a_query_waits_for_the_first_task(client: Client):
    queue = unique("later")
    handle = await client.start_workflow(Counter.run, 8, id=unique("counter"), task_queue=queue)
    answer = asyncio.create_task(handle.query(Counter.value))
    await asyncio.sleep(0.3)
    assert not answer.done()
    async with worker(client, Counter, queue=queue):
        assert await asyncio.wait_for(answer, 20) == 8
        await handle.terminate()


async def test_many_queries_at_once(client: Client):
    async with worker(client, Counter) as queue:
        handle = await client.start_workflow(Counter.run, 2, id=unique("counter"), task_queue=queue)
        answers = await asyncio.gather(*(handle.query(Counter.times, n) for n in range(40)))
        assert answers == [2 * n for n in range(40)]
        await handle.terminate()


async def test_queries_among_signals_see_them_in_order(client: Client):
    async with worker(client, Counter) as queue:
        handle = await client.start_workflow(Counter.run, 0, id=unique("counter"), task_queue=queue)
        for n in range(1, 16):
            await handle.signal(Counter.add, 1)
            assert await handle.query(Counter.value) == n
        await handle.terminate()


async def test_a_worker_without_a_cache_answers(client: Client):
    async with worker(client, Counter, max_cached_workflows=0) as queue:
        handle = await client.start_workflow(Counter.run, 1, id=unique("counter"), task_queue=queue)
        await handle.signal(Counter.add, 1)
        assert await handle.query(Counter.value) == 2
        await handle.terminate()


async def test_another_worker_answers_when_the_sticky_one_is_gone(client: Client):
    async with worker(client, Counter) as queue:
        handle = await client.start_workflow(Counter.run, 6, id=unique("counter"), task_queue=queue)
        assert await handle.query(Counter.value) == 6
    async with worker(client, Counter, queue=queue):
        assert await asyncio.wait_for(handle.query(Counter.value), 20) == 6
        await handle.terminate()


async def test_an_error_in_the_handler_reaches_the_caller(client: Client):
    async with worker(client, Counter) as queue:
        handle = await client.start_workflow(Counter.run, 1, id=unique("counter"), task_queue=queue)
        with pytest.raises(WorkflowQueryFailedError, match="no answer"):
            await handle.query(Counter.fail)
        request = QueryWorkflowRequest(namespace="default", query=WorkflowQuery(query_type="fail"))
        request.execution.workflow_id = handle.id
        with refused(RPCStatusCode.INVALID_ARGUMENT) as refusal:
            await client.workflow_service.query_workflow(request)
        assert refusal.error.message == "no answer"
        detail(refusal.error, QueryFailedFailure)
        assert await handle.query(Counter.value) == 1
        await handle.terminate()


async def test_an_unknown_query_names_the_known_ones(client: Client):
    async with worker(client, Counter) as queue:
        handle = await client.start_workflow(Counter.run, 1, id=unique("counter"), task_queue=queue)
        with pytest.raises(WorkflowQueryFailedError, match="value"):
            await handle.query("unknown")
        await handle.terminate()


async def test_the_stack_of_a_workflow_can_be_asked_for(client: Client):
    async with worker(client, Counter) as queue:
        handle = await client.start_workflow(Counter.run, 1, id=unique("counter"), task_queue=queue)
        assert "name='run (workflow: Counter" in await handle.query("__stack_trace")
        await handle.terminate()


async def test_the_definition_of_a_workflow_can_be_asked_for(client: Client):
    async with worker(client, Counter) as queue:
        handle = await client.start_workflow(Counter.run, 1, id=unique("counter"), task_queue=queue)
        metadata = await handle.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
        assert metadata.definition.type == "Counter"
        assert "by another name" in [query.name for query in metadata.definition.query_definitions]
        await handle.terminate()


async def test_a_condition_rejects_queries_of_closed_workflows(client: Client):
    async with worker(client, Counter) as queue:
        handle = await client.start_workflow(Counter.run, 1, id=unique("counter"), task_queue=queue)
        condition = QueryRejectCondition.NOT_OPEN
        assert await handle.query(Counter.value, reject_condition=condition) == 1
        await handle.signal(Counter.finish)
        await handle.result()
        with pytest.raises(WorkflowQueryRejectedError) as rejected:
            await handle.query(Counter.value, reject_condition=condition)
        assert rejected.value.status == WorkflowExecutionStatus.COMPLETED
        assert await handle.query(Counter.value, reject_condition=QueryRejectCondition.NOT_COMPLETED_CLEANLY) == 1


async def test_a_query_without_worker_ends_with_the_callers_deadline(client: Client):
    async with worker(client, Counter) as queue:
        handle = await client.start_workflow(Counter.run, 1, id=unique("counter"), task_queue=queue)
        await handle.query(Counter.value)
    started = asyncio.get_running_loop().time()
    with pytest.raises((RPCError, RPCTimeoutOrCancelledError)) as failed:
        await handle.query(Counter.value, rpc_timeout=timedelta(seconds=2))
    if isinstance(failed.value, RPCError):
        assert failed.value.status in (RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.CANCELLED)
    assert asyncio.get_running_loop().time() - started < 10


async def test_a_workflow_that_is_not_there(client: Client):
    with refused(RPCStatusCode.NOT_FOUND):
        await client.get_workflow_handle(unique("nothing")).query("value")


async def test_a_workflow_whose_tasks_fail_is_not_ready(client: Client):
    raw = Raw(client)
    await raw.start()
    for _ in range(3):
        task = await raw.task()
        request = RespondWorkflowTaskFailedRequest(namespace="default", task_token=task.task_token, identity="raw")
        await client.workflow_service.respond_workflow_task_failed(request)
    request = QueryWorkflowRequest(namespace="default", execution=raw.execution, query=WorkflowQuery(query_type="value"))
    with refused(RPCStatusCode.FAILED_PRECONDITION) as refusal:
        await client.workflow_service.query_workflow(request, timeout=timedelta(seconds=5))
    detail(refusal.error, WorkflowNotReadyFailure)


async def test_each_run_of_a_chain_answers_for_itself(client: Client):
    async with worker(client, Chain) as queue:
        handle = await client.start_workflow(Chain.run, 2, id=unique("chain"), task_queue=queue)
        await handle.result()
        run_id, answers = handle.result_run_id, []
        while run_id:
            run = client.get_workflow_handle(handle.id, run_id=run_id)
            answers.append(await run.query(Chain.remaining))
            last = (await history(run))[-1]
            run_id = last.workflow_execution_continued_as_new_event_attributes.new_execution_run_id
        assert answers == [2, 1, 0]
        assert await client.get_workflow_handle(handle.id).query(Chain.remaining) == 0
