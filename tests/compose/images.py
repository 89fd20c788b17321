"""The images of the stack, without a registry: the real Dockerfile on a Debian that is made here, with binaries already built."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import daemon

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
DEBIAN = "fermata-test/debian"
FERMATA = "fermata-test/fermata"
ORDERS = "fermata-test/orders"
NATS = "fermata-test/nats"
PROMETHEUS = "fermata-test/prometheus"
BUILD_SECONDS_MAX = 240


def run(*command: str | Path, seconds: int = BUILD_SECONDS_MAX) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=seconds)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}: exit {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return done.stdout


def debian(cache: Path) -> None:
    """Stands for debian:bookworm-slim, and for the builder: nothing is compiled in this test."""
    if subprocess.run(["docker", "image", "inspect", DEBIAN], capture_output=True).returncode == 0:
        return
    archive = cache / "debian.tar"
    if not archive.exists():
        print("making a Debian for the images", flush=True)
        with tempfile.TemporaryDirectory(prefix="fermata-debian-") as folder:
            root = Path(folder) / "root"
            run("debootstrap", "--variant=minbase", "bookworm", root, "http://deb.debian.org/debian", seconds=420)
            part = archive.with_suffix(".part")
            run("tar", "-C", root, "--exclude=./var/cache/apt/*", "--exclude=./var/lib/apt/lists/*", "-cf", part, ".")
            part.rename(archive)
    run("docker", "import", archive, DEBIAN)


def build(image: str, dockerfile: str, files: dict[str, Path], *options: str) -> None:
    """One image from a folder that holds just `files`."""
    with tempfile.TemporaryDirectory(prefix="fermata-image-") as folder:
        context = Path(folder)
        for name, source in files.items():
            target = context / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
        run("docker", "build", "-f", context / dockerfile, "-t", image, *options, context)


def build_all(cache: Path, binaries: Path, nats_server: Path) -> None:
    debian(cache)
    with tempfile.TemporaryDirectory(prefix="fermata-binaries-") as folder:
        small = Path(folder)
        for name in ("fermata", "orders-worker"):
            # Debug symbols are most of a debug binary.
            run("strip", "--strip-debug", "-o", small / name, binaries / name)
        files = {
            "deploy/Dockerfile": ROOT / "deploy" / "Dockerfile",
            "deploy/compile": ROOT / "deploy" / "compile",
            "deploy/binaries/fermata": small / "fermata",
            "deploy/binaries/orders-worker": small / "orders-worker",
        }
        arguments = ("--build-arg", f"BUILDER={DEBIAN}", "--build-arg", f"BASE={DEBIAN}")
        build(ORDERS, "deploy/Dockerfile", files, *arguments, "--target", "orders")
        build(FERMATA, "deploy/Dockerfile", files, *arguments)
    busybox = Path(shutil.which("busybox") or "/bin/busybox")
    build(NATS, "nats.Dockerfile", {"nats.Dockerfile": HERE / "images" / "nats.Dockerfile", "nats-server": nats_server, "busybox": busybox})
    prometheus = daemon.prometheus(cache / "prometheus")
    build(PROMETHEUS, "prometheus.Dockerfile", {"prometheus.Dockerfile": HERE / "images" / "prometheus.Dockerfile", "prometheus": prometheus})
