"""The report in a real Chromium with no network: nothing is asked for, nothing fails, charts answer."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

import numpy as np
import pytest
from helpers.browser import CHROMIUM, run_in_browser
from helpers.here import lacking
from helpers.sweeps import ACCURACY, LOSS, Directory, make_sweep

from aggregate.pipeline import aggregate
from hpc.sweep.definition import DeclaredTrainer

if CHROMIUM is None:
    lacking("chromium is not installed")
pytestmark = pytest.mark.slow

HOVER = """
  const svg = document.querySelector("#chart-means svg"), box = svg.getBoundingClientRect();
  const dot = svg.querySelector("circle[r='4']");
  svg.dispatchEvent(new PointerEvent("pointermove", {
    clientX: box.left + dot.getAttribute("cx") / 720 * box.width,
    clientY: box.top + dot.getAttribute("cy") / 380 * box.height }));
"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = Directory(tmp_path_factory.mktemp("sweep"), make_sweep({"dim": [4, 8, 16], "scale": [0.5, 1.0]}, 4))
    for cell in directory.sweep.grid:
        random = np.random.default_rng([cell.seed, int(cell.factors["dim"])])
        loss = 0.5 + 0.01 * cell.run_id + 0.1 * float(cell.factors["scale"])
        directory.finish(cell, {ACCURACY: 0.5 + 0.02 * float(cell.factors["dim"]) + 0.01 * cell.run_id, LOSS: loss})
        directory.history(cell, {"val_loss": (loss + random.random(8)).tolist()})
    return aggregate(directory.store.paths.root).report


# Chromium makes no window narrower than 500 pixels: the page is, and its rules for narrow screens hold there already.
LAID_OUT = """() => {
  const page = document.documentElement, scrolls = e => e && (/auto|scroll/.test(getComputedStyle(e).overflowX)
    || scrolls(e.parentElement));
  page.style.width = "WIDTHpx";
  const beyond = [...document.querySelectorAll("body *")].filter(
    e => e.getBoundingClientRect().right > WIDTH + 0.5 && !scrolls(e.parentElement));
  return { wide: beyond.map(e => e.outerHTML.slice(0, 80)),
           charts: document.querySelectorAll(".chart svg path").length };
}"""


@pytest.mark.parametrize("width", [400, 1280])
def test_the_report_asks_nothing_of_a_network_and_logs_no_error(report: Path, tmp_path: Path, width: int) -> None:
    got, faults, asked = run_in_browser(report, tmp_path, LAID_OUT.replace("WIDTH", str(width)), width + 20)
    assert faults == []
    assert asked == []
    assert got["charts"] > 6
    assert got["wide"] == []  # tables and charts scroll by themselves, the page does not


def test_on_a_narrow_screen_a_figure_of_a_claim_is_drawn_for_it_and_shown_whole(report: Path, tmp_path: Path) -> None:
    script = """() => {
      document.documentElement.style.width = "400px";
      return [...document.querySelectorAll("figure img")].map(image => ({ right: image.getBoundingClientRect().right,
        narrow: image.currentSrc === image.parentElement.querySelector("source")?.srcset,
        frame: image.closest(".frame").scrollWidth - image.closest(".frame").clientWidth })); }"""
    figures, _, _ = run_in_browser(report, tmp_path, script, 400)
    assert len(figures) > 0
    for figure in figures:
        assert figure["right"] <= 400
        assert figure["narrow"]
        assert figure["frame"] == 0
    wide, _, _ = run_in_browser(report, tmp_path, script, 1280)
    assert not any(figure["narrow"] for figure in wide)


def test_on_paper_every_folded_part_is_open_and_every_chart_has_its_key(report: Path, tmp_path: Path) -> None:
    script = """() => {
      const closed = () => document.querySelectorAll("details:not([open])").length, found = [closed()];
      dispatchEvent(new Event("beforeprint")); found.push(closed());
      dispatchEvent(new Event("afterprint")); found.push(closed());
      const heads = [...document.querySelectorAll(".sortable th")];
      return [...found, heads.filter(head => !head.dataset.label || head.dataset.label !== head.textContent).length];
    }"""
    (before, printed, after, unnamed), faults, _ = run_in_browser(report, tmp_path, script)
    assert faults == []
    assert before == after > 0
    assert printed == 0
    style = report.read_text().partition("@media print")[2].partition("</style>")[0]
    assert ".controls" not in style  # its ticks say which colour is which
    # Chromium repeats the head of a table overleaf without the buttons in it: words stand in for them.
    assert unnamed == 0
    assert "th[data-label]::before { content: attr(data-label); }" in style


ASK = """() => { const image = new Image(); image.src = "http://example.org/x.png"; document.body.append(image); }"""


def test_the_page_itself_refuses_to_ask_for_anything(report: Path, tmp_path: Path) -> None:
    _, faults, asked = run_in_browser(report, tmp_path, ASK)
    assert asked == []
    assert any("Content Security Policy" in fault for fault in faults)


def test_these_tests_would_notice_a_request(tmp_path: Path) -> None:
    page = tmp_path / "bare.html"
    page.write_text("<html><head><style></style></head><body></body></html>")
    assert run_in_browser(page, tmp_path, ASK)[2] == ["http://example.org/x.png"]


def test_pointing_at_a_mean_shows_its_condition_interval_and_seeds(report: Path, tmp_path: Path) -> None:
    script = f"""() => {{ {HOVER} const tip = document.querySelector("#chart-means .tip");
        return {{ shown: tip.style.display, lines: [...tip.children].map(line => line.textContent),
                 faint: svg.querySelectorAll(".faint").length }}; }}"""
    got, faults, _ = run_in_browser(report, tmp_path, script)
    assert faults == []
    assert got["shown"] == "block"
    assert got["lines"][0] == "workspace dimension 4, synergy loss scale 0.5"
    assert got["lines"][1].startswith("mean 0.595 [")
    assert got["lines"][2:] == ["seed 42: 0.58", "seed 43: 0.59", "seed 44: 0.6", "seed 45: 0.61"]
    assert got["faint"] > 0


def test_pointing_at_a_curve_shows_the_number_of_its_seed_at_that_epoch(report: Path, tmp_path: Path) -> None:
    script = """() => {
      const svg = document.querySelector("#chart-training svg"), box = svg.getBoundingClientRect();
      const curve = svg.querySelector("path[stroke-width='0.6']").getAttribute("d");
      const [x, y] = curve.slice(1).split("L")[2].split(" ").map(Number);
      svg.dispatchEvent(new PointerEvent("pointermove", {
        clientX: box.left + x / 720 * box.width, clientY: box.top + y / 380 * box.height }));
      return [...document.querySelectorAll("#chart-training .tip > *")].map(line => line.textContent); }"""
    got, faults, _ = run_in_browser(report, tmp_path, script)
    assert faults == []
    assert got[0] == "workspace dimension 4, synergy loss scale 0.5"
    head, _, number = got[1].rpartition(" ")
    assert head == "seed 42, epoch 3:"
    written = 0.5 + 0.1 * 0.5 + np.random.default_rng([42, 4]).random(8)[2]
    assert number == f"{written:.4g}"


def test_unticking_a_level_hides_its_line_and_another_metric_can_be_chosen(report: Path, tmp_path: Path) -> None:
    script = """() => {
      const host = document.querySelector("#chart-means"), count = () => host.querySelectorAll("circle[r='4']").length;
      const before = count();
      host.querySelector("input[data-factor='1'][data-level='0']").click();
      const after = count();
      const [metric, axis] = host.querySelectorAll("select");
      metric.value = 1; metric.dispatchEvent(new Event("change"));
      axis.value = 1; axis.dispatchEvent(new Event("change"));
      const labels = [...host.querySelectorAll("svg text:not(.tick)")].map(t => t.textContent);
      return { before, after, labels, legends: [...host.querySelectorAll("legend")].map(l => l.textContent) };
    }"""
    got, faults, _ = run_in_browser(report, tmp_path, script)
    assert faults == []
    assert (got["before"], got["after"]) == (6, 3)
    assert got["labels"] == ["best validation loss (lower is better)", "synergy loss scale"]
    assert got["legends"] == ["workspace dimension"]


@pytest.fixture(scope="module")
def wide_report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Curves over two decades; two seeds a condition, whose intervals are many times as wide as their distance."""
    directory = Directory(tmp_path_factory.mktemp("wide"), make_sweep({"dim": [4, 8]}, 2, primary=[LOSS]))
    directory.fill(lambda cell: {LOSS: 1.0 + 0.1 * cell.run_id})
    for cell in directory.sweep.grid:
        directory.history(cell, {"val_loss": [100.0, 1.0]})
    return aggregate(directory.store.paths.root, figures=False).report


def test_a_logarithmic_chart_with_every_level_unticked_is_empty_and_answers(wide_report: Path, tmp_path: Path) -> None:
    script = """() => {
      const host = document.querySelector("#chart-training"), lines = () => host.querySelectorAll("path").length;
      const before = lines();
      for (const box of host.querySelectorAll("input")) if (box.checked) box.click();
      return { before, after: lines() };
    }"""
    got, faults, _ = run_in_browser(wide_report, tmp_path, script)
    assert faults == []
    assert got["before"] > 0
    assert got["after"] == 0


def test_a_whisker_that_the_frame_cuts_off_is_said_to_be_cut(report: Path, wide_report: Path, tmp_path: Path) -> None:
    script = """() => document.querySelector("#chart-means p.soft").textContent"""
    assert "cut off" not in run_in_browser(report, tmp_path, script)[0]
    assert "95 % t of logarithms interval, cut off at the frame" in run_in_browser(wide_report, tmp_path, script)[0]


def test_a_table_sorts_by_any_column_both_ways(report: Path, tmp_path: Path) -> None:
    script = """() => {
      const tables = [...document.querySelectorAll("table.sortable")];
      const table = tables.find(t => t.tHead.textContent.includes("completed"));
      const column = () => [...table.tBodies[0].rows].map(row => row.cells[0].textContent);
      const head = table.tHead.rows[0].cells[0], seen = [column()];
      for (let i = 0; i < 2; i++) { head.querySelector("button").click(); seen.push(column()); }
      return { seen, sort: head.getAttribute("aria-sort") };
    }"""
    got, faults, _ = run_in_browser(report, tmp_path, script)
    assert faults == []
    assert got["seen"][0] == got["seen"][1] == ["4", "4", "8", "8", "16", "16"]
    assert got["seen"][2] == ["16", "16", "8", "8", "4", "4"]
    assert got["sort"] == "descending"


def test_names_that_look_like_html_stay_text_in_the_charts(tmp_path: Path) -> None:
    label = "</script><img src=x onerror=alert(1)>"
    trainer = DeclaredTrainer(
        "t.py:t", "", {"optimizer": {"kind": "word", "label": label}}, {"m": {"kind": "real", "better": "lower"}}
    )
    directory = Directory(tmp_path / "sweep", make_sweep({"optimizer": ["adam", "sgd"]}, 3, trainer, ["m"]))
    directory.fill(lambda cell: {"m": float(cell.seed)})
    script = """() => ({ images: document.querySelectorAll("img[src=x]").length,
        label: [...document.querySelectorAll("#chart-means svg text:not(.tick)")].pop().textContent })"""
    got, faults, asked = run_in_browser(aggregate(tmp_path / "sweep", figures=False).report, tmp_path, script)
    assert (got, faults, asked) == ({"images": 0, "label": label}, [], [])


def test_the_policy_lets_the_reports_own_script_run_and_nothing_else(report: Path) -> None:
    text = report.read_text()
    (own,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(own.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'\"" in text
