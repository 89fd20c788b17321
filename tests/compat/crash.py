"""Workflows of the Python SDK while apis, engines and workers are killed with SIGKILL, over and over.

Real processes: a nats-server that syncs before it acknowledges, two engines, two apis, two workers. Each workflow has an
activity that fails at first, a child, a timer, three signals and two updates; signals and updates come at random moments and are
repeated by their ids until they are answered. At the end every workflow has its result, every history holds each thing once,
and the SDK's replayer finds that the code gives the commands of every history.

`SEED=<number>` repeats the choice of faults; how they fall together is up to the machine. `WORKFLOWS=<number>` makes more of them.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from temporalio import activity, workflow
from temporalio.api.workflowservice.v1 import SignalWorkflowExecutionRequest
from temporalio.client import Client, WorkflowHandle, WorkflowHistory, WorkflowUpdateRPCTimeoutOrCancelledError
from temporalio.common import RetryPolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.runtime import LoggingConfig, Runtime, TelemetryConfig, TelemetryFilter
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner, Worker

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "python"))

from servers import Process, free_port  # noqa: E402
from support import check, kind, payload  # noqa: E402

T = TypeVar("T")
WORKFLOWS = int(os.environ.get("WORKFLOWS", "200"))
QUEUE = "crash"
SIGNALS, UPDATES = 3, 2
# Signals and updates are spread over this time, and so are the faults.
FAULTS_SECONDS = 40.0
BETWEEN_FAULTS = (1.0, 2.5)
AWAY = (0.2, 1.2)
# After this a workflow that has not ended counts as lost.
END_SECONDS = 150.0

ACTIVITY = {
    "start_to_close_timeout": timedelta(seconds=5),
    "retry_policy": RetryPolicy(initial_interval=timedelta(milliseconds=200), backoff_coefficient=1),
}
EXPECTED = {
    "WorkflowExecutionStarted": 1,
    "WorkflowExecutionSignaled": SIGNALS,
    "WorkflowExecutionUpdateAccepted": UPDATES,
    "WorkflowExecutionUpdateCompleted": UPDATES,
    "ActivityTaskScheduled": 1 + UPDATES,
    "ActivityTaskCompleted": 1 + UPDATES,
    "StartChildWorkflowExecutionInitiated": 1,
    "ChildWorkflowExecutionStarted": 1,
    "ChildWorkflowExecutionCompleted": 1,
    "TimerStarted": 1,
    "TimerFired": 1,
    "WorkflowExecutionCompleted": 1,
}


@activity.defn
async def square(number: int) -> int:
    if activity.info().attempt == 1:
        raise RuntimeError("the first attempt fails")
    return number * number


@workflow.defn
class Child:
    @workflow.run
    async def run(self, number: int) -> int:
        return await workflow.execute_activity(square, number, **ACTIVITY)


@workflow.defn
class Job:
    def __init__(self) -> None:
        self.signals: list[str] = []
        self.sum = 0
        self.updates = 0

    @workflow.run
    async def run(self, number: int) -> dict[str, Any]:
        squared = await workflow.execute_activity(square, number, **ACTIVITY)
        child = await workflow.execute_child_workflow(Child.run, number + 1, id=f"{workflow.info().workflow_id}-child", task_timeout=timedelta(seconds=3))
        await asyncio.sleep(1 + number % 5)
        await workflow.wait_condition(lambda: len(self.signals) >= SIGNALS and self.updates >= UPDATES)
        return {"square": squared, "child": child, "signals": sorted(self.signals), "sum": self.sum}

    @workflow.signal
    def tell(self, text: str) -> None:
        self.signals.append(text)

    @workflow.update
    async def add(self, number: int) -> int:
        # Other updates come in between: the sum is read only when this one is known.
        squared = await workflow.execute_activity(square, number, **ACTIVITY)
        self.sum += squared
        self.updates += 1
        return number * number


def result_of(number: int) -> dict[str, Any]:
    return {
        "square": number**2,
        "child": (number + 1) ** 2,
        "signals": [str(n) for n in range(SIGNALS)],
        "sum": sum((number + n) ** 2 for n in range(UPDATES)),
    }


async def work(address: str) -> None:
    """A worker process, until it is killed."""
    logging.getLogger("temporalio.activity").setLevel(logging.CRITICAL)  # Failures are meant here.
    client = await persist(lambda: Client.connect(address), time.monotonic() + END_SECONDS)
    worker = Worker(
        client,
        task_queue=QUEUE,
        workflows=[Job, Child],
        activities=[square],
        workflow_runner=UnsandboxedWorkflowRunner(),
        sticky_queue_schedule_to_start_timeout=timedelta(seconds=2),
        # Some workflows leave the cache between their steps and are replayed from the start.
        max_cached_workflows=100,
    )
    await worker.run()


async def persist(call: Callable[[], Awaitable[T]], end: float) -> T:
    """Asks until there is an answer that is not about the server's being away."""
    while True:
        try:
            return await call()
        except (RPCError, WorkflowUpdateRPCTimeoutOrCancelledError, RuntimeError) as error:
            lasting = isinstance(error, RPCError) and error.status in (RPCStatusCode.NOT_FOUND, RPCStatusCode.INVALID_ARGUMENT, RPCStatusCode.FAILED_PRECONDITION)
            if lasting or time.monotonic() > end:
                raise
        await asyncio.sleep(0.2)


class Deployment:
    def __init__(self, stack: ExitStack, folder: Path) -> None:
        fermata, nats = os.environ["FERMATA_BIN"], os.environ["FERMATA_NATS_SERVER"]
        port, monitor = free_port(), free_port()
        config = folder / "nats.conf"
        config.write_text(
            f'listen: "127.0.0.1:{port}"\nhttp: "127.0.0.1:{monitor}"\nmax_payload: 8MB\n'
            f'jetstream {{ store_dir: "{folder}/jetstream", sync_interval: always }}\n'
        )
        Process(stack, "nats-server", folder, [nats, "-c", config]).wait_for(f"http://127.0.0.1:{monitor}/healthz")
        common = ["--nats", f"nats://127.0.0.1:{port}", "--ip", "127.0.0.1", "--partitions", "4"]
        self.victims: dict[str, Process] = {}
        self.addresses: list[str] = []
        http: dict[str, int] = {}
        for name in ("engine-1", "engine-2", "api-1", "api-2"):
            role, http[name], grpc = name.split("-")[0], free_port(), free_port()
            command = [fermata, "server", "--roles", role, "--http-port", str(http[name]), "--port", str(grpc), *common]
            self.victims[name] = Process(stack, name, folder, command)
            if role == "api":
                self.addresses.append(f"127.0.0.1:{grpc}")
        for name, process in self.victims.items():
            process.wait_for(f"http://127.0.0.1:{http[name]}/readyz")
        for number, address in enumerate(self.addresses, 1):
            name = f"worker-{number}"
            self.victims[name] = Process(stack, name, folder, [sys.executable, __file__, "worker", address])

    async def fault(self, chance: random.Random) -> str:
        name = chance.choice(sorted(self.victims))
        victim = self.victims[name]
        victim.kill()
        await asyncio.sleep(chance.uniform(*AWAY))
        victim.start()
        return name


class Driver:
    """The clients' side of all workflows; it asks whichever api is there."""

    def __init__(self, clients: list[Client], seed: int) -> None:
        self.clients, self.end = clients, time.monotonic() + END_SECONDS
        self.chance = random.Random(seed)
        self.turn = 0

    def handle(self, id: str) -> WorkflowHandle[Any, Any]:
        self.turn += 1
        return self.clients[self.turn % len(self.clients)].get_workflow_handle(id, result_type=dict)

    async def start(self, id: str, number: int) -> None:
        async def once() -> None:
            client = self.handle(id)._client
            try:
                await client.start_workflow(Job.run, number, id=id, task_queue=QUEUE, task_timeout=timedelta(seconds=3))
            except WorkflowAlreadyStartedError:
                pass  # An earlier try was done, and its answer lost.

        await persist(once, self.end)

    async def signal(self, id: str, number: int, delay: float) -> None:
        await asyncio.sleep(delay)
        request = SignalWorkflowExecutionRequest(namespace="default", signal_name="tell", request_id=f"{id}-signal-{number}")
        request.workflow_execution.workflow_id = id
        request.input.payloads.append(payload(str(number)))
        await persist(lambda: self.handle(id)._client.workflow_service.signal_workflow_execution(request), self.end)

    async def update(self, id: str, argument: int, number: int, delay: float) -> None:
        await asyncio.sleep(delay)
        wanted = timedelta(seconds=20)
        answer = await persist(
            lambda: self.handle(id).execute_update("add", argument, id=f"update-{number}", result_type=int, rpc_timeout=wanted), self.end
        )
        assert answer == argument**2, f"{id}: update {number} answered {answer}"

    async def drive(self, number: int) -> str | None:
        """What is wrong with one workflow, if anything is."""
        id = f"job-{number}"
        try:
            await asyncio.sleep(self.chance.uniform(0, FAULTS_SECONDS / 4))
            await self.start(id, number)
            asked = [self.signal(id, n, self.chance.uniform(0, FAULTS_SECONDS / 2)) for n in range(SIGNALS)]
            asked += [self.update(id, number + n, n, self.chance.uniform(0, FAULTS_SECONDS / 2)) for n in range(UPDATES)]
            await asyncio.gather(*asked)
            left = max(1.0, self.end - time.monotonic())
            result = await asyncio.wait_for(persist(lambda: self.handle(id).result(rpc_timeout=timedelta(seconds=20)), self.end), left)
            return None if result == result_of(number) else f"{id} gave {result}, not {result_of(number)}"
        except Exception as error:
            return f"{id}: {type(error).__name__}: {error}"


async def look(driver: Driver, id: str, replayer: Replayer, expected: dict[str, int] | None) -> str | None:
    """What is wrong with the history of one workflow, if anything is."""
    try:
        handle = driver.handle(id)

        async def read() -> list[Any]:
            return [event async for event in handle.fetch_history_events()]

        events = await persist(read, driver.end + 30)
        check(events)
        counts = Counter(kind(event) for event in events)
        for name, count in (expected or {"WorkflowExecutionCompleted": 1}).items():
            if counts[name] != count:
                return f"{id} has {counts[name]} {name}, not {count}"
        await replayer.replay_workflow(WorkflowHistory(id, events))
        return None
    except Exception as error:
        return f"the history of {id}: {type(error).__name__}: {error}"


async def play(folder: Path, stack: ExitStack) -> int:
    seed = int(os.environ.get("SEED") or random.randrange(1_000_000))
    print(f"SEED={seed} WORKFLOWS={WORKFLOWS}", flush=True)
    deployment = Deployment(stack, folder)
    clients = [await Client.connect(address) for address in deployment.addresses]
    driver, chance = Driver(clients, seed), random.Random(seed)
    jobs = [asyncio.create_task(driver.drive(number)) for number in range(WORKFLOWS)]
    killed: Counter[str] = Counter()
    last = time.monotonic() + FAULTS_SECONDS
    while time.monotonic() < last:
        await asyncio.sleep(chance.uniform(*BETWEEN_FAULTS))
        killed[await deployment.fault(chance)] += 1
    print(f"killed: {dict(sorted(killed.items()))}; {sum(job.done() for job in jobs)} workflows have ended", flush=True)
    problems = [problem for problem in await asyncio.gather(*jobs) if problem]
    replayer = Replayer(workflows=[Job, Child], workflow_runner=UnsandboxedWorkflowRunner())
    looked = 0
    for number in range(WORKFLOWS):
        for id, expected in ((f"job-{number}", EXPECTED), (f"job-{number}-child", None)):
            problem = await look(driver, id, replayer, expected)
            problems += [problem] if problem else []
            looked += 1
    print(f"{looked} histories read and replayed", flush=True)
    for problem in problems[:20]:
        print(problem, file=sys.stderr)
    if problems:
        print(f"{len(problems)} problems", file=sys.stderr)
    return 1 if problems else 0


def main() -> int:
    # That servers are away is meant here, and core tells of each retry.
    quiet = LoggingConfig(filter=TelemetryFilter(core_level="ERROR", other_level="ERROR"))
    Runtime.set_default(Runtime(telemetry=TelemetryConfig(logging=quiet)))
    if sys.argv[1:2] == ["worker"]:
        asyncio.run(work(sys.argv[2]))
        return 0
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fermata-crash-", ignore_cleanup_errors=True)))
        code = asyncio.run(play(folder, stack))
        if code:
            for log in sorted([*folder.glob("api-*.log"), *folder.glob("engine-*.log")]):
                print(f"-- {log.name}\n{log.read_text(errors='replace')[-2_000:]}", file=sys.stderr)
        return code


if __name__ == "__main__":
    sys.exit(main())
