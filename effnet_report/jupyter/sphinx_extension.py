"""Sphinx extension: one study a book, run pages with links, and tables that never stay old.

`effnet_studies` in `_config.yml` names the studies, as folders under `results/`, the one to show
first; the environment variable EFFNET_STUDY overrides them. Pages find them, and the folder of the
finished site, in their environment.
"""

import hashlib
import os
import re
import shutil
import stat
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import nbformat
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.environment import BuildEnvironment
from sphinx.errors import ConfigError
from sphinx.util.osutil import path_stabilize

from effnet_core import paths
from effnet_core.errors import InputError, cannot
from effnet_core.study.records import classical_id
from effnet_report.escaping import listed, markdown, printable
from effnet_report.evidence import locations
from effnet_report.evidence.loader import load_design
from effnet_report.jupyter import finish, parent
from effnet_report.measurements.gpu import Gpu
from effnet_report.measurements.speed import Benchmark
from effnet_report.words import configuration

CODE = [*Path(__file__).parents[1].rglob("*.py")]  # what pages are computed by
RECORDS = "records"
IN_SITE = {".csv", ".json", ".yml"}  # what the records of a study consist of
OF_NO_STUDY = {"speed", "speed_details"}  # pages about the benchmark
ABOUT_ALL = {"elsewhere", "index", "recipe", "runs"}  # pages about all studies of the book
ROOM = 100_000_000  # bytes that a site and what is kept between builds may take
# What the outputs of our notebooks are; of Markdown and LaTeX, Sphinx would make more than text.
MARKER = "papermill-error-cell-tag"  # on what papermill writes into a notebook that failed
SHOWN = {"text/html", "text/plain", "image/png", "image/svg+xml"}


def setup(app: Sphinx) -> dict[str, bool]:
    # First of all, so it is the first extension: this imports in the meantime what pages need.
    parent.start_with(*imported_by_pages(Path(app.srcdir)))
    app.add_config_value("effnet_studies", ["quick"], "env", list)
    app.connect("config-inited", choose_study)
    app.connect("builder-inited", check_room)
    app.connect("builder-inited", tell_pages)
    app.connect("env-get-outdated", outdated_pages)
    app.connect("env-before-read-docs", spread_pages)
    app.connect("source-read", link_run_page)
    app.connect("html-page-context", finish_page)
    app.connect("build-finished", copy_records)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def imported_by_pages(folder: Path) -> list[str]:
    """Modules of this project that the cells of the book's pages import, sorted."""
    lines = re.compile(r"^from (effnet_report[.\w]*) import ([\w, ]+)$", re.MULTILINE)
    imports = (match for page in folder.glob("*.md") for match in lines.findall(page.read_text()))
    return sorted({f"{room}.{name}" for room, names in imports for name in names.split(", ")})


def choose_study(_: Sphinx, config: Config) -> None:
    """Settle which studies are shown, the main one first, and leave out others' run pages."""
    if named := os.environ.get("EFFNET_STUDY"):
        # A file stands for its study: a sweep has left its design beside the records.
        yaml = (".yml", ".yaml")
        config.effnet_studies = [
            Path(one).stem if one.endswith(yaml) else one for one in named.split(",")
        ]
    try:
        for study in config.effnet_studies:
            load_design(study)
    except InputError as error:
        raise ConfigError(f"effnet_studies: {error}") from None
    shown = {paths.executed(study): run_pages(study) for study in config.effnet_studies}
    unshown = sorted(path.relative_to(paths.BOOK) for path in beside_run_pages(shown))
    patterns = [re.sub(r"[\[*?]", r"[\g<0>]", path_stabilize(path)) for path in unshown]
    config.exclude_patterns = [*config.exclude_patterns, *patterns]
    if not any(shown.values()):
        # A study without runs is no mistake in the table of contents.
        config.suppress_warnings = [*config.suppress_warnings, "etoc.glob"]


def beside_run_pages(shown: dict[Path, list[str]]) -> Iterator[Path]:
    """Everything among the executed notebooks that becomes no page.

    A page there may come from somebody else, and Sphinx would execute its code.

    Args:
        shown: by folder of a study, the names of its run pages.
    """
    on_the_way = {parent for folder in shown for parent in (folder, *folder.parents)}
    for folder, folders, names in os.walk(paths.EXECUTED, followlinks=True):
        here = Path(folder)
        pages = {f"{page}.ipynb" for page in shown.get(here, ())}
        yield from (here / name for name in names if name not in pages)
        yield from (here / name for name in folders if here / name not in on_the_way)
        folders[:] = [name for name in folders if here / name in on_the_way]


def check_room(app: Sphinx) -> None:
    """Stop at once, in a sentence, where the disk would fill up on the way."""
    free = shutil.disk_usage(app.outdir).free
    if free < ROOM:  # Jupyter Book shows every exception with two tracebacks, but for this one
        sys.exit(
            f"{app.outdir} has room for {free / 1e6:.0f} MB, and the report may need "
            f"{ROOM / 1e6:.0f} MB. Free some space and build it again; nothing was changed."
        )


def tell_pages(app: Sphinx) -> None:
    """Kernels that execute pages inherit this process's environment, and run side by side."""
    os.environ["EFFNET_STUDY"] = ",".join(app.config.effnet_studies)
    os.environ["EFFNET_SITE"] = str(app.outdir)
    # Jupyter Book offers no setting for it. Who reads a page mostly waits for its kernel.
    app.parallel = 2 * len(os.sched_getaffinity(0))
    # It does not say whether it minds; it numbers chapters when all pages have been read.
    app.extensions["sphinx_multitoc_numbering"].parallel_read_safe = True


def outdated_pages(
    app: Sphinx, env: BuildEnvironment, _added: set[str], _changed: set[str], _removed: set[str]
) -> list[str]:
    """Pages whose evidence, or the report's code, changed, or whose files are gone.

    Of a run page only the links can change: its numbers were computed when the run ran.
    """
    studies = app.config.effnet_studies
    runs = {page: study for page in env.found_docs if (study := study_of(app, page))}
    evidence = {study: evidence_of(study) for study in studies}
    computed = dict.fromkeys(env.found_docs - runs.keys(), evidence[studies[0]])
    computed |= dict.fromkeys(ABOUT_ALL & computed.keys(), "".join(evidence.values()))
    measured = digest([Benchmark.path(), Gpu.path(), *CODE])
    computed |= dict.fromkeys(OF_NO_STUDY & computed.keys(), measured)  # no record makes it old
    linked = {page: "".join(links(app, study, page)) for page, study in runs.items()}
    pages = computed | linked
    before = getattr(env, "effnet_pages", {})
    env.effnet_pages = pages  # type: ignore[attr-defined]
    whole = (Path(app.outdir) / "data").is_dir()
    return sorted(
        page
        for page, made_from in pages.items()
        if before.get(page) != made_from or (page in computed and not whole)
    )


def spread_pages(app: Sphinx, _: BuildEnvironment, pages: list[str]) -> None:
    """Sphinx gives neighbours to one process: let no process get all the pages that compute."""
    pages.sort(key=lambda page: page.startswith("runs/"))
    pages[:] = [page for first in range(app.parallel) for page in pages[first :: app.parallel]]


def evidence_of(study: str) -> str:
    """What a study's pages are made from, and the names of its run pages."""
    made_from = [
        *paths.records(study).glob("[!.]*.json"),
        *paths.records(study).glob("[!.]*.csv"),
        paths.design(study),
        *(set(paths.RESULTS.glob("*.json")) - {Benchmark.path(), Gpu.path()}),
        *(paths.BOOK / "data").glob("*.csv"),
        *paths.STUDIES.glob("*.yml"),
        *CODE,
    ]
    return "\0".join([digest(made_from), *run_pages(study)])


def run_pages(study: str) -> list[str]:
    """Names of the executed notebooks that become pages: of runs in the design of their study.

    Other names could be Markdown or HTML, and a link could lead to any file.
    """
    design = load_design(study)
    names = {*(run.run_id for run in design.runs()), *map(classical_id, design.seeds)}
    notebooks = (path for path in paths.executed(study).glob("*.ipynb") if path.stem in names)
    return sorted(path.stem for path in notebooks if path.is_file() and not path.is_symlink())


def digest(files: Iterable[Path]) -> str:
    """sha256 over names and contents of files, as far as they exist."""
    hashed = hashlib.sha256()
    for path in sorted(path for path in files if path.is_file()):
        try:
            content = path.read_bytes()
        except OSError:  # of another user; what reads it says so
            content = b""
        hashed.update(os.fsencode(path.name) + b"\0" + hashlib.sha256(content).digest())
    return hashed.hexdigest()


def study_of(app: Sphinx, page: str) -> str | None:
    """The study of the book that a run page belongs to; None of any other page."""
    studies = app.config.effnet_studies
    return next((study for study in studies if page.startswith(f"runs/{study}/")), None)


def link_run_page(app: Sphinx, page: str, source: list[str]) -> None:
    """Put title and links on top of an executed notebook."""
    study = study_of(app, page)
    if not study:
        return
    run = page.rsplit("/", 1)[-1]
    try:
        notebook = nbformat.reads(source[0], as_version=4)
    except Exception:  # whatever nbformat raises: the file is being written, or is damaged
        notebook = nbformat.v4.new_notebook()
    if not (notebook.cells and notebook.cells[0].source.startswith("# ")):
        notebook.cells.insert(0, nbformat.v4.new_markdown_cell(f"# {run}", id="run-page-title"))
    _only_show(notebook)
    top = notebook.cells[0]
    heading, _, text = top.source.partition("\n")
    heading = title(study, run) or heading
    if study != app.config.effnet_studies[0]:
        heading += f", {markdown(load_design(study).title)}"
    top.source = "\n\n".join([heading, " · ".join(links(app, study, page)), text])
    # Nothing else: a notebook's metadata can change how Sphinx reads it.
    python = {"name": "python", "pygments_lexer": "ipython3"}
    notebook.metadata = nbformat.from_dict({"language_info": python})
    source[0] = nbformat.writes(notebook)


def _only_show(notebook: nbformat.NotebookNode) -> None:
    """Leave text, code and outputs of an executed notebook, and nothing that a build acts on.

    A notebook may come from somebody else. Directives, roles, links and images in its Markdown
    could put any file of the building machine onto the page; without their brackets and fences
    they are text.
    """
    notebook.cells = [cell for cell in notebook.cells if cell.cell_type in ("code", "markdown")]
    for cell in notebook.cells:
        cell.pop("attachments", None)
        cell.metadata = nbformat.from_dict({"tags": cell.metadata.get("tags", [])})
        if cell.cell_type == "markdown":
            if MARKER in cell.metadata.tags:
                cell.source = re.sub("<[^>]*>", "", cell.source)
            cell.source = _inert(cell.source)
            continue
        for output in cell.outputs:
            output.metadata = nbformat.from_dict({})
            if "data" in output:
                shown = {kind: data for kind, data in output.data.items() if kind in SHOWN}
                output.data = nbformat.from_dict(shown)


def _inert(markdown: str) -> str:
    """Markdown without what acts: its directives, roles, links, images and HTML are text."""
    acts = r"[\\{\[<]|`{3,}|[~:]{3,}|^---"
    return re.sub(acts, lambda match: "".join(f"\\{c}" for c in match[0]), markdown, flags=re.M)


def title(study: str, run: str) -> str:
    """Heading of a run page: by the design, as what a notebook says of itself may be another's."""
    runs = {settings.run_id: settings for settings in load_design(study).runs()}
    if run not in runs:
        return ""
    settings = runs[run]
    levels = markdown(configuration(settings.levels))
    return f"# Run {settings.number}: {levels}, seed {settings.seed}"


def links(app: Sphinx, study: str, page: str) -> Iterator[str]:
    """Markdown links: to the run before, the table it is in, the record, and the run after."""
    pages = run_pages(study)
    up, run = "../" * page.count("/"), page.rsplit("/", 1)[-1]
    place = pages.index(run)
    if place > 0:
        yield f"[← {pages[place - 1]}]({pages[place - 1]}.ipynb)"
    main = study == app.config.effnet_studies[0]
    yield "[Table 1](#table-1)" if main else f"[all runs]({up}runs.md)"
    record = f"{run}.json"
    if (paths.records(study) / record).is_file():
        yield f'<a href="{up}{RECORDS}/{study}/{record}">record</a>'
    if place + 1 < len(pages):
        yield f"[{pages[place + 1]} →]({pages[place + 1]}.ipynb)"


def finish_page(app: Sphinx, _page: str, _template: str, context: dict, _: object) -> None:
    """Number figures and tables, keep numbers with their units, describe and sign the page."""
    body = context.get("body") or ""
    if body:
        context["body"] = finish.unbroken(finish.numbered(body))
    context["metatags"] = context.get("metatags", "") + str(
        finish.described(context.get("title", ""), body, preview(app))
    )
    day = finish.newest(tuple(app.config.effnet_studies))
    sources = context["pathto"]("references")
    context["theme_extra_footer"] = finish.footer(day, sources)


def preview(app: Sphinx) -> str:
    """Address of the picture that stands for the site; absolute where `html_baseurl` is known."""
    if not (Path(app.outdir) / locations.PREVIEW).is_file():
        return ""
    base = app.config.html_baseurl
    return f"{base.rstrip('/')}/{locations.PREVIEW}" if base else locations.PREVIEW


def copy_records(app: Sphinx, failure: Exception | None) -> None:
    """Put the records beside the pages, so that the site holds what it was made from."""
    folder = Path(app.outdir) / RECORDS
    shutil.rmtree(folder, ignore_errors=True)
    for study in app.config.effnet_studies if failure is None else []:
        if paths.records(study).is_dir():
            try:
                shutil.copytree(paths.records(study), folder / study, ignore=_not_plain)
            except OSError as error:
                sys.exit(str(cannot(f"copy the records of {study} to the site", error)))


def _not_plain(folder: str, names: list[str]) -> list[str]:
    """What is no record, prediction, verdict or design, or cannot be read.

    A link could lead to any file. The trained model and pages of the study's images are not for
    everybody who may read the report.
    """
    kinds = {name: (Path(folder) / name).lstat().st_mode for name in names}
    plain = [n for n, kind in kinds.items() if stat.S_ISREG(kind) and Path(n).suffix in IN_SITE]
    plain = [name for name in plain if not name.startswith(".")]
    unreadable = [name for name in plain if not os.access(Path(folder) / name, os.R_OK)]
    if unreadable:
        print(printable(f"Left out of the site, as it cannot be read: {listed(unreadable)}."))
    return list(kinds.keys() - set(plain) | set(unreadable))
