"""Examples at the end of each command's --help."""

from __future__ import annotations

import argparse
import textwrap

EXAMPLES = {
    "plan": ["plan --config sweep.yaml", "plan --dims 8,32 --synergy-scales 0.1,1.0 --runs-per-condition 3"],
    "run": ["run --config sweep.yaml --output-dir out", "run out --runs-per-condition 10"],
    "submit": [
        "submit --config sweep.yaml --profile lab --pack auto",
        "submit out --profile lab --include-failed --set mem_gb=32",
    ],
    "status": ["status out --watch"],
    "show": ["show out dim_8_scale_1.0_run_0 --log"],
    "cancel": ["cancel out --dim 8 --state PENDING"],
    "aggregate": ["aggregate out", "aggregate out --partial"],
    "data generate": ["data generate data/simple_shapes_xor_targets", "data generate demo/data --train 16000 --seed 1"],
    "data check": ["data check data/simple_shapes_xor_targets"],
    "check cluster": ["check cluster --profile lab", "check cluster --profile lab --config sweep.yaml --pilot"],
    "check resume": ["check resume --config sweep.yaml", "check resume --profile lab --config sweep.yaml --cells 2"],
    "check stats": ["check stats"],
    "sandbox up": ["sandbox up", "sandbox up --nodes 8"],
    "sandbox down": ["sandbox down"],
    "sandbox status": ["sandbox status"],
    "sandbox preempt": ["sandbox preempt", "sandbox preempt --count 2"],
    "wandb sync": ["wandb sync out"],
    "wandb extract": ["wandb extract --project synergy --group pilot --output-dir extracted"],
    "init": ["init", "init --all-keys", "init lab --trainer mine.py:train --partition gpu --gpus 1 --mem-gb 16"],
    "completion": ["completion bash >> ~/.bashrc", "completion zsh >> ~/.zshrc"],
}


def add_examples(parser: argparse.ArgumentParser, path: str = "") -> None:
    """Put its examples in front of the epilog of every command."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, below in action.choices.items():
                add_examples(below, f"{path} {name}".strip())
    lines = "".join(f"  holdfast {example}\n" for example in EXAMPLES.get(path, ()))
    if lines:
        parser.formatter_class = argparse.RawDescriptionHelpFormatter  # which leaves descriptions unwrapped as well
        parser.description = textwrap.fill(parser.description or "", 98)
        parser.epilog = f"examples:\n{lines}\n{parser.epilog or ''}".rstrip()
