"""The command `papermill notebooks/train.ipynb -p freeze 2`, in the ways people start it."""

import base64
import errno
import io
import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import click
import nbformat
import papermill.cli  # noqa: F401  before the plugin, which it loads
import pytest
from copies import Clone

from effnet_core import paths
from effnet_core.errors import InputError
from effnet_core.study.records import checksum
from effnet_core.study.studies import read_settings
from effnet_report.jupyter import notebooks, papermill_plugin, parent

RECORD = "results/tiny/21-freeze5-none-plateau-seed0.json"
PREDICTIONS = "results/tiny/21-freeze5-none-plateau-seed0.predictions.csv"
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


@pytest.fixture
def executed(clone, swept) -> Clone:
    """A copy of the project with what a sweep has left, its caches aside."""
    swept.bring_to(clone.root)
    return clone


def outcome(root: Path) -> dict:
    """The record, all but when and in which process it was made."""
    record = json.loads((root / RECORD).read_text())
    return {name: part for name, part in record.items() if name not in ("made", "checksum")}


def test_the_command_leaves_a_notebook_and_the_record_of_a_sweep(clone, swept):
    result = clone.run(*TINY, stdin=subprocess.PIPE)
    assert result.returncode == 0, result.stderr
    assert result.stdout == ""  # papermill alone prints the notebook as JSON
    assert clone.files() == {RECORD, PREDICTIONS, NOTEBOOK}
    assert outcome(clone.root) == outcome(swept.root)
    template = paths.ROOT / "notebooks/train.ipynb"
    assert (clone.root / "notebooks/train.ipynb").read_bytes() == template.read_bytes()
    notebook = nbformat.read(clone.root / NOTEBOOK, as_version=4)
    assert all(cell.execution_count for cell in notebook.cells if cell.cell_type == "code")
    assert (clone.root / NOTEBOOK).stat().st_size < 300_000


def test_in_a_terminal_a_recorded_run_is_repeated_and_compared(executed):
    before = {name: (executed.root / name).read_bytes() for name in executed.files()}
    status, output = in_terminal(executed, *TINY)
    assert status == 0, output
    now = {name: (executed.root / name).read_bytes() for name in executed.files()}
    assert {name for name in now if now[name] != before.get(name)} == {NOTEBOOK}
    assert now.keys() == before.keys()
    assert not list(executed.root.glob(".cache/running/**/*.ipynb"))


@pytest.mark.fault("records to be overwritten")
def test_a_run_that_comes_out_different_keeps_the_notebook_of_its_record(executed, swept):
    """Without a warm kernel; the run gives the sweep's bits all the same."""
    failing = 'raise OSError("no more processes")'
    executed.edit("effnet_report/jupyter/warm.py", r"process\.start\(\)", failing)
    record, notebook = executed.root / RECORD, executed.root / NOTEBOOK
    before = notebook.read_bytes()
    content = json.loads(record.read_text())
    content["outcome"]["test"]["loss"] += 1  # as if it had come out so
    record.write_text(json.dumps(content | {"checksum": checksum(content)}))

    result = executed.run(*TINY)
    assert "Kernels start cold, seconds later each: no more processes." in result.stderr
    assert_one_message(result, ["differs from its record"])
    assert notebook.read_bytes() == before
    differs = nbformat.read(notebook.with_name(f"{notebook.name}.differs"), as_version=4)
    assert "differs from its record" in str(differs.cells)
    assert not list(executed.root.glob(".cache/running/**/*.ipynb"))
    found = json.loads(record.with_name(f"{record.name}.differs").read_text())
    assert found["outcome"] == outcome(swept.root)["outcome"]


def test_other_notebooks_are_papermills_own(here, clone):
    cells = [nbformat.v4.new_code_cell("x = 1", metadata={"tags": ["parameters"]})]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    other = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    path, output = str(here.root / "other.ipynb"), here.root / "output.ipynb"
    nbformat.write(other, path)
    status, told = in_terminal(clone, "papermill", path)
    assert status == 2
    assert "Missing argument 'OUTPUT_PATH'" in told

    unknown = here.run("papermill", path, str(output), "-p", "freze", "2")
    assert unknown.returncode == 0, unknown.stderr
    assert "freze = 2" in str(nbformat.read(output, as_version=4).cells)


BAD = {
    "study": (["study", "qick"], ["no study 'qick'", "did you mean 'quick'", "elpv"]),
    "parameter": (["freze", "2"], ["no setting 'freze'", "did you mean 'freeze'", "scheduler"]),
    "freeze -1": (["freeze", "-1"], ["freeze = -1", "0"]),
    "freeze 7": (["freeze", "7"], ["freeze = 7", "6"]),
    "freeze two": (["freeze", "two"], ["freeze = 'two'", "integer"]),
    "head": (["head", "mpl"], ["head = 'mpl'", "did you mean 'mlp'"]),
    "head None": (["head", "None"], ["head = 'None'", "'none' or 'mlp'"]),
    "scheduler": (["scheduler", "cosin"], ["scheduler = 'cosin'", "did you mean 'cosine'"]),
    "data set": (["dataset", "elvp"], ["dataset = 'elvp'", "did you mean 'elpv'"]),
}


@pytest.mark.parametrize(("arguments", "words"), BAD.values(), ids=BAD.keys())
def test_bad_parameter_is_refused_before_anything_starts(here, arguments, words):
    result = here.run("papermill", "notebooks/train.ipynb", "-p", *arguments)
    assert_one_message(result, words)
    assert here.files() == set()


@pytest.mark.fault("names that are code")
def test_a_name_that_begins_like_papermills_own_is_no_way_to_run_code(here, clear):
    name = "PAPERMILL_X=1;open('owned','w').write('');y"
    result = here.run("papermill", "notebooks/train.ipynb", "-p", name, "1")
    assert_one_message(result, ["no setting", "PAPERMILL_X"])
    clear(result.stderr)
    assert not list(here.root.rglob("owned"))


def test_parameters_of_every_kind_of_option_are_checked(here):
    result = here.run("papermill", "notebooks/train.ipynb", "-y", "{epoch: 3}")
    assert_one_message(result, ["no setting 'epoch'", "did you mean 'epochs'"])
    (here.root / "list.yml").write_text("[1, 2]")
    for option in (("-y", "freeze"), ("-y", "{1: 2}"), ("-f", str(here.root / "list.yml"))):
        result = here.run("papermill", "notebooks/train.ipynb", *option)
        assert_one_message(result, [" ".join(option), "settings by name", "freeze: 2"])
    for option, told in {
        ("-b", "notbase64!"): "not base64",
        ("-b", base64.b64encode(b"seed: 032").decode()): "032",
        ("-b", base64.b64encode(b"freeze").decode()): "settings by name",
        ("--engine", "nosuch"): "no engine 'nosuch'",
        ("--language", "nosuch"): "no language 'nosuch'",
        ("-p", "seed", "1_0"): "without _",
    }.items():
        assert_one_message(here.run("papermill", "notebooks/train.ipynb", *option), [told])


@pytest.mark.fault("code edited during a run")
def test_a_notebook_whose_code_was_edited_makes_no_records(clone):
    for name, told in notebooks.CODE.items():
        assert notebooks.code_of(paths.ROOT / "notebooks" / name) == told
    place = clone.root / "notebooks" / "train.ipynb"
    text = place.read_text()
    assert "data = run.load_data(this)" in text
    place.write_text(text.replace("run.load_data(this)", "run.load_data(this)  # mine"))
    for command in (("papermill", "notebooks/train.ipynb"), ("effnet", "sweep", "tiny")):
        assert_one_message(clone.run(*command), ["train.ipynb was edited", "git checkout"])
    place.write_text("{")
    assert_one_message(clone.run("effnet", "sweep", "tiny"), ["is no notebook"])
    assert clone.files() == set()


def test_bad_input_found_by_the_run_is_one_message_too_and_its_notebook_where_it_was_asked(clone):
    options = ("-p", "dataset", "imagefolder", "-p", "data_dir", "nowhere")
    result = clone.run("papermill", "notebooks/train.ipynb", "mine.ipynb", *options)
    assert_one_message(result, ["nowhere", "folder"])
    assert clone.files() == set()
    assert (clone.root / "mine.ipynb").is_file()


OPTIONS = {
    "parameters": (),
    "parameters_raw": (),
    "parameters_yaml": (),
    "parameters_file": (),
    "kernel": None,
    "cwd": None,
    "parameters_base64": (),
    "engine": None,
    "language": None,
}


@pytest.mark.parametrize(
    ("option", "why"),
    [
        ({"kernel": "nosuchkernel"}, r"no kernel 'nosuchkernel'\. Kernels: .*python3"),
        ({"cwd": "/nowhere"}, "--cwd /nowhere: this folder does not exist"),
        ({"parameters_yaml": ("{image_size: 032}",)}, "-y is not valid YAML: .*read as 26"),
        ({"parameters_yaml": ("{epochs: 1:30}",)}, "-y is not valid YAML: .*read as 90"),
        ({"parameters_file": ("nowhere.yml",)}, "nowhere.yml cannot be read"),
    ],
)
def test_an_option_that_papermill_would_stumble_over_later_is_refused(option, why):
    with pytest.raises(InputError, match=re.compile(why, re.DOTALL)):
        papermill_plugin._check_options(OPTIONS | option)


@pytest.mark.parametrize("text", ["2024", "2024_01", "1e5", "True", "None"])
@pytest.mark.parametrize("setting", ["study", "data_dir", "labels", "groups", "weights", "head"])
def test_text_stays_text_whatever_it_reads_like(setting, text):
    options = OPTIONS | {"parameters": ((setting, text), ("freeze", "6"), ("compiled", "True"))}
    papermill_plugin._check_options(options)
    assert options["parameters_raw"] == ((setting, text),)
    assert options["parameters"] == (("freeze", "6"), ("compiled", "True"))


@pytest.mark.fault("names that act on a terminal")
def test_what_a_run_prints_and_what_goes_wrong_acts_on_no_terminal():
    stream = io.StringIO()
    papermill_plugin.Plain(stream).write("cat\x1b[2J\u202e\n")
    assert stream.getvalue() == "cat\\x1b[2J\\u202e\n"
    assert papermill_plugin._told(InputError("a\x1bb")).message == "a\\x1bb"


@pytest.fixture
def no_kernel(own_folders, monkeypatch):
    """Notebooks are not executed: what papermill would do is a function of the test."""
    monkeypatch.setattr(parent, "start_with", lambda *_: None)
    mine = own_folders / "mine.ipynb"
    mine.write_text("mine")
    return mine


def execute(papermill, output: Path, **options):
    options |= {"stdout_file": None}
    return papermill_plugin._carefully(papermill)(
        str(paths.TRAIN_NOTEBOOK), str(output), {}, **options
    )


@pytest.mark.fault("files of a user")
def test_a_notebook_that_exists_stays_until_the_new_one_is_whole(no_kernel):
    def on_a_full_disk(input_path, output_path, **_):
        Path(output_path).write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(click.ClickException, match="No space left"):
        execute(on_a_full_disk, no_kernel)
    assert no_kernel.read_text() == "mine"
    execute(lambda output_path, **_: Path(output_path).write_text("new"), no_kernel)
    assert no_kernel.read_text() == "new"


@pytest.mark.fault("files of a user")
def test_a_prepared_notebook_does_not_replace_an_executed_one(no_kernel):
    execute(lambda output_path, **_: Path(output_path).write_text("new"), no_kernel, prepare_only=1)
    assert no_kernel.read_text() == "new"
    for output in (papermill_plugin.ITS_PLACE, executed_path()):
        with pytest.raises(click.ClickException, match="is for the executed notebook"):
            execute(None, output, prepare_only=True)


def executed_path() -> Path:
    return papermill_plugin.executed_path(paths.TRAIN_NOTEBOOK, read_settings({}))


@pytest.mark.fault("files of a user")
def test_a_folder_is_no_notebook(no_kernel):
    with pytest.raises(click.ClickException, match="is not a file"):
        execute(None, no_kernel.parent)


@pytest.mark.fault("files of a user")
@pytest.mark.parametrize("ours", [paths.TRAIN_NOTEBOOK, paths.CLASSICAL_NOTEBOOK])
def test_our_notebooks_are_not_replaced_by_executed_ones(no_kernel, ours):
    with pytest.raises(click.ClickException, match="is the notebook itself"):
        execute(None, ours)


def assert_one_message(result, words) -> None:
    assert result.returncode != 0
    errors = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1, result.stderr
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in errors[0]
