"""What is set up before anything is computed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers.here import lacking

# Where MKL keeps which instruction set its vector functions are of: -1 until the first one is called.
VARIABLE = "mkl_vml_serv_cpu_detect.vml_cpu_type"
LOOK = """
import ctypes, sys, torch
with open("/proc/self/maps") as maps:
    first = next(line.split() for line in maps if "libtorch_cpu.so" in line)
chosen = ctypes.c_int.from_address(int(first[0].partition("-")[0], 16) - int(first[2], 16) + int(sys.argv[1], 16))
before = chosen.value
{work}
print(before, chosen.value)
"""


@pytest.fixture(scope="module")
def address() -> str:
    library = Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"
    try:
        symbols = subprocess.run(["nm", library], capture_output=True, text=True).stdout
    except FileNotFoundError:
        lacking("nm is not installed (apt-get install binutils)")
    found = [line.split()[0] for line in symbols.splitlines() if line.endswith(f" {VARIABLE}")]
    if not found:
        pytest.skip("this torch has no vector functions of MKL, or no table of symbols")
    return found[0]


def looked(address: str, work: str) -> list[int]:
    command = [sys.executable, "-c", LOOK.format(work=work), address]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [int(word) for word in done.stdout.split()]


def test_vector_functions_are_found_before_two_threads_could_ask_for_them(address: str) -> None:
    before, after = looked(address, "from training.loop.device import prepare; prepare('cpu', 2)")
    assert before == -1
    assert after >= 0


def test_so_are_those_of_a_trainer_of_ones_own(address: str, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("import torch\n\n\ndef train(cells, options, run):\n    pass\n")
    work = f"""
from hpc.sweep.definition import DeclaredTrainer
from hpc.trainers.loading import load_function
load_function(DeclaredTrainer("mine.py:train", {str(tmp_path / "mine.py")!r}, factors={{}}, metrics={{}}))
"""
    before, after = looked(address, work)
    assert before == -1
    assert after >= 0


WARNS = """
import warnings

found = torch._C._set_cublas_allow_tf32
def warns(allowed):
    warnings.warn("Please use the new API settings to control TF32 behavior, such as ...")
    found(allowed)
torch._C._set_cublas_allow_tf32 = warns
"""


@pytest.mark.parametrize("before", ["", WARNS], ids=["this version", "as 2.9"])
@pytest.mark.parametrize("environment", [{}, {"TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": "1"}], ids=["plain", "overridden"])
def test_torch_takes_the_settings_for_a_gpu_without_a_warning(before: str, environment: dict[str, str]) -> None:
    code = f"""
import torch
from training.loop.device import refuse_tf32
{before}
refuse_tf32()
assert not torch.backends.cuda.matmul.allow_tf32
# Since 2.9 there is a newer name; if the two differed, each product would be refused.
assert getattr(torch.backends.cuda.matmul, "fp32_precision", "ieee") == "ieee"
"""
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | environment)
    assert (done.returncode, done.stderr) == (0, "")
