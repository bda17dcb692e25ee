#!/usr/bin/env bash
# Runs one sweep from start to report: generates the data if needed, plans, submits, waits and aggregates. Whatever goes
# wrong, run it again: it continues with what is missing.
#
#   examples/synergy/sweep.sh quick sandbox            # or your own profile; `local` trains on this machine
set -euo pipefail
name=${1:?which sweep: quick, medium, full or comprehensive}
profile=${2:?which cluster: sandbox, local, or a profile}
here=$(cd "$(dirname "$0")" && pwd)
holdfast=${HOLDFAST:-holdfast}
out=${OUT:-out/$name}
# Relative to the working directory, as in the configuration.
data=data/simple_shapes_xor_targets

[ -d "$data" ] || "$holdfast" data generate "$data" --train "${ROWS:-500000}"
"$holdfast" plan --config "$here/$name.yaml" --profile "$profile" --output-dir "$out"
# Waits until every task has ended and requeues unfinished ones. Exit code 4: some cells failed; the report names them.
"$holdfast" submit --config "$here/$name.yaml" --profile "$profile" --output-dir "$out" --wait || [ $? -eq 4 ]
"$holdfast" aggregate "$out"
