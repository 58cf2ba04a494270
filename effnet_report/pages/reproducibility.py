"""The page Reproducibility: where the records come from, what is missing, what was repeated."""

from collections.abc import Iterator, Sequence

import pandas as pd
from IPython.display import HTML
from markupsafe import Markup

from effnet_core.errors import InputError
from effnet_core.study.code import code_fingerprint
from effnet_core.study.design import Settings
from effnet_core.study.schema import AnyRecord, Record
from effnet_core.study.studies import PUBLISHED
from effnet_report import words
from effnet_report.evidence.evidence import Evidence, Verification
from effnet_report.inference.analysis import Analysis
from effnet_report.measurements.processors import Processors
from effnet_report.numbers import duration, number
from effnet_report.pages.gaps import coverage, not_measured, nothing_yet
from effnet_report.render.html import apart, finding, paragraph, table

SHOWN = 10  # rows of the run times
DIGITS = 16  # of a fingerprint; its CSV has all


def answer(analysis: Analysis) -> HTML:
    """Whether all records stem from one data set, one set of weights and one code."""
    evidence = analysis.evidence
    if not evidence.finished:
        return nothing_yet(evidence)
    prints = pd.DataFrame(record.fingerprints.model_dump() for record in evidence.finished)
    several = [name for name in ("data", "weights", "code") if prints[name].nunique() > 1]
    agreement = (
        f"They differ in {words.joined(several)}: do not compare them before you know why."
        if several
        else "All fine-tuned runs used the same images, the same starting weights and the same "
        "code, as far as code decides outcomes."
    )
    hours = evidence.runs["total_seconds"].sum() / 3600
    return finding(
        f"{len(evidence.finished)} of {len(evidence.planned)} runs are finished; together they "
        f"took {number(hours)} hours, counted one after the other.",
        agreement,
        *apart(coverage(evidence)),
    )


def missing(analysis: Analysis) -> HTML:
    """Runs that are not part of the report, and why; records that no figure counts."""
    evidence = analysis.evidence
    reasons = evidence.failures | evidence.set_aside
    why = {s.run_id: reasons.get(s.run_id, "missing") for s in evidence.unfinished} | reasons
    if not why:
        return paragraph([f"All {len(evidence.planned)} planned runs of this study are here."])
    for seed in evidence.design.seeds:
        runs = [s.run_id for s in evidence.planned if s.seed == seed]
        if all(why.get(name) == "missing" for name in runs):  # in one line
            why = {name: w for name, w in why.items() if name not in runs}
            why[f"all {len(runs)} of seed {seed}"] = "missing"
    frame = pd.DataFrame(why.items(), columns=["run", "why"])
    return table(
        frame,
        "missing",
        finding=f"{len(evidence.unfinished)} of {len(evidence.planned)} runs are missing.",
        caption=f"To train them: {_go_on(evidence)}effnet sweep {evidence.design.name}.",
    )


def _go_on(evidence: Evidence) -> str:
    """What to do first where the records that are there are committed ones: else all is trained."""
    name, shown = evidence.design.name, evidence.reference
    committed = shown.startswith(f"{PUBLISHED}/")
    return f"cp -r results/{shown} results/{name}, then " if committed else ""


def run_times(analysis: Analysis) -> HTML:
    """Every run: how long it took, and the command that repeats it."""
    evidence = analysis.evidence
    columns = ["cpu_seconds", "train_seconds", "total_seconds", "memory_mb"]
    made = evidence.runs.set_index("run_id")[columns]
    frame = pd.DataFrame({"run": s.run_id, "command": _command(s)} for s in evidence.planned)
    frame = frame.merge(made, how="left", left_on="run", right_index=True)
    names = {
        "cpu_seconds": "training, CPU s",
        "train_seconds": "training, s",
        "total_seconds": "in all, s",
        "memory_mb": "memory, MB",
    }
    frame = frame.sort_values("total_seconds", ascending=False, kind="stable")
    shown = frame[["run", *names]].rename(columns=names)
    return table(
        shown.head(SHOWN),
        "run-times",
        finding=f"All finished runs together took {duration(frame['total_seconds'].sum())}.",
        caption=f"The {min(SHOWN, len(shown))} longest runs. The CSV has all, each with the "
        "command that repeats it in the repository's folder.",
        data=frame,
    )


def _command(settings: Settings) -> str:
    chosen = {"study": settings.study} | words.typed(settings) | {"seed": settings.seed}
    parts = " ".join(f"-p {name} {level}" for name, level in chosen.items())
    return f"papermill notebooks/train.ipynb {parts}"


def verification(analysis: Analysis) -> HTML:
    """What `effnet verify` found: whether runs trained again gave the same record."""
    evidence = analysis.evidence
    try:
        verifications = evidence.verifications
    except InputError as damaged:
        return paragraph([str(damaged)])
    if not verifications:
        return paragraph(
            [
                "No run of this study has been repeated yet. Repeat some with ",
                Markup("<code>effnet verify {}</code>.").format(evidence.reference),
            ]
        )
    frame = pd.DataFrame(row for repeat in verifications for row in _repeated(repeat))
    equal = sum(repeat.equal for repeat in verifications)
    return table(
        frame,
        "verification",
        finding=f"{equal} of {len(frame)} repeated results are equal to the bit.",
        caption=" ".join(_how_repeated(verifications)),
    )


def _repeated(repeat: Verification) -> Iterator[dict[str, str]]:
    """One row per run that was repeated on one kind of processor."""
    agreement = (
        dict.fromkeys(repeat.verified, "equal to the bit")
        | dict.fromkeys(repeat.within_tolerance, "within tolerance")
        | dict.fromkeys(repeat.different, "different")
    )
    for run, agreed in sorted(agreement.items()):
        yield {
            "run": run,
            "repeated on": repeat.machine.processor,
            "result": agreed + (", recorded time implausible" if run in repeat.implausible else ""),
            "what had changed": ", ".join(line.split(":")[0] for line in repeat.origin.get(run, []))
            or "nothing",
        }


def _how_repeated(verifications: Sequence[Verification]) -> Iterator[str]:
    """On what, with what and when; and what a tolerance means where one was needed."""
    where = "; ".join(map(_where, verifications))
    yield f"Repeated from the source files with an empty cache, {where}."
    if tolerated := [repeat.tolerance for repeat in verifications if repeat.within_tolerance]:
        yield f"Within tolerance means that {tolerated[0]}."


def _where(repeat: Verification) -> str:
    with_torch = f" and PyTorch {repeat.versions['torch']}" if "torch" in repeat.versions else ""
    machine = f"{repeat.machine.processor} with {repeat.machine.cores} cores"
    return f"on {machine}{with_torch} ({repeat.finished[:10]})"


def processors() -> HTML:
    """Whether other processors computed the same bits."""
    measured = Processors.load()
    if measured is None:
        return not_measured("make processors")
    compared = len(measured.hashes)
    frame = pd.DataFrame(
        {
            "trained on": other.what,
            "how": f"emulated: {other.emulated}"
            if other.emulated
            else ", ".join(f"{name}={value}" for name, value in other.variables.items()),
            "equal to the bit": f"{compared - len(other.different)} of {compared}",
            "different": ", ".join(other.different) or "none",
        }
        for other in measured.places
    )
    same = sum(not other.different for other in measured.places)
    return table(
        frame,
        "processors",
        finding=f"After {measured.steps} training steps, {same} of {len(frame)} other processors "
        "and environments gave the same bits.",
        caption=(
            f"Frozen activations and weights after {measured.steps} training steps on real images "
            f"at every depth, compared with {measured.machine['processor']}. Emulated processors "
            "offer the instructions of the real ones."
        ),
    )


def machine(analysis: Analysis) -> HTML:
    """Hardware and versions, each value with the number of records that name it."""
    evidence = analysis.evidence
    rows = [
        {"what": group, "name": name, "value": value}
        for record in evidence.everything
        for group, values in (
            ("hardware", record.made.hardware),
            ("version", record.made.versions),
            ("commit", {"git": record.made.commit}),
        )
        for name, value in values.items()
    ]
    frame = _tally(rows, ["what", "name", "value"])
    values = frame.groupby(["what", "name"]).size()
    mixed = [f"{what} ({name})" for what, name in values[values > 1].index]
    return table(
        frame,
        "machine",
        finding="All records come from one machine and one set of versions."
        if not mixed
        else f"The records differ in {', '.join(mixed)}.",
        caption="One line per value, with the number of records that have it.",
    )


def fingerprints(analysis: Analysis) -> HTML:
    """What decided the outcome besides the settings, as sha256."""
    evidence = analysis.evidence
    rows = [
        {"what": name, "sha256": value}
        for record in evidence.everything
        for name, value in record.fingerprints.model_dump().items()
    ]
    frame = _tally(rows, ["what", "sha256"])
    return table(
        frame.assign(sha256=frame["sha256"].str[:DIGITS]),
        "fingerprints",
        finding=f"{len(evidence.everything)} records have {len(frame)} different fingerprints.",
        caption="Equal fingerprints mean equal content, and for code equal meaning. "
        f"{_version_of_code(evidence)}",
        data=frame,
    )


def _version_of_code(evidence: Evidence) -> str:
    """Whether the records were made by today's code; if not, whether it gives the same bits."""
    records = evidence.everything
    now = {kind: code_fingerprint(kind) for kind in ("run", "classical")}
    earlier = {r.run_id for r in records if r.fingerprints.code != now[_purpose(r)]}
    if not earlier:
        return (
            "All records were made by today's code, as far as it decides outcomes; commits differ "
            "in the rest, and a + means that something was not committed."
        )
    current = [repetition for repetition in evidence.verifications if repetition.code == now]
    repeated = {run for repetition in current for run in repetition.verified} & earlier
    other = {
        run
        for repetition in current
        for run in (*repetition.within_tolerance, *repetition.different)
    }
    return (
        f"{len(earlier)} of {len(records)} records were made by an earlier version; "
        f"{len(repeated - other)} of {len(repeated)} repeated equal to the bit with today's code."
    )


def _purpose(record: AnyRecord) -> str:
    """The purpose of the code that made a record, see `code_fingerprint`."""
    return "run" if isinstance(record, Record) else "classical"


def _tally(rows: list[dict[str, str]], columns: list[str]) -> pd.DataFrame:
    """Each different row once, with the number of records that it stands in."""
    return (
        pd.DataFrame(rows, columns=columns).groupby(columns).size().rename("records").reset_index()
    )
