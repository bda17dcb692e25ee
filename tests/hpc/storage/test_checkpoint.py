from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from hpc.storage.checkpoint import CorruptCheckpointError, SavedCell, decode, parts

DTYPES = [
    *("bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"),
    *("float16", "float32", "float64", "complex64"),
]


def encode(rows: Sequence[SavedCell]) -> bytes:
    return b"".join(parts(rows))


def row(**arrays: np.ndarray) -> SavedCell:
    return SavedCell(
        "dim_8_run_0", "c" * 64, "d" * 64, 7, {"x": 1.5}, [{"epoch": 1, "loss": 0.5}], {"dtype": "f4"}, 2.5, arrays
    )


def same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


@given(
    st.sampled_from(DTYPES).flatmap(
        lambda dtype: arrays.arrays(dtype, arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3))
    )
)
def test_an_array_comes_back_bit_by_bit_with_its_shape(array: np.ndarray) -> None:
    array = np.asarray(array)
    (back,) = decode(encode([row(a=array)]))
    assert same(np.asarray(back.arrays["a"]), array)


def test_nan_inf_and_minus_zero_come_back_bit_by_bit() -> None:
    payload = np.array([0x7FF8000000000123], dtype="u8").view("f8")
    array = np.concatenate([payload, [np.nan, np.inf, -np.inf, -0.0, 5e-324]])
    (back,) = decode(encode([row(a=array)]))
    assert back.arrays["a"].tobytes() == array.tobytes()


def test_arrays_that_are_not_contiguous_come_back_in_their_own_order() -> None:
    base = np.arange(24).reshape(4, 6)
    (back,) = decode(encode([row(a=base.T, b=base[::2, ::-3], c=np.asfortranarray(base))]))
    assert (back.arrays["a"] == base.T).all()
    assert (back.arrays["b"] == base[::2, ::-3]).all()
    assert (back.arrays["c"] == base).all()


def test_arrays_of_all_kinds_come_back_beside_each_other_and_from_the_other_byte_order() -> None:
    arrays = {dtype: np.arange(3).astype(dtype) for dtype in DTYPES} | {"big": np.arange(3, dtype=">f8")}
    (back,) = decode(encode([row(**arrays)]))
    assert all(same(back.arrays[dtype], arrays[dtype]) for dtype in DTYPES)
    assert back.arrays["big"].tolist() == [0.0, 1.0, 2.0]


def test_arrays_are_written_from_where_they_are() -> None:
    """Copies would take as much memory again as the states of all cells of a pack, and the time to make them."""
    large, small = np.ones((300, 7), np.float32), np.ones(1, bool)
    *_, first, second = parts([row(a=small, b=large)])
    assert np.shares_memory(np.frombuffer(first, np.uint8), large)
    assert np.shares_memory(np.frombuffer(second, np.uint8), small)


@pytest.mark.parametrize("array", [np.array([{}]), np.array(["a"]), np.zeros(1, np.longdouble), np.zeros(1, complex)])
def test_an_array_that_could_not_be_read_again_is_refused_by_name(array: np.ndarray) -> None:
    with pytest.raises(TypeError, match=rf"array 'a/b' is of {array.dtype}; a checkpoint holds bool, complex64"):
        parts([row(**{"a/b": array})])


def test_names_with_slashes_and_numbers_stay_apart_between_rows() -> None:
    first, second = row(**{"1/x": np.ones(1), "x": np.zeros(2)}), row(x=np.full(3, 2.0))
    one, two = decode(encode([first, second]))
    assert {name: array.tolist() for name, array in one.arrays.items()} == {"1/x": [1.0], "x": [0.0, 0.0]}
    assert two.arrays["x"].tolist() == [2.0, 2.0, 2.0]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), VALUES, max_size=4))
def test_plain_values_come_back_as_they_went_in(values: dict) -> None:
    (back,) = decode(encode([SavedCell("a", "b", "c", 0, values)]))
    assert back.values == values


def test_values_that_are_nan_or_infinite_come_back() -> None:
    (back,) = decode(encode([SavedCell("a", "b", "c", 0, {"best": math.inf, "last": math.nan})]))
    assert back.values["best"] == math.inf
    assert math.isnan(back.values["last"])


def test_everything_else_about_a_row_comes_back() -> None:
    original = row(a=np.ones(2))
    (back,) = decode(encode([original]))
    for name in ("cell", "cell_digest", "config_digest", "step", "values", "numerics", "seconds"):
        assert getattr(back, name) == getattr(original, name)
    assert list(back.history) == list(original.history)


def test_a_generation_without_arrays_or_rows_comes_back() -> None:
    assert decode(encode([])) == []
    assert decode(encode([row()]))[0].arrays == {}


SMALL = encode([row(a=np.arange(3, dtype="f4")), row(a=np.array(True))])


def test_every_truncation_is_noticed() -> None:
    for length in range(len(SMALL)):
        with pytest.raises(CorruptCheckpointError):
            decode(SMALL[:length])


def test_every_flipped_byte_is_noticed() -> None:
    for position in range(len(SMALL)):
        damaged = bytearray(SMALL)
        damaged[position] ^= 0x20
        with pytest.raises(CorruptCheckpointError):
            decode(bytes(damaged))


@pytest.mark.parametrize("extra", [b"\0", b"\n", SMALL])
def test_anything_behind_the_end_is_noticed(extra: bytes) -> None:
    with pytest.raises(CorruptCheckpointError):
        decode(SMALL + extra)


def test_a_hole_of_zeros_as_after_a_power_cut_is_noticed() -> None:
    for start in range(0, len(SMALL), 64):
        holed = SMALL[:start] + b"\0" * len(SMALL[start : start + 64]) + SMALL[start + 64 :]
        with pytest.raises(CorruptCheckpointError):
            decode(holed)


def test_the_same_state_gives_the_same_bytes() -> None:
    assert encode([row(a=np.ones(3), b=np.zeros(2))]) == encode([row(a=np.ones(3), b=np.zeros(2))])


def test_reading_a_checkpoint_never_unpickles() -> None:
    code = f"""
import builtins, sys
import hpc.storage.checkpoint  # numpy loads pickle for itself; what counts is whether anything of it is called
import pickle, _pickle
def refuse(*arguments, **options):
    raise AssertionError("unpickled")
for module in (pickle, _pickle):
    module.load = module.loads = module.Unpickler = refuse
assert len(hpc.storage.checkpoint.decode({SMALL!r})) == 2
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=__file__.rpartition("/tests/")[0])
