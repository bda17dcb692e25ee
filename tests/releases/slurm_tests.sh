#!/usr/bin/env bash
# The Slurm tests, with the Slurm that is here. `make test-slurm RELEASE=trixie` runs this in a chroot.
set -euo pipefail
echo "Slurm tests with $(slurmctld -V) on $(. /etc/os-release && echo "$PRETTY_NAME"), $(.venv/bin/python -V)"
# Those of the report want a browser as soon as they are read.
.venv/bin/pytest -m slurm -p no:cacheprovider --ignore tests/aggregate "$@"
