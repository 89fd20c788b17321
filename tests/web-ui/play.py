"""Temporal's own web UI in a real browser against Fermata: lists, shows, signals, cancels and terminates workflows.

What is clicked in the browser is looked up by Temporal's Python client afterwards. With --pictures the pages are kept there.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle
from temporalio.worker import Worker

from approval import Approval, reserve

UI_MODULE = "github.com/temporalio/ui-server/v2/cmd/server@v2.53.1"
QUEUE = "approvals"
PATIENCE = 30.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ui_server(folder: Path) -> Path:
    """Temporal's UI server with its pages in it, built from its Go module once."""
    program = folder / "server"
    if not program.exists():
        if shutil.which("go") is None:
            sys.exit("build Temporal's UI server: there is no `go` on the PATH; install Go 1.25 or newer")
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["go", "install", UI_MODULE], env=os.environ | {"GOBIN": str(folder)}, check=True)
    return program


@contextmanager
def process(name: str, command: list[str | Path], folder: Path, port: int) -> Iterator[None]:
    """Runs it until the block ends, from when it answers on `port`."""
    log = folder / f"{name}.log"
    with log.open("wb") as output:
        child = subprocess.Popen(command, stdout=output, stderr=output, cwd=folder)
    try:
        end = time.monotonic() + PATIENCE
        while True:
            if child.poll() is not None or time.monotonic() > end:
                sys.exit(f"{name} does not answer on port {port}:\n{log.read_text()[-2000:]}")
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.1)
        yield
    finally:
        child.terminate()
        try:
            child.wait(20)
        except subprocess.TimeoutExpired:
            child.kill()


class Pages:
    """A browser on the UI."""

    def __init__(self, address: str, pictures: Path | None) -> None:
        options = Options()
        for argument in ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--window-size=1400,1000"):
            options.add_argument(argument)
        chromium, driver = (shutil.which(name) for name in ("chromium", "chromedriver"))
        if chromium is None or driver is None:
            sys.exit("open a browser: chromium and chromedriver must be on the PATH (Debian: chromium chromium-driver)")
        options.binary_location = chromium
        self.browser = webdriver.Chrome(options=options, service=Service(driver))
        self.address = address
        self.pictures = pictures

    def open(self, path: str) -> None:
        self.browser.get(f"{self.address}/namespaces/default/{path}")

    def wait(self, found: Callable[[], WebElement | bool | None], what: str) -> WebElement | bool:
        def look(_: object) -> WebElement | bool | None:
            try:
                return found()
            except Exception:  # Elements come and go while a page builds itself.
                return None

        return WebDriverWait(self.browser, PATIENCE).until(look, f"the page shows no {what}")

    def visible(self, selector: str, text: str = "") -> WebElement:
        def find() -> WebElement | None:
            shown = (element for element in self.browser.find_elements(By.CSS_SELECTOR, selector) if element.is_displayed())
            return next((element for element in shown if text in element.text), None)

        return self.wait(find, f"{selector} {text!r}")

    def shows(self, *texts: str) -> None:
        for text in texts:
            self.wait(lambda: text in self.browser.find_element(By.TAG_NAME, "main").text, text)

    def keep(self, name: str) -> None:
        if self.pictures is not None:
            self.pictures.mkdir(parents=True, exist_ok=True)
            self.browser.save_screenshot(str(self.pictures / f"{name}.png"))


async def until(handle: WorkflowHandle, status: WorkflowExecutionStatus) -> None:
    end = time.monotonic() + PATIENCE
    while (seen := (await handle.describe()).status) != status:
        assert seen is not None and time.monotonic() < end, f"{handle.id} is {seen}, not {status}"
        await asyncio.sleep(0.2)


async def play(client: Client, pages: Pages) -> None:
    async def start(name: str) -> WorkflowHandle:
        return await client.start_workflow(Approval.run, {"orderId": 7, "amount": 120}, id=name, task_queue=QUEUE)

    async def in_browser(steps: Callable[[], None]) -> None:
        await asyncio.to_thread(steps)

    approved, canceled, terminated = [await start(f"order-{name}") for name in ("approved", "canceled", "terminated")]
    for handle in (approved, canceled, terminated):
        while await handle.query(Approval.state) != "waiting":
            await asyncio.sleep(0.1)

    def lists() -> None:
        pages.open("workflows")
        pages.shows("order-approved", "order-canceled", "order-terminated")
        pages.visible("[data-testid=workflow-status-Running]", "3")
        pages.keep("list")

    def shows_and_signals() -> None:
        pages.open(f"workflows/{approved.id}")
        pages.visible("[data-testid=workflow-id-heading]", approved.id)
        pages.shows("reserve", "Approval")
        pages.visible("button", "More Actions").click()
        pages.visible("[data-testid=signal-button]").click()
        # The names come from the worker, by the query of a workflow's metadata.
        pages.visible("dialog [aria-controls=signal-select-select]").click()
        pages.visible("#signal-select-select li", "approve").click()
        dialog = pages.visible("dialog[data-testid=signal-confirmation-modal]")
        dialog.find_element(By.CSS_SELECTOR, "[data-testid=confirm-modal-button]").click()
        pages.visible("[data-testid=execution-status]", "Completed")
        pages.shows("approved")
        pages.keep("completed")
        pages.open(f"workflows/{approved.id}/{approved.result_run_id}/history")
        pages.shows("Workflow Execution Completed", "Workflow Execution Signaled", "Activity Task Completed", "Timer")
        pages.keep("history")

    def cancels() -> None:
        pages.open(f"workflows/{canceled.id}")
        pages.visible("button", "Request Cancellation").click()
        dialog = pages.visible("dialog[data-testid=cancel-confirmation-modal]")
        dialog.find_element(By.CSS_SELECTOR, "[data-testid=confirm-modal-button]").click()
        pages.visible("[data-testid=execution-status]", "Canceled")
        pages.keep("canceled")

    def terminates() -> None:
        pages.open(f"workflows/{terminated.id}")
        pages.visible("button", "More Actions").click()
        pages.visible("[data-testid=terminate-button]").click()
        pages.visible("#workflow-termination-reason").send_keys("a test of the web UI")
        dialog = pages.visible("dialog[data-testid=terminate-confirmation-modal]")
        dialog.find_element(By.CSS_SELECTOR, "[data-testid=confirm-modal-button]").click()
        pages.visible("[data-testid=execution-status]", "Terminated")
        pages.keep("terminated")

    for steps in (lists, shows_and_signals, cancels, terminates):
        await in_browser(steps)
        print(f"{steps.__name__.replace('_', ' ')}: ok")
    assert await approved.result() == "approved"
    await until(canceled, WorkflowExecutionStatus.CANCELED)
    await until(terminated, WorkflowExecutionStatus.TERMINATED)
    last = [event async for event in terminated.fetch_history_events()][-1]
    reason = last.workflow_execution_terminated_event_attributes.reason
    assert "a test of the web UI" in reason, f"the reason is {reason!r}"


async def run(grpc: int, pages: Pages) -> None:
    client = await Client.connect(f"127.0.0.1:{grpc}")
    async with Worker(client, task_queue=QUEUE, workflows=[Approval], activities=[reserve], graceful_shutdown_timeout=timedelta(seconds=1)):
        await play(client, pages)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fermata", type=Path, required=True)
    parser.add_argument("--target", type=Path, required=True, help="where the UI server is built")
    parser.add_argument("--pictures", type=Path)
    arguments = parser.parse_args()
    program = ui_server(arguments.target.resolve())
    with tempfile.TemporaryDirectory(prefix="fermata-web-ui-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        grpc, http, ui = (free_port() for _ in range(3))
        fermata = [arguments.fermata.resolve(), "dev", "--port", str(grpc), "--http-port", str(http), "--nats-port", "0", "--data", folder / "data"]
        (folder / "config").mkdir()
        settings = f"temporalGrpcAddress: 127.0.0.1:{grpc}\nhost: 127.0.0.1\nport: {ui}\nenableUi: true\ndefaultNamespace: default\n"
        (folder / "config" / "development.yaml").write_text(settings)
        with process("fermata", fermata, folder, grpc), process("ui", [program, "-r", folder, "start"], folder, ui):
            pages = Pages(f"http://127.0.0.1:{ui}", arguments.pictures)
            try:
                asyncio.run(run(grpc, pages))
            except BaseException:
                pages.pictures = Path("target/web-ui/failed")
                pages.keep("page")
                print("the page is in target/web-ui/failed", file=sys.stderr)
                raise
            finally:
                pages.browser.quit()
    print("Temporal's web UI lists, shows, signals, cancels and terminates")


if __name__ == "__main__":
    main()
