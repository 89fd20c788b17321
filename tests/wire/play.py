"""Starts Fermata, plays the scenarios area by area, and holds the counts against floors.toml."""

from __future__ import annotations

import argparse
import re
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
READY_SECONDS = 60


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until_ready(server: subprocess.Popen, http: str, log: Path) -> None:
    end = time.monotonic() + READY_SECONDS
    while time.monotonic() < end:
        if server.poll() is not None:
            sys.exit(f"fermata ended with {server.returncode} at start:\n{log.read_text()[-4000:]}")
        try:
            with urllib.request.urlopen(f"http://{http}/readyz", timeout=2) as answer:
                if answer.status == 200:
                    return
        except OSError:
            pass
        time.sleep(0.1)
    sys.exit(f"fermata is not ready after {READY_SECONDS} s:\n{log.read_text()[-4000:]}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fermata", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=8)
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument("patterns", nargs="*")
    args = parser.parse_args()
    floors: dict[str, int] = tomllib.loads((HERE / "floors.toml").read_text())
    patterns = args.patterns or [f"{area}/" for area in floors]

    with tempfile.TemporaryDirectory(prefix="fermata-wire-") as folder:
        grpc, http = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
        log = Path(folder) / "fermata.log"
        command = [args.fermata, "dev", "--port", grpc.split(":")[1], "--http-port", http.split(":")[1], "--nats-port", "0", "--data", f"{folder}/data"]
        with log.open("wb") as sink:
            server = subprocess.Popen(command, stdout=sink, stderr=sink)
        try:
            wait_until_ready(server, http, log)
            check = [sys.executable, str(HERE / "wirecheck.py"), "check", "--address", grpc, "--http", http, "--jobs", str(args.jobs), *patterns]
            played = subprocess.run(check + (["--verbose"] if args.verbose else []), stdout=subprocess.PIPE, text=True)
        finally:
            server.terminate()
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()
    print(played.stdout)

    passed: dict[str, int] = {}
    total: dict[str, int] = {}
    for verdict, area in re.findall(r"^(ok|FAIL)\s+(\w+)/", played.stdout, re.M):
        total[area] = total.get(area, 0) + 1
        passed[area] = passed.get(area, 0) + (verdict == "ok")
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
    if below:
        print(f"below the floor: {', '.join(below)}", file=sys.stderr)
        return 1
    print(f"{sum(passed.values())} passed, {sum(total.values()) - sum(passed.values())} not yet")
    return 0


if __name__ == "__main__":
    sys.exit(main())
