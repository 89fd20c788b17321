"""A mixed fleet: workflows in Python, activities in Rust over NATS and in TypeScript over gRPC; each reads the others' payloads."""

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio import workflow
from temporalio.client import Client
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError

from support import kinds, replay, unique, worker

pytestmark = pytest.mark.xdist_group("mixed")
TYPESCRIPT = Path(__file__).resolve().parents[1] / "typescript"
PATIENT = timedelta(seconds=30)
QUICK = RetryPolicy(initial_interval=timedelta(milliseconds=100))


@dataclass
class Order:
    item: str
    quantity: int
    tags: list[str]
    note: str | None = None


@dataclass
class Quote:
    item: str
    cents: int
    by: str
    tags: list[str]


@workflow.defn
class Purchase:
    """Rust prices, TypeScript describes."""

    @workflow.run
    async def run(self, order: Order, rust: str, typescript: str) -> dict[str, Any]:
        quote = await workflow.execute_activity("price", order, task_queue=rust, start_to_close_timeout=PATIENT, result_type=Quote)
        assert isinstance(quote, Quote) and quote.cents == 250 * order.quantity
        described: dict[str, Any] = await workflow.execute_activity("describe", quote, task_queue=typescript, start_to_close_timeout=PATIENT)
        return described


@workflow.defn
class Refusals:
    """How failures of either look to a workflow in Python."""

    @workflow.run
    async def run(self, order: Order, queues: list[str]) -> list[list[Any]]:
        told = []
        for queue in queues:
            try:
                await workflow.execute_activity("refuse", order, task_queue=queue, start_to_close_timeout=PATIENT)
            except ActivityError as error:
                assert isinstance(error.cause, ApplicationError)
                told.append([error.cause.message, error.cause.type, error.cause.non_retryable, error.cause.details[0]])
        return told


@workflow.defn
class Resume:
    @workflow.run
    async def run(self, step: int, rust: str) -> str:
        return await workflow.execute_activity(
            "resume", step, task_queue=rust, start_to_close_timeout=PATIENT, heartbeat_timeout=PATIENT, retry_policy=QUICK, result_type=str
        )


@workflow.defn
class Turn:
    @workflow.run
    async def run(self, data: bytes, typescript: str) -> bytes:
        return await workflow.execute_activity("turn", data, task_queue=typescript, start_to_close_timeout=PATIENT, result_type=bytes)


@pytest.fixture(scope="module")
def rust(nats: str) -> Iterator[str]:
    queue = unique("rust")
    with running([os.environ["FERMATA_COMPAT_WORKER"], nats, queue]):
        yield queue


@pytest.fixture(scope="module")
def typescript(address: str) -> Iterator[str]:
    queue = unique("typescript")
    with running(["node", str(TYPESCRIPT / "worker.js"), address, queue]):
        yield queue


class running:
    def __init__(self, command: list[str]) -> None:
        self.command = command

    def __enter__(self) -> None:
        self.process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()


ORDER = Order("metronome", 3, ["brass", "größer"], "fragile")


async def test_three_languages_work_on_one_workflow(client: Client, rust: str, typescript: str):
    async with worker(client, Purchase) as queue:
        handle = await client.start_workflow(Purchase.run, args=[ORDER, rust, typescript], id=unique("purchase"), task_queue=queue)
        assert await handle.result() == {"text": "metronome for 7.50 (brass, größer)", "pricedBy": 'rust, note Some("fragile")'}
    assert (await kinds(handle)).count("ActivityTaskCompleted") == 2
    await replay(handle, Purchase)


async def test_failures_of_each_are_read(client: Client, rust: str, typescript: str):
    async with worker(client, Refusals) as queue:
        handle = await client.start_workflow(Refusals.run, args=[ORDER, [rust, typescript]], id=unique("refusals"), task_queue=queue)
        assert await handle.result() == [
            ["no metronome today", "SoldOut", True, {"item": "metronome", "quantity": 3, "tags": ["brass", "größer"], "note": "fragile"}],
            ["no metronome here", "Elsewhere", True, {"item": "metronome"}],
        ]
    await replay(handle, Refusals)


async def test_a_rust_activity_goes_on_from_its_heartbeat(client: Client, rust: str):
    async with worker(client, Resume) as queue:
        assert await client.execute_workflow(Resume.run, args=[7, rust], id=unique("resume"), task_queue=queue) == "step 7 at attempt 2"


async def test_bytes_pass_between_languages(client: Client, typescript: str):
    async with worker(client, Turn) as queue:
        assert await client.execute_workflow(Turn.run, args=[b"\x00\x01\xff", typescript], id=unique("turn"), task_queue=queue) == b"\xff\x01\x00"


async def test_twenty_purchases_at_once(client: Client, rust: str, typescript: str):
    async with worker(client, Purchase) as queue:
        handles = [
            await client.start_workflow(Purchase.run, args=[Order(f"item-{n}", n, []), rust, typescript], id=unique("purchase"), task_queue=queue)
            for n in range(20)
        ]
        texts = [(await handle.result())["text"] for handle in handles]
    assert texts == [f"item-{n} for {n * 2.5:.2f} ()" for n in range(20)]
