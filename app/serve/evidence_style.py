"""The style of the evidence page, for screen and paper."""

STYLE = """
:root { --ink: #1d2430; --quiet: #667085; --line: #e2e6ec; --paper: #fff; --ground: #f5f6f8; --in: #157347;
  --out: #b42318; --wait: #9a6700; --blue: #1f5fbf; }
* { box-sizing: border-box; }
html { background: var(--ground); }
body { margin: 0 auto; max-width: 60rem; padding: 3rem 3.5rem 4rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
header { border-bottom: 2px solid var(--ink); padding-bottom: 1rem; }
h1 { font-size: 2.1rem; line-height: 1.2; margin: .1rem 0 .6rem; font-variant-numeric: tabular-nums;
  overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.4rem 0 .8rem; }
h3 { font-size: .95rem; margin: 1.6rem 0 .8rem; color: var(--quiet); font-weight: 600; }
p { margin: .25rem 0; }
small { font-size: .8em; color: var(--quiet); }
.kind { text-transform: uppercase; letter-spacing: .08em; font-size: .75rem; color: var(--quiet); font-weight: 600; }
.quiet { color: var(--quiet); font-size: .9rem; }
.wrong { color: var(--out); }
.moment { white-space: nowrap; font-variant-numeric: tabular-nums; }
code, pre { font: 12.5px/1.5 ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; }
code { overflow-wrap: anywhere; }
pre { background: var(--ground); border: 1px solid var(--line); border-radius: 6px; padding: .8rem 1rem; margin: .4rem 0
  1.4rem; white-space: pre-wrap; overflow-wrap: anywhere; }
.cards { display: flex; flex-wrap: wrap; gap: .8rem; }
.card { border: 1px solid var(--line); border-left: 5px solid var(--quiet); border-radius: 6px; padding: .7rem 1.1rem;
  min-width: 14rem; }
.card .state { font-size: 1.15rem; font-weight: 700; }
.card.opted_in { border-left-color: var(--in); } .card.opted_in .state { color: var(--in); }
.card.opted_out { border-left-color: var(--out); } .card.opted_out .state { color: var(--out); }
.card.pending { border-left-color: var(--wait); } .card.pending .state { color: var(--wait); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th { text-align: left; font-weight: 600; color: var(--quiet); font-size: .8rem; }
th, td { padding: .45rem .9rem .45rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
td { font-variant-numeric: tabular-nums; overflow-wrap: break-word; white-space: pre-line; }
ol { list-style: none; margin: 0; padding: 0; }
li { display: grid; grid-template-columns: 6.2rem 1fr; gap: 2.6rem; position: relative; padding-bottom: 1.5rem; }
li::before { content: ""; position: absolute; left: 7.5rem; top: .42rem; width: .6rem; height: .6rem; z-index: 1;
  margin-left: -.3rem; border-radius: 50%; background: var(--quiet); box-shadow: 0 0 0 3px var(--paper); }
li::after { content: ""; position: absolute; left: 7.5rem; top: .7rem; bottom: -.5rem; width: 1px; margin-left: -.5px;
  background: var(--line); }
ol > li:last-child::after { display: none; }
li.inbound::before { background: var(--ink); } li.event::before { background: var(--blue); }
li.reply::before { background: var(--in); }
time { text-align: right; font-variant-numeric: tabular-nums; color: var(--ink); white-space: nowrap; }
.title { font-weight: 650; margin: 0; }
blockquote { display: table; max-width: 36rem; margin: .45rem 0 .5rem; padding: .5rem .9rem;
  border-radius: 4px 14px 14px 14px; background: var(--ground); white-space: pre-wrap; overflow-wrap: anywhere; }
blockquote.reply { background: #e6f2eb; border-radius: 14px 4px 14px 14px; }
.badge { padding: .05rem .5rem; border-radius: 99px; background: var(--ground); font-size: .92em; }
.badge.opted_in { background: #e1f3e8; color: var(--in); } .badge.opted_out { background: #fdeae8; color: var(--out); }
.badge.pending { background: #fdf3d8; color: var(--wait); }
dl { display: flex; flex-wrap: wrap; gap: .1rem 1.4rem; margin: .3rem 0 0; font-size: .85rem; }
dl div { display: flex; gap: .4rem; min-width: 0; }
dt { color: var(--quiet); white-space: nowrap; } dt::after { content: ":"; }
dd { margin: 0; overflow-wrap: anywhere; min-width: 0; }
@media (max-width: 46rem) {
  body { padding: 1.5rem 1.1rem 3rem; }
  li { grid-template-columns: 1fr; gap: .1rem; padding-left: 1.2rem; }
  li::before { left: .3rem; } li::after { left: .3rem; } time { text-align: left; }
}
@media print {
  html, body { background: none; } body { max-width: none; padding: 0; font-size: 10.5pt; }
  li, .card, tr, h2, h3 { break-inside: avoid; } h2, h3 { break-after: avoid; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""
