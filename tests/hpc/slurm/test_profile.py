from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.waiting import PATIENCE

from hpc.errors import ConfigError
from hpc.slurm import script
from hpc.slurm.profile import Profile
from hpc.slurm.profile_file import PROFILES, load_profile, parse_profile
from hpc.slurm.profile_keys import ProfileKeys


def parse(**values: Any) -> Profile:
    return parse_profile("lab", values, "lab.yaml")


def faults(**values: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(**values)
    return caught.value.faults


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    path = tmp_path / "lab.yaml"
    content = {"slurm_partition": "low", "timeout_min": 60, "gpus_per_node": 1, "mem_gb": 4}
    path.write_text(yaml.safe_dump(content | {"container": {"image": "a.sif"}}))
    return path


@pytest.mark.parametrize("path", sorted(PROFILES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_profile_is_valid(path: Path) -> None:
    profile = load_profile(path.stem)
    assert profile.parameters["timeout_min"] > 0
    assert profile.parameters["partition"]


def test_the_example_profile_names_every_key(tmp_path: Path) -> None:
    text = (PROFILES / "example.yaml").read_text()
    body = "\n".join(line.removeprefix("# ") for line in text.splitlines() if line.removeprefix("# ")[:1].islower())
    everything = yaml.safe_load("\n".join(line for line in body.splitlines() if ": " in line))
    assert parse(**{k: v for k, v in everything.items() if k != "device"}).workers == 1
    assert set(everything) | {"gres", "nodelist", "comment"} == set(ProfileKeys.model_fields)


# Of every key a value that may stand beside the others.
_WHOLE = {
    "partition": "low",
    "timeout_min": 60,
    "gpus_per_node": 2,
    "gpu_type": "a100",
    "cpus_per_task": 4,
    "mem_gb": 4,
    "array_parallelism": 8,
    "python": "/opt/python",
    "modules": ["cuda/12"],
    "setup": ["ulimit -n 4096"],
    "container": {"image": "/lab.sif"},
    "additional_parameters": {"exclusive": True},
    "constraint": "ib",
    "account": "lab",
    "qos": "long",
    "exclude": "n1",
    "nodelist": "n2",
    "comment": "sweep",
    "export": "NONE",
    "mail_user": "ada",
    "mail_type": "FAIL",
    "device": "cuda",
    "signal_delay_s": 60,
}
_APART = {"gres": "shm:1"}  # stands with no gpu_type


@pytest.mark.parametrize("key", sorted(_WHOLE.keys() - {"device"}))  # which follows from gpus_per_node
def test_no_key_is_taken_and_then_dropped(key: str) -> None:
    without = {name: value for name, value in _WHOLE.items() if name != key}
    if key == "gpus_per_node":
        without[key] = 1  # gpu_type stands with no less
    assert parse(**_WHOLE) != parse(**without)


def test_nor_is_a_key_that_others_stand_for_or_exclude() -> None:
    assert parse(device="cuda") != parse()
    assert parse(**_APART) != parse()


def test_a_script_can_be_written_with_every_key() -> None:
    # submitit refuses what it has no parameter for, so a key that is no parameter must reach sbatch in another way.
    assert set(_WHOLE) | set(_APART) == set(ProfileKeys.model_fields)
    job = script.Job("x", Path("/x"), "/x/log")
    together = script.text(parse(**_WHOLE), job, "exec true")
    for option in ("account=lab", "comment=sweep", "export=NONE", "mail-user=ada", "nodelist=n2", "exclusive"):
        assert f"#SBATCH --{option}\n" in together
    assert "#SBATCH --gres=shm:1\n" in script.text(parse(**_APART), job, "exec true")


def test_names_work_with_and_without_slurm_but_not_twice() -> None:
    assert parse(slurm_partition="low").parameters == parse(partition="low").parameters == {"partition": "low"}
    assert "given twice" in faults(partition="low", slurm_partition="low")[0]


def test_gpus_make_the_device_cuda_unless_it_is_said_otherwise() -> None:
    assert parse(gpus_per_node=1).device == "cuda"
    assert parse(gpus_per_node=1, device="cpu").device == "cpu"
    assert parse(gpus_per_node=0).device == parse().device == "cpu"


def test_a_gpu_type_is_asked_for_as_a_generic_resource() -> None:
    typed = parse(gpus_per_node=4, gpu_type="a100")
    assert typed.parameters == {"gres": "gpu:a100:4"}
    assert typed.gpu_type == "a100"
    assert parse(gpus_per_node=4).parameters == {"gpus_per_node": 4}
    assert "say how many GPUs" in faults(gpu_type="a100")[0]
    assert "gres and gpu_type" in faults(gpu_type="a100", gpus_per_node=1, gres="gpu:1")[0]


@pytest.mark.parametrize(
    ("values", "where"),
    [
        ({"gpus_per_node": 1, "gres": "gpu:a100:1"}, "gres"),
        ({"gpus_per_node": 1, "gres": "shm:1,gpu:1"}, "gres"),
        ({"gpus_per_node": 2, "additional_parameters": {"gres": "gpu:2"}}, "gres"),
        (
            {"gpus_per_node": 1, "gpu_type": "a100", "additional_parameters": {"tres-per-task": "gres/gpu:1"}},
            "additional_parameters.tres-per-task",
        ),
    ],
)
def test_gpus_that_are_requested_in_two_places_are_refused(values: dict[str, Any], where: str) -> None:
    (line,) = faults(**values)
    assert line.startswith(f"lab.yaml: {where}: ") or f" and {where} both request GPUs" in line
    assert "gpus_per_node, with gpu_type" in line


@pytest.mark.parametrize("key", ["gpus", "gpus_per_task", "gpus-per-task"])
def test_other_ways_to_request_gpus_name_the_one_that_is_taken(key: str) -> None:
    (line,) = faults(additional_parameters={key: 1})
    assert f"{key} is 1; remove it: write gpus_per_node" in line


@pytest.mark.parametrize(
    "values",
    [
        {"gres": "gpu:a100:1", "device": "cuda"},
        {"gres": "gpu:a100:1", "device": "cpu"},
        {"gpus_per_node": 1, "gres": "shm:1"},
        {"gpus_per_node": 1, "additional_parameters": {"gpu_bind": "closest", "mem-per-gpu": "8G"}},
    ],
)
def test_gpus_in_one_place_and_other_resources_are_accepted(values: dict[str, Any]) -> None:
    parse(**values)


def test_several_gpus_are_as_many_workers_that_share_the_cpus() -> None:
    node = parse(gpus_per_node=4, cpus_per_task=34)
    assert (node.workers, node.threads) == (4, 8)
    assert node.setup == ("export HOLDFAST_WORKERS=4  # one worker per GPU; they share the task's cells",)
    assert (parse(gpus_per_node=1, cpus_per_task=3).workers, parse(gpus_per_node=1, cpus_per_task=3).threads) == (1, 3)


def test_modules_are_loaded_before_the_setup_lines() -> None:
    assert parse(modules=["cuda/12.4", "gcc"], setup=["source lab.sh"]).setup == (
        "module load cuda/12.4",
        "module load gcc",
        "source lab.sh",
    )


def test_a_container_runs_its_own_python_with_gpus_and_directories() -> None:
    image = {"image": "/shared/my lab.sif", "bind": ["/data", "/scratch/a b"]}
    launcher = parse(gpus_per_node=1, container=image).launcher
    assert launcher == (
        "apptainer",
        "exec",
        "--nv",
        "--bind=/data",
        "--bind=/scratch/a b",
        "/shared/my lab.sif",
        "python3",
    )
    assert parse(container={"image": "a.sif"}, python="/opt/python").launcher[-2:] == ("a.sif", "/opt/python")
    assert "--nv" not in parse(container={"image": "a.sif"}).launcher
    assert parse().launcher == (sys.executable,)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("partition", "low\n#SBATCH --uid=0"),
        ("partition", "a b"),
        ("partition", "-x"),
        ("account", "$(id)"),
        ("gpu_type", "a100:8"),
        ("gpu_type", "a100 --wrap=id"),
        ("modules", ["cuda; rm -rf ~"]),
        ("modules", "cuda"),
        ("setup", "module load cuda"),
        ("setup", ["one\ntwo"]),
        ("setup", ["  #SBATCH --partition=other"]),
        ("container", {"image": "a\nb"}),
        ("container", {"image": "a.sif", "runtime": "docker"}),
        ("container", {"image": "a.sif", "bind": "/data"}),
        ("additional_parameters", {"output": "x"}),
        ("additional_parameters", {"outp": "x"}),
        ("additional_parameters", {"open_mode": "truncate"}),
        ("additional_parameters", {"reservation": "lab\n#SBATCH --uid=0"}),
        ("additional_parameters", {"exclusive": False}),
        ("additional_parameters", {"exclusive": None}),
        ("mail_type", "FAIL\n#SBATCH --uid=0"),
        ("mail_user", "ada\n#SBATCH --uid=0"),
        ("mail_user", "$(id)"),
        ("python", "python\nrm"),
        ("gpus_per_node", True),
        ("gpus_per_node", 65),
        ("timeout_min", 0),
        ("timeout_min", 1.5),
        ("mem_gb", float("nan")),
        ("signal_delay_s", 1),
        ("device", "tpu"),
    ],
)
def test_what_must_not_reach_a_script_is_refused_in_one_line_naming_the_key(key: str, value: Any) -> None:
    (fault,) = faults(**{key: value})
    assert re.match(rf"lab\.yaml: {key}(\.[a-z_-]+|\[0\])? is ", fault)
    assert "\n" not in fault


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("partition", "a b", "partition is 'a b'; may hold only letters, digits and any of _ . , : @ + -"),
        ("partition", 3, "partition is 3; must be text"),
        ("partition", None, "partition is None; give it a value, or remove the key"),
        ("slurm_qos", "-x", "qos is '-x'; may hold only letters"),
        ("exclude", "n1;n2", "exclude is 'n1;n2'; may hold only letters, digits and any of _ . , : & | * ( ) [ ] -"),
        ("timeout_min", 1.5, "timeout_min is 1.5; must be a whole number"),
        ("gpus_per_node", 65, "gpus_per_node is 65; must be 0 to 64"),
        ("mem_gb", "16", "mem_gb is '16'; must be a number"),
        ("mem_gb", float("inf"), "mem_gb is inf; must be finite"),
        ("modules", "cuda", "modules is 'cuda'; must be a list, such as ['cuda']"),
        ("modules", ["gcc", "cuda;id"], "modules[1] is 'cuda;id'; must be a module's name, such as cuda/12.4"),
        (
            "setup",
            ["a", "#SBATCH -p x"],
            "setup[1] is '#SBATCH -p x'; must not be an #SBATCH line; ",
        ),
        ("container", "a.sif", "container is 'a.sif'; must be a section with named keys"),
        ("container", {"bind": ["/a"]}, "container.image is missing; add it"),
        (
            "container",
            {"image": "a", "binds": []},
            "unknown key 'container.binds'. Did you mean 'bind'? ",
        ),
        ("container", {"image": "a", "bind": [1]}, "container.bind[0] is 1; must be text"),
        ("container", {"image": "a", "runtime": "docker"}, "runtime is 'docker'; must be 'apptainer' or 'singularity'"),
        (
            "additional_parameters",
            {"outp": 1},
            "additional_parameters.outp is 'outp'; Holdfast sets this",
        ),
        ("additional_parameters", {"x;": 1}, "additional_parameters.x; is 'x;'; this is not an sbatch option"),
        ("additional_parameters", {"exclusive": False}, "exclusive is False; must be true, a number, or text"),
        ("signal_delay_s", 90, "signal_delay_s is 90; a task needs half of its 60 s to train"),
    ],
)
def test_a_fault_names_the_value_down_to_its_place_and_says_what_may_stand_there(
    key: str, value: Any, said: str
) -> None:
    limit = {"timeout_min": 1} if key == "signal_delay_s" else {}
    (fault,) = faults(**{key: value}, **limit)
    assert fault.startswith("lab.yaml: ")
    assert said in fault


def test_numbers_reach_slurm_as_they_are_written() -> None:
    assert repr(parse(mem_gb=16, cpus_per_task=2).parameters) == "{'mem_gb': 16, 'cpus_per_task': 2}"
    assert parse(mem_gb=0.5).parameters == {"mem_gb": 0.5}


def test_an_unknown_key_is_answered_with_the_nearest_one() -> None:
    assert "Did you mean 'timeout_min'?" in faults(timeout=3)[0]


def test_every_fault_is_named_at_once() -> None:
    assert len(faults(timeout_min=0, mem_gb=-1, partitions="x")) == 3


def test_a_profile_that_is_not_there_is_answered_with_those_that_are() -> None:
    with pytest.raises(ConfigError, match=r"local, sandbox, cpu, .*whole-node"):
        load_profile("no-such-profile")


def test_one_submission_can_change_a_key_leave_one_out_and_set_one_in_a_section(lab: Path) -> None:
    profile = load_profile(str(lab), ["partition=high", "slurm_timeout_min=5", "mem_gb=", "gpu_type=a100"])
    assert profile.parameters == {"partition": "high", "timeout_min": 5, "gres": "gpu:a100:1"}
    assert profile.name == "lab"
    mailed = load_profile(str(lab), ["additional_parameters.mail-type=FAIL", "additional_parameters.exclusive=true"])
    assert mailed.additional == {"mail-type": "FAIL", "exclusive": True}
    assert load_profile(str(lab), ['setup=["a=1 b", c]']).setup == ("a=1 b", "c")


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("partition", "write key=value"),
        ("=low", "write key=value"),
        ("partitoin=low", "Did you mean 'partition'"),
        ("timeout_min=soon", "lab.yaml with --set: timeout_min is 'soon'; must be a whole number"),
        ("setup=[", "is not valid YAML"),
        ("timeout_min.x=1", "unknown key"),
        ("container.runtime=docker", "container.runtime is 'docker'; must be 'apptainer' or 'singularity'"),
        ("output=x", "output is 'x'; remove it: logs lie in the sweep directory"),
    ],
)
def test_a_wrong_override_is_one_line_naming_it(lab: Path, override: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_profile(str(lab), [override])
    assert len(caught.value.faults) == 1
    assert said in caught.value.faults[0]


def test_the_local_profile_has_nothing_to_set() -> None:
    assert load_profile("local").is_local
    with pytest.raises(ConfigError, match="has no settings"):
        load_profile("local", ["partition=x"])


def test_a_task_in_a_container_sees_the_sweep_directory_and_the_directories_of_the_profile(tmp_path: Path) -> None:
    """task.sh under a stand-in for apptainer that only writes down what it was given."""
    runtime = tmp_path / "apptainer"
    # It outlives the signal that says it has begun: bash loses the status of a child that ends in that very moment.
    runtime.write_text('#!/bin/sh\nenv > "$0.env"\necho "$@" > "$0.words"\nsleep 1\n')
    runtime.chmod(0o755)
    launcher = parse(container={"image": "lab.sif", "bind": ["/data"]}).launcher
    task = PROFILES.parent / "task.sh"
    sweep = str(tmp_path / "out")
    subprocess.run(
        ["bash", str(task), str(PROFILES.parents[1]), sweep, "1", "0", "cpu", "abc", *launcher],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "SLURM_JOB_ID": "7", "APPTAINER_BINDPATH": "/mine"},
        check=True,
        timeout=PATIENCE,
    )
    environment = (tmp_path / "apptainer.env").read_text().splitlines()
    assert f"APPTAINER_BINDPATH=/mine,{sweep}" in environment
    assert f"PYTHONPATH={PROFILES.parents[1]}:{PROFILES.parents[1]}/user" in environment
    words = (tmp_path / "apptainer.words").read_text().split()
    assert words == ["exec", "--bind=/data", "lab.sif", "python3", "-P", "-m", "hpc.node.task", sweep, "1", "0", "0"]


@pytest.mark.parametrize(
    "values",
    [
        {"gres": "gpu:1"},
        {"additional_parameters": {"gres": "gpu:a100:1"}},
        {"gpus_per_node": 0, "gres": "gpu:2"},
    ],
)
def test_gpus_that_only_slurm_would_hear_of_are_refused(values: dict[str, Any]) -> None:
    (fault,) = faults(**values)
    assert "requests GPUs, but without gpus_per_node tasks would train on the CPU; give gpus_per_node" in fault


@pytest.mark.parametrize("name", ["sandbx", "sandbox.yaml", "profiles/sandbox.yml"])
def test_a_profile_of_nearly_that_name_is_asked_about(name: str) -> None:
    with pytest.raises(ConfigError, match=f"--profile is '{name}'; did you mean sandbox[?] valid: local, sandbox"):
        load_profile(name)
