"""What travels with workflows unchanged: encoded payloads and failures, headers, bytes, nothing at all, priorities; and chains that carry it on."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import IntEnum
from typing import Any

import pytest
import temporalio.converter
from temporalio import activity, workflow
from temporalio.api.common.v1 import Payload
from temporalio.client import Client, Interceptor, OutboundInterceptor, StartWorkflowInput, WorkflowFailureError
from temporalio.common import Priority, RetryPolicy, SearchAttributeKey, SearchAttributePair, TypedSearchAttributes
from temporalio.converter import DataConverter, PayloadCodec
from temporalio.exceptions import ActivityError, ApplicationError
from temporalio.worker import (
    ActivityInboundInterceptor,
    ExecuteActivityInput,
    ExecuteWorkflowInput,
    PollerBehaviorAutoscaling,
    StartActivityInput,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
    WorkflowOutboundInterceptor,
)
from temporalio.worker import Interceptor as WorkerInterceptor

from support import SHORT, attributes, find, history, kind, kinds, replay, unique, worker


class Turned(PayloadCodec):
    """Turns every bit around: enough to see that the server takes what it is given."""

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [Payload(metadata={"encoding": b"binary/turned"}, data=bytes(byte ^ 0xFF for byte in each.SerializeToString())) for each in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [Payload.FromString(bytes(byte ^ 0xFF for byte in each.data)) for each in payloads]


class Colour(IntEnum):
    RED = 1


@dataclass
class Thing:
    name: str
    size: float
    colours: list[Colour]
    inner: "Thing | None" = None


@activity.defn
async def same_thing(thing: Thing) -> Thing:
    assert isinstance(thing, Thing) and isinstance(thing.inner, Thing)
    return thing


@activity.defn
async def same_bytes(data: bytes) -> bytes:
    return data


@activity.defn
async def nothing(given: str | None) -> None:
    assert given is None


@activity.defn
async def fail(text: str) -> None:
    raise ApplicationError(f"secret {text}", "secret detail", non_retryable=True)


@activity.defn
async def trace() -> str:
    return SEEN.get("activity", "")


@activity.defn
async def urgency() -> list[Any]:
    priority = activity.info().priority
    return [priority.priority_key, priority.fairness_key]


SEEN: dict[str, str] = {}


@workflow.defn
class Through:
    @workflow.run
    async def run(self, which: str, value: Any) -> Any:
        return await workflow.execute_activity(which, value, start_to_close_timeout=SHORT)


@workflow.defn
class Things:
    @workflow.run
    async def run(self, thing: Thing) -> Thing:
        return await workflow.execute_activity(same_thing, thing, start_to_close_timeout=SHORT)


@workflow.defn
class Bytes:
    @workflow.run
    async def run(self, data: bytes) -> bytes:
        return await workflow.execute_activity(same_bytes, data, start_to_close_timeout=SHORT)


@workflow.defn
class Traced:
    @workflow.run
    async def run(self) -> str:
        return await workflow.execute_activity(trace, start_to_close_timeout=SHORT)


@workflow.defn
class Urgent:
    @workflow.run
    async def run(self) -> list[Any]:
        own = workflow.info().priority
        theirs = await workflow.execute_activity(urgency, start_to_close_timeout=SHORT, priority=Priority(priority_key=5, fairness_key="other"))
        inherited = await workflow.execute_activity(urgency, start_to_close_timeout=SHORT)
        return [[own.priority_key, own.fairness_key], theirs, inherited]


@workflow.defn
class Relay:
    """Begins anew after every few signals, with what it has."""

    def __init__(self) -> None:
        self.received: list[int] = []

    @workflow.run
    async def run(self, before: list[int], upto: int) -> list[int]:
        await workflow.wait_condition(lambda: len(self.received) >= 7 or len(before) + len(self.received) >= upto)
        await workflow.wait_condition(workflow.all_handlers_finished)
        after = before + self.received
        if len(after) < upto:
            workflow.continue_as_new(args=[after, upto])
        return after

    @workflow.signal
    def add(self, number: int) -> None:
        self.received.append(number)


@workflow.defn
class Carried:
    @workflow.run
    async def run(self, generation: int) -> None:
        if generation == 0:
            workflow.continue_as_new(1)


class ClientHeaders(Interceptor):
    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:
        return ClientHeadersOutbound(next)


class ClientHeadersOutbound(OutboundInterceptor):
    async def start_workflow(self, input: StartWorkflowInput) -> Any:
        input.headers = {**input.headers, "trace": temporalio.converter.PayloadConverter.default.to_payload("trace-1")}
        return await super().start_workflow(input)


class WorkerHeaders(WorkerInterceptor):
    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return ActivityHeaders(next)

    def workflow_interceptor_class(self, input: WorkflowInterceptorClassInput) -> type[WorkflowInboundInterceptor]:
        return WorkflowHeaders


class ActivityHeaders(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        SEEN["activity"] = temporalio.converter.PayloadConverter.default.from_payload(input.headers["trace"])
        return await super().execute_activity(input)


class WorkflowHeaders(WorkflowInboundInterceptor):
    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        self.outbound = WorkflowHeadersOutbound(outbound)
        super().init(self.outbound)

    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:
        self.outbound.trace = input.headers["trace"]
        return await super().execute_workflow(input)


class WorkflowHeadersOutbound(WorkflowOutboundInterceptor):
    trace: Payload

    def start_activity(self, input: StartActivityInput) -> Any:
        input.headers = {**input.headers, "trace": self.trace}
        return super().start_activity(input)


def payloads_of(message: Any) -> Iterable[Payload]:
    """Every payload anywhere in a message."""
    for field, value in message.ListFields():
        values = value.values() if hasattr(value, "values") else value if isinstance(value, Sequence) or hasattr(value, "add") else [value]
        for each in values:
            if isinstance(each, Payload):
                yield each
            elif hasattr(each, "ListFields"):
                yield from payloads_of(each)


async def test_a_codecs_payloads_are_kept_as_they_are(client: Client, address: str):
    secret = await Client.connect(address, data_converter=replace(DataConverter.default, payload_codec=Turned()))
    async with worker(secret, Through, activities=[same_bytes]) as queue:
        handle = await secret.start_workflow(Through.run, args=["same_bytes", b"secret"], id=unique("hidden"), task_queue=queue, memo={"note": "secret"})
        assert await handle.result() == b"secret"
        events = await history(handle)
    found = [payload for event in events for payload in payloads_of(attributes(event))]
    assert len(found) >= 5
    assert {payload.metadata["encoding"] for payload in found} == {b"binary/turned"}
    assert b"secret" not in b"".join(event.SerializeToString() for event in events)


async def test_failures_may_be_encoded(client: Client, address: str):
    converter = replace(DataConverter.default, payload_codec=Turned(), failure_converter_class=temporalio.converter.DefaultFailureConverterWithEncodedAttributes)
    secret = await Client.connect(address, data_converter=converter)
    async with worker(secret, Through, activities=[fail]) as queue:
        handle = await secret.start_workflow(Through.run, args=["fail", "x"], id=unique("hidden"), task_queue=queue)
        with pytest.raises(WorkflowFailureError) as failed:
            await handle.result()
        events = await history(handle)
    cause: Any = failed.value.cause
    assert isinstance(cause, ActivityError) and cause.cause.message == "secret x" and list(cause.cause.details) == ["secret detail"]
    failure = [attributes(event).failure for event in events if kind(event) == "ActivityTaskFailed"][0]
    assert failure.message == "Encoded failure" and failure.HasField("encoded_attributes")


async def test_headers_go_from_the_client_to_the_activity(client: Client, address: str):
    other = await Client.connect(address, interceptors=[ClientHeaders()])
    async with worker(client, Traced, activities=[trace], interceptors=[WorkerHeaders()]) as queue:
        handle = await other.start_workflow(Traced.run, id=unique("traced"), task_queue=queue)
        assert await handle.result() == "trace-1"
    started = (await history(handle))[0].workflow_execution_started_event_attributes
    assert started.header.fields["trace"].data == b'"trace-1"'
    assert (await find(handle, "ActivityTaskScheduled")).header.fields["trace"].data == b'"trace-1"'


async def test_dataclasses_pass(client: Client):
    thing = Thing("größe", 1.5, [Colour.RED], Thing("inner", 0.0, []))
    async with worker(client, Things, activities=[same_thing]) as queue:
        assert await client.execute_workflow(Things.run, thing, id=unique("things"), task_queue=queue) == thing


@pytest.mark.parametrize("data", [b"", bytes(range(256)), b"\x00" * 500_000], ids=["empty", "all", "large"])
async def test_bytes_pass(client: Client, data: bytes):
    async with worker(client, Bytes, activities=[same_bytes]) as queue:
        handle = await client.start_workflow(Bytes.run, data, id=unique("bytes"), task_queue=queue)
        assert await handle.result() == data
    started = (await history(handle))[0].workflow_execution_started_event_attributes
    assert started.input.payloads[0].metadata["encoding"] == b"binary/plain"


async def test_nothing_passes(client: Client):
    async with worker(client, Through, activities=[nothing]) as queue:
        handle = await client.start_workflow(Through.run, args=["nothing", None], id=unique("nothing"), task_queue=queue)
        assert await handle.result() is None
    assert (await find(handle, "ActivityTaskScheduled")).input.payloads[0].metadata["encoding"] == b"binary/null"


async def test_priorities_are_told(client: Client):
    async with worker(client, Urgent, activities=[urgency]) as queue:
        own = Priority(priority_key=2, fairness_key="tenant", fairness_weight=2.5)
        handle = await client.start_workflow(Urgent.run, id=unique("urgent"), task_queue=queue, priority=own)
        assert await handle.result() == [[2, "tenant"], [5, "other"], [2, "tenant"]]
    started = (await history(handle))[0].workflow_execution_started_event_attributes
    assert (started.priority.priority_key, started.priority.fairness_key, started.priority.fairness_weight) == (2, "tenant", 2.5)


async def test_no_signal_is_lost_between_runs(client: Client):
    count = 60
    async with worker(client, Relay) as queue:
        handle = await client.start_workflow(Relay.run, args=[[], count], id=unique("relay"), task_queue=queue)
        chain = client.get_workflow_handle(handle.id)
        for n in range(count):
            await chain.signal(Relay.add, n)
            if n % 10 == 0:
                await asyncio.sleep(0.02)
        assert await handle.result() == list(range(count))
    first = client.get_workflow_handle(handle.id, run_id=handle.first_execution_run_id)
    assert (await kinds(first))[-1] == "WorkflowExecutionContinuedAsNew"
    await replay(first, Relay)


async def test_a_chain_keeps_what_it_was_started_with(client: Client):
    from test_lifecycle import with_attributes

    await with_attributes(client)
    stage = SearchAttributeKey.for_keyword("CompatStage")
    async with worker(client, Carried) as queue:
        handle = await client.start_workflow(
            Carried.run,
            0,
            id=unique("carried"),
            task_queue=queue,
            execution_timeout=timedelta(hours=2),
            run_timeout=timedelta(hours=1),
            task_timeout=timedelta(seconds=7),
            retry_policy=RetryPolicy(maximum_attempts=3),
            memo={"note": "kept"},
            search_attributes=TypedSearchAttributes([SearchAttributePair(stage, "kept")]),
        )
        await handle.result()
    chain = client.get_workflow_handle(handle.id)
    started = (await history(chain))[0].workflow_execution_started_event_attributes
    assert started.continued_execution_run_id == started.first_execution_run_id == handle.first_execution_run_id
    assert (started.workflow_execution_timeout.seconds, started.workflow_run_timeout.seconds, started.workflow_task_timeout.seconds) == (7_200, 3_600, 7)
    told = await chain.describe()
    assert await told.memo() == {"note": "kept"}
    assert told.typed_search_attributes[stage] == "kept"


async def test_pollers_may_scale_themselves(client: Client):
    scaling = PollerBehaviorAutoscaling(minimum=1, maximum=10, initial=2)
    options: dict[str, Any] = {"workflow_task_poller_behavior": scaling, "activity_task_poller_behavior": scaling}
    async with worker(client, Bytes, activities=[same_bytes], **options) as queue:
        calls = [client.execute_workflow(Bytes.run, b"x", id=unique("scaling"), task_queue=queue) for _ in range(40)]
        assert await asyncio.gather(*calls) == [b"x"] * 40
