"""The look of report.html: light and dark, screen and paper, from 400 pixels upwards."""

from typing import Final

CSS: Final = """
:root { color-scheme: light dark; --ink: #1d1d1f; --soft: #5f6368; --paper: #fff; --line: #dcdfe3; --panel: #f6f7f9;
  --good: #14693b; --bad: #a3261c; --bad-panel: #fdf1ef; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e8ea; --soft: #a2a7ae; --paper: #16181b; --line: #34383e;
  --panel: #1f2226; --good: #6fcf97; --bad: #ff9d92; --bad-panel: #33201e; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1.25rem 4rem; max-width: 76rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", "Liberation Sans", sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .2rem; }
h2 { font-size: 1.2rem; margin: 2.4rem 0 .6rem; padding-top: .8rem; border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.4rem 0 .4rem; }
p { margin: .4rem 0; max-width: 46rem; }
.soft, figcaption, caption { color: var(--soft); font-size: .875rem; }
.stamp { display: inline-block; margin: .5rem 0; padding: .15rem .6rem; border-radius: .3rem; font-weight: 600;
  border: 1px solid currentColor; }
.stamp.complete { color: var(--good); } .stamp.partial { color: var(--bad); }
.tiles { display: flex; flex-wrap: wrap; gap: .6rem; margin: .8rem 0; padding: 0; list-style: none; }
.tiles li { background: var(--panel); border: 1px solid var(--line); border-radius: .4rem; padding: .4rem .8rem; }
.tiles b { display: block; font-size: 1.35rem; line-height: 1.25; font-variant-numeric: tabular-nums; }
.tiles span { color: var(--soft); font-size: .8rem; }
.tiles .bad b { color: var(--bad); }
.caveats { background: var(--bad-panel); border-left: 3px solid var(--bad); margin: .8rem 0;
  padding: .6rem 1rem .6rem 2rem; }
.caveats li { margin: .25rem 0; }
.asked { font-size: 1.05rem; }
.found { margin: .6rem 0; padding: 0 0 0 1.1rem; } .found li { margin: .3rem 0; max-width: 60rem; }
.found .shown { font-weight: 600; }
.chart { margin: 1rem 0 1.8rem; } .chart .frame { position: relative; overflow-x: auto; background: #fff;
  color: #222; border: 1px solid var(--line); border-radius: .4rem; }
.chart svg { display: block; width: 100%; max-width: 60rem; margin: 0 auto;
  font: 12px system-ui, "Liberation Sans", sans-serif; }
.chart svg text { fill: #222; } .chart svg .tick { fill: #555; font-size: 11px; } .chart svg .faint { opacity: .15; }
.tip { display: none; position: absolute; z-index: 2; pointer-events: none; background: #fff; color: #222;
  border: 1px solid #999; border-radius: .3rem; padding: .3rem .5rem; font-size: .8rem; line-height: 1.35;
  box-shadow: 0 1px 5px #0003; max-width: 18rem; }
.controls { display: flex; flex-wrap: wrap; gap: .5rem 1rem; align-items: center; margin: .5rem 0; font-size: .875rem; }
.controls select { font: inherit; max-width: 100%; } .chips { display: flex; flex-wrap: wrap; gap: .3rem 1rem; }
.chips fieldset { border: 1px solid var(--line); border-radius: .4rem; margin: 0; padding: .1rem .6rem .3rem; }
.chips legend { color: var(--soft); font-size: .8rem; } .chips .swatch { border-bottom: 3px solid; padding: 0 .2rem; }
.chips label { margin-right: .7rem; white-space: nowrap; }
th button { all: unset; cursor: pointer; font: inherit; } th button:focus-visible { outline: 2px solid currentColor; }
th[aria-sort=ascending] button::after { content: " \\25B4"; }
th[aria-sort=descending] button::after { content: " \\25BE"; }
.word { min-width: 6.5rem; }
.scroll { overflow-x: auto; margin: .6rem 0; }
table { border-collapse: collapse; font-size: .875rem; overflow-wrap: normal; }
th { text-align: left; font-weight: 600; border-bottom: 2px solid var(--line); vertical-align: bottom; }
td { border-bottom: 1px solid var(--line); vertical-align: top; }
th, td { padding: .28rem .9rem .28rem 0; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
th.number { white-space: normal; }
figure { margin: 1rem 0 1.6rem; }
figure .frame { overflow-x: auto; background: #fff; border: 1px solid var(--line); border-radius: .4rem;
  padding: .4rem; }
figure img { display: block; margin: 0 auto; height: auto; max-width: 100%; }
@media screen and (max-width: 40rem) { body { padding: 1rem .8rem 3rem; } figure img { max-width: none; }
  .chart svg { min-width: 34rem; } }
details { margin: .5rem 0; border: 1px solid var(--line); border-radius: .4rem; padding: .1rem .9rem; }
summary { cursor: pointer; font-weight: 600; padding: .4rem 0; }
@media print { body { max-width: none; padding: 0; font-size: 10pt; } h2 { break-after: avoid; }
  figure, tr, .tiles { break-inside: avoid; } figure .frame { border: 0; overflow: visible; }
  .scroll { overflow: visible; } table { font-size: 7pt; } .number { white-space: normal; }
  .word { min-width: 0; } .controls, .tip { display: none !important; } .chart { break-inside: avoid; }
  th button::after { content: none !important; } }
"""
