"""The same bits on processors that are not here: `make processors`.

A few steps of every freeze depth with both heads are trained on real images, on this machine, on
models that qemu emulates (Debian: `apt-get install qemu-user`), and here with other things
changed that no result may depend on. The page Reproducibility shows what came out.
"""

import gc
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import NamedTuple

from rich.console import Console

from effnet_core import paths
from effnet_core.errors import InputError
from effnet_core.study.design import FREEZE, HEADS
from effnet_core.study.provenance import hardware, versions
from effnet_report.measurements.processors import OtherProcessor, Processors


class Place(NamedTuple):
    """Where the steps are trained.

    Attributes:
        what: as the page names it.
        model: that qemu emulates; this processor itself if empty.
        variables: of the environment, changed.
    """

    what: str
    model: str = ""
    variables: tuple[tuple[str, str], ...] = ()


HERE = Place("this machine")
EMULATED = [
    Place("AMD, Zen (2017)", "EPYC"),
    Place("AMD, Zen 2 (2019)", "EPYC-Rome"),
    Place("AMD, Zen 3 (2021)", "EPYC-Milan"),
    Place("Intel, Haswell (2013)", "Haswell"),
    Place("Intel, Broadwell (2014)", "Broadwell"),
    Place("Intel, Skylake (2015)", "Skylake-Client"),
]
CHANGED = [
    Place("here, other hash seed", variables=(("PYTHONHASHSEED", "7"),)),
    Place("here, no language", variables=(("LC_ALL", "C"), ("PYTHONUTF8", "0"))),
    Place("here, other time zone", variables=(("TZ", "Asia/Kathmandu"),)),
    # Arrays begin elsewhere, and what nobody wrote yet is not zero.
    Place(
        "here, other memory",
        variables=(("MALLOC_ARENA_MAX", "1"), ("MALLOC_PERTURB_", "85"), ("MALLOC_TOP_PAD_", "64")),
    ),
    Place("here, four threads offered", variables=(("OMP_NUM_THREADS", "4"),)),
    Place("here, no fast image decoder", variables=(("JSIMD_FORCENONE", "1"),)),
]
STEPS = 2
# Every depth and head at the small size; a map's size decides the route through a convolution.
CASES = [
    *(("quick", freeze, head) for freeze, head in product(FREEZE, HEADS)),
    *(("elpv", freeze, "none") for freeze in (0, 4)),
]

Hashes = dict[str, str]


def train(cases: Sequence[tuple[str, int, str]] = CASES) -> Hashes:
    """sha256 of what leaves the frozen stages, and of the trained weights, by configuration."""
    import numpy as np  # noqa: PLC0415  only the process that computes needs them
    import torch  # noqa: PLC0415
    from torch.nn.functional import cross_entropy  # noqa: PLC0415

    from effnet_core import run  # noqa: PLC0415
    from effnet_core.data.datasets import load_dataset  # noqa: PLC0415
    from effnet_core.data.images import decode  # noqa: PLC0415
    from effnet_core.model.backbones import load_backbone, weights_hash  # noqa: PLC0415
    from effnet_core.model.convolutions import move_to_device  # noqa: PLC0415
    from effnet_core.model.freezing import FrozenNetwork  # noqa: PLC0415
    from effnet_core.model.heads import build_head  # noqa: PLC0415
    from effnet_core.model.prefix import Pixels, frozen_boundary  # noqa: PLC0415
    from effnet_core.study.studies import read_settings  # noqa: PLC0415

    digests = {}
    for study, freeze, head in cases:
        settings = read_settings({"study": study, "freeze": freeze, "head": head})
        run.begin_again(settings)
        dataset = load_dataset(settings.dataset)
        chosen = range(0, len(dataset), len(dataset) // (STEPS * settings.batch_size) + 1)
        images = np.stack([decode(dataset.images[i], settings.image_size) for i in chosen])
        backbone = load_backbone(settings.backbone, settings.weights)
        classifier = build_head(settings, backbone.features, len(dataset.classes))
        model = FrozenNetwork(backbone.network, classifier, freeze)
        move_to_device(model, settings.device)
        pixels = Pixels(images, backbone, settings.device)
        boundary = frozen_boundary(pixels, model.prefix, freeze, settings.batch_size, {})
        adam = torch.optim.Adam(model.trainable_parameters(), lr=1e-3, fused=True)
        torch.manual_seed(settings.seed)
        model.train()
        leaves = boundary(np.arange(len(images)))
        labels = torch.from_numpy(dataset.labels[list(chosen)])
        for batch, truth in zip(
            leaves.split(settings.batch_size), labels.split(settings.batch_size), strict=True
        ):
            adam.zero_grad()
            cross_entropy(model.suffix(batch), truth).backward()
            adam.step()
        case = f"{settings.image_size} px, freeze {freeze}"
        digests[f"{case}, activations"] = hashlib.sha256(leaves.numpy().tobytes()).hexdigest()
        digests[f"{case}, {head}, weights"] = weights_hash(model.suffix.state_dict())
    return digests


def on(where: Place, cases: Sequence[tuple[str, int, str]] = CASES) -> Hashes:
    """`train` in a process of its own.

    Raises:
        InputError: there is no qemu, or the process failed.
    """
    emulator = shutil.which("qemu-x86_64")
    if where.model and not emulator:
        raise InputError("qemu-x86_64 is missing. Install it: apt-get install qemu-user")
    prefix = [str(emulator), "-cpu", where.model] if where.model else []
    done = subprocess.run(
        [*prefix, sys.executable, "-m", "bench.processors", json.dumps(list(cases))],
        cwd=paths.ROOT,
        env=os.environ | dict(where.variables),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise InputError(f"Training on {where.what} failed: {done.stderr.strip()[-500:]}")
    return json.loads(done.stdout.splitlines()[-1])


def measure(places: Sequence[Place], tell: Callable[[str], None]) -> Processors:
    """This machine's hashes, and which other processors differ where.

    Args:
        places: as many at a time as there are cores.
        tell: called after each.
    """
    here = on(HERE)
    rows = []
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for where, hashes in zip(places, pool.map(on, places), strict=True):
            different = [name for name in here if hashes[name] != here[name]]
            tell(f"{where.what}: {len(here) - len(different)} of {len(here)} equal to the bit")
            rows.append(
                OtherProcessor(
                    what=where.what,
                    emulated=where.model,
                    variables=dict(where.variables),
                    different=different,
                )
            )
    return Processors(
        machine=hardware(), versions=versions(), steps=STEPS, hashes=here, places=rows
    )


def main() -> None:
    if len(sys.argv) > 1:
        gc.disable()  # an emulator takes a minute to import PyTorch, of which this is a fifth
        print(json.dumps(train(json.loads(sys.argv[1]))))
        return
    console = Console(stderr=True)
    console.print(f"{len(EMULATED)} emulated processors take five minutes each, on a core each.")
    try:
        content = measure([*EMULATED, *CHANGED], console.print)
    except InputError as error:
        sys.exit(str(error))
    content.save()
    console.print(f"Written: {Processors.path().relative_to(paths.ROOT)}")


if __name__ == "__main__":
    main()
