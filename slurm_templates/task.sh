#!/usr/bin/env bash
# One array task on a node: start Python, pass Slurm's signals on, and ask for a requeue if the task stopped early.
# The lines in $holdfast_setup are run first, in a shell of their own.
#
#   task.sh CODE SWEEP SUBMISSION ARRAY DEVICE CODE_DIGEST LAUNCHER...
#
# CODE        directory of the code snapshot           SUBMISSION, ARRAY  which task list
# SWEEP       the sweep directory                      LAUNCHER...        Python, or a container and its Python
#
# Slurm sends USR2 some time before the time limit and, where the site configures it, when a preemption begins; TERM
# comes at the end of every preemption, at the time limit and with scancel. The task saves its state and exits with 85.
# Only a task that got USR2, and no TERM until it had saved, is requeued from here:
#
# - A cancelled task must not come back, also if scancel arrives while it is saving after USR2. slurmctld marks the job
#   as cancelled before it sends TERM, and `requeue incomplete` is refused for a job that is no longer running. So a
#   cancellation that comes after the last look at TERM wins, too. (A plain requeue revived such jobs: 7 of 7 within
#   2.2 s of USR2, with Slurm 22.05. A scancel after the requeue wins by itself.)
# - A preempted task is requeued by slurmctld as soon as TERM is due; until then (GraceTime) it is running, and the
#   requeue from here is accepted.
# - A task that is still saving when its time limit passes ends with TERM and stays down. The next submission resumes it.
#
# The requeue may also be refused because slurmctld was faster, and its own TERM may end scontrol: its exit status alone
# means nothing.
# The script around this one may have been edited, and a shell inherits functions: nothing of that may reach this one.
\unset -f builtin set unset unalias trap kill wait eval exec export printf test [ read sleep scontrol shift local return
\set -u +e +f +x +o pipefail +o posix
\trap - EXIT ERR DEBUG RETURN
\unalias -a
IFS=$' \t\n'
code=$1 sweep=$2 submission=$3 array=$4 device=$5 digest=$6
shift 6

id=$SLURM_JOB_ID
index=0
if [ -n "${SLURM_ARRAY_TASK_ID:-}" ]; then
    # The job id alone would name the whole array in its last task.
    id=${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}
    index=$SLURM_ARRAY_TASK_ID
fi

unset HOLDFAST_STOP
child=
terminated=
repeating=
# Where start.sh reports that setup has ended well. Not by a signal: of two that come at once, bash loses one in `wait`.
{ exec 187<> <(:); } 2>/dev/null
began() { read -r -t 0 -u 187; }
# Where there is no such descriptor (ulimit -n, no /proc), nobody can tell, and setup is taken to have ended well.
{ : >"/proc/$$/fd/187"; } 2>/dev/null || began() { :; }
trap '' USR1  # for trainers: `scancel --full -s USR1` reaches this shell, too
first=${first:-}  # the script around this one may have got a signal already
[ -n "$first" ] && export HOLDFAST_STOP=$first
forward() {
    first=${first:-$1}
    [ "$1" = TERM ] && terminated=yes
    [ -n "$child" ] && began && kill -s "$1" "$child" 2>/dev/null
    # During setup and Python's imports a signal is ignored: it is repeated until the task has ended. Not at once, where
    # the child may not have got so far as to ignore it.
    [ -n "$repeating" ] || { repeat "$1" & repeating=$!; }
}
repeat() {
    while sleep 1; do
        kill -s "$1" "$child" 2>/dev/null || return
    done
}

# What setup does to its shell (set -e, traps, functions, cd, exec) ends with that shell: a subshell, which becomes the
# task. The command is written out before, since setup may change any variable; in POSIX mode, which an assignment
# turns on, `exec` is the builtin even where a function has its name.
command=$(printf '%q ' /bin/bash -p "$code/slurm_templates/start.sh" "$code" "$sweep" "$device" "$digest" \
    "$@" -P -m hpc.node.task "$sweep" "$submission" "$array" "$index")
# Until there is a child to pass them on to, they are kept in mind; the child ignores them.
trap 'first=${first:-USR2}' USR2
trap 'first=${first:-TERM}; terminated=yes' TERM
(
    trap '' USR2 TERM
    trap - USR1
    set +u
    eval "${holdfast_setup:-}
POSIXLY_CORRECT=y
\\exec $command"
) 187>&- &  # setup may close or use whatever it likes, and leave processes behind
child=$!
trap 'forward USR2' USR2
trap 'forward TERM' TERM
[ -n "$first" ] && [ -z "${HOLDFAST_STOP:-}" ] && forward "$first"

# A signal ends `wait` before the child has ended: wait again until it is really gone, and then for its status.
while :; do
    wait "$child"
    status=$?
    kill -0 "$child" 2>/dev/null || break
done
if [ "$status" -ge 128 ] || [ "$status" -lt 0 ]; then
    wait "$child" 2>/dev/null
    status=$?
    # bash loses the status of a child that ends in the same moment as a signal comes (-1): it was asked to stop, and is
    # run again, which finds done what is done.
    [ -n "$first" ] && { [ "$status" -lt 0 ] || [ "$status" -eq 127 ]; } && status=85
fi
# A child that a busy machine had not let begin within that second is ended by the signal: it was stopped, too.
unborn=
if [ "$first" = USR2 ] && [ "$status" -eq $((128 + $(kill -l USR2))) ] && ! began; then
    status=85 unborn=yes
fi
[ -n "$repeating" ] && kill "$repeating" 2>/dev/null
child=  # a signal that comes later is for no process that has its number by then

log=$sweep/submissions/$(printf '%06d' "$submission")/logs/${array}_$index.log
# Python's log of a task that began is in the sweep directory; an empty file here would only cost an inode. To be
# called when nothing more is to be said: what goes to a file that is removed is lost.
drop_empty_log() { [ -f "$log" ] && [ ! -s "$log" ] && rm -f "$log"; }

# Whether the kernel has killed a process of this job for its memory, by the job's own cgroup: v2 (events), or v1. Slurm
# remembers that for minutes only where a site has no accounting.
out_of_memory() {
    local kinds group
    while IFS=: read -r _ kinds group; do
        case $kinds$group in
            /*/job_"$SLURM_JOB_ID"/*) grep -q '^oom_kill [1-9]' "/sys/fs/cgroup$group/memory.events" && return ;;
            memory/*/job_"$SLURM_JOB_ID"/*)
                grep -q '^oom_kill [1-9]' "/sys/fs/cgroup/memory$group/memory.oom_control" && return
                ;;
        esac
    done </proc/self/cgroup
    return 1
}
[ "$status" -ne 0 ] && [ "$status" -ne 85 ] && out_of_memory 2>/dev/null \
    && echo "task.sh: a process was killed since the job was out of memory" >&2

if ! began && [ ! -f "$code/slurm_templates/start.sh" ]; then
    echo "task.sh: $code is gone: was the sweep moved or cleaned up? Submit again" >&2
    status=4
elif ! began && [ -z "$terminated$unborn" ]; then
    echo "task.sh: setup ended with exit status $status before the task began; see setup in the profile" >&2
    [ "$status" -eq 0 ] || [ "$status" -eq 1 ] || [ "$status" -eq 85 ] && status=2
fi

# Neither done (0), failed in the trainer (1), stopped (85) nor ended by a signal: Python could not start, the files could
# not be reached, the GPU could not be used or the node lacks what the trainer needs. Two of these on one node, and the
# next submission leaves the node out.
case $status in
    0 | 1 | 85) ;;
    *) [ "$status" -lt 128 ] && echo "$status" >"${log%.log}.start.${SLURMD_NODENAME:-$(hostname)}.failed" ;;
esac

if [ "$status" -eq 85 ] && [ "$first" = USR2 ] && [ -z "$terminated" ]; then
    # slurmctld answers nothing where the job is cancelled already, and in most cases ends this shell where it is not.
    refused=$(scontrol requeue incomplete "$id" 2>&1) && { drop_empty_log; sleep 60; }
    case $refused in
        '') ;;
        *'pending execution'*) ;;  # slurmctld has requeued it already
        *)
            echo "task.sh: stopped early, all state is saved; the requeue was refused: $refused" >&2
            # For `holdfast status`: nobody reads the logs of tasks that only wait to be submitted again.
            echo "$refused" >"${log%.log}.requeue.${SLURMD_NODENAME:-$(hostname)}.refused"
            ;;
    esac
fi
drop_empty_log
exit "$status"
