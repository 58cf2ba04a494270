"""Weights from the Hugging Face hub: without a network, one message at once, not after retries."""

import os
import urllib.error
import urllib.request

from effnet_core.study.design import Protocol

HUB = "https://huggingface.co"
PATIENCE = 5.0  # s; its client would try for a minute


def check_weights(protocol: Protocol) -> None:
    """Make sure that the weights can be had before anything starts that would wait for them.

    Where the hub does not answer, this process and those that it starts take what was
    downloaded before, and ask no more.

    Raises:
        InputError: it does not answer, and the weights were never downloaded.
    """
    if protocol.weights != "hub" or _answers():
        return
    os.environ["HF_HUB_OFFLINE"] = "1"  # read when its client is imported, which is now
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
