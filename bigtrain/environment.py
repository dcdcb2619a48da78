"""What a run ran on: versions, hardware, command line. Nothing secret, nothing slow, no torch import."""

from __future__ import annotations

import functools
import os
import platform
import re
import shlex
import socket
import subprocess
import sys
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import bigtrain

_VARIABLES = ("WORLD_SIZE", "LOCAL_WORLD_SIZE", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "SLURM_JOB_ID")
_SECRET_NAME = r"(?:token|api_?key|secret|passw(?:or)?d|credentials?)"
_SECRET_VARIABLE = re.compile(rf"{_SECRET_NAME}$|_KEY$", re.IGNORECASE)
_SECRET_IN_TEXT = re.compile(
    rf"(?P<key>(?:^|[\W_]){_SECRET_NAME}=)[^\s&]+"  # key=value, also in the query of a URL
    r"|(?P<scheme>[a-z][a-z0-9+]*://)[^\s/@]+@",  # scheme://user:password@host
    re.IGNORECASE,
)


def redact(text: str) -> str:
    """`text` without secrets: values of variables of the environment, `token=...`, and passwords in URLs."""
    for name, value in os.environ.items():
        if len(value) >= 8 and _SECRET_VARIABLE.search(name):
            text = text.replace(value, "[redacted]")
    return _SECRET_IN_TEXT.sub(
        lambda match: f"{match['key']}[redacted]" if match["key"] else f"{match['scheme']}[redacted]@", text
    )


@functools.cache  # each time it reads the distribution's files
def version(package: str) -> str | None:
    """The installed version of a distribution, without importing it; None where it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def cpu_model() -> str:
    """What the maker calls the processor."""
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.processor() or platform.machine()


def usable_cpus() -> int:
    """Logical CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cuda_devices() -> list[str]:
    """Names of the CUDA devices; empty as long as nobody has imported torch."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return []
    return [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]


def git_commit() -> str | None:
    """The commit checked out in the current folder, where it is a git repository."""
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=2, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def describe() -> dict[str, Any]:
    """The content of environment.json."""
    return {
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": redact(shlex.join(sys.argv)),
        "folder": str(Path.cwd()),
        "bigtrain": bigtrain.__version__,
        "git_commit": git_commit(),
        "python": platform.python_version(),
        "torch": version("torch"),
        "numpy": version("numpy"),
        "tokenizers": version("tokenizers"),
        "platform": platform.platform(),
        "host": socket.gethostname(),
        "cpu": cpu_model(),
        "cpus": os.cpu_count(),
        "usable_cpus": usable_cpus(),
        "cuda_devices": cuda_devices(),
        "variables": {name: os.environ[name] for name in _VARIABLES if name in os.environ},
    }
