"""YAML as plain data: what would hide a setting, mean another number, or never end, is refused."""

import re
from pathlib import Path
from typing import Any

import yaml

from effnet_core.errors import InputError

LARGEST = 100_000  # characters; a study has a thousand
# YAML 1.1 reads 1:30 as 90, 032 as 26 and 1_0 as 10.
MISREAD = re.compile(r"[-+]?(0[0-7]+|[0-9]+(:[0-5]?[0-9])+(\.[0-9]*)?)|.*_.*")


class _PlainLoader(yaml.SafeLoader):
    """YAML without aliases, which can grow without end, and without a key given twice.

    A number is in base 10, or begins as one of another base does in Python (`0x`, `0b`). Loaders
    that refuse some of this by themselves read other things otherwise: `ruamel.yaml` takes `yes`
    for text, and lets aliases pass; `strictyaml` refuses lists in brackets.
    """

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            place = self.peek_event().start_mark
            raise yaml.MarkedYAMLError(problem="write values out: no aliases", problem_mark=place)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        mapping = super().construct_mapping(node, deep)
        seen = set()
        for key, _ in node.value:
            name = self.construct_object(key, deep=True)
            if name in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"{name!r} is given twice", problem_mark=key.start_mark
                )
            seen.add(name)
        return mapping

    def construct_number(self, node: yaml.ScalarNode) -> int | float:
        whole = node.tag.endswith(":int")
        number = self.construct_yaml_int(node) if whole else self.construct_yaml_float(node)
        if MISREAD.fullmatch(node.value):
            raise yaml.MarkedYAMLError(
                problem=f"{node.value} would be read as {number}: write that, or quotes around it "
                "if it is a name",
                problem_mark=node.start_mark,
            )
        return number


for kind in ("int", "float"):
    _PlainLoader.add_constructor(f"tag:yaml.org,2002:{kind}", _PlainLoader.construct_number)


def read_yaml(path: Path) -> Any:
    """What a YAML file holds.

    Raises:
        InputError: unreadable, not UTF-8, or see `parse`.
    """
    try:
        return parse(path.read_text(encoding="utf-8-sig"), str(path))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}. Make it readable.") from None
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is not in the encoding UTF-8 (byte {error.start + 1}). Save it as UTF-8."
        ) from None


def parse(text: str, where: str) -> Any:
    """What a text in YAML holds.

    Args:
        where: it stands, for errors.

    Raises:
        InputError: not YAML, an alias, a key twice, a number to an unusual base, nested too
            deeply, too long.
    """
    try:
        if len(text) > LARGEST:
            raise ValueError(f"longer than {LARGEST:,} characters")
        return yaml.load(text, _PlainLoader)
    except RecursionError:
        raise InputError(f"{where} is nested too deeply for settings.") from None
    except (yaml.YAMLError, ValueError) as error:
        raise InputError(f"{where} is not valid YAML: {_one_line(error)}") from None


def _one_line(error: Exception) -> str:
    """What is wrong and where; the loader draws a picture of the place, over several lines."""
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return " ".join(str(error).split())
    place = f"line {error.problem_mark.line + 1}, column {error.problem_mark.column + 1}"
    what = " ".join(text for text in (error.context, error.problem) if text)
    return f"{what} ({place})"
