// SPDX-License-Identifier: Apache-2.0
// The timeline of a variant: a lane for the variant, for both sides of each
// migration, and for what else happened on each host.
"use strict";

const stepColors = {
  disk_prepared: "#8794a8", scenario: "#b8c1ce", prepare: "#8794a8", ports: "#a9b4c4", start_work: "#8b6fd0", migrate: "#3f7fe0",
  mig_finished: "#2aa6c4", check: "#35a884", check_work: "#5aa33a", done: "#8794a8",
};
const moreColors = ["#c17d3a", "#b8608f", "#6b8fb3", "#94a03a", "#b0605a", "#5c9c97"];

function stepColor(name) {
  if (Object.hasOwn(stepColors, name)) return stepColors[name];
  let hash = 0;
  for (const c of name) hash = (hash * 31 + c.codePointAt(0)) >>> 0;
  return moreColors[hash % moreColors.length];
}

const laneHeight = 30;

function lanesOf(spans) {
  const lanes = new Map();
  const rank = sp => sp.m ? sp.m * 3 + (sp.s === "destination" ? 1 : 0) : sp.h ? 1e6 : 0;
  for (const sp of spans) {
    const id = [sp.m || "", sp.m ? sp.s || "" : "", sp.h || ""].join("\n");
    if (!lanes.has(id)) lanes.set(id, { rank: rank(sp), migration: sp.m, side: sp.s || "", host: sp.h || "", spans: [] });
    lanes.get(id).spans.push(sp);
  }
  const all = [...lanes.values()].sort((a, b) => a.rank - b.rank || (a.host < b.host ? -1 : 1));
  all.forEach((lane, i) => { for (const sp of lane.spans) sp.lane = i; });
  return all;
}

// waitsOf pairs the two sides of each barrier: who waited, and for whom.
function waitsOf(spans) {
  const met = spans.filter(sp => sp.k === "barrier"), waits = [];
  for (const sp of met) {
    const others = met.filter(o => o !== sp && o.n === sp.n && o.m === sp.m && (o.s !== sp.s || o.h !== sp.h) && Math.abs(o.b - sp.b) < 2000);
    others.sort((a, b) => (a.b - a.a) - (b.b - b.a)); // the one that waited least came last
    const last = others[0], length = sp.b - sp.a;
    if (last && last.b - last.a >= length) continue;
    waits.push({ span: sp, last, length, text: waitText(sp, last, length) });
  }
  return waits.sort((a, b) => b.length - a.length);
}

function waitText(sp, last, length) {
  const bySide = sp.s && (!last || last.s && last.s !== sp.s), who = p => bySide ? p.s : p.h || "the variant";
  return `${who(sp)} waited ${ms(length)} ${last ? `for ${who(last)} ` : ""}at ${sp.n}` + (sp.m ? ` (migration ${sp.m})` : "") + (last ? "" : "; nobody else came");
}

function timeline(spans, seconds) {
  const lanes = lanesOf(spans), waits = waitsOf(spans);
  const end = spans.reduce((most, sp) => Math.max(most, sp.b), Math.max(1, seconds * 1000));
  const box = h("div", { class: "scroll", style: `min-height: ${lanes.length * laneHeight + 34}px` });
  let zoom = 1;
  const draw = width => drawTimeline(lanes, waits, end, Math.max(width, 560) * zoom);
  const paint = () => box.replaceChildren(draw(box.clientWidth));
  let width = 0;
  const zoomed = by => () => { zoom = Math.min(16, Math.max(1, zoom * by)); paint(); };
  new ResizeObserver(() => { if (box.clientWidth !== width) { width = box.clientWidth; requestAnimationFrame(paint); } }).observe(box);
  const notable = waits.filter(w => w.length >= 50).slice(0, 10);
  return h("section", { class: "card", id: "timeline" },
    h("div", { class: "head" }, h("h2", {}, "Timeline"), h("span", { class: "end zoom" },
      h("button", { type: "button", title: "zoom out", onclick: zoomed(1 / 2) }, "−"), h("button", { type: "button", title: "zoom in", onclick: zoomed(2) }, "+"))),
    box, legend(spans, waits),
    notable.length ? h("ul", { class: "waits" }, notable.map(w => h("li", {}, h("b", {}, ms(w.length)), w.text.replace(ms(w.length) + " ", "")))) : "");
}

// legend names the colours, as short steps have no room for their names.
function legend(spans, waits) {
  const names = [...new Set(spans.filter(sp => sp.k === "step").map(sp => sp.n))].slice(0, 16);
  return h("div", { class: "key" },
    names.map(name => h("span", { class: "swatch" }, h("i", { class: "step", style: `background: ${stepColor(name)}` }), name)),
    waits.length ? h("span", { class: "swatch" }, h("i", { class: "step hatched" }), "waits; an arrow comes from who was awaited") : "");
}

function drawTimeline(lanes, waits, end, width) {
  const row = laneHeight, bar = 20, left = 138, top = 20, right = 14, height = top + lanes.length * row + 10;
  const x = t => left + Math.max(0, t) / end * (width - left - right), y = lane => top + lane * row + (row - bar) / 2;
  const svg = s("svg", { width, height, class: "timeline" });
  svg.append(s("defs", {},
    s("pattern", { id: "hatch", width: 6, height: 6, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" },
      s("rect", { width: 6, height: 6, fill: "var(--card)", "fill-opacity": .55 }), s("rect", { width: 2.4, height: 6, fill: "var(--ink)", "fill-opacity": .55 })),
    s("marker", { id: "tip", viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 7, markerHeight: 7, orient: "auto-start-reverse" }, s("path", { d: "M0 0 8 4 0 8z", fill: "var(--ink)" }))));
  for (const t of steps(end / 1000, Math.max(3, Math.floor(width / 110)), 10)) {
    svg.append(s("line", { x1: x(t * 1000), x2: x(t * 1000), y1: top - 3, y2: height - 6, stroke: "var(--line)", "stroke-width": .8 }));
    svg.append(s("text", { x: x(t * 1000), y: 11, "text-anchor": "middle" }, +t.toFixed(3) + " s"));
  }
  lanes.forEach((lane, i) => {
    if (i > 0 && lane.rank !== lanes[i - 1].rank + 1 || lane.side === "source")
      svg.append(s("line", { x1: 0, x2: width, y1: top + i * row, y2: top + i * row, stroke: "var(--line)" }));
    const name = lane.migration ? `${lane.migration} ${lane.side === "destination" ? "dest." : lane.side}` : lane.host ? "events" : "variant";
    const label = s("text", { x: 0, y: y(i) + bar / 2 + 4 });
    label.append(s("tspan", { style: "font-weight: 600; fill: var(--ink)" }, name), s("tspan", {}, lane.host ? " " + short(lane.host, 10) : ""));
    if (lane.migration) hover(label, () => `migration ${lane.migration}: ${lane.side} ${lane.host}`);
    svg.append(label);
    for (const sp of lane.spans.filter(sp => sp.k === "step")) {
      const wide = Math.max(1.5, x(sp.b) - x(sp.a) - 1);
      const step = s("rect", { x: x(sp.a), y: y(i), width: wide, height: bar, rx: Math.min(3, wide / 2), fill: stepColor(sp.n), "fill-opacity": .85, class: "step" });
      hover(step, () => `${sp.n}: ${ms(sp.b - sp.a)}\nfrom ${ms(sp.a)} to ${ms(sp.b)}` + (sp.h ? `\n${sp.s || ""} ${sp.h}` : ""));
      svg.append(step);
    }
  });
  for (const w of waits) {
    const sp = w.span, wide = x(sp.b) - x(sp.a);
    if (wide < 1) continue;
    const barrier = s("rect", { x: x(sp.a), y: y(sp.lane), width: wide, height: bar, fill: "url(#hatch)", stroke: "var(--ink)", "stroke-opacity": .35, "stroke-width": .7, class: "barrier" });
    hover(barrier, () => w.text);
    svg.append(barrier);
    if (w.last && wide > 6 && w.last.lane !== sp.lane) {
      const down = sp.lane > w.last.lane;
      svg.append(s("line", {
        x1: x(sp.b), x2: x(sp.b), y1: down ? y(w.last.lane) + bar : y(w.last.lane), y2: down ? y(sp.lane) : y(sp.lane) + bar,
        stroke: "var(--ink)", "stroke-width": 1.2, "marker-end": "url(#tip)", class: "released",
      }));
    }
  }
  lanes.forEach((lane, i) => {
    for (const sp of lane.spans) {
      if (sp.k === "step" && x(sp.b) - x(sp.a) > sp.n.length * 6.4 + 8)
        svg.append(s("text", { x: x(sp.a) + 5, y: y(i) + bar / 2 + 4, class: "name" }, sp.n));
      if (sp.k !== "mark") continue;
      const at = x(sp.a), tone = sp.l === "ERROR" ? "var(--fail)" : sp.l === "WARN" ? "var(--warn)" : "var(--soft)";
      const mark = lane.migration || !lane.host
        ? s("path", { d: `M${at - 3.5} ${y(i) - 4}h7l-3.5 6z`, fill: tone, class: "mark" })
        : s("rect", { x: at - 1.25, y: y(i) + 3, width: 2.5, height: bar - 6, rx: 1, fill: tone, class: "mark" });
      hover(mark, () => [sp.n, ["at " + ms(sp.a), sp.s, sp.h, sp.vm].filter(Boolean).join(" ")].join("\n"));
      svg.append(mark);
    }
  });
  return svg;
}
