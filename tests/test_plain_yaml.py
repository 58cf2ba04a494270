"""A study's YAML is plain data: one clear error for whatever else it holds."""

import pytest

from effnet_core import paths
from effnet_core.errors import InputError
from effnet_core.study.plain_yaml import parse
from effnet_core.study.studies import load_study, read_study
from effnet_report.evidence.loader import load_design
from effnet_report.intake.naming import check_new_name

PLAIN = "title: t\nseeds: [0]\nprotocol: {dataset: digits, image_size: 32}\n"
LEVELS = "\n".join(
    f"{b}: &{b} [{f'*{a},' * 9}]" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


def write(path, text):
    path.write_text(text)
    return path


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
    "number in base 60": (PLAIN.replace("32", "1:30"), "1:30 would be read as 90"),
    "number in base 8": (PLAIN.replace("32", "032"), "032 would be read as 26"),
    "fraction in base 60": (f"{PLAIN}smallest_effect: 1:30.5", "1:30.5 would be read as 90.5"),
    "number with a line in it": (PLAIN.replace("32", "3_2"), "3_2 would be read as 32"),
    "whole number without a dot": (PLAIN.replace("32", "1e2"), r"as text: write 100\."),
    "number without a dot": (f"{PLAIN}smallest_effect: 1e-4", r"write 1\.0e-4"),
    "number in quotes": (f"{PLAIN}smallest_effect: '1.0e-4'", "is text: leave the quotes out"),
    "large number without a dot": (f"{PLAIN}smallest_effect: 1e4", r"write 1\.0e\+4"),
    "rates without a dot": (PLAIN.replace("32", "32, learning_rate: [3e-5]"), r"write 3\.0e-5"),
    "name that is a number": (PLAIN.replace("title: t", "title: 2024"), "write it in quotes"),
    "name that is a truth": (PLAIN.replace("title: t", "title: yes"), "write it in quotes"),
    "name that is a date": (PLAIN.replace("title: t", "title: 2024-01-01"), "write it in quotes"),
    "no date": (PLAIN.replace("title: t", "title: 2024-13-45"), "month must be in"),
    "very long": (PLAIN + "#" * 200_000, "longer than 100,000 characters"),
    "not text": ("title: '\0'", "is not valid YAML"),
    "list that does not end": (f"{PLAIN}a: [1\nb: 2\n", r"expected ',' or '\]'.*line 5, column 2"),
    "tab": (PLAIN.replace("title", "\ttitle"), r"'\\t' that cannot start.*line 1, column 1"),
    "path of Windows": (f'{PLAIN}a: "C:\\photos"\n', r"unknown escape character 'p'.*line 4"),
    "two documents": (f"{PLAIN}---\n{PLAIN}", "another document"),
}


@pytest.mark.fault("hostile studies")
@pytest.mark.parametrize(("text", "why"), BAD.values(), ids=BAD.keys())
def test_what_is_not_plain_is_refused_in_one_line(tmp_path, text, why):
    path = tmp_path / "odd.yml"
    path.write_text(text)
    with pytest.raises(InputError, match=why) as error:
        load_study(str(path))
    assert len(str(error.value)) < 1000
    assert "\n" not in str(error.value)


def test_another_encoding_is_named_with_its_remedy(tmp_path):
    path = tmp_path / "odd.yml"
    path.write_bytes(PLAIN.replace("title: t", "title: Käse").encode("latin-1"))
    with pytest.raises(InputError, match=r"UTF-8 \(byte 9\)\. Save it as UTF-8"):
        load_study(str(path))


def test_what_editors_of_other_systems_add_changes_nothing(tmp_path):
    path = tmp_path / "odd.yml"
    path.write_bytes(b"\xef\xbb\xbf" + PLAIN.replace("\n", "\r\n").encode())
    assert load_study(str(path)).title == "t"


TOO_LONG = {
    "letters": "x" * 120,
    "letters of three bytes": "猫" * 90,
    "more than a file": "x" * 300,
}


@pytest.mark.parametrize("name", TOO_LONG.values(), ids=TOO_LONG.keys())
def test_a_name_that_is_too_long_for_files_is_one_message(tmp_path, name):
    with pytest.raises(InputError, match="cannot name a study"):
        check_new_name(name)
    for read in (load_study, load_design):
        with pytest.raises(InputError, match="There is no study"):
            read(name)
    with pytest.raises(InputError, match="name = "):
        read_study(write(tmp_path / "odd.yml", PLAIN), name)


@pytest.mark.parametrize(
    "name", ["", "a b", ".hidden", "-x", "a/b", "..", "quick.yml", "Quick", "PUBLISHED", "x\n"]
)
def test_a_name_that_no_study_can_have_is_refused_before_any_work(name):
    with pytest.raises(InputError, match="name"):
        check_new_name(name)


def test_names_of_digits_and_of_any_script_are_names(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "STUDIES", tmp_path)
    for name in ("2024", "größe", "猫", "a.b-c_d"):
        check_new_name(name)


@pytest.mark.parametrize(
    "reference", ["", ".", "..", "../quick", "quick/", "/etc", "published//quick"]
)
def test_no_reference_leads_out_of_the_results(reference):
    with pytest.raises(InputError, match=r"no study|a file"):
        load_design(reference)


def test_a_folder_of_nobody_is_a_folder_that_is_missing(tmp_path):
    text = PLAIN.replace("dataset: digits", "dataset: imagefolder, data_dir: ~nobody-there/a")
    design = load_study(str(write(tmp_path / "odd.yml", text)))
    assert design.protocol.data_dir == str(tmp_path / "~nobody-there/a")


def test_the_largest_seed_is_one_that_numpy_takes(tmp_path):
    path = tmp_path / "odd.yml"
    path.write_text(PLAIN.replace("[0]", "[0, 4294967295]"))
    assert load_study(str(path)).seeds == [0, 2**32 - 1]


@pytest.mark.fault("hostile studies")
@pytest.mark.parametrize("text", ["a: !!bool abc", "a: !!int ''", "a: !!timestamp abc"])
def test_a_value_that_does_not_fit_its_tag_is_one_sentence(text):
    with pytest.raises(InputError, match="does not fit its !! tag"):
        parse(text, "a study")
