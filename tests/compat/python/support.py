"""What the cases share: workers on queues of their own, histories, and calls in raw protobuf.

Every history that is read here is checked as the SDK will need it: ids from 1 without a gap, nothing after the end, and each
reference to an earlier event meets one of the right type.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, TypeVar

from temporalio.api.common.v1 import Payload, WorkflowExecution, WorkflowType
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    PollWorkflowTaskQueueRequest,
    PollWorkflowTaskQueueResponse,
    RespondWorkflowTaskCompletedRequest,
    RespondWorkflowTaskCompletedResponse,
    StartWorkflowExecutionRequest,
    StartWorkflowExecutionResponse,
)
from temporalio.client import Client, WorkflowHandle, WorkflowHistory
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner, Worker

T = TypeVar("T")
SHORT = timedelta(seconds=10)
CLOSING = {
    "WorkflowExecutionCompleted",
    "WorkflowExecutionFailed",
    "WorkflowExecutionTimedOut",
    "WorkflowExecutionCanceled",
    "WorkflowExecutionTerminated",
    "WorkflowExecutionContinuedAsNew",
}


def unique(what: str) -> str:
    return f"{what}-{uuid.uuid4().hex[:12]}"


@asynccontextmanager
async def worker(client: Client, *workflows: type, activities: Any = (), queue: str | None = None, **options: Any) -> AsyncIterator[str]:
    """A running worker; gives the name of its task queue."""
    queue = queue or unique("queue")
    options.setdefault("workflow_runner", UnsandboxedWorkflowRunner())
    async with Worker(client, task_queue=queue, workflows=workflows, activities=activities, **options):
        yield queue


async def eventually(check: Callable[[], Awaitable[T]], seconds: float = 15) -> T:
    """Repeats `check` until it gives something true; what it raises or gives at the end is the failure."""
    end = asyncio.get_running_loop().time() + seconds
    while True:
        try:
            result = await check()
            if result:
                return result
            problem: Exception | None = None
        except (AssertionError, RPCError) as error:
            problem = error
        if asyncio.get_running_loop().time() > end:
            raise problem or AssertionError(f"still {result!r} after {seconds} s")
        await asyncio.sleep(0.05)


# -- histories -------------------------------------------------------------------------------------------------------


def kind(event: HistoryEvent) -> str:
    name = EventType.Name(event.event_type).removeprefix("EVENT_TYPE_")
    return "".join(word.capitalize() for word in name.split("_"))


def attributes(event: HistoryEvent) -> Any:
    return getattr(event, event.WhichOneof("attributes") or "")


def check(events: list[HistoryEvent]) -> None:
    assert [event.event_id for event in events] == list(range(1, len(events) + 1)), "ids are not contiguous from 1"
    by_id = {event.event_id: kind(event) for event in events}
    for event in events[:-1]:
        assert kind(event) not in CLOSING, f"events follow {kind(event)}"
    expected = {
        "WorkflowTaskStarted": {"scheduled_event_id": "WorkflowTaskScheduled"},
        "WorkflowTaskCompleted": {"scheduled_event_id": "WorkflowTaskScheduled", "started_event_id": "WorkflowTaskStarted"},
        "ActivityTaskScheduled": {"workflow_task_completed_event_id": "WorkflowTaskCompleted"},
        "ActivityTaskStarted": {"scheduled_event_id": "ActivityTaskScheduled"},
        "ActivityTaskCompleted": {"scheduled_event_id": "ActivityTaskScheduled", "started_event_id": "ActivityTaskStarted"},
        "ActivityTaskFailed": {"scheduled_event_id": "ActivityTaskScheduled", "started_event_id": "ActivityTaskStarted"},
        "ActivityTaskCancelRequested": {"scheduled_event_id": "ActivityTaskScheduled"},
        "TimerStarted": {"workflow_task_completed_event_id": "WorkflowTaskCompleted"},
        "TimerFired": {"started_event_id": "TimerStarted"},
        "TimerCanceled": {"started_event_id": "TimerStarted"},
        "ChildWorkflowExecutionStarted": {"initiated_event_id": "StartChildWorkflowExecutionInitiated"},
        "ChildWorkflowExecutionCompleted": {"initiated_event_id": "StartChildWorkflowExecutionInitiated", "started_event_id": "ChildWorkflowExecutionStarted"},
        "ExternalWorkflowExecutionSignaled": {"initiated_event_id": "SignalExternalWorkflowExecutionInitiated"},
        "WorkflowExecutionUpdateCompleted": {"accepted_event_id": "WorkflowExecutionUpdateAccepted"},
    }
    for event in events:
        for field, meant in expected.get(kind(event), {}).items():
            met = by_id.get(getattr(attributes(event), field))
            assert met == meant, f"{kind(event)} {event.event_id}: {field} is {met}, not {meant}"


async def history(handle: WorkflowHandle[Any, Any]) -> list[HistoryEvent]:
    events = [event async for event in handle.fetch_history_events()]
    check(events)
    return events


async def kinds(handle: WorkflowHandle[Any, Any], *, tasks: bool = False) -> list[str]:
    """The events' types in order, those of workflow tasks only if asked for."""
    names = [kind(event) for event in await history(handle)]
    return [name for name in names if tasks or not name.startswith("WorkflowTask")]


async def find(handle: WorkflowHandle[Any, Any], wanted: str) -> Any:
    """The attributes of the only event of a type."""
    found = [attributes(event) for event in await history(handle) if kind(event) == wanted]
    assert len(found) == 1, f"{len(found)} events {wanted}"
    return found[0]


async def replay(handle: WorkflowHandle[Any, Any], *workflows: type) -> None:
    """The SDK's replayer finds that the code gives the commands of this history."""
    events = await history(handle)
    replayer = Replayer(workflows=list(workflows), workflow_runner=UnsandboxedWorkflowRunner())
    await replayer.replay_workflow(WorkflowHistory(handle.id, events))


# -- raw calls -------------------------------------------------------------------------------------------------------


def detail(error: RPCError, message: type[T]) -> T:
    """The typed detail that a status carries first."""
    first = error.grpc_status.details[0]
    found = message()
    assert first.Unpack(found), first.type_url  # type: ignore[arg-type]
    return found


class refused:
    """Expects a refusal by this code; `error` holds it afterwards."""

    def __init__(self, code: RPCStatusCode, text: str = "") -> None:
        self.code, self.text = code, text
        self.error: RPCError = None  # type: ignore[assignment]

    def __enter__(self) -> refused:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        assert error is not None, f"accepted, expected {self.code.name}"
        if not isinstance(error, RPCError):
            return False
        assert error.status == self.code, f"{error.status.name}: {error.message}"
        assert self.text in error.message, error.message
        self.error = error
        return True


def payload(text: str) -> Payload:
    return Payload(metadata={"encoding": b"json/plain"}, data=f'"{text}"'.encode())


class Raw:
    """Client and worker of one workflow in raw calls."""

    def __init__(self, client: Client, queue: str | None = None) -> None:
        self.client, self.queue = client, queue or unique("raw")
        self.service, self.namespace = client.workflow_service, client.namespace
        self.id, self.run_id = unique("raw-workflow"), ""

    async def start(self, **fields: Any) -> StartWorkflowExecutionResponse:
        request = StartWorkflowExecutionRequest(
            namespace=self.namespace,
            workflow_id=self.id,
            workflow_type=WorkflowType(name="Raw"),
            task_queue=TaskQueue(name=self.queue),
            request_id=fields.pop("request_id", unique("request")),
            identity="raw",
            **fields,
        )
        started = await self.service.start_workflow_execution(request)
        self.run_id = started.run_id
        return started

    @property
    def execution(self) -> WorkflowExecution:
        return WorkflowExecution(workflow_id=self.id, run_id=self.run_id)

    @property
    def handle(self) -> WorkflowHandle[Any, Any]:
        return self.client.get_workflow_handle(self.id, run_id=self.run_id or None)

    async def poll(self, queue: TaskQueue | None = None, seconds: float = 20) -> PollWorkflowTaskQueueResponse:
        request = PollWorkflowTaskQueueRequest(namespace=self.namespace, task_queue=queue or TaskQueue(name=self.queue), identity="raw")
        return await self.service.poll_workflow_task_queue(request, timeout=timedelta(seconds=seconds))

    async def task(self, queue: TaskQueue | None = None) -> PollWorkflowTaskQueueResponse:
        task = await self.poll(queue)
        assert task.task_token, "no workflow task came"
        return task

    async def complete(self, task: PollWorkflowTaskQueueResponse, *commands: Any, **fields: Any) -> RespondWorkflowTaskCompletedResponse:
        request = RespondWorkflowTaskCompletedRequest(namespace=self.namespace, task_token=task.task_token, commands=commands, identity="raw", **fields)
        return await self.service.respond_workflow_task_completed(request)
