"""The GPUs of this machine that this process may use, and how they were found.

Nothing is looked for until somebody asks, and then once in a process.  To look makes no
context on a GPU: only the driver's own tools and files are asked.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .._public import public
from .._text import safe_str
from ._gpus import GPU_VARIABLE, Gpu, named_gpus

__all__ = ["FoundGpus", "found_gpus", "gpu_variable", "missing_gpus"]

_ROOT = Path("/")  # the folder that holds ``sys``
_HIP_VARIABLE = "HIP_VISIBLE_DEVICES"
_ROCR_VARIABLE = "ROCR_VISIBLE_DEVICES"
_VARIABLES = (GPU_VARIABLE, _HIP_VARIABLE, "ZE_AFFINITY_MASK")
_TOOL_TIMEOUT_S = 20.0  # a driver that is not loaded yet needs some seconds
_NVIDIA_LINE = re.compile(r"GPU (\d+): (.+?) \(UUID: (GPU-[^)\s]+)\)")
_MIG_LINE = re.compile(r"\s+MIG .*\(UUID: (MIG-[^)\s]+)\)")


class _Device(NamedTuple):
    """One GPU.

    Attributes:
        number: its place among all, from 0 on.
        uuid: ``GPU-...``; empty if it is not known.
        parts: the ids of its MIG instances; None if it is not divided.
    """

    number: int
    name: str
    uuid: str = ""
    parts: tuple[str, ...] | None = None


class _Scan(NamedTuple):
    """The GPUs that were found, the variables that choose among them, and why others failed."""

    devices: tuple[_Device, ...]
    variables: tuple[str, ...]
    how: str
    failures: tuple[str, ...]


@public("radical.asyncflow.worker")
class FoundGpus(NamedTuple):
    """The GPUs that this process may use.

    Attributes:
        ids: by number, or as ``GPU-...`` or ``MIG-...``, as `variable` names them.
        variable: the environment variable that says which of them a process sees.
        is_known: False if nothing on this machine says how many there are.
        how: in words, what was found and how.
    """

    ids: tuple[Gpu, ...]
    variable: str
    is_known: bool
    how: str


@public("radical.asyncflow.worker")
def found_gpus() -> FoundGpus:
    """Return the GPUs of this machine that this process may use.

    NVIDIA's are found through NVML, if ``nvidia-ml-py`` is installed, or else by
    ``nvidia-smi``; AMD's in ``/sys/class/kfd``, or else by ``rocm-smi``.  If the process's own
    ``CUDA_VISIBLE_DEVICES``, ``HIP_VISIBLE_DEVICES`` or ``ZE_AFFINITY_MASK`` is set, only those
    that it names count, with the ids that it gives them.  Where nothing tells what there is,
    these variables alone count.  To look may take a second, once in a process.
    """
    scan = _scan()
    if scan.devices:
        return _limited(scan)
    tried = "; ".join(scan.failures)
    for variable in _VARIABLES:
        if gpus := named_gpus(os.environ.get(variable, "")):
            return FoundGpus(gpus, variable, True, f"named by {variable}; {tried}")
    given = next((variable for variable in _VARIABLES if variable in os.environ), None)
    if given is not None:
        how = f"none: {given} is {os.environ[given]!r}; {tried}"
        return FoundGpus((), given, True, how)
    return FoundGpus((), GPU_VARIABLE, False, f"none: {tried}")


@public("radical.asyncflow.worker")
def missing_gpus(gpus: Iterable[Gpu]) -> list[Gpu]:
    """Return those of *gpus* that this machine surely does not have."""
    scan = _scan()
    if not scan.devices:
        return []
    devices = _numbered(scan)
    return [gpu for gpu in gpus if not _existing((gpu,), devices)]


def gpu_variable() -> str:
    """Return the environment variable that says which GPUs of this machine a process sees."""
    return found_gpus().variable


def _limited(scan: _Scan) -> FoundGpus:
    """Return those of the found GPUs that the environment leaves to this process."""
    devices, how = _numbered(scan), _in_words(scan)
    if devices is not scan.devices:
        how += f"; {_ROCR_VARIABLE} is {os.environ[_ROCR_VARIABLE]!r}"
    variable = next((name for name in scan.variables if name in os.environ), None)
    if variable is not None:
        gpus = _existing(named_gpus(os.environ[variable]), devices)
        how += f"; {variable} is {os.environ[variable]!r}"
        return FoundGpus(gpus, variable, True, how)
    ids: list[Gpu] = []
    divided = any(device.parts is not None for device in devices)
    for device in devices:
        if device.parts is not None:
            ids += device.parts
        else:
            ids.append(device.uuid if divided else device.number)
    return FoundGpus(tuple(ids), scan.variables[0], True, how)


def _numbered(scan: _Scan) -> tuple[_Device, ...]:
    """Return the devices with the numbers that this process knows them by."""
    if _HIP_VARIABLE not in scan.variables or _ROCR_VARIABLE not in os.environ:
        return scan.devices
    left = len(_existing(named_gpus(os.environ[_ROCR_VARIABLE]), scan.devices))
    return tuple(_Device(number, "") for number in range(left))


def _existing(gpus: Sequence[Gpu], devices: Sequence[_Device]) -> tuple[Gpu, ...]:
    """Return *gpus* up to the first that does not exist, as a driver reads its variable."""
    numbers = {device.number for device in devices}
    uuids = [device.uuid for device in devices if device.uuid]
    for place, gpu in enumerate(gpus):
        if isinstance(gpu, int):
            exists = gpu in numbers
        else:  # a beginning is enough; an instance of a divided GPU has names of several forms
            exists = (
                not gpu.startswith("GPU-")
                or not uuids
                or any(uuid.startswith(gpu) for uuid in uuids)
            )
        if not exists:
            return tuple(gpus[:place])
    return tuple(gpus)


def _in_words(scan: _Scan) -> str:
    names = [device.name for device in scan.devices]
    kinds = ", ".join(f"{names.count(name)} × {name}" for name in dict.fromkeys(names))
    parts = [part for device in scan.devices for part in device.parts or ()]
    if any(device.parts is not None for device in scan.devices):
        kinds += f" with {len(parts)} MIG instances"
    return f"{kinds}, found {scan.how}"


_scanning = threading.Lock()


def _scan() -> _Scan:
    with _scanning:
        return _scan_once(_ROOT)


@functools.cache
def _scan_once(root: Path) -> _Scan:
    nvidia, amd = (GPU_VARIABLE,), (_HIP_VARIABLE, GPU_VARIABLE)
    ways: list[tuple[Callable[[], list[_Device]], tuple[str, ...], str]] = [
        (_ask_nvml, nvidia, "through NVML"),
        (_ask_nvidia_smi, nvidia, "by nvidia-smi"),
        (functools.partial(_read_kfd, root), amd, "in /sys/class/kfd"),
        (_ask_rocm_smi, amd, "by rocm-smi"),
    ]
    failures: list[str] = []
    for look, variables, how in ways:
        try:
            return _Scan(tuple(look()), variables, how, tuple(failures))
        except Exception as error:  # of a driver, or of what calls itself one
            failures.append(str(error) if isinstance(error, _NoneFoundError) else safe_str(error))
    return _Scan((), (), "", tuple(failures))


class _NoneFoundError(Exception):
    """This way finds no GPU; the message says why."""


def _ask_nvml() -> list[_Device]:
    try:
        import pynvml
    except ImportError:
        raise _NoneFoundError("nvidia-ml-py is not installed") from None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise _NoneFoundError(f"NVML: {error}") from None
    try:
        devices = [
            device
            for index in range(pynvml.nvmlDeviceGetCount())
            if (device := _nvml_device(pynvml, index)) is not None
        ]
    finally:
        pynvml.nvmlShutdown()
    if not devices:
        raise _NoneFoundError("NVML knows no GPU")
    return devices


def _nvml_device(pynvml: Any, index: int) -> _Device | None:
    """Return one GPU; None if it does not answer, because it fell off the bus."""
    try:
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        name = _text(pynvml.nvmlDeviceGetName(handle))
        uuid = _text(pynvml.nvmlDeviceGetUUID(handle))
    except pynvml.NVMLError:
        return None
    try:
        current, _ = pynvml.nvmlDeviceGetMigMode(handle)
    except pynvml.NVMLError:  # it cannot be divided
        current = 0
    if not current:
        return _Device(index, name, uuid)
    parts = []
    for number in range(pynvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
        try:
            part = pynvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, number)
        except pynvml.NVMLError:  # there is no instance at this place
            continue
        parts.append(_text(pynvml.nvmlDeviceGetUUID(part)))
    return _Device(index, name, uuid, tuple(parts))


def _text(value: str | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _ask_nvidia_smi() -> list[_Device]:
    devices: list[_Device] = []
    output = _run("nvidia-smi", "-L")
    for line in output.splitlines():
        if found := _NVIDIA_LINE.match(line):
            devices.append(_Device(int(found[1]), found[2], found[3]))
        elif devices and (found := _MIG_LINE.match(line)):
            parts = devices[-1].parts or ()
            devices[-1] = devices[-1]._replace(parts=(*parts, found[1]))
    if not devices:
        raise _NoneFoundError(f"nvidia-smi names no GPU: {_first_line(output)}")
    return devices


def _read_kfd(root: Path) -> list[_Device]:
    """Read what AMD's kernel driver says; a GPU that a container must not use cannot be read."""
    names = []
    nodes = root / "sys/class/kfd/kfd/topology/nodes"
    for node in sorted(nodes.glob("*"), key=lambda node: (len(node.name), node.name)):
        try:
            properties = dict(
                line.split(maxsplit=1)
                for line in (node / "properties").read_text(encoding="utf-8").splitlines()
            )
            name = (node / "name").read_text(encoding="utf-8").strip()
        except (OSError, ValueError):
            continue
        if int(properties.get("simd_count", "0")):  # else it is a processor
            names.append(name)
    if not names:
        raise _NoneFoundError("no AMD GPU in /sys/class/kfd")
    return [_Device(index, f"AMD {name or 'GPU'}") for index, name in enumerate(names)]


def _ask_rocm_smi() -> list[_Device]:
    output = _run("rocm-smi", "--showproductname", "--json")
    try:
        cards = json.loads(output[output.index("{") :])  # warnings may come before
    except ValueError:
        cards = {}
    facts = [value for key, value in cards.items() if re.fullmatch(r"card\d+", key)]
    if not facts:
        raise _NoneFoundError(f"rocm-smi names no GPU: {_first_line(output)}")
    return [_Device(index, f"AMD {_product(card)}") for index, card in enumerate(facts)]


def _product(card: dict[str, str]) -> str:
    """Return the name of a GPU, whose key differs among the versions of ``rocm-smi``."""
    known = {key.lower(): value for key, value in card.items()}
    return known.get("card series") or known.get("card model") or "GPU"


def _run(program: str, *arguments: str) -> str:
    """Return what a tool of a driver prints."""
    path = shutil.which(program)
    if path is None:
        raise _NoneFoundError(f"there is no {program}")
    try:
        return subprocess.run(
            [path, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_TOOL_TIMEOUT_S,
            encoding="utf-8",
            errors="replace",
        ).stdout
    except subprocess.TimeoutExpired:
        raise _NoneFoundError(f"{program} did not end within {_TOOL_TIMEOUT_S:g} s") from None
    except OSError as error:
        raise _NoneFoundError(f"{program}: {error.strerror}") from None


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0] or "it prints nothing"
