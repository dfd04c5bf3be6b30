// SPDX-License-Identifier: Apache-2.0
// The page: its data lie in script elements; text goes into the document as
// text only, never as HTML.
"use strict";

const order = ["ERROR", "FAIL", "running", "WARN", "CANCEL", "SKIP", "PASS"];
const data = e => JSON.parse(e.textContent);
const run = data(document.getElementById("run")), remark = data(document.getElementById("remark"));
const rows = [...document.querySelectorAll("script.row")].map(data);
const details = [...document.querySelectorAll("script.detail")]; // read when looked at
rows.forEach((row, i) => { row.index = i; row.down = Math.max(-1, ...(row.moves || []).map(m => m.down)); row.guest = Math.max(0, ...(row.moves || []).map(m => m.guest || 0)); });
const scale = limits(rows.flatMap(row => row.moves || []));
// What there is but one of is shown at once.
const only = rows.length === 1 && !(run.planned > 1) ? rows[0] : undefined;
const first = details.length ? data(details[0]) : {};

// h makes an element; children may be lists.
function h(tag, attributes, ...children) {
  const e = document.createElement(tag);
  for (const [k, v] of Object.entries(attributes)) {
    if (k.startsWith("on")) e.addEventListener(k.slice(2), v);
    else if (v !== undefined && v !== false) e.setAttribute(k, v);
  }
  e.append(...children.flat().filter(c => c !== undefined && c !== ""));
  return e;
}

function bytes(n) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let i = 0;
  for (; n >= 1000 && i < units.length - 1; i++) n /= 1024;
  return (n >= 100 || n === 0 ? Math.round(n) : +n.toPrecision(3)) + " " + units[i];
}

function ms(t) {
  if (t < 1000) return (t < 10 ? +t.toFixed(1) : Math.round(t)) + " ms";
  if (t < 60e3) return (t / 1000).toFixed(t < 10e3 ? 2 : 1) + " s";
  const sec = Math.round(t / 1000);
  return (sec >= 3600 ? Math.floor(sec / 3600) + " h " : "") + Math.floor(sec % 3600 / 60) + " min " + sec % 60 + " s";
}

const short = (text, n) => text.length > n ? text.slice(0, n - 1) + "…" : text;
const date = text => new Date(text).toISOString().replace("T", " ").slice(0, 19) + " UTC";
const badge = status => h("span", { class: "status " + status }, status === "running" ? "NOT ENDED" : status);

// The page can be anywhere. Only in the folder of its run, which has the run's name,
// are the files that it names beside it: there it links to them.
const folder = decodeURIComponent(location.pathname.split("/").at(-2) || "");
const atHome = folder === run.id || folder === "latest";
const address = path => "./" + path.split("/").map(encodeURIComponent).join("/");
const file = (path, name) => atHome ? h("a", { href: address(path) }, name || path) : h("code", { class: "path", title: "in the run's folder" }, name || path);

// hover shows what text says of a place while the pointer is there.
const tip = h("div", { class: "tip", role: "tooltip", hidden: "" });
document.body.append(tip);
function hover(e, text, leave) {
  e.addEventListener("pointermove", event => {
    tip.textContent = text(event);
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    tip.style.left = Math.max(4, Math.min(event.clientX + 14, innerWidth - box.width - 8)) + "px";
    tip.style.top = (event.clientY + box.height + 22 > innerHeight ? event.clientY - box.height - 10 : event.clientY + 14) + "px";
  });
  e.addEventListener("pointerleave", () => { tip.hidden = true; if (leave) leave(); });
}

const counts = {};
for (const row of rows) counts[row.status] = (counts[row.status] || 0) + 1;
const present = order.filter(status => counts[status]);

function facts(entries) {
  return h("dl", { class: "facts" }, entries.filter(([, v]) => v).map(([k, v]) => h("div", {}, h("dt", {}, k), h("dd", {}, v))));
}

function drawSummary() {
  const name = document.getElementById("summary").dataset.title;
  document.getElementById("summary").append(h("div", { class: "card" },
    h("div", { class: "top" }, h("h1", {}, name), badge(run.status), h("span", { class: "soft" }, `${rows.length} variant${rows.length === 1 ? "" : "s"}`)),
    h("div", { class: "bar", role: "img", "aria-label": present.map(status => counts[status] + " " + status).join(", ") },
      present.toReversed().map(status => h("span", { class: status, style: "flex: " + counts[status], title: counts[status] + " " + status }))),
    facts([
      ["started", date(run.started)], ["took", run.finished ? ms(run.seconds * 1000) : ""], ["hosts", (run.hosts || []).join(", ") || "lab"],
      ["config", run.config], ["filters", (run.filters || []).join("; ")], ["shard", run.shard], ["seed", run.seed && String(run.seed)],
      ["not run", run.not_run && `${run.not_run} of ${run.planned || "?"}`], ["mhmig", run.version],
    ]),
    remark ? h("div", { class: "remark" }, remark) : "",
    run.command && run.command.length ? h("code", { class: "command" }, run.command.map(word => /^[\w@%+=:,./-]+$/.test(word) ? word : "'" + word.replaceAll("'", "'\\''") + "'").join(" ")) : ""));
}

// ---- the table

const view = { text: "", statuses: new Set(), sort: "index", down: false, shown: [], at: -1 };
const columns = [
  ["status", "Status", (a, b) => order.indexOf(a.status) - order.indexOf(b.status)],
  ["label", "Variant", (a, b) => a.label.localeCompare(b.label, undefined, { numeric: true })],
  ["", "Migrations"],
  ["down", "Downtime", (a, b) => a.down - b.down, "number"],
  ["seconds", "Time", (a, b) => a.seconds - b.seconds, "number"],
];
const chunk = 150; // rows drawn at once

function drawList() {
  const body = h("tbody", {}), more = h("div", {}), heads = [];
  const search = h("input", { type: "search", placeholder: "Filter variants ( / )", "aria-label": "filter variants", id: "filter", oninput: () => { view.text = search.value; fill(); } });
  const chips = present.map(status => {
    const chip = h("button", {
      type: "button", class: "chip " + status, "aria-pressed": "false", onclick: () => {
        if (!view.statuses.delete(status)) view.statuses.add(status);
        chip.setAttribute("aria-pressed", view.statuses.has(status));
        fill();
      },
    }, status === "running" ? "not ended" : status, h("b", {}, counts[status]));
    return chip;
  });
  for (const [id, name, , kind] of columns) {
    const sort = () => { view.down = view.sort === id ? !view.down : kind === "number"; view.sort = id; fill(); };
    heads.push(h("th", { class: kind, "data-sort": id }, id ? h("button", { type: "button", onclick: sort }, name) : name));
  }
  function draw() {
    const from = body.children.length;
    body.append(...view.shown.slice(from, from + chunk).map(drawRow));
    more.hidden = body.children.length >= view.shown.length;
  }
  function fill() {
    const words = view.text.toLowerCase().split(/\s+/).filter(Boolean);
    const compare = columns.find(c => c[0] === view.sort && c[2]);
    view.shown = rows.filter(row => (!view.statuses.size || view.statuses.has(row.status)) && words.every(word => searched(row).includes(word)));
    if (compare) view.shown.sort((a, b) => (view.down ? -1 : 1) * compare[2](a, b) || a.index - b.index);
    for (const head of heads) {
      if (head.dataset.sort && head.dataset.sort === view.sort) head.setAttribute("aria-sort", view.down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    }
    view.at = -1;
    body.replaceChildren();
    draw();
    none.hidden = view.shown.length > 0;
  }
  const none = h("div", { class: "none" }, rows.length ? "No variant is like that." : "No variant has begun.");
  new IntersectionObserver(([entry]) => { if (entry.isIntersecting) draw(); }, { rootMargin: "600px" }).observe(more);
  addEventListener("beforeprint", () => { while (body.children.length < view.shown.length) draw(); });
  const moved = rows.some(row => row.moves);
  document.getElementById("list").append(
    h("div", { class: "tools" }, search, chips),
    h("div", { class: "card" }, h("table", { id: "variants" }, h("thead", {}, h("tr", {}, heads)), body), none, more,
      moved ? h("div", { class: "key" }, key("remaining", "RAM remaining", "area"), key("dirty", "dirty rate"), key("down", "downtime", "band"), "all on one scale") : ""));
  fill();
}

const searched = row => row.searched ||= [row.label, row.name, row.id, row.message, ...(row.hosts || [])].join(" ").toLowerCase();

function drawRow(row) {
  const bad = ["FAIL", "ERROR", "running"].includes(row.status), moves = row.moves || [];
  return h("tr", { class: row.status + (bad ? " bad" : ""), onclick: event => { if (!event.target.closest("a")) location.hash = row.id; } },
    h("td", {}, badge(row.status)),
    h("td", { class: "name" }, h("a", { href: "#" + row.id }, row.label), row.message ? h("div", { class: "note" }, row.message) : ""),
    h("td", { class: "moves" }, moves.length ? h("div", { class: "sparks" }, moves.slice(0, 3).map(m => spark(m, scale, moves.length > 1 ? 100 : 190, 40)), moves.length > 3 ? h("span", { class: "soft" }, "+" + (moves.length - 3)) : "") : ""),
    h("td", { class: "number down" }, row.down >= 0 ? [ms(row.down), row.guest ? h("span", { class: "soft" }, ` (guest ${row.guest < 1000 && row.down < 1000 ? Math.round(row.guest) : ms(row.guest)})`) : ""] : ""),
    h("td", { class: "number" }, row.status === "running" ? "" : ms(row.seconds * 1000)));
}

// ---- one variant

function drawDetail(row) {
  const d = data(details[row.index]), i = view.shown.indexOf(row);
  const beside = (other, text) => other ? h("a", { href: "#" + other.id, title: other.label }, text) : h("span", { class: "soft" }, text);
  return [
    only ? "" : h("nav", {}, h("a", { href: "#" }, "← all variants"), h("span", { class: "end" }, beside(i < 0 ? undefined : view.shown[i - 1], "previous"), beside(i < 0 ? undefined : view.shown[i + 1], "next"))),
    h("div", { class: "card " + row.status }, h("div", { class: "top" }, h("h1", {}, row.label), badge(row.status)),
      h("div", { style: "margin-top: 8px" }, facts([["name", d.name !== row.label ? d.name : ""], ["took", row.status === "running" ? "" : ms(d.seconds * 1000)], ["started", date(d.started)], ["hosts", (d.hosts || []).join(", ")], ["folder", d.id]])),
      (d.warnings || []).map(w => h("div", { class: "WARN", style: "margin-top: 8px; color: var(--tone)" }, "⚠ " + w)),
      (d.notices || []).map(n => h("div", { style: "margin-top: 8px" }, n)),
      d.quarantine ? h("div", { style: "margin-top: 8px" }, `In quarantine until ${d.quarantine.expires.slice(0, 10)}; without, ${d.quarantine.status}: ${d.quarantine.reason} `,
        /^https?:\/\//.test(d.quarantine.tracker) ? h("a", { href: d.quarantine.tracker, rel: "noreferrer" }, d.quarantine.tracker) : d.quarantine.tracker) : ""),
    (d.failures || []).map(drawFailure),
    drawMoves(row, d),
    d.timeline && d.timeline.length ? timeline(d.timeline, d.seconds) : "",
    drawLog(d),
    drawFiles(d),
    drawUnread(d),
    drawParams(row, d),
  ].flat().filter(Boolean);
}

function drawFailure(f, i) {
  const where = [["side", f.side], ["host", f.host], ["VM", f.vm], ["phase", f.phase], ["at", f.position]].filter(([, v]) => v);
  const line = /:(\d+)(:\d+)?$/.exec(f.position || "");
  return h("section", { class: "card failure " + f.status },
    h("div", { class: "top" }, i > 0 ? h("span", { class: "soft" }, "and then") : "", badge(f.status)),
    f.message ? h("div", { class: "message", style: "margin-top: 6px" }, f.message) : "",
    where.length ? h("div", { class: "where" }, where.map(([k, v]) => h("span", {}, k + " ", h("code", { style: "color: var(--ink)" }, v)))) : "",
    f.source ? h("pre", { class: "source" }, line ? h("span", { class: "line" }, line[1]) : "", h("span", {}, f.source.trim())) : "",
    f.backtrace ? h("details", { open: "" }, h("summary", {}, "Backtrace"), h("pre", { class: "box" }, f.backtrace.trim())) : "",
    f.evidence ? h("details", {}, h("summary", {}, "Evidence: what both hosts had to say"), h("pre", { class: "box" }, f.evidence)) : "");
}

// predicted is a prediction, and how it came out.
const predicted = p => (p.converges ? ms(p.ms || 0) : "does not converge") + (p.error ? ` (${p.error.toFixed(2)} of what it took)` : p.verdict ? ` (${p.verdict}${p.why ? ": " + p.why : ""})` : "");

function drawMoves(row, d) {
  if (!d.migrations || !d.migrations.length) return "";
  const all = rows.flatMap(r => (r.moves || []).map((m, i) => ({ ...m, own: r === row ? i : -1 })));
  const box = h("div", {});
  const own = h("input", { type: "checkbox", checked: "", id: "scale", onchange: fill });
  function fill() {
    box.replaceChildren(...d.migrations.flatMap(m => m.vms.map(vm => {
      const i = (d.plots || []).findIndex(p => p.migration === m.number && p.vm === vm.vm);
      const plot = i >= 0 ? d.plots[i] : undefined;
      const others = own.checked ? all.filter(o => o.own !== i).slice(0, 60) : [];
      const figure = (name, value, show, kind = "") => value === undefined ? "" : h("span", { class: kind }, name + " ", h("b", {}, show(value)));
      return h("div", { class: "move" },
        h("h3", {}, `${m.number}: ${vm.vm}, ${m.source} → ${m.destination} `, h("span", { class: "soft" }, vm.status)),
        h("div", { class: "figures" }, figure("total", vm.total_time_ms, ms), figure("downtime", vm.downtime_ms, ms, "down"), figure("guest downtime", vm.guest_downtime_ms, ms, "stop"), figure("guest brownout", vm.guest_brownout_ms, ms, "gap"), figure("setup", vm.setup_time_ms, ms), figure("memory proof", vm.memory_proof_ms, ms), figure("pages compared", vm.memory_proof_pages, String), figure("pages that differ", vm.memory_proof_differ, String, "gap"), figure("memory proof", vm.memory_proof_skipped, why => "skipped: " + why),
          ...(vm.predictions || []).map(p => figure("predicted by " + p.from, p, predicted, p.verdict === "wrong" ? "gap" : "")),
          figure("sent", vm.transferred_bytes, bytes), figure("RAM", vm.ram_bytes, bytes), figure("mean rate", vm.rate_mbps, v => bytes(v * 125000) + "/s"), figure("passes", vm.passes, String)),
        plot ? plots(plot, own.checked ? scale : undefined, others) : h("div", { class: "soft" }, "Nothing was sampled."));
    })));
  }
  fill();
  return h("section", { class: "card", id: "migrations" },
    h("div", { class: "head" }, h("h2", {}, "Migrations"), h("label", { class: "end" }, own, "one scale for the whole run")), box);
}

// drawUnread lists the params that were never read: misspelt, or for another program.
function drawUnread(d) {
  if (!(d.unread_params || []).length) return "";
  return h("section", { class: "card", id: "unread" }, h("div", { class: "head" }, h("h2", {}, "Params that were never read")),
    h("table", {}, h("tbody", {}, d.unread_params.map(p =>
      h("tr", {}, h("td", {}, p.key), h("td", {}, p.nearest ? `did you mean ${p.nearest}?` : ""), h("td", {}, p.origin || ""))))));
}

function drawParams(row, d) {
  const whole = (mine, base) => row.index === 0 ? mine || {} : { ...base, ...mine };
  const params = whole(d.params, first.params), origins = whole(d.origins, first.origins);
  for (const name of d.without || []) delete params[name];
  const names = Object.keys(params).sort();
  if (!names.length) return "";
  const known = Object.keys(origins).length > 0, body = h("tbody", {}), count = h("span", { class: "soft" });
  const search = h("input", { type: "search", placeholder: "Filter params", "aria-label": "filter params", id: "params-filter", style: "max-width: 260px", oninput: fill });
  function fill() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const shown = names.filter(name => words.every(word => `${name} = ${params[name]} ${origins[name] || ""}`.toLowerCase().includes(word)));
    body.replaceChildren(...shown.map(name => h("tr", { class: row.index && d.params && Object.hasOwn(d.params, name) ? "own" : "" },
      h("td", {}, name), h("td", {}, params[name]), known ? h("td", {}, origins[name] || "") : "")));
    count.textContent = shown.length === names.length ? `${names.length}` : `${shown.length} of ${names.length}`;
  }
  fill();
  return h("section", { class: "card", id: "params" },
    h("div", { class: "head" }, h("h2", {}, "Params"), count, h("span", { class: "end" }, search)),
    h("div", { class: "scroll" }, h("table", {}, h("thead", {}, h("tr", {}, h("th", {}, "param"), h("th", {}, "value"), known ? h("th", {}, "from") : "")), body)));
}

const levels = ["DEBUG", "INFO", "WARN", "ERROR"];

function drawLog(d) {
  const box = h("pre", { class: "box" }), count = h("span", { class: "soft" });
  const all = (d.logTail || "").split("\n").filter(Boolean).map(text => ({ text, level: levels.indexOf(text.slice(13).match(/^[A-Z]+/)?.[0]) }));
  const choice = h("select", { id: "log-level", "aria-label": "least level", onchange: fill }, levels.map(level => h("option", { value: level }, level === "DEBUG" ? "all" : level === "ERROR" ? "ERROR" : level + " and worse")));
  function fill() {
    const least = levels.indexOf(choice.value);
    const shown = all.filter(line => line.level < 0 || line.level >= least);
    box.replaceChildren(...shown.map(line => h("span", { class: "line " + (levels[line.level] || "") }, line.text + "\n")));
    count.textContent = shown.length === all.length ? `${all.length} lines` : `${shown.length} of ${all.length} lines`;
    box.scrollTop = box.scrollHeight;
  }
  fill();
  requestAnimationFrame(() => { box.scrollTop = box.scrollHeight; });
  return h("section", { class: "card", id: "log" }, h("div", { class: "head" }, h("h2", {}, "Log"), d.logTail ? [count, choice] : "", h("span", { class: "end" }, file(d.log))),
    d.logTail ? [d.logCut ? h("div", { class: "soft" }, "Its end; the file has it all.") : "", box] : h("div", { class: "soft" }, d.logCut ? "The logs of this run are too long for one page: see the file." : "Nothing was logged."));
}

function drawFiles(d) {
  const content = f => {
    const text = (d.texts || {})[f.path];
    return text ? h("details", {}, h("summary", {}, text.cut ? "its end" : "show"), h("pre", { class: "box" }, text.text)) : "";
  };
  const list = (name, files) => files && files.length ? [h("h2", {}, name), h("ul", { class: "files" }, files.map(f =>
    h("li", {}, file(f.path, f.path.slice(d.id.length + 1)), h("span", { class: "soft" }, " " + bytes(f.size)), content(f))))] : [];
  const all = [...list("Artifacts", d.artifacts), ...list("VMs", d.vmFiles)];
  return all.length ? h("section", { class: "card", id: "files" }, all) : "";
}

// ---- where we are

function show() {
  const list = document.getElementById("list"), detail = document.getElementById("detail");
  let id = location.hash.slice(1);
  try { id = decodeURIComponent(id); } catch { /* as it is */ }
  const row = only || rows.find(r => r.id === id);
  tip.hidden = true;
  list.hidden = Boolean(row);
  const squares = document.getElementById("squares");
  if (squares) squares.hidden = Boolean(row);
  detail.hidden = !row;
  document.getElementById("summary").hidden = Boolean(row) && !only;
  detail.replaceChildren(...(row ? drawDetail(row) : []));
  detail.style.paddingTop = row ? "22px" : "";
  if (row) {
    view.last = row;
    scrollTo(0, 0);
  } else if (view.last) {
    const at = view.shown.indexOf(view.last), tr = document.querySelectorAll("#variants tbody tr")[at];
    if (tr) select(at);
  }
}

function select(at) {
  const all = document.querySelectorAll("#variants tbody tr");
  if (at < 0 || at >= all.length) return;
  all[view.at]?.classList.remove("at");
  view.at = at;
  all[at].classList.add("at");
  all[at].scrollIntoView({ block: "nearest" });
}

addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const detail = !document.getElementById("detail").hidden, typing = event.target.matches("input");
  if (event.key === "Escape") {
    if (typing) event.target.blur();
    else if (detail) location.hash = "";
  } else if (typing && !(event.target.id === "filter" && ["ArrowDown", "ArrowUp", "Enter"].includes(event.key))) {
    return;
  } else if (event.key === "/") {
    event.preventDefault();
    document.getElementById(detail ? "params-filter" : "filter")?.focus();
  } else if (["j", "k", "ArrowDown", "ArrowUp"].includes(event.key) && !(detail && event.key.startsWith("Arrow"))) {
    const by = event.key === "j" || event.key === "ArrowDown" ? 1 : -1;
    event.preventDefault();
    if (!detail) return select(Math.max(0, view.at + by));
    const to = view.shown[view.shown.indexOf(view.last) + by];
    if (to) location.hash = to.id;
  } else if (event.key === "Enter" && !detail && view.shown[view.at] && !event.target.matches("a, button")) {
    location.hash = view.shown[view.at].id;
  }
});

document.getElementById("files-of-run").replaceChildren(...["results.json", "junit.xml"].flatMap(name => [" · ", file(name)]));
drawSummary();
drawList();
addEventListener("hashchange", show);
show();
