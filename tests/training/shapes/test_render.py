from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from training.shapes import render
from training.shapes.distribution import draw_labels

SAMPLE = Path(__file__).resolve().parents[4] / "shared" / "data" / "simple_shapes_sample"


def test_images_agree_with_those_that_upstream_wrote() -> None:
    if not SAMPLE.is_dir():
        pytest.skip("no upstream sample beside the repository")
    for split in ("train", "val", "test"):
        ours = render.render(np.load(SAMPLE / f"{split}_labels.npy"))
        for row, image in enumerate(ours):
            theirs = np.asarray(Image.open(SAMPLE / split / f"{row}.png").convert("RGB")).astype(int)
            error = np.abs(image.astype(int) - theirs)
            assert error.max() <= 12
            assert error.mean() < 0.2


def test_coverage_agrees_with_a_drawing_by_pillow_at_high_resolution() -> None:
    labels = draw_labels(60, np.random.default_rng(4))
    found = render.coverage(labels)
    fine = 16
    for label, image in zip(labels, found, strict=True):
        outline = render.OUTLINES[int(label[0])] - 0.5
        turn = np.array([[np.cos(label[4]), -np.sin(label[4])], [np.sin(label[4]), np.cos(label[4])]])
        corners = outline @ turn.T * label[3] + label[1:3]
        canvas = Image.new("L", (32 * fine, 32 * fine))
        ImageDraw.Draw(canvas).polygon([(x * fine, (32 - y) * fine) for x, y in corners], fill=255)
        drawn = np.asarray(canvas).reshape(32, fine, 32, fine).mean(axis=(1, 3)) / 255
        assert np.abs(drawn - image).mean() < 0.004


def test_the_middle_of_a_shape_has_its_colour_and_the_corners_are_black() -> None:
    labels = draw_labels(500, np.random.default_rng(5))
    labels[:, 3] = np.maximum(labels[:, 3], 12)
    images = render.render(labels)
    assert images.shape == (500, 32, 32, 3)
    for label, image in zip(labels, images, strict=True):
        x, y = int(label[1]), int(label[2])
        assert np.array_equal(image[31 - y, x], label[5:8])
    assert not images[:, 0, 0].any()


def test_rows_are_drawn_alike_in_chunks_of_any_size() -> None:
    labels = draw_labels(render.CHUNK + 10, np.random.default_rng(6))
    assert np.array_equal(render.render(labels)[-10:], render.render(labels[-10:]))
