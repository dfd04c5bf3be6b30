const query = document.getElementById("query");
const found = document.getElementById("found");

// rank is how well a topic fits what is asked for; 0: not at all.
function rank(topic, asked) {
  const name = topic.n.toLowerCase();
  const short = name.slice(name.lastIndexOf(".") + 1);
  if (name === asked || short === asked) return 5;
  if (name.startsWith(asked) || short.startsWith(asked)) return 4;
  if (name.includes(asked)) return 3;
  if (asked.length > 2 && topic.s.toLowerCase().includes(asked)) return 2;
  return 0;
}

function search() {
  const asked = query.value.trim().toLowerCase();
  const hits = asked === "" ? [] : topics.map((t, i) => [rank(t, asked), i]).filter((h) => h[0] > 0);
  hits.sort((a, b) => b[0] - a[0] || a[1] - b[1]);
  const rows = hits.slice(0, 30).map(([, i]) => {
    const row = document.createElement("li");
    const link = document.createElement("a");
    link.href = topics[i].p;
    link.textContent = topics[i].n;
    const about = document.createElement("small");
    about.textContent = " " + topics[i].k + ". " + topics[i].s;
    row.append(link, about);
    return row;
  });
  if (asked !== "" && rows.length === 0) {
    const row = document.createElement("li");
    row.textContent = "Nothing is called so.";
    rows.push(row);
  }
  found.replaceChildren(...rows);
  found.hidden = rows.length === 0;
}

query.addEventListener("input", search);
query.addEventListener("keydown", (event) => {
  const first = found.querySelector("a");
  if (event.key === "Enter" && first) first.click();
  if (event.key === "Escape") { query.value = ""; search(); }
});
found.addEventListener("click", () => { found.hidden = true; });
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && document.activeElement !== query) { event.preventDefault(); query.focus(); }
});
search();
