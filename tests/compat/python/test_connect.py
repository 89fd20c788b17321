"""Connecting, namespaces, what a server tells of itself, and requests that are sent twice."""

import asyncio

import pytest
from google.protobuf.duration_pb2 import Duration
from temporalio import workflow
from temporalio.api.errordetails.v1 import NamespaceNotFoundFailure
from temporalio.api.workflowservice.v1 import (
    DescribeNamespaceRequest,
    GetClusterInfoRequest,
    GetSystemInfoRequest,
    ListNamespacesRequest,
    RegisterNamespaceRequest,
    RequestCancelWorkflowExecutionRequest,
    SignalWorkflowExecutionRequest,
    UpdateNamespaceRequest,
)
from temporalio.client import Client
from temporalio.service import GrpcCompression, RPCStatusCode
from temporalio.worker import Worker

from support import Raw, detail, eventually, history, kind, kinds, payload, refused, unique, worker


@workflow.defn
class Echo:
    @workflow.run
    async def run(self, text: str) -> str:
        return text


@workflow.defn
class Length:
    @workflow.run
    async def run(self, text: str) -> int:
        return len(text)


@workflow.defn
class WaitForSignals:
    def __init__(self) -> None:
        self.received: list[str] = []

    @workflow.signal
    def add(self, text: str) -> None:
        self.received.append(text)

    @workflow.run
    async def run(self, count: int) -> list[str]:
        await workflow.wait_condition(lambda: len(self.received) >= count)
        return self.received


async def new_namespace(client: Client, address: str) -> Client:
    name = unique("namespace")
    request = RegisterNamespaceRequest(namespace=name, workflow_execution_retention_period=Duration(seconds=86_400))
    await client.workflow_service.register_namespace(request)
    return await Client.connect(address, namespace=name)


async def test_system_info_tells_the_capabilities_that_sdks_read(client: Client):
    told = (await client.workflow_service.get_system_info(GetSystemInfoRequest())).capabilities
    for capability in (
        "signal_and_query_header",
        "internal_error_differentiation",
        "activity_failure_include_heartbeat",
        "supports_schedules",
        "encoded_failure_attributes",
        "upsert_memo",
        "eager_workflow_start",
        "sdk_metadata",
        "build_id_based_versioning",
        "count_group_by_execution_status",
    ):
        assert getattr(told, capability), capability


async def test_cluster_info_names_the_server(client: Client):
    info = await client.workflow_service.get_cluster_info(GetClusterInfoRequest())
    assert info.cluster_id and info.cluster_name
    assert info.server_version


async def test_health_is_told(client: Client):
    assert await client.service_client.check_health()


@pytest.mark.parametrize("compression", [GrpcCompression.GZIP, GrpcCompression.NONE], ids=["gzip", "plain"])
async def test_clients_may_compress(client: Client, address: str, compression: GrpcCompression):
    other = await Client.connect(address, grpc_compression=compression)
    async with worker(other, Length) as queue:
        assert await other.execute_workflow(Length.run, "x" * 200_000, id=unique("length"), task_queue=queue) == 200_000


async def test_a_lazy_client_connects_when_it_is_used(client: Client, address: str):
    lazy = await Client.connect(address, lazy=True)
    async with worker(client, Echo) as queue:
        assert await lazy.execute_workflow(Echo.run, "late", id=unique("echo"), task_queue=queue) == "late"


async def test_metadata_of_clients_is_accepted(client: Client, address: str):
    other = await Client.connect(address, rpc_metadata={"authorization": "Bearer x", "some-key": "some value"}, identity="someone")
    async with worker(client, Echo) as queue:
        handle = await other.start_workflow(Echo.run, "hi", id=unique("echo"), task_queue=queue)
        assert await handle.result() == "hi"
    assert (await history(handle))[0].workflow_execution_started_event_attributes.identity == "someone"


async def test_a_namespace_tells_its_limits(client: Client):
    described = await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace="default"))
    limits = described.namespace_info.limits
    assert (limits.blob_size_limit_error, limits.memo_size_limit_error) == (2 << 20, 2 << 20)
    assert described.namespace_info.name == "default"
    by_id = await client.workflow_service.describe_namespace(DescribeNamespaceRequest(id=described.namespace_info.id))
    assert by_id.namespace_info == described.namespace_info


async def test_a_worker_of_an_unknown_namespace_does_not_start(client: Client, address: str):
    nowhere = await Client.connect(address, namespace=unique("nowhere"))
    with pytest.raises(RuntimeError, match="(?i)namespace.*not found"):
        await asyncio.wait_for(Worker(nowhere, task_queue="nowhere", workflows=[Echo]).run(), 20)


async def test_a_start_in_an_unknown_namespace_is_refused(client: Client, address: str):
    name = unique("nowhere")
    nowhere = await Client.connect(address, namespace=name)
    with refused(RPCStatusCode.NOT_FOUND) as refusal:
        await nowhere.start_workflow(Echo.run, "x", id=unique("echo"), task_queue="nowhere")
    assert detail(refusal.error, NamespaceNotFoundFailure).namespace == name


async def test_namespaces_are_apart(client: Client, address: str):
    one, two = await new_namespace(client, address), await new_namespace(client, address)
    id = unique("same-id")
    async with worker(one, Echo) as queue, worker(two, Echo, queue=queue):
        results = [await each.execute_workflow(Echo.run, each.namespace, id=id, task_queue=queue) for each in (one, two)]
    assert results == [one.namespace, two.namespace]
    with refused(RPCStatusCode.NOT_FOUND):
        await client.get_workflow_handle(id).describe()


async def test_namespaces_are_registered_once_listed_and_changed(client: Client, address: str):
    name = (await new_namespace(client, address)).namespace
    request = RegisterNamespaceRequest(namespace=name, workflow_execution_retention_period=Duration(seconds=86_400))
    with refused(RPCStatusCode.ALREADY_EXISTS):
        await client.workflow_service.register_namespace(request)
    update = UpdateNamespaceRequest(namespace=name)
    update.update_info.description = "changed"
    update.config.workflow_execution_retention_ttl.seconds = 7_200
    await client.workflow_service.update_namespace(update)
    described = await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=name))
    assert described.namespace_info.description == "changed"
    assert described.config.workflow_execution_retention_ttl.seconds == 7_200

    async def listed() -> bool:
        found, token = [], b""
        while True:
            page = await client.workflow_service.list_namespaces(ListNamespacesRequest(next_page_token=token))
            found += [each.namespace_info.name for each in page.namespaces]
            if not (token := page.next_page_token):
                return name in found

    await eventually(listed)


async def test_a_payload_over_the_limit_is_refused(client: Client):
    with refused(RPCStatusCode.INVALID_ARGUMENT):
        await client.start_workflow(Echo.run, "x" * (2 << 20), id=unique("large"), task_queue="nobody")
    assert await client.start_workflow(Echo.run, "x" * ((2 << 20) - 1_000), id=unique("large"), task_queue="nobody")


async def test_a_message_over_the_limit_is_refused_for_good(client: Client):
    raw = Raw(client)
    request = SignalWorkflowExecutionRequest(namespace="default", workflow_execution=raw.execution, signal_name="large")
    request.input.payloads.add(data=b"x" * (5 << 20))
    started = asyncio.get_running_loop().time()
    with refused(RPCStatusCode.RESOURCE_EXHAUSTED, "grpc: received message after decompression larger than max"):
        await client.workflow_service.signal_workflow_execution(request, retry=False)
    assert asyncio.get_running_loop().time() - started < 5


async def test_a_repeated_start_gives_the_same_run(client: Client):
    raw = Raw(client)
    first = await raw.start(request_id="one")
    again = await raw.start(request_id="one")
    assert (first.run_id, first.started) == (again.run_id, again.started)
    with refused(RPCStatusCode.ALREADY_EXISTS):
        await raw.start(request_id="two")


async def test_a_repeated_signal_counts_once(client: Client):
    async with worker(client, WaitForSignals) as queue:
        handle = await client.start_workflow(WaitForSignals.run, 2, id=unique("signals"), task_queue=queue)
        request = SignalWorkflowExecutionRequest(namespace="default", signal_name="add", request_id="once")
        request.workflow_execution.workflow_id = handle.id
        request.input.payloads.append(payload("one"))
        for _ in range(3):
            await client.workflow_service.signal_workflow_execution(request)
        await handle.signal(WaitForSignals.add, "two")
        assert await handle.result() == ["one", "two"]
    assert (await kinds(handle)).count("WorkflowExecutionSignaled") == 2


async def test_a_repeated_cancel_counts_once(client: Client):
    raw = Raw(client)
    await raw.start()
    request = RequestCancelWorkflowExecutionRequest(namespace="default", workflow_execution=raw.execution, request_id="once")
    for _ in range(3):
        await client.workflow_service.request_cancel_workflow_execution(request)
    assert (await kinds(raw.handle)).count("WorkflowExecutionCancelRequested") == 1


async def test_many_clients_at_once(client: Client, address: str):
    clients = await asyncio.gather(*(Client.connect(address) for _ in range(10)))
    async with worker(client, Echo) as queue:
        calls = [each.execute_workflow(Echo.run, str(n), id=unique("echo"), task_queue=queue) for n, each in enumerate(clients * 3)]
        assert await asyncio.gather(*calls) == [str(n % 30) for n in range(30)]


async def test_the_first_history_is_the_simplest(client: Client):
    async with worker(client, Echo) as queue:
        handle = await client.start_workflow(Echo.run, "hi", id=unique("echo"), task_queue=queue)
        await handle.result()
    assert [kind(event) for event in await history(handle)] == [
        "WorkflowExecutionStarted",
        "WorkflowTaskScheduled",
        "WorkflowTaskStarted",
        "WorkflowTaskCompleted",
        "WorkflowExecutionCompleted",
    ]
