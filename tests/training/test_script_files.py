"""What scripts write is read as far as it is whole."""

from __future__ import annotations

import io
import math
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from training import script_files
from training.contract import ContractError
from training.placeholders import filled, names_in
from training.script_files import StateFile, epochs, last_values, pick, rows


def archive() -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as file:
        file.writestr(zipfile.ZipInfo("data"), b"x" * 1000)  # of no time: alike whenever it is made
    return target.getvalue()


@pytest.mark.parametrize("starter", [[], ["setsid", "--wait"], ["bash", "-c", '"$@"; exit', "bash"]])
def test_a_checkpoint_that_a_script_is_writing_is_not_taken_until_it_is_closed(
    tmp_path: Path, starter: list[str]
) -> None:
    path = tmp_path / "state"
    state = StateFile(path)
    code = "import sys; f = open(sys.argv[1], 'w'); f.write('half'); f.flush(); print(flush=True)"
    code += "; input(); f.write(' whole')"
    command = [*starter, sys.executable, "-c", code, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        state.look(writer.pid)
        assert state.take() is None
        writer.communicate(b"\n")
    state.look()
    assert state.take() == b"half whole"
    assert state.take() is None


@pytest.mark.parametrize(
    ("content", "ended_well", "taken"),
    [
        (b"text", True, True),
        (b"text", False, False),
        (b"", True, False),
        (archive(), False, True),
        (archive()[:-30], False, False),
        (archive()[:-30], True, False),  # a shell may end well in which a script was killed
    ],
)
def test_what_was_written_last_counts_if_its_checksums_hold_or_without_any_if_the_script_ended_well(
    tmp_path: Path, content: bytes, ended_well: bool, taken: bool
) -> None:
    path = tmp_path / "state"
    state = StateFile(path)
    path.write_bytes(content)
    assert state.take(ended_well=ended_well) == (content if taken else None)


def test_an_archive_whose_checksums_hold_is_taken_however_often_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "state"
    path.write_bytes(archive())
    assert StateFile(path).take() == archive()
    path.write_bytes(archive()[:-30])
    assert StateFile(path).take() is None


def test_a_directory_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    with pytest.raises(ContractError, match=r"trainer\.checkpoint is state, a directory; name one file"):
        StateFile(tmp_path / "state").take()


def test_a_large_archive_that_is_being_written_is_not_read_all_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state"
    path.write_bytes(archive()[:-30])
    state = StateFile(path)
    read, reads = Path.read_bytes, []
    clock = 1000.0

    def slowly(file: Path) -> bytes:
        nonlocal clock
        reads.append(file)
        clock += 2
        return read(file)

    monkeypatch.setattr(Path, "read_bytes", slowly)
    monkeypatch.setattr(script_files.time, "monotonic", lambda: clock)
    assert [state.take() for _ in range(10)] == [None] * 10
    assert len(reads) == 1
    clock += 39
    assert state.take() is None
    assert len(reads) == 1
    clock += 1
    assert state.take() is None
    assert len(reads) == 2
    path.write_bytes(archive())
    assert state.take(ended_well=False) == archive()


def test_after_a_stop_only_what_two_looks_have_seen_is_whole(tmp_path: Path) -> None:
    """What cannot tell by itself: a script that was killed while it wrote does not have its file open either."""
    path = tmp_path / "state"
    path.write_bytes(b"text")
    state = StateFile(path)
    state.look()
    assert state.take(stopped=True) is None
    assert state.take(ended_well=False, stopped=True) is None
    state.look()
    assert state.take(stopped=True) == b"text"


def test_what_was_taken_and_not_saved_is_taken_again(tmp_path: Path) -> None:
    path = tmp_path / "state"
    path.write_bytes(b"text")
    state = StateFile(path)
    state.look()
    assert state.take() == b"text"
    assert state.take(ended_well=True, stopped=True) is None
    state.give_back()
    assert state.take(ended_well=True, stopped=True) == b"text"


@pytest.mark.parametrize("length", [0, 20])
def test_what_a_killed_script_left_of_its_file_is_no_state_though_nobody_writes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    """Slurm's signal may reach the script in the middle of torch.save, a moment before its task hears of it."""
    monkeypatch.setattr(script_files.time, "monotonic", lambda: 1000.0)  # after a slow read it would rest
    path = tmp_path / "state"
    path.write_bytes(archive()[:length])
    state = StateFile(path)
    state.look()
    assert state.take() is None
    assert state.take(ended_well=False) is None
    path.write_bytes(archive())
    state.look()
    assert state.take() == archive()


def test_a_damaged_archive_is_not_taken(tmp_path: Path) -> None:
    content = bytearray(archive())
    content[content.index(b"xxxx") + 5] ^= 1
    (tmp_path / "state").write_bytes(content)
    assert StateFile(tmp_path / "state").take(ended_well=False) is None


def test_a_damaged_archive_that_is_compressed_is_not_taken(tmp_path: Path) -> None:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("data", bytes(range(256)) * 10)
    content = bytearray(target.getvalue())
    content[40:60] = b"\xff" * 20
    (tmp_path / "state").write_bytes(content)
    assert StateFile(tmp_path / "state").take(ended_well=False) is None


@pytest.mark.parametrize("content", [b"text", archive()])
def test_a_checkpoint_that_gets_another_name_while_it_is_read_is_taken_at_a_later_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    """A script that keeps its last one, too, gives it another name before it writes the next."""
    path = tmp_path / "state"
    path.write_bytes(content)
    state = StateFile(path)
    state.look()
    read = Path.read_bytes

    def too_late(file: Path) -> bytes:
        file.rename(tmp_path / "state.old")
        return read(file)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", too_late)
        assert state.take() is None
    path.write_bytes(content)
    state.look()
    assert state.take() == content


def test_what_was_put_back_is_not_taken_again(tmp_path: Path) -> None:
    state = StateFile(tmp_path / "deep" / "state")
    state.put(b"saved")
    assert (tmp_path / "deep" / "state").read_bytes() == b"saved"
    state.look()
    assert state.take() is None
    assert state.take(ended_well=True) is None


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "epoch, loss\n1, 0.5\n2, 0.25\n"),
        ("a.tsv", "epoch\tloss\n1\t0.5\n2\t0.25\n"),
        ("a.jsonl", '{"epoch": 1, "loss": 0.5}\n{"epoch": 2, "loss": 0.25}\n'),
        ("a.json", '[{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25}]'),
        ("a.json", '{"epoch": [1, 2], "loss": [0.5, 0.25]}'),
    ],
)
def test_a_history_is_read_in_every_form(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    found = list(epochs(rows(tmp_path / name), {"l": "loss"}, ended=True))
    assert found == [(1.0, {"l": 0.5}), (2.0, {"l": 0.25})]
    assert pick(last_values(rows(tmp_path / name)), {"l": "loss"}) == {"l": 0.25}


@pytest.mark.parametrize(
    ("name", "text", "loss"),
    [
        ("a.csv", "epoch,loss,acc\n1,0.5,0.5\n2,0.4,0.6\n3,,0.1\n4,,\n", None),  # as pandas writes NaN
        ("a.csv", "acc,loss\n0.5,\n", None),
        ("a.json", '{"acc": 0.5, "loss": null}', None),
        ("a.json", '{"epoch": [1, 2], "loss": [0.5, null]}', None),
        ("a.jsonl", '{"epoch": 1, "loss": 0.5}\n{"epoch": 2, "loss": null}\n', None),
        ("a.csv", "epoch,loss\n1,0.5\n2,nan\n", None),
        ("a.csv", "epoch,val,loss\n1,0.5,\n1,,0.4\n2,0.3,\n2,,0.2\n2,0.1,\n", 0.2),  # Lightning; then validate()
        ("a.csv", "epoch,loss,acc\n1,0.5,\n2,0.4,\n2,,0.6\n", 0.4),  # a row of its own for the test
        ("a.csv", "epoch,lr,loss\n1,1,\n2,1,0.5\n3,1,\n", 0.5),  # measured every other epoch
        ("a.jsonl", '{"epoch": 1, "loss": 0.5}\n{"epoch": 1}\n', 0.5),
    ],
)
def test_an_empty_value_at_the_end_is_not_the_one_before_it(
    tmp_path: Path, name: str, text: str, loss: float | None
) -> None:
    (tmp_path / name).write_text(text)
    found = pick(last_values(rows(tmp_path / name)), {"loss": "loss"})
    assert found == {"loss": pytest.approx(math.nan if loss is None else loss, nan_ok=True)}


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("a.csv", "epoch,loss\n1,0.5\nepoch,loss\n2,0.25\n", []),
        ("a.jsonl", '{"epoch": 1, "loss": 0.5}\n{"epo\n{"epoch": 2, "loss": 0.25}\n', ["is not a JSON object"]),
        ("a.jsonl", '{"epoch": 1, "loss": 0.5}\n[]\n{"epoch": 2, "loss": 0.25}\n', ["is not a JSON object"]),
        ("a.jsonl", '{"epoch": 1, "loss": 0.5}\n{"epoch": []}\n{"epoch": 2, "loss": 0.25}\n', ["epoch []"]),
        ("a.csv", "epoch,loss\n1,0.5\n?,7\n2,0.25\n", ["epoch '?', expected a number"]),
        ("a.jsonl", '{"epoch": 1, "loss": 0.5}\n{"epoch": null}\n{"epoch": 2, "loss": 0.25}\n', []),
        ("a.csv", "epoch,loss\nnan,7\n1,0.5\n2,0.25\n", ["epoch 'nan', expected a number of an epoch"]),
    ],
)
def test_a_row_that_cannot_be_read_is_left_out_of_the_history(
    tmp_path: Path, name: str, text: str, why: list[str]
) -> None:
    (tmp_path / name).write_text(text)
    said: list[str] = []
    found = list(epochs(rows(tmp_path / name, said.append), {"l": "loss"}, True, said.append))
    assert found == [(1.0, {"l": 0.5}), (2.0, {"l": 0.25})]
    assert len(said) == len(why)
    assert all(part in line for part, line in zip(why, said, strict=True))


def test_what_is_no_table_is_a_value_error(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("loss\n" + "x" * 200_000 + "\n")
    with pytest.raises(ValueError, match="is not a table: field larger"):
        rows(tmp_path / "a.csv")


def test_null_is_nan_and_only_the_column_that_is_named_counts() -> None:
    assert math.isnan(pick({"test": {"acc": None}}, {"acc": "test.acc"})["acc"])
    assert pick({"acc": 0.5}, {"acc": "test_acc"}) == {}


def test_rows_of_one_epoch_are_joined_and_the_last_waits_until_it_is_whole() -> None:
    table = [{"epoch": "0", "a": "1"}, {"epoch": "0", "b": "2"}, {"epoch": "1", "a": "3"}]
    names = {"a": "a", "b": "b"}
    assert list(epochs(table, names, ended=False)) == [(0.0, {"a": 1.0, "b": 2.0})]
    whole = [*table, {"epoch": "1", "b": "4"}]
    assert list(epochs(whole, names, ended=False))[-1] == (1.0, {"a": 3.0, "b": 4.0})
    assert list(epochs(table, names, ended=True))[-1] == (1.0, {"a": 3.0})


def test_an_epoch_waits_for_its_validation_though_none_before_was_validated() -> None:
    """Else it would depend on the moment of a look whether the history has what is measured every few epochs."""
    table = [{"epoch": 1, "a": 1}, {"epoch": 2, "a": 2}]
    names = {"a": "a", "b": "b"}
    assert list(epochs(table, names, ended=False)) == [(1.0, {"a": 1.0})]
    table += [{"epoch": 2, "b": 3}]
    assert list(epochs(table, names, ended=False)) == [(1.0, {"a": 1.0}), (2.0, {"a": 2.0, "b": 3.0})]


def test_an_epoch_of_several_rows_waits_for_the_last_of_them() -> None:
    """Else its value would be that of the step before which a look was taken."""
    table: list[dict[str, float]] = []
    for epoch, loss, known in [(1, 5, []), (1, 4, []), (2, 3, [4]), (2, 2, [4]), (3, 1, [4, 2])]:
        table += [{"epoch": epoch, "loss": loss}]
        assert [found["loss"] for _, found in epochs(table, {"loss": "loss"}, ended=False)] == known
    assert [found["loss"] for _, found in epochs(table, {"loss": "loss"}, ended=True)] == [4, 2, 1]


def test_nested_metrics_are_found_by_their_path_and_words_are_refused() -> None:
    assert pick({"test": {"acc": 0.5}, "a.b": 1}, {"acc": "test.acc", "ab": "a.b", "none": "c.d"}) == {
        "acc": 0.5,
        "ab": 1.0,
    }
    with pytest.raises(ValueError, match="has acc 'good', expected a number"):
        pick({"acc": "good"}, {"acc": "acc"})


@pytest.mark.parametrize("value", ["plain", "a b", "it's", '"', "$HOME", "`ls`", "$(ls)", "\\", "a\\'b"])
@pytest.mark.parametrize("text", ["{x}", "'{x}'", '"{x}"', """'"'{x}'"'""", """"it's {x}\\"" """, "\\'{x}", r"'\'{x}"])
def test_a_value_reaches_the_script_as_it_is_within_any_quotes(value: str, text: str) -> None:
    said = subprocess.run(["bash", "-c", f"printf %s {filled(text, {'x': value})}"], capture_output=True, text=True)
    plain = subprocess.run(["bash", "-c", f"printf %s {filled(text, {'x': 'VALUE'})}"], capture_output=True, text=True)
    assert "VALUE" in plain.stdout
    assert (said.stdout, said.stderr) == (plain.stdout.replace("VALUE", value), "")


def test_placeholders_are_filled_and_the_shell_keeps_its_own() -> None:
    text = "f {lr} ${lr} {{lr}} {resume} '{other thing}' {dir}"
    assert names_in(text) == ["lr", "resume", "dir"]
    values = {"lr": "0.1", "resume": "--from x", "dir": "/a b"}
    assert filled(text, values) == "f 0.1 ${lr} {lr} --from x '{other thing}' '/a b'"
