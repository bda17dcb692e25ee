// The report's script: charts with hover and filters, tables that sort. Without it, figures and tables are all there.
// It builds elements and sets text; no text of a user's is ever read as HTML. It asks nothing of any network.
"use strict";
(() => {
const SVG = "http://www.w3.org/2000/svg";
const VIRIDIS = ["#471365","#453681","#38598c","#2c7a8e","#21988b","#35b479","#77d053","#bbdf27"];
const W = 720, H = 380, LEFT = 62, RIGHT = 14, TOP = 12, BOTTOM = 44;

function node(parent, tag, attributes, text) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes || {})) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  if (parent) parent.appendChild(made);
  return made;
}
function shape(parent, tag, attributes, text) {
  const made = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  parent.appendChild(made);
  return made;
}
const fmt = v => v === null || v === undefined ? "-" : String(Number(v.toPrecision(4)));
function colour(i, count) {
  const at = count > 1 ? i / (count - 1) * (VIRIDIS.length - 1) : 2;
  const a = Math.floor(at), b = Math.min(a + 1, VIRIDIS.length - 1);
  const part = (i, k) => parseInt(VIRIDIS[i].slice(k, k + 2), 16);
  const mix = k => Math.round(part(a, k) * (1 - at + a) + part(b, k) * (at - a));
  return `rgb(${mix(1)},${mix(3)},${mix(5)})`;
}
// All values, and ends of whiskers as far as they do not dwarf these. With nothing to show, any range will do.
function scale(values, ends, log, chance) {
  const f = log ? Math.log : v => v;
  const places = all => all.filter(v => v !== null && (!log || v > 0)).map(f);
  let a = Infinity, b = -Infinity;
  for (const v of places(values)) { a = Math.min(a, v); b = Math.max(b, v); }
  if (a > b) { a = 0; b = 1; }
  const reach = 1.5 * (b - a) || 0.1 * Math.abs(b) || 1, lowest = a - reach, highest = b + reach;
  for (const v of places(ends)) { a = Math.min(a, Math.max(v, lowest)); b = Math.max(b, Math.min(v, highest)); }
  if (!log && chance !== null && chance >= a - (b - a) && chance <= b + (b - a)) {
    a = Math.min(a, chance); b = Math.max(b, chance);
  }
  const margin = 0.05 * (b - a) || 0.05 * Math.abs(a) || 0.05;
  a -= margin; b += margin;
  const y = v => H - BOTTOM - (f(v) - a) / (b - a) * (H - TOP - BOTTOM);
  const cut = places(ends).some(v => v < a || v > b);
  return { y, cut, ticks: log ? logTicks(exp(a), exp(b)) : ticks(a, b) };
}
// Never 0 nor infinite: a logarithmic axis has no end there.
const exp = v => Math.min(Math.max(Math.exp(v), Number.MIN_VALUE), Number.MAX_VALUE);
function ticks(a, b) {
  const raw = (b - a) / 5, power = Math.pow(10, Math.floor(Math.log10(raw)));
  const step = [1, 2, 5, 10].map(m => m * power).find(s => s >= raw);
  const found = [];
  for (let i = Math.ceil(a / step); i * step <= b; i++) found.push(Number((i * step).toPrecision(10)));
  return found;
}
function logTicks(a, b) {
  const found = [];
  for (let p = Math.floor(Math.log10(a)); p <= Math.log10(b); p++)
    for (const m of [1, 2, 5]) {
      const t = Number((m * Math.pow(10, p)).toPrecision(6));
      if (t >= a && t <= b) found.push(t);
    }
  return found.length > 1 ? found : ticks(a, b);
}

const at = p => p[0].toFixed(1) + " " + p[1].toFixed(1);
const inside = v => Math.max(TOP, Math.min(H - BOTTOM, v));

class Chart {
  constructor(host, data) {
    this.host = host; this.data = data;
    this.hidden = data.factors.map(() => new Set());
    this.controls = node(host, "div", { class: "controls" });
    this.frame = node(host, "div", { class: "frame" });
    this.svg = shape(this.frame, "svg", { viewBox: `0 0 ${W} ${H}`, role: "img" });
    this.tip = node(this.frame, "div", { class: "tip", role: "status" });
    this.note = node(host, "p", { class: "soft" });
    this.svg.addEventListener("pointermove", event => this.hover(event));
    this.svg.addEventListener("pointerleave", () => this.unhover());
  }
  select(label, names, change) {
    const box = node(this.controls, "label", {}, label + " ");
    const made = node(box, "select", {});
    names.forEach((name, i) => node(made, "option", { value: i }, name));
    made.addEventListener("change", () => { change(Number(made.value)); this.filters(); this.draw(); });
    return made;
  }
  filters() {
    if (this.chips) this.chips.remove();
    this.chips = node(this.controls, "div", { class: "chips" });
    this.data.factors.forEach((factor, f) => {
      if (f === this.axis || factor.values.length < 2) return;
      const group = node(this.chips, "fieldset", {});
      node(group, "legend", {}, factor.label);
      factor.values.forEach((value, i) => {
        const box = node(group, "label", {});
        const tick = node(box, "input", { type: "checkbox", "data-factor": f, "data-level": i });
        tick.checked = !this.hidden[f].has(i);
        tick.addEventListener("change", () => {
          if (tick.checked) this.hidden[f].delete(i); else this.hidden[f].add(i);
          this.draw();
        });
        const name = node(box, "span", {}, value);
        if (f === this.by()) { name.className = "swatch"; name.style.borderColor = colour(i, factor.values.length); }
      });
    });
  }
  // Levels of each factor of condition i; the last factor runs fastest.
  levels(i) {
    const found = [];
    for (let f = this.data.factors.length - 1; f >= 0; f--) {
      const count = this.data.factors[f].values.length;
      found[f] = i % count; i = Math.floor(i / count);
    }
    return found;
  }
  shown() {
    const count = this.data.factors.reduce((n, factor) => n * factor.values.length, 1);
    const found = [];
    for (let i = 0; i < count; i++) {
      const levels = this.levels(i);
      if (levels.every((level, f) => f === this.axis || !this.hidden[f].has(level))) found.push({ i, levels });
    }
    return found;
  }
  name(levels) {
    return this.data.factors.map((f, k) => `${f.label} ${f.values[levels[k]]}`).join(", ");
  }
  // Colours tell the levels of the slowest factor that is not on the axis.
  by() { return this.data.factors.findIndex((f, k) => k !== this.axis && f.values.length > 1); }
  colour(levels) {
    const by = this.by();
    return by < 0 ? colour(0, 1) : colour(levels[by], this.data.factors[by].values.length);
  }
  begin(metric, values, ends, ylabel) {
    this.svg.replaceChildren(); this.points = []; this.unhover();
    const s = scale(values, ends, metric.log, metric.chance);
    for (const t of s.ticks) {
      shape(this.svg, "line", { x1: LEFT, x2: W - RIGHT, y1: s.y(t), y2: s.y(t), stroke: "#e6e6e6" });
      shape(this.svg, "text", { x: LEFT - 7, y: s.y(t) + 4, "text-anchor": "end", class: "tick" }, fmt(t));
    }
    if (metric.chance !== null && (!metric.log || metric.chance > 0)) {
      const y = s.y(metric.chance);
      if (y > TOP && y < H - BOTTOM)
        shape(this.svg, "line", { x1: LEFT, x2: W - RIGHT, y1: y, y2: y, stroke: "#888", "stroke-dasharray": "5 4" });
    }
    const along = { x: -(TOP + H - BOTTOM) / 2, y: 14, transform: "rotate(-90)", "text-anchor": "middle" };
    shape(this.svg, "text", along, ylabel);
    this.svg.setAttribute("aria-label", ylabel);
    return s;
  }
  xAxis(label, marks) {
    let free = -Infinity;
    for (const [x, text] of marks) {
      shape(this.svg, "line", { x1: x, x2: x, y1: H - BOTTOM, y2: H - BOTTOM + 4, stroke: "#888" });
      if (x - 3.5 * text.length < free) continue;
      free = x + 3.5 * text.length + 4;
      shape(this.svg, "text", { x, y: H - BOTTOM + 17, "text-anchor": "middle", class: "tick" }, text);
    }
    shape(this.svg, "line", { x1: LEFT, x2: W - RIGHT, y1: H - BOTTOM, y2: H - BOTTOM, stroke: "#888" });
    shape(this.svg, "text", { x: (LEFT + W - RIGHT) / 2, y: H - 8, "text-anchor": "middle" }, label);
  }
  line(points, attributes) {
    let d = "", pen = false;
    for (const p of points) {
      if (p !== null) d += (pen ? "L" : "M") + at(p);
      pen = p !== null;
    }
    return shape(this.svg, "path", { d, fill: "none", ...attributes });
  }
  hover(event) {
    const box = this.svg.getBoundingClientRect();
    const x = (event.clientX - box.left) / box.width * W, y = (event.clientY - box.top) / box.height * H;
    let best = null, least = 900;
    for (const p of this.points) {
      const d = (p.x - x) ** 2 + (p.y - y) ** 2;
      if (d < least) { least = d; best = p; }
    }
    if (!best) { this.unhover(); return; }
    this.tip.replaceChildren(...best.text.map((text, i) => node(null, i ? "div" : "b", {}, text)));
    this.tip.style.display = "block";
    const half = this.frame.clientWidth / 2;
    const left = best.x / W * box.width + box.left - this.frame.getBoundingClientRect().left + this.frame.scrollLeft;
    this.tip.style.left = (left > half ? Math.max(0, left - this.tip.offsetWidth - 12) : left + 12) + "px";
    const lowest = this.frame.clientHeight - this.tip.offsetHeight - 4;
    this.tip.style.top = Math.max(0, Math.min(lowest, best.y / H * box.height - 20)) + "px";
    for (const path of this.svg.querySelectorAll("[data-line]"))
      path.classList.toggle("faint", path.getAttribute("data-line") !== String(best.line));
  }
  unhover() {
    this.tip.style.display = "none";
    for (const path of this.svg.querySelectorAll(".faint")) path.classList.remove("faint");
  }
}

class Means extends Chart {
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
    const all = shown.flatMap(({ i }) => [...m.values[i], m.mean[i]]);
    const ends = shown.flatMap(({ i }) => [m.low[i], m.high[i]]);
    const s = this.begin(m, all, ends, m.label + (m.better ? ` (${m.better})` : ""));
    const place = level => LEFT + 26 + factor.places[level] * (W - RIGHT - LEFT - 52);
    this.xAxis(factor.label, factor.values.map((v, i) => [place(i), v]).sort((a, b) => a[0] - b[0]));
    const lines = new Map();
    for (const c of shown) {
      const key = c.levels.map((level, f) => f === this.axis ? "" : level).join();
      if (!lines.has(key)) lines.set(key, []);
      lines.get(key).push(c);
    }
    let row = 0;
    for (const cells of lines.values()) {
      const dodge = (row - (lines.size - 1) / 2) * Math.min(5, 30 / lines.size);
      cells.sort((a, b) => factor.places[a.levels[this.axis]] - factor.places[b.levels[this.axis]]);
      this.drawLine(cells, row++, c => place(c.levels[this.axis]) + dodge, s);
    }
    const level = `${fmt(100 * this.data.level)} % ${m.method} interval${s.cut ? ", cut off at the frame" : ""}`;
    const many = this.data.seeds.length > 1 ? `; whiskers: ${level}; small dots: seeds` : "";
    this.note.textContent = `Mean over seeds${many}. Point at a mark to see its seeds; untick levels to hide them.`;
  }
  drawLine(cells, key, x, s) {
    const m = this.metric, ink = this.colour(cells[0].levels), log = m.log;
    const y = v => v === null || (log && v <= 0) ? null : s.y(v);
    const group = { stroke: ink, "data-line": key };
    if (this.data.factors[this.axis].ordered)
      this.line(cells.map(c => y(m.mean[c.i]) && [x(c), y(m.mean[c.i])]), { ...group, "stroke-width": 1.6 });
    for (const c of cells) {
      const low = y(m.low[c.i]), high = y(m.high[c.i]), mean = y(m.mean[c.i]);
      const whisker = { x1: x(c), x2: x(c), "stroke-width": 1.4, ...group };
      if (low !== null && high !== null) shape(this.svg, "line", { ...whisker, y1: inside(low), y2: inside(high) });
      const seed = (v, k) => `seed ${this.data.seeds[k]}: ${fmt(v)}`;
      const seeds = m.values[c.i].map((v, k) => v === null ? "" : seed(v, k)).filter(Boolean);
      const head = this.name(c.levels);
      if (mean !== null) {
        shape(this.svg, "circle", { cx: x(c), cy: mean, r: 4, fill: ink, "data-line": key });
        const interval = m.low[c.i] === null ? "" : ` [${fmt(m.low[c.i])}, ${fmt(m.high[c.i])}]`;
        const said = `mean ${fmt(m.mean[c.i])}${interval}, n = ${m.n[c.i]}`;
        this.points.push({ x: x(c), y: mean, line: key, text: [head, said, ...seeds] });
      }
      m.values[c.i].forEach((v, k) => {
        if (y(v) === null) return;
        shape(this.svg, "circle", { cx: x(c) + 7, cy: y(v), r: 2, fill: ink, "fill-opacity": 0.6, "data-line": key });
        this.points.push({ x: x(c) + 7, y: y(v), line: key, text: [head, seed(v, k)] });
      });
    }
  }
}

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
  constructor(host, data) {
    super(host, data);
    const conditions = data.factors.reduce((n, factor) => n * factor.values.length, 1);
    const choose = i => { this.metric = unpacked(data.curves[i], conditions, data.seeds.length); };
    choose(0); this.axis = -1;
    this.select("Metric", data.curves.map(m => m.label), choose);
    // At first one level of the last factor, so that lines can be told apart.
    const last = data.factors.length - 1;
    if (last > 0) data.factors[last].values.forEach((_, i) => { if (i) this.hidden[last].add(i); });
    this.filters(); this.draw();
  }
  draw() {
    const m = this.metric, shown = this.shown();
    const drawn = shown.flatMap(({ i }) => [...m.values[i].flat(), ...m.mean[i]]);
    const s = this.begin(m, drawn, [], m.label + (m.better ? ` (${m.better})` : ""));
    const first = m.epochs[0], span = m.epochs[m.epochs.length - 1] - first || 1;
    const x = e => LEFT + 8 + (e - first) / span * (W - RIGHT - LEFT - 16);
    this.xAxis("epoch", ticks(first, first + span).filter(Number.isInteger).map(t => [x(t), String(t)]));
    const point = (v, k) => v === null || (m.log && v <= 0) ? null : [x(m.epochs[k]), s.y(v)];
    for (const { i, levels } of shown) {
      const ink = this.colour(levels), mark = { "data-line": i }, name = this.name(levels);
      const high = m.high[i].map(point).filter(Boolean), low = m.low[i].map(point).filter(Boolean).reverse();
      const edge = [...high, ...low].map(p => at([p[0], inside(p[1])])).join("L");
      if (high.length) shape(this.svg, "path", { d: `M${edge}Z`, fill: ink, "fill-opacity": 0.14, ...mark });
      m.values[i].forEach((seed, k) => {
        this.line(seed.map(point), { stroke: ink, "stroke-width": 0.6, "stroke-opacity": 0.5, ...mark });
        seed.forEach((v, e) => {
          const p = point(v, e);
          if (!p) return;
          const said = `seed ${this.data.seeds[k]}, epoch ${m.epochs[e]}: ${fmt(v)}`;
          this.points.push({ x: p[0], y: p[1], line: i, text: [name, said, `mean ${fmt(m.mean[i][e])}`] });
        });
      });
      this.line(m.mean[i].map(point), { stroke: ink, "stroke-width": 2, ...mark });
    }
    this.note.textContent = "Thick: mean over seeds where all are there; shaded: band for the whole curve, from four " +
      "seeds; thin: seeds. Tick levels to show them, point at a curve to read it.";
  }
}

function sortable(table) {
  const body = table.tBodies[0];
  const rows = [...body.rows];
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const text = head.textContent;
    head.replaceChildren();
    const button = node(head, "button", { type: "button" }, text);
    head.dataset.label = text;  // for paper: the head of a table that goes on overleaf is repeated without its buttons
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const key = row => {
        const said = row.cells[column].textContent.replace(/^< /, ""), value = parseFloat(said);
        return Number.isNaN(value) ? said : value;
      };
      const order = (a, b) => {  // numbers before words
        const p = key(a), q = key(b);
        if (typeof p !== typeof q) return typeof p === "number" ? -1 : 1;
        return p < q ? -1 : p > q ? 1 : 0;
      };
      body.append(...[...rows].sort((a, b) => down ? order(b, a) : order(a, b)));
    });
  });
}

// On paper nothing can be unfolded.
function unfolded() {
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("details:not([open])")];
    for (const part of closed) part.open = true;
  });
  addEventListener("afterprint", () => { for (const part of closed) part.open = false; });
}

unfolded();
for (const table of document.querySelectorAll("table.sortable")) sortable(table);
const source = document.getElementById("chart-data");
if (source) {
  const data = JSON.parse(source.textContent);
  const means = document.getElementById("chart-means"), training = document.getElementById("chart-training");
  if (means && data.metrics.length) new Means(means, data);
  if (training && data.curves.length) new Training(training, data); else if (training) training.remove();
}
})();
