"""Processes that the plays start: with a log of their own, on free ports, ended by their ids."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path

READY_SECONDS = 60
END_SECONDS = 20


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Process:
    """A child, ended when the stack unwinds."""

    def __init__(self, stack: ExitStack, name: str, folder: Path, command: list[str | Path], **env: str) -> None:
        self.name, self.log, self.command, self.env = name, folder / f"{name}.log", command, env
        self.start()
        stack.callback(self.end)

    def start(self) -> None:
        with self.log.open("ab") as sink:
            self.child = subprocess.Popen(self.command, stdout=sink, stderr=sink, env=os.environ | self.env)

    def kill(self) -> None:
        self.child.kill()
        self.child.wait()

    def end(self) -> None:
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
        try:
            self.child.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def fail(self, why: str) -> None:
        sys.exit(f"{self.name} {why}:\n{self.said()[-4000:]}")

    def wait_for(self, url: str) -> Process:
        end = time.monotonic() + READY_SECONDS
        while time.monotonic() < end:
            if self.child.poll() is not None:
                self.fail(f"ended with {self.child.returncode} at start")
            try:
                with urllib.request.urlopen(url, timeout=2) as answer:
                    if answer.status == 200:
                        return self
            except OSError:
                pass
            time.sleep(0.1)
        self.fail(f"is not ready after {READY_SECONDS} s")
        raise AssertionError("unreachable")


def start_dev(stack: ExitStack, folder: Path, fermata: Path, port: int | None = None) -> tuple[str, str]:
    """A server that is thrown away at the end; gives its gRPC address and the URL of its broker."""
    port, http = port or free_port(), free_port()
    command: list[str | Path] = [fermata, "server", "start-dev", "--headless", "--port", str(port), "--http-port", str(http)]
    server = Process(stack, "fermata", folder, command).wait_for(f"http://127.0.0.1:{http}/readyz")
    end = time.monotonic() + READY_SECONDS
    while not (told := re.search(r"^\s*NATS\s+(\S+)$", server.said(), re.MULTILINE)):
        if time.monotonic() > end:
            server.fail("does not tell where its broker is")
        time.sleep(0.05)
    return f"127.0.0.1:{port}", told[1]
