"""Print the kernels of training.steps.triton_adam as Triton compiles them for an architecture; needs no GPU.

python -m helpers.compiled_kernels 90
"""

from __future__ import annotations

import math
import sys

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from training.model.optimizer import BETAS
from training.model.rows import HALF_MULTIPLE
from training.steps.triton_adam import _OPTIONS, BLOCK, clipped_adam, prepare_adam

POINTERS = ("parts", "steps", "parameters", "gradients", "first", "second", "factors", "rates")
CONSTANTS = {
    "lr": 1e-3,
    "log_beta1": math.log2(BETAS[0]),
    "log_beta2": math.log2(BETAS[1]),
    "clip": True,
    "count": HALF_MULTIPLE,
    "block": BLOCK,
}


def main() -> None:
    target = GPUTarget("cuda", int(sys.argv[1]), 32)
    for kernel in (prepare_adam, clipped_adam):
        kinds = dict.fromkeys(kernel.arg_names, "fp32") | {"row": "i32"} | dict.fromkeys(POINTERS, "*fp32")
        signature = {name: "constexpr" if name in CONSTANTS else kinds[name] for name in kernel.arg_names}
        constants = {name: value for name, value in CONSTANTS.items() if name in signature}
        # As at a launch: addresses and row lengths are multiples of 16.
        aligned = [(place,) for place, name in enumerate(kernel.arg_names) if name in POINTERS or name == "row"]
        source = ASTSource(kernel, signature, constants, {key: [["tt.divisibility", 16]] for key in aligned})
        print(triton.compile(source, target=target, options=_OPTIONS).asm["ptx"])


if __name__ == "__main__":
    main()
