"""Check the access to weights on the Hugging Face hub, without long retries."""

import os
import urllib.error
import urllib.request

from effnet_core.study.design import Protocol

HUB = "https://huggingface.co"
PATIENCE = 5.0  # seconds; the hub's client would try for a minute


def check_weights(protocol: Protocol) -> None:
    """Make sure that the weights are available before work starts that needs them.

    If the hub does not answer, this process and its children use downloaded files only.

    Raises:
        InputError: the hub does not answer, and the weights were never downloaded.
    """
    if protocol.weights != "hub" or _answers():
        return
    os.environ["HF_HUB_OFFLINE"] = "1"  # read at the import of the hub's client
    from effnet_core.model.backbones import build_network  # noqa: PLC0415  torch

    build_network(protocol.backbone, hub=True)


def _answers() -> bool:
    address = os.environ.get("HF_ENDPOINT", HUB)
    try:
        urllib.request.urlopen(address, timeout=PATIENCE).close()
    except urllib.error.HTTPError:
        return True
    except (OSError, ValueError):
        return False
    return True
