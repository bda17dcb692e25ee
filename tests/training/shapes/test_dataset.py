from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from training.shapes import dataset
from training.shapes.dataset import DataError


def small(directory: Path, seed: int = 1, **kwargs: object) -> Path:
    options = {"latents": "mixed", **kwargs}
    dataset.generate(directory, train=300, val=40, test=20, seed=seed, **options)  # type: ignore[arg-type]
    return directory


def content(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_a_data_set_has_the_predecessors_files(tmp_path: Path) -> None:
    directory = small(tmp_path / "set")
    assert np.load(directory / "train_labels.npy").shape == (300, 12)
    assert np.load(directory / "val_labels_nosize.npy").shape == (40, 8)
    targets = np.load(directory / "test_xor_targets.npy")
    with (directory / "test_xor_targets.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert list(targets.dtype.names) == list(rows[0])
    assert [int(row["xor_target_bin"]) for row in rows] == targets["xor_target_bin"].tolist()
    assert len(list((directory / "saved_latents" / "train").glob("*.npy"))) == 1
    assert json.loads((directory / "metadata.json").read_text())["sizes"] == {"train": 300, "val": 40, "test": 20}


def test_the_seed_decides_every_byte(tmp_path: Path) -> None:
    first, again = small(tmp_path / "a", seed=7), small(tmp_path / "b", seed=7)
    assert content(first) == content(again)
    assert content(first) != content(small(tmp_path / "c", seed=8))


def test_generating_the_same_set_again_does_nothing_and_says_so(tmp_path: Path) -> None:
    directory, lines = small(tmp_path / "set"), []
    before = os.stat(directory / "train_labels.npy").st_mtime_ns
    small(directory, progress=lines.append)
    assert os.stat(directory / "train_labels.npy").st_mtime_ns == before
    assert "nothing to do" in lines[-1]


def test_a_directory_with_other_content_is_refused_and_kept(tmp_path: Path) -> None:
    directory = small(tmp_path / "set")
    with pytest.raises(DataError, match="seed 1, not 2"):
        small(directory, seed=2)
    stranger = tmp_path / "notes"
    stranger.mkdir()
    (stranger / "mine.txt").write_text("keep")
    with pytest.raises(DataError, match="not empty"):
        small(stranger)
    assert content(stranger) == {"mine.txt": b"keep"}


def test_an_empty_directory_is_filled(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    assert dataset.check(small(tmp_path / "set")).rows["train"] == 300


def test_an_interrupted_generation_leaves_nothing(tmp_path: Path) -> None:
    def interrupt(line: str) -> None:
        if line.startswith("val"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        small(tmp_path / "set", progress=interrupt)
    assert list(tmp_path.iterdir()) == []


def test_a_loaded_set_has_the_experiments_shapes(data_dir: Path) -> None:
    split = dataset.load(data_dir).train
    assert (split.attr.shape, split.v.shape, split.xor.shape) == ((8000, 11), (8000, 13), (8000,))
    assert split.attr.dtype == split.v.dtype == np.float32
    assert np.array_equal(split.attr[:, :3].sum(1), np.ones(8000))
    assert set(split.xor.tolist()) == set(range(8))


def test_older_labels_and_latents_with_variances_are_read_alike(tmp_path: Path) -> None:
    directory = small(tmp_path / "set")
    expected = dataset.load(directory)
    for split in ("train", "val"):
        labels = np.load(directory / f"{split}_labels.npy")
        np.save(directory / f"{split}_labels.npy", labels[:, :11])
        (path,) = (directory / "saved_latents" / split).glob("*.npy")
        mean = np.load(path)
        np.save(path, np.stack([mean, np.full_like(mean, -3.0)], axis=1))
    found = dataset.load(directory)
    assert np.array_equal(found.train.attr, expected.train.attr)
    assert np.array_equal(found.val.v, expected.val.v)


def test_check_measures_that_the_target_needs_both_sources(data_dir: Path) -> None:
    found = dataset.check(data_dir).information["train"]
    assert found["size"] < 0.02
    assert found["random"] < 0.02
    assert found["both"] == pytest.approx(np.log(8), abs=0.01)


def test_a_wrong_target_is_named_by_file_and_row(tmp_path: Path) -> None:
    directory = small(tmp_path / "set")
    (directory / "metadata.json").unlink()
    path = directory / "train_xor_targets.npy"
    targets = np.load(path)
    targets["xor_target_bin"][17] = (targets["xor_target_bin"][17] + 1) % 8
    np.save(path, targets)
    with pytest.raises(DataError, match=r"train_xor_targets.npy: row 17: xor_target_bin is not"):
        dataset.check(directory)


def change_csv(directory: Path) -> None:
    path = directory / "train_xor_targets.csv"
    lines = path.read_text().splitlines()
    lines[6] = lines[6][:-1] + str((int(lines[6][-1]) + 1) % 8)
    path.write_text("\n".join(lines) + "\n")


def change_nosize(directory: Path) -> None:
    nosize = np.load(directory / "train_labels_nosize.npy")
    nosize[5, 2] += 1
    np.save(directory / "train_labels_nosize.npy", nosize)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (change_csv, r"train_xor_targets.csv: row 5: xor_target_bin differs"),
        (change_nosize, r"train_labels_nosize.npy: row 5: a column differs from the labels"),
    ],
)
def test_files_that_contradict_each_other_are_named_by_row(tmp_path: Path, damage: object, message: str) -> None:
    directory = small(tmp_path / "set")
    (directory / "metadata.json").unlink()
    damage(directory)  # type: ignore[operator]
    with pytest.raises(DataError, match=message):
        dataset.check(directory)


def test_a_target_that_one_source_gives_away_is_refused(tmp_path: Path) -> None:
    """Every random attribute in the first bin: the target is then the size."""
    directory = small(tmp_path / "set")
    for path in directory.glob("metadata.json"):
        path.unlink()
    labels = np.load(directory / "train_labels.npy")
    labels[:, 11] = 0.01
    np.save(directory / "train_labels.npy", labels)
    for path in (*directory.glob("train_xor*"), *directory.glob("train_labels_nosize*")):
        path.unlink()
    with pytest.raises(DataError, match="not independent of its source 'size'"):
        dataset.check(directory)


def test_a_row_is_the_same_in_sets_of_any_size(tmp_path: Path) -> None:
    small(tmp_path / "a")
    dataset.generate(tmp_path / "b", train=20_000, val=40, test=20, seed=1, latents="mixed")
    first, longer = (np.load(tmp_path / name / "train_labels.npy") for name in ("a", "b"))
    assert np.array_equal(longer[:300], first)
    assert len(np.unique(longer, axis=0)) == 20_000


def test_a_changed_file_is_found_by_its_digest(tmp_path: Path) -> None:
    directory = small(tmp_path / "set")
    labels = np.load(directory / "val_labels.npy")
    labels[0, 1] += 1
    np.save(directory / "val_labels.npy", labels)
    with pytest.raises(DataError, match=r"val_labels.npy: missing, or changed"):
        dataset.check(directory)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: (d / "train_labels.npy").write_bytes(b"no array"), "not a readable .npy file"),
        (lambda d: (d / "train_labels.npy").unlink(), "no such file"),
        (lambda d: np.save(d / "train_labels.npy", np.zeros((3, 5))), r"expected \(n, 11\) or \(n, 12\)"),
        (lambda d: np.save(d / "saved_latents/train/other.npy", np.zeros(3)), "holds 2 .npy files"),
        (lambda d: np.save(d / "saved_latents/train/mixed_latents.npy", np.zeros((3, 12))), "3 rows, but the labels"),
    ],
)
def test_damage_is_named_in_one_line(tmp_path: Path, damage: object, message: str) -> None:
    directory = small(tmp_path / "set")
    damage(directory)  # type: ignore[operator]
    with pytest.raises(DataError, match=message) as caught:
        dataset.load(directory)
    assert "\n" not in str(caught.value)


def test_a_missing_directory_is_named_with_the_command_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holdfast data generate"):
        dataset.load(tmp_path / "nowhere")


def test_generating_and_checking_need_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from training.shapes import dataset as data;"
        f"data.generate(Path({str(tmp_path / 'set')!r}), train=9, val=9, test=9, seed=0, latents='mixed');"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
