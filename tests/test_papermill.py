"""The command `papermill notebooks/train.ipynb -p freeze 2`, in the ways people start it."""

import json
import os
import pty
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import papermill.cli  # noqa: F401  before the plugin, which it loads
import pytest
from copies import Clone
from factories import once

from effnet_core import paths
from effnet_core.errors import InputError
from effnet_core.study.records import checksum
from effnet_report.jupyter import papermill_plugin

RECORD = "results/tiny/21-freeze5-none-plateau-seed0.json"
PREDICTIONS = "results/tiny/21-freeze5-none-plateau-seed0.predictions.csv"
WEIGHTS = "results/tiny/winner.safetensors"
NOTEBOOK = "book/runs/tiny/21-freeze5-none-plateau-seed0.ipynb"
TINY = ("papermill", "notebooks/train.ipynb", "-p", "study", "tiny", "-p", "freeze", "5")


def in_terminal(clone, *command: str) -> tuple[int, str]:
    """Exit status and output of a command whose streams are a terminal."""
    ours, theirs = pty.openpty()
    program = Path(sys.executable).with_name(command[0])
    process = subprocess.Popen(
        [program, *command[1:]],
        cwd=clone.root,
        env=clone.environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    output = b""
    try:
        while chunk := os.read(ours, 4096):
            output += chunk
    except OSError:  # Linux ends a terminal's output this way
        pass
    os.close(ours)
    return process.wait(), output.decode()


@pytest.fixture(scope="session")
def piped(tmp_path_factory) -> tuple[Path, str]:
    """A copy of the project in which the command was typed, standard input a FIFO; its output."""

    def typed_once(folder: Path) -> tuple[Path, str]:
        clone = Clone(folder)
        result = clone.run(*TINY, stdin=subprocess.PIPE)
        assert result.returncode == 0, result.stderr
        return folder, result.stdout

    return once(tmp_path_factory, typed_once)


@pytest.fixture
def executed(clone, piped) -> Clone:
    """A copy of the project with what the command has left, its caches aside."""
    for folder in ("results", "book/runs"):
        shutil.copytree(piped[0] / folder, clone.root / folder)
    return clone


def outcome(root: Path) -> dict:
    """The record, all but when and in which process it was made."""
    record = json.loads((root / RECORD).read_text())
    return {name: part for name, part in record.items() if name not in ("made", "checksum")}


@pytest.mark.slow
def test_the_command_leaves_a_record_and_its_notebook(executed, piped):
    assert piped[1] == ""  # papermill alone prints the notebook as JSON
    assert executed.files() == {RECORD, PREDICTIONS, WEIGHTS, NOTEBOOK}
    template = paths.ROOT / "notebooks/train.ipynb"
    assert (piped[0] / "notebooks/train.ipynb").read_bytes() == template.read_bytes()
    notebook = nbformat.read(executed.root / NOTEBOOK, as_version=4)
    assert all(cell.execution_count for cell in notebook.cells if cell.cell_type == "code")
    assert (executed.root / NOTEBOOK).stat().st_size < 300_000


@pytest.mark.slow
def test_in_a_terminal_and_with_a_path_it_gives_the_same_bits(clone, piped):
    found = outcome(piped[0])
    status, output = in_terminal(clone, *TINY)
    assert status == 0, output
    assert clone.files() == {RECORD, PREDICTIONS, WEIGHTS, NOTEBOOK}
    assert outcome(clone.root) == found

    (clone.root / NOTEBOOK).unlink()
    chosen = clone.root / "mine.ipynb"
    explicit = clone.run(TINY[0], TINY[1], str(chosen), *TINY[2:])
    assert explicit.returncode == 0, explicit.stderr
    assert chosen.is_file()
    assert clone.files() == {RECORD, PREDICTIONS, WEIGHTS}
    assert outcome(clone.root) == found


@pytest.mark.slow
def test_where_no_kernel_can_be_forked_a_cold_one_gives_the_same_bits(executed):
    record, notebook = ((executed.root / name).read_bytes() for name in (RECORD, NOTEBOOK))
    warm = executed.root / "effnet_report/jupyter/warm.py"
    failing = warm.read_text().replace("process.start()", 'raise OSError("no more processes")')
    warm.write_text(failing)
    cold = executed.run(*TINY)  # the run is repeated, and compared with its record
    assert cold.returncode == 0, cold.stderr
    assert "Kernels start cold, seconds later each: no more processes." in cold.stderr
    assert (executed.root / RECORD).read_bytes() == record
    assert (executed.root / NOTEBOOK).read_bytes() != notebook  # that of the repeated run
    assert not list(executed.root.glob(".cache/running/**/*.ipynb"))
    assert executed.files() == {RECORD, PREDICTIONS, WEIGHTS, NOTEBOOK}


@pytest.mark.slow
@pytest.mark.fault("records to be overwritten")
def test_a_run_that_comes_out_different_keeps_the_notebook_of_its_record(executed):
    record, notebook = executed.root / RECORD, executed.root / NOTEBOOK
    before = notebook.read_bytes()
    content = json.loads(record.read_text())
    content["outcome"]["test"]["loss"] += 1  # as if it had come out so
    record.write_text(json.dumps(content | {"checksum": checksum(content)}))

    assert_one_message(executed.run(*TINY), ["came out different"])
    assert notebook.read_bytes() == before
    differs = nbformat.read(notebook.with_name(f"{notebook.name}.differs"), as_version=4)
    assert "came out different" in str(differs.cells)
    assert not list(executed.root.glob(".cache/running/**/*.ipynb"))
    found = json.loads(record.with_name(f"{record.name}.differs").read_text())
    changed, again = content["outcome"]["test"]["loss"], found["outcome"]["test"]["loss"]
    assert again == pytest.approx(changed - 1)


def test_other_notebooks_are_papermills_own(clone):
    cells = [nbformat.v4.new_code_cell("x = 1", metadata={"tags": ["parameters"]})]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    other = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    nbformat.write(other, clone.root / "other.ipynb")

    status, output = in_terminal(clone, "papermill", "other.ipynb")
    assert status == 2
    assert "Missing argument 'OUTPUT_PATH'" in output

    unknown = clone.run("papermill", "other.ipynb", "-p", "freze", "2")
    assert unknown.returncode == 0
    assert json.loads(unknown.stdout)["nbformat"] == 4


BAD = {
    "study": (["study", "qick"], ["no study 'qick'", "did you mean 'quick'", "elpv"]),
    "parameter": (["freze", "2"], ["no setting 'freze'", "did you mean 'freeze'", "scheduler"]),
    "freeze -1": (["freeze", "-1"], ["freeze = -1", "0"]),
    "freeze 7": (["freeze", "7"], ["freeze = 7", "6"]),
    "freeze two": (["freeze", "two"], ["freeze = 'two'", "integer"]),
    "head": (["head", "mpl"], ["head = 'mpl'", "did you mean 'mlp'"]),
    "scheduler": (["scheduler", "cosin"], ["scheduler = 'cosin'", "did you mean 'cosine'"]),
    "data set": (["dataset", "elvp"], ["dataset = 'elvp'", "did you mean 'elpv'"]),
}


@pytest.mark.parametrize(("arguments", "words"), BAD.values(), ids=BAD.keys())
def test_bad_parameter_is_refused_before_anything_starts(clone, arguments, words):
    result = clone.run("papermill", "notebooks/train.ipynb", "-p", *arguments)
    assert_one_message(result, words)
    assert clone.files() == set()


@pytest.mark.fault("names that are code")
def test_a_name_that_begins_like_papermills_own_is_no_way_to_run_code(clone, clear):
    name = "PAPERMILL_X=1;open('owned','w').write('');y"
    result = clone.run("papermill", "notebooks/train.ipynb", "-p", name, "1")
    assert_one_message(result, ["no setting", "PAPERMILL_X"])
    clear(result.stderr)
    assert not list(clone.root.rglob("owned"))


def test_parameters_of_every_kind_of_option_are_checked(clone):
    result = clone.run("papermill", "notebooks/train.ipynb", "-y", "{epoch: 3}")
    assert_one_message(result, ["no setting 'epoch'", "did you mean 'epochs'"])


@pytest.mark.slow
def test_bad_input_found_by_the_run_is_one_message_too(clone):
    options = ("-p", "dataset", "imagefolder", "-p", "data_dir", "nowhere")
    result = clone.run("papermill", "notebooks/train.ipynb", *options)
    assert_one_message(result, ["nowhere", "folder"])
    assert not [name for name in clone.files() if name.startswith("results")]


OPTIONS = {
    "parameters": (),
    "parameters_raw": (),
    "parameters_yaml": (),
    "parameters_file": (),
    "kernel": None,
    "cwd": None,
}


@pytest.mark.parametrize(
    ("option", "why"),
    [
        ({"kernel": "nosuchkernel"}, r"no kernel 'nosuchkernel'\. Kernels: .*python3"),
        ({"cwd": "/nowhere"}, "--cwd /nowhere: there is no such folder"),
        ({"parameters_yaml": ("{image_size: 032}",)}, "-y is not valid YAML: .*another base"),
        ({"parameters_yaml": ("{epochs: 1:30}",)}, "-y is not valid YAML: .*another base"),
        ({"parameters_file": ("nowhere.yml",)}, "nowhere.yml cannot be read"),
    ],
)
def test_an_option_that_papermill_would_stumble_over_later_is_refused(option, why):
    with pytest.raises(InputError, match=re.compile(why, re.DOTALL)):
        papermill_plugin._check_options(OPTIONS | option)


@pytest.mark.parametrize("name", ["2024", "1e5", "true", "None"])
def test_a_study_is_a_name_whatever_it_reads_like(name):
    options = OPTIONS | {"parameters": (("study", name), ("freeze", "6"))}
    papermill_plugin._check_options(options)
    assert options["parameters_raw"] == (("study", name),)
    assert options["parameters"] == (("freeze", "6"),)


def assert_one_message(result, words) -> None:
    assert result.returncode != 0
    errors = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1, result.stderr
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in errors[0]
