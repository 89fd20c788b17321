#!/usr/bin/env python3
"""The quick start of Temporal's Python SDK as its documentation teaches it, on Fermata.

The files in quickstart/ connect to localhost:7233. So Fermata runs there: on this machine if the port is free, or else in a
network of its own (`--apart` asks for that at once).
"""

from __future__ import annotations

import argparse
import fcntl
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from servers import Process, start_dev

HERE = Path(__file__).resolve().parent
PORT = 7233
RESULT = "Result: Hello, World!"
WAIT_SECONDS = 60


def is_free() -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", PORT))
            return True
        except OSError:
            return False


def apart() -> bool:
    """Runs this script again in a network of its own; gives False if the system does not allow that."""
    unshare = [shutil.which("unshare") or "unshare", "--map-root-user", "--net"]
    try:
        if subprocess.run([*unshare, "true"], stderr=subprocess.DEVNULL).returncode != 0:
            return False
    except OSError:
        return False
    os.execvp(unshare[0], [*unshare, sys.executable, *sys.argv, "--is-apart"])
    return True


def loopback_up() -> None:
    """A new network has a loopback device that is down."""
    set_flags, is_up_and_running = 0x8914, 0x1 | 0x40
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, set_flags, struct.pack("16sh14x", b"lo", is_up_and_running))


def play(fermata: Path, show: bool) -> int:
    def say(text: str) -> None:
        if show:
            print(text, flush=True)

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fermata-quickstart-", ignore_cleanup_errors=True)))
        say("$ fermata server start-dev")
        start_dev(stack, folder, fermata, PORT)
        say("$ python run_worker.py &")
        worker = Process(stack, "worker", folder, [sys.executable, HERE / "quickstart" / "run_worker.py"])
        say("$ python run_workflow.py")
        client = Process(stack, "client", folder, [sys.executable, HERE / "quickstart" / "run_workflow.py"])
        end = time.monotonic() + WAIT_SECONDS
        while client.child.poll() is None and time.monotonic() < end:
            if worker.child.poll() is not None:
                worker.fail(f"ended with {worker.child.returncode}")
            time.sleep(0.05)
        if client.child.poll() != 0:
            print(worker.said(), file=sys.stderr)
            client.fail(f"ended with {client.child.poll()}")
        print(client.said(), end="", flush=True)
        if client.said().strip() != RESULT:
            print(f"expected {RESULT!r}", file=sys.stderr)
            return 1
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fermata", type=Path, required=True)
    parser.add_argument("--show", action="store_true", help="say what is run")
    parser.add_argument("--apart", action="store_true", help="prefer a network of its own")
    parser.add_argument("--is-apart", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.is_apart:
        loopback_up()
    elif (args.apart or not is_free()) and not apart() and not is_free():
        sys.exit(f"port {PORT} is taken, and this system allows no network apart: end what listens there")
    return play(args.fermata, args.show)


if __name__ == "__main__":
    sys.exit(main())
