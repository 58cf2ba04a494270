"""The processor: what it is, and which of its instructions are used.

Libraries choose instructions by what the processor offers, and other instructions round
differently. With what `PORTABLE` asks of them they compute the same bits on every x86 processor
that has AVX2, of AMD and of Intel. Each reads its variable once: NumPy and OpenBLAS when they
are loaded, PyTorch, oneDNN and MKL at their first operation.
"""

import os
import platform
import sys
from functools import cache
from pathlib import Path
from typing import Literal

from threadpoolctl import threadpool_info

from effnet_core.errors import InputError

Instructions = Literal["portable", "native"]

TORCH = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_CBWR": "COMPATIBLE",  # its AVX2 rounds differently on AMD and on Intel
}
PORTABLE = TORCH | {
    "OPENBLAS_CORETYPE": "Haswell",
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
}
# What `PORTABLE` needs.
NEEDED = {"avx2", "fma"}
VECTORS = ("sse4", "avx", "fma", "amx")
IDENTITY = ("processor", "maker", "family", "model", "stepping")

_used: list[Instructions] = []


def set_portable() -> None:
    """Ask all libraries for portable instructions, whatever the environment says."""
    if portable_here():
        os.environ.update(PORTABLE)


def use(instructions: Instructions) -> None:
    """Settle what PyTorch computes with in this process; call it before it computes.

    NumPy and OpenBLAS, loaded already, stay with the portable ones. Where portable instructions
    are not possible, this is printed.

    Raises:
        InputError: this process has computed with the others already.
    """
    if _used and _used[0] != instructions:
        raise InputError(
            f"This process computes with {_used[0]} instructions already, and PyTorch cannot "
            f"change them: start another one for {instructions} instructions."
        )
    if not _used:
        _used.append(instructions)
        for name in TORCH:
            os.environ.pop(name, None)
        if instructions == "portable":
            set_portable()
    if instructions == "portable" and not portable_here():
        print(
            f"This processor ({platform.machine()}) has no AVX2, so the portable instructions "
            "cannot be used: on other machines the last bits, and accuracies, will differ."
        )


def used(instructions: Instructions) -> str:
    """What arrays and weights computed with these instructions agree with, to the bit."""
    if instructions == "portable" and portable_here():
        return "portable"
    known = describe()
    return " ".join(["native", *(known.get(part, "") for part in IDENTITY)])


@cache
def portable_here() -> bool:
    """Whether this processor can compute as `PORTABLE` asks."""
    return set(_cpuinfo().get("flags", "").split()) >= NEEDED


def describe() -> dict[str, str]:
    """Model, maker and generation, instruction sets and caches, as far as Linux tells them."""
    known = _cpuinfo()
    wanted = {
        "maker": "vendor_id",
        "family": "cpu family",
        "model": "model",
        "stepping": "stepping",
    }
    found = {name: known[field] for name, field in wanted.items() if field in known}
    vectors = [flag for flag in known.get("flags", "").split() if flag.startswith(VECTORS)]
    return {
        "processor": known.get("model name") or platform.processor() or platform.machine(),
        **found,
        **({"instruction_sets": " ".join(sorted(vectors))} if vectors else {}),
        **({"caches": caches} if (caches := _caches()) else {}),
    }


def in_force() -> str:
    """What the libraries that are loaded say they compute with."""
    parts = [
        f"{blas['internal_api']} {blas['architecture']}"
        for blas in threadpool_info()
        if blas.get("architecture")
    ]
    if torch := sys.modules.get("torch"):
        parts.append(f"torch {torch.backends.cpu.get_cpu_capability()}")
    parts += [f"{name}={os.environ[name]}" for name in TORCH if name in os.environ]
    return ", ".join(sorted(set(parts)))


@cache
def _cpuinfo() -> dict[str, str]:
    """The first processor in Linux's list; empty on other systems."""
    path = Path("/proc/cpuinfo")
    text = path.read_text().split("\n\n")[0] if path.is_file() else ""
    pairs = (line.split(":", 1) for line in text.splitlines() if ":" in line)
    return {name.strip(): value.strip() for name, value in pairs}


def _caches() -> str:
    """For example `L1 32K Data, L2 1024K Unified`."""
    folders = sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"))
    parts = [[(f / n).read_text().strip() for n in ("level", "size", "type")] for f in folders]
    return ", ".join(f"L{level} {size} {kind}" for level, size, kind in parts)
