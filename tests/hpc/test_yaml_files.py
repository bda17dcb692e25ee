"""What a word without quotes means: what its author meant, or a question."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from hpc.errors import ConfigError
from hpc.yaml_files import Unquoted, read_mapping, read_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("4:00:00", "4:00:00"),
        ("90:30", "90:30"),
        ("190:20:30.15", "190:20:30.15"),
        ("2024-01-15", "2024-01-15"),
        ("2024-01-15 10:00:00", "2024-01-15 10:00:00"),
        ("=", "="),
        ("<<", "<<"),
        ("y", "y"),
        ("none", "none"),
        ("1e-3", 0.001),
        ("1.5E+3", 1500.0),
        (".5", 0.5),
        ("-5.", -5.0),
        ("1_000", 1000),
        ("12_345_678", 12345678),
        ("0x1F", 31),
        ("0b11", 3),
        ("+7", 7),
        ("0", 0),
        ("0.10", 0.1),
        ("True", True),
        ("false", False),
        ("~", None),
        ("Null", None),
        ("", None),
        ("'no'", "no"),
        ('"010"', "010"),
    ],
)
def test_a_value_is_read_as_its_author_meant_it(text: str, value: Any) -> None:
    found = read_yaml(f"a: {text}")["a"]
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("text", "readings"),
    [
        ("no", 'false, or the text "no"'),
        ("On", 'true, or the text "On"'),
        ("OFF", 'false, or the text "OFF"'),
        ("010", '10 or 8 (octal), or the text "010"'),
        ("-017", '-17 or -15 (octal), or the text "-017"'),
        ("09", '9, or the text "09"'),
        ("0o17", '15 (octal), or the text "0o17"'),
        ("2024_01", '202401, or the text "2024_01"'),
        ("None", 'null, or the text "None"'),
        ("nan", 'a number that is not finite, or the text "nan"'),
        ("-Infinity", 'a number that is not finite, or the text "-Infinity"'),
    ],
)
def test_a_word_with_several_readings_is_text_that_knows_them(text: str, readings: str) -> None:
    found = read_yaml(f"a: {text}")["a"]
    assert isinstance(found, Unquoted)
    assert found == text
    assert readings in found.choice


def test_a_key_is_a_name_whatever_it_would_be_as_a_value() -> None:
    assert read_yaml("{on: 1, no: 2, 010: 3}") == {"on": 1, "no": 2, "010": 3}


def test_a_section_takes_over_keys_of_others_and_its_own_win() -> None:
    text = "base: &a {x: 1, y: 2}\nmore: &b {y: 3, z: 4}\nmine: {<<: [*a, *b], x: 0}\nplain:\n  <<: *a\nnone: {<<: {}}"
    found = read_yaml(text)
    assert found["mine"] == {"x": 0, "y": 2, "z": 4}
    assert found["plain"] == {"x": 1, "y": 2}
    assert found["none"] == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: {<<: 3}", "line 1: not valid YAML: << takes over the keys of a section"),
        ("a: {<<: {}, <<: {}}", "key '<<' is given twice"),
        ("a: {on: 1, 'on': 2}", "key 'on' is given twice"),
        ("a:\n\tb: 1", "line 2: not valid YAML: a tab stands where YAML takes spaces alone; use spaces"),
        ("a: @b", "text that begins with @ needs quotes"),
        ("a: b: c", "there is a second ': ' in this line"),
        ("a:\n  b:[1]\n  c: 2", "line 3: not valid YAML: 'b:' needs a space after the colon, here or a line above"),
        ("a: http://x: y", "there is a second ': ' in this line"),
        ("a:\n  b: 1\n c: 2", "line 3: not valid YAML: this line is indented otherwise than the keys before it"),
        ("a: {b} --c", "line 1: not valid YAML: more follows where the value has ended; put the whole value in quotes"),
        ('a: "b" c', "more follows where the value has ended"),
        ("a: [1, 2\nb: 3", "line 2: not valid YAML: brackets before this are not closed; add ]"),
        ("a: {b: [1}", "brackets before this are not closed; add ]"),
        ('a: "b\n', "line 2: not valid YAML: quotes are not closed; add the closing one"),
        ("a: 1\nb", "line 2: not valid YAML: "),
        ("# text\nfirst\na: 1", "line 3: not valid YAML: "),
        ("a: !b c", "the tag !b means nothing here; remove it"),
        ("a: !!python/tuple [1, 2]", "line 1: not valid YAML: the tag !!python/tuple means nothing here; remove it"),
        ("a: !!python/object/apply:os.getcwd []", "the tag !!python/object/apply:os.getcwd means nothing here"),
        ("a: &x {b: *x}", "an alias stands for the section that it is in"),
        ("---\na: 1\n---\nb: 2", "line 3: not valid YAML: a second document begins here (---)"),
        ("# \u00fc\na: 1\nb: \x07", "line 3: a control character (U+0007) is no text; remove it"),
    ],
)
def test_what_yaml_does_not_take_is_said_in_plain_words(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_mapping(path)
    (line,) = caught.value.faults
    assert said in line
    assert "yaml.org" not in line


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a: 1\n# f\u00fcr\n".encode("latin-1"), "line 2: the byte 0xfc is not UTF-8; save the file as UTF-8"),
        (b"a: \xe2\x82", "line 1: the byte 0xe2 is not UTF-8; save the file as UTF-8"),
    ],
)
def test_a_file_in_another_encoding_is_called_that(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        read_mapping(path)
    assert caught.value.faults == [f"a.yaml: {said}"]


@pytest.mark.parametrize("encode", [lambda text: b"\xef\xbb\xbf" + text.encode(), lambda text: text.encode("utf-16")])
def test_what_an_editor_puts_before_or_between_the_lines_is_no_text(tmp_path: Path, encode: Any) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(encode("a: 1\r\nb: [2,\r\n  3]\r\n"))
    assert read_mapping(path) == {"a": 1, "b": [2, 3]}


def test_merging_cannot_fill_the_memory() -> None:
    lines = ["a0: &a0 {x: 1, y: 2}"]
    lines += [f"a{i}: &a{i} {{b: [{', '.join([f'*a{i - 1}'] * 10)}]}}" for i in range(1, 9)]
    with pytest.raises(yaml.YAMLError, match="too many values"):
        read_yaml("\n".join(lines))


def test_a_file_that_is_not_there_is_looked_for_nearby(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sweep.yaml").touch()
    (tmp_path / "notes.txt").touch()
    for name, said in (
        ("sweep.yml", f"sweep.yml: there is no such file in {tmp_path}; did you mean sweep.yaml?"),
        ("notes.yaml", f"notes.yaml: there is no such file in {tmp_path}; name an existing YAML or JSON file"),
        (f"{tmp_path}/swep.yaml", f"{tmp_path}/swep.yaml: there is no such file; did you mean {tmp_path}/sweep.yaml?"),
        ("conf/a.yaml", f"conf/a.yaml: there is no such file in {tmp_path}, nor the directory conf; name an existing"),
    ):
        with pytest.raises(ConfigError) as caught:
            read_mapping(Path(name))
        assert caught.value.faults[0].startswith(said)


@pytest.mark.parametrize("name", ["train.py", "job.sh", "job.sbatch", "explore.ipynb"])
def test_a_program_is_no_configuration_but_one_can_be_made_for_it(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("{}")
    with pytest.raises(ConfigError, match="this is a program; `holdfast init --from COMMAND` writes a configuration"):
        read_mapping(tmp_path / name)
