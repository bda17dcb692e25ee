"""Profiles in the words of submitit, of sbatch and of a shell's environment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from hpc.errors import ConfigError
from hpc.slurm import script, variables
from hpc.slurm.profile import Profile
from hpc.slurm.profile_file import load_profile, parse_profile


def parse(**values: Any) -> Profile:
    return parse_profile("lab", values, "lab.yaml")


def faults(**values: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(**values)
    return caught.value.faults


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("90", 90), ("90:00", 90), ("1:30", 2), ("4:00:00", 240), ("12:00:01", 721), ("1-12", 2160), ("2-00:30", 2910)],
)
def test_a_time_limit_may_be_written_as_slurm_writes_it(tmp_path: Path, text: str, minutes: int) -> None:
    path = tmp_path / "lab.yaml"
    path.write_text(f"timeout_min: {text}\n")
    assert load_profile(str(path)).parameters == {"timeout_min": minutes}
    assert load_profile(str(path), [f"time={text}"]).parameters == {"timeout_min": minutes}
    path.write_text(f"additional_parameters: {{time: {text}}}\n")
    assert load_profile(str(path)).parameters == {"timeout_min": minutes}


def test_memory_and_seconds_too() -> None:
    assert parse(mem_gb="16G").parameters == parse(mem="16384M").parameters == {"mem_gb": 16}
    assert parse(mem=2048).parameters == {"mem_gb": 2}
    assert parse(signal_delay_s="2:00").signal_delay_s == 120


def test_one_setting_replaces_the_key_under_whatever_name(tmp_path: Path) -> None:
    path = tmp_path / "lab.yaml"
    path.write_text(yaml.safe_dump({"mem_gb": 4, "additional_parameters": {"time": 5, "part": "low", "tmp": 1}}))
    profile = load_profile(str(path), ["mem=16G", "timeout_min=1-00", "partition=high"])
    assert profile.parameters == {"mem_gb": 16, "timeout_min": 1440, "partition": "high"}
    assert profile.additional == {"tmp": 1}


def test_what_holdfast_asks_for_by_itself_is_taken() -> None:
    assert parse(nodes=1, tasks_per_node=1, slurm_ntasks_per_node=1, partition="low").parameters == {"partition": "low"}
    assert parse(additional_parameters={"nodes": 1, "N": 1, "ntasks": 1}) == parse(additional_parameters={})


def test_an_option_of_sbatchs_becomes_the_key_that_it_has_here() -> None:
    given = {"accou": "lab", "q": "long", "cpus-per-task": 4, "gpus-per-node": 2, "constraint": "a100", "x": "n1"}
    assert parse(additional_parameters=given).parameters == {
        "account": "lab",
        "qos": "long",
        "cpus_per_task": 4,
        "gpus_per_node": 2,
        "constraint": "a100",
        "exclude": "n1",
    }
    assert parse(num_gpus=2).device == "cuda"


def test_an_option_may_be_copied_with_its_dashes() -> None:
    given = {"--mem": "4G", "-p": "low", "--mail-type": "END", "additional_parameters": {"--reservation": "x"}}
    profile = parse(**given)
    assert profile.parameters == {"mem_gb": 4, "partition": "low"}
    assert profile.additional == {"mail-type": "END", "reservation": "x"}


def test_options_without_a_key_go_to_sbatch_under_their_full_name() -> None:
    profile = parse(mail_type="END", slurm_mem_per_cpu="4G", exclusive=True, additional_parameters={"reserv": "x"})
    assert profile.additional == {"mail-type": "END", "mem-per-cpu": "4G", "exclusive": True, "reservation": "x"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"nodes": 2}, "nodes is 2; a task runs on one node"),
        ({"tasks_per_node": 4}, "tasks_per_node is 4; a task runs on one node"),
        ({"job_name": "x"}, "job_name is 'x'; remove it: the configuration's sweep.name"),
        ({"slurm_array": "0-3"}, "slurm_array is '0-3'; remove it: array_parallelism limits"),
        ({"gpus": 1}, "gpus is 1; remove it: write gpus_per_node"),
        ({"additional_parameters": {"gpus": 1}}, "additional_parameters.gpus is 1; remove it: write gpus_per_node"),
        ({"max_num_timeout": 3}, "a task is requeued until its cells are done"),
        ({"use_srun": False}, "tasks start without srun"),
        ({"time": 5, "timeout_min": 5}, "timeout_min is given twice"),
        ({"partition": "low", "additional_parameters": {"p": "low"}}, "partition is given twice"),
        ({"additional_parameters": {"cpus": 4}}, "write the one that is meant: cpus-per-gpu, cpus-per-task"),
        ({"additional_parameters": {"reservaton": "x"}}, "write the one that is meant: reservation"),
        ({"additional_parameters": {"wait": True}}, "Holdfast sets this option itself"),
        ({"clusters": "x"}, "clusters is 'x'; remove it: all commands must ask the same cluster"),
        ({"slurm_clusters": "x"}, "for another one, export SLURM_CLUSTERS=NAME before each of them"),
        ({"-M": "x"}, "-M is 'x'; remove it: all commands must ask the same cluster"),
        ({"cluster_constraint": "x"}, "all commands must ask the same cluster"),
        ({"cluster": "x"}, "unknown key 'cluster'"),
        *(
            ({"additional_parameters": {name: "x"}}, "all commands must ask the same cluster")
            for name in ("clusters", "--clusters", "-M", "M", "cluster", "clu", "cl", "cluster-constraint", "cluster_c")
        ),
        ({"timeout_min": "soon"}, "must be a whole number of minutes, or a time such as 4:00:00"),
        ({"mem_gb": "much"}, "must be a number of GB, or a size such as 16G"),
        ({"gpus_per_node": "a100:2"}, "must be a whole number; gpu_type says which type"),
        ({"python": "$NO_SUCH/python"}, "python is '$NO_SUCH/python'; $NO_SUCH is not set here"),
        ({"account": 3}, "account is 3; must be text; put it in quotes"),
        ({"exclude": ["n1", "n2"]}, "exclude is ['n1', 'n2']; must be text, such as 'n1,n2'"),
        ({"_target_": "hydra_plugins.x.SlurmLauncher"}, "remove it: no launcher of Hydra's is used here"),
        ({"submitit_folder": "logs"}, "remove it: logs lie in the sweep directory"),
        ({"--wrap": "python x.py"}, "--wrap is 'python x.py'; remove it: Holdfast writes the script of a job"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_does(given: dict[str, Any], said: str) -> None:
    (line,) = faults(**given)
    assert said in line


def test_numbers_that_are_names_and_words_that_could_be_either(tmp_path: Path) -> None:
    path = tmp_path / "lab.yaml"
    path.write_text("account: 012345\nqos: no\n")
    assert load_profile(str(path)).parameters == {"account": "012345", "qos": "no"}
    path.write_text("additional_parameters: {exclusive: yes}\n")
    with pytest.raises(ConfigError, match='this could be true, or the text "yes"'):
        load_profile(str(path))
    path.write_text("timeout_min: 010\n")
    with pytest.raises(ConfigError, match=r"this could be 10 or 8 \(octal\)"):
        load_profile(str(path))


@pytest.mark.parametrize("setting", ["clusters=x", "M=x", "slurm_clusters=x", "additional_parameters.clus=x"])
def test_no_setting_of_the_command_line_names_another_cluster(tmp_path: Path, setting: str) -> None:
    path = tmp_path / "lab.yaml"
    path.write_text("partition: low\n")
    with pytest.raises(ConfigError, match="all commands must ask the same cluster"):
        load_profile(str(path), [setting])


def test_without_a_time_limit_slurm_gives_the_partitions() -> None:
    job = script.Job("x", Path("/x"), "/x/log")
    assert "--time" not in script.text(parse(partition="low"), job, "exec true")
    assert "#SBATCH --time=5\n" in script.text(parse(timeout_min=5), job, "exec true")


def test_settings_of_the_environment_that_are_dropped_are_named_with_their_place() -> None:
    shell = {
        "SBATCH_ACCOUNT": "lab",
        "SLURM_ACCOUNT": "lab",
        "SBATCH_TIMELIMIT": "1:00:00",
        "SBATCH_RESERVATION": "class",
        "SBATCH_ARRAY_INX": "0-3",
        "SBATCH_CLUSTERS": "genius",
        "SLURM_CLUSTERS": "wice",
        "SBATCH_PARTITION": "high",
        "SBATCH_DEBUG": "1",
        "PATH": "/bin",
    }
    account, array, clusters, reservation, limit = variables.notes(parse(partition="low"), shell)
    assert account.startswith("SBATCH_ACCOUNT and SLURM_ACCOUNT (lab) are not used; write account: lab in the profile")
    assert "--set account=lab" in account
    assert array == "SBATCH_ARRAY_INX (0-3) is not used; Holdfast sets this option itself"
    assert clusters == (
        "SBATCH_CLUSTERS (genius) is not used; all commands must ask the same cluster; "
        "for another one, export SLURM_CLUSTERS=genius before each of them"
    )
    assert "write additional_parameters: {reservation: class} in the profile" in reservation
    assert "--set timeout_min=1:00:00" in limit


def test_what_a_job_says_of_itself_is_no_setting() -> None:
    assert variables.notes(parse(), {"SLURM_JOB_ID": "7", "SLURM_ACCOUNT": "lab", "SLURM_MEM_PER_CPU": "4000"}) == []


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("NONE", "NONE"),
        ("ALL", "ALL"),
        (["HF_HOME", "LAB"], "HF_HOME,LAB"),
        ("HF_HOME,LAB=/a.b:c", "HF_HOME,LAB=/a.b:c"),
        (["ALL", "A=1"], "ALL,A=1"),
    ],
)
def test_what_tasks_get_of_the_shells_variables_can_be_chosen(given: Any, written: str) -> None:
    job = script.Job(name="j", directory=Path("/tmp"), output="/tmp/o")
    for profile in (parse(export=given), parse(slurm_export=given), parse(additional_parameters={"export": given})):
        assert f"#SBATCH --export={written}\n" in script.text(profile, job, "exec true")


@pytest.mark.parametrize("given", ["NONE,A", ["NONE", "A"], "A;B", "1A", "A=$(id)", ["A\nB"], [], "", 7, {"A": 1}])
def test_other_words_about_variables_are_refused(given: Any) -> None:
    (fault,) = faults(export=given)
    assert fault.startswith("lab.yaml: export is ")
    assert "\n" not in fault


def test_secrets_of_the_shell_that_tasks_get_are_named_and_only_those() -> None:
    shell = {
        "WANDB_API_KEY": "x",
        "HF_TOKEN": "x",
        "db_password": "x",
        "TOKENIZERS_PARALLELISM": "false",
        "HOME": "/",
        "NO_TOKEN": "",
    }
    assert variables.secrets(parse(), shell) == ["HF_TOKEN", "WANDB_API_KEY", "db_password"]
    assert variables.secrets(parse(export="ALL,A=1"), shell) == ["HF_TOKEN", "WANDB_API_KEY", "db_password"]
    assert variables.secrets(parse(export="NONE"), shell) == []
    assert variables.secrets(parse(export=["HF_TOKEN"]), shell) == []
