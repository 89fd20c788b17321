"""Starts one Fermata and plays the parts that share it; the quick start and the crashes have servers of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from servers import start_dev

HERE = Path(__file__).resolve().parent
PARTS = ("quickstart", "python", "typescript", "crash")
# Each case may take its time on a busy machine; all of them together may not.
PART_SECONDS = 600
CASES_AT_ONCE = 4


def run(part: str, command: list[str | Path], folder: Path = HERE, **env: str) -> bool:
    print(f"== {part}", flush=True)
    began = time.monotonic()
    try:
        ended = subprocess.run(command, cwd=folder, env=os.environ | env, timeout=PART_SECONDS).returncode
    except subprocess.TimeoutExpired:
        print(f"{part} did not end within {PART_SECONDS} s", file=sys.stderr)
        ended = 1
    print(f"== {part}: {'passed' if ended == 0 else 'FAILED'} in {time.monotonic() - began:.0f} s", flush=True)
    return ended == 0


def main() -> int:
    parts = sys.argv[1:] or list(PARTS)
    if unknown := [part for part in parts if part not in PARTS]:
        sys.exit(f"{unknown[0]!r} is no part: there are {', '.join(PARTS)}")
    fermata = Path(os.environ["FERMATA_BIN"])
    passed = []
    if "quickstart" in parts:
        passed.append(run("quickstart", [sys.executable, "quickstart.py", "--fermata", fermata, "--apart"]))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fermata-compat-", ignore_cleanup_errors=True)))
        if {"python", "typescript"} & set(parts):
            address, nats = start_dev(stack, folder, fermata)
            env = {"FERMATA_ADDRESS": address, "FERMATA_NATS": nats}
        if "python" in parts:
            command = [sys.executable, "-m", "pytest", "--quiet", "-n", str(CASES_AT_ONCE), "--dist", "loadgroup"]
            passed.append(run("python", command, HERE / "python", **env))
        if "typescript" in parts:
            tests = sorted(path.name for path in (HERE / "typescript").glob("*.test.js"))
            command = ["node", "--test", "--test-concurrency=2", "--test-reporter=dot", *tests]
            passed.append(run("typescript", command, HERE / "typescript", **env))
        if not all(passed):
            print("".join(log.read_text(errors="replace")[-4_000:] for log in folder.glob("fermata.log")), file=sys.stderr)
    if "crash" in parts:
        passed.append(run("crash", [sys.executable, "crash.py"]))
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
