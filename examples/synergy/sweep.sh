#!/usr/bin/env bash
# One sweep from start to report: data (if there is none), plan, submission, waiting, aggregation. Run it again at any
# time, after whatever went wrong: it goes on with what is missing.
#
#   examples/synergy/sweep.sh quick sandbox            # or a profile of yours; `local` trains here
set -euo pipefail
name=${1:?which sweep: quick, medium, full or comprehensive}
profile=${2:?which cluster: sandbox, local, or a profile}
here=$(cd "$(dirname "$0")" && pwd)
holdfast=${HOLDFAST:-holdfast}
out=${OUT:-out/$name}
# Relative to the directory this is started in, as in the configuration.
data=data/simple_shapes_xor_targets

[ -d "$data" ] || "$holdfast" data generate "$data" --train "${ROWS:-500000}"
"$holdfast" plan --config "$here/$name.yaml" --profile "$profile" --output-dir "$out"
# Waits until all has ended, queueing again what comes back unfinished. 4: some cells failed; the report names them.
"$holdfast" submit --config "$here/$name.yaml" --profile "$profile" --output-dir "$out" --wait || [ $? -eq 4 ]
"$holdfast" aggregate "$out"
