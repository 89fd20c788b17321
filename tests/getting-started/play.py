#!/usr/bin/env python3
"""Does what docs/getting-started.md says, block by block, in a fresh folder outside the repository.

A comment before a block says what it is for:

    <!-- file: PATH -->                    write it there
    <!-- patch -->                         apply it with patch
    <!-- run -->, <!-- run: fails -->      run it, and it must succeed, or fail
    <!-- stays: NAME, until "TEXT" -->     start it in a terminal of its own and wait until it prints the text
    <!-- interrupt: NAME -->               no block: Ctrl-C in that terminal
    <!-- output -->                        these lines came from the block run last, in this order, with others between; times may differ
    <!-- output: NAME -->                  this is all that the program in that terminal has said

A block without one is an error, so that nothing on the page goes untried. One thing differs from the page: free ports take the place of 4222 and 7243.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "getting-started.md"
# A first build of the worker's dependencies takes minutes on two processors.
RUN_SECONDS_MAX = 900
START_SECONDS_MAX = 300
STOP_SECONDS_MAX = 20
MARK = re.compile(r'<!-- (file|patch|run|stays|interrupt|output)(?:: (.+?))? -->$')
STAYS = re.compile(r'(\w+), until "(.+)"$')


class Failed(Exception):
    """The page does not hold."""


@dataclass
class Step:
    line: int
    kind: str
    argument: str
    text: str = ""


def steps_of(page: str) -> list[Step]:
    steps: list[Step] = []
    lines = iter(enumerate(page.splitlines(), 1))
    mark: Step | None = None
    for number, line in lines:
        found = MARK.match(line)
        if found:
            mark = Step(number, found[1], found[2] or "")
            if mark.kind == "interrupt":
                steps.append(mark)
                mark = None
        elif line.startswith("```"):
            if mark is None:
                raise Failed(f"line {number}: no comment says what this block is for")
            block = []
            for _, inner in lines:
                if inner == "```":
                    break
                block.append(inner)
            else:
                raise Failed(f"line {number}: this block has no end")
            mark.text = "\n".join(block) + "\n"
            steps.append(mark)
            mark = None
        elif line.startswith("    ") and line.strip():
            raise Failed(f"line {number}: code without a fence is never tried")
        elif line and mark is not None:
            raise Failed(f"line {mark.line}: no block follows the comment")
    return steps


def pattern(line: str) -> str:
    """Times and the width of columns may differ from those on the page."""
    text = re.escape(line.strip())
    text = re.sub(r"\d{4}\\-\d\d\\-\d\d\\ \d\d:\d\d:\d\d", r"\\d{4}-\\d\\d-\\d\\d \\d\\d:\\d\\d:\\d\\d", text)
    text = re.sub(r"\d+\\\.\d+", r"\\d+\\.\\d+", text)
    return re.sub(r"(?:\\ )+", " +", text)


def in_order(wanted: str, output: str) -> str | None:
    """The first wanted line that is not there after those before it."""
    at = 0
    for line in wanted.splitlines():
        found = re.compile(pattern(line)).search(output, at)
        if not found:
            return line
        at = found.end()
    return None


@contextmanager
def fresh_folder() -> Iterator[Path]:
    """Outside the repository, by the same name each time: cargo builds crates anew when their path changes."""
    name = f"fermata-getting-started-{zlib.crc32(str(ROOT).encode()):08x}"
    folder = Path(tempfile.gettempdir()).resolve() / name
    with folder.with_suffix(".lock").open("w") as lock:
        # One run at a time of one checkout. The lock ends with the process.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(mode=0o700)
        try:
            yield folder
        finally:
            shutil.rmtree(folder)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Terminals:
    """One shell that goes from block to block, and others in which something stays."""

    def __init__(self, folder: Path, binaries: Path, nats_server: str, target: Path) -> None:
        self.folder = folder
        self.at = folder
        self.staying: dict[str, tuple[subprocess.Popen, Path]] = {}
        self.output = ""
        nats, http, grpc = free_port(), free_port(), free_port()
        self.ports = {"4222": str(nats), "7243": str(http)}
        self.environment = {
            **os.environ,
            "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
            "CARGO_TARGET_DIR": str(target),
            # Debug information is not read here and takes most of the room.
            "CARGO_PROFILE_DEV_DEBUG": "0",
            "FERMATA_NATS_SERVER": nats_server,
            "FERMATA_NATS_PORT": str(nats),
            "FERMATA_HTTP_PORT": str(http),
            "FERMATA_PORT": str(grpc),
            "FERMATA_ADDRESS": f"http://127.0.0.1:{http}",
        }

    def with_ports(self, text: str) -> str:
        for usual, here in self.ports.items():
            text = re.sub(rf"(?<=[:\s]){usual}\b", here, text)
        return text

    def do(self, step: Step) -> None:
        text = self.with_ports(step.text)
        if step.kind == "file":
            path = self.at / step.argument
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        elif step.kind == "patch":
            self.run("patch --strip=1 <<'END'\n" + text + "END\n", fails=False)
        elif step.kind == "run":
            self.run(text, fails=step.argument == "fails")
        elif step.kind == "stays":
            self.start(step.argument, text)
        elif step.kind == "interrupt":
            self.interrupt(step.argument)
        elif step.argument:
            _, log = self.staying[step.argument]
            # What cargo says of itself is indented.
            said = [line for line in log.read_text(errors="replace").splitlines() if line and line[0] != " "]
            if said != text.splitlines():
                raise Failed("it said:\n" + "\n".join(said))
        else:
            line = in_order(text, self.output)
            if line is not None:
                raise Failed(f"{line!r} is not (or no more) in the output:\n{self.output}")

    def run(self, text: str, fails: bool) -> None:
        where = self.folder / "where"
        script = f"set -eo pipefail\ntrap 'pwd > {where}' EXIT\n{text}"
        ended = subprocess.run(
            ["bash", "-c", script], cwd=self.at, env=self.environment, timeout=RUN_SECONDS_MAX,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        self.output = ended.stdout
        if (ended.returncode != 0) != fails:
            raise Failed(f"ended with {ended.returncode}:\n{self.output}")
        self.at = Path(where.read_text().strip())

    def start(self, argument: str, text: str) -> None:
        found = STAYS.match(argument)
        if not found:
            raise Failed('write <!-- stays: NAME, until "TEXT" -->')
        name, until = found.groups()
        log = self.folder / f"{name}.log"
        with log.open("wb") as sink:
            # A session of its own, as a terminal gives: Ctrl-C goes to everything in it.
            child = subprocess.Popen(
                ["bash", "-c", text], cwd=self.at, env=self.environment, stdin=subprocess.DEVNULL,
                stdout=sink, stderr=sink, start_new_session=True,
            )
        self.staying[name] = (child, log)
        end = time.monotonic() + START_SECONDS_MAX
        while until not in log.read_text(errors="replace"):
            if child.poll() is not None:
                raise Failed(f"{name} ended with {child.returncode}:\n{log.read_text(errors='replace')}")
            if time.monotonic() > end:
                raise Failed(f"{name} does not say {until!r}:\n{log.read_text(errors='replace')}")
            time.sleep(0.1)

    def interrupt(self, name: str) -> None:
        child, log = self.staying.pop(name)
        os.killpg(child.pid, signal.SIGINT)
        try:
            child.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            raise Failed(f"{name} does not end on Ctrl-C:\n{log.read_text(errors='replace')}") from None

    def close(self) -> list[str]:
        """Ends what stays, the last first; gives the names of what had to be killed."""
        stubborn = []
        for name in reversed(list(self.staying)):
            try:
                self.interrupt(name)
            except Failed:
                stubborn.append(name)
        return stubborn


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binaries", type=Path, required=True, help="the folder of the program fermata")
    parser.add_argument("--nats-server", required=True)
    parser.add_argument("--target", type=Path, required=True, help="where cargo builds; kept for the next time")
    parser.add_argument("--verbose", action="store_true", help="show what the blocks print")
    options = parser.parse_args()
    steps = steps_of(PAGE.read_text())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with fresh_folder() as folder:
        (folder / "fermata").symlink_to(ROOT)
        terminals = Terminals(folder, options.binaries.resolve(), options.nats_server, options.target.resolve())
        try:
            for step in steps:
                began = time.monotonic()
                try:
                    terminals.do(step)
                except Failed as error:
                    print(f"{PAGE.name}, line {step.line}: {step.kind} {step.argument}: {error}", file=sys.stderr)
                    return 1
                if options.verbose and step.kind == "run":
                    print(terminals.output, flush=True)
                print(f"line {step.line:>3}  {time.monotonic() - began:6.1f} s  {step.kind} {step.argument}", flush=True)
        finally:
            stubborn = terminals.close()
    if stubborn:
        print(f"{', '.join(stubborn)}: killed, for want of an end", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
