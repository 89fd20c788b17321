"""Starts Fermata, plays the scenarios area by area, and holds the counts against floors.toml.

With --replicas N it starts a nats-server and N processes of `fermata server` on it, and plays against the first.
"""

from __future__ import annotations

import argparse
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
import urllib.request
from contextlib import ExitStack
from pathlib import Path

HERE = Path(__file__).resolve().parent
READY_SECONDS = 60
END_SECONDS = 20


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Process:
    """A child with a log of its own, ended by its id."""

    def __init__(self, stack: ExitStack, name: str, folder: Path, command: list[str | Path]) -> None:
        self.name, self.log = name, folder / f"{name}.log"
        with self.log.open("wb") as sink:
            self.child = subprocess.Popen(command, stdout=sink, stderr=sink)
        stack.callback(self.end)

    def end(self) -> None:
        self.child.terminate()
        try:
            self.child.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.child.kill()

    def fail(self, why: str) -> None:
        sys.exit(f"{self.name} {why}:\n{self.log.read_text(errors='replace')[-4000:]}")

    def wait_for(self, url: str) -> None:
        end = time.monotonic() + READY_SECONDS
        while time.monotonic() < end:
            if self.child.poll() is not None:
                self.fail(f"ended with {self.child.returncode} at start")
            try:
                with urllib.request.urlopen(url, timeout=2) as answer:
                    if answer.status == 200:
                        return
            except OSError:
                pass
            time.sleep(0.1)
        self.fail(f"is not ready after {READY_SECONDS} s")


def start_dev(stack: ExitStack, folder: Path, fermata: Path) -> tuple[str, str]:
    grpc, http = free_port(), free_port()
    command = [fermata, "dev", "--port", str(grpc), "--http-port", str(http), "--nats-port", "0", "--data", folder / "data"]
    Process(stack, "fermata", folder, command).wait_for(f"http://127.0.0.1:{http}/readyz")
    return f"127.0.0.1:{grpc}", f"127.0.0.1:{http}"


def start_replicas(stack: ExitStack, folder: Path, fermata: Path, count: int) -> tuple[str, str]:
    port, monitor = free_port(), free_port()
    config = folder / "nats.conf"
    config.write_text(
        f'listen: "127.0.0.1:{port}"\nhttp: "127.0.0.1:{monitor}"\nmax_payload: 8MB\n'
        f'jetstream {{ store_dir: "{folder}/jetstream", sync_interval: always }}\n'
    )
    nats = Process(stack, "nats-server", folder, [os.environ["FERMATA_NATS_SERVER"], "-c", config])
    nats.wait_for(f"http://127.0.0.1:{monitor}/healthz")
    replicas = []
    for number in range(1, count + 1):
        grpc, http = free_port(), free_port()
        command = [fermata, "server", "--ip", "127.0.0.1", "--port", str(grpc), "--http-port", str(http), "--nats", f"nats://127.0.0.1:{port}"]
        replicas.append((Process(stack, f"fermata-{number}", folder, command), grpc, http))
    for process, _, http in replicas:
        process.wait_for(f"http://127.0.0.1:{http}/readyz")
    _, grpc, http = replicas[0]
    return f"127.0.0.1:{grpc}", f"127.0.0.1:{http}"


def play(grpc: str, http: str, args: argparse.Namespace, patterns: list[str], jobs: int | None = None) -> dict[str, list[str]]:
    """The differences of each scenario by its path; an empty list if there are none."""
    command = [sys.executable, str(HERE / "wirecheck.py"), "check", "--address", grpc, "--http", http, "--jobs", str(jobs or args.jobs), *patterns]
    played = subprocess.run(command + (["--verbose"] if args.verbose else []), stdout=subprocess.PIPE, text=True)
    outcome: dict[str, list[str]] = {}
    path = None
    for line in played.stdout.splitlines():
        if verdict := re.match(r"(ok|FAIL)\s+(\w+/\w+)$", line):
            path = verdict[2]
            outcome[path] = [] if verdict[1] == "ok" else [""]
        elif path and outcome[path] and line.startswith(" "):
            outcome[path] = [*filter(None, outcome[path]), line]
    return outcome


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fermata", type=Path, required=True)
    parser.add_argument("--replicas", type=int, default=0, help="0 plays against `fermata dev`")
    parser.add_argument("--jobs", type=int, default=8)
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument("--log", type=Path, help="keep the servers' logs in this folder")
    parser.add_argument("patterns", nargs="*")
    args = parser.parse_intermixed_args()
    floors: dict[str, int] = tomllib.loads((HERE / "floors.toml").read_text())
    patterns = args.patterns or [f"{area}/" for area in floors]

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fermata-wire-", ignore_cleanup_errors=True)))
        if args.replicas:
            grpc, http = start_replicas(stack, folder, args.fermata, args.replicas)
        else:
            grpc, http = start_dev(stack, folder, args.fermata)
        outcome = play(grpc, http, args, patterns)
        # Rules about time can miss their moment on a busy machine: what failed is played once more, almost alone.
        failed = [path for path, lines in outcome.items() if lines]
        if failed:
            outcome |= play(grpc, http, args, failed, jobs=2)
        if args.log:
            args.log.mkdir(parents=True, exist_ok=True)
            for log in folder.glob("*.log"):
                (args.log / log.name).write_bytes(log.read_bytes())
    passed: dict[str, int] = {}
    total: dict[str, int] = {}
    for path, lines in outcome.items():
        area = path.split("/")[0]
        total[area] = total.get(area, 0) + 1
        passed[area] = passed.get(area, 0) + (not lines)
        if lines:
            print("\n".join([f"FAIL {path}", *lines]))
    if not total:
        print("no scenario was played", file=sys.stderr)
        return 1
    below = []
    print(f"{'area':<20} {'passed':>8} {'of':>5} {'floor':>6}")
    for area in sorted(total):
        floor = floors.get(area, 0) if not args.patterns else 0
        print(f"{area:<20} {passed[area]:>8} {total[area]:>5} {floor:>6}")
        if passed[area] < floor:
            below.append(area)
    print(f"{sum(passed.values())} of {sum(total.values())} scenarios answer as the reference server does")
    if below:
        print(f"below the floor: {', '.join(below)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
