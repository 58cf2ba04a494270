"""What a newcomer meets: the top level, the commands of the README, the pins, clean notebooks."""

import hashlib
import importlib
import io
import os
import pkgutil
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
from pathlib import Path

import nbformat
import pytest
import yaml

from effnet_core import paths
from effnet_report import measurements
from effnet_report.cli import app
from effnet_report.measurements.file import File

README = (paths.ROOT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (paths.ROOT / "Makefile").read_text(encoding="utf-8")
LOCK = (paths.ROOT / ".lock" / "requirements.txt").read_text(encoding="utf-8")
PROJECT = tomllib.loads((paths.ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

TOP_LEVEL = {
    *("README.md", "LICENSE", "CITATION.cff"),
    *("Makefile", "pyproject.toml", "environment.yml", "_config.yml"),
    *("studies", "notebooks", "effnet_core", "effnet_report", "book", "results", "bench", "tests"),
}
PUBLISHED = ("results/published/", "book/runs/published/")
# A home folder or a temporary one in a committed file would be somebody's machine.
MACHINE_PATH = re.compile(rb"(?<![\w.])/(?:root|home|Users|work|tmp|opt)/[\w.-]+/")


@pytest.fixture(scope="module")
def committed() -> list[str]:
    """Files that are in git, or would be after `git add`, relative to the top level."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=paths.ROOT, capture_output=True, check=True)
    names = [name for name in listed.stdout.decode().split("\0") if name]
    return [name for name in names if (paths.ROOT / name).is_file()]


def commands(program: str) -> set[str]:
    """What the code blocks of the README give to a program as its first argument."""
    blocks = re.findall(r"```\w*\n(.*?)```", README, flags=re.DOTALL)
    return set(re.findall(rf"^(?:\w+=\S+ )?{program} (\S+)", "".join(blocks), flags=re.MULTILINE))


def pins(text: str) -> dict[str, str]:
    """Version by package name, from lines such as `name==1.0 ; marker`."""
    found = re.findall(r"^\s*(?:- )?([\w.-]+)==([^\s;]+)", text, flags=re.MULTILINE)
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in found}


def test_top_level_is_what_a_newcomer_expects(committed):
    met = {Path(name).parts[0] for name in committed}
    assert {name for name in met if not name.startswith(".")} <= TOP_LEVEL


def test_readme_opens_with_two_commands_that_are_targets():
    opening = README.split("```")[1].strip().splitlines()
    assert [line.split()[:2] for line in opening] == [["make", "report"], ["make", "test"]]


def test_readmes_commands_exist():
    targets = set(re.findall(r"^([a-z]+):", MAKEFILE, flags=re.MULTILINE))
    assert commands("make") <= targets
    for target in re.findall(r"`make (\w+)`", README):
        assert target in targets
    known = {command.name or command.callback.__name__ for command in app.registered_commands}
    assert commands("effnet")
    assert commands("effnet") <= known
    for notebook in commands("papermill"):
        assert (paths.ROOT / notebook).is_file()


def test_readmes_links_resolve():
    for link in re.findall(r"\]\(([^)]+)\)", README):
        assert (paths.ROOT / link).exists(), link


def test_make_help_lists_every_target():
    shown = subprocess.run(
        ["make", "--no-print-directory", "help"],
        cwd=paths.ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    phony = re.search(r"^\.PHONY: (.*)", MAKEFILE, flags=re.MULTILINE)[1].split()
    assert [line.split()[1] for line in shown.splitlines()] == phony


def test_make_refuses_another_python(tmp_path):
    (tmp_path / ".lock").mkdir()
    for name in ("Makefile", "pyproject.toml", ".lock/requirements.txt"):
        (tmp_path / name).write_bytes((paths.ROOT / name).read_bytes())
    result = subprocess.run(
        ["make", "book", "PYTHON=false"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert result.returncode != 0
    assert "Python 3.11" in result.stderr
    assert not (tmp_path / ".venv").exists()


def test_environment_and_pyproject_agree():
    environment = yaml.safe_load((paths.ROOT / "environment.yml").read_text(encoding="utf-8"))
    (pip,) = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    assert pip == [*PROJECT["dependencies"], "-e ."]
    (python,) = [e for e in environment["dependencies"] if str(e).startswith("python=")]
    assert python == "python=3.11"
    assert PROJECT["requires-python"].endswith("<3.12")


def test_lock_holds_every_dependency_with_hashes():
    known = PROJECT["optional-dependencies"]
    extras = [one for name in known if name not in ("formats", "recipes") for one in known[name]]
    wanted = pins("\n".join([*PROJECT["dependencies"], *extras]))
    assert len(wanted) == len(PROJECT["dependencies"]) + len(extras), "something is not pinned"
    locked = pins(LOCK)
    assert {name: locked.get(name) for name in wanted} == wanted
    entries = re.split(r"\n(?=\S)", LOCK)
    assert all("--hash=sha256:" in entry for entry in entries if "==" in entry.split("\n")[0])


def test_lock_names_no_place_to_install_from():
    assert "://" not in LOCK
    assert "index" not in {line.split()[0].strip("-") for line in LOCK.splitlines() if line}


@pytest.mark.parametrize(
    "path", sorted(paths.NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.name
)
def test_notebooks_are_stored_without_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    assert all(cell.get("id") for cell in notebook.cells)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None


def test_no_paths_of_somebodys_machine(committed):
    found = {
        name: match.group().decode()
        for name in committed
        if (match := MACHINE_PATH.search((paths.ROOT / name).read_bytes()))
    }
    assert found == {}


def test_what_was_measured_for_the_pages_is_committed(committed):
    for module in pkgutil.iter_modules(measurements.__path__, f"{measurements.__name__}."):
        importlib.import_module(module.name)
    files = {f"results/{kind.file}" for kind in File.__subclasses__()}
    assert files - set(committed) == set()


def test_large_files_are_source_results_only(committed):
    large = [name for name in committed if (paths.ROOT / name).stat().st_size > 1_000_000]
    assert [name for name in large if not name.startswith(PUBLISHED)] == []


@pytest.fixture
def own_project(tmp_path) -> Path:
    """A project with our Makefile and an environment, and nothing to install from a lock."""
    project = tmp_path / "before"
    (project / ".lock").mkdir(parents=True)
    (project / ".lock/requirements.txt").touch()
    shutil.copy(paths.ROOT / "Makefile", project)
    (project / "pyproject.toml").write_text('[project]\nname = "moved"\nversion = "1"\n')
    (project / "moved.py").touch()
    bare = [sys.executable, "-m", "venv", "--without-pip", project / ".venv"]
    subprocess.run(bare, check=True)
    (installed,) = project.glob(".venv/lib/python*/site-packages")
    (installed / "ours.pth").write_text(sysconfig.get_path("purelib"))  # pip and setuptools
    pip = project / ".venv/bin/pip"
    pip.write_text(f"#!{pip.with_name('python')}\nfrom pip import main\n\nraise SystemExit(main())")
    pip.chmod(0o755)
    (project / ".venv/installed").touch()
    return project


def make_environment(project: Path, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        ["make", "-C", project, ".venv/installed", f"PYTHON={sys.executable}"],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_make_mends_the_environment_of_a_repository_that_was_moved(own_project):
    moved = own_project.rename(own_project.with_name("after"))
    told = make_environment(moved)
    assert told.returncode == 0, told.stderr
    assert f"moved from {own_project}: .venv is mended" in told.stdout
    subprocess.run([moved / ".venv/bin/pip", "--version"], capture_output=True, check=True)
    assert f"#!{moved}" in (moved / ".venv/bin/pip").read_text()
    assert "moved from" not in make_environment(moved).stdout


@pytest.mark.slow
def test_installing_runs_no_code_of_a_package(own_project, tmp_path):
    ran = tmp_path / "ran"
    setup = f"open({str(ran)!r}, 'w')\nfrom setuptools import setup\nsetup(name='x', version='1')"
    archive = tmp_path / "x-1.tar.gz"
    with tarfile.open(archive, "w:gz") as file:
        for name, text in (("setup.py", setup), ("PKG-INFO", "Name: x\nVersion: 1\n")):
            member = tarfile.TarInfo(f"x-1/{name}")
            member.size = len(text)
            file.addfile(member, io.BytesIO(text.encode()))
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    lock = own_project / ".lock/requirements.txt"
    lock.write_text(f"x==1 --hash=sha256:{digest}\n")
    (own_project / ".venv/installed").unlink()
    result = make_environment(own_project, PIP_NO_INDEX="1", PIP_FIND_LINKS=str(tmp_path))
    assert result.returncode != 0
    assert "No matching distribution found for x==1" in result.stderr
    assert not ran.exists()


def test_workflows_may_read_only_and_their_actions_can_not_be_exchanged():
    for path in (paths.ROOT / ".github/workflows").glob("*.yml"):
        text = path.read_text()
        workflow = yaml.safe_load(text)
        assert workflow["permissions"] == {"contents": "read"}, path
        for job in workflow["jobs"].values():
            steps = job["steps"]
            used = [step["uses"] for step in steps if "uses" in step]
            assert all(re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", action) for action in used), path
            checkouts = [s for s in steps if s.get("uses", "").startswith("actions/checkout@")]
            assert all(s["with"]["persist-credentials"] is False for s in checkouts), path
            if "permissions" in job:  # what may write runs no code of ours
                assert not checkouts
                assert not any("run" in step for step in steps)


def test_an_import_against_the_direction_fails_the_lint(tmp_path):
    for name in ("bench", "effnet_core", "effnet_report"):
        shutil.copytree(paths.ROOT / name, tmp_path / name)
    shutil.copy(paths.ROOT / "pyproject.toml", tmp_path)
    with (tmp_path / "effnet_core" / "files.py").open("a") as file:
        file.write("\nimport effnet_report.render.html\n")
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    turned = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert turned.returncode == 1
    assert "effnet_core.files -> effnet_report.render.html" in turned.stdout
