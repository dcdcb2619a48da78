"""The look of the report. Colours: Okabe and Ito's palette, told apart by all common kinds of colour vision."""

CSS = """
:root { color-scheme: light dark; --paper: #fff; --card: #f7f8fa; --ink: #1c2430; --faint: #667085; --rule: #e3e7ed;
  --c0: #0072b2; --c1: #d55e00; --c2: #009e73; --c3: #cc79a7; --c4: #b8860b; --c5: #56b4e9; }
@media screen and (prefers-color-scheme: dark) {
  :root { --paper: #12161c; --card: #1a2029; --ink: #e6eaf0; --faint: #98a2b3; --rule: #2b3440;
    --c0: #4aa8e0; --c1: #f08a4b; --c2: #35c79b; --c3: #e3a0c5; --c4: #e6b84f; --c5: #8fd0f5; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1040px; margin: 0 auto; padding: 40px 24px 64px; }
h1 { margin: 0; font-size: 28px; line-height: 1.2; letter-spacing: -0.01em; overflow-wrap: anywhere; }
h2 { margin: 44px 0 14px; font-size: 18px; }
h3 { margin: 18px 0 6px; font-size: 13px; font-weight: 600; color: var(--faint); }
.subtitle { margin: 6px 0 24px; color: var(--faint); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(112px, 1fr)); gap: 12px; }
.tile { padding: 12px 14px; border-radius: 10px; background: var(--card); font-size: 12.5px; color: var(--faint); }
.value { font-size: 23px; line-height: 1.3; font-weight: 600; color: var(--ink); font-variant-numeric: tabular-nums; }
.charts { display: grid; grid-template-columns: 1fr 1fr; gap: 20px; }
figure { margin: 0; padding: 14px 14px 6px; border: 1px solid var(--rule); border-radius: 10px; min-width: 0; }
figure.wide { grid-column: 1 / -1; }
figcaption { font-weight: 600; font-size: 14px; margin: 0 0 2px 2px; }
svg { display: block; width: 100%; height: auto; }
svg text { font: 12px system-ui, sans-serif; fill: var(--ink); font-variant-numeric: tabular-nums; }
svg .note { fill: var(--faint); font-size: 11px; }
svg .grid { stroke: var(--rule); stroke-width: 1; }
svg .axis { stroke: var(--faint); stroke-width: 1; }
svg .line { fill: none; stroke-width: 1.8; stroke-linejoin: round; stroke-linecap: round; }
svg .pale { stroke-width: 1; opacity: 0.3; }
svg .dot { stroke: var(--paper); stroke-width: 1; }
.c0 { stroke: var(--c0); } .c1 { stroke: var(--c1); } .c2 { stroke: var(--c2); }
.c3 { stroke: var(--c3); } .c4 { stroke: var(--c4); } .c5 { stroke: var(--c5); }
.dot.c0 { fill: var(--c0); } .dot.c1 { fill: var(--c1); } .dot.c2 { fill: var(--c2); }
.dot.c3 { fill: var(--c3); } .dot.c4 { fill: var(--c4); } .dot.c5 { fill: var(--c5); }
pre { margin: 0; padding: 14px 16px; border-radius: 10px; background: var(--card); font: 12.5px/1.5 ui-monospace,
  SFMono-Regular, Menlo, Consolas, monospace; white-space: pre-wrap; overflow-wrap: anywhere; }
.sample { margin: 0 0 8px; }
.sample b { color: var(--c0); font-weight: 600; }
table { border-collapse: collapse; width: 100%; font-size: 13.5px; }
th, td { padding: 5px 10px 5px 2px; border-bottom: 1px solid var(--rule); text-align: left; vertical-align: top; }
th { width: 34%; font-weight: 500; color: var(--faint); overflow-wrap: anywhere; }
td { overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
@media (max-width: 720px) { .charts { grid-template-columns: 1fr; } }
@page { size: A4; margin: 14mm; }
@media print {
  body { font-size: 10pt; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  main { max-width: none; padding: 0; }
  h1 { font-size: 18pt; } h2 { font-size: 12.5pt; margin-top: 20pt; break-after: avoid; } h3 { break-after: avoid; }
  .tiles { grid-template-columns: repeat(4, 1fr); gap: 8pt; }
  .charts { grid-template-columns: 1fr 1fr; gap: 8pt; }
  figure, .tile, tr, .sample { break-inside: avoid; }
  pre { font-size: 8pt; }
}
"""
# What the data report adds: tables of numbers, bars, examples side by side.
DATA_CSS = """
.lead { margin: 0 0 22px; font-size: 17px; line-height: 1.5; max-width: 46em; }
p { margin: 0 0 12px; max-width: 60em; }
table.data { margin: 4px 0 18px; }
.charts + table.data { margin-top: 24px; }
.data th { width: auto; font-size: 12.5px; vertical-align: bottom; border-bottom-color: var(--faint); }
.data th, .data td { padding: 5px 14px 5px 0; }
.data .num { text-align: right; white-space: nowrap; }
.data th:last-child, .data td:last-child { padding-right: 2px; }
.slim { width: auto; min-width: 320px; }
.data .chips { margin: 0; }
svg.share { width: 160px; height: 12px; margin: 4px 0 0; }
svg .fill { stroke: none; }
.fill.c0 { fill: var(--c0); } .fill.c1 { fill: var(--c1); } .fill.c2 { fill: var(--c2); }
.fill.c3 { fill: var(--c3); } .fill.c4 { fill: var(--c4); } .fill.c5 { fill: var(--c5); }
svg .taken { fill: var(--c1); fill-opacity: 0.32; stroke: var(--c1); stroke-width: 1; }
.key { display: inline-block; width: 11px; height: 11px; margin: 0 5px 0 14px; border-radius: 2px; }
.key:first-child { margin-left: 0; }
.key.c0 { background: var(--c0); } .key.c1 { background: var(--c1); } .key.c2 { background: var(--c2); }
.key.taken { border: 1px solid var(--c1); background: color-mix(in srgb, var(--c1) 32%, transparent); }
.keys, .note { font-size: 13px; color: var(--faint); }
.reason { margin: 20px 0 6px; font-size: 14px; font-weight: 600; color: var(--ink); overflow-wrap: anywhere; }
.reason span { font-weight: 400; color: var(--faint); }
.examples { display: grid; grid-template-columns: repeat(auto-fit, minmax(280px, 1fr)); gap: 10px; margin: 0 0 10px; }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 10px; margin: 0 0 12px; }
.example { min-width: 0; border-radius: 10px; background: var(--card); padding: 9px 13px 11px; }
.example pre { padding: 0; background: none; border-radius: 0; font-size: 12px; }
.where { margin: 0 0 4px; font-size: 11.5px; color: var(--faint); overflow-wrap: anywhere; }
.where b { color: var(--ink); font-weight: 600; }
mark { background: none; color: inherit; font-weight: 700; text-decoration: underline 2px var(--c1);
  text-underline-offset: 2px; }
.chips { display: flex; flex-wrap: wrap; gap: 5px; margin: 0 0 14px; }
.chip { padding: 1px 8px; border-radius: 6px; background: var(--card); font: 12px/1.6 ui-monospace, SFMono-Regular,
  Menlo, Consolas, monospace; white-space: pre-wrap; overflow-wrap: anywhere; }
@media (max-width: 720px) { .pair { grid-template-columns: 1fr; } section { overflow-x: auto; } }
@media print {
  .lead { font-size: 11.5pt; }
  .example, .pair { break-inside: avoid; }
  .reason { break-after: avoid; }
  .data { font-size: 8.5pt; } .data th { font-size: 8pt; }
  .data th, .data td { padding: 3pt 8pt 3pt 0; }
  .example pre, .chip { font-size: 7.5pt; }
  svg.share { width: 90px; }
}
"""
