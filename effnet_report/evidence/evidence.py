"""The valid records of a study as tables."""

import os
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import pandas as pd
from pydantic import BaseModel

from effnet_core import files, paths
from effnet_core.errors import InputError
from effnet_core.study import records
from effnet_core.study.design import Settings, Study
from effnet_core.study.schema import AnyRecord, ClassicalRecord, Facts, Record
from effnet_report.evidence import failures as notes
from effnet_report.evidence import loader, locations
from effnet_report.evidence.calibrated import Calibrated
from effnet_report.evidence.choice import best_configuration, best_run
from effnet_report.words import cell


def configuration_means(runs: pd.DataFrame, factors: Iterable[str]) -> pd.DataFrame:
    """One row per configuration, with means of all other columns over its seeds."""
    rest = runs.drop(columns=["run_id", "seed"], errors="ignore")
    return rest.groupby(["number", *factors], sort=False).mean(numeric_only=True).reset_index()


class Machine(BaseModel):
    """The machine that repeated the runs."""

    processor: str
    cores: str


class Verification(BaseModel):
    """The result of `effnet verify`, as far as the book shows it.

    Attributes:
        records: checksum of each repeated record; older files lack it.
        code: fingerprint of the code that repeated the runs, per kind of record.
        implausible: runs whose recorded time does not fit the others.
    """

    verified: list[str]
    within_tolerance: list[str]
    different: list[str]
    equal: int
    origin: dict[str, list[str]]
    tolerance: str
    finished: str
    machine: Machine
    versions: dict[str, str]
    records: dict[str, str] = {}
    code: dict[str, str] = {}
    implausible: list[str] = []

    def about(self, run_ids: Container[str]) -> "Verification | None":
        """The verification of these runs only; None if it covers none of them."""
        names = ("verified", "within_tolerance", "different", "implausible")
        selected = {name: [r for r in getattr(self, name) if r in run_ids] for name in names}
        other = len(selected["within_tolerance"]) + len(selected["different"])
        update = selected | {"equal": len(selected["verified"]) - other}
        return self.model_copy(update=update) if selected["verified"] else None


@dataclass(frozen=True, eq=False)  # hashable by identity, for cached properties
class Evidence:
    """The design of a study and the records of its runs.

    Attributes:
        reference: folder of the records, such as `quick` or `published/quick`.
        design: the planned study.
        finished: the records of the design's runs, in the order of the source's Table 1.
        without_training: the baselines and the best classical models of all seeds.
        failures: error message by run id.
        set_aside: by file name, why a record is left out: damaged, of other settings or images
            than the rest, or of a run that is not in the design.
    """

    reference: str
    design: Study
    finished: list[Record]
    without_training: list[ClassicalRecord]
    failures: dict[str, str]
    set_aside: dict[str, str]

    @cached_property
    def planned(self) -> list[Settings]:
        return list(self.design.runs())

    @property
    def factors(self) -> list[str]:
        """The factors of the study, which are columns of `runs`."""
        return list(self.design.factors)

    @property
    def metric(self) -> str:
        """Name of the study's measure of quality, which is its criterion in words."""
        return self.design.protocol.criterion.replace("_", " ")

    @property
    def unfinished(self) -> list[Settings]:
        """Planned runs without a valid record: missing, failed or set aside."""
        done = {(record.number, record.settings.seed) for record in self.finished}
        return [s for s in self.planned if (s.number, s.seed) not in done]

    @property
    def everything(self) -> list[AnyRecord]:
        """All records, the classical ones at the end."""
        return [*self.finished, *self.without_training]

    def status(self, run_id: str) -> str:
        """The state of a planned run: done, set aside, failed or missing."""
        if any(record.run_id == run_id for record in self.finished):
            return "done"
        if run_id in self.set_aside:
            return "set aside"
        return "failed" if run_id in self.failures else "missing"

    @cached_property
    def runs(self) -> pd.DataFrame:
        """One row per finished run: factors, seed, quality (per cent), cost (s, MB).

        `accuracy` is the study's criterion on the test set, `validation` on the validation set.
        """
        rows = [_row(record) for record in self.finished]
        columns = ["number", "run_id", *self.factors, "seed", *_SCORES]
        table = pd.DataFrame(rows, columns=columns).sort_values(["number", "seed"])
        # Balanced accuracy is macro recall.
        score = "accuracy" if self.design.protocol.criterion == "accuracy" else "recall"
        return table.assign(
            accuracy=table[f"test_{score}"], validation=table[f"validation_{score}"]
        )

    @cached_property
    def configurations(self) -> pd.DataFrame:
        """One row per configuration: means over its finished seeds, and `seeds`, their number."""
        means = configuration_means(self.runs, self.factors)
        return means.assign(
            seeds=self.runs.groupby("number").size().reindex(means["number"]).values
        )

    @cached_property
    def history(self) -> pd.DataFrame:
        """One row per epoch of a finished run: factors, seed, rate, losses, accuracy (per cent)."""
        rows = [
            {
                **_factors(record),
                "epoch": epoch.epoch,
                "learning_rate": epoch.learning_rate,
                "train_loss": epoch.train_loss,
                "validation_loss": epoch.validation.loss,
                "validation_accuracy": epoch.validation.accuracy,
            }
            for record in self.finished
            for epoch in record.outcome.history
        ]
        return pd.DataFrame(rows)

    @cached_property
    def best(self) -> list[Record]:
        """The runs of the configuration that is best on validation, see `choice`."""
        return best_configuration(self.finished)

    @property
    def best_settings(self) -> Settings:
        """Settings of the first run of the best configuration."""
        return self.best[0].settings

    @cached_property
    def classical(self) -> dict[str, list[ClassicalRecord]]:
        """The existing records of `baseline` or `classical`, one per seed."""
        kinds: dict[str, list[ClassicalRecord]] = {}
        for record in self.without_training:
            kinds.setdefault(record.kind, []).append(record)
        return kinds

    @property
    def facts(self) -> Facts | None:
        """Data set, split and backbone, which all runs of a study share."""
        return self.everything[0].facts if self.everything else None

    def predictions(self, record: AnyRecord, part: str = "test") -> pd.DataFrame:
        """Predictions for the test or the validation set, indexed by image name."""
        if record.run_id not in self._predictions:
            table = records.load_predictions(records.record_path(self.reference, record.run_id))
            self._predictions[record.run_id] = dict(iter(table.set_index("image").groupby("part")))
        return self._predictions[record.run_id][part]

    @cached_property
    def _predictions(self) -> dict[str, dict[str, pd.DataFrame]]:
        """Predictions that have been read, by run and part."""
        return {}

    @property
    def verifications(self) -> list[Verification]:
        """Results of `effnet verify`, per kind of processor.

        Records that have changed since they were repeated are left out.

        Raises:
            InputError: a file is damaged.
        """
        valid = []
        for path in locations.verifications(self.reference):
            try:
                verification = Verification.model_validate_json(files.read(path))
            except (OSError, ValueError):
                raise InputError(
                    f"{path} is damaged. Delete it and run `effnet verify {self.reference}` again."
                ) from None
            checksums = verification.records.items()
            same = {name for name, checksum in checksums if checksum == self._checksum(name)}
            if about := verification.about(same):
                valid.append(about)
        return valid

    def _checksum(self, run_id: str) -> str | None:
        """The checksum of a valid record."""
        if run_id not in {record.run_id for record in self.everything}:
            return None
        return records.stated_checksum(records.record_path(self.reference, run_id))

    @property
    def calibrated(self) -> Calibrated | None:
        """The calibration of the best run; None if it belongs to another run or is missing."""
        try:
            text = files.read(locations.calibration(self.reference))
            calibrated = Calibrated.model_validate_json(text)
        except (OSError, ValueError):
            return None
        best = best_run(self.finished)
        same = best is not None and best.outcome.final_weights == calibrated.final_weights
        return calibrated if same else None

    def correct(self, runs: Sequence[AnyRecord]) -> pd.Series:
        """Share of runs that classified each test image correctly, 0..1, by image."""
        tables = [self.predictions(record) for record in runs]
        right = pd.concat([table["label"] == table["predicted"] for table in tables])
        return right.groupby(level="image").mean()

    def page(self, run_id: str) -> str | None:
        """Address of a run's page, relative to the first page of the book; None without one."""
        notebook = paths.executed(self.reference) / f"{run_id}.ipynb"
        shown = notebook.is_file() and not notebook.is_symlink()  # a link could lead anywhere
        return f"runs/{self.reference}/{run_id}.html" if shown else None


def shown() -> list[str]:
    """The studies of the book, the main one first; the Sphinx extension names them."""
    return os.environ.get("EFFNET_STUDY", "quick").split(",")


def load(reference: str | None = None) -> Evidence:
    """Read the records of a study.

    Args:
        reference: folder under `results/`; by default the main study of the book.

    Raises:
        InputError: there is no such study.
    """
    reference = shown()[0] if reference is None else reference
    loaded = loader.load(reference)
    believed = loaded.believed.values()
    return Evidence(
        reference=reference,
        design=loaded.design,
        finished=[r for r in believed if isinstance(r, Record)],
        without_training=[r for r in believed if isinstance(r, ClassicalRecord)],
        failures=notes.load(reference),
        set_aside=loaded.set_aside,
    )


def others() -> list[Evidence]:
    """The other studies of the book that have files on this machine."""
    return [study for study in map(load, shown()[1:]) if study.finished]


def _factors(record: Record) -> dict[str, object]:
    settings = record.settings
    levels = {name: cell(name, level) for name, level in settings.levels.items()}
    return {"number": record.number, "run_id": record.run_id, "seed": settings.seed} | levels


_SCORES = (
    *("validation_accuracy", "validation_precision", "validation_recall"),
    *("test_accuracy", "test_precision", "test_recall", "test_f1"),
    *("best_epoch", "epochs", "stopped_early", "rate_dropped"),
    *("trainable_parameters", "total_parameters"),
    *("train_seconds", "cpu_seconds", "epoch_seconds", "total_seconds", "memory_mb"),
)


def _row(record: Record) -> dict[str, object]:
    outcome, facts = record.outcome, record.facts
    rates = [epoch.learning_rate for epoch in outcome.history]
    return {
        **_factors(record),
        "validation_accuracy": outcome.validation.accuracy,
        "validation_precision": outcome.validation.precision,
        "validation_recall": outcome.validation.recall,
        "test_accuracy": outcome.test.accuracy,
        "test_precision": outcome.test.precision,
        "test_recall": outcome.test.recall,
        "test_f1": outcome.test.f1,
        "best_epoch": outcome.best_epoch,
        "epochs": len(rates),
        "stopped_early": len(rates) < record.settings.epochs,
        "rate_dropped": rates[-1] < rates[0],
        "trainable_parameters": facts.trainable_parameters,
        "total_parameters": facts.total_parameters,
        "train_seconds": record.made.seconds["train"],
        "cpu_seconds": record.made.spent["train"],
        "epoch_seconds": record.made.spent["train"] / len(record.outcome.history),
        "total_seconds": record.made.seconds["total"],
        "memory_mb": record.made.peak_memory_mb,
    }
