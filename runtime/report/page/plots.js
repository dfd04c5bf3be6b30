// SPDX-License-Identifier: Apache-2.0
// Plots of migrations: small ones for the table, large ones with axes.
"use strict";

const svgNS = "http://www.w3.org/2000/svg";

function s(tag, attributes, ...children) {
  const e = document.createElementNS(svgNS, tag);
  for (const [k, v] of Object.entries(attributes || {})) e.setAttribute(k, v);
  e.append(...children);
  return e;
}

const points = (xs, ys, x, y) => xs.map((v, i) => x(v).toFixed(1) + "," + y(ys[i]).toFixed(1)).join(" ");

// limits are the largest values of some moves: one scale for all of them lets
// them be compared at a glance.
function limits(moves) {
  const of = (key, least) => moves.reduce((most, m) => Math.max(most, m[key]), least);
  return { end: Math.max(of("end", 1), of("last", 1)), total: of("total", 1), peak: of("peak", 1), pause: of("pause", 1) };
}

// spark draws a move in small: what is left to send as an area, how fast the
// guest changes its memory as a line, and the time it stood still as a band.
function spark(move, limit, width, height) {
  const x = t => 1 + t / limit.end * (width - 3), y = (v, most) => height - 1 - v / most * (height - 3);
  const left = points([0, ...move.t, move.end], [move.total, ...move.left, move.left.at(-1)], x, v => y(v, limit.total));
  const g = s("svg", { width, height, class: "spark", role: "img", "aria-label": moveText(move) });
  g.append(
    s("line", { x1: 0, x2: width, y1: height - .5, y2: height - .5, stroke: "var(--line)" }),
    s("polygon", { points: `${x(0)},${height - 1} ${left} ${x(move.end)},${height - 1}`, fill: "var(--remaining)", "fill-opacity": .28 }),
    s("polyline", { points: left, fill: "none", stroke: "var(--remaining)", "stroke-width": 1.4 }));
  if (Math.max(...move.dirty) > 0)
    g.append(s("polyline", { points: points(move.t, move.dirty, x, v => y(v, limit.peak)), fill: "none", stroke: "var(--dirty)", "stroke-width": 1.6 }));
  if (move.down > 0)
    g.append(s("rect", { x: x(Math.max(0, move.end - move.down)), width: Math.max(2, x(move.down) - x(0)), y: 1, height: height - 2, fill: "var(--down)", "fill-opacity": .6 }));
  hover(g, () => moveText(move));
  return g;
}

const moveText = m => `took ${ms(m.end)}, stood still for ${ms(m.down)}${m.guest ? `, as the guest felt it ${ms(m.guest)}` : ""}; up to ${bytes(Math.max(...m.dirty))}/s changed by the guest`;

// steps are round numbers from 0 to most, in steps of 1, 2 or 5 (or powers of
// two for bytes).
function steps(most, count, base) {
  const raw = most / count;
  let unit = base === 2 ? 1024 ** Math.floor(Math.log(Math.max(raw, 1)) / Math.log(1024)) : 1;
  const rest = raw / unit, power = 10 ** Math.floor(Math.log10(rest));
  const step = base === 2 && rest >= 10
    ? unit * 2 ** Math.ceil(Math.log2(rest))
    : unit * power * [1, 2, 5, 10].find(n => n * power >= rest);
  const all = [];
  for (let v = 0; v <= most * 1.0001; v += step) all.push(v);
  return all;
}

const chartHeight = 172;

// chart is a picture over the time of a move, up to a value of most. draw adds
// what is particular to it, and returns what to say of a time: [when, text].
function chart(width, move, most, end, base, format, draw) {
  const height = chartHeight, left = 58, right = 10, top = 16, bottom = 22;
  const x = t => left + t / end * (width - left - right), y = v => height - bottom - v / most * (height - top - bottom);
  const svg = s("svg", { width, height, class: "plot" });
  for (const v of steps(most, 4, base)) {
    svg.append(s("line", { x1: left, x2: width - right, y1: y(v), y2: y(v), stroke: "var(--line)", "stroke-width": v ? .7 : 1 }));
    svg.append(s("text", { x: left - 6, y: y(v) + 4, "text-anchor": "end" }, format(v)));
  }
  const ticks = steps(end / 1000, Math.max(3, Math.floor(width / 90)), 10);
  for (const t of ticks) svg.append(s("text", { x: x(t * 1000), y: height - 6, "text-anchor": "middle" }, +t.toFixed(3) + " s"));

  const downAt = move.down > 0 ? x(move.end) : Infinity; // its label comes before those of the passes
  let before = 0, labelled = -99; // dirty-sync-count goes up when a pass over the memory begins
  move.pass.forEach((pass, i) => {
    if (pass > before && before > 0) {
      const at = x(move.t[i]);
      svg.append(s("line", { x1: at, x2: at, y1: top, y2: height - bottom, stroke: "var(--soft)", "stroke-dasharray": "2 3", "stroke-width": .8, class: "pass" }));
      if (at - labelled > 26 && (at < downAt - 112 || at > downAt + 112)) {
        svg.append(s("text", { x: at, y: top - 5, "text-anchor": "middle" }, "pass " + pass));
        labelled = at + 16;
      }
    }
    before = pass;
  });
  if (move.down > 0) {
    const from = x(Math.max(0, move.end - move.down)), wide = Math.max(2.5, x(move.end) - from);
    svg.append(s("rect", { x: from, width: wide, y: top, height: height - top - bottom, fill: "var(--down)", "fill-opacity": .3, class: "blackout" }));
    const fits = from + wide + 60 < width;
    svg.append(s("text", { x: fits ? from + wide / 2 : from + wide, y: top - 5, "text-anchor": fits ? "middle" : "end", style: "fill: var(--down); font-weight: 600" }, "down " + ms(move.down)));
  }
  const say = draw(svg, x, y);
  const cross = s("line", { y1: top, y2: height - bottom, stroke: "var(--ink)", "stroke-width": .8, visibility: "hidden" });
  const area = s("rect", { x: left, y: 0, width: Math.max(0, width - left - right), height: height - bottom, fill: "transparent" });
  svg.append(cross, area);
  hover(area, event => {
    const t = (event.clientX - svg.getBoundingClientRect().left - left) / (width - left - right) * end;
    const [at, text] = say(t);
    cross.setAttribute("x1", x(at));
    cross.setAttribute("x2", x(at));
    cross.setAttribute("visibility", "visible");
    return text;
  }, () => cross.setAttribute("visibility", "hidden"));
  return svg;
}

// lines draws curves. others are moves to compare with, in grey.
function lines(move, curves, others, format) {
  return (svg, x, y) => {
    for (const o of others)
      svg.append(s("polyline", { points: points([0, ...o.t], [o.total, ...o.left], x, y), fill: "none", stroke: "var(--soft)", "stroke-opacity": .45, "stroke-width": 1.1 }));
    for (const c of curves) {
      let line = points(move.t, c.values, x, y);
      if (c.area) line = `${x(0)},${y(c.begin)} ` + line;
      if (c.area) svg.append(s("polygon", { points: `${x(0)},${y(0)} ${line} ${x(move.t.at(-1))},${y(0)}`, fill: c.color, "fill-opacity": .16 }));
      svg.append(s("polyline", { points: line, fill: "none", stroke: c.color, "stroke-width": 1.8, "stroke-linejoin": "round", class: "curve" }));
      if (move.t.length < 40) move.t.forEach((t, i) => svg.append(s("circle", { cx: x(t), cy: y(c.values[i]), r: 1.8, fill: c.color })));
    }
    return t => {
      let near = 0;
      move.t.forEach((v, i) => { if (Math.abs(v - t) < Math.abs(move.t[near] - t)) near = i; });
      return [move.t[near], [`${ms(move.t[near])}, pass ${move.pass[near]}`, ...curves.map(c => `${c.name}: ${format(c.values[near])}`)].join("\n")];
    };
  };
}

// blocks draws the guest's pauses, each as wide and as high as it was long: the
// part in which its clock went on below; above that in which it stood still, or its
// stamps were late.
function blocks(pauses, end) {
  return (svg, x, y) => {
    for (const p of pauses) {
      const from = x(Math.max(0, p.t - p.long)), width = Math.max(2, x(Math.min(p.t, end)) - from);
      const block = (low, high, color) => high > low && svg.append(s("rect", { x: from, width, y: y(high), height: y(low) - y(high), fill: `var(--${color})`, "fill-opacity": .85, class: "pause " + color }));
      block(0, p.gap, "gap");
      block(p.gap, p.long, "stop");
    }
    return t => {
      const p = pauses.find(p => t <= p.t && t >= p.t - Math.max(p.long, 50));
      return p ? [p.t, `until ${ms(p.t)} the guest did not run for ${ms(p.long)};\nin ${ms(p.gap)} of it its clock went on`] : [Math.max(0, t), `${ms(Math.max(0, t))}: the guest ran`];
    };
  };
}

// plots are the charts of one move, all with the run's scale or with its own.
function plots(move, limit, others) {
  const most = (...lists) => Math.max(1, ...lists.flat());
  const remaining = { name: "RAM remaining", values: move.left, color: "var(--remaining)", area: true, begin: move.total };
  const speed = v => bytes(v) + "/s";
  const rate = { name: "transfer rate", values: move.rate, color: "var(--rate)" };
  const dirty = { name: "dirty rate", values: move.dirty, color: "var(--dirty)" };
  const pauses = move.pauses || [];
  const end = limit ? limit.end : Math.max(move.end * 1.04, move.last || 0);
  const longest = (limit ? limit.pause : most(pauses.map(p => p.long))) * 1.04;
  const memory = limit ? limit.total : most(move.left, move.total), peak = (limit ? limit.peak : most(move.rate, move.dirty)) * 1.04;
  return h("div", { class: "charts" },
    h("figure", { class: "chart" }, h("figcaption", {}, key("remaining", "RAM remaining"), others.length ? key("soft", "other migrations of the run") : ""),
      fitted(w => chart(w, move, memory, end, 2, bytes, lines(move, [remaining], others, bytes)))),
    h("figure", { class: "chart" }, h("figcaption", {}, key("rate", "transfer rate"), key("dirty", "dirty rate: what the guest changes")),
      fitted(w => chart(w, move, peak, end, 2, speed, lines(move, [rate, dirty], [], speed)))),
    !pauses.length ? "" : h("figure", { class: "chart" }, h("figcaption", {}, key("stop", "guest not heard"), key("gap", "though its clock went on")),
      fitted(w => chart(w, move, longest, end, 10, ms, blocks(pauses, end)))));
}

const key = (color, text, kind = "") => h("span", { class: "swatch" }, h("i", { class: kind, style: `background: var(--${color})` }), text);

// fitted draws into the width that there is, and again when that changes.
function fitted(draw) {
  const box = h("div", { style: `min-height: ${chartHeight}px` }); // nothing jumps when it is drawn
  let drawn = 0;
  new ResizeObserver(([entry]) => {
    const width = Math.floor(entry.contentRect.width);
    if (width > 0 && width !== drawn) requestAnimationFrame(() => box.replaceChildren(draw(drawn = width)));
  }).observe(box);
  return box;
}
