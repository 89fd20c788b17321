"""A docker daemon for the test: the one that runs, or one that is installed and started here, as root on Debian."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

PACKAGES = {"dockerd": "docker.io", "docker-compose": "docker-compose", "debootstrap": "debootstrap", "busybox": "busybox-static", "strip": "binutils"}
INSTALL_SECONDS_MAX = 300
READY_SECONDS_MAX = 40
# The first is how it should run; the others are for kernels that lack something.
VARIANTS = ([], ["--storage-driver=vfs"], ["--storage-driver=vfs", "--iptables=false"])


class NoDocker(Exception):
    """No docker can run here."""


def is_up() -> bool:
    if shutil.which("docker") is None:
        return False
    return subprocess.run(["docker", "info"], capture_output=True, timeout=30).returncode == 0


def is_missing(program: str) -> bool:
    if program == "docker-compose" and shutil.which("docker"):
        if subprocess.run(["docker", "compose", "version"], capture_output=True).returncode == 0:
            return False
    if program == "dockerd" and is_up():
        return False
    # Daemons lie where only root's PATH looks.
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is None


def install() -> None:
    """Everything that the test needs of the system."""
    packages = [package for program, package in PACKAGES.items() if is_missing(program)]
    if not packages:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise NoDocker(f"{', '.join(packages)} would have to be installed, which takes root on Debian")
    print(f"installing {', '.join(packages)}", flush=True)
    apt("update", "-qq")
    # The daemon wants iptables for its networks, debootstrap the keys of the archive.
    apt("install", "-y", "-qq", "--no-install-recommends", *packages, "iptables", "ca-certificates", "debian-archive-keyring")


def prometheus(folder: Path) -> Path:
    """The program alone, from Debian's package: installed, it would also start as a service."""
    program = folder / "usr" / "bin" / "prometheus"
    if not program.exists():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["apt-get", "update", "-qq"], capture_output=True, timeout=INSTALL_SECONDS_MAX)
        apt("download", "-qq", "prometheus", cwd=folder)
        package = next(folder.glob("prometheus_*.deb"))
        subprocess.run(["dpkg-deb", "-x", package, folder], check=True, timeout=60)
        package.unlink()
    return program


def apt(*arguments: str, cwd: Path | None = None) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(["apt-get", *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=INSTALL_SECONDS_MAX)
    if done.returncode != 0:
        raise NoDocker(f"apt-get {' '.join(arguments)}: {done.stderr[-500:]}")


class Daemon:
    """Ends what it started, and nothing else."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.child: subprocess.Popen | None = None

    def start(self) -> None:
        if is_up():
            return
        if os.geteuid() != 0:
            raise NoDocker("no docker daemon answers, and only root can start one")
        log_path = self.folder / "dockerd.log"
        environment = {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}
        for variant in VARIANTS:
            with log_path.open("ab") as log:
                self.child = subprocess.Popen(["dockerd", *variant], stdout=log, stderr=log, env=environment, start_new_session=True)
            end = time.monotonic() + READY_SECONDS_MAX
            while self.child.poll() is None and time.monotonic() < end:
                if is_up():
                    return
                time.sleep(0.3)
            self.stop()
        sys.stdout.write(log_path.read_text(errors="replace")[-3000:])
        raise NoDocker(f"dockerd does not start on this machine; its log is {log_path}")

    def stop(self) -> None:
        if self.child is None:
            return
        self.child.terminate()
        try:
            self.child.wait(30)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
        self.child = None
