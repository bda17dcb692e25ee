"""The keys of a cluster profile and what each may hold: an allow-list, because all of it reaches a job script.

Names and values that could carry another directive or command are refused here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from hpc.errors import meant
from hpc.faults import Faults, Section
from hpc.paths import expanded
from hpc.slurm.profile import Profile
from hpc.units import slurm_gigabytes, slurm_seconds
from hpc.yaml_files import Unquoted

# Options that Holdfast sets itself: requeueing, and which task trains which cells, rest on them.
_RESERVED = (
    *("array", "chdir", "dependency", "error", "help", "job-name", "nodes", "no-requeue", "ntasks", "ntasks-per-node"),
    *("open-mode", "output", "parsable", "requeue", "signal", "test-only", "usage", "version", "wait", "wrap"),
)
# Options that queue tasks on another cluster than the one whose queue is looked at.
CLUSTER_OPTIONS = ("cluster-constraint", "clusters")
ONE_CLUSTER = "all commands must ask the same cluster; for another one, export SLURM_CLUSTERS=NAME before each of them"
_OPTION = re.compile(r"[a-z][a-z-]{1,40}")
_OPTION_VALUE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.,:=/@%+&|*()\[\] -]{0,255}")
# sbatch's words for mail_type. ARRAY_TASKS is none for itself: with it, what the others say holds for each task.
_EACH_TASK = "ARRAY_TASKS"
_MAILS = (
    *("NONE", "BEGIN", "END", "FAIL", "REQUEUE", "ALL", "INVALID_DEPEND", "STAGE_OUT"),
    *("TIME_LIMIT", "TIME_LIMIT_90", "TIME_LIMIT_80", "TIME_LIMIT_50", _EACH_TASK),
)
# GPUs in a list of resources such as `gpu:a100:2,shm:1` or `gres/gpu:1`, and sbatch's options that request them.
_GPU = re.compile(r"(^|[,/:])gpu\b")
_GPU_OPTION = re.compile(r"tres.*=(.*[,/:])?gpu\b")
_WHOLE = "must be a whole number"
_UNBROKEN = r"[^\x00-\x1f\x7f]{1,1000}"


def _only(pattern: str, rule: str) -> AfterValidator:
    """Text that matches a pattern as a whole; otherwise the rule is the fault's last words."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(rule)
        return text

    return AfterValidator(check)


def _between(low: int, high: int) -> AfterValidator:
    def check(number: int) -> int:
        if not low <= number <= high:
            raise ValueError(f"must be {low} to {high}")
        return number

    return AfterValidator(check)


def _not_a_directive(line: str) -> str:
    # sbatch reads directives up to the first command of a script, and this line may come before it.
    if line.lstrip().startswith("#SBATCH"):
        raise ValueError("must not be an #SBATCH line; use additional_parameters")
    return line


def is_reserved(option: str) -> bool:
    """Whether an option of sbatch's is Holdfast's to set, or to leave out. sbatch takes abbreviations."""
    return _is_short_for(option, (*_RESERVED, *CLUSTER_OPTIONS))


def _is_short_for(option: str, options: Sequence[str]) -> bool:
    return any(known.startswith(option.replace("_", "-")) for known in options)


def _option(option: str) -> str:
    if not _OPTION.fullmatch(option.replace("_", "-")):
        raise ValueError("this is not an sbatch option")
    if _is_short_for(option, CLUSTER_OPTIONS):
        raise ValueError(ONE_CLUSTER)
    if is_reserved(option):
        raise ValueError("Holdfast sets this option itself; remove it")
    return option


def _setting(value: Any) -> Any:
    """true for an option without a value. false is refused: sbatch would read it as text."""
    if isinstance(value, Unquoted) and value.isalpha():
        raise ValueError(value.choice)
    plain = isinstance(value, str | int | float) and value is not False
    if value is not True and not (plain and _OPTION_VALUE.fullmatch(str(value))):
        raise ValueError("must be true, a number, or text that can stand in a script")
    return value


def _read(number: Callable[[str], float | None], rule: str) -> BeforeValidator:
    """A number, or text in one of Slurm's notations; other text has the rule as the fault's last words."""

    def check(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        found = None if isinstance(value, Unquoted) else number(value)
        if found is None:
            raise ValueError(value.choice if isinstance(value, Unquoted) else rule)
        return found

    return BeforeValidator(check)


def _minutes(text: str) -> int | None:
    """A minute begun counts as one, as it does with sbatch."""
    seconds = slurm_seconds(text)
    return None if seconds is None else -(-seconds // 60)


def _no_type(text: str) -> None:
    """sbatch takes the type with the number (a100:2); here it has a key."""


def _expanded(text: str) -> str:
    return str(expanded(text))


def _listed(value: Any) -> Any:
    """A list as sbatch writes it."""
    return ",".join(map(str, value)) if isinstance(value, list) else value


def _mails(text: str) -> str:
    """sbatch's words for when it mails, in upper case. sbatch ignores what stands beside NONE."""
    words = [word.strip().upper() for word in text.split(",")]
    for word in words:
        if word not in _MAILS:
            raise ValueError(f"{meant(word, _MAILS)}valid: {', '.join(_MAILS)}")
    if "NONE" in words and set(words) != {"NONE"}:
        raise ValueError("NONE stands alone; remove it, or the others")
    if set(words) == {_EACH_TASK}:
        raise ValueError(f"say when each task is to mail, as in FAIL,{_EACH_TASK}")
    return ",".join(dict.fromkeys(words))


Word = Annotated[
    str, _only(r"[A-Za-z0-9_][A-Za-z0-9_.,:@+-]{0,127}", "may hold only letters, digits and any of _ . , : @ + -")
]
_EXPRESSION_RULE = "may hold only letters, digits and any of _ . , : & | * ( ) [ ] -"
Expression = Annotated[str, _only(r"[A-Za-z0-9_][A-Za-z0-9_.,:&|*()\[\]-]{0,255}", _EXPRESSION_RULE)]
# Longer, for nodes on which tasks fail are added one by one.
Nodes = Annotated[str, _only(r"[A-Za-z0-9_][A-Za-z0-9_.,:&|*()\[\]-]{0,8191}", _EXPRESSION_RULE)]
GpuType = Annotated[
    str, _only(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", "must be a single GPU type as sinfo names it, such as a100")
]
Module = Annotated[str, _only(r"[A-Za-z0-9][A-Za-z0-9_./+-]{0,127}", "must be a module's name, such as cuda/12.4")]
Path = Annotated[str, _only(_UNBROKEN, "must be a path without line breaks"), AfterValidator(_expanded)]
Line = Annotated[str, _only(_UNBROKEN, "must be a shell line without line breaks"), AfterValidator(_not_a_directive)]
# ALL or NONE, or variables, which sbatch takes along with ALL or in its place.
Variables = Annotated[
    str,
    BeforeValidator(_listed),
    _only(
        r"NONE|(?!.*\bNONE\b)[A-Za-z_]\w*(=[\w./:@%+-]*)?(,[A-Za-z_]\w*(=[\w./:@%+-]*)?)*",
        "must be ALL, NONE, or a list of variables, such as [HF_HOME, LAB_TOKEN]",
    ),
]
MailUser = Annotated[
    str,
    BeforeValidator(_listed),
    _only(
        r"(?a)(?=.{1,256}$)(\w[\w.+-]*(@\w[\w.-]*)?(,(?!$)|$))+",
        "must be a user or an address, such as ada@example.org; several with commas",
    ),
]
MailType = Annotated[str, BeforeValidator(_listed), AfterValidator(_mails)]
Option = Annotated[str, AfterValidator(_option)]
Setting = Annotated[Any, AfterValidator(_setting)]
Count = Annotated[int, Field(ge=1)]
Minutes = Annotated[Count, _read(_minutes, f"{_WHOLE} of minutes, or a time such as 4:00:00")]
Gigabytes = Annotated[float, _read(slurm_gigabytes, "must be a number of GB, or a size such as 16G"), Field(gt=0)]


class Container(Section):
    image: Path
    runtime: Literal["apptainer", "singularity"] = "apptainer"
    bind: list[Path] = Field(default_factory=list)


class ProfileKeys(Section):
    """Every key, in the order of the reference page. The defaults are those of keys that are left out."""

    partition: Word | None = None
    timeout_min: Minutes | None = None
    # The bound catches slips: each GPU gets a worker process, and no node has more.
    gpus_per_node: Annotated[int, _read(_no_type, f"{_WHOLE}; gpu_type says which type"), _between(0, 64)] = 0
    gpu_type: GpuType | None = None
    cpus_per_task: Count | None = None
    mem_gb: Gigabytes | None = None
    array_parallelism: Count | None = None
    python: Path | None = None
    modules: list[Module] = Field(default_factory=list)
    setup: list[Line] = Field(default_factory=list)
    container: Container | None = None
    additional_parameters: dict[Option, Setting] = Field(default_factory=dict)
    constraint: Expression | None = None
    account: Word | None = None
    qos: Word | None = None
    exclude: Nodes | None = None
    nodelist: Nodes | None = None
    gres: Expression | None = None
    comment: Word | None = None
    export: Variables | None = None
    mail_user: MailUser | None = None
    mail_type: MailType | None = None
    device: Literal["cpu", "cuda"] | None = None
    # Below 5 s no checkpoint is safe; above an hour it is more likely minutes by mistake.
    signal_delay_s: Annotated[
        int, _read(slurm_seconds, f"{_WHOLE} of seconds, or a time such as 1:30"), _between(5, 3600)
    ] = Profile.signal_delay_s


def check_together(keys: ProfileKeys, faults: Faults) -> None:
    """Add what is wrong with values that are each right by themselves."""
    if keys.gpu_type and not keys.gpus_per_node:
        faults.add("gpu_type", "gpu_type is given, but gpus_per_node is not; say how many GPUs a task gets")
    if keys.gpu_type and keys.gres:
        faults.add("gres", "gres and gpu_type both name resources; write all of them in gres, without gpu_type")
    elif len(named := _naming_gpus(keys)) > 1:
        fix = "name them in one place: gpus_per_node, with gpu_type if the type matters"
        faults.add(named[1], f"{' and '.join(named)} both request GPUs, which newer Slurm refuses; {fix}")
    elif named and not keys.gpus_per_node and keys.device is None:
        fix = "give gpus_per_node (and gpu_type) instead, or say device: cuda if each task has one GPU"
        faults.add(named[0], f"{named[0]} requests GPUs, but without gpus_per_node tasks would train on the CPU; {fix}")
    limit_s, asked_s = 60 * (keys.timeout_min or 0), keys.signal_delay_s
    # The default is not held against a short limit: `check cluster` judges that.
    if limit_s and 2 * asked_s > limit_s and "signal_delay_s" in keys.model_fields_set:
        faults.value("signal_delay_s", asked_s, f"a task needs half of its {limit_s} s to train; choose a smaller one")


def _naming_gpus(keys: ProfileKeys) -> list[str]:
    """The keys that request GPUs."""
    found = ["gpus_per_node"] if keys.gpus_per_node else []
    found += ["gres"] if _GPU.search(keys.gres or "") else []
    options = {key: f"{key.replace('_', '-')}={value}" for key, value in keys.additional_parameters.items()}
    return found + [f"additional_parameters.{key}" for key, words in options.items() if _GPU_OPTION.match(words)]
