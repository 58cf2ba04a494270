"""Canaries: what our hooks hold on to in other programs is still there.

Each says what to do when the other side has changed; the hooks themselves are tested elsewhere.
"""

import inspect
import sys
from multiprocessing import forkserver, get_context

import click
import papermill.cli
import yaml
from itables.utils import read_package_file
from jupyter_book.config import get_default_sphinx_config
from jupyter_client.manager import KernelManager
from jupyter_client.provisioning import LocalProvisioner
from papermill.engines import papermill_engines

from effnet_core import paths
from effnet_report.jupyter import papermill_plugin

# What our book does without, and why: `_config.yml` says it too.
LEFT_OUT = {
    "sphinx_thebe": "breaks a script on every page",
    "sphinx.ext.intersphinx": "the pages link to no other documentation",
    "sphinx_design": "the pages use none of its elements",
}


def test_python_still_forks_kernels_from_a_server():
    server = forkserver._forkserver
    assert callable(server.ensure_running), "parent._share_the_parent replaces this: look at it."
    assert hasattr(get_context("forkserver"), "set_forkserver_preload"), "start_with needs it."


def test_jupyter_still_asks_a_provisioner_to_start_kernels():
    for name in ("pre_launch", "launch_kernel", "cleanup"):
        assert inspect.iscoroutinefunction(getattr(LocalProvisioner, name)), (
            f"WarmProvisioner overrides {name}, which is no longer called so."
        )
    for trait in ("transport", "ip", "client_class"):
        assert KernelManager.class_traits().keys() >= {trait}, f"warm.py sets {trait} of a manager."


def test_click_still_reads_a_command_line_as_papermills_plugin_expects():
    found = list(inspect.signature(click.Command.parse_args).parameters)
    assert found == ["self", "ctx", "args"], "papermill_plugin replaces click.Command.parse_args."


def test_papermill_still_runs_notebooks_as_its_plugin_expects():
    command = {parameter.name for parameter in papermill.cli.papermill.params}
    parameters = {"parameters", "parameters_raw", "parameters_yaml", "parameters_file"}
    needed = {"notebook_path", "output_path", "kernel", "cwd"} | parameters
    assert command >= needed, "papermill_plugin reads these of papermill's command line."
    taken = set(inspect.signature(papermill.cli.execute_notebook).parameters)
    needed = {"input_path", "output_path", "parameters", "progress_bar", "stdout_file"}
    assert taken >= needed, "papermill_plugin hands these to papermill's execute_notebook."


def test_papermill_still_loads_our_plugin_as_an_engine():
    names = [name for name, engine in papermill_engines._engines.items()
             if engine is papermill_plugin.ENGINE and name]  # fmt: skip
    assert "effnet" in " ".join(names), "The entry point papermill.engine no longer reaches us."
    assert papermill_plugin.__name__ in sys.modules


def test_the_book_uses_jupyter_books_own_extensions_but_for_some():
    config = yaml.safe_load((paths.ROOT / "_config.yml").read_text(encoding="utf-8"))
    ours = config["sphinx"]["config"]["extensions"]
    theirs = get_default_sphinx_config()["extensions"]
    kept = [name for name in theirs if name not in LEFT_OUT]
    assert ours[1:] == kept, "Jupyter Book changed its list of extensions: change _config.yml."


def test_itables_still_carries_what_interactive_tables_need():
    assert "DataTable" in read_package_file("html/dt_bundle.js"), "render/html.py puts it on pages."
    assert ".dt-container" in read_package_file("html/dt_bundle.css"), "Its styles are elsewhere."
