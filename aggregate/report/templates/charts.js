// The report's charts, drawn by Observable Plot, zoomed by a brush of d3. It sets text; no text of a user's is ever read
// as HTML. It asks nothing of any network.
"use strict";
(() => {
const HEIGHT = 380, MARGIN = { marginTop: 12, marginRight: 14, marginBottom: 44, marginLeft: 62 };
const LETTER = 6.8;  // pixels, generously
const LISTED = 12;  // seeds that a mean's tip has room for
const MANY = 12, FEW = 6;  // levels that can be told apart by their colours; of more, those that are ticked at first
const DASHES = ["", "10 3", "6 3 2 3", "2 3"];  // of curves' levels, as figures/training_curves.py has them
// Of levels of means, and as their keys have them; as figures/canvas.py begins.
const SYMBOLS = [["circle", "\u25cf"], ["square", "\u25a0"], ["diamond", "\u25c6"], ["triangle", "\u25b2"], ["star", "\u2605"], ["cross", "\u271a"]];
const PAPER = 660;  // width on paper, pixels
const dark = matchMedia("(prefers-color-scheme: dark)");
let printing = false;

const fmt = v => v === null || v === undefined ? "-" : String(Number(v.toPrecision(4)));
// Ordered colours that hold on the page's ground, as figures/canvas.py has them; in the dark, turned as report.css turns
// the figures: invert, hue-rotate.
function colour(i, count) {
  const light = d3.interpolateViridis(count > 1 ? 0.05 + 0.53 * i / (count - 1) : 0.35);
  if (!dark.matches || printing) return light;
  const clamp = v => Math.max(0, Math.min(1, v)), { r, g, b } = d3.rgb(light);
  const [R, G, B] = [r, g, b].map(v => 0.91 - 0.82 * v / 255);
  const turned = [-0.574 * R + 1.43 * G + 0.144 * B, 0.426 * R + 0.43 * G + 0.144 * B, 0.426 * R + 1.43 * G - 0.856 * B];
  return d3.rgb(...turned.map(v => 255 * clamp(v))).formatHex();
}
// 1, 2 and 5 of every decade of a logarithmic axis if they have room, else whole decades; within one, even steps.
function logTicks([low, high], most) {
  const decades = d3.range(Math.floor(Math.log10(low)), Math.log10(high) + 1), within = v => v >= low && v <= high;
  const fine = decades.flatMap(k => [1, 2, 5].map(times => Number(`${times}e${k}`))).filter(within);
  if (fine.length < 3) return d3.ticks(low, high, most);
  if (fine.length <= most) return fine;
  const whole = decades.map(k => Number(`1e${k}`)).filter(within), step = Math.ceil(whole.length / most);
  return whole.filter((_, i) => i % step === 0);
}
// Long names without their middle, which says what they have in common more often than either end.
function cut(text, most) {
  const head = Math.max(1, Math.floor((most - 1) / 2));
  return text.length <= most ? text : `${text.slice(0, head)}\u2026${text.slice(text.length - Math.max(1, most - 1 - head))}`;
}
function node(parent, tag, attributes, text) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes || {})) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  if (parent) parent.appendChild(made);
  return made;
}

// The border of a key, dashed as its line is.
function dashed(ink, pattern) {
  let at = 0;
  const stops = pattern.split(" ").map((length, i) => `${i % 2 ? "transparent" : ink} ${at}px ${at += Number(length)}px`);
  return `repeating-linear-gradient(to right, ${stops.join(", ")}) 3`;
}

class Chart {
  constructor(host, data) {
    this.host = host; this.data = data;
    this.hidden = data.factors.map(({ values: { length } }) => new Set(length > MANY ? d3.range(length) : []));
    this.hidden.forEach((hidden, f) => {  // of many levels, some from the first to the last
      if (hidden.size) d3.range(FEW).forEach(i => hidden.delete(Math.round(i * (data.factors[f].values.length - 1) / (FEW - 1))));
    });
    this.controls = node(host, "div", { class: "controls" });
    this.frame = node(host, "div", { class: "frame", tabindex: 0, role: "group" });
    this.frame.addEventListener("keydown", event => this.key(event));
    const tools = node(host, "div", { class: "tools" });
    const tool = (text, act) => node(tools, "button", { type: "button" }, text).addEventListener("click", act);
    tool("Zoom in", () => this.scaled(0.5)); tool("Zoom out", () => this.scaled(2)); tool("Show all", () => this.whole());
    tool("Save as SVG", () => this.saveSvg()); tool("Save as PNG", () => this.savePng());
    this.said = node(host, "p", { class: "aside", role: "status" });
    this.note = node(host, "p", { class: "soft" });
    const again = () => { this.filters(); this.draw(); };
    dark.addEventListener("change", again); addEventListener("beforeprint", again); addEventListener("afterprint", again);
    addEventListener("resize", () => { if (this.width() !== this.drawn) this.draw(); });
  }
  select(label, names, change) {
    const box = node(this.controls, "label", {}, label + " ");
    const made = node(box, "select", {});
    names.forEach((name, i) => node(made, "option", { value: i }, name));
    made.addEventListener("change", () => { change(Number(made.value)); this.filters(); this.whole(); });
    return made;
  }
  // The legend: a tick for every level of a factor that is not on the axis.
  filters() {
    if (this.chips) this.chips.remove();
    this.chips = node(this.controls, "div", { class: "chips" });
    this.refreshed = [];
    this.data.factors.forEach((factor, f) => {
      if (f === this.axis || factor.values.length < 2) return;
      const group = node(this.chips, "fieldset", {}), legend = node(group, "legend", {}, factor.label);
      if (factor.values.length > MANY) this.allOrNone(group, legend, f);
      const list = node(group, "div", factor.values.length > MANY ? { class: "many", tabindex: 0 } : {});
      factor.values.forEach((value, i) => this.tick(list, value, f, i));
    });
    this.refresh();
  }
  tick(list, value, f, i) {
    const box = node(list, "label", {}), name = () => this.swatch(f, i);
    const tick = node(box, "input", { type: "checkbox", "data-factor": f, "data-level": i }), text = node(box, "span", {});
    tick.addEventListener("change", () => { this.show(f, [i], tick.checked); });
    this.refreshed.push(() => {
      tick.checked = !this.hidden[f].has(i);
      text.textContent = name() && this.symbol(i) ? `${this.symbol(i)[1]} ${value}` : value;
      text.className = name() ? "swatch" : ""; text.style.borderColor = name() || "";
      text.style.borderImage = name() && this.dash(i) ? dashed(name(), this.dash(i)) : "";
    });
  }
  allOrNone(group, legend, f) {
    const all = d3.range(this.data.factors[f].values.length), label = legend.textContent;
    const tool = (text, ticked) => node(group, "button", { type: "button" }, text)
      .addEventListener("click", () => this.show(f, all, ticked));
    tool("All", true); tool("None", false);
    this.refreshed.push(() => { legend.textContent = `${label} (${all.length - this.hidden[f].size} of ${all.length})`; });
  }
  show(f, levels, ticked) {
    for (const i of levels) if (ticked) this.hidden[f].delete(i); else this.hidden[f].add(i);
    this.refresh(); this.draw();
  }
  refresh() { for (const again of this.refreshed) again(); }
  // Levels of every condition: those that are listed, or all combinations, in which the last factor runs fastest.
  conditions() {
    const counts = this.data.factors.map(factor => factor.values.length);
    return this.data.conditions
      || d3.cross(...counts.length > 1 ? counts.map(n => d3.range(n)) : [d3.range(counts[0]), [0]]);
  }
  // The conditions that are ticked.
  shown() {
    return this.conditions().map((levels, i) => ({ i, levels: levels.slice(0, this.data.factors.length) }))
      .filter(({ levels }) => levels.every((level, f) => f === this.axis || !this.hidden[f].has(level)));
  }
  name(levels) {
    return this.data.factors.map((f, k) => `${f.label} ${f.values[levels[k]]}`).join(", ");
  }
  // Colours show the levels of the slowest factor that is not on the axis.
  by() { return this.data.factors.findIndex((f, k) => k !== this.axis && f.values.length > 1); }
  colour(levels) {
    const by = this.by();
    return by < 0 ? colour(0, 1) : this.shade(by, levels[by]);
  }
  // Of a level of the factor that colours show: what tells it in print. Of many levels only colours tell.
  told(kind, marks, level) {
    const few = this.by() >= 0 && this.data.factors[this.by()].values.length <= MANY;
    return this.kind === kind && few ? marks[level % marks.length] : "";
  }
  dash(level) { return this.told("training", DASHES, level); }
  symbol(level) { return this.told("means", SYMBOLS, level); }
  // Of a level; of many levels only those that are ticked have colours, so that these can be told apart.
  shade(f, level) {
    const count = this.data.factors[f].values.length, ticked = d3.range(count).filter(i => count <= MANY || !this.hidden[f].has(i));
    return colour(ticked.indexOf(level), ticked.length);
  }
  swatch(f, level) {
    return f === this.by() && (this.data.factors[f].values.length <= MANY || !this.hidden[f].has(level)) ? this.shade(f, level) : null;
  }
  // All values, and ends of whiskers and bands as far as they do not dwarf these. With nothing to show, any range will do.
  range(values, ends) {
    const m = this.metric, f = m.log ? Math.log : v => v;
    const places = all => all.filter(v => v !== null && (!m.log || v > 0)).map(f);
    let [a, b] = d3.extent(places(values));
    if (a === undefined) [a, b] = [0, 1];
    const reach = (m.log ? 0.25 : 1.5) * (b - a) || 0.1 * Math.abs(b) || 1, limit = v => Math.max(a - reach, Math.min(b + reach, v));
    const tips = places(ends);
    this.cut = tips.some(v => v !== limit(v));
    [a, b] = d3.extent([a, b, ...tips.map(limit)]);
    if (!m.log && m.chance !== null && Math.abs(m.chance - (a + b) / 2) <= 1.5 * (b - a)) [a, b] = d3.extent([a, b, m.chance]);
    const margin = 0.05 * (b - a) || 0.05 * Math.abs(a) || 0.05;
    return [a - margin, b + margin].map(v => m.log ? Math.exp(v) : v);
  }
  // What is said of guessing, as figures/axes.py says it.
  guessing() {
    const { chance } = this.metric, [low, high] = this.reach;
    if (chance === null) return "";
    if (chance >= low && chance <= high) return `; dashed: chance (${fmt(chance)})`;
    return `; chance (${fmt(chance)}) is ${chance < low ? "below" : "above"} the axis`;
  }
  beyond() { return this.cut ? ", cut off at the frame" : ""; }
  width() { return printing ? PAPER : Math.max(280, this.frame.clientWidth); }
  // What all charts have: axes, the line of chance, a tip at the point that is nearest to the pointer. levels: the axis
  // that the metric is not on. turned: the metric lies across.
  plot(levels, range, points, marks, turned = false) {
    const m = this.metric, said = [m.better, m.log ? "log scale" : ""].filter(Boolean).join(", ");
    const label = m.label + (said ? ` (${said})` : ""), width = this.drawn = this.width(), { xs, ys } = this.zoomed || {};
    this.margin = turned ? { ...MARGIN, marginTop: 26, marginLeft: levels.room } : MARGIN;
    this.height = turned ? levels.length + this.margin.marginTop + MARGIN.marginBottom : HEIGHT;
    this.reach = range;
    this.all = turned ? { x: range, y: levels.domain } : { x: levels.domain, y: range };
    const shown = turned ? xs || range : ys || range, most = turned ? Math.max(3, Math.floor((width - levels.room) / 60)) : 9;
    const ticks = m.log ? logTicks(shown, most) : Math.min(most, 8);
    const metric = { domain: shown, type: m.log ? "log" : "linear", label, labelAnchor: "center", labelArrow: "none", grid: true,
                     tickFormat: fmt, ticks };
    const other = { labelAnchor: "center", labelArrow: "none", ...levels, domain: (turned ? ys : xs) || levels.domain };
    const chance = m.chance !== null && (!m.log || m.chance > 0) ? [m.chance] : [];
    const value = d => turned ? d.x : d.y, known = d => value(d) !== null && (!m.log || value(d) > 0);
    this.points = points.filter(known);
    const tip = { x: "x", y: "y", title: d => d.text.join("\n"), maxRadius: 30, lineWidth: width < 500 ? 17 : 34 };
    this.svg = Plot.plot({
      width, height: this.height, ...this.margin, clip: true, ariaLabel: label,
      style: { background: "transparent", color: "currentColor", fontSize: "12px" },
      x: { ...(turned ? metric : other), labelOffset: 38 }, y: turned ? other : metric,
      color: { type: "identity" }, symbol: { type: "identity" },
      marks: [(turned ? Plot.ruleX : Plot.ruleY)(chance, { strokeDasharray: "5 4", strokeOpacity: 0.6 }),
              ...marks.map(([kind, rows, options]) => kind(rows.filter(d => d.y2 !== undefined || known(d)), options)),
              Plot.tip(this.points, Plot.pointer({ ...tip, fill: "var(--paper)", stroke: "var(--soft)", clip: false }))],
    });
    // On a logarithmic axis the library would leave out numbers as it thinks fit.
    if (m.log) d3.select(this.svg).selectAll(`[aria-label='${turned ? "x" : "y"}-axis tick label'] text`).text(i => fmt(ticks[i]));
    marks.forEach(([, rows, { className }]) => {
      const drawn = rows.filter(d => d.y2 !== undefined || known(d));
      d3.select(this.svg).selectAll(`.${className} > *`).attr("data-line", i => drawn[Array.isArray(i) ? i[0] : i].line);
    });
    this.svg.addEventListener("input", () => this.point(this.svg.value));
    this.frame.replaceChildren(this.svg);
    this.frame.setAttribute("aria-label", `${label}: arrow keys read it, + and - zoom, 0 shows all`);
    this.brush();
  }
  point(seen) {
    this.at = seen;
    this.said.textContent = seen ? seen.text.join("; ") : "";
    d3.select(this.svg).selectAll("[data-line]").classed("faint", function () {
      return seen && this.getAttribute("data-line") !== String(seen.line);
    });
  }
  // Dragging a mouse marks what to zoom into. A finger scrolls the page and taps on points; it zooms by the buttons.
  brush() {
    const { marginTop, marginRight, marginBottom, marginLeft } = this.margin, [x, y] = ["x", "y"].map(k => this.svg.scale(k));
    const width = Number(this.svg.getAttribute("width"));
    const made = d3.brush().touchable(false).extent([[marginLeft, marginTop], [width - marginRight, this.height - marginBottom]]);
    made.on("end", ({ selection }) => {
      if (!selection) return;
      const [[left, top], [right, bottom]] = selection;
      this.zoom([left, right].map(x.invert), [bottom, top].map(y.invert));
    });
    d3.select(this.svg).append("g").attr("class", "brush").call(made).on("dblclick", () => this.whole());
  }
  zoom(xs, ys) { this.zoomed = { xs, ys }; this.draw(); }
  whole() { this.zoomed = null; this.draw(); }
  // As much of the chart as given, around the point that was pointed at or its middle; never more than all.
  scaled(part) {
    const around = (scale, all, centre) => {
      const [a, b] = scale.range, mid = centre === undefined ? (a + b) / 2 : scale.apply(centre);
      const [low, high] = [a, b].map(end => scale.invert(mid + part * (end - mid)));
      return [Math.max(low, all[0]), Math.min(high, all[1])];
    };
    const { x, y } = this.at || {};
    this.zoom(around(this.svg.scale("x"), this.all.x, x), around(this.svg.scale("y"), this.all.y, y));
  }
  key(event) {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const act = { "+": () => this.scaled(0.5), "-": () => this.scaled(2), 0: () => this.whole(), Escape: () => this.leave() };
    if (event.target !== this.frame || !(step || act[event.key]) || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    if (step) this.step(step, event.key === "ArrowUp" || event.key === "ArrowDown"); else act[event.key]();
  }
  leave() { this.svg.dispatchEvent(new PointerEvent("pointerleave", { pointerType: "mouse" })); }
  // To the next point of a line, or to the nearest of the next line, as if it were pointed at.
  step(way, lines) {
    const inside = (k, v) => { const [a, b] = this.svg.scale(k).domain; return v >= Math.min(a, b) && v <= Math.max(a, b); };
    const points = this.points.filter(p => inside("x", p.x) && inside("y", p.y)), at = points.indexOf(this.at);
    if (!points.length) return;
    const names = [...new Set(points.map(p => p.line))], count = names.length;
    const next = at < 0 ? points[0] : lines
      ? d3.least(points.filter(p => p.line === names[(names.indexOf(this.at.line) + way + count) % count]),
                 p => Math.abs(p.x - this.at.x))
      : points[(at + way + points.length) % points.length];
    const box = this.svg.getBoundingClientRect(), zoom = box.width / this.svg.getAttribute("width");
    const place = { clientX: box.left + zoom * this.svg.scale("x").apply(next.x), pointerType: "mouse",
                    clientY: box.top + zoom * this.svg.scale("y").apply(next.y) };
    this.svg.dispatchEvent(new PointerEvent("pointermove", place));
  }
  // The chart by itself, with its legend: as it looks, whatever surrounds it.
  standalone() {
    const copy = this.svg.cloneNode(true), style = getComputedStyle(this.frame), by = this.data.factors[this.by()];
    copy.querySelectorAll(".brush, [aria-label=tip]").forEach(part => part.remove());
    copy.setAttribute("style", `color: ${style.color}; background: ${style.backgroundColor}; font: 12px sans-serif`);
    const ticked = by ? by.values.map((value, i) => [value, i]).filter(([, i]) => !this.hidden[this.by()].has(i)) : [];
    const room = Number(copy.getAttribute("width")) - 20, rows = [[]];
    let used = 0;
    const keys = ticked.map(([v, i]) => [this.symbol(i) ? `${this.symbol(i)[1]} ${v}` : v, this.shade(this.by(), i), this.dash(i)]);
    for (const [text, ink, dash] of [...by ? [[by.label + ":"]] : [], ...keys]) {
      const line = this.kind === "training" && ink ? 38 : 0, wide = 7 * text.length + 16 + line;
      if ((used += wide) > room) { rows.push([]); used = wide; }
      rows.at(-1).push({ x: used - wide + 10 + line, text, ink, line, dash });
    }
    const height = this.height + 18 * rows.length + 4;
    copy.setAttribute("height", height); copy.setAttribute("viewBox", `0 0 ${room + 20} ${height}`);
    rows.forEach((row, r) => {
      const y = this.height + 14 + 18 * r, added = mark => d3.select(copy).selectAll(null).data(row).join(mark);
      added("text").attr("x", d => d.x).attr("y", y).attr("text-anchor", "start").attr("fill", d => d.ink || "currentColor").text(d => d.text);
      added("line").attr("x1", d => d.x - d.line).attr("x2", d => d.x - 6).attr("y1", y - 4).attr("y2", y - 4)
        .attr("stroke", d => d.line ? d.ink : "none").attr("stroke-width", 2).attr("stroke-dasharray", d => d.dash || null);
    });
    return copy;
  }
  saveSvg() { save(new Blob([written(this.standalone())], { type: "image/svg+xml" }), this.file("svg")); }
  async savePng() {
    const copy = this.standalone(), image = new Image(), canvas = document.createElement("canvas");
    image.src = "data:image/svg+xml;charset=utf-8," + encodeURIComponent(written(copy));
    await image.decode();
    canvas.width = 2 * copy.getAttribute("width"); canvas.height = 2 * copy.getAttribute("height");
    canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
    canvas.toBlob(blob => save(blob, this.file("png")));
  }
  // What the marks mean, and on a screen how to read them.
  say(marks) { this.note.replaceChildren(`${marks}${this.guessing()}. `); node(this.note, "span", { class: "how" }, HOW); }
  file(suffix) { return `${this.metric.name.replace(/[^\w.-]+/g, "_")}_${this.kind}.${suffix}`; }
}
const written = svg => new XMLSerializer().serializeToString(svg);
function save(blob, name) {
  const link = node(null, "a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

class Means extends Chart {
  kind = "means";
  constructor(host, data) {
    super(host, data);
    this.metric = data.metrics[0]; this.axis = Math.max(0, data.factors.findIndex(f => f.values.length > 1));
    this.select("Metric", data.metrics.map(m => m.label), i => { this.metric = data.metrics[i]; });
    const axis = this.select("over", data.factors.map(f => f.label), i => { this.axis = i; });
    axis.value = this.axis;
    this.filters(); this.draw();
  }
  draw() {
    const m = this.metric, factor = this.data.factors[this.axis], shown = this.shown();
    const range = this.range(shown.flatMap(({ i }) => [...m.values[i], m.mean[i]]), shown.flatMap(({ i }) => [m.low[i], m.high[i]]));
    const lines = d3.group(shown, c => c.levels.map((level, f) => f === this.axis ? "" : level).join());
    const wide = this.width() - MARGIN.marginLeft - MARGIN.marginRight - 52, single = this.data.seeds.length < 2;
    const names = d3.sum(factor.values, text => LETTER * text.length + 8);
    const turned = factor.values.some(text => Number.isNaN(Number(text))) && names > wide;  // as figures/versus.py has them
    const axis = turned ? this.rows(factor, lines.size) : this.columns(factor, wide, lines.size);
    const means = [], seeds = [];
    [...lines.values()].forEach((cells, line) => cells.forEach(({ i, levels }) => {
      const ink = this.colour(levels), at = axis.at(levels[this.axis], line), beside = at + axis.beside;
      const place = (v, p) => turned ? { x: v, y: p } : { x: p, y: v };
      const each = m.values[i].map((v, k) => [v, `seed ${this.data.seeds[k]}: ${fmt(v)}`]).filter(([v]) => v !== null);
      const head = this.name(levels), row = { line, ink, symbol: (this.symbol(levels[this.by()]) || SYMBOLS[0])[0] };
      const interval = m.low[i] === null ? "" : ` [${fmt(m.low[i])}, ${fmt(m.high[i])}]`;
      const more = each.length > LISTED ? [`and ${each.length - LISTED} more seeds`] : [];
      const listed = each.slice(0, LISTED).map(([, said]) => said);
      const text = single ? [head, ...listed] : [head, `${m.centre} ${fmt(m.mean[i])}${interval}, n = ${m.n[i]}`, ...listed, ...more];
      means.push({ ...row, ...place(m.mean[i], at), at, low: m.low[i], high: m.high[i], text });
      if (!single) seeds.push(...each.map(([v, said]) => ({ ...row, ...place(v, beside), text: [head, said] })));
    }));
    const ordered = factor.ordered && !turned ? d3.sort(means, d => d.line, d => d.at) : [];
    const ends = means.filter(d => d.low !== null && d.high !== null && (!m.log || d.low > 0));
    const whisker = turned ? { y: "at", x1: "low", x2: "high" } : { x: "at", y1: "low", y2: "high" };
    this.plot(axis.options, range, [...means, ...seeds], [
      [Plot.line, ordered, { x: "x", y: "y", z: "line", stroke: "ink", strokeWidth: 1.6, className: "line" }],
      [turned ? Plot.ruleY : Plot.ruleX, ends, { ...whisker, stroke: "ink", strokeWidth: 1.4, className: "whisker" }],
      [Plot.dot, seeds, { x: "x", y: "y", r: 2, fill: "ink", fillOpacity: 0.6, className: "seed" }],
      [Plot.dot, means, { x: "x", y: "y", r: 4, fill: "ink", symbol: "symbol", className: "mean" }],
    ], turned);
    const level = `${fmt(100 * this.data.level)} % ${m.method} interval${this.beyond()}`;
    this.say(single ? "One seed, no interval" : `Large dots: ${m.centre} over seeds; whiskers: ${level}; small dots: seeds`);
  }
  // Levels side by side. Lines stand beside one another by pixels, never near a neighbouring level.
  columns(factor, wide, lines) {
    const places = d3.sort(factor.places), pixel = 1 / wide;
    const gap = 0.35 * (d3.min(d3.pairs(places, (a, b) => b - a)) ?? 1), beside = Math.min(7 * pixel, gap / 2);
    const room = Math.min(30 * pixel, gap), dodge = Math.min(5 * pixel, room / lines);
    const options = { label: factor.axis, domain: [-26 * pixel, 1 + 26 * pixel], ticks: factor.places,
                      tickFormat: this.ticks(factor, wide) };
    return { options, beside, at: (level, line) => factor.places[level] + (line - (lines - 1) / 2) * dodge };
  }
  // Levels with long names below one another, the first on top.
  rows(factor, lines) {
    const count = factor.values.length, row = Math.max(18, 6 * lines + 10), pixel = 1 / (row * Math.max(1, count - 1));
    const longest = d3.max(factor.values, text => text.length);
    const room = Math.ceil(Math.min(0.45 * this.width(), LETTER * longest + 14)), most = Math.floor((room - 14) / LETTER);
    const names = new Map(factor.values.map((text, i) => [1 - factor.places[i], cut(text, most)]));
    const options = { label: factor.axis, labelAnchor: "top", domain: [-row / 2 * pixel, 1 + row / 2 * pixel], room,
                      length: row * count, ticks: [...names.keys()], tickFormat: place => names.get(place) ?? "" };
    return { options, beside: -5 * pixel, at: (level, line) => 1 - factor.places[level] - 6 * pixel * (line - (lines - 1) / 2) };
  }
  // Names that would touch their neighbour are left out, and long ones are cut: pointing reads them in full.
  ticks(factor, wide) {
    let free = -Infinity;
    const room = Math.max(40, wide / Math.max(1, factor.places.length - 1) - 8);
    const texts = new Map();
    for (const [place, text] of d3.sort(d3.zip(factor.places, factor.values), d => d[0])) {
      const short = cut(text, Math.floor(room / 6.5));
      const half = 3.4 * short.length;
      if (place * wide - half >= free) { texts.set(place, short); free = place * wide + half + 6; }
    }
    return place => texts.get(place) ?? "";
  }
}
const HOW = "Point at a mark or step with the arrow keys to read it; untick levels to hide them; drag to zoom, double " +
  "click to see all.";

// The numbers of a metric's curves, 16 bits each; see chart_data.py. Unpacked when it is looked at.
function unpacked(m, conditions, seeds) {
  if (m.values) return m;
  const bytes = Uint8Array.from(atob(m.packed), c => c.charCodeAt(0)), codes = new DataView(bytes.buffer);
  let at = 0;
  const next = () => {
    const code = codes.getUint16(2 * at++, true), v = m.start + code * m.step;
    return code === 65535 ? null : m.log ? Math.exp(v) : v;
  };
  const many = (count, make) => Array.from({ length: count }, make), curve = () => many(m.epochs.length, next);
  m.values = many(conditions, () => many(seeds, curve));
  for (const key of ["mean", "low", "high"]) m[key] = many(conditions, curve);
  return m;
}

class Training extends Chart {
  kind = "training";
  constructor(host, data) {
    super(host, data);
    const conditions = this.conditions().length;
    const choose = i => { this.metric = unpacked(data.curves[i], conditions, data.seeds.length); };
    choose(0); this.axis = -1;
    this.select("Metric", data.curves.map(m => m.label), choose);
    // At first one level of the last factor, so that lines can be told apart.
    const last = data.factors.length - 1;
    if (last > 0) data.factors[last].values.forEach((_, i) => { if (i) this.hidden[last].add(i); else this.hidden[last].delete(i); });
    this.filters(); this.draw();
  }
  draw() {
    const m = this.metric, seeds = [], means = [], bands = [], shown = this.shown(), single = this.data.seeds.length < 2;
    for (const { i, levels } of shown) {
      const row = { line: i, ink: this.colour(levels) }, name = this.name(levels);
      m.epochs.forEach((epoch, e) => {
        means.push({ ...row, x: epoch, y: m.mean[i][e] });
        if (m.high[i][e] !== null) bands.push({ ...row, x: epoch, y1: m.low[i][e] ?? 0, y2: m.high[i][e] });
      });
      m.values[i].forEach((seed, k) => m.epochs.forEach((epoch, e) => seeds.push({ ...row, x: epoch, y: seed[e], seed: k,
        text: [name, `seed ${this.data.seeds[k]}, epoch ${epoch}: ${fmt(seed[e])}`, ...(single ? [] : [`${m.centre} ${fmt(m.mean[i][e])}`])] })));
    }
    const y = this.range([...seeds, ...means].map(d => d.y), shown.flatMap(({ i }) => [...m.low[i], ...m.high[i]]));
    const [first, last] = d3.extent(m.epochs);
    const margin = 0.015 * (last - first) || 1, xs = this.zoomed ? this.zoomed.xs : [first, last];
    const axis = { label: "epoch", domain: [first - margin, last + margin],
                   ticks: d3.ticks(...xs, 8).filter(Number.isInteger), tickFormat: "d" };
    const curve = { x: "x", y: "y", stroke: "ink" }, one = m.epochs.length > 1 ? {} : { marker: "dot" };
    this.plot(axis, y, seeds, [
      [Plot.areaY, bands, { x: "x", y1: "y1", y2: "y2", z: "line", fill: "ink", fillOpacity: 0.14, className: "band" }],
      [Plot.line, seeds, { ...curve, ...one, z: d => `${d.line} ${d.seed}`, strokeWidth: single ? 2 : 0.8, strokeOpacity: single ? 1 : 0.6, className: "seed" }],
      [Plot.line, single ? [] : means, { ...curve, ...one, z: "line", strokeWidth: 2, className: "mean" }],
    ]);
    const dashes = d3.rollup(shown, ([{ levels }]) => this.dash(levels[this.by()]), ({ i }) => String(i));
    d3.select(this.svg).selectAll(single ? ".seed > path" : ".mean > path").attr("stroke-dasharray", function () {
      return dashes.get(this.getAttribute("data-line")) || null;
    }).attr("stroke-linecap", "butt");
    const banded = new Set(bands.map(d => d.line)), none = banded.size < shown.length ? " (none of fewer than four seeds)" : "";
    const band = banded.size ? `; shaded: band for the whole curve${none}${this.beyond()}` : "";
    this.say(single ? "One seed, no band" : `Thick: ${m.centre} over seeds where all are there${band}; thin: seeds`);
  }
}

// Before the charts hear of it.
addEventListener("beforeprint", () => { printing = true; });
addEventListener("afterprint", () => { printing = false; });
const data = JSON.parse(document.getElementById("chart-data").textContent);
const means = document.getElementById("chart-means"), training = document.getElementById("chart-training");
if (data.metrics.length) new Means(means, data);
if (data.curves.length) new Training(training, data); else training.remove();
})();
