"""Factors and their levels in plain words."""

import json
import shlex
from collections.abc import Mapping
from typing import Any

from effnet_core.study.design import Settings, short_number

# What a factor is called where its setting's name is not plain enough.
FACTORS = {
    "freeze": "frozen stages",
    "scheduler": "schedule",
    "norm_statistics": "batch-norm statistics",
    "augment": "augmentation",
    "select": "chosen epoch",
    "head_first": "epochs of the head alone",
    "layer_decay": "layer-wise rate decay",
    "early_stop_patience": "patience",
}
LEVELS: dict[str, dict[Any, str]] = {
    "head": {"none": "one linear layer", "mlp": "two linear layers with dropout"},
    "norm_statistics": {
        "batch": "batch statistics",
        "pretrained": "pretrained statistics",
    },
    "augment": {
        "none": "no augmentation",
        "flips": "flips",
        "flips_and_turns": "flips and turns",
        "random": "random crops and colours",
    },
    "select": {"best": "best epoch", "last": "last epoch"},
    "class_weights": {"none": "unweighted loss", "balanced": "loss weighted by class"},
    "scheduler": {"plateau": "plateau", "cosine": "cosine"},
    "early_stop_patience": {None: "no early stopping"},
    "compiled": {False: "not compiled", True: "compiled"},
    "weights": {"none": "random weights", "packaged": "packaged weights"},
}


def factor(name: str) -> str:
    """A factor, as in `frozen stages` or `learning rate`."""
    return FACTORS.get(name, name.replace("_", " "))


def level(name: str, value: Any) -> str:
    """A level beside its factor's name: `2`, `one linear layer`, `raced from 1e-4 and 3e-4`."""
    if words := LEVELS.get(name, {}).get(value):
        return words
    if isinstance(value, tuple):
        *first, last = map(short_number, value)
        return f"raced from {', '.join(first)} and {last}" if first else last
    if isinstance(value, int | float):
        return short_number(value)
    return "none" if value is None else str(value)


def cell(name: str, value: Any) -> int | float | str:
    """A level as tables hold it: what pandas would take for several values or for none is words."""
    return level(name, value) if value is None or isinstance(value, tuple) else value


def full_level(name: str, value: Any) -> str:
    """A level that says which factor it is of: `freeze 2`, `cosine`, `learning rate 1e-4`."""
    words = level(name, value)
    if name == "freeze":
        return f"freeze {words}"
    return words if words in LEVELS.get(name, {}).values() else f"{factor(name)} {words}"


def typed(settings: Settings) -> dict[str, str]:
    """A configuration as `papermill -p` is given it, by setting."""
    return {
        name: shlex.quote(value if isinstance(value, str) else json.dumps(value))
        for name, value in settings.levels.items()
    }


def configuration(levels: Mapping[str, Any]) -> str:
    """A level of each factor, as in `freeze 2, one linear layer, plateau`."""
    return ", ".join(full_level(name, value) for name, value in levels.items())
