#!/usr/bin/env bash
# The Slurm tests, with the Slurm that is here. `make test-slurm RELEASE=trixie` runs this in a chroot.
set -euo pipefail
echo "Slurm tests with $(slurmctld -V) on $(. /etc/os-release && echo "$PRETTY_NAME"), $(.venv/bin/python -V)"
# Alone: to read the others, which are not to run, takes as long as a test.
.venv/bin/pytest -p no:cacheprovider tests/slurm "$@"
