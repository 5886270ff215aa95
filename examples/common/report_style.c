/* SPDX-License-Identifier: MIT */
/* report_style.c: how a report looks. No script; the browser is told to fetch nothing.
 * Colours are variables, so that the dark page is the same page; on a phone it is one
 * column; lines differ in dashes, and marks in words, not in colour alone.
 * Read next: report.c. */
#include "common.h"

const char report_colours[] =
    ":root{color-scheme:light dark;--ink:#1d2127;--dim:#59626d;--paper:#fff;"
    "--card:#f5f6f8;--line:#d5d9df;--good:#0f6b34;--bad:#a8142c;--mixed:#7a4d00;"
    "--c0:#0b63c5;--c1:#c2500a;--c2:#0a7d55;--c3:#9a3f8c;--c4:#8a6d00;--c5:#3f6f8f;"
    "--shade:11,99,197}\n"
    "@media(prefers-color-scheme:dark){:root{--ink:#e4e7eb;--dim:#a3acb7;--paper:#14171b;"
    "--card:#1d2126;--line:#3a414a;--good:#57c785;--bad:#ff8a94;--mixed:#e5b454;"
    "--c0:#6db1ff;--c1:#ff9f5f;--c2:#4fcf9f;--c3:#e090d5;--c4:#dcc04a;--c5:#8fc3e3;"
    "--shade:109,177,255}}\n";

/* Of a chart, in a page or by itself. */
const char report_drawing[] =
    "svg text{font-size:11.5px;fill:var(--dim)}"
    "svg .name{fill:var(--ink);font-size:12.5px}"
    ".grid{stroke:var(--line);stroke-width:1}\n"
    ".s0{--c:var(--c0)}.s1{--c:var(--c1)}.s2{--c:var(--c2)}.s3{--c:var(--c3)}"
    ".s4{--c:var(--c4)}.s5{--c:var(--c5)}.control{--c:var(--dim)}\n"
    "path{fill:none;stroke:var(--c);stroke-width:2;stroke-linejoin:round}"
    "rect,circle{fill:var(--c)}.whisker{stroke:var(--c);stroke-width:1.5}\n"
    "path.s1{stroke-dasharray:9 3}path.s2{stroke-dasharray:3 2}"
    "path.s3{stroke-dasharray:9 3 2 3}path.s4{stroke-dasharray:1 3}"
    "path.s5{stroke-dasharray:14 4}path.control{stroke-width:1.5;stroke-dasharray:6 "
    "5}path.whisker{stroke-dasharray:none}"
    "path.control.s1,path.control.s5{stroke-dasharray:2 4}"
    "path.control.s2{stroke-dasharray:12 4}"
    "path.control.s3{stroke-dasharray:10 3 2 3}\n";

const char *const report_head[] = {
    "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
    "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n"
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
    "img-src data:; style-src 'unsafe-inline'\">\n"
    "<link rel=\"icon\" href=\"data:,\">\n<style>\n",
    report_colours,
    "*{box-sizing:border-box}\n"
    "body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,"
    "-apple-system,\"Segoe UI\",\"DejaVu Sans\",sans-serif}\n"
    "main{max-width:1160px;margin:0 auto;padding:1.2rem 1rem 3rem}\n"
    "h1{font-size:1.6rem;line-height:1.2;margin:.2rem 0 .8rem}\n"
    "h2{font-size:1.2rem;margin:2.2rem 0 .6rem;border-top:1px solid var(--line);"
    "padding-top:1rem}\n"
    "p{margin:.5rem 0;max-width:46rem}\n"
    ":focus-visible{outline:3px solid var(--c0);outline-offset:2px}\n"
    /* The verdict, and the numbers beside it. */
    ".verdict{font-size:1.15rem;padding:.7rem 1rem;border-left:6px solid var(--dim);"
    "background:var(--card);max-width:none}.verdict b{margin-right:.5rem}\n"
    ".good{border-color:var(--good)}.good b{color:var(--good)}"
    ".bad{border-color:var(--bad)}.bad b{color:var(--bad)}"
    ".mixed{border-color:var(--mixed)}.mixed b{color:var(--mixed)}\n"
    ".tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(9.5rem,1fr));"
    "gap:.6rem;margin:1rem 0}\n"
    ".tiles p{background:var(--card);padding:.6rem .8rem;margin:0;border-radius:6px}"
    ".tiles b{display:block;font-size:1.5rem;line-height:1.25}"
    ".tiles span,.note,figcaption p{color:var(--dim);font-size:.86rem}\n",
    /* Charts. A drawing is 360 wide, about what a column and a phone are, so that its
     * letters are as large as they say. */
    ".charts{display:grid;gap:1rem;align-items:start;"
    "grid-template-columns:repeat(auto-fill,minmax(min(100%,340px),1fr))}\n"
    "figure{margin:1rem 0;min-width:0}.charts figure{margin:0;background:var(--card);"
    "padding:.8rem;border-radius:6px}\n"
    "figcaption{font-weight:600;line-height:1.35;margin-bottom:.4rem}"
    "figcaption p{font-weight:400;margin:.1rem 0}\n"
    "figure>svg{display:block;width:100%;height:auto}",
    report_drawing,
    ".legend{list-style:none;display:flex;flex-wrap:wrap;gap:.1rem .9rem;padding:0;"
    "margin:.3rem 0 0;font-size:.86rem}"
    ".legend svg{width:28px;height:10px;margin-right:.35rem}\n"
    "details{margin-top:.4rem;font-size:.86rem}"
    "summary{cursor:pointer;color:var(--dim);padding:.2rem 0}\n",
    /* Tables. */
    ".scroll{overflow:auto;max-height:24rem}\n"
    "table{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums}"
    "th,td{padding:.25rem .6rem;text-align:right;border-bottom:1px solid var(--line)}"
    "th:first-child,td:first-child{text-align:left}"
    "th{font-weight:600}thead th{color:var(--dim)}\n"
    ".matrix td,.matrix th{text-align:center;padding:.3rem .15rem;min-width:1.75rem;"
    "font-size:.78rem}.matrix th:first-child{text-align:right;padding-right:.4rem}"
    ".matrix td{border:1px solid var(--paper);"
    "background:rgba(var(--shade),calc(var(--p)*.55))}\n"
    "dl{columns:2 20rem;column-gap:2.5rem}dl "
    "div{break-inside:avoid;display:flex;gap:1rem;justify-content:space-between;"
    "border-bottom:1px solid var(--line);padding:.25rem 0}"
    "dt{color:var(--dim)}dd{margin:0;text-align:right;overflow-wrap:anywhere}\n"
    /* Galleries: all images of one are a strip, of which each place shows its part. */
    ".gallery{list-style:none;display:grid;gap:.6rem .5rem;padding:0;margin:.4rem 0;"
    "grid-template-columns:repeat(auto-fill,minmax(4rem,1fr))}\n"
    ".gallery.large{grid-template-columns:repeat(auto-fill,minmax(9rem,1fr))}"
    ".gallery li{font-size:.76rem;line-height:1.25}"
    ".gallery i{display:block;box-sizing:content-box;background-size:100% auto;"
    "image-rendering:pixelated;print-color-adjust:exact;margin-bottom:.2rem;"
    "border:3px solid var(--line);border-radius:3px}\n"
    ".gallery .right i{border-color:var(--good)}"
    ".gallery .wrong i{border-color:var(--bad)}\n"
    "</style>\n<title>",
    NULL};
