"""Runs the same scenarios on Restate and on Fermata in turn, and prints the ratios.

Both run on this machine with nothing else beside them; each round plays one after the other, and medians count. Fermata
fsyncs every acknowledged write; Restate runs with its default settings.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PEERS = ROOT / "target" / "peers"
RESTATE_VERSION = "1.7.12"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def restate_server() -> Path:
    """The server's binary, fetched from npm once."""
    package = f"@restatedev/restate-server-linux-x64@{RESTATE_VERSION}"
    binary = PEERS / "node_modules" / "@restatedev" / "restate-server-linux-x64" / "bin" / "restate-server"
    if not binary.exists():
        PEERS.mkdir(parents=True, exist_ok=True)
        subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", PEERS, package], check=True)
    return binary


def restate_round(server: Path, program: Path, seconds: float) -> dict[str, float]:
    ingress, admin, node, service = (free_port() for _ in range(4))
    with tempfile.TemporaryDirectory(prefix="fermata-peers-", ignore_cleanup_errors=True) as folder:
        env = os.environ | {
            "RESTATE_BASE_DIR": folder,
            "RESTATE_INGRESS__BIND_ADDRESS": f"127.0.0.1:{ingress}",
            "RESTATE_ADMIN__BIND_ADDRESS": f"127.0.0.1:{admin}",
            "RESTATE_BIND_ADDRESS": f"127.0.0.1:{node}",
            "RESTATE_ADVERTISED_ADDRESS": f"http://127.0.0.1:{node}/",
            "DO_NOT_TRACK": "1",
        }
        with (Path(folder) / "server.log").open("wb") as log:
            child = subprocess.Popen([server], env=env, stdout=log, stderr=log, cwd=folder)
        try:
            command = [program, "--ingress", f"http://127.0.0.1:{ingress}", "--admin", f"http://127.0.0.1:{admin}", "--port", str(service), "--seconds", str(seconds)]
            played = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        finally:
            child.terminate()
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                child.kill()
    return values(played.stdout)


def fermata_round(bench: Path, seconds: float) -> dict[str, float]:
    subprocess.run([bench, "ten_step", "one_step", "--rounds", "1", "--seconds", str(seconds)], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return values((ROOT / "target" / "bench" / "results.jsonl").read_text())


def values(lines: str) -> dict[str, float]:
    found = (json.loads(line) for line in lines.splitlines() if line.startswith("{"))
    return {entry["scenario"]: entry["value"] for entry in found}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench", type=Path, required=True, help="the program of make bench")
    parser.add_argument("--peers", type=Path, required=True, help="the program of this folder")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8.0)
    args = parser.parse_args()
    server = restate_server()
    rounds: dict[str, list[float]] = {}
    for _ in range(args.rounds):
        for found in (restate_round(server, args.peers, args.seconds), fermata_round(args.bench, args.seconds)):
            for scenario, value in found.items():
                rounds.setdefault(scenario, []).append(value)
    median = {scenario: statistics.median(found) for scenario, found in rounds.items()}
    for scenario, found in sorted(rounds.items()):
        print(f"{scenario:<26} {median[scenario]:>10.0f}/s   rounds: {', '.join(f'{value:.0f}' for value in found)}")
    ratios = {
        "ten_step_vs_restate_calls": median["ten_step"] / median["restate_ten_step_calls"],
        "one_step_vs_restate_calls": median["one_step"] / median["restate_one_step_calls"],
        "ten_step_vs_restate_runs": median["ten_step"] / median["restate_ten_step_runs"],
    }
    with (ROOT / "target" / "bench" / "results.jsonl").open("a") as out:
        for scenario, value in ratios.items():
            print(f"{scenario:<26} {value:>10.2f}x")
            out.write(json.dumps({"scenario": scenario, "value": value, "unit": "x"}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
