"""The stack of deploy/compose, on free ports and with a project name of its own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from typing import Any

import images

SERVICES = ["nats", "engine", "api", "workflow-worker", "payment-worker", "inventory-worker", "shipping-worker", "email-worker", "prometheus"]
COMPOSE_SECONDS_MAX = 120


class Failed(Exception):
    """What was promised did not come true."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(what: str, seconds: float, probe: Callable[[], Any]) -> Any:
    """The first answer of `probe` that is true."""
    began, last = time.monotonic(), None
    while time.monotonic() - began < seconds:
        try:
            if last := probe():
                return last
        except (OSError, KeyError, ValueError) as error:
            last = error
        time.sleep(0.25)
    raise Failed(f"{what}: not after {seconds} s (last: {last!r})")


class Stack:
    def __init__(self) -> None:
        self.project = f"fermata-test-{os.getpid()}"
        self.http, self.prometheus = free_port(), free_port()
        self.api = f"http://127.0.0.1:{self.http}"
        self.environment = {
            **os.environ,
            "COMPOSE_IGNORE_ORPHANS": "1",
            "FERMATA_IMAGE": images.FERMATA,
            "ORDERS_IMAGE": images.ORDERS,
            "NATS_IMAGE": images.NATS,
            "PROMETHEUS_IMAGE": images.PROMETHEUS,
            "HTTP_PORTS": str(self.http),
            "GRPC_PORTS": str(free_port()),
            "NATS_PORT": str(free_port()),
            "PROMETHEUS_PORT": str(self.prometheus),
        }
        has_plugin = subprocess.run(["docker", "compose", "version"], capture_output=True).returncode == 0
        file = images.ROOT / "deploy" / "compose" / "docker-compose.yml"
        self.command = [*(["docker", "compose"] if has_plugin else ["docker-compose"]), "-p", self.project, "-f", str(file)]

    # ---- compose ----

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run([*self.command, *arguments], env=self.environment, capture_output=True, text=True, timeout=COMPOSE_SECONDS_MAX)
        if check and done.returncode != 0:
            raise Failed(f"compose {' '.join(arguments)}: {done.stdout}\n{done.stderr}")
        return done

    def up(self) -> None:
        self.run("up", "-d", "--no-build", *SERVICES)

    def scale(self, service: str, count: int) -> None:
        self.run("up", "-d", "--no-build", "--no-deps", "--no-recreate", "--scale", f"{service}={count}", service)

    def down(self) -> None:
        self.run("down", "-v", "--timeout", "5", check=False)

    def containers(self, service: str) -> list[dict[str, Any]]:
        """What docker tells of each running container of a service."""
        ids = self.run("ps", "-q", service).stdout.split()
        if not ids:
            return []
        shown = subprocess.run(["docker", "inspect", *ids], capture_output=True, text=True, timeout=30)
        # One may go between the two commands; the others are told all the same.
        found = json.loads(shown.stdout or "[]")
        return [container for container in found if container["State"]["Running"]]

    def is_healthy(self, service: str) -> bool:
        containers = self.containers(service)
        return bool(containers) and all(container["State"]["Health"]["Status"] == "healthy" for container in containers)

    def operator(self, *arguments: str) -> Any:
        done = self.run("exec", "-T", "engine", "fermata", "operator", *arguments, "--output", "json")
        return json.loads(done.stdout)

    # ---- HTTP ----

    def get(self, url: str, seconds: float = 40) -> Any:
        with urllib.request.urlopen(url, timeout=seconds) as answer:
            return json.load(answer)

    def owned(self) -> dict[str, int]:
        """Partitions by engine container, as each says itself."""
        found = {}
        for container in self.containers("engine"):
            address = next(iter(container["NetworkSettings"]["Networks"].values()))["IPAddress"]
            with urllib.request.urlopen(f"http://{address}:7243/metrics", timeout=5) as answer:
                text = answer.read().decode()
            line = next(line for line in text.splitlines() if line.startswith("fermata_partitions_owned "))
            found[container["Name"]] = int(line.split()[1])
        return found

    def shared_by(self, engines: int, partitions: int = 16) -> dict[str, int] | None:
        owned = self.owned()
        is_shared = len(owned) == engines and all(owned.values()) and sum(owned.values()) == partitions
        return owned if is_shared else None

    def query(self, expression: str) -> list[dict[str, Any]]:
        url = f"http://127.0.0.1:{self.prometheus}/api/v1/query?{urllib.parse.urlencode({'query': expression})}"
        answer = self.get(url)
        if answer["status"] != "success":
            raise Failed(f"{expression}: {answer}")
        return answer["data"]["result"]
