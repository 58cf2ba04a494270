"""What the extension of Sphinx does: which pages are built, their titles, links and records."""

import os
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
import yaml
from factories import use_folders, write_notebook, write_study
from sphinx.config import Config
from sphinx.errors import ConfigError
from sphinx.util.matching import get_matching_files

from effnet_core import paths
from effnet_core.study.studies import load_study
from effnet_report.evidence import evidence
from effnet_report.inference import analysis
from effnet_report.jupyter import sphinx_extension
from effnet_report.pages import reproducibility


@pytest.mark.parametrize(
    ("written", "old"),
    [
        ("bench.json", ["speed", "speed_details"]),
        ("gpu.json", ["speed", "speed_details"]),
        ("cluster.json", ["cluster", "reproducibility"]),
        ("processors.json", ["cluster", "reproducibility"]),
    ],
)
def test_what_is_measured_anew_makes_its_page_old(tmp_path, monkeypatch, written, old):
    use_folders(tmp_path, monkeypatch)
    (tmp_path / "data").mkdir()
    app = SimpleNamespace(config=SimpleNamespace(effnet_studies=["quick"]), outdir=tmp_path)
    env = SimpleNamespace(found_docs={"cluster", "reproducibility", "speed", "speed_details"})

    def outdated():
        return sphinx_extension.outdated_pages(app, env, set(), set(), set())

    assert outdated() == sorted(env.found_docs)
    assert outdated() == []
    paths.RESULTS.mkdir(exist_ok=True)
    (paths.RESULTS / written).write_text("{}")
    assert outdated() == old


def test_an_unknown_study_stops_the_build(monkeypatch):
    monkeypatch.setenv("EFFNET_STUDY", "quikc")
    with pytest.raises(ConfigError, match="did you mean 'quick'"):
        sphinx_extension.choose_study(None, Config())


def test_the_setting_is_overridden_by_the_environment(monkeypatch, tmp_path):
    use_folders(tmp_path, monkeypatch)
    config = Config({"effnet_studies": ["elpv", "fashion"]})
    config.add("effnet_studies", ["quick"], "env", list)
    monkeypatch.delenv("EFFNET_STUDY", raising=False)
    sphinx_extension.choose_study(None, config)
    assert config.effnet_studies == ["elpv", "fashion"]
    monkeypatch.setenv("EFFNET_STUDY", "published/quick")
    sphinx_extension.choose_study(None, config)
    assert config.effnet_studies == ["published/quick"]


@pytest.fixture
def book_of(tmp_path, monkeypatch):
    """A study `evil` with one run beside the published one, and what Sphinx then leaves out."""
    use_folders(tmp_path, monkeypatch)
    monkeypatch.setattr(paths, "EXECUTED", tmp_path / "book" / "runs")
    monkeypatch.setattr(paths, "BOOK", tmp_path / "book")
    monkeypatch.setattr(paths, "STUDIES", tmp_path)
    monkeypatch.setenv("EFFNET_STUDY", "evil")

    def make(level: str) -> Path:
        study = {"title": "Evil", "seeds": [0], "factors": {"weights": ["packaged", level]}}
        protocol = {"dataset": "digits", "image_size": 32}
        (tmp_path / "evil.yml").write_text(yaml.safe_dump(study | {"protocol": protocol}))
        for run in load_study("evil").runs():
            write_notebook(run)
        return paths.executed("evil")

    return make


@pytest.mark.fault("pages that ask for files")
@pytest.mark.parametrize("level", ["![x](/../secret.txt)", "{download}`x </../secret.txt>`"])
def test_a_level_of_a_factor_is_text_in_the_title_of_its_run(book_of, level):
    folder = book_of(level)
    names = [sphinx_extension.title("evil", page.stem) for page in folder.glob("*.ipynb")]
    assert len(names) == 2
    assert any("secret" in name for name in names)
    assert not any(re.search(r"(?<!\\)[\[{`]", name) for name in names)


@pytest.mark.fault("pages that ask for files")
def test_nothing_among_the_executed_notebooks_is_a_page_but_those_of_runs(book_of):
    folder = book_of("none")
    strange = "02 <img src=x onerror=alert(1)>.ipynb"
    for name in ("note.md", "a[b].md", strange, "deep/note.md", "../other/note.md", "../note.md"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("# x")
    config = Config()
    sphinx_extension.choose_study(None, config)
    read = {*get_matching_files(paths.BOOK, exclude_patterns=config.exclude_patterns)}
    assert read == {f"runs/evil/{page}.ipynb" for page in sphinx_extension.run_pages("evil")}
    assert len(read) == 2


def test_a_run_page_is_headed_by_the_design_and_not_by_its_notebook():
    heading = sphinx_extension.title("quick", "08-freeze1-mlp-cosine-seed0")
    assert heading == "# Run 8: freeze 1, two linear layers with dropout, cosine, seed 0"
    assert sphinx_extension.title("quick", "classical-seed0") == ""


def test_a_run_page_of_another_study_names_it_and_leads_to_its_runs(tmp_path, monkeypatch):
    use_folders(tmp_path, monkeypatch)
    write_study("fashion", skip=tuple(range(3, 29)), classical=False)
    app = SimpleNamespace(config=SimpleNamespace(effnet_studies=["quick", "fashion"]))
    page = "runs/fashion/02-freeze0-none-cosine-seed0"
    source = [(paths.executed("fashion") / f"{page[13:]}.ipynb").read_text()]
    sphinx_extension.link_run_page(app, page, source)
    top = nbformat.reads(source[0], as_version=4).cells[0].source
    name = load_study("fashion").title
    assert top.startswith(f"# Run 2: freeze 0, one linear layer, cosine, seed 0, {name}\n")
    assert "[all runs](../../runs.md)" in top
    assert 'href="../../records/fashion/02-freeze0-none-cosine-seed0.json"' in top
    assert "Table 1" not in top


def test_what_papermill_says_of_a_failure_is_read_as_text():
    said = '<span style="color:red">An Exception was at \'<a href="#x">In [5]</a>\'.</span>'
    tagged = {"tags": [sphinx_extension.MARKER]}
    cells = [nbformat.v4.new_markdown_cell(said, metadata=tagged)]
    cells.append(nbformat.v4.new_markdown_cell("a <b>c"))
    notebook = nbformat.v4.new_notebook(cells=cells)
    sphinx_extension._only_show(notebook)
    assert notebook.cells[0].source == "An Exception was at 'In \\[5]'."
    assert notebook.cells[1].source == "a \\<b>c"


def test_interactive_pages_fall_back_to_the_readers_own_study(monkeypatch):
    monkeypatch.delenv("EFFNET_STUDY", raising=False)
    assert evidence.shown() == ["quick"]


def test_a_link_among_the_records_is_not_followed_into_the_site(tmp_path, monkeypatch):
    use_folders(tmp_path, monkeypatch)
    write_study("quick")
    folder = paths.records("quick")
    (tmp_path / "secret").write_text("secret")
    (folder / "note.txt").symlink_to(tmp_path / "secret")
    (folder / "gone.json").symlink_to(tmp_path / "nowhere")
    (folder / "elsewhere").symlink_to(tmp_path)
    os.mkfifo(folder / "pipe")
    # The model and the study's images are not for everybody who may read the report.
    (folder / "contact-sheet.jpg").write_text("private")
    for inner in ("audit/suspects.html", "model/config.json"):
        (folder / inner).parent.mkdir()
        (folder / inner).write_text("private")
    app = SimpleNamespace(
        outdir=tmp_path / "html", config=SimpleNamespace(effnet_studies=["quick"])
    )
    sphinx_extension.copy_records(app, None)
    copied = {path.name for path in (tmp_path / "html/records/quick").iterdir()}
    left = {"note.txt", "gone.json", "elsewhere", "pipe", "contact-sheet.jpg", "audit", "model"}
    assert copied == {path.name for path in folder.glob("[!.]*")} - left
    assert "01-freeze0-none-plateau-seed0.json" in copied


def test_odd_and_unreadable_files_stop_no_book(tmp_path, monkeypatch):
    use_folders(tmp_path, monkeypatch)
    write_study("quick")
    folder, closed = paths.records("quick"), "calibration.json"
    odd = Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9"))
    for ending in (".json", "-seed0.json", ".failed.json"):
        odd.with_name(odd.name + ending).write_text('{"error": "\\ud800"}')
    (folder / closed).write_text("{}")
    (paths.executed("quick") / "folder.ipynb").mkdir(parents=True)
    access, read_bytes = os.access, Path.read_bytes

    def read(path):
        if path.name == closed:
            raise PermissionError(13, "Permission denied")
        return read_bytes(path)

    monkeypatch.setattr(os, "access", lambda path, how: path.name != closed and access(path, how))
    monkeypatch.setattr(Path, "read_bytes", read)
    assert "folder" not in sphinx_extension.evidence_of("quick").split("\0")
    shown = reproducibility.missing(analysis.load("quick")).data
    assert r"caf\xe9" in shown
    shown.encode()
    app = SimpleNamespace(
        outdir=tmp_path / "html", config=SimpleNamespace(effnet_studies=["quick"])
    )
    sphinx_extension.copy_records(app, None)
    copied = {path.name for path in (tmp_path / "html/records/quick").iterdir()}
    assert closed not in copied
    assert "01-freeze0-none-plateau-seed0.json" in copied


def test_a_title_is_text_beside_another_studys_run(tmp_path, monkeypatch):
    use_folders(tmp_path, monkeypatch)
    title = "<script>alert(1)</script> [x](file:///etc/passwd) {eval}`1`"
    quick = (paths.STUDIES / "quick.yml").read_text()
    shutil.copytree(paths.STUDIES, tmp_path / "studies")
    monkeypatch.setattr(paths, "STUDIES", tmp_path / "studies")
    old = re.search("^title: .*$", quick, flags=re.M)[0]
    (tmp_path / "studies/quick.yml").write_text(quick.replace(old, f"title: '{title}'"))
    write_study("quick")
    run = "01-freeze0-none-plateau-seed0"
    paths.executed("quick").mkdir(parents=True, exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(), paths.executed("quick") / f"{run}.ipynb")
    app = SimpleNamespace(config=SimpleNamespace(effnet_studies=["elpv", "quick"]))
    source = [(paths.executed("quick") / f"{run}.ipynb").read_text()]
    sphinx_extension.link_run_page(app, f"runs/quick/{run}", source)
    heading = nbformat.reads(source[0], as_version=4).cells[0].source.splitlines()[0]
    assert "alert(1)" in heading
    assert not re.search(r"(?<!\\)[<\[{]", heading)


def test_a_link_among_the_executed_notebooks_is_no_page(tmp_path, monkeypatch):
    use_folders(tmp_path, monkeypatch)
    monkeypatch.setattr(paths, "BOOK", paths.EXECUTED.parent)
    monkeypatch.setenv("EFFNET_STUDY", "quick")
    write_study("quick", skip=tuple(range(4, 29)), classical=False)
    first, second, third = sphinx_extension.run_pages("quick")
    folder = paths.executed("quick")
    (folder / f"{second}.ipynb").rename(tmp_path / "another.ipynb")
    (folder / f"{second}.ipynb").symlink_to(tmp_path / "another.ipynb")
    (folder / "gone.ipynb").symlink_to(tmp_path / "nowhere.ipynb")
    config = Config()
    sphinx_extension.choose_study(None, config)
    left_out = [name for name in config.exclude_patterns if name.endswith(".ipynb")]
    assert [Path(name).stem for name in left_out] == [second, "gone"]
    app = SimpleNamespace(config=config)
    (onward,) = (
        link for link in sphinx_extension.links(app, "quick", f"runs/quick/{first}") if "→" in link
    )
    assert third in onward
