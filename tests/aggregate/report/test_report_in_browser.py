"""The report in a real Chromium with no network: nothing is asked for, nothing fails, charts answer."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from helpers.browser import CHROMIUM, DARK, LATER, run_in_browser
from helpers.here import lacking
from helpers.sweeps import ACCURACY, LOSS, Directory, make_sweep
from matplotlib.colors import to_hex
from PIL import Image

from aggregate.figures.canvas import colours
from aggregate.pipeline import aggregate
from aggregate.report import page
from hpc.sweep.definition import DeclaredTrainer
from hpc.sweep.grid import Rules

if CHROMIUM is None:
    lacking("chromium is not installed")
pytestmark = pytest.mark.slow

HOVER = """
  const svg = document.querySelector("#chart-means svg"), dot = svg.querySelector(".mean > *");
  const box = dot.getBoundingClientRect(), pointerType = "POINTER";
  svg.dispatchEvent(new PointerEvent("pointermove", { pointerType,
    clientX: box.left + box.width / 2, clientY: box.top + box.height / 2 }));
"""
TIP = """const lines = svg => [...svg.querySelectorAll("[aria-label=tip] tspan")].map(
    line => line.textContent.replace("\u200b", ""));"""


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
           charts: document.querySelectorAll(".chart svg path[data-line]").length };
}"""


@pytest.mark.parametrize("width", [400, 1280])
def test_the_report_asks_nothing_of_a_network_and_logs_no_error(report: Path, tmp_path: Path, width: int) -> None:
    got, faults, asked = run_in_browser(report, tmp_path, LAID_OUT.replace("WIDTH", str(width)), width + 20, [LATER])
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
    _, faults, asked = run_in_browser(report, tmp_path, ASK, options=[LATER])
    assert asked == []
    assert any("Content Security Policy" in fault for fault in faults)


def test_these_tests_would_notice_a_request(tmp_path: Path) -> None:
    page = tmp_path / "bare.html"
    page.write_text("<html><head><style></style></head><body></body></html>")
    assert run_in_browser(page, tmp_path, ASK, options=[LATER])[2] == ["http://example.org/x.png"]


def test_these_tests_would_wait_for_a_promise(report: Path, tmp_path: Path) -> None:
    script = "() => new Promise(done => setTimeout(() => done('kept'), 2000))"
    assert run_in_browser(report, tmp_path, script, promised=True) == ("kept", [], [])


@pytest.mark.parametrize("pointer", ["mouse", "touch"])
def test_pointing_at_a_mean_shows_its_condition_interval_and_seeds(report: Path, tmp_path: Path, pointer: str) -> None:
    script = f"""() => {{ {HOVER.replace("POINTER", pointer)} {TIP}
        return {{ lines: lines(svg), faint: svg.querySelectorAll(".faint").length,
                 said: document.querySelector("#chart-means [role=status]").textContent }}; }}"""
    got, faults, _ = run_in_browser(report, tmp_path, script)
    assert faults == []
    assert got["lines"][0] == "workspace dimension 4, synergy loss scale 0.5"
    assert got["lines"][1].startswith("mean 0.595 [")
    assert got["lines"][2:] == ["seed 42: 0.58", "seed 43: 0.59", "seed 44: 0.6", "seed 45: 0.61"]
    assert got["faint"] > 0
    assert got["said"] == "; ".join(got["lines"])  # for those who hear the page


def test_pointing_at_a_curve_shows_the_number_of_its_seed_at_that_epoch(report: Path, tmp_path: Path) -> None:
    script = f"""() => {{ {TIP}
      const svg = document.querySelector("#chart-training svg"), box = svg.getBoundingClientRect();
      const curve = svg.querySelector(".seed path").getAttribute("d");
      const [x, y] = curve.slice(1).split("L")[2].split(",").map(Number);
      svg.dispatchEvent(new PointerEvent("pointermove", {{ clientX: box.left + x, clientY: box.top + y }}));
      return lines(svg); }}"""
    got, faults, _ = run_in_browser(report, tmp_path, script)
    assert faults == []
    assert got[0] == "workspace dimension 4, synergy loss scale 0.5"
    head, _, number = got[1].rpartition(" ")
    assert head == "seed 42, epoch 3:"
    written = 0.5 + 0.1 * 0.5 + np.random.default_rng([42, 4]).random(8)[2]
    assert number == f"{written:.4g}"


KEYS = """const press = key => document.querySelector("#chart-means .frame").dispatchEvent(
      new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
    const host = document.querySelector("#chart-means"), said = () => host.querySelector("[role=status]").textContent;
    const ends = () => { const svg = host.querySelector("svg"); return ["x", "y"].map(k => svg.scale(k).domain); };"""


def test_the_keyboard_alone_reads_every_mean_and_zooms(report: Path, tmp_path: Path) -> None:
    script = f"""() => {{ {KEYS}
      const read = new Set(), lines = [], whole = ends();
      for (let i = 0; i < 40; i++) {{ press("ArrowRight"); read.add(said().split("; ").slice(0, 2).join("; ")); }}
      press("Escape"); const left = said();
      press("ArrowRight"); lines.push(said().split("; ")[0]); press("ArrowDown"); lines.push(said().split("; ")[0]);
      press("+"); const near = ends(); press("-"); press("0");
      return {{ means: [...read].filter(text => text.includes("mean")).length, left, lines, whole, near, after: ends(),
               reachable: host.querySelector(".frame").tabIndex }}; }}"""
    got, faults, _ = run_in_browser(report, tmp_path, script)
    assert faults == []
    assert got["means"] == 6
    assert got["left"] == ""
    assert got["lines"][0] == "workspace dimension 4, synergy loss scale 0.5"
    assert got["lines"][1] == "workspace dimension 4, synergy loss scale 1"
    for (low, high), (near_low, near_high) in zip(got["whole"], got["near"], strict=True):
        assert low <= near_low < near_high <= high
        assert near_high - near_low == pytest.approx((high - low) / 2, rel=0.51)
    assert got["after"] == got["whole"]
    assert got["reachable"] == 0


def test_dragging_zooms_into_what_was_dragged_over_and_a_double_click_shows_all(report: Path, tmp_path: Path) -> None:
    script = f"""() => {{ {KEYS}
      const overlay = () => host.querySelector(".overlay"), whole = ends(), box = overlay().getBoundingClientRect();
      const at = (x, y) => ({{ clientX: box.left + x * box.width, clientY: box.top + y * box.height, bubbles: true,
                              view: window }});
      overlay().dispatchEvent(new MouseEvent("mousedown", at(0.5, 0.25)));
      window.dispatchEvent(new MouseEvent("mousemove", at(0.75, 0.75)));
      window.dispatchEvent(new MouseEvent("mouseup", at(0.75, 0.75)));
      const near = ends();
      overlay().dispatchEvent(new MouseEvent("dblclick", {{ bubbles: true }}));
      const after = ends();
      for (const text of ["Zoom in", "Zoom out"])
        [...host.querySelectorAll(".tools button")].find(b => b.textContent === text).click();
      return {{ whole, near, after, clicked: ends() }}; }}"""
    got, faults, _ = run_in_browser(report, tmp_path, script)
    assert faults == []
    for k, (start, end) in enumerate([(0.5, 0.75), (0.25, 0.75)]):
        low, high = got["whole"][k]
        assert got["near"][k] == pytest.approx(
            [low + start * (high - low), low + end * (high - low)], rel=0.02, abs=0.01
        )
        assert got["after"][k] == got["whole"][k]
        assert got["clicked"][k] == pytest.approx(got["whole"][k])


SAVED = """() => new Promise(done => {
    URL.createObjectURL = blob => { const reader = new FileReader();
      reader.onload = () => done([blob.type, reader.result, document.saved]); reader.readAsDataURL(blob); return "#"; };
    HTMLAnchorElement.prototype.click = function () { document.saved = this.download; };
    [...document.querySelectorAll("#chart-means .tools button")].find(b => b.textContent === "Save as KIND").click();
  })"""


def test_a_chart_is_saved_with_its_legend_as_a_file_that_stands_alone(report: Path, tmp_path: Path) -> None:
    (tmp_path / "svg").mkdir()
    script = SAVED.replace("KIND", "SVG")
    (kind, content, name), faults, _ = run_in_browser(report, tmp_path / "svg", script, promised=True)
    assert faults == []
    assert (kind, name) == ("image/svg+xml", "predictability_synergy_acc_means.svg")
    drawn = ElementTree.fromstring(base64.b64decode(content.partition(",")[2]))
    words = ["".join(text.itertext()) for text in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert {"synergy loss scale:", "\u25cf 0.5", "\u25a0 1", "workspace dimension (log scale)"} <= set(words)
    assert b"var(" not in ElementTree.tostring(drawn)  # what only the page knows
    (tmp_path / "png").mkdir()
    script = SAVED.replace("KIND", "PNG")
    (kind, content, name), faults, asked = run_in_browser(report, tmp_path / "png", script, promised=True)
    assert (kind, name, faults, asked) == ("image/png", "predictability_synergy_acc_means.png", [], [])
    image = Image.open(io.BytesIO(base64.b64decode(content.partition(",")[2])))
    assert image.width > 1280
    assert len(image.convert("RGB").getcolors(1 << 20)) > 10


def _luminance(colour: str) -> float:
    """Relative luminance of an rgb() or #rrggbb colour, as WCAG defines it."""
    parts = re.findall(r"\d+", colour) if "rgb" in colour else [str(int(colour[i : i + 2], 16)) for i in (1, 3, 5)]
    linear = [v / 12.92 if v <= 0.03928 else ((v + 0.055) / 1.055) ** 2.4 for v in (int(p) / 255 for p in parts[:3])]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


def test_in_the_dark_charts_and_figures_are_dark_and_every_line_can_be_seen(report: Path, tmp_path: Path) -> None:
    script = """() => ({
      inks: [...document.querySelectorAll(".chart .mean > *")].map(mark =>
        mark.getAttribute("fill") !== "none" && mark.getAttribute("fill") || mark.getAttribute("stroke")),
      grounds: [...document.querySelectorAll(".chart .frame, figure .frame")].map(
        frame => getComputedStyle(frame).backgroundColor),
      images: [...document.querySelectorAll("figure img")].map(e => getComputedStyle(e).filter) })"""
    got, faults, _ = run_in_browser(report, tmp_path, script, options=[DARK])
    assert faults == []
    assert set(got["grounds"]) == {"rgb(22, 24, 27)", "rgb(23, 23, 23)"}, "the page's, and a figure's own"
    assert all(filtered.startswith("invert") for filtered in got["images"])
    ground = _luminance("rgb(22, 24, 27)")
    assert min((_luminance(ink) + 0.05) / (ground + 0.05) for ink in got["inks"]) > 3
    parts = [[int(ink[i : i + 2], 16) for i in (1, 3, 5)] for ink in got["inks"]]
    assert min(max(part) - min(part) for part in parts) > 50, "none is white"


def test_in_the_dark_a_level_has_the_same_colour_in_charts_and_in_figures(report: Path, tmp_path: Path) -> None:
    light = [to_hex(colour) for colour in colours(2)]
    script = """() => {
      const inks = [...document.querySelectorAll("#chart-means .swatch")].map(
        e => getComputedStyle(e).borderBottomColor);
      const context = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
      context.filter = getComputedStyle(document.querySelector("figure .drawn img")).filter;
      const turned = LIGHT.map(colour => { context.fillStyle = colour; context.fillRect(0, 0, 40, 40);
        return [...context.getImageData(20, 20, 1, 1).data].slice(0, 3); });
      return { inks, turned }; }""".replace("LIGHT", str(light))
    got, faults, _ = run_in_browser(report, tmp_path, script, options=[DARK])
    assert faults == []
    inks = [[int(part) for part in re.findall(r"\d+", ink)] for ink in got["inks"]]
    np.testing.assert_allclose(inks, got["turned"], atol=3)


def test_the_interval_and_the_picture_begin_on_the_first_screen(report: Path, tmp_path: Path) -> None:
    script = """() => [".forest .interval", "figure img"].map(
      name => document.querySelector(name).getBoundingClientRect().top)"""
    got, _, _ = run_in_browser(report, tmp_path, script)
    assert max(got) < 750


def test_one_picture_stands_in_the_page_however_little_room_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "PICTURES", 0)
    directory = Directory(tmp_path, make_sweep({"dim": [4, 8]}, 2, primary=[ACCURACY, LOSS]))
    directory.fill(lambda cell: {ACCURACY: 0.5 + 0.1 * cell.run_id, LOSS: 1.0 + cell.run_id})
    assert aggregate(tmp_path).report.read_text().count("<figure>") == 1


def test_a_wide_table_has_a_shadow_where_more_lies_beyond_its_edge(report: Path, tmp_path: Path) -> None:
    script = """() => { document.documentElement.style.width = "400px";
      return [...document.querySelectorAll(".scroll")].map(e => getComputedStyle(e).backgroundAttachment); }"""
    got, _, _ = run_in_browser(report, tmp_path, script, 400)
    assert set(got) == {"local, local, scroll, scroll"}  # covers go with the table, shadows stay at the edges


RECIPES = [
    f"resnet{depth}-trained-with-{name}-{i}" for depth in (18, 50) for name in ("AdamW", "Lion") for i in range(15)
]
ROWS = """() => {
  document.documentElement.style.width = "WIDTHpx"; dispatchEvent(new Event("resize"));
  const host = document.querySelector("#chart-means"), frame = host.querySelector(".frame").getBoundingClientRect();
  const names = [...host.querySelectorAll("[aria-label='y-axis tick label'] text")];
  const boxes = names.map(e => e.getBoundingClientRect()).sort((a, b) => a.top - b.top);
  const [, axis] = host.querySelectorAll("select");
  const marks = () => host.querySelectorAll(".mean > *").length;
  const before = marks();
  axis.value = 1; axis.dispatchEvent(new Event("change"));
  const ticked = () => host.querySelectorAll("input[data-factor='0']:checked").length;
  const press = text => [...host.querySelectorAll(".chips button")].find(b => b.textContent === text).click();
  const shades = new Set([...host.querySelectorAll(".swatch")].map(e => e.style.borderColor));
  const states = [[ticked(), marks(), shades.size]];
  const height = host.querySelector(".chips").getBoundingClientRect().height;
  press("All"); states.push([ticked(), marks()]); press("None"); states.push([ticked(), marks()]);
  return { before, states, height, names: names.map(e => e.textContent),
           cut: boxes.filter(box => box.left < frame.left - 1).length,
           over: boxes.filter((box, i) => i && box.top < boxes[i - 1].bottom - 6).length }; }"""


@pytest.mark.parametrize("width", [400, 1280])
def test_sixty_long_names_are_rows_and_a_few_of_them_lines_to_choose_from(tmp_path: Path, width: int) -> None:
    factors = {"recipe": {"kind": "word"}, "width": {"kind": "integer"}}
    trainer = DeclaredTrainer("t.py:t", "", factors, {"m": {"kind": "real"}})
    directory = Directory(tmp_path / "sweep", make_sweep({"recipe": RECIPES, "width": [8, 64]}, 2, trainer, ["m"]))
    directory.fill(lambda cell: {"m": float(cell.run_id + cell.seed)})
    made = aggregate(tmp_path / "sweep", figures=False).report
    assert f"60 recipes, from {RECIPES[0]} to {RECIPES[-1]}; width 8, 64" in made.read_text()
    got, faults, _ = run_in_browser(made, tmp_path, ROWS.replace("WIDTH", str(width)), width + 20)
    assert faults == []
    assert len(set(got["names"])) == 60
    assert got["names"] == RECIPES or width == 400
    assert (got["cut"], got["over"]) == (0, 0)
    assert got["before"] == 120
    assert got["states"] == [[6, 12, 6], [60, 120], [0, 0]]
    assert got["height"] < 250


def test_what_the_marks_are_is_said_as_it_is(tmp_path: Path) -> None:
    notes = """() => [...document.querySelectorAll(".chart .soft")].map(e => e.firstChild.textContent)"""
    texts = []
    for seeds in (1, 2, 4):
        directory = Directory(tmp_path / str(seeds), make_sweep({"dim": [4, 8]}, seeds, primary=[LOSS]))
        directory.fill(lambda cell: {LOSS: 1.0 + 0.1 * cell.run_id})
        for cell in directory.sweep.grid:
            directory.history(cell, {"val_loss": [3.0, 1.0 + 0.1 * cell.run_id]})
        texts.append(run_in_browser(aggregate(tmp_path / str(seeds), figures=False).report, tmp_path, notes)[0])
    assert texts[0] == ["One seed, no interval. ", "One seed, no band. "]
    assert texts[1][0].startswith("Large dots: geometric mean over seeds; whiskers: ")
    assert "band" not in texts[1][1]
    assert texts[2][1].startswith(
        "Thick: geometric mean over seeds where all are there; shaded: band for the whole curve"
    )


def test_a_logarithmic_axis_has_ticks_at_1_2_and_5_and_no_line_without_a_number(
    wide_report: Path, tmp_path: Path
) -> None:
    script = """() => { const svg = document.querySelector("#chart-training svg");
      return [[...svg.querySelectorAll("[aria-label='y-axis tick label'] text")].map(e => e.textContent),
              svg.querySelectorAll("[aria-label='y-grid'] line").length]; }"""
    (ticks, lines), _, _ = run_in_browser(wide_report, tmp_path, script)
    assert ticks == ["1", "2", "5", "10", "20", "50", "100"]
    assert lines == len(ticks)


def test_on_paper_charts_are_light_and_as_wide_as_the_page_even_from_a_dark_screen(
    report: Path, tmp_path: Path
) -> None:
    script = """() => {
      const look = () => { const svg = document.querySelector("#chart-means svg");
        return [svg.getAttribute("width"), svg.querySelector("circle").getAttribute("fill"),
                getComputedStyle(document.querySelector("#chart-means .swatch")).borderBottomColor]; };
      const before = look(); dispatchEvent(new Event("beforeprint")); const printed = look();
      dispatchEvent(new Event("afterprint")); return { before, printed, after: look() }; }"""
    got, faults, _ = run_in_browser(report, tmp_path, script, options=[DARK])
    assert faults == []
    assert got["before"] == got["after"]
    assert got["printed"][0] == "660"
    assert got["printed"][1] != got["before"][1]
    assert _luminance(got["printed"][2]) == _luminance(got["printed"][1])  # the legend goes with the marks


def test_unticking_a_level_hides_its_line_and_another_metric_can_be_chosen(report: Path, tmp_path: Path) -> None:
    script = """() => {
      const host = document.querySelector("#chart-means"), count = () => host.querySelectorAll(".mean > *").length;
      const before = count();
      host.querySelector("input[data-factor='1'][data-level='0']").click();
      const after = count();
      const [metric, axis] = host.querySelectorAll("select");
      metric.value = 1; metric.dispatchEvent(new Event("change"));
      axis.value = 1; axis.dispatchEvent(new Event("change"));
      const labels = [...host.querySelectorAll("svg [aria-label$='-axis label'] text")].map(t => t.textContent);
      return { before, after, labels, legends: [...host.querySelectorAll("legend")].map(l => l.textContent) };
    }"""
    got, faults, _ = run_in_browser(report, tmp_path, script)
    assert faults == []
    assert (got["before"], got["after"]) == (6, 3)
    assert got["labels"] == ["best validation loss (lower is better)", "synergy loss scale (log scale)"]
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
      const host = document.querySelector("#chart-training");
      const lines = () => host.querySelectorAll("path[data-line]").length;
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


BANDS = """() => {
  const host = document.querySelector("#chart-training"), svg = host.querySelector("svg");
  const [bottom, top] = svg.scale("y").range;
  const ys = [...svg.querySelectorAll(".band path")].map(
    path => [...path.getAttribute("d").matchAll(/[ML][^,]+,([-0-9.]+)/g)].map(at => Number(at[1])));
  return { bottom, top, ys, note: host.querySelector("p.soft").textContent };
}"""


def test_the_axis_of_curves_covers_their_bands(tmp_path: Path) -> None:
    directory = Directory(tmp_path / "sweep", make_sweep({"dim": [4, 8]}, 5, primary=[LOSS]))
    directory.fill(lambda cell: {LOSS: 1.0 + 0.1 * cell.run_id})
    for cell in directory.sweep.grid:
        directory.history(cell, {"val_loss": [1.5 + 0.3 * (cell.run_id % 2), 1.0 + 0.3 * (cell.run_id % 2)]})
    got, faults, _ = run_in_browser(aggregate(directory.store.paths.root, figures=False).report, tmp_path, BANDS)
    assert faults == []
    assert len(got["ys"]) == 2
    for ys in got["ys"]:
        assert got["top"] < min(ys) < max(ys) < got["bottom"]
    assert "cut off" not in got["note"]


def test_a_band_that_the_frame_cuts_off_is_said_to_be_cut(tmp_path: Path) -> None:
    directory = Directory(tmp_path / "sweep", make_sweep({"dim": [4, 8]}, 4, primary=[LOSS]))
    directory.fill(lambda cell: {LOSS: 1.0 + 0.1 * cell.run_id})
    for cell in directory.sweep.grid:
        directory.history(cell, {"val_loss": [100.0, 100.0 if cell.run_id else 1.0]})
    got, faults, _ = run_in_browser(aggregate(directory.store.paths.root, figures=False).report, tmp_path, BANDS)
    assert faults == []
    assert min(map(min, got["ys"])) < got["top"]
    assert "; shaded: band for the whole curve, cut off at the frame" in got["note"]


def test_levels_of_curves_differ_in_their_dashes_too_and_so_does_their_key(tmp_path: Path) -> None:
    directory = Directory(tmp_path / "sweep", make_sweep({"dim": [4, 8, 16, 32, 64]}, 3, primary=[LOSS]))
    directory.fill(lambda cell: {LOSS: float(cell.factors["dim"])})
    for cell in directory.sweep.grid:
        directory.history(cell, {"val_loss": [100.0, float(cell.factors["dim"])]})
    script = """() => { const host = document.querySelector("#chart-training");
      const every = (mark, look) => [...host.querySelectorAll(mark)].map(look);
      const dashes = () => every(".mean path", path => path.getAttribute("stroke-dasharray")), all = dashes();
      const keys = every(".swatch", key => getComputedStyle(key).borderImageSource);
      host.querySelector("input").click();
      return { all, keys, without: dashes() }; }"""
    got, faults, _ = run_in_browser(aggregate(directory.store.paths.root, figures=False).report, tmp_path, script)
    assert faults == []
    assert got["all"] == [None, "10 3", "6 3 2 3", "2 3", None]  # as the files have them
    assert got["without"] == got["all"][1:]
    assert got["keys"][0] == "none"
    assert len(set(got["keys"][:4])) == 4


def test_levels_of_means_differ_in_their_symbols_too_and_so_do_their_keys(report: Path, tmp_path: Path) -> None:
    script = """() => { const host = document.querySelector("#chart-means");
      const marks = [...host.querySelectorAll(".mean > *")].map(m => [m.getAttribute("fill"), m.getAttribute("d")]);
      return { marks, keys: [...host.querySelectorAll(".swatch")].map(key => key.textContent) }; }"""
    got, faults, _ = run_in_browser(report, tmp_path, script)
    assert faults == []
    assert got["keys"] == ["\u25cf 0.5", "\u25a0 1"]
    inks, shapes = ({mark[i] for mark in got["marks"]} for i in (0, 1))
    assert len(inks) == len(shapes) == len({tuple(mark) for mark in got["marks"]}) == 2


def test_saved_curves_have_a_legend_with_their_dashes(report: Path, tmp_path: Path) -> None:
    script = SAVED.replace("KIND", "SVG").replace("#chart-means", "#chart-training")
    (_, content, _), faults, _ = run_in_browser(report, tmp_path, script, promised=True)
    assert faults == []
    drawn = ElementTree.fromstring(base64.b64decode(content.partition(",")[2]))
    keys = [line for line in drawn if line.tag.endswith("}line") and line.get("stroke") != "none"]
    texts = [text for text in drawn if text.tag.endswith("}text")]
    words = ["".join(text.itertext()) for text in texts]
    assert words[0] == "workspace dimension:"
    assert {text.get("text-anchor") for text in texts} == {"start"}  # else the first is cut off at the left
    assert [key.get("stroke-dasharray") for key in keys] == [None, "10 3", "6 3 2 3", "2 3"][: len(words) - 1]


def test_the_line_of_chance_is_explained_below_each_chart_that_has_one(tmp_path: Path) -> None:
    directory = Directory(tmp_path / "sweep", make_sweep({"dim": [4, 8]}, 3, primary=[ACCURACY]))
    for near, said in ((0.15, "; dashed: chance (0.125)"), (0.8, "; chance (0.125) is below the axis")):
        directory.fill(lambda cell, near=near: {ACCURACY: near + 0.02 * cell.run_id, LOSS: 1.0})
        for cell in directory.sweep.grid:
            directory.history(cell, {ACCURACY: [near + 0.05, near + 0.02 * cell.run_id]})
        script = """() => [...document.querySelectorAll(".chart .soft")].map(e => e.firstChild.textContent)"""
        notes = run_in_browser(aggregate(directory.store.paths.root, figures=False).report, tmp_path, script)[0]
        assert [note.endswith(f"{said}. ") for note in notes] == [True, True], notes


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
        label: document.querySelector("#chart-means svg [aria-label='x-axis label']").textContent })"""
    report = aggregate(tmp_path / "sweep", figures=False).report
    got, faults, asked = run_in_browser(report, tmp_path, script, options=[LATER])
    assert (got, faults, asked) == ({"images": 0, "label": label}, [], [])


def test_the_policy_lets_the_reports_own_scripts_run_and_nothing_else(report: Path) -> None:
    text = report.read_text()
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    assert len(scripts) == 4  # the libraries, our charts, our tables
    assert f"script-src {allowed}; base-uri 'none'; form-action 'none'\"" in text


def test_the_libraries_are_whole_as_published_and_go_with_their_licences_into_the_page(report: Path) -> None:
    folder = Path(page.__file__).with_name("vendor")
    published = dict(reversed(line.split()) for line in (folder / "SHA256SUMS").read_text().splitlines())
    assert {path.name for path in folder.iterdir()} == published.keys() | {"SHA256SUMS"}
    for name, digest in published.items():
        content = (folder / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == digest, name
        assert content.decode() in report.read_text(), name


def test_a_page_without_charts_holds_no_library(tmp_path: Path) -> None:
    Directory(tmp_path, make_sweep({"dim": [4, 8]}, 2))
    text = aggregate(tmp_path, figures=False).report.read_text()
    assert "Observable" not in text
    assert text.count("<script>") == 1


def test_charts_of_a_design_have_its_conditions_and_no_others(tmp_path: Path) -> None:
    sweep = make_sweep({"dim": [4, 8, 16], "scale": [0.5, 1.0]}, 3)
    corner = Rules(((("dim", (4,)), ("scale", (1.0,))),))
    directory = Directory(tmp_path / "sweep", replace(sweep, grid=replace(sweep.grid, rules=corner)))
    for cell in directory.sweep.grid:
        value = 0.01 * float(cell.factors["dim"]) + 0.1 * float(cell.factors["scale"]) + 0.001 * cell.run_id
        directory.finish(cell, {ACCURACY: value, LOSS: value})
        directory.history(cell, {"val_loss": [value, value / 2]})
    script = """() => {
      const marks = kind => document.querySelectorAll(`#chart-means svg .${kind} > *`).length;
      return [marks("mean"), marks("seed")];
    }"""
    report = aggregate(directory.store.paths.root).report
    marks, faults, _ = run_in_browser(report, tmp_path, script)
    assert faults == []
    assert marks == [5, 15]
