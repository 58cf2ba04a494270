"""YAML as plain data: what would hide a setting, or never end, is refused."""

from pathlib import Path
from typing import Any

import yaml

from effnet_core.errors import InputError

LARGEST = 100_000  # characters; a study has a thousand


class _PlainLoader(yaml.SafeLoader):
    """YAML without aliases, which can grow without end, and without a key given twice."""

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


def read_yaml(path: Path) -> Any:
    """What a YAML file holds.

    Raises:
        InputError: unreadable, not YAML, an alias, a key twice, nested too deeply, too long.
    """
    try:
        text = path.read_text(encoding="utf-8")
        if len(text) > LARGEST:
            raise ValueError(f"longer than {LARGEST:,} characters")
        return yaml.load(text, _PlainLoader)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}. Make it readable.") from None
    except RecursionError:
        raise InputError(f"{path} is nested too deeply for settings.") from None
    except (yaml.YAMLError, ValueError) as error:
        raise InputError(f"{path} is not valid YAML: {error}") from None
