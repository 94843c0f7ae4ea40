#include "reports/page_style.h"

#include "reports/charts/palette.h"
#include "reports/charts/stacked_bar_chart.h"

#include <string_view>

namespace kvg::reports {

namespace {

constexpr std::string_view kLight =
    "--bg:#fdfdfb;--card:#f5f5f0;--ink:#1c1c1a;--soft:#5c5c56;--line:#dcdcd4;--grid:#e8e8e1;"
    "--mark:#0067a8;--good:#00694d;--good-bg:#dff1ea;--bad:#a33f00;--bad-bg:#fbe6da;"
    "--same:#2d4f73;--same-bg:#e2ebf4;--open:#5c5c56;--open-bg:#ebebe4;--warn-bg:#fff1cc;"
    "--warn:#6a4a00;--band:#e9eef3;";

constexpr std::string_view kDark =
    "--bg:#161615;--card:#20201e;--ink:#ecece8;--soft:#a8a8a0;--line:#3a3a36;--grid:#2b2b28;"
    "--mark:#58a9e8;--good:#5fd3ae;--good-bg:#153a2e;--bad:#ff9f6e;--bad-bg:#46230f;"
    "--same:#9cc4ea;--same-bg:#1d3145;--open:#b4b4ac;--open-bg:#333330;--warn-bg:#43350f;"
    "--warn:#ffd873;--band:#232b33;";

constexpr std::string_view kText = R"css(
*{box-sizing:border-box}
html{background:var(--bg);color:var(--ink);-webkit-text-size-adjust:100%}
body{max-width:1088px;margin:0 auto;padding:44px 24px 80px;
font:16px/1.55 system-ui,-apple-system,"Segoe UI","Helvetica Neue","Noto Sans","Liberation Sans",Arial,sans-serif;
font-variant-numeric:tabular-nums}
header{border-bottom:2px solid var(--ink);padding-bottom:18px;margin-bottom:26px}
.v{white-space:nowrap}
.kicker{font-size:13px;letter-spacing:.08em;text-transform:uppercase;color:var(--soft);margin:0 0 6px}
h1{font-size:34px;line-height:1.15;letter-spacing:-.02em;margin:0 0 12px;font-weight:680}
h2{font-size:22px;letter-spacing:-.01em;line-height:1.25;margin:58px 0 10px;font-weight:650}
h3{font-size:16px;margin:30px 0 8px;font-weight:650}
p{margin:0 0 12px;max-width:74ch}
.meta{display:flex;flex-wrap:wrap;gap:4px 26px;margin:0;font-size:14px;color:var(--soft)}
.meta b{color:var(--ink);font-weight:600}
code,.mono{font:13px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,"Liberation Mono",monospace}
pre{font:13px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,"Liberation Mono",monospace;background:var(--card);
padding:14px 16px;border-radius:6px;white-space:pre-wrap;overflow-wrap:anywhere;margin:0 0 14px}
.banner{background:var(--warn-bg);color:var(--warn);padding:12px 16px;border-radius:6px;margin:0 0 20px;font-weight:600}
.banner b{letter-spacing:.06em}
.notes{background:var(--card);border-radius:6px;padding:10px 16px 10px 34px;margin:0 0 20px;font-size:14px}
.lead{font-size:18px;line-height:1.5;max-width:68ch}
.lead+.lead{margin-top:-2px}
ul.findings{list-style:none;margin:22px 0 0;padding:0;border-top:1px solid var(--line)}
ul.findings li{display:grid;grid-template-columns:212px 160px 1fr;gap:4px 18px;padding:10px 0;border-bottom:1px solid var(--line);font-size:15px}
ul.findings .who{font-weight:600}
ul.findings .size{color:var(--soft)}
ul.findings .say{display:block}
.sw{display:inline-block;width:9px;height:9px;border-radius:50%;background:var(--c);margin-right:8px;vertical-align:1px}
.scroll{overflow-x:auto;margin:6px 0 8px}
table{border-collapse:collapse;width:100%;font-size:14px;line-height:1.35}
th{font-weight:600;text-align:left;vertical-align:bottom;padding:6px 11px 7px 0;border-bottom:1.5px solid var(--ink)}
td{vertical-align:top;padding:7px 11px 7px 0;border-bottom:1px solid var(--line);overflow-wrap:anywhere}
th.n,td.n{text-align:right;white-space:nowrap;overflow-wrap:normal}
th:last-child,td:last-child{padding-right:2px}
td small,th small{display:block;font-size:12px;font-weight:400;color:var(--soft);white-space:nowrap}
td:not(.n) small{white-space:normal}
tr.rule td{border-top:1px solid var(--soft)}
td:first-child{min-width:9.5em}
.wide td:first-child{min-width:22em}
.kv td:first-child{min-width:11em;color:var(--soft)}
.kv td{font-size:13px}
.v{font-size:11.5px;font-weight:650;letter-spacing:.02em;padding:1px 7px 2px;border-radius:9px;margin-right:3px}
.v-better{color:var(--good);background:var(--good-bg)}
.v-worse{color:var(--bad);background:var(--bad-bg)}
.v-same{color:var(--same);background:var(--same-bg)}
.v-unclear{color:var(--open);background:var(--open-bg)}
figure{margin:22px 0 34px}
figcaption{font-size:14px;line-height:1.5;color:var(--soft);max-width:86ch;margin-top:8px}
figcaption b{color:var(--ink)}
.trio{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,320px),1fr));gap:22px 18px}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,480px),1fr));gap:22px 24px}
.note{font-size:13.5px;color:var(--soft);line-height:1.5;max-width:90ch}
.note li{margin-bottom:5px}
details{margin:10px 0 14px}
summary{cursor:pointer;font-weight:600;font-size:15px}
footer{margin-top:64px;border-top:1px solid var(--line);padding-top:12px;font-size:13px;color:var(--soft)}
)css";

constexpr std::string_view kCharts = R"css(
svg{max-width:100%;height:auto;display:block;overflow:visible}
svg text{font-family:inherit;font-size:12px;fill:var(--ink)}
svg .ti{font-size:13.5px;font-weight:650}
svg .al{font-size:11.5px;fill:var(--soft)}
svg .tk{font-size:11px;fill:var(--soft)}
svg .ax{stroke:var(--soft);stroke-width:1}
svg .gr{stroke:var(--grid);stroke-width:1}
svg .ru{stroke:var(--soft);stroke-width:1.25}
svg .mg{fill:var(--band)}
svg .ln{fill:none;stroke:var(--c);stroke-width:1.9;stroke-linejoin:round}
svg .mf .ln{stroke-width:2.4}
svg .mk{fill:var(--c);stroke:var(--bg);stroke-width:1}
svg .eb{stroke:var(--c);stroke-width:1.8}
svg .pt .eb{stroke-width:1.2;stroke-opacity:.6}
svg .bd{fill:var(--c);fill-opacity:.1;stroke:none}
svg .ld{fill:none;stroke:var(--c);stroke-width:.8;stroke-opacity:.6}
svg .lt{fill:var(--c);font-weight:500;paint-order:stroke;stroke:var(--bg);stroke-width:3px;stroke-linejoin:round}
svg .fr{fill:none;stroke:var(--soft);stroke-width:1.2;stroke-dasharray:3 3}
svg .he{fill:var(--card)}
svg .sg{fill:var(--p);stroke:var(--bg);stroke-width:.8}
svg .sl{font-size:11px;fill:var(--q)}
svg .hv{font-size:11px;font-weight:500}
svg .hb .hv{fill:#1c1c1a}
svg .hw .hv{fill:#fff}
.mf{--c:var(--mf)}.mc{--c:var(--mc)}.m0{--c:var(--m0)}.m1{--c:var(--m1)}.m2{--c:var(--m2)}
.m3{--c:var(--m3)}.m4{--c:var(--m4)}.m5{--c:var(--m5)}
.p0{--p:var(--p0);--q:var(--q0)}.p1{--p:var(--p1);--q:var(--q1)}.p2{--p:var(--p2);--q:var(--q2)}
.p3{--p:var(--p3);--q:var(--q3)}.p4{--p:var(--p4);--q:var(--q4)}.p5{--p:var(--p5);--q:var(--q5)}
.p6{--p:var(--p6);--q:var(--q6)}.p7{--p:var(--p7);--q:var(--q7)}.p8{--p:var(--p8);--q:var(--q8)}
.p9{--p:var(--p9);--q:var(--q9)}
)css";

constexpr std::string_view kSmall = R"css(
@media (max-width:700px){body{padding:24px 14px 60px}h1{font-size:27px}
ul.findings li{grid-template-columns:1fr}td:first-child,.wide td:first-child,.kv td:first-child{min-width:8em}}
@media print{body{max-width:none;padding:0;font-size:11pt}h2{break-after:avoid;margin-top:30px}
figure,tr,ul.findings li{break-inside:avoid}.scroll{overflow:visible}table{font-size:9pt}
*{-webkit-print-color-adjust:exact;print-color-adjust:exact}}
)css";

}  // namespace

std::string page_style() {
  std::string css = ":root{color-scheme:light dark;";
  css += std::string(kLight) + palette_css(false) + kind_palette_css(false) + "}\n";
  css += "@media screen and (prefers-color-scheme:dark){:root{";
  css += std::string(kDark) + palette_css(true) + kind_palette_css(true) + "}}";
  css += kText;
  css += kCharts;
  css += kSmall;
  return css;
}

}  // namespace kvg::reports
