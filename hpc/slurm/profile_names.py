"""Names that people bring to a profile, submitit's and sbatch's, and what each is called here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hpc.errors import nearest
from hpc.faults import Faults
from hpc.slurm.profile_keys import CLUSTER_OPTIONS, ONE_CLUSTER, ProfileKeys, is_reserved

# submitit's prefix for Slurm's own parameters; a key means the same with and without it.
PREFIX = "slurm_"
SECTION = "additional_parameters"
# sbatch's long options, those of later versions than the sandbox's included.
_OPTIONS = """
    account acctg-freq array batch bb bbf begin chdir cluster-constraint clusters comment constraint container
    container-id contiguous core-spec cores-per-socket cpu-freq cpus-per-gpu cpus-per-task deadline delay-boot
    dependency distribution error exclude exclusive export export-file extra extra-node-info get-user-env gid gpu-bind
    gpu-freq gpus gpus-per-node gpus-per-socket gpus-per-task gres gres-flags help hint hold ignore-pbs input job-name
    kill-on-invalid-dep licenses mail-type mail-user mcs-label mem mem-bind mem-per-cpu mem-per-gpu mincpus network nice
    no-kill no-requeue nodefile nodelist nodes ntasks ntasks-per-core ntasks-per-gpu ntasks-per-node ntasks-per-socket
    oom-kill-step open-mode output overcommit oversubscribe parsable partition power prefer priority profile propagate
    qos quiet reboot requeue reservation resv-ports segment signal sockets-per-node spread-job switches test-only
    thread-spec threads-per-core time time-min tmp tres-bind tres-per-task uid umask usage use-min-nodes verbose version
    wait wait-all-nodes wckey wrap
""".split()  # noqa: SIM905 - a list would take a page
_SHORT = {
    "A": "account",
    "C": "constraint",
    "D": "chdir",
    "G": "gpus",
    "J": "job-name",
    "L": "licenses",
    "M": "clusters",
    "N": "nodes",
    "a": "array",
    "b": "begin",
    "c": "cpus-per-task",
    "d": "dependency",
    "e": "error",
    "n": "ntasks",
    "o": "output",
    "p": "partition",
    "q": "qos",
    "t": "time",
    "w": "nodelist",
    "x": "exclude",
}
# Names of what a key says in other units or words.
_SAME = {"time": "timeout_min", "mem": "mem_gb", "num_gpus": "gpus_per_node"}
# A task runs on one node, once: Holdfast asks for that by itself.
_ONE = ("nodes", "ntasks", "ntasks_per_node", "tasks_per_node")
_INSTEAD = {
    "array": "array_parallelism limits how many tasks run at once",
    "signal": "signal_delay_s says how long before the time limit a task is asked to save",
    "job_name": "the configuration's sweep.name is part of it",
    "name": "the configuration's sweep.name is part of a job's name",
    "chdir": "a task runs in the sweep directory, which --output-dir names",
    "submitit_folder": "logs lie in the sweep directory, which --output-dir names",
    "_target_": "no launcher of Hydra's is used here; its other keys are taken as they are",
    "wrap": "Holdfast writes the script of a job",
    "folder": "logs lie in the sweep directory, which --output-dir names",
    "output": "logs lie in the sweep directory; `holdfast show DIR CELL --log` shows them",
    "error": "logs lie in the sweep directory; `holdfast show DIR CELL --log` shows them",
    "stderr_to_stdout": "a task has one log for both",
    "max_num_timeout": "a task is requeued until its cells are done",
    "no_requeue": "a task is requeued until its cells are done",
    "requeue": "it is always requested",
    "use_srun": "tasks start without srun",
    "srun_args": "tasks start without srun",
    "teardown": "what a task leaves behind is the trainer's to remove",
    **dict.fromkeys(
        ("gpus", "gpus_per_task", "gpus_per_socket", "ntasks_per_gpu"),
        "write gpus_per_node, the number of GPUs per task",
    ),
    **{option.replace("-", "_"): ONE_CLUSTER for option in CLUSTER_OPTIONS},
    "dependency": "`--wait` and `--then-aggregate` order jobs",
}
# Keys that no option of sbatch's is another word for.
_OF_HOLDFAST = {SECTION, "container", "device", "modules", "python", "setup"}


def in_our_names(raw: Mapping[str, Any], faults: Faults) -> dict[str, Any]:
    """A profile by the names of ProfileKeys. What is not in its place, or is given twice, is added to the faults.

    sbatch's options are taken at the top level and among the additional parameters, also abbreviated as sbatch takes
    them. One that has a key of its own becomes that key, so that everything of Holdfast that asks for the key finds it.
    """
    found: dict[str, Any] = {}
    additional: dict[str, Any] = {}
    for written, value in raw.items():
        key = written.lstrip("-").removeprefix(PREFIX)  # as copied from a line of sbatch's
        if key == SECTION and isinstance(value, Mapping):
            for option, entry in value.items():
                _take(f"{SECTION}.{option}", str(option).lstrip("-"), entry, found, additional, faults)
        elif key not in ProfileKeys.model_fields and isinstance(key, str):
            _take(written, key, value, found, additional, faults)
        else:
            _put(key, written, value, found, faults)
    if additional or (SECTION in raw and SECTION not in found):
        found[SECTION] = additional
    return found


def _take(
    written: str, name: str, value: Any, found: dict[str, Any], additional: dict[str, Any], faults: Faults
) -> None:
    """An option of sbatch's or a parameter of submitit's, to the place where it belongs."""
    inside = written.startswith(f"{SECTION}.")
    option, key = _option_of(name), key_of(name)
    if key in _ONE and value is not True:
        if value != 1:
            faults.value(written, value, "a task runs on one node, with one process per GPU; remove it")
    elif key in _INSTEAD and not (inside and is_reserved(name)):
        faults.value(written, value, f"remove it: {_INSTEAD[key]}")
    elif key in ProfileKeys.model_fields and key not in _OF_HOLDFAST:
        megabytes = option == "mem" and isinstance(value, int) and not isinstance(value, bool)
        _put(key, written, f"{value}M" if megabytes else value, found, faults)
    elif inside:
        _check_known(written, name, value, faults)
        additional[name if is_reserved(name) else option] = value  # one that is refused keeps the name it was given
    elif option in _OPTIONS and not is_reserved(option):
        additional[option] = value
    else:
        found[name] = value  # to be refused as unknown, with the nearest key


def _check_known(written: str, name: str, value: Any, faults: Faults) -> None:
    """Add the fault of a name that is nearly an option, or short for several. Plugins of a site may add others."""
    option = name.replace("_", "-")
    longer = [known for known in _OPTIONS if known.startswith(option)]
    near = nearest(option, _OPTIONS, likeness=0.85)
    if option in _OPTIONS or len(longer) == 1 or is_reserved(name):
        return
    if longer or near:
        meant = ", ".join(longer) or near
        faults.value(written, value, f"sbatch has no option --{option}; write the one that is meant: {meant}")


def _put(key: str, written: str, value: Any, found: dict[str, Any], faults: Faults) -> None:
    if key in found:
        faults.value(written, value, f"{key} is given twice, under two of its names; remove one")
    elif value is None and key in ProfileKeys.model_fields:
        faults.value(written, value, "give it a value, or remove the key")
    else:
        found[key] = value


def is_profile_name(written: str) -> bool:
    """Whether a name is, in full, a key of a profile, or an option of sbatch's or submitit's."""
    name = written.removeprefix(PREFIX)
    return name in ProfileKeys.model_fields or name in _SAME or name.replace("_", "-") in _OPTIONS


def key_of(written: str) -> str:
    """The key of a profile that a name stands for; with underscores also where it stands for none."""
    name = _option_of(written.removeprefix(PREFIX)).replace("-", "_")
    return _SAME.get(name, name)


def _option_of(name: str) -> str:
    """The option of sbatch's that a name stands for, written with dashes; the name itself if it stands for none."""
    name = name.lstrip("-")
    option = _SHORT.get(name, name.replace("_", "-"))
    longer = [known for known in _OPTIONS if known.startswith(option)]
    return longer[0] if option not in _OPTIONS and len(longer) == 1 and len(option) > 1 else option
