#!/usr/bin/env bash
# The last step before a task's Python, in a shell of its own: nothing that `setup` did to its shell is left here but
# the environment, the working directory and the limits.
#
#   start.sh CODE SWEEP DEVICE CODE_DIGEST COMMAND...
unset POSIXLY_CORRECT
# As the task itself sets it: what Python compiles before that, beside the code, is code, too.
umask u=rwx,g-w,o-w
# Python starts with the signals ignored, so that one that comes during its imports cannot kill it. task.sh repeats it.
trap '' USR2 TERM
{ echo >"/proc/$PPID/fd/187"; } 2>/dev/null  # to task.sh: setup has ended well
code=$1 sweep=$2
export HOLDFAST_DEVICE=$3 HOLDFAST_CODE_DIGEST=$4
shift 4
unset HOLDFAST_PARENT HOLDFAST_CELLS HOLDFAST_SIDE_BY_SIDE HOLDFAST_TRAINER_FILE HOLDFAST_THREADS
unset PYTHONHOME PYTHONOPTIMIZE PYTHONINSPECT PYTHONDONTWRITEBYTECODE
export PYTHONPATH=$code:$code/user PYTHONUNBUFFERED=1
export OMP_NUM_THREADS=${SLURM_CPUS_PER_TASK:-1}
# A container shows a task the sweep directory (and with it the code) wherever that is; what else it needs, such as
# the data, is named in the profile.
export APPTAINER_BINDPATH=${APPTAINER_BINDPATH:+$APPTAINER_BINDPATH,}$sweep
export SINGULARITY_BINDPATH=${SINGULARITY_BINDPATH:+$SINGULARITY_BINDPATH,}$sweep
exec "$@"
