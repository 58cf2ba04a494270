"""Find and read the YAML file of a study and the settings of a run."""

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
    return sorted(path.stem for path in paths.STUDIES.glob("*.yml") if path.is_file())


def study_path(name: str) -> Path:
    """The YAML file of a study, given by its name in `studies/` or by the path of the file.

    A study with a file elsewhere is known by its name after its first sweep, which stores the
    design beside the records.
    """
    if name.endswith((".yml", ".yaml")):
        return Path(name)
    path, swept = paths.STUDIES / f"{name}.yml", paths.design(name)
    if "/" in name or os.path.isfile(path):  # noqa: PTH113  names may be too long
        return path
    return swept if os.path.isfile(swept) else path  # noqa: PTH113


def load_study(name: str) -> Study:
    """Read and validate a study.

    Args:
        name: the name of a file in `studies/`, or the path of a YAML file.

    Raises:
        InputError: the study does not exist, or a setting is unknown or out of range.
    """
    path = study_path(name)
    if not os.path.isfile(path):  # noqa: PTH113  the name may be too long for a file
        known = study_names()
        raise InputError(
            f"There is no study {name!r}{_nearest(name, known)} "
            f"Studies: {', '.join(known)}; or give the path of a .yml file."
        )
    if path.stem == PUBLISHED:
        raise InputError(f"{path}: the name {PUBLISHED!r} is reserved. Rename the file.")
    return read_study(path, name if path == paths.design(name) else path.stem)


def read_study(path: Path, name: str) -> Study:
    """Read a study from a file, and give it this name; raises as `load_study` does."""
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise InputError(f"{path} must hold settings (`name: value`), see studies/quick.yml.")
    if "name" in content:
        raise InputError(f"{path}: the name of a study is that of its file. Remove `name`.")
    try:
        study = Study.model_validate(content | {"name": name})
    except ValidationError as error:
        raise InputError(f"{path}: {_explain(error, Study)}") from None
    absolute = places(study.protocol, lambda place: _beside(path, place))
    return study.model_copy(update={"protocol": study.protocol.model_copy(update=absolute)})


def _beside(path: Path, place: str) -> str:
    """Make a path in a study's file absolute; it is relative to the folder of that file."""
    if is_url(place):
        return place
    return os.path.abspath(path.resolve().parent / os.path.expanduser(place))  # noqa: PTH100, PTH111


def read_settings(parameters: Mapping[str, Any]) -> Settings:
    """The settings of one run from notebook parameters.

    None stands for the value in the study, and for the first level of a factor. A changed setting
    that is not a factor makes a variant of the study with its own name, so its record cannot be
    mistaken for one of the study.

    Raises:
        InputError: an unknown name (the message suggests the nearest one), a wrong type, or a
            value out of range.
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
    """Convert a parameter: papermill's `-p` passes lists such as `[3e-5, 1e-4]` as text.

    The text `null` stands for the value null, because None stands for the study's value.
    """
    if value == "null":
        return None
    if isinstance(value, str) and value.startswith("["):
        with suppress(ValueError):
            return json.loads(value)
    return value


def overrides(study: Study, settings: Settings) -> dict[str, tuple[Any, Any]]:
    """Settings that differ from a study's protocol, as pairs (value, protocol's value)."""
    given = settings.model_dump()
    return {n: (given[n], v) for n, v in study.protocol if n not in study.factors and given[n] != v}


def study_name(study: Study, settings: Settings) -> str:
    """Name of the study, or of the variant of it that these settings make."""
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
    """Describe each problem: the setting, its value and the allowed values."""
    sections: dict[str, type[BaseModel]] = {"protocol": Protocol, "factors": Levels}
    lines = []
    for problem in error.errors():
        name = ".".join(str(part) for part in problem["loc"])
        given, message = _shown(problem["input"]), problem["msg"]
        if problem["type"] == "extra_forbidden":
            section, _, setting = name.rpartition(".")
            if section == "factors" and setting in Protocol.model_fields:
                lines.append(f"{setting} is no factor: it must be the same in all runs.")
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
    """What to write instead, where YAML reads a number as text or a name as a number."""
    if problem == "string_type" and isinstance(value, str | bool | int | float | date):
        return " If it is a name, write it in quotes."
    for text in value if isinstance(value, list | tuple) else [value]:
        if isinstance(text, str) and (match := EXPONENT.fullmatch(text)):
            whole, sign, power = match.groups()
            right = f"{whole}.0e{sign or '+'}{power}"
            if problem == "int_type" and float(text).is_integer():
                right = f"{float(text):.0f}"
            if right == text:
                return " It is text: leave the quotes out."
            return f" YAML reads {text} as text: write {right}."
    return ""


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # Python writes no number of more than 4,300 digits
        return "a value too long to show"
    return text if len(text) <= 200 else f"{text[:200]} ..."


def override_lines(settings: Settings, study: Study) -> list[str]:
    """Settings that differ from a study's protocol, as `name: was -> is`."""

    def shown(value: Any) -> Any:
        return place_name(value) if isinstance(value, str) and is_url(value) else value

    changed = overrides(study, settings)
    return [f"{name}: {shown(was)} -> {shown(now)}" for name, (now, was) in changed.items()]
