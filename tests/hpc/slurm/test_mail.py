"""Mail through Slurm: what a profile may say, and which jobs of a sweep say it to sbatch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hpc.errors import ConfigError
from hpc.slurm import script
from hpc.slurm.profile import Profile
from hpc.slurm.profile_file import load_profile, parse_profile


def parse(**values: Any) -> Profile:
    return parse_profile("lab", values, "lab.yaml")


def directives(profile: Profile) -> list[str]:
    text = script.text(profile, script.Job("x", Path("/"), "log", size=2), "exec true")
    return [line for line in text.splitlines() if "mail" in line]


def test_a_user_and_when_to_mail_reach_sbatch_under_all_names() -> None:
    wanted = ["#SBATCH --mail-type=END,FAIL", "#SBATCH --mail-user=ada@example.org"]
    assert directives(parse(mail_user="ada@example.org", mail_type=["end", "Fail"])) == wanted
    assert directives(parse(**{"--mail-user": "ada@example.org", "slurm_mail_type": "END,FAIL"})) == wanted
    assert directives(parse(additional_parameters={"mail-user": "ada@example.org", "mail-type": "END, FAIL"})) == wanted


def test_a_user_given_alone_is_mailed_at_the_end_where_sbatch_would_never_mail() -> None:
    assert "#SBATCH --mail-type=END,FAIL" in directives(parse(mail_user="ada"))
    assert directives(parse(mail_user="ada", mail_type="NONE"))[0] == "#SBATCH --mail-type=NONE"
    assert directives(parse()) == []
    assert directives(parse(mail_user="ada").without_mail()) == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"mail_type": "EDN"}, "mail_type is 'EDN'; did you mean END? valid: NONE, BEGIN, END, FAIL, REQUEUE"),
        ({"mail_type": ["END", "ARRAY_TASK"]}, "mail_type is ['END', 'ARRAY_TASK']; did you mean ARRAY_TASKS?"),
        ({"mail_type": "END,"}, "mail_type is 'END,'; valid: NONE"),
        ({"mail_type": []}, "mail_type is []; valid: NONE"),
        ({"mail_type": "ALL,NONE"}, "NONE stands alone"),
        ({"mail_type": "ARRAY_TASKS"}, "say when each task is to mail, as in FAIL,ARRAY_TASKS"),
        ({"mail_type": 3}, "mail_type is 3; must be text"),
        ({"mail_type": [{"END": 1}]}, "mail_type is [{'END': 1}]; valid: NONE"),
        ({"mail_type": "FAIL\n#SBATCH --uid=0"}, "valid: NONE"),
        ({"mail_user": "-x"}, "mail_user is '-x'; must be a user or an address, such as ada@example.org"),
        ({"mail_user": "ada@"}, "must be a user or an address"),
        ({"mail_user": "ada,"}, "must be a user or an address"),
        ({"mail_user": "ada lovelace"}, "must be a user or an address"),
        ({"mail_user": "ad\u00e4@example.org"}, "must be a user or an address"),
        ({"mail_user": "a" * 257}, "must be a user or an address"),
        ({"mail_user": "ada\n"}, "must be a user or an address"),
        ({"mail_user": None}, "mail_user is None; give it a value, or remove the key"),
        ({"mail_usr": "ada"}, "Did you mean 'mail_user'?"),
        ({"mail_user": "ada", "additional_parameters": {"mail-user": "bob"}}, "mail_user is given twice"),
    ],
)
def test_what_cannot_be_mailed_is_refused_in_one_line(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(**given)
    (line,) = caught.value.faults
    assert line.startswith("lab.yaml: ")
    assert line.isprintable()
    assert said in line


def test_one_submission_may_mail_somebody_else_or_nobody(tmp_path: Path) -> None:
    path = tmp_path / "lab.yaml"
    path.write_text("mail_user: ada\nadditional_parameters: {mail-type: FAIL}\n")
    assert load_profile(str(path)).mail == {"mail-user": "ada", "mail-type": "FAIL"}
    assert load_profile(str(path), ["mail_type=END", "mail_user=bob"]).mail == {"mail-user": "bob", "mail-type": "END"}
    assert load_profile(str(path), ["mail_type=", "mail_user="]).mail == {}
