"""A study's YAML is plain data: one clear error for whatever else it holds."""

import pytest

from effnet_core.errors import InputError
from effnet_core.study.studies import load_study

PLAIN = "title: t\nseeds: [0]\nprotocol: {dataset: digits, image_size: 32}\n"
LEVELS = "\n".join(
    f"{b}: &{b} [{f'*{a},' * 9}]" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
BAD = {
    "alias bomb": (f"a: &a [x]\n{LEVELS}\n{PLAIN}", "no aliases"),
    "deep list": ("title: " + "[" * 20_000 + "]" * 20_000, "nested too deeply"),
    "deep map": ("title: " + "{a: " * 9_000 + "1" + "}" * 9_000, "nested too deeply"),
    "long number": (PLAIN.replace("[0]", "[" + "9" * 5000 + "]"), "4300 digits"),
    "long hexadecimal": (PLAIN.replace("[0]", f"[0x{'f' * 9000}]"), r"seeds\.0 = a value too long"),
    "key twice": (f"{PLAIN}title: other\n", "'title' is given twice"),
    "setting twice": (PLAIN.replace("32", "32, image_size: 64"), "'image_size' is given twice"),
    "seed twice": (PLAIN.replace("[0]", "[0, 0]"), r"seeds = \[0, 0\]: each value .* once"),
    "level twice": (f"{PLAIN}factors: {{freeze: [1, 1]}}", r"factors\.freeze = \[1, 1\]: each"),
    "seed too large": (PLAIN.replace("[0]", "[4294967296]"), r"seeds\.0 = 4294967296: .*less"),
    "key that is no name": (f"{PLAIN}1: 2\n", "1 = 1: keys should be strings"),
    "key that is a list": (f"{PLAIN}? [1]\n: 2\n", "unhashable key"),
    "no date": (PLAIN.replace("title: t", "title: 2024-13-45"), "month must be in"),
    "very long": (PLAIN + "#" * 200_000, "longer than 100,000 characters"),
    "not text": ("title: '\0'", "is not valid YAML"),
}


@pytest.mark.fault("hostile studies")
@pytest.mark.parametrize(("text", "why"), BAD.values(), ids=BAD.keys())
def test_what_is_not_plain_is_refused_in_one_message(tmp_path, text, why):
    path = tmp_path / "odd.yml"
    path.write_text(text)
    with pytest.raises(InputError, match=why) as error:
        load_study(str(path))
    assert len(str(error.value)) < 1000


def test_the_largest_seed_is_one_that_numpy_takes(tmp_path):
    path = tmp_path / "odd.yml"
    path.write_text(PLAIN.replace("[0]", "[0, 4294967295]"))
    assert load_study(str(path)).seeds == [0, 2**32 - 1]
