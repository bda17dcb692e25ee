"""A design that is no full product, from its configuration to its report: run, grown, redone and compared."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from helpers.command_line import Holdfast

SCRIPT = """
import json, random, sys
width, mode, seed, out = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]
value = 0.3 + 0.05 * width + 0.1 * (mode == "ours") + 0.01 * random.Random(f"{width} {mode} {seed}").random()
with open(f"{out}/log.csv", "w") as log:
    log.write("epoch,score\\n" + "".join(f"{e},{value * e / 3}\\n" for e in (1, 2, 3)))
json.dump({"score": value}, open(f"{out}/metrics.json", "w"))
"""


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    (tmp_path / "train.py").write_text(SCRIPT)
    return tmp_path


def configure(lab: Path, **sweep: object) -> None:
    trainer = {
        "command": "python train.py {width} {mode} {seed} {dir}",
        "metrics": "metrics.json",
        "progress": "log.csv",
        "measures": {"score": {"kind": "bounded", "better": "higher"}},
    }
    section = {"name": "design", "axes": {"width": [1, 2, 4], "mode": ["base", "ours"]}, "runs_per_condition": 3}
    tests = [{"metric": "score", "slope": "width"}, {"metric": "score", "compare": {"mode": ["ours", "base"]}}]
    content = {"trainer": trainer, "sweep": section | sweep, "analysis": {"tests": tests}}
    (lab / "sweep.yaml").write_text(yaml.safe_dump(content, sort_keys=False))


def results(lab: Path) -> dict[str, str]:
    found = sorted((lab / "out" / "individual_results").glob("*/results.json"))
    return {path.parent.name: json.loads(path.read_text())["outcome_digest"] for path in found}


def test_a_design_runs_grows_and_is_redone(holdfast: Holdfast, lab: Path) -> None:
    part = {"exclude": [{"width": 4, "mode": "ours"}], "include": [{"width": 9, "mode": "base"}]}
    configure(lab, **part)
    planned = holdfast("plan", "--config", "sweep.yaml")
    assert "18 cells: 0 done" in planned.stdout
    assert "note: 6 of 8 combinations of levels are conditions, 1 of them by sweep.include" in planned.stderr
    assert "score, slope on width, is tested at mode base alone: 1 other combination lacks a level" in planned.stderr
    assert "mode, is tested at width 1; width 2 alone: 2 other combinations lack a level of mode" in planned.stderr
    holdfast("run", "--config", "sweep.yaml")
    first = results(lab)
    assert {name.rpartition("_run_")[0] for name in first} == {
        *(f"width_{width}_mode_base" for width in (1, 2, 4, 9)),
        *(f"width_{width}_mode_ours" for width in (1, 2)),
    }
    assert json.loads(holdfast("status", "out", "--json").stdout)["states"] == {"COMPLETED": 18}
    assert "score_vs_width.png" in {path.name for path in (lab / "out" / "plots").iterdir()}
    claims = json.loads((lab / "out" / "statistics.json").read_text())["claims"]["family"]
    assert [claim["status"] for claim in claims] == ["shown", "shown"]

    configure(lab, include=part["include"])  # the corner is filled in
    grown = holdfast("run", "--config", "sweep.yaml")
    assert "gets 1 more of the combinations of its levels: claims that use these conditions are" in grown.stderr
    assert "18 done, 3 to run" in grown.stderr
    assert results(lab).items() > first.items()
    after = json.loads((lab / "out" / "statistics.json").read_text())["claims"]["family"]
    assert [claim["per_seed"] for claim in after] == [claim["per_seed"] for claim in claims]

    holdfast("redo", "out", "--axis", "width=9", "-y")
    assert len(results(lab)) == 18
    holdfast("redo", "out", "--axis", "width=9", "--axis", "mode=ours", "-y")
    assert len(results(lab)) == 18, "no cell of the design matches"
    holdfast("run", "out")
    assert results(lab).items() > first.items()


def test_factors_that_move_together_run_and_grow_by_longer_lists(holdfast: Holdfast, lab: Path) -> None:
    together = {"axes": {"width": [1, 2, 2], "mode": ["base", "ours", "base"]}, "zip": [["width", "mode"]]}
    configure(lab, **together)
    planned = holdfast("plan", "--config", "sweep.yaml").stderr
    assert "note: width and mode move together: 3 combinations" in planned
    assert "score, slope on width, is tested at mode base alone: 1 other combination lacks a level of width" in planned
    holdfast("run", "--config", "sweep.yaml")
    first = results(lab)
    assert {name.rpartition("_run_")[0] for name in first} == {
        "width_1_mode_base",
        "width_2_mode_base",
        "width_2_mode_ours",
    }
    claims = json.loads((lab / "out" / "statistics.json").read_text())["claims"]["family"]
    assert [claim["status"] for claim in claims] == ["shown", "shown"], "both have a place where all levels are"
    refused = holdfast("run", "out", "--axis", "width=3", expect=2)
    assert "--axis width: width moves together with mode; add combinations in the configuration" in refused.stderr

    configure(lab, zip=together["zip"], axes={"width": [1, 2, 2, 4], "mode": ["base", "ours", "base", "ours"]})
    grown = holdfast("run", "--config", "sweep.yaml", "--runs-per-condition", "4")
    assert "9 done, 7 to run" in grown.stderr
    assert results(lab).items() > first.items()
    assert {name for name in results(lab) if name.startswith("width_4")} == {
        f"width_4_mode_ours_run_{i}" for i in range(4)
    }


def test_drawn_conditions_run_grow_and_are_compared_in_both_modes(holdfast: Holdfast, lab: Path) -> None:
    """The draw counts as the other circumstances of a comparison; a factor that is drawn with another has no slope."""
    script = SCRIPT.replace("0.05 * width", "0.005 * width + 0 * float(sys.argv[5])")
    (lab / "train.py").write_text(script)
    ranges = {"width": {"min": 1, "max": 64}, "rate": {"min": "1e-4", "max": 0.1, "log": True}}
    configure(lab, axes={"mode": ["base", "ours"]}, draw={"n": 14, "seed": 3, "ranges": ranges}, runs_per_condition=2)
    text = (lab / "sweep.yaml").read_text().replace("{seed} {dir}", "{seed} {dir} {rate}")
    (lab / "sweep.yaml").write_text(text)
    holdfast("run", "--config", "sweep.yaml", "sweep.draw.n=13")
    first = results(lab)
    assert len(first) == 13 * 2 * 2
    slope, compared = json.loads((lab / "out" / "statistics.json").read_text())["claims"]["family"]
    assert (slope["status"], compared["status"]) == ("untestable", "shown")
    assert slope["reason"].count(",") < 15, "of many levels, a few are named"
    grown = holdfast("run", "--config", "sweep.yaml")
    assert "52 done, 4 to run" in grown.stderr
    assert results(lab).items() > first.items()
    assert "56 cells: 56 done" in holdfast("plan", "out").stdout, "what was drawn is on record"


def test_two_designs_are_compared_where_both_have_conditions(holdfast: Holdfast, lab: Path) -> None:
    configure(lab, exclude=[{"width": 4, "mode": "ours"}])
    holdfast("run", "--config", "sweep.yaml", "--output-dir", "a")
    configure(lab, exclude=[{"width": 1, "mode": "base"}])
    holdfast("run", "--config", "sweep.yaml", "--output-dir", "b")
    told = holdfast("compare", "a", "b").stdout
    assert "in 4 conditions that both have, paired by 3 common seeds" in told
    page = (lab / "comparison.html").read_text()
    assert "width 1, mode base" in page, "what only one of them has is named"
    assert "width 4, mode ours" in page
    designs = (f"5 of 6 combinations, alone here: {alone}" for alone in ("width 1, mode base", "width 4, mode ours"))
    assert f"conditions: {' | '.join(designs)}\n" in told, "as many of them do not make two designs one"


def test_a_wrong_design_is_refused_and_nothing_is_written(holdfast: Holdfast, lab: Path) -> None:
    configure(lab, exclude=[{"width": 5}])
    before = sorted(lab.iterdir())
    refused = holdfast("run", "--config", "sweep.yaml", expect=2)
    assert refused.stderr.count("\n") == 1
    assert (
        "sweep.yaml: sweep.exclude[0].width is 5; the grid lacks this level; did you mean 4? valid: 1, 2, 4"
        in refused.stderr
    )
    assert sorted(lab.iterdir()) == before
