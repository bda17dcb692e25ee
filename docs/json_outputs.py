"""What the JSON that Holdfast writes and prints holds. tests/docs compares it with what is really written.

A field of an object is `object.field`; `[]` stands for the entries of a list, `*` for names that depend on the sweep.
"""

from __future__ import annotations

STATES = "a number of cells for each state that occurs: COMPLETED, DIVERGED, FAILED, CONFLICT, STARTED, MISSING"

PLAN = {
    "cells": "cells of the whole sweep",
    "states": f"{STATES}",
    "queued": "cells that a live Slurm task already has",
    "skipped_failed": "FAILED cells left out; `--include-failed` takes them along",
    "to_run": "cells that would run",
    "deferred": "cells that do not fit into the queue now",
    "tasks": "tasks they are cut into",
    "largest_pack": "cells of the largest task",
    "arrays": "tasks of each Slurm array, a list",
    "files": "directory entries that the results will take",
    "cost.hours": "device-hours (CPU core or GPU); null where nothing was measured",
    "cost.low": "lower end of their 95 % interval, hours; null as above",
    "cost.high": "upper end, hours; null as above",
    "cost.source": "what the estimate rests on, or how to get one",
    "cost.files": "as `files`",
    "cost.bytes": "bytes that the results will take",
    "cost.effect": "smallest paired effect (d_z) the seeds detect with 80 % power; null for one seed",
}
STATUS = {
    "sweep": "its name",
    "cells": "cells of the whole sweep",
    "states": f"{STATES}; RUNNING and PENDING if Slurm has them",
    "slurm": "`ok`, or why Slurm could not be asked: then RUNNING and PENDING are unknown",
    "individual[].cell": "name of a cell, one entry for each",
    "individual[].state": "its state",
    "individual[].attempts": "how often it was begun",
    "individual[].epoch": "last epoch finished",
    "individual[].epochs": "epochs planned; 0 before the first",
    "individual[].cause": "why it failed; only there if it did",
    "individual[].node": "where its task runs; only there while Slurm has it",
}
SHOW = {
    "cell": "its name",
    "state": "its state, from files alone",
    "cause": "why it failed; empty if it did not",
    "attempts[].attempt": "number of the attempt, from 1",
    "attempts[].pack": "pack attempt it was part of",
    "attempts[].failure": "null, or an object with `cause` and `traceback`",
    "result": "its results.json, see below; null before it has one",
}
CHECK = {
    "good": "false if there is a problem",
    "findings[].level": "ok, note or problem",
    "findings[].subject": "what was looked at",
    "findings[].text": "what was found",
    "findings[].fix": "what to do; empty if nothing",
    "facts": "the answers they rest on, for bugs: versions, directory, cluster, profile, node, pilot; not stable",
}
RESULT = {
    "*": "each factor under its field name, such as workspace_dim and synergy_scale",
    "run_id": "number of the seed, from 0",
    "seed": "the seed",
    "condition_id": "name of the condition",
    "status": "COMPLETED or DIVERGED",
    "metrics.*": "a number, or null where the trainer gave none or none that is finite",
    "best_epoch": "epoch of the best validation; null if the trainer named none",
    "epochs": "epochs trained",
    "config_digest": "digest of all that decides the numbers; results of another configuration do not count",
    "outcome_digest": "digest of the result with its history and weights: equal for bit-identical cells",
    "provenance": "how it came about: attempts, seconds, node, device, versions, code_digest, git, peak_memory, "
    "pack_size, ... May grow",
}
AGGREGATED = {
    "*.*": "each factor under its field name",
    "*.n_runs": "COMPLETED cells of the condition",
    "*.completeness": "planned cells and how many are in which state",
    "*.aggregated_metrics.*.mean": "mean over the finite values; null without one",
    "*.aggregated_metrics.*.std": "standard deviation, n - 1 in the denominator; null for fewer than two",
    "*.aggregated_metrics.*.n": "finite values",
    "*.aggregated_metrics.*.ci_lower": "lower end of the t interval at level 1 - alpha; null for fewer than two",
    "*.aggregated_metrics.*.ci_upper": "upper end",
    "*.aggregated_metrics.*.sem": "standard error of the mean",
    "*.aggregated_metrics.*.min": "smallest value",
    "*.aggregated_metrics.*.max": "largest value",
    "*.aggregated_metrics.*.median": "median",
    "*.individual_results": "outcomes of its cells, a list: results.json without what differs between reruns",
}
OUTPUTS = {
    "holdfast plan --json": PLAN,
    "holdfast status DIR --json": STATUS,
    "holdfast show DIR CELL --json": SHOW,
    "holdfast check cluster --json": CHECK,
    "results.json": RESULT,
    "aggregated_results.json": AGGREGATED,
}


def page() -> str:
    text = (
        "# JSON\n\nOutput of `--json` and the result files. Fields stay what they are; new ones may come. Numbers are "
        "never NaN or infinite: what is not there is null. Progress and remarks go to stderr. `a.b` is field b of the "
        "object a, `[]` every entry of a list, `*` a name that depends on the sweep.\n"
    )
    for name, fields in OUTPUTS.items():
        rows = "".join(f"| `{field}` | {meaning} |\n" for field, meaning in fields.items())
        text += f"\n## {name}\n\n| field | what it is |\n|---|---|\n{rows}"
    return text
