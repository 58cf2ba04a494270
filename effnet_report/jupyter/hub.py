"""Check the access to weights on the Hugging Face hub, without long retries."""

import os
import urllib.error
import urllib.request
from collections.abc import Iterable

from effnet_core.study.design import Protocol

HUB = "https://huggingface.co"
PATIENCE = 5.0  # seconds; the hub's client would try for a minute


def check_weights(runs: Iterable[Protocol]) -> None:
    """Make sure that the weights of runs are available before work starts that needs them.

    If the hub does not answer, this process and its children use downloaded files only. The hub's
    client reads that when it is imported, so this comes before any child imports it.

    Raises:
        InputError: the hub does not answer, and the weights were never downloaded.
    """
    wanted = sorted({run.backbone for run in runs if run.weights == "hub"})
    if not wanted or _answers():
        return
    os.environ["HF_HUB_OFFLINE"] = "1"
    from effnet_core.model.backbones import build_network  # noqa: PLC0415  torch

    for backbone in wanted:
        build_network(backbone, hub=True)


def _answers() -> bool:
    address = os.environ.get("HF_ENDPOINT", HUB)
    try:
        urllib.request.urlopen(address, timeout=PATIENCE).close()
    except urllib.error.HTTPError:
        return True
    except (OSError, ValueError):
        return False
    return True
