"""Which of several comparisons decides a claim: of the depths with none, of the rivals with one."""

from dataclasses import dataclass

from effnet_report.inference import contrasts
from effnet_report.inference.contrasts import Compared
from effnet_report.inference.seeds_and_images import Estimate, unknown


@dataclass(frozen=True)
class Noninferiority:
    """How deep one can freeze.

    Attributes:
        deepest_noninferior: the deepest freeze that is shown to lose less than the margin, or 0.
        inferior: the freezes that are shown to lose more.
        nearest: `deepest_noninferior`, or else the freeze whose largest possible loss is smallest.
        changes: change of accuracy by depth; the intervals hold for all depths at once.
    """

    deepest_noninferior: int
    inferior: list[int]
    nearest: int
    changes: dict[int, Estimate]

    @property
    def loss(self) -> Estimate:
        """The change at `nearest`."""
        if self.nearest:
            return self.changes[self.nearest]
        of_one = (change.method for change in self.changes.values())
        return unknown(next(of_one, "no freeze can be compared with none"))


def noninferiority(compared: Compared, margin: float, looks: int = 1) -> Noninferiority:
    """Compare every freeze with none, against a margin in points of accuracy.

    Args:
        compared: the configurations.
        margin: above zero.
        looks: how often the study is looked at while it grows, see `dunnett.at_once`.
    """
    changes = contrasts.levels_at_once(compared, "freeze", -margin, looks)
    known = {n: change for n, change in changes.items() if change.known}
    deepest = max((n for n, change in known.items() if change.low > -margin), default=0)
    lost = [n for n, change in known.items() if change.high < -margin]
    nearest = deepest or max(known, key=lambda n: known[n].low, default=0)
    return Noninferiority(deepest, lost, nearest, changes)


@dataclass(frozen=True)
class Change:
    """The level of a factor that decides whether any other is better than the first.

    Attributes:
        words: the change, as in `cosine instead of plateau`.
        effect: of that level minus the first; its interval holds for all levels at once.
    """

    words: str
    effect: Estimate


def change(compared: Compared, factor: str) -> Change:
    """Compare every other level of a factor with its first.

    What decides is the level that is surest to be better, or else the one that can be best.
    """
    effects = contrasts.levels_at_once(compared, factor)
    known = all(effect.known for effect in effects.values())
    end = "low" if any(effect.low > 0 for effect in effects.values()) else "high"
    decides = max(effects, key=lambda level: getattr(effects[level], end if known else "effect"))
    return Change(contrasts.change_words(compared, factor, decides), effects[decides])


@dataclass(frozen=True)
class Rivals:
    """How configuration 1 compares with the others.

    Attributes:
        differences: configuration 1 minus each other, by number; the intervals hold all at once.
        names: of the others in words, by number.
    """

    differences: dict[int, Estimate]
    names: dict[int, str]

    @property
    def closest(self) -> int:
        """The one that decides, as configuration 1 is the best only if it leads each; or 0.

        It is the rival whose interval ends lowest; without intervals, the best. Where
        configuration 1 leads that one, it is the rival whose interval begins lowest.
        """
        differences = self.differences
        known = all(difference.known for difference in differences.values())
        end = "high" if known else "effect"
        strongest = min(differences, key=lambda n: getattr(differences[n], end), default=0)
        if strongest and differences[strongest].low > 0:
            return min(differences, key=lambda n: differences[n].low)
        return strongest

    @property
    def lead(self) -> Estimate:
        """Configuration 1 minus `closest`; negative when that is ahead."""
        if self.closest:
            return self.differences[self.closest]
        return unknown("configuration 1 was not compared with another")


def rivals(compared: Compared) -> Rivals:
    """Compare configuration 1 with every other."""
    names = {
        row.number: f"configuration {row.number} ({row.words})"
        for row in compared.design.itertuples()
    }
    return Rivals(contrasts.rivals(compared), names)
