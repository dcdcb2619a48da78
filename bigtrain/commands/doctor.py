"""`bigtrain doctor`: what is here, how fast it multiplies, what is missing and how to get it."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bigtrain
from bigtrain import environment
from bigtrain.config import folders
from bigtrain.data.pipeline import cache_folder
from bigtrain.errors import UserError
from bigtrain.units import gib

if TYPE_CHECKING:
    import torch

# What each extra gives; a test holds that none is left out. Those of developers are not looked for.
EXTRAS = {
    "hf": "opens bigtrain's checkpoints in Hugging Face's own classes",
    "data": "reads html, parquet, zst and any encoding, and identifies languages",
    "dask": "executor=dask: prepare on a cluster",
    "chinese": "cuts Chinese into words",
    "metrics": "evals=answers: BLEU and chrF",
    "search": "search.trials=: hyper-parameter search",
    "tensorboard": "track=tensorboard",
    "wandb": "track=wandb",
    "mlflow": "track=mlflow",
}
OF_DEVELOPERS = ("sentencepiece", "bench", "minilm", "dev")
LITTLE_DISK = 2 * 2**30
SECONDS_OF_A_MEASUREMENT = 0.3


def run() -> dict[str, Any]:
    """Look at everything; what stands in the way, or could be added, is in the list `missing`."""
    import torch

    missing: list[str] = []
    devices = [torch.device("cpu")] + [torch.device("cuda", i) for i in range(torch.cuda.device_count())]
    return {
        "versions": _versions(missing),
        "extras": _extras(missing),
        "cpu": _cpu(missing),
        "cuda": _cuda(missing),
        "matmul": {str(device): _matmul(device) for device in devices},
        "distributed": _distributed(),
        "folders": _folders(missing),
        "configs": _configs(missing),
        "missing": missing,
    }


def show(result: dict[str, Any]) -> None:
    """Print a result for people."""
    _section("versions", {name: version or "not installed" for name, version in result["versions"].items()})
    _section("extras", {name: _in_words(extra) for name, extra in result["extras"].items()})
    cpu = result["cpu"]
    lines = {
        "cpu": f"{cpu['model']}, {cpu['usable_cpus']} of {cpu['cpus']} logical CPUs, {cpu['threads']} threads",
        "memory": f"{gib(cpu['memory_bytes'])}",
        "C++ compiler": cpu["compiler"] or "none",
    }
    for number, device in enumerate(result["cuda"]):
        bf16 = "bf16" if device["bf16"] else "no bf16"
        lines[f"cuda:{number}"] = f"{device['name']}, {gib(device['memory_bytes'])}, {bf16}"
    if not result["cuda"]:
        lines["cuda"] = "none"
    _section("devices", {**lines, "distributed": ", ".join(result["distributed"]) or "none"})
    for device, speed in result["matmul"].items():
        rows = {name: f"{row['gflops']:,.0f} GFLOP/s, worst error {row['error']:.1e}" for name, row in speed.items()}
        _section(f"matrix products on {device} (n=1024; error of n=512 against float64)", rows)
    disks = {path: f"{gib(disk['free_bytes'])} free{_writable(disk)}" for path, disk in result["folders"].items()}
    _section("folders", {**disks, "configs": ", ".join(result["configs"])})
    print("\nmissing" if result["missing"] else "\nnothing is missing")
    for line in result["missing"]:
        print(f"  {line}")


def _section(title: str, rows: dict[str, str]) -> None:
    print(f"\n{title}")
    width = max(map(len, rows))
    for name, value in rows.items():
        print(f"  {name:<{width}}  {value}")


def _writable(disk: dict[str, Any]) -> str:
    return "" if disk["writable"] else ", cannot be written"


def _versions(missing: list[str]) -> dict[str, str | None]:
    found = {package: environment.version(package) for package in _required().get("", [])}
    missing += [f"{name}: pip install {name}" for name, version in found.items() if version is None]
    if not found:
        missing.append("bigtrain's own metadata: install it (pip install .), rather than run it from its folder")
    return {"bigtrain": bigtrain.__version__, "python": platform.python_version(), **found}


def _extras(missing: list[str]) -> dict[str, dict[str, Any]]:
    """What each extra gives, and the versions of its packages."""
    found = {}
    for extra, packages in _required().items():
        if extra not in EXTRAS:
            continue
        versions = {package: environment.version(package) for package in packages}
        found[extra] = {"gives": EXTRAS[extra], "packages": versions}
        if absent := [package for package, version in versions.items() if version is None]:
            missing.append(f"{', '.join(absent)} (optional, {EXTRAS[extra]}): pip install 'bigtrain[{extra}]'")
    return found


def _required() -> dict[str, list[str]]:
    """Names of the packages that bigtrain asks for, under "", and those of each extra."""
    try:
        lines = metadata.requires("bigtrain") or []
    except metadata.PackageNotFoundError:
        lines = []
    found: dict[str, list[str]] = {}
    for line in lines:
        extra = re.search(r"extra\s*==\s*[\"']([^\"']+)", line)
        found.setdefault(extra[1] if extra else "", []).append(re.split(r"[^\w.-]", line, maxsplit=1)[0])
    return found


def _in_words(extra: dict[str, Any]) -> str:
    names = [f"{name} {version or 'missing'}" for name, version in extra["packages"].items()]
    return f"{extra['gives']} ({', '.join(names)})"


def _cpu(missing: list[str]) -> dict[str, Any]:
    import torch

    compiler = os.environ.get("CXX") or next(filter(None, map(shutil.which, ("g++", "clang++", "c++"))), None)
    if compiler is None:
        missing.append("a C++ compiler (for device.compile=true on CPU): install g++ or clang")
    return {
        "model": environment.cpu_model(),
        "cpus": os.cpu_count(),
        "usable_cpus": environment.usable_cpus(),
        "threads": torch.get_num_threads(),
        "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "compiler": compiler,
    }


def _cuda(missing: list[str]) -> list[dict[str, Any]]:
    import torch

    if not torch.cuda.is_available() and shutil.which("nvidia-smi"):
        built = torch.version.cuda or "none"
        missing.append(
            f"CUDA: there is an NVIDIA driver, but torch (built for CUDA {built}) cannot use it: install a torch of the"
            " driver's CUDA version, see pytorch.org/get-started"
        )
    found = []
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        bf16 = properties.major >= 8
        found.append({"name": properties.name, "memory_bytes": properties.total_memory, "bf16": bf16})
        if not bf16:
            missing.append(f"bf16 on cuda:{index} ({properties.name}): use device.precision=fp32 there")
    return found


def _matmul(device: torch.device) -> dict[str, dict[str, float]]:
    """Speed and accuracy of the three ways to multiply: fp32, fp32 by the fast route, operands cast to bf16."""
    import torch

    from bigtrain.parallel.hardware import worst_error

    ways = {"fp32": (False, torch.float32), "fp32, fast route": (True, torch.float32), "bf16": (False, torch.bfloat16)}
    table = {}
    for name, (fast, dtype) in ways.items():
        with _fp32_matmul(fast):
            table[name] = {"gflops": _gflops(device, dtype), "error": worst_error(device, dtype)}
    return table


@contextlib.contextmanager
def _fp32_matmul(fast: bool) -> Iterator[None]:
    """The arithmetic that `device.fp32_matmul` chooses, for a moment."""
    import torch

    cpu, cuda = torch.backends.mkldnn.matmul, torch.backends.cuda.matmul  # type: ignore[attr-defined]
    before = cpu.fp32_precision, cuda.fp32_precision
    cpu.fp32_precision, cuda.fp32_precision = ("bf16", "tf32") if fast else ("ieee", "ieee")
    try:
        yield
    finally:
        cpu.fp32_precision, cuda.fp32_precision = before


def _gflops(device: torch.device, dtype: torch.dtype, n: int = 1024) -> float:
    import torch

    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(n, n, generator=generator).to(device, dtype) for _ in range(2))
    wait: Callable[[], None] = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    a @ b  # the first one prepares
    wait()
    times, began = 0, time.perf_counter()
    while (spent := time.perf_counter() - began) < SECONDS_OF_A_MEASUREMENT:
        for _ in range(50 if device.type == "cuda" else 1):
            a @ b
            times += 1
        wait()
    return 2 * n**3 * times / spent / 1e9


def _distributed() -> list[str]:
    import torch.distributed as dist

    if not dist.is_available():
        return []
    there = {"gloo": dist.is_gloo_available(), "nccl": dist.is_nccl_available(), "mpi": dist.is_mpi_available()}
    return [name for name, available in there.items() if available]


def _folders(missing: list[str]) -> dict[str, dict[str, Any]]:
    """Room and permission in the current folder and the cache; of a folder not made yet, its nearest parent's."""
    found = {}
    for path, remedy in ((Path.cwd(), "change to another folder"), (cache_folder(), "set BIGTRAIN_CACHE")):
        there = next(parent for parent in (path, *path.parents) if parent.exists())
        free, writable = shutil.disk_usage(there).free, os.access(there, os.W_OK | os.X_OK)
        found[str(path)] = {"free_bytes": free, "writable": writable}
        if not writable:
            missing.append(f"the right to write in {there}: {remedy}, or chmod u+w it")
        if free < LITTLE_DISK:
            missing.append(f"disk: only {gib(free)} are free in {there}: make room, or {remedy}")
    return found


def _configs(missing: list[str]) -> list[str]:
    try:
        found = folders.search()
    except UserError as error:
        missing.append(f"{error.given}: {error.rule}; {error.remedy}")
        found = [folders.packaged()]
    if not found[-1].is_dir():
        missing.append(
            f"bigtrain's own configs in {found[-1]}: install it again (pip install --force-reinstall bigtrain)"
        )
    return [str(folder) for folder in found]
