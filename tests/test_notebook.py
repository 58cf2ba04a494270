"""What `notebooks/train.ipynb` promises as it is stored."""

import ast

import nbformat
import pytest

from effnet_core import paths
from effnet_core.study.design import PARAMETERS, Protocol, Settings

NOTEBOOKS = [paths.TRAIN_NOTEBOOK, paths.CLASSICAL_NOTEBOOK]


def code(path) -> list[str]:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def defaults(path) -> dict[str, object]:
    notebook = nbformat.read(path, as_version=4)
    (cell,) = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
    statements = ast.parse(cell.source).body
    return {line.targets[0].id: ast.literal_eval(line.value) for line in statements}


def test_every_setting_is_a_parameter_with_the_same_default():
    given = defaults(paths.TRAIN_NOTEBOOK)
    assert list(given) == [n for n in given if n in PARAMETERS]
    assert set(given) == set(PARAMETERS)
    for name, value in given.items():
        as_the_study_says = name in Protocol.model_fields
        assert value == (None if as_the_study_says else Settings.model_fields[name].default)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_logic(path):
    for source in code(path):
        kinds = {type(node) for node in ast.walk(ast.parse(source))}
        assert not kinds & {ast.FunctionDef, ast.Lambda, ast.ClassDef, ast.For, ast.While}
