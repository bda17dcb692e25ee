"""The fields of the JSON that Holdfast writes and prints. tests/docs compares them with real output.

A field of an object is `object.field`; `[]` stands for the entries of a list, `*` for names that depend on the sweep.
"""

from __future__ import annotations

STATES = "a number of cells for each state that occurs: COMPLETED, DIVERGED, FAILED, CONFLICT, STARTED, MISSING"

PLAN = {
    "cells": "cells of the whole sweep",
    "states": f"{STATES}",
    "queued": "cells that a live Slurm task already has",
    "skipped_failed": "FAILED cells left out; `--include-failed` includes them",
    "to_run": "cells that would run",
    "deferred": "cells that do not fit into the queue now",
    "tasks": "tasks, each a pack of cells",
    "largest_pack": "cells in the largest task",
    "arrays": "number of tasks in each Slurm array, a list",
    "resources": "what the tasks of each array ask for in the place of what the profile says, by its keys: a list of "
    "objects, empty ones where nothing",
    "files": "directory entries that the results will need",
    "cost.hours": "device-hours (CPU core or GPU); null where nothing was measured",
    "cost.low": "lower end of their 95 % interval, hours; null as above",
    "cost.high": "upper end, hours; null as above",
    "cost.source": "what the estimate is based on, or how to get one",
    "cost.files": "as `files`, with the submission and, if it is the first one, the snapshot of the code",
    "cost.bytes": "their bytes; the weights as finished cells, a pilot or the built-in trainer's settings say",
    "cost.without_weights": "true if nothing says how large the weights are: they come on top",
    "cost.effect": "smallest paired effect (d_z) the seeds detect with 80 % power, corrected for the family of tests; "
    "null for one seed",
    "cost.tests": "tests in that family",
    "cost.shares": "where cells ask for different resources, a list with an entry for each kind: asked, arrays, tasks, "
    "cells, and hours, null where unknown",
    "code.files": "files of your own that tasks get, a list; `code` is missing where nothing is to run",
    "code.bytes": "their bytes",
    "code.left_out[].file": "a file beside them that tasks do not get",
    "code.left_out[].reason": "why",
}
STATUS = {
    "sweep": "its name",
    "cells": "cells of the whole sweep",
    "states": f"{STATES}; RUNNING and PENDING if Slurm has them",
    "slurm": "`ok`, or why Slurm could not be asked: then RUNNING and PENDING are unknown",
    "individual[].cell": "name of a cell, one entry for each",
    "individual[].state": "its state",
    "individual[].attempts": "number of attempts",
    "individual[].epoch": "last epoch finished",
    "individual[].epochs": "epochs planned; 0 before the first",
    "individual[].stopped_early": "true; present only if `stop_when` ended it before its last epoch",
    "individual[].cause": "why it failed; present only if it did",
    "individual[].node": "node on which its task runs; present only while Slurm has it",
}
SHOW = {
    "cell": "its name",
    "state": "its state, judged from files alone",
    "cause": "why it failed; empty if it did not",
    "attempts[].attempt": "number of the attempt, from 1",
    "attempts[].pack": "pack attempt it was part of",
    "attempts[].node": "node it ran on; empty if it never reported one",
    "attempts[].escalated": "what it was given by `--escalate`, by a profile's keys; missing where nothing",
    "attempts[].failure": "null, or an object with `cause` and `traceback`",
    "result": "its results.json, see below; null before it has one",
    "redone[].redo": "number of the redo that set an earlier result aside; `redone` is missing where there was none",
    "redone[].result": "that result",
}
CHECK = {
    "good": "false if there is a problem",
    "findings[].level": "ok, note or problem",
    "findings[].subject": "what was checked",
    "findings[].text": "what was found",
    "findings[].fix": "what to do; empty if nothing",
    "resources": "with `--pilot --resources`, the rules that fit what was measured, as a configuration has them; "
    "else empty",
    "facts": "the answers behind them, for bug reports: versions, directory, cluster, profile, node, pilot; not stable",
}
RESULT = {
    "*": "each factor under its field name, such as workspace_dim and synergy_scale",
    "run_id": "number of the seed, from 0",
    "seed": "the seed",
    "condition_id": "name of the condition",
    "status": "COMPLETED or DIVERGED",
    "metrics.*": "a number; null where the trainer gave no finite one",
    "best_epoch": "epoch of the best validation; null if the trainer named none",
    "epochs": "epochs trained",
    "stopped_early.metric": "what `stop_when` follows; `stopped_early` is present only if it ended the cell",
    "stopped_early.patience": "epochs in a row without improvement that it allows",
    "stopped_early.min_delta": "by how much more than its best a value has to be better to count as an improvement",
    "stopped_early.last_improvement": "the epoch of the last one; 0 if there was none",
    "stopped_early.planned_epochs": "epochs that the cell would have had; null if the trainer named none",
    "config_digest": "digest of everything that determines the numbers; results of another configuration do not count",
    "outcome_digest": "digest of the result with its history and weights: equal for bit-identical cells",
    "provenance": "how the result came about: attempts, seconds, node, device, versions, code_digest, git, "
    "peak_memory, pack_size, redone, ... New fields may be added",
}
AGGREGATED = {
    "*.*": "each factor under its field name",
    "*.n_runs": "COMPLETED cells of the condition",
    "*.completeness": "number of planned cells, and of cells in each state; with `stop_when`, also of the COMPLETED "
    "ones that it ended early",
    "*.aggregated_metrics.*.mean": "mean over the finite values; null without one",
    "*.aggregated_metrics.*.std": "standard deviation, n - 1 in the denominator; null for fewer than two",
    "*.aggregated_metrics.*.n": "finite values",
    "*.aggregated_metrics.*.ci_lower": "lower end of the t interval at level 1 - alpha; null for fewer than two",
    "*.aggregated_metrics.*.ci_upper": "upper end",
    "*.aggregated_metrics.*.sem": "standard error of the mean",
    "*.aggregated_metrics.*.min": "smallest value",
    "*.aggregated_metrics.*.max": "largest value",
    "*.aggregated_metrics.*.median": "median",
    "*.aggregated_metrics.*.centre": "what report, tables and figures show: the mean, of metrics on a log scale the "
    "geometric one",
    "*.aggregated_metrics.*.centre_lower": "lower end of the interval that they show with it; statistics.json names "
    "its method (`metrics.*.ci_method`)",
    "*.aggregated_metrics.*.centre_upper": "upper end",
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
    "metrics.*.chance": "what guessing reaches; null if the trainer declares none",
    "metrics.*.ci_method": "the interval that suits the kind",
    "metrics.*.value_of": "which epoch the value is of, in words: of the last, the best, or the best of all",
    "metrics.*.note": "a caveat on this metric; usually null",
    "last_epochs": "number of epochs in the means of the last epochs, at most a third of a run, and in their intervals",
    "conditions.*.completion": "cells completed of those planned, the rate and its Clopper-Pearson interval",
    "conditions.*.intervals": "an object per metric: the interval that suits it (null where the seeds do not differ), "
    "and the median with its interval",
    "conditions.*.last_epochs": "the same for the mean of the last epochs",
    "unreliable": "intervals not to be trusted: metric, reason, conditions, seeds that lie apart in each; a list",
    "zero_spread": "conditions whose seeds all gave the same value: condition, metric, value; a list",
    "not_finite": "where completed cells have no finite value: condition, metric, cells; a list",
    "trade_offs": "pairs of metrics that trade off within a condition: metrics, condition, correlation, seeds, "
    "adjusted (p, Holm over `tried` conditions); a list",
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
    "claims.family[].low": "lower end of its interval; null where the seeds do not differ",
    "claims.family[].high": "upper end",
    "claims.family[].degrees_of_freedom": "of the t test; fewer than seeds - 1 where cells are missing",
    "claims.family[].p": "two-sided, of the t test",
    "claims.family[].adjusted": "p after the correction",
    "claims.family[].dz_hedges": "standardised estimate, corrected for few seeds",
    "claims.family[].detectable": "the true effect that would have been detected with 80 % power",
    "claims.family[].probability_of_improvement": "of a comparison: estimate, low, high; else null",
    "claims.family[].failed_as_worst": "with failed cells at the worst value: cells, estimate, p; null if none",
    "claims.family[].in_nats": "of a retention, with information counted in nats: estimate, low, high, level (of the "
    "interval) and p (uncorrected); else null",
    "claims.family[].if_unrelated": "low, high and degrees_of_freedom, were the combinations' errors unrelated within "
    "seeds; null unless the interval is narrow because they cancel",
    "claims.family[].combinations": "the estimate in each combination of other factors: where, estimate, low, high, "
    "in_nats, in_nats_low, in_nats_high, reason; a list",
    "claims.family[].by_level": "of a retention, the difference at each narrower level in each combination: level, "
    "where, kept and other (shares retained), estimate, low, high (of intervals that hold together), in_nats; a list",
    "claims.family[].per_seed": "the contrast in each seed, a list",
    "claims.exploratory_correction": "benjamini-hochberg",
    "claims.exploratory": "all other contrasts; entries as in the family",
    "claims.exploratory_left_out": "contrasts that were not explored, with the reason, a list of texts",
    "earlier_epochs": "each declared contrast had the same runs been looked at earlier: metric, kind, factors, and "
    "epochs, a list of after (in words), estimate, low, high, in_nats, reason; a list",
    "comparisons": "an object per primary metric: each condition against the reference, paired by seed",
    "pairing.*.seed_correlation": "Pearson's r between runs of one seed, mean over all pairs of conditions",
    "pairing.*.seeds": "number of seeds it is based on",
    "pairing.*.standard_deviation_if_unrelated": "of that mean, if runs of one seed share nothing",
    "pairing.*.paired_over_unpaired_width": "of the intervals of two conditions that correlate so and vary equally; "
    "above 1, pairing costs more than it gains",
    "missingness": "failure against each factor: factor, method, p, levels; a list. Counted are the cells "
    "in those combinations of the other factors that have every level",
}
COMPARE = {
    "sweeps": "names of A and B",
    "seeds": "seeds that are paired; empty with --on condition",
    "level": "of the intervals, uncorrected",
    "metrics.*.logarithm": "whether the numbers are differences of logarithms",
    "metrics.*.rows[].condition": "in words; the first row is the average over conditions",
    "metrics.*.rows[].n": "seeds that have both, or the smaller number of seeds with --on condition",
    "metrics.*.rows[].estimate": "B minus A",
    "metrics.*.rows[].low": "lower end of its interval",
    "metrics.*.rows[].high": "upper end",
    "metrics.*.rows[].p": "two-sided, of the t test (Welch's with --on condition)",
    "metrics.*.rows[].adjusted": "p after Benjamini-Hochberg over all rows of all metrics",
    "different[].what": "a setting, version or digest that differs, in dotted words",
    "different[].first": "what A has there",
    "different[].second": "what B has",
    "left_out": "conditions that only one of them has: name of the sweep, condition; a list",
    "remarks": "on missing values, a list of texts",
}
OUTPUTS = {
    "holdfast plan --json": PLAN,
    "holdfast status DIR --json": STATUS,
    "holdfast show DIR CELL --json": SHOW,
    "holdfast compare A B --json": COMPARE,
    "holdfast check cluster --json": CHECK,
    "results.json": RESULT,
    "aggregated_results.json": AGGREGATED,
    "statistics.json": STATISTICS,
}


def page() -> str:
    text = (
        "# JSON\n\nOutput of `--json`, and the result files. Fields keep their meaning; new ones may be added. Numbers "
        "are never NaN or infinite: a missing number is null. Progress and remarks go to stderr. `a.b` is field b of "
        "object a, `[]` every entry of a list, `*` a name that depends on the sweep.\n"
    )
    for name, fields in OUTPUTS.items():
        rows = "".join(f"| `{field}` | {meaning} |\n" for field, meaning in fields.items())
        text += f"\n## {name}\n\n| field | what it is |\n|---|---|\n{rows}"
    return text
