"""Repeat finished runs and compare the results with their records."""

import json
import platform
import random
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, Literal

from joblib import Parallel, delayed

from effnet_core import files, paths, processor, run
from effnet_core.errors import InputError
from effnet_core.study import records
from effnet_core.study.code import code_fingerprint
from effnet_core.study.design import Settings
from effnet_core.study.provenance import hardware, versions
from effnet_core.study.schema import AnyRecord, ClassicalRecord, Record
from effnet_report.baseline import classical
from effnet_report.evidence import loader, locations
from effnet_report.evidence.loader import located
from effnet_report.inference.comparison import accuracy_interval

TOLERANCE = (
    "the repeated test accuracy lies in the 95 % Wilson interval of the recorded one; allowed "
    "only where code, versions or machine differ, which may change the last bits of arithmetic"
)


# Machines differ in speed by one factor for all runs; a run's time that differs from the others by
# more than this factor, and by more seconds than short runs scatter by, was not measured so. A run
# that finds its activations cached takes up to half the time of one that computes them.
PLAUSIBLE, SCATTER = 4.0, 5.0
MINIMUM = 3

Agreement = Literal["equal", "within tolerance", "different"]


@dataclass(frozen=True)
class Comparison:
    """The comparison of a record with a repetition of its run.

    Attributes:
        checksum: checksum of the record.
        origin: differences before the start of the run, as `name: recorded -> here`.
        accuracy: test accuracy, recorded and repeated, per cent.
        seconds: CPU time of training, recorded and repeated; None of a classical model.
    """

    run_id: str
    checksum: str
    origin: list[str]
    agreement: Agreement
    accuracy: tuple[float, float]
    seconds: tuple[float, float] | None

    @property
    def verdict(self) -> str:
        """The result in words, compared with the expectation."""
        recorded, again = self.accuracy
        if self.agreement == "equal":
            return "equal to the bit"
        expected = "as" if self.agreement == "within tolerance" else "against"
        return (
            f"different {expected} expect{'ed' if expected == 'as' else 'ation'}, by "
            f"{again - recorded:+.2f} points of test accuracy ({recorded:.2f} % recorded)"
        )


def verify(
    study: str,
    run_ids: Sequence[str],
    sample: int | None,
    report: Callable[[Comparison], None],
    tell: Callable[[str], None] = print,
    *,
    output: Path | None = None,
    jobs: int = 1,
) -> list[Comparison]:
    """Repeat runs of a study, and write the comparisons to a file.

    Args:
        study: a folder of records, such as `quick` or `published/quick`.
        run_ids: names of the runs to repeat.
        sample: number of runs to repeat, drawn by the hashes of all records, so that changing a
            record changes the sample. Without both arguments all runs are repeated.
        report: called after each run.
        tell: called before each run with the expected result.
        output: file for the comparisons; by default beside the records, with the name of this
            processor, so files of other processors stay.
        jobs: number of parallel repetitions; several run in subprocesses and are reported in the
            order in which they end.

    Raises:
        InputError: the study or a run does not exist, a record is damaged, or this machine lacks
            the data.
    """
    compared: list[Comparison] = []
    chosen = _chosen(study, run_ids, sample)

    def tasks(cache: Path) -> Iterator[object]:
        for record in chosen:
            tell(f"{record.run_id}: {expectation(record)}")
            path = records.record_path(study, record.run_id)
            yield delayed(_compared)(study, record, records.stated_checksum(path), cache)

    together = Parallel(jobs, pre_dispatch=jobs, return_as="generator_unordered")
    with _empty_cache() as cache:
        for comparison in together(tasks(cache)):
            compared.append(comparison)
            report(comparison)
            # Written after every run, because repetitions take hours and may be interrupted.
            _write(output or here(study), compared)
    return compared


@contextmanager
def _empty_cache() -> Iterator[Path]:
    """An empty cache with only the downloads, so everything is computed from source files."""
    parent, downloads = paths.CACHE / "verifying", paths.CACHE / "datasets"
    for folder in (parent, downloads):
        folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=parent) as empty:
        (Path(empty) / downloads.name).symlink_to(downloads)
        yield Path(empty)


def implausible(compared: Sequence[Comparison]) -> list[Comparison]:
    """Runs whose recorded time does not fit the times of the others, see `PLAUSIBLE`.

    The median ratio says how much faster one machine is than the other; nothing can be said of
    fewer than three runs, nor where most times are forged by the same factor.
    """
    timed = [(comparison, comparison.seconds) for comparison in compared if comparison.seconds]
    if len(timed) < MINIMUM:
        return []
    faster = median(recorded / max(again, 0.01) for _, (recorded, again) in timed)
    return [comparison for comparison, times in timed if not _fits(*times, faster)]


def _fits(recorded: float, again: float, faster: float) -> bool:
    low, high = sorted((recorded, again * faster))
    return high <= max(PLAUSIBLE * low, low + SCATTER)


def here(study: str) -> Path:
    """The file for comparisons on this kind of processor."""
    known = processor.describe()
    kind = [known[name] for name in ("maker", "family", "model", "stepping") if name in known]
    return locations.verification(study, "-".join(kind) or platform.machine())


def summary(compared: Sequence[Comparison]) -> str:
    """One sentence about the results of all repetitions."""
    counts: Counter[str] = Counter(comparison.agreement for comparison in compared)
    if counts["equal"] == 1 == len(compared):
        return "The repeated run came out equal to the bit."
    if counts["equal"] == len(compared):
        return f"All {len(compared)} repeated runs came out equal to the bit."
    parts = [
        f"{counts[kind]} {words}"
        for kind, words in (
            ("equal", "came out equal to the bit"),
            (
                "within tolerance",
                "came out different, as expected with other code, versions or machine, which "
                "confirms the accuracy only roughly",
            ),
            ("different", "came out different, which code, versions and machine do not explain"),
        )
        if counts[kind]
    ]
    return f"Of the repeated runs, {', '.join(parts)}."


def _write(output: Path, compared: list[Comparison]) -> None:
    runs = {
        kind: [c.run_id for c in compared if c.agreement == kind]
        for kind in ("equal", "within tolerance", "different")
    }
    content = {
        "verified": [c.run_id for c in compared],
        "equal": len(runs["equal"]),
        "within_tolerance": runs["within tolerance"],
        "different": runs["different"],
        "origin": {c.run_id: c.origin for c in compared if c.origin},
        "tolerance": TOLERANCE,
        "records": {c.run_id: c.checksum for c in compared},
        "code": {kind: code_fingerprint(kind) for kind in ("run", "classical")},
        "seconds": {c.run_id: c.seconds for c in compared if c.seconds},
        "implausible": [c.run_id for c in implausible(compared)],
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": hardware(),
        "versions": versions(),
    }
    text = json.dumps(_with_earlier(output, content), indent=1, ensure_ascii=False) + "\n"
    files.write(output, text.encode())


def _with_earlier(output: Path, content: dict[str, Any]) -> dict[str, Any]:
    """Add the verdicts in a file on runs that were not repeated now.

    Only those of the same code, versions and machine. Readers of the file leave out verdicts on
    records that have changed since.
    """
    try:
        earlier = json.loads(files.read(output))
        if any(earlier[name] != content[name] for name in ("code", "versions", "machine")):
            return content
        now = set(content["verified"])
        both = dict(content)
        for name in ("verified", "within_tolerance", "different", "implausible"):
            both[name] = [run for run in earlier[name] if run not in now] + content[name]
        for name in ("origin", "records", "seconds"):
            both[name] = {r: v for r, v in earlier[name].items() if r not in now} | content[name]
    except (OSError, ValueError, TypeError, KeyError, AttributeError):  # none, or damaged
        return content
    others = len(both["within_tolerance"]) + len(both["different"])
    return both | {"equal": len(both["verified"]) - others}


def _compared(study: str, record: AnyRecord, checksum: str, cache: Path) -> Comparison:
    """Repeat a run with an empty cache."""
    settings = located(record.settings, study)
    before, paths.CACHE = paths.CACHE, cache
    try:
        if isinstance(record, ClassicalRecord):
            repeated: AnyRecord = classical.repeat(settings, record.kind, study)
        else:
            repeated, _ = run.repeat(settings, reference=study)
    finally:
        paths.CACHE = before
    return compare(record, repeated, checksum)


def _chosen(study: str, run_ids: Sequence[str], sample: int | None) -> list[AnyRecord]:
    folders = [path.parent for path in paths.RESULTS.glob("**/*-seed*.json")]
    known = sorted({folder.relative_to(paths.RESULTS).as_posix() for folder in folders})
    if study not in known and not any(records.record_files(study)):  # its folder may be a link
        raise InputError(f"No records of {study!r}. There are records of: {', '.join(known)}.")
    loaded = loader.load(study)
    loaded.check_sound()
    by_id = loaded.believed
    everything = list(by_id.values())
    if unknown := [name for name in run_ids if name not in by_id]:
        raise InputError(f"{study} has no run {unknown[0]!r}. Its runs are: {', '.join(by_id)}.")
    if run_ids:
        return [by_id[name] for name in run_ids]
    if not everything:
        raise InputError(
            f"No record of {study} belongs to a run of its design. Restore the design that the "
            "records were made with."
        )
    if sample is None:
        return everything
    hashes = [records.stated_checksum(records.record_path(study, name)) for name in sorted(by_id)]
    return random.Random("".join(hashes)).sample(everything, min(sample, len(everything)))


def expectation(record: AnyRecord) -> str:
    """The expected result of a repetition on this machine."""
    origin = _different({"code": record.fingerprints.code}, {"code": code_now(record)})
    origin += _different(record.made.versions, versions())
    origin += _different(
        {"processor": computed_by(record.settings, record.made.hardware)},
        {"processor": computed_by(record.settings, hardware())},
    )
    if not origin:
        return "it has to come out equal to the bit."
    other = ", ".join(line.split(":")[0] for line in origin)
    return f"its last bits may differ, because these differ from the record: {other}."


def code_now(record: AnyRecord) -> str:
    """The code fingerprint of a repetition of a record."""
    return code_fingerprint("run" if isinstance(record, Record) else "classical")


def computed_by(settings: Settings, hardware: Mapping[str, str]) -> str:
    """A name that is equal for processors with equal bits."""
    if settings.instructions == "portable" and settings.device == "cpu":
        sets = set(hardware.get("instruction_sets", "").split())
        if sets >= processor.NEEDED:
            return "any with AVX2"
    return " ".join(hardware[name] for name in processor.IDENTITY if name in hardware)


def compare(recorded: AnyRecord, repeated: AnyRecord, checksum: str) -> Comparison:
    """Compare a repeated run with its record, which has this checksum."""
    origin = _different(recorded.fingerprints.model_dump(), repeated.fingerprints.model_dump())
    experiment = {line.split(":")[0] for line in origin} & {"data", "split", "weights"}
    origin += _different(recorded.made.versions, repeated.made.versions)
    origin += _different(
        {"processor": computed_by(recorded.settings, recorded.made.hardware)},
        {"processor": computed_by(repeated.settings, repeated.made.hardware)},
    )
    test = recorded.outcome.test
    again = repeated.outcome.test.accuracy
    low, high = accuracy_interval(test.accuracy, test.images)
    agreement: Agreement = "different"
    if records.came_out_equal(recorded, repeated) and not experiment:
        agreement = "equal"
    elif origin and not experiment and low <= again <= high:
        agreement = "within tolerance"
    seconds = None
    if isinstance(recorded, Record):
        seconds = recorded.made.spent["train"], repeated.made.spent["train"]
    accuracy = test.accuracy, again
    return Comparison(recorded.run_id, checksum, origin, agreement, accuracy, seconds)


def _different(recorded: dict[str, str], here: dict[str, str]) -> list[str]:
    return [
        f"{name}: {recorded.get(name, 'unknown')[:40]} -> {here[name][:40]}"
        for name in here
        if recorded.get(name) != here[name]
    ]
