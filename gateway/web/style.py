"""The page's style sheet: one column of plain tables that become cards on a telephone; light and dark."""

from typing import Final

STYLE: Final = """
:root{--ground:#f6f7f5;--paper:#fff;--ink:#1d2420;--soft:#5d6a62;--line:#dde2dd;--well:#2c7a4b;--ill:#b3261e;--idle:#8a948d}
@media (prefers-color-scheme:dark){:root{--ground:#141816;--paper:#1c221f;--ink:#e6ebe7;--soft:#9aa79f;--line:#303934;
--well:#5dc389;--ill:#ff8a80;--idle:#77827b}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:72rem;padding:1rem;background:var(--ground);color:var(--ink);
font:16px/1.45 system-ui,sans-serif;overflow-wrap:anywhere}
header .name{margin:0;color:var(--soft)}
h1{margin:.1rem 0 1rem;font-size:1.4rem;line-height:1.25}
h1.ill{color:var(--ill)}
h2{margin:0 0 .5rem;font-size:1rem;color:var(--soft);font-weight:600}
section,.problems{background:var(--paper);border:1px solid var(--line);border-radius:.6rem;
padding:.9rem 1rem;margin:0 0 1rem}
.problems{list-style:none;border-left:.35rem solid var(--ill)}
.problems li+li{margin-top:.7rem}
.dot{display:inline-block;width:.65em;height:.65em;border-radius:50%;margin-right:.45em;background:var(--idle)}
.well .dot,.dot.well{background:var(--well)}
.ill .dot,.dot.ill{background:var(--ill)}
.idle .dot,.dot.idle{background:var(--idle)}
table{width:100%;border-collapse:collapse}
th,td{text-align:left;vertical-align:top;padding:.45rem .6rem .45rem 0;border-top:1px solid var(--line)}
thead th,td[data-label="Age"]{white-space:nowrap}
thead th{border-top:0;color:var(--soft);font-size:.8rem;font-weight:600}
tbody th{font-weight:600}
small,.note{color:var(--soft);font-size:.82rem;font-weight:400}
tbody th small{display:block}
.number{font-variant-numeric:tabular-nums;white-space:nowrap}
.value{display:inline-block;margin-right:.7em}
.value i{font-style:normal;color:var(--soft)}
.bad{color:var(--ill)}
.rejects td{border-top:0;padding-top:0}
pre{margin:.3rem 0 0;padding:.5rem;background:var(--ground);border-radius:.3rem;white-space:pre-wrap;
max-height:8rem;overflow:auto}
dl{display:grid;grid-template-columns:repeat(auto-fill,minmax(13rem,1fr));gap:.7rem;margin:0}
dt{color:var(--soft);font-size:.82rem}
dd{margin:0;font-weight:600}
footer{color:var(--soft);font-size:.82rem}
a{color:inherit}
@media (max-width:44rem){
body{padding:.6rem}
section,.problems{padding:.7rem}
.number{white-space:normal}
thead{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
table,tbody{display:block}
tbody tr{display:grid;grid-template-columns:repeat(3,minmax(0,1fr));gap:.1rem .6rem;padding:.6rem 0;
border-top:1px solid var(--line)}
tbody tr:first-child,tbody tr.rejects{border-top:0}
tbody th,tbody td{display:block;border:0;padding:.1rem 0}
tbody th,.values,.rejects td,td[data-label="State"]{grid-column:1/-1}
td[data-label]:not(.values)::before{content:attr(data-label);display:block;color:var(--soft);font-size:.75rem}
}
"""
