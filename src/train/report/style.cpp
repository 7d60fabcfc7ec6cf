#include "train/report/page.h"

namespace hone {

const char* report_style() {
  return R"css(
:root{color-scheme:light dark;--page:#f7f7f5;--card:#fff;--ink:#16181d;--soft:#5b5f68;--faint:#8b8f98;
--rule:#e4e4e0;--grid:#ececE8;--accent:#2a5fc4;--good:#0f7b4f;--bad:#b4332b;--tint:#eef3fc;
--s1:#2a66d0;--s2:#d9691e;--s3:#128a63;--s4:#8a56c9;--s5:#c33f78;--s6:#7d7414;--s7:#0f8aa6;--s8:#74777f}
@media(prefers-color-scheme:dark){:root{--page:#121316;--card:#1b1d21;--ink:#eceef2;--soft:#a8adb7;
--faint:#7c818b;--rule:#2d3037;--grid:#292c32;--accent:#86b0ff;--good:#58c896;--bad:#f08a80;--tint:#1f2735;
--s1:#6ea3ff;--s2:#f2914b;--s3:#4cc79a;--s4:#b690ee;--s5:#ee7faa;--s6:#c6bb4e;--s7:#4fc0da;--s8:#9a9ea7}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);
font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif;-webkit-text-size-adjust:100%}
main{max-width:1120px;margin:0 auto;padding:36px 24px 80px}
.eyebrow{font-size:13px;letter-spacing:.08em;text-transform:uppercase;color:var(--faint);margin:0}
h1{font-size:clamp(28px,5vw,42px);line-height:1.12;letter-spacing:-.02em;margin:.1em 0 .3em;overflow-wrap:anywhere}
h2{font-size:22px;letter-spacing:-.01em;margin:56px 0 4px}
h3{font-size:16px;margin:28px 0 10px}
h2+p.note{margin:0 0 16px}
.note,.fine{color:var(--soft)}.fine{font-size:12.5px;margin:4px 0 0}
code,pre,.text{font-family:ui-monospace,"SF Mono","Cascadia Mono",Menlo,Consolas,"DejaVu Sans Mono",monospace}
.card,figure.chart{background:var(--card);border:1px solid var(--rule);border-radius:12px;padding:16px 18px;margin:0;min-width:0}
.hero{display:grid;grid-template-columns:minmax(0,1.5fr) minmax(0,1fr);gap:16px;margin:26px 0 0}
.lede{color:var(--soft);font-size:17px;max-width:70ch;margin:0}
.hero>.card{display:flex;flex-direction:column;justify-content:center}
.big{font-size:clamp(36px,8vw,68px);font-weight:680;letter-spacing:-.035em;line-height:1.05;margin:6px 0 8px;
font-variant-numeric:tabular-nums;white-space:nowrap}
.big .from{color:var(--faint);font-weight:500}.big .arrow{color:var(--faint);font-weight:300;padding:0 .12em}
.big .to{color:var(--accent)}
.tiles{display:grid;grid-template-columns:1fr 1fr;gap:16px}
.tile b{display:block;font-size:24px;letter-spacing:-.02em;line-height:1.2;font-variant-numeric:tabular-nums}
.tile span{color:var(--soft);font-size:14px}
dl{display:grid;grid-template-columns:max-content minmax(0,1fr);gap:6px 20px;margin:0}
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(320px,100%),1fr));gap:16px}
figure.chart{position:relative;padding:14px 12px 10px}
figcaption{display:flex;flex-direction:column;padding:0 6px 6px;line-height:1.4}
figcaption b{font-size:15px;font-weight:600}figcaption code{font-size:11.5px;color:var(--faint);overflow-wrap:anywhere}
figure svg{display:block;width:100%;height:auto;touch-action:pan-y}
.chart .fine{padding:0 6px}
svg text{font:11px system-ui,sans-serif;fill:var(--faint);font-variant-numeric:tabular-nums}
svg .last{fill:var(--ink);font-weight:600;font-size:11.5px}
svg .grid{stroke:var(--grid);stroke-width:1}
svg .line{fill:none;stroke:var(--c);stroke-width:2;stroke-linejoin:round;stroke-linecap:round}
svg .raw{fill:none;stroke:var(--c);stroke-width:1;opacity:.32}
svg .dot,svg .end{fill:var(--c);stroke:var(--card);stroke-width:1.5}
svg .cross{stroke:var(--faint);stroke-width:1;stroke-dasharray:3 3}
.tip{position:absolute;pointer-events:none;background:var(--ink);color:var(--page);border-radius:7px;padding:4px 9px;
font-size:12.5px;line-height:1.4;white-space:pre;z-index:2;font-variant-numeric:tabular-nums}
.legend{display:flex;flex-wrap:wrap;gap:6px 18px;margin:0 0 14px;padding:0;list-style:none;font-size:14px;color:var(--soft)}
.legend i{display:inline-block;width:12px;height:12px;border-radius:3px;background:var(--c);margin-right:7px;vertical-align:-1px}
.pair{display:grid;grid-template-columns:repeat(2,minmax(0,1fr));gap:16px;margin:0 0 16px}
.sample{background:var(--card);border:1px solid var(--rule);border-radius:12px;padding:14px 16px;min-width:0}
.sample header{display:flex;flex-wrap:wrap;gap:4px 10px;align-items:center;font-size:13px;color:var(--soft);margin-bottom:10px}
.sample>details:last-child{margin-top:8px}
.sample header b{color:var(--ink);font-size:14px}
.text{font-size:13.5px;line-height:1.5;white-space:pre-wrap;overflow-wrap:anywhere;tab-size:4}
.prompt{background:var(--tint);border-radius:10px;padding:12px 16px;margin:0 0 12px}
.prompt span{display:block;font-size:12px;color:var(--soft);margin-bottom:4px}
.pill{border-radius:99px;padding:1px 9px;border:1px solid var(--rule);font-size:12px;white-space:nowrap;font-variant-numeric:tabular-nums}
.pill.good{color:var(--good);border-color:currentColor}.pill.bad{color:var(--bad);border-color:currentColor}
details.think{border-left:3px solid var(--rule);padding:0 0 0 12px;margin:0 0 8px;color:var(--soft)}
summary{cursor:pointer;font-size:13px;color:var(--soft)}summary .pill,summary span{margin-left:8px}summary+.prompt{margin-top:12px}summary:hover{color:var(--ink)}
.cc{border:1px solid var(--rule);border-radius:4px;padding:0 2px;font-size:.85em;color:var(--bad)}
.cut{display:block;color:var(--faint);text-align:center;margin:6px 0}
.empty{color:var(--faint);font-style:italic}
.bar{display:flex;height:26px;border-radius:7px;overflow:hidden;gap:2px;margin:6px 0 12px}
.bar i{background:var(--c);min-width:2px}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:14px;font-variant-numeric:tabular-nums}
th{text-align:left;font-weight:500;color:var(--soft);font-size:13px}
th,td{padding:6px 14px 6px 0;border-bottom:1px solid var(--rule);vertical-align:top}
td.n,th.n{text-align:right}tr:last-child td{border-bottom:0}
td i.key{display:inline-block;width:10px;height:10px;border-radius:3px;background:var(--c);margin-right:8px}
pre{font-size:12.5px;line-height:1.5;white-space:pre-wrap;overflow-wrap:anywhere;margin:10px 0 0}
.missing{border-left:3px solid var(--s2);padding:8px 14px;color:var(--soft);font-size:14px;margin:18px 0 0}
footer{margin-top:64px;color:var(--faint);font-size:13px}
@media(max-width:720px){main{padding:24px 14px 60px}.hero,.pair{grid-template-columns:minmax(0,1fr)}
dl{grid-template-columns:1fr;gap:0 0}dd{margin:0 0 8px}h2{margin-top:44px}}
@media print{details{display:block}.tip{display:none}}
)css";
}

// Shows the values under the pointer. It reads numbers that hone wrote into attributes and sets
// text only; the content security policy allows this script and no other.
const char* report_script() {
  return R"js(
for (const figure of document.querySelectorAll('figure.chart')) {
  const svg = figure.querySelector('svg'), tip = figure.querySelector('.tip');
  const cross = svg.querySelector('.cross');
  const series = [...svg.querySelectorAll('.series')].map(g => ({
    name: g.dataset.n,
    points: g.dataset.p.trim().split(' ').map(p => p.split(',').map(Number)),
    labels: g.dataset.l.split(';')}));
  const hide = () => { tip.hidden = true; cross.setAttribute('visibility', 'hidden'); };
  svg.addEventListener('pointerleave', hide);
  svg.addEventListener('pointermove', event => {
    const box = svg.getBoundingClientRect(), scale = box.width / svg.viewBox.baseVal.width;
    const x = (event.clientX - box.left) / scale;
    let step = '', at = 0;
    const lines = [];
    for (const s of series) {
      let best = 0;
      s.points.forEach((p, i) => {
        if (Math.abs(p[0] - x) < Math.abs(s.points[best][0] - x)) best = i;
      });
      const [label, value] = s.labels[best].split('|');
      if (!step) { step = label; at = s.points[best][0]; }
      lines.push((series.length > 1 ? s.name + '  ' : '') + value);
    }
    tip.textContent = 'step ' + step + (series.length > 1 ? '\n' : '   ') + lines.join('\n');
    tip.hidden = false;
    cross.setAttribute('x1', at);
    cross.setAttribute('x2', at);
    cross.setAttribute('visibility', 'visible');
    const want = box.left - figure.getBoundingClientRect().left + at * scale + 10;
    tip.style.left = Math.max(4, Math.min(want, figure.clientWidth - tip.offsetWidth - 6)) + 'px';
    tip.style.top = (box.top - figure.getBoundingClientRect().top + 4) + 'px';
  });
}
)js";
}

}  // namespace hone
