import ast
import json
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest
from bs4 import BeautifulSoup
from factories import save_run, use_folders, write_study
from markupsafe import Markup

from effnet_core import paths
from effnet_core.study.studies import load_study
from effnet_report import words
from effnet_report.evidence import locations
from effnet_report.inference import analysis, recipes
from effnet_report.jupyter import finish, sphinx_extension
from effnet_report.pages import answer, conclusions, recipe, results, shown
from effnet_report.render import html

PAGES = sorted(paths.BOOK.glob("*.md"))


def cells(page: Path) -> list[str]:
    return re.findall(r"```\{code-cell\}.*?\n\n(.*?)```", page.read_text(), flags=re.DOTALL)


def test_the_pages_are_those_of_the_table_of_contents():
    contents = (paths.BOOK / "_toc.yml").read_text()
    listed = {"index", *re.findall(r"file: (\w+)", contents)}
    assert {page.stem for page in PAGES} == listed
    assert "images" in listed


def write_runs(name: str, runs: slice, patch: pytest.MonkeyPatch) -> None:
    """Records of some of a study's runs, in their order."""
    patch.setenv("EFFNET_STUDY", name)
    for settings in list(load_study(name).runs())[runs]:
        save_run(settings)


def write_narrow_study(depths, patch: pytest.MonkeyPatch) -> None:
    """Records of a study that compares no heads and no schedules."""
    root = paths.RESULTS.parent
    shutil.copytree(paths.STUDIES, root / "studies")
    patch.setattr(paths, "STUDIES", root / "studies")
    patch.setenv("EFFNET_STUDY", "narrow")
    factors = f"factors: {{freeze: {[*depths]}, head: [none], scheduler: [plateau]}}\n"
    quick = (paths.STUDIES / "quick.yml").read_text()
    (paths.STUDIES / "narrow.yml").write_text(
        quick.replace("seeds: [0]\n", f"seeds: [0, 1]\n{factors}")
    )
    write_study("narrow")


NO_DEPTHS = "{augment: [none, flips], learning_rate: [1.0e-4, [1.0e-4, 3.0e-4]], " \
    "early_stop_patience: [2, null]}"  # fmt: skip


def write_recipes(patch: pytest.MonkeyPatch, factors: str = "") -> None:
    """Records of a study that compares recipes, and no heads or schedules."""
    root = paths.RESULTS.parent
    shutil.copytree(paths.STUDIES, root / "studies")
    patch.setattr(paths, "STUDIES", root / "studies")
    patch.setenv("EFFNET_STUDY", "recipes")
    (paths.STUDIES / "recipes.yml").write_text(
        (paths.STUDIES / "quick.yml").read_text().replace("seeds: [0]\n", "seeds: [0, 1]\n")
        + "factors: "
        + (
            factors
            or "{learning_rate: [1.0e-4, 3.0e-4], norm_statistics: [batch, pretrained], "
            "freeze: [0, 3, 6]}"
        )
        + "\n"
    )
    write_study("recipes")


# What a study can look like, each written into folders of its own.
SCENARIOS = {
    "whole": lambda _: write_study("quick"),
    "partial": lambda _: write_study("quick", skip=(1, 9, 28)),
    "no run": lambda _: None,
    "the first run of four seeds": lambda patch: write_runs("elpv", slice(1), patch),
    "a seed and a part of another": lambda patch: write_runs("elpv", slice(33), patch),
    "depths": lambda patch: write_narrow_study(range(7), patch),
    "one depth": lambda patch: write_narrow_study([3], patch),
    "recipes": write_recipes,
    "no depths": lambda patch: write_recipes(patch, NO_DEPTHS),
}


@pytest.mark.slow
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_page_computes_whatever_is_missing(scenario, tmp_path, monkeypatch):
    """All pages show one study, which is read once; each has a finding, and no number is `nan`."""
    use_folders(tmp_path, monkeypatch)
    monkeypatch.setenv("EFFNET_STUDY", "quick")
    SCENARIOS[scenario](monkeypatch)
    monkeypatch.setattr(analysis, "load", cache(analysis.load))
    words = {}
    for page in PAGES:
        shown = what_cells_show(page)
        assert "report-finding" in shown[0], page.stem
        text = "".join(shown)
        assert re.findall(r">[^<]*\bnan\b[^<]*", text) == [], page.stem
        assert faults_of_wording(text) == [], page.stem
        words[page.stem] = BeautifulSoup(shown[0], "html.parser").text
    if scenario == "whole":
        assert_read(words, tmp_path / "wording.json")


def assert_read(words: dict[str, str], written: Path) -> None:
    """Pages open with the words that somebody has read aloud, and then put into the file."""
    written.write_text(json.dumps(words, indent=1, ensure_ascii=False) + "\n")
    read = json.loads((Path(__file__).parent / "wording.json").read_text())
    assert words == read, f"Read the new words in {written}, then copy it to tests/wording.json."


# What a reader has to read twice, or never should see: see how we write, in CONTRIBUTING.
BANNED = [
    r"Whether [^.]*? is inconclusive",
    r"brings no gain of",
    r"no choice ever saw",
    r"to choose with",
    r"which that is",
    r"as many seeds",
    r"Seed after seed",
    r"each seed its best",
    r"one and the same",
    r"something else than",
    r"\blest\b",
    r"nobody ever",
    r"beside ours",
    r"who is right on what",
    r"(?:supported|decided) on \d+ of",
    r"decided on every one",
    r"share of the expert",
    r"that an expert's script",
    r"cost of a typed run",
    r"less to compute",
    r"\bp stay\b",
    r"put(?:s|) it to the rest",
    r"may lose more than [^.]* or less",
    r"part decided",
    r"not calibrated yet",
    r"\b(?:runs?|seeds?|images?|steps?|seconds) a (?:depth|seed|run|step|fold)\b",
    r"is shown to cost",
    r"\ba seed\)",
    r"object at 0x",
    r"\b(?:Estimate|Measured|Markup|Timestamp|array|dtype|np)\(",
    r">None<",
    r"\d+ (?:data sets?|runs|conclusions) is\b",
    r"\b1 (?:are|were)\b",
]


def faults_of_wording(page: str) -> list[str]:
    """Banned sentences and text of objects; figures without a number; captions that go on."""
    drawn = page.count('<svg role="img"')
    page = re.sub(r"<svg(.*?)>.*?</svg>", r"<svg\1>", page, flags=re.DOTALL)
    faults = [found[0] for banned in BANNED for found in re.finditer(banned, page)]
    frames = re.findall(r'<figure class="report-(?:figure|table)".*?</figure>', page, re.DOTALL)
    if drawn != sum(frame.count('<svg role="img"') for frame in frames):
        faults.append("a drawing without a number")
    for frame in frames:
        if not re.search(
            r'<span class="report-number">(?:Figure|Table)(?: \d+\.)?</span> \S', frame
        ):
            faults.append(f"no number: {frame[:80]}")
        caption = re.search(r"<figcaption>(.*?)<details", frame, re.DOTALL)[1]
        text = re.sub(r"<[^>]*>", "", caption).strip()
        # A credit names its source, which is no sentence.
        text = re.sub(r"Images: .*$", "", text)
        if len(re.findall(r"[.!?](?=\s+[A-Z0-9]|\s*$)", text)) > MOST_SENTENCES:
            faults.append(f"a long caption: {text}")
    return faults


MOST_SENTENCES = 2


@pytest.mark.parametrize(
    "page",
    [
        "<p>Whether cosine is better is inconclusive (0.1).</p>",
        "<td>Estimate(effect=1.0)</td>",
        "<td>None</td>",
        '<figure class="report-table" id="a"><p>A title</p><figcaption>A. <details></figure>',
        '<figure class="report-table"><span class="report-number">Table</span> B</p>'
        "<figcaption>One. Two. Three. <details></details></figcaption></figure>",
        '<p><svg role="img" style=""><path/></svg></p>',
    ],
)
def test_faults_of_wording_are_found(page):
    assert len(faults_of_wording(page)) == 1


def test_what_commands_print_and_pages_say_has_no_banned_sentence():
    printed = (paths.BOOK / "tutorial").iterdir()
    for path in (*PAGES, *printed, paths.TRAIN_NOTEBOOK, paths.CLASSICAL_NOTEBOOK):
        assert faults_of_wording(path.read_text()) == [], path.name


def test_every_figure_of_the_built_book_has_a_number_of_its_own(book):
    for page in PAGES:
        text = (book.site / f"{page.stem}.html").read_text()
        assert faults_of_wording(text.split("<article")[1].split("</article")[0]) == [], page.stem
        for kind in ("Figure", "Table"):
            numbers = re.findall(rf'report-number">{kind} (\d+)\.</span>', text)
            assert numbers == [str(n + 1) for n in range(len(numbers))], page.stem
        assert '<span class="report-number">Figure<' not in text
        assert "Version " in text


def test_a_link_to_a_page_shows_its_sentences_and_the_picture_of_the_site():
    body = html.finding(Markup("It <b>holds</b>."), *html.apart(["Here."]), *html.apart([])).data
    tags = BeautifulSoup(finish.described("A page", body, locations.PREVIEW), "html.parser")
    named = {tag["property"]: tag["content"] for tag in tags.find_all("meta", property=True)}
    assert named["og:description"] == "It holds. Here."
    assert named["og:image"] == locations.PREVIEW
    assert "og:image" not in finish.described("A page", body)


def test_every_page_is_reached_from_the_first(book):
    seen, waiting = set(), ["index.html"]
    while waiting:
        name = waiting.pop()
        if name in seen or not (book.site / name).is_file():
            continue
        seen.add(name)
        links = re.findall(r'href="([\w-]+\.html)', (book.site / name).read_text())
        waiting += links
    assert {f"{page.stem}.html" for page in PAGES} <= seen


def what_cells_show(page: Path) -> list[str]:
    """The HTML of the last line of each code cell."""
    names, shown = {}, []
    for cell in cells(page):
        *before, last = ast.parse(cell).body
        exec(compile(ast.Module(before, []), page.stem, "exec"), names)
        shown.append(eval(compile(ast.Expression(last.value), page.stem, "eval"), names).data)
    return shown


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_no_logic_in_a_page(page):
    for cell in cells(page):
        lines = cell.strip().splitlines()
        assert sum(not line.startswith("from ") for line in lines) <= 3


def test_recipes_are_compared_where_a_study_has_them(tmp_path, monkeypatch):
    use_folders(tmp_path, monkeypatch)
    write_recipes(monkeypatch)
    studies = recipe.studies()
    assert re.search(r'data-finding="recipe:(holds|turns)"', recipe.answer(studies).data)
    table = recipes.by_recipe(studies[0])
    assert len(table) == 2 * 2 * 2  # rates, statistics, depths beside none
    assert (table["low"] < table["effect"]).all()
    drawn = recipe.effects(studies).data
    assert "pretrained" in drawn
    rates = recipe.every_rate(studies).data
    assert rates.count("<tr") == 1 + 2 * 3  # a head, and a row per statistics and depth
    ranges = recipe.ranges(studies).data
    assert "learning rate" in ranges
    assert ">head<" not in ranges
    races = recipes.races(studies[0])
    assert len(races) == 2 * 2 * 3  # seeds, statistics, depths
    assert (races["behind"] >= 0).all()
    assert (races.loc[races["picked"] == races["best"], "behind"] == 0).all()
    assert f"of {len(races)} cases" in recipe.race(studies).data


def test_tuned_rates_are_those_that_are_best_on_validation(tmp_path, monkeypatch):
    use_folders(tmp_path, monkeypatch)
    write_recipes(monkeypatch)
    study = recipe.studies()[0]
    tuned = recipes.tuned(study)
    assert [*tuned.evidence.factors] == ["norm_statistics", "freeze"]
    assert tuned.correctness.seeds == study.correctness.seeds == [0, 1]
    assert tuned.evidence.unfinished == []
    groups = study.evidence.runs.groupby(["seed", "norm_statistics", "freeze"])
    chosen = tuned.evidence.runs.set_index(["seed", "norm_statistics", "freeze"])["run_id"]
    for cell, runs in groups:
        assert chosen[cell] == runs.loc[runs["validation"].idxmax(), "run_id"]
    assert len(recipes.by_recipe(tuned)) == 2 * 2  # statistics, depths beside none


def test_choices_that_only_another_study_of_these_images_compares_are_beside_them(
    tmp_path, monkeypatch
):
    use_folders(tmp_path, monkeypatch)
    write_recipes(monkeypatch)
    write_study("quick")
    monkeypatch.setenv("EFFNET_STUDY", "recipes,quick")
    rows = BeautifulSoup(recipe.ranges(recipe.studies()).data, "html.parser").find_all("tr")
    parts = {row.td.text: row.find_all("td")[-1].text for row in rows if row.td}
    title = load_study("quick").title
    assert parts["head"] == f"{title} (quick)"
    assert parts["learning rate"] == f"{title} (recipes)"
    assert parts["frozen stages"] == f"{title} (quick)"  # it compares more depths


def test_a_study_of_recipes_advises_by_its_best_one(tmp_path, monkeypatch):
    use_folders(tmp_path, monkeypatch)
    write_recipes(monkeypatch)
    (study,) = answer.studies()
    best = recipes.tuned(recipe.studies()[0]).evidence.best_settings
    assert study.evidence.design.protocol.norm_statistics == best.norm_statistics
    assert [depth.freeze for depth in study.depths] == [3, 6]
    assert {run.settings.norm_statistics for run in study.evidence.finished} == {
        best.norm_statistics
    }
    assert words.beside("norm_statistics", best.norm_statistics) in answer.advice([study]).data


def test_a_book_without_recipes_says_that_they_were_not_measured(tmp_path, monkeypatch):
    use_folders(tmp_path, monkeypatch)
    monkeypatch.setenv("EFFNET_STUDY", "quick")
    write_study("quick")
    assert 'data-finding="recipe:unmeasured"' in recipe.answer(recipe.studies()).data


def use_narrow_study(depths, tmp_path, monkeypatch):
    use_folders(tmp_path, monkeypatch)
    write_narrow_study(depths, monkeypatch)


@pytest.mark.slow
def test_what_a_narrow_study_does_not_compare_is_said(tmp_path, monkeypatch):
    use_narrow_study(range(7), tmp_path, monkeypatch)
    found = analysis.load()
    said = conclusions.verdicts(found).data
    assert "only one head was tried" in said
    assert "only one schedule was tried" in said
    assert "<svg" not in results.interaction(found).data
    assert "either" not in answer.advice([found]).data


def test_a_study_without_freeze_0_does_not_count_what_it_cannot_compare(tmp_path, monkeypatch):
    use_narrow_study([4, 6], tmp_path, monkeypatch)
    found = analysis.load("narrow")
    assert "of 0 depths" not in answer.depths([found]).data
    assert 'data-finding="effects:nothing"' in conclusions.forest(found).data


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_page_opens_with_its_finding(page):
    body = page.read_text().split("---\n", 2)[2]
    heading, first = re.search(r"^# (.+)\n\n(.+)$", body, flags=re.MULTILINE).groups()
    assert heading
    assert first.startswith("```{code-cell}")
    assert re.match(r"\w+\.answer\(", cells(page)[0].strip().splitlines()[-1])


def typed_numbers(text: str) -> list[str]:
    """Numbers in a page's prose; names, and what stands between backticks, are none."""
    prose = re.sub(r"```.*?```|`[^`]*`|\(table-1\)=|Table \d", "", text, flags=re.DOTALL)
    spelled = r"\b(?:per cent|percent|third|dozens?|hundreds?|points)\b"
    return re.findall(rf"(?<!\w)\d[\d.,]*(?: ?%)?|{spelled}", prose)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_no_result_is_typed_by_hand(page):
    assert typed_numbers(page.read_text().split("---\n", 2)[2]) == []


@pytest.mark.parametrize(
    "sentence",
    ["It reaches 86.2 %.", "Of 28 runs most stopped.", "Better by two points.", "1,234 images"],
)
def test_a_typed_result_is_found(sentence):
    assert typed_numbers(f"## Table 1\n\n{sentence}\n\n`-p freeze 2`") != []


@pytest.mark.slow
def test_the_book_imports_no_torch():
    modules = sphinx_extension.imported_by_pages(paths.BOOK)
    code = f"import sys, {', '.join(modules)}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_page_has_a_module_of_its_name(page):
    name = "answer" if page.stem == "index" else page.stem
    shown = re.findall(r"^from effnet_report\.pages import (.+)$", page.read_text(), re.MULTILINE)
    assert shown == [name]
    assert f"effnet_report.pages.{name}" in sphinx_extension.imported_by_pages(paths.BOOK)


def test_a_troubled_study_builds_and_says_what_is_missing(book):
    site = book.site
    for page in PAGES:
        assert 'class="report-finding"' in (site / f"{page.stem}.html").read_text()
    assert "3 of 28 runs are missing" in (site / "index.html").read_text()
    missing = (site / "reproducibility.html").read_text()
    assert "The &lt;b&gt;disk&lt;/b&gt; was full." in missing


def test_run_pages_have_titles_links_and_records(book):
    site = book.site
    page = (site / "runs" / "quick" / "08-freeze1-mlp-cosine-seed0.html").read_text()
    assert "Run 8: freeze 1, two linear layers with dropout, cosine, seed 0" in page
    assert "One run" not in page
    assert "What it is." in page
    assert "# Parameters" in page
    assert 'href="../../results.html#table-1"' in page
    assert 'href="../../records/quick/08-freeze1-mlp-cosine-seed0.json"' in page
    assert 'href="07-freeze1-mlp-plateau-seed0.html"' in page
    assert (site / "records" / "quick" / "08-freeze1-mlp-cosine-seed0.json").is_file()


def test_run_pages_of_other_studies_are_left_out(book):
    assert not (book.site / "runs" / "other").exists()


def test_all_internal_links_resolve(book):
    site = book.site
    pages = {p: p.read_text() for p in site.rglob("*.html") if "_static" not in p.parts}
    broken = []
    for path, text in pages.items():
        for target in re.findall(r'(?:href|src)="(?!https?:|data:|mailto:|#)([^"]+)"', text):
            address, anchor = urldefrag(unquote(target.split("?")[0]))
            found = (path.parent / address).resolve()
            inside = not anchor or f'id="{anchor}"' in pages.get(found, "")
            if not found.is_file() or not inside:
                broken.append((path.name, target))
    assert broken == []


def test_pages_follow_the_records(book):
    log, rewritten = book.unchanged
    assert "Executed notebook" not in log
    assert not rewritten
    # Not the two speed pages, and no run page.
    assert f"0 added, {len(PAGES) - 2} changed" in book.changed
    assert "Executed notebook" in book.changed
    assert "99.0" in (book.site / "results.html").read_text()


def test_another_recipe_that_is_being_trained_on_the_same_images_is_told(tmp_path, monkeypatch):
    use_folders(tmp_path, monkeypatch)
    shutil.copytree(paths.STUDIES, tmp_path / "studies")
    monkeypatch.setattr(paths, "STUDIES", tmp_path / "studies")
    design = (paths.STUDIES / "quick.yml").read_text()
    (paths.STUDIES / "begun.yml").write_text(design.replace("pretrained", "batch"))
    write_study("quick")
    save_run(next(load_study("begun").runs()), accuracy=77.5)
    monkeypatch.setenv("EFFNET_STUDY", "quick")
    assert shown.begun(analysis.load("quick")) == ""
    monkeypatch.setenv("EFFNET_STUDY", "quick,begun")
    said = shown.begun(analysis.load("quick"))
    assert "has 1 of 28 runs so far, with 77.5 to 77.5 % on test images" in said
