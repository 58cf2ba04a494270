"""Factors and their levels in plain words."""

import json
import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from effnet_core.study.design import Settings, short_number

# Plain names of factors whose setting has a technical name.
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
        "mirror": "mirrored",
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
# Where a line has to do for a configuration.
SHORT = {"one linear layer": "one layer", "two linear layers with dropout": "two layers"}


def joined(parts: Iterable[object], last: str = "and") -> str:
    """Several things in a sentence, as in `1, 2 and 3`."""
    *others, end = map(str, parts)
    return f"{', '.join(others)} {last} {end}" if others else end


def factor(name: str) -> str:
    """Name of a factor, such as `frozen stages` or `learning rate`."""
    return FACTORS.get(name, name.replace("_", " "))


def level(name: str, value: Any) -> str:
    """Name of a level beside its factor: `2`, `one linear layer`, `raced from 1e-4 and 3e-4`."""
    if words := LEVELS.get(name, {}).get(value):
        return words
    if isinstance(value, tuple):
        rates = joined(map(short_number, value))
        return f"raced from {rates}" if len(value) > 1 else rates
    if isinstance(value, int | float):
        return short_number(value)
    return "none" if value is None else str(value)


def cell(name: str, value: Any) -> int | float | str:
    """A level for a table; lists and None become words, because pandas would misread them."""
    return level(name, value) if value is None or isinstance(value, tuple) else value


def beside(name: str, value: Any) -> str:
    """Name of a level that stands behind its factor's name, as in `augmentation: none`."""
    if isinstance(value, tuple) and len(value) > 1:
        return f"the best of {joined(map(short_number, value))} on validation"
    *_, noun = factor(name).split()
    words = level(name, value).removesuffix(f" {noun}")
    return "none" if words == "no" else words


def full_level(name: str, value: Any) -> str:
    """Name of a level with its factor: `freeze 2`, `cosine`, `learning rate 1e-4`."""
    words = level(name, value)
    if name == "freeze":
        return f"freeze {words}"
    return words if words in LEVELS.get(name, {}).values() else f"{factor(name)} {words}"


def typed(settings: Settings) -> dict[str, str]:
    """A configuration as parameters for `papermill -p`."""
    return {
        name: shlex.quote(value if isinstance(value, str) else json.dumps(value))
        for name, value in settings.levels.items()
    }


def configuration(levels: Mapping[str, Any]) -> str:
    """The levels of all factors in words, such as `freeze 2, one linear layer, plateau`."""
    return ", ".join(full_level(name, value) for name, value in levels.items())


def short(text: str) -> str:
    """A configuration or a level in fewer words, such as `freeze 2, one layer, plateau`."""
    for long, brief in SHORT.items():
        text = text.replace(long, brief)
    return text
