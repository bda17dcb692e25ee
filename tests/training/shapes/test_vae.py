from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from training.shapes import dataset
from training.shapes.dataset import DataError
from training.shapes.distribution import draw_labels
from training.shapes.generate import convert
from training.shapes.render import render
from training.shapes.sources import UpstreamSource
from training.shapes.vae import posterior_means, reconstruction_error, train_vae

SAMPLE = Path(__file__).resolve().parents[4] / "shared" / "data" / "simple_shapes_sample"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("vae") / "set"
    dataset.generate(directory, train=3000, val=200, test=50, seed=3, keep_images=True)
    return directory


def test_a_data_set_reports_how_well_its_latents_represent_the_images(made: Path) -> None:
    vae = json.loads((made / "metadata.json").read_text())["vae"]
    assert vae["reconstruction"]["mse"] < 0.01
    assert vae["reconstruction"]["explained"] > 0.4
    assert (made / "vae.safetensors").stat().st_mode & 0o777 == (made / "metadata.json").stat().st_mode & 0o777


def test_kept_images_are_those_of_the_labels(made: Path) -> None:
    images = np.load(made / "val_images.npy")
    assert np.array_equal(images, render(np.load(made / "val_labels.npy")))


def test_latents_show_where_the_shape_is(made: Path) -> None:
    """Least squares on half of the rows, judged on the other half."""
    split = dataset.load(made).train
    known = np.column_stack([split.v[:, :12], np.ones(len(split))])
    half = len(split) // 2
    weights = np.linalg.lstsq(known[:half], split.attr[:half, 3:5], rcond=None)[0]
    error = ((known[half:] @ weights - split.attr[half:, 3:5]) ** 2).mean(axis=0)
    assert (error < 0.6 * split.attr[:, 3:5].var(axis=0)).all()


@pytest.mark.slow
def test_the_seed_decides_every_latent_whatever_the_number_of_threads() -> None:
    code = (
        "import sys, hashlib, numpy as np, torch\n"
        "torch.set_num_threads(int(sys.argv[1]))\n"
        "from training.shapes.render import render\n"
        "from training.shapes.distribution import draw_labels\n"
        "from training.shapes.vae import train_vae, posterior_means\n"
        "images = render(draw_labels(600, np.random.default_rng(0)))\n"
        "vae = train_vae(images, seed=int(sys.argv[2]), steps=8, say=print)\n"
        "print(hashlib.sha256(posterior_means(vae, images).tobytes()).hexdigest())\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[3])}

    def digest(threads: int, seed: int) -> str:
        command = [sys.executable, "-c", code, str(threads), str(seed)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return done.stdout.splitlines()[-1]

    assert digest(1, 5) == digest(2, 5)


def test_another_seed_gives_another_vae() -> None:
    images = render(draw_labels(100, np.random.default_rng(0)))
    first, second = (train_vae(images, seed=seed, steps=2, say=print) for seed in (5, 6))
    assert not np.array_equal(posterior_means(first, images), posterior_means(second, images))


def test_training_the_vae_leaves_torchs_random_state_alone() -> None:
    import torch

    images = render(draw_labels(100, np.random.default_rng(0)))
    torch.manual_seed(8)
    expected = torch.rand(3)
    torch.manual_seed(8)
    vae = train_vae(images, seed=1, steps=2, say=lambda line: None)
    assert torch.rand(3).equal(expected)
    assert posterior_means(vae, images).shape == (100, 12)
    assert 0 < reconstruction_error(vae, images)["mse"] < 1


@pytest.mark.parametrize("flushed", [False, True])
def test_encoding_leaves_the_arithmetic_of_the_process_as_it_was(flushed: bool) -> None:
    import torch

    images = render(draw_labels(100, np.random.default_rng(0)))
    torch.set_flush_denormal(flushed)
    torch.set_num_threads(2)
    posterior_means(train_vae(images, seed=1, steps=1, say=print), images)
    assert (np.full(1, 1e-310) * 1.0 == 0.0).item() is flushed
    assert torch.get_num_threads() == 2


def upstream(directory: Path, rows: dict[str, int], columns: int) -> Path:
    """A directory as upstream writes it."""
    for index, (split, count) in enumerate(rows.items()):
        labels = draw_labels(count, np.random.default_rng(index))
        (directory / split).mkdir(parents=True)
        np.save(directory / f"{split}_labels.npy", labels[:, :columns])
        for row, image in enumerate(render(labels)):
            Image.fromarray(image).convert("RGBA").save(directory / split / f"{row}.png")
    return directory


def test_an_upstream_directory_becomes_a_data_set(tmp_path: Path) -> None:
    source = upstream(tmp_path / "upstream", {"train": 300, "val": 40}, columns=12)
    metadata = convert(source, tmp_path / "set", seed=1, keep_images=True)
    assert metadata["sizes"] == {"train": 300, "val": 40}
    assert dataset.check(tmp_path / "set").rows == {"train": 300, "val": 40}
    labels = np.load(source / "val_labels.npy")
    assert np.array_equal(np.load(tmp_path / "set" / "val_labels.npy"), labels)
    assert np.array_equal(np.load(tmp_path / "set" / "val_images.npy"), render(labels))
    assert np.array_equal(dataset.load(tmp_path / "set").val.attr[:, 10], labels[:, 11])


def test_older_upstream_labels_get_a_random_attribute_from_the_seed(tmp_path: Path) -> None:
    source = upstream(tmp_path / "upstream", {"train": 100, "val": 20}, columns=11)
    first, again, other = (UpstreamSource(source, seed).labels("train", 0, 100)[:, 11] for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert 0.3 < first.mean() < 0.7
    assert np.array_equal(UpstreamSource(source, 1).labels("train", 60, 70)[:, 11], first[60:70])


def test_the_upstream_sample_is_read(tmp_path: Path) -> None:
    if not SAMPLE.is_dir():
        pytest.skip("no upstream sample beside the repository")
    metadata = convert(SAMPLE, tmp_path / "set", seed=1)
    assert metadata["sizes"] == {"train": 4, "val": 2, "test": 2}
    loaded = dataset.load(tmp_path / "set")
    expected = np.load(SAMPLE / "train_labels.npy")
    assert np.array_equal(loaded.train.attr[:, :3].argmax(1), expected[:, 0])
    assert np.array_equal(loaded.train.attr[:, 10], expected[:, 11])


@pytest.mark.parametrize("shape", ["means", "means and variances"])
def test_an_upstream_directory_with_latents_is_trained_on_as_it_is(tmp_path: Path, shape: str) -> None:
    source = upstream(tmp_path / "upstream", {"train": 50, "val": 20}, columns=12)
    means = {split: np.random.default_rng(1).normal(size=(rows, 12)) for split, rows in (("train", 50), ("val", 20))}
    for split, mean in means.items():
        (source / "saved_latents" / split).mkdir(parents=True)
        stored = mean if shape == "means" else np.stack([mean, mean - 9.0], axis=1)
        np.save(source / "saved_latents" / split / "calmip.npy", stored.astype(np.float32))
    loaded = dataset.load(source)
    assert np.array_equal(loaded.val.v[:, :12], means["val"].astype(np.float32))
    assert dataset.check(source).rows == {"train": 50, "val": 20}


@pytest.mark.slow
def test_latents_are_found_where_the_previous_tool_kept_them(made: Path, tmp_path: Path) -> None:
    (tmp_path / "xor").mkdir()
    for path in made.glob("*_*.npy"):
        (tmp_path / "xor" / path.name).write_bytes(path.read_bytes())
    with pytest.raises(DataError, match=r"saved_latents.*no .npy file of latents"):
        dataset.load(tmp_path / "xor")
    loaded = dataset.load(tmp_path / "xor", made)
    assert np.array_equal(loaded.train.v, dataset.load(made).train.v)


def broken_png(source: Path) -> None:
    (source / "train" / "7.png").write_bytes(b"no image")


def small_png(source: Path) -> None:
    Image.new("RGB", (16, 16)).save(source / "train" / "7.png")


def missing_png(source: Path) -> None:
    (source / "train" / "7.png").unlink()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (broken_png, r"train/7.png: not a readable image"),
        (small_png, r"train/7.png: 16x16 pixels, expected 32x32"),
        (missing_png, r"train/7.png: no such file"),
    ],
)
def test_a_bad_image_is_named_and_nothing_is_written(tmp_path: Path, damage: Any, message: str) -> None:
    source = upstream(tmp_path / "upstream", {"train": 20, "val": 5}, columns=12)
    damage(source)
    with pytest.raises(DataError, match=message):
        convert(source, tmp_path / "set", seed=1)
    assert [path.name for path in tmp_path.iterdir()] == ["upstream"]


def test_older_labels_without_targets_are_refused_with_advice(tmp_path: Path) -> None:
    source = upstream(tmp_path / "upstream", {"train": 20, "val": 5}, columns=11)
    with pytest.raises(DataError, match=r"11 columns and no train_xor_targets.npy.*training.shapes.generate.convert"):
        dataset.load(source)
    with pytest.raises(DataError, match="name an upstream directory"):
        convert(tmp_path, tmp_path / "set", seed=1)
