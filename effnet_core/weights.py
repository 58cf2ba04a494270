"""The trained weights of a run: one file in the cache that says which record they belong to."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from effnet_core import files, paths
from effnet_core.errors import InputError
from effnet_core.study.schema import Record

if TYPE_CHECKING:  # torch, which readers of the description do without
    from effnet_core.model.backbones import Backbone

ENTRY = "effnet"  # of the file's metadata: what it says of itself


def save(record: Record, backbone: "Backbone") -> None:
    """Write a finished run's weights; the same run leaves the same file to the bit.

    On a full disk the record stays, and a line is printed.

    Args:
        backbone: whose network is the trained one, with its new head as the classifier.
    """
    from safetensors.torch import save_file  # noqa: PLC0415

    about = description(record) | {"mean": backbone.mean, "std": backbone.std}
    tensors = {n: value.contiguous() for n, value in backbone.network.state_dict().items()}
    try:
        with files.replaced(paths.weights(record.settings.study, record.run_id)) as partial:
            # One entry: with several, their order in the file would change.
            save_file(tensors, partial, {ENTRY: json.dumps(about, sort_keys=True)})
    except (InputError, SafetensorError) as error:
        print(f"The trained weights are not kept; the record is. {error}", flush=True)


def description(record: Record) -> dict[str, Any]:
    """What a file of weights repeats of its run's record: all that equal runs have in common."""
    return record.model_dump(mode="json", exclude={"made": True, "settings": {"cache_gb"}})


def describe(path: Path) -> dict[str, Any]:
    """What a file of weights says of itself: its run's record, `mean` and `std`.

    Raises:
        InputError: not such a file.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            return json.loads(file.metadata()[ENTRY])
    except (SafetensorError, OSError, ValueError, KeyError, TypeError):
        raise InputError(f"{path} does not hold the weights of a run. Delete it.") from None


def check(path: Path, record: Record) -> None:
    """Make sure that a file describes the weights of this record.

    Raises:
        InputError: it is damaged, or of another run, other classes or other trained weights.
    """
    about, expected = describe(path), description(record)
    parts = ("schema_version", "run_id", "settings", "facts", "outcome", "fingerprints")
    different = [name for name in parts if about.get(name) != expected[name]]
    if different:
        raise InputError(
            f"{path} does not belong to the record of {record.run_id}: its "
            f"{', '.join(different)} differ. Delete the file: the run is then trained again."
        )
