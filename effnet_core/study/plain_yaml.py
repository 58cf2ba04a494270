"""Read YAML as plain data, without aliases, repeated keys and ambiguous numbers."""

import re
from pathlib import Path
from typing import Any

import yaml

from effnet_core.errors import InputError

LARGEST = 100_000  # characters; a study has a thousand
# YAML 1.1 reads 1:30 as 90, 032 as 26 and 1_0 as 10.
MISREAD = re.compile(r"[-+]?(0[0-7]+|[0-9]+(:[0-5]?[0-9])+(\.[0-9]*)?)|.*_.*")


class _PlainLoader(yaml.SafeLoader):
    """A YAML loader that refuses aliases, which can grow without limit, and repeated keys.

    Numbers are in base 10, or have a prefix as in Python (`0x`, `0b`). Other strict loaders differ
    elsewhere: `ruamel.yaml` reads `yes` as text and accepts aliases; `strictyaml` refuses lists in
    brackets.
    """

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.MarkedYAMLError(problem="write values out: no aliases", problem_mark=mark)
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
    """Read a YAML file.

    Raises:
        InputError: the file is unreadable or not UTF-8, or see `parse`.
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
    """Read a text in YAML.

    Args:
        where: origin of the text, for messages.

    Raises:
        InputError: not YAML, an alias, a repeated key, an ambiguous number, too deeply nested, or
            too long.
    """
    try:
        if len(text) > LARGEST:
            raise ValueError(f"longer than {LARGEST:,} characters")
        return yaml.load(text, _PlainLoader)
    except RecursionError:
        raise InputError(f"{where} is nested too deeply for settings.") from None
    except (KeyError, IndexError, AttributeError):  # errors of PyYAML's own constructors
        raise InputError(f"{where} is not valid YAML: a value does not fit its !! tag.") from None
    except (yaml.YAMLError, ValueError) as error:
        raise InputError(f"{where} is not valid YAML: {_one_line(error)}") from None


def _one_line(error: Exception) -> str:
    """What is wrong and where; the loader draws a picture of the place, over several lines."""
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return " ".join(str(error).split())
    place = f"line {error.problem_mark.line + 1}, column {error.problem_mark.column + 1}"
    what = " ".join(text for text in (error.context, error.problem) if text)
    return f"{what} ({place})"
