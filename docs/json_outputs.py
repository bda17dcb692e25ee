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
    "cost.effect": "smallest paired effect (d_z) the seeds detect with 80 % power, corrected for the family of tests; "
    "null for one seed",
    "cost.tests": "tests in that family",
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
    "attempts[].node": "node it ran on, empty if it never said",
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
    "*.individual_results": "its cells, a list: the name as `cell` and results.json without provenance",
}
STATISTICS = {
    "aggregation": "stamp of the set of files it belongs to, a digest of their numbers",
    "aggregated_results_sha256": "digest of the aggregated_results.json of the same set",
    "sweep": "its name",
    "partial": "true if planned cells have no result yet, failed or are in conflict",
    "level": "of all intervals: 1 - alpha",
    "completeness": "cells planned and in each state",
    "primary_metrics": "as fixed before the first job, a list",
    "metrics.*.kind": "bounded, positive or real",
    "metrics.*.better": "higher or lower",
    "metrics.*.chance": "what guessing reaches; null if the trainer names none",
    "metrics.*.ci_method": "the interval that suits the kind",
    "metrics.*.note": "what to know of this metric; usually null",
    "last_epochs": "how many epochs the means of the last epochs take, and their intervals",
    "conditions.*.completion": "cells completed of those planned, the rate and its Clopper-Pearson interval",
    "conditions.*.intervals": "an object a metric: the interval that suits it, and the median with its own",
    "conditions.*.last_epochs": "the same for the mean of the last epochs",
    "unreliable": "intervals not to be trusted: metric, reason, conditions, seeds that lie apart in each; a list",
    "zero_spread": "conditions whose seeds all gave the same value: condition, metric, value; a list",
    "not_finite": "where completed cells have no finite value: condition, metric, cells; a list",
    "claims.alpha": "of the whole family",
    "claims.looks": "looks at a growing sweep: planned, taken, and what this one may spend of alpha",
    "claims.correction": "holm",
    "claims.family[].metric": "a contrast fixed before the first job, one entry for each",
    "claims.family[].label": "the metric's name in figures",
    "claims.family[].kind": "slope, comparison or retention",
    "claims.family[].factors": "of these factors, a list",
    "claims.family[].levels": "the levels used, a list",
    "claims.family[].per": "what the estimate is per, such as a doubling of a factor",
    "claims.family[].scale": "log if the estimate is a change of the logarithm, as of a positive metric; else raw",
    "claims.family[].confirmatory": "true; false in `claims.exploratory`",
    "claims.family[].status": "shown, not shown, withheld or untestable",
    "claims.family[].reason": "why, or what else must be said; null if nothing",
    "claims.family[].seeds": "seeds it rests on",
    "claims.family[].complete_seeds": "of these, seeds that have every condition",
    "claims.family[].planned_seeds": "seeds planned",
    "claims.family[].estimate": "mean over seeds",
    "claims.family[].level": "of its interval: that at which the test was decided",
    "claims.family[].low": "lower end of its interval",
    "claims.family[].high": "upper end",
    "claims.family[].degrees_of_freedom": "of the t test; fewer than seeds - 1 where cells are missing",
    "claims.family[].p": "two-sided, of the t test",
    "claims.family[].adjusted": "p after the correction",
    "claims.family[].dz_hedges": "standardised estimate, corrected for few seeds",
    "claims.family[].detectable": "the true effect that would have been detected with 80 % power",
    "claims.family[].probability_of_improvement": "of a comparison: estimate, low, high; else null",
    "claims.family[].failed_as_worst": "with failed cells at the worst value: cells, estimate, p; null if none",
    "claims.family[].combinations": "the estimate in each combination of other factors: where, estimate, low, high, "
    "reason; a list",
    "claims.family[].per_seed": "the contrast in each seed, a list",
    "claims.exploratory_correction": "benjamini-hochberg",
    "claims.exploratory": "all other contrasts; entries as in the family",
    "comparisons": "an object a primary metric: each condition against the reference, paired by seed",
    "pairing.*.seed_correlation": "ICC(3,1) of conditions under one seed",
    "pairing.*.seeds": "seeds it rests on",
    "pairing.*.paired_over_unpaired_width": "of the intervals; above 1 pairing cost more than it saved",
    "missingness": "failure against each factor: factor, method, p, levels; a list",
}
OUTPUTS = {
    "holdfast plan --json": PLAN,
    "holdfast status DIR --json": STATUS,
    "holdfast show DIR CELL --json": SHOW,
    "holdfast check cluster --json": CHECK,
    "results.json": RESULT,
    "aggregated_results.json": AGGREGATED,
    "statistics.json": STATISTICS,
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
