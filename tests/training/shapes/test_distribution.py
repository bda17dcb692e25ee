from __future__ import annotations

import colorsys
import math

import numpy as np
import pytest

from training.shapes import distribution as shapes


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
    return shapes.draw_labels(40_000, np.random.default_rng(3))


@pytest.mark.parametrize(
    ("column", "values"),
    [(0, range(3)), (1, range(7, 25)), (2, range(7, 25)), (3, range(7, 15)), (8, range(181)), (9, range(46, 256))],
)
def test_every_integer_label_is_equally_frequent(labels: np.ndarray, column: int, values: range) -> None:
    counts = np.array([(labels[:, column] == value).sum() for value in values])
    assert counts.sum() == len(labels)
    chi_squared = ((counts - counts.mean()) ** 2 / counts.mean()).sum()
    degrees = len(values) - 1
    assert chi_squared < degrees + 5 * math.sqrt(2 * degrees)


def test_rotation_and_the_unpaired_number_fill_their_ranges_evenly(labels: np.ndarray) -> None:
    for column, high in ((4, 2 * math.pi), (11, 1.0)):
        assert 0 <= labels[:, column].min() < 0.001 * high
        assert 0.999 * high < labels[:, column].max() <= high
        counts, _ = np.histogram(labels[:, column], bins=20, range=(0, high))
        assert abs(counts / len(labels) - 0.05).max() < 0.006


def test_colours_agree_with_the_standard_librarys_conversion(labels: np.ndarray) -> None:
    for row in labels[:300]:
        expected = colorsys.hls_to_rgb(row[8] / 180, row[9] / 255, row[10] / 255)
        assert np.allclose(row[5:8], np.array(expected) * 255, atol=0.51)


def test_the_target_needs_both_sources(labels: np.ndarray) -> None:
    size, random = shapes.normalized_size(labels), labels[:, 11]
    target = shapes.xor_class(size, random)
    sampling_error = 49 / (2 * len(labels))
    for source in (size, random):
        assert shapes.mutual_information(shapes.bins(source), target) < 3 * sampling_error
    both = 8 * shapes.bins(size) + shapes.bins(random)
    assert shapes.mutual_information(both, target) == pytest.approx(math.log(8), abs=0.001)


def test_the_target_is_the_sum_of_the_bins_modulo_eight() -> None:
    size = np.array([0.0, 1 / 7, 1.0, 1.0], dtype=np.float32)
    random = np.array([0.0, 0.5, 0.1249, 1.0], dtype=np.float32)
    assert shapes.xor_class(size, random).tolist() == [0, 5, 7, 6]


def test_the_size_is_in_no_attribute() -> None:
    labels = shapes.draw_labels(10, np.random.default_rng(0))
    other = labels.copy()
    other[:, shapes.SIZE] = 7
    random = labels[:, 11]
    assert np.array_equal(shapes.attributes(labels, random), shapes.attributes(other, random))
