"""`fermata server start-dev` in the place of Temporal's development server: the SDK's own test environment starts it."""

import asyncio
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from temporalio import workflow
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client
from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes
from temporalio.service import RPCStatusCode
from temporalio.testing import WorkflowEnvironment

from support import eventually, refused, unique, worker

FERMATA = os.environ["FERMATA_BIN"]


@workflow.defn
class Hello:
    @workflow.run
    async def run(self, name: str) -> str:
        return f"Hello, {name}!"


@workflow.defn
class Suggested:
    @workflow.run
    async def run(self) -> int:
        while not workflow.info().is_continue_as_new_suggested():
            await asyncio.sleep(0.001)
        return workflow.info().get_current_history_length()


async def start(**options: Any) -> WorkflowEnvironment:
    return await WorkflowEnvironment.start_local(dev_server_existing_path=FERMATA, **options)


async def hello(client: Client) -> str:
    async with worker(client, Hello) as queue:
        return await client.execute_workflow(Hello.run, "World", id=unique("hello"), task_queue=queue)


def brokers(folder: Path) -> list[int]:
    """The nats-servers whose data lie under a folder."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                command = (process / "cmdline").read_bytes()
            except OSError:
                continue
            if b"nats-server" in command and os.fsencode(folder) in command:
                found.append(int(process.name))
    return found


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where servers make their temporary folders; nothing may be left there."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    yield tmp_path
    for process in brokers(tmp_path):
        os.kill(process, signal.SIGKILL)


async def test_the_environment_of_the_sdk_starts_it_and_nothing_is_left(folder: Path):
    async with await start() as env:
        assert await hello(env.client) == "Hello, World!"
        assert len(list(folder.glob("fermata-dev-*"))) == 1 and brokers(folder)

    async def nothing_is_left() -> bool:
        return not list(folder.glob("fermata-dev-*")) and not brokers(folder)

    await eventually(nothing_is_left)


async def test_two_environments_at_once(folder: Path):
    async with await start() as one, await start() as two:
        assert one.client.service_client.config.target_host != two.client.service_client.config.target_host
        assert await hello(one.client) == await hello(two.client) == "Hello, World!"


async def test_the_environment_has_its_namespace_and_search_attributes(folder: Path):
    colour, size = SearchAttributeKey.for_keyword("Colour"), SearchAttributeKey.for_int("Size")
    async with await start(namespace="of-my-own", search_attributes=[colour, size]) as env:
        client = env.client
        assert client.namespace == "of-my-own"
        known = await client.operator_service.list_search_attributes(ListSearchAttributesRequest(namespace="of-my-own"))
        assert known.custom_attributes["Colour"] == IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
        assert known.custom_attributes["Size"] == IndexedValueType.INDEXED_VALUE_TYPE_INT
        given = TypedSearchAttributes([SearchAttributePair(colour, "blue"), SearchAttributePair(size, 7)])
        handle = await client.start_workflow(Hello.run, "x", id=unique("hello"), task_queue="nobody", search_attributes=given)

        async def listed() -> bool:
            return [found.id async for found in client.list_workflows('Colour = "blue" AND Size > 6')] == [handle.id]

        await eventually(listed)
        await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace="default"))


async def test_settings_of_the_server_act(folder: Path):
    settings = ["limit.historyCount.suggestContinueAsNew=50", "limit.blobSize.error=10240", "limit.memoSize.error=5120"]
    args = [part for setting in settings for part in ("--dynamic-config-value", setting)]
    async with await start(dev_server_extra_args=args) as env:
        async with worker(env.client, Suggested) as queue:
            length = await env.client.execute_workflow(Suggested.run, id=unique("suggested"), task_queue=queue)
        assert 50 <= length < 60
        told = await env.client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace="default"))
        assert told.namespace_info.limits.blob_size_limit_error == 10_240
        assert told.namespace_info.limits.memo_size_limit_error == 5_120
        with refused(RPCStatusCode.INVALID_ARGUMENT):
            await env.client.start_workflow(Hello.run, "x" * 11_000, id=unique("large"), task_queue="nobody")


async def test_a_database_outlives_its_server(folder: Path):
    database, queue = folder / "kept.db", unique("kept")
    async with await start(dev_server_database_filename=str(database)) as env:
        handle = await env.client.start_workflow(Hello.run, "again", id="kept", task_queue=queue)
    async with await start(dev_server_database_filename=str(database)) as env:
        async with worker(env.client, Hello, queue=queue):
            again = env.client.get_workflow_handle("kept", run_id=handle.result_run_id, result_type=str)
            assert await again.result() == "Hello, again!"


def run(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([FERMATA, "server", "start-dev", *args], capture_output=True, text=True, timeout=30)


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["--search-attribute", "Colour=Shade"], "Shade"),
        (["--dynamic-config-value", "limit.blobSize.error=large"], "limit.blobSize.error"),
        (["--ip", "nowhere"], "nowhere"),
        (["--no-such-flag"], "--no-such-flag"),
        (["--db-filename", "/dev/null/below"], "/dev/null/below"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_wrong_with_a_flag_is_told(args: list[str], told: str):
    ended = run(*args)
    assert ended.returncode != 0
    assert told in ended.stderr


def test_a_port_that_is_taken_is_told(address: str):
    ended = run("--port", address.rsplit(":", 1)[1])
    assert ended.returncode != 0
    assert address in ended.stderr
