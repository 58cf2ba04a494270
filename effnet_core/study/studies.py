"""Finding and reading a study's YAML file and a run's settings, with errors a person can act on."""

import difflib
import hashlib
import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from effnet_core import paths
from effnet_core.errors import InputError
from effnet_core.study.design import (
    PARAMETERS,
    VARIANT,
    Levels,
    Protocol,
    Settings,
    Study,
    is_url,
    place_name,
    places,
)
from effnet_core.study.plain_yaml import read_yaml

PUBLISHED = "published"
EXPONENT = re.compile(r"([-+]?\d+)(?:\.\d+)?[eE]([-+]?)(\d+)")


def study_names() -> list[str]:
    return sorted(path.stem for path in paths.STUDIES.glob("*.yml"))


def study_path(name: str) -> Path:
    """The YAML file of a study: of a name in `studies/`, or the path itself.

    A study elsewhere is known by its name once it was swept: its design lies beside its records.
    """
    if name.endswith((".yml", ".yaml")):
        return Path(name)
    place, left = paths.STUDIES / f"{name}.yml", paths.design(name)
    here, there = os.path.isfile(place), os.path.isfile(left)  # noqa: PTH113  names may be too long
    return left if "/" not in name and there and not here else place


def load_study(name: str) -> Study:
    """Read and validate a study.

    Args:
        name: a name in `studies/`, or the path of a YAML file of your own.

    Raises:
        InputError: no such study, or a setting that is unknown or out of range.
    """
    path = study_path(name)
    if not os.path.isfile(path):  # noqa: PTH113  the name may be too long for a file
        known = study_names()
        raise InputError(
            f"There is no study {name!r}{_nearest(name, known)} "
            f"Studies: {', '.join(known)}; or give the path of a .yml file."
        )
    if path.stem == PUBLISHED:
        raise InputError(f"{path}: {PUBLISHED!r} is where published studies are. Rename the file.")
    return read_study(path, name if path == paths.design(name) else path.stem)


def read_study(path: Path, name: str) -> Study:
    """The study in a file, under the name that its records have; errors as in `load_study`."""
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise InputError(f"{path} must hold settings (`name: value`), see studies/quick.yml.")
    if "name" in content:
        raise InputError(f"{path}: a study is named as its file is. Remove `name`.")
    try:
        study = Study.model_validate(content | {"name": name})
    except ValidationError as error:
        raise InputError(f"{path}: {_explain(error, Study)}") from None
    placed = places(study.protocol, lambda place: _beside(path, place))
    return study.model_copy(update={"protocol": study.protocol.model_copy(update=placed)})


def _beside(path: Path, place: str) -> str:
    """A place that a study's file names: relative to that file, wherever it is used."""
    if is_url(place):
        return place
    return os.path.abspath(path.resolve().parent / os.path.expanduser(place))  # noqa: PTH100, PTH111


def read_settings(parameters: Mapping[str, Any]) -> Settings:
    """The settings of one run from notebook parameters.

    A setting that is None is as the study says; a factor then has its first level. A setting
    that differs and is no factor makes another study, with a name of its own: its record cannot
    be mistaken for one of the study's.

    Raises:
        InputError: an unknown name (with the nearest valid one), a wrong type, a value out
            of range.
    """
    unknown = [name for name in parameters if name not in PARAMETERS]
    if unknown:
        raise InputError(_unknown(unknown[0], PARAMETERS))
    name = parameters.get("study", "quick")
    if not isinstance(name, str):
        raise InputError(
            f"study = {name!r}: must be a name, such as 'quick', and in quotes if it is one."
        )
    study = load_study(name)
    usual = study.protocol.model_dump()
    usual |= {name: levels[0] for name, levels in study.factors.items()}
    chosen = {n: v for n, v in parameters.items() if not (v is None and n in usual)}
    its_own = {"study": study.name, "factors": study.factors}
    try:
        chosen = {name: _typed(value) for name, value in chosen.items()}
        settings = Settings.model_validate(usual | chosen | its_own)
    except ValidationError as error:
        raise InputError(_explain(error, Settings)) from None
    return settings.model_copy(update={"study": study_name(study, settings)})


def _typed(value: Any) -> Any:
    """What a parameter means: papermill's `-p` passes a list as text, as in `[3e-5, 1e-4]`.

    The text `null` is the value null, as None means that the study decides.
    """
    if value == "null":
        return None
    if isinstance(value, str) and value.startswith("["):
        with suppress(ValueError):
            return json.loads(value)
    return value


def overrides(study: Study, settings: Settings) -> dict[str, tuple[Any, Any]]:
    """Settings that are not as a study's protocol says: what they are, and what it says."""
    given = settings.model_dump()
    return {n: (given[n], v) for n, v in study.protocol if n not in study.factors and given[n] != v}


def study_name(study: Study, settings: Settings) -> str:
    """What a run belongs to: the study, or a variant of it, named by what is overridden."""
    changed = {name: now for name, (now, _) in overrides(study, settings).items()}
    changed.pop("cache_gb", None)  # decides how fast, not what
    if not changed:
        return study.name
    text = json.dumps(changed, sort_keys=True)
    return f"{study.name}{VARIANT}{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def _nearest(name: str, valid: list[str]) -> str:
    """How a sentence about a misspelt name ends."""
    match = difflib.get_close_matches(name, valid, n=1)
    return f"; did you mean {match[0]!r}?" if match else "."


def _unknown(name: str, valid: list[str]) -> str:
    return f"There is no setting {name!r}{_nearest(name, valid)} Valid names: {', '.join(valid)}."


def _explain(error: ValidationError, model: type[BaseModel]) -> str:
    """One line a problem: which setting, what it was, what it may be."""
    sections: dict[str, type[BaseModel]] = {"protocol": Protocol, "factors": Levels}
    lines = []
    for problem in error.errors():
        name = ".".join(str(part) for part in problem["loc"])
        given, message = _shown(problem["input"]), problem["msg"]
        if problem["type"] == "extra_forbidden":
            section, _, setting = name.rpartition(".")
            if section == "factors" and setting in Protocol.model_fields:
                lines.append(f"{setting} is no factor: it has to be the same in all runs.")
            else:
                lines.append(_unknown(setting, list(sections.get(section, model).model_fields)))
        elif problem["type"] == "missing":
            lines.append(f"{name} is missing.")
        elif problem["type"] == "literal_error":
            choices = problem["ctx"]["expected"]
            hint = _nearest(given.strip("'"), choices.split("'")[1::2])
            lines.append(f"{name} = {given}: must be {choices}{hint}")
        elif problem["type"] == "value_error":  # settings that do not go together
            lines.append(str(problem["ctx"]["error"]))
        else:
            hint = _typing_hint(problem["input"], problem["type"])
            lines.append(f"{name} = {given}: {message[0].lower()}{message[1:]}.{hint}")
    return " ".join(lines)


def _typing_hint(value: Any, problem: str) -> str:
    """What to write instead, where YAML has taken a number for text, or a name for a number."""
    if problem == "string_type" and isinstance(value, str | bool | int | float | date):
        return " If it is a name, write it in quotes."
    for text in value if isinstance(value, list | tuple) else [value]:
        if isinstance(text, str) and (found := EXPONENT.fullmatch(text)):
            whole, sign, power = found.groups()
            right = f"{whole}.0e{sign or '+'}{power}"
            if problem == "int_type" and float(text).is_integer():
                right = f"{float(text):.0f}"
            return f" YAML takes {text} for text: write {right}."
    return ""


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # Python writes no number of more than 4,300 digits
        return "a value too long to show"
    return text if len(text) <= 200 else f"{text[:200]} ..."


def override_lines(settings: Settings, study: Study) -> list[str]:
    """What differs from a study's protocol, as `name: was -> is`."""

    def shown(value: Any) -> Any:
        return place_name(value) if isinstance(value, str) and is_url(value) else value

    changed = overrides(study, settings)
    return [f"{name}: {shown(was)} -> {shown(now)}" for name, (now, was) in changed.items()]
