"""Trained weights of a run: one cache file that names the record it belongs to."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from effnet_core import files, paths
from effnet_core.errors import InputError
from effnet_core.study.schema import Record

if TYPE_CHECKING:  # importing torch is slow, and reading a description needs none
    from effnet_core.model.backbones import Backbone

ENTRY = "effnet"  # key of the description in the file's metadata


def save(record: Record, backbone: "Backbone") -> None:
    """Write the weights of a finished run; equal runs write equal files.

    On a full disk a line is printed and the record stays.

    Args:
        backbone: holds the trained network, with the new head as its classifier.
    """
    from safetensors.torch import save_file  # noqa: PLC0415

    about = description(record) | {"mean": backbone.mean, "std": backbone.std}
    tensors = {n: value.contiguous() for n, value in backbone.network.state_dict().items()}
    try:
        with files.replaced(paths.weights(record.settings.study, record.run_id)) as partial:
            # A single entry, because the order of several would vary.
            save_file(tensors, partial, {ENTRY: json.dumps(about, sort_keys=True)})
    except (InputError, SafetensorError) as error:
        print(f"The trained weights are not kept; the record is. {error}", flush=True)


def description(record: Record) -> dict[str, Any]:
    """The part of a record that its weights file repeats: everything that equal runs share."""
    return record.model_dump(mode="json", exclude={"made": True, "settings": {"cache_gb"}})


def describe(path: Path) -> dict[str, Any]:
    """Read the description of a weights file: its run's record, `mean` and `std`.

    Raises:
        InputError: not a weights file of a run.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            return json.loads(file.metadata()[ENTRY])
    except (SafetensorError, OSError, ValueError, KeyError, TypeError):
        raise InputError(f"{path} does not hold the weights of a run. Delete it.") from None


def check(path: Path, record: Record) -> None:
    """Make sure that a weights file belongs to a record.

    Raises:
        InputError: the file is damaged, or describes another run, other classes or other weights.
    """
    about, expected = describe(path), description(record)
    parts = ("schema_version", "run_id", "settings", "facts", "outcome", "fingerprints")
    different = [name for name in parts if about.get(name) != expected[name]]
    if different:
        raise InputError(
            f"{path} does not belong to the record of {record.run_id}: its "
            f"{', '.join(different)} differ. Delete the file, and the run is trained again."
        )
