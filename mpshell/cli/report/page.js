"use strict";

/* The page: what the data say, as elements whose texts are set and never parsed. */

const began = performance.now();
const data = JSON.parse(document.getElementById("data").textContent);
const count = data.names.length;
const PAGE = 100;
const SLOWEST = 20;
const LISTED = 50;
const PRINTED = 30;

const byId = (id) => document.getElementById(id);
const seconds = (ticks) => (ticks < 0 ? "" : (ticks / data.ticks).toFixed(ticks < 10 * data.ticks ? 3 : 1));
const nodesOf = (number) => `${number.toLocaleString("en")} ${number === 1 ? "node" : "nodes"}`;
const variable = (kind) => `--${kind.replaceAll(" ", "-")}`;

/* Return an element with attributes, and children that are elements or texts. */
function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function mark(kind) {
  const made = element("span", { class: "mark", "aria-hidden": "true" });
  made.style.background = `var(${variable(kind)})`;
  return made;
}

function outcomeOf(row) {
  return data.sentences[data.sentence[row]] || data.kinds[data.kind[row]];
}

function colours() {
  const style = getComputedStyle(document.documentElement);
  const value = (name) => style.getPropertyValue(name).trim();
  return { wait: value("--wait"), kinds: data.kinds.map((kind) => value(variable(kind))) };
}

// -- what is chosen ---------------------------------------------------------------------------------

const chosen = { kinds: data.kinds.map(() => true), test: null, rows: [], sort: "rank", down: false, page: 0 };

function choose() {
  const rows = [];
  for (let row = 0; row < count; row++) {
    if (chosen.kinds[data.kind[row]] && (chosen.test === null || chosen.test(data.names[row]))) rows.push(row);
  }
  chosen.rows = rows;
  byId("matches").value = rows.length === count ? nodesOf(count) : `${rows.length.toLocaleString("en")} of ${nodesOf(count)}`;
  timeline.show(rows);
  showDurations();
  showSlowest();
  sortNodes();
}

function search() {
  const text = byId("search").value.trim();
  if (text === "") {
    chosen.test = null;
  } else {
    const test = nodeSet(text);
    const found = test !== null && data.names.some(test);
    // What names no node, or is no node set, is looked for in the names.
    chosen.test = found ? test : (name) => name.includes(text);
  }
  choose();
}

function showKinds() {
  const counts = data.kinds.map(() => 0);
  for (const kind of data.kind) counts[kind]++;
  data.kinds.forEach((kind, at) => {
    const box = element("input", { type: "checkbox", "data-kind": kind });
    box.checked = true;
    box.addEventListener("change", () => { chosen.kinds[at] = box.checked; choose(); });
    byId("kinds").append(element("label", {}, box, mark(kind), `${kind}: ${counts[at].toLocaleString("en")}`));
  });
}

// -- durations --------------------------------------------------------------------------------------

/* Bins of 1, 2 and 5 times a power of ten, in ticks. */
function bins(longest) {
  const found = [0];
  for (let size = 10; ; size *= 10) {
    for (const step of [1, 2, 5]) {
      found.push(step * size);
      if (step * size > longest) return found;
    }
  }
}

function showDurations() {
  let longest = 0;
  for (const row of chosen.rows) longest = Math.max(longest, data.length[row]);
  const edges = bins(longest);
  const counts = edges.slice(1).map(() => 0);
  for (const row of chosen.rows) {
    if (data.length[row] < 0) continue;
    let bin = 0;
    while (data.length[row] >= edges[bin + 1]) bin++;
    counts[bin]++;
  }
  const first = Math.max(0, counts.findIndex((number) => number > 0));
  const most = Math.max(1, ...counts);
  byId("durations").tBodies[0].replaceChildren(...counts.slice(first).map((number, at) => {
    const bar = element("div");
    bar.style.width = `${(100 * number) / most}%`;
    bar.hidden = number === 0;
    const [from, to] = [edges[first + at], edges[first + at + 1]];
    return element("tr", {},
      element("td", {}, `${from / data.ticks} to ${to / data.ticks}`),
      element("td", { class: "number" }, number.toLocaleString("en")), element("td", { class: "bar" }, bar));
  }));
}

function showSlowest() {
  const slowest = [];
  for (const row of chosen.rows) {
    if (data.length[row] < 0) continue;
    if (slowest.length < SLOWEST || data.length[row] > data.length[slowest[SLOWEST - 1]]) {
      slowest.push(row);
      slowest.sort((a, b) => data.length[b] - data.length[a] || a - b);
      slowest.length = Math.min(slowest.length, SLOWEST);
    }
  }
  byId("slowest").tBodies[0].replaceChildren(...slowest.map((row) => element("tr", {},
    element("td", {}, opener(row)), element("td", { class: "number" }, seconds(data.length[row])),
    element("td", {}, mark(data.kinds[data.kind[row]]), outcomeOf(row)))));
}

// -- the table --------------------------------------------------------------------------------------

function sortNodes() {
  const columns = { rank: (row) => row, kind: (row) => data.kind[row], start: (row) => data.start[row],
    length: (row) => data.length[row], attempt: (row) => data.attempt[row] };
  const value = columns[chosen.sort];
  const sign = chosen.down ? -1 : 1;
  if (chosen.sort !== "rank" || chosen.down) chosen.rows.sort((a, b) => sign * (value(a) - value(b)) || a - b);
  for (const button of document.querySelectorAll("#nodes th button")) {
    const sorted = button.dataset.sort === chosen.sort;
    button.parentElement.setAttribute("aria-sort", sorted ? (chosen.down ? "descending" : "ascending") : "none");
    button.parentElement.dataset.name = button.textContent;
  }
  chosen.page = 0;
  showNodes();
}

function showNodes() {
  const pages = Math.max(1, Math.ceil(chosen.rows.length / PAGE));
  const begin = chosen.page * PAGE;
  byId("page").value = `page ${chosen.page + 1} of ${pages}`;
  byId("previous").disabled = chosen.page === 0;
  byId("next").disabled = chosen.page + 1 === pages;
  byId("nodes").tBodies[0].replaceChildren(...chosen.rows.slice(begin, begin + PAGE).map((row) => element("tr", {},
    element("td", {}, opener(row)), element("td", {}, mark(data.kinds[data.kind[row]]), outcomeOf(row)),
    element("td", { class: "number" }, seconds(data.start[row])),
    element("td", { class: "number" }, seconds(data.length[row])),
    element("td", { class: "number" }, data.attempt[row] ? String(data.attempt[row]) : ""))));
}

/* Return a button that opens the details of a node. */
function opener(row) {
  const button = element("button", { type: "button", class: "open" }, data.names[row]);
  button.addEventListener("click", () => showDetail(row));
  return button;
}

function showDetail(row) {
  byId("detail-node").textContent = data.names[row];
  const host = data.hosts[data.on[row]];
  const parts = [outcomeOf(row)];
  if (data.start[row] >= 0) parts.push(`from ${seconds(data.start[row])} s on, for ${seconds(data.length[row])} s`);
  if (data.attempt[row] > 1) parts.push(`attempt ${data.attempt[row]}`);
  if (data.engine[row] > 0) parts.push(`engine ${data.engine[row]}${host ? ` on ${host}` : ""}`);
  byId("detail-about").textContent = parts.join("; ");
  byId("detail-texts").replaceChildren(
    element("h3", {}, "standard output"), shownText(data.out[row]),
    element("h3", {}, "standard error"), shownText(data.err[row]));
  byId("detail").showModal();
}

function shownText(at) {
  if (at < 0) return element("p", { class: "hint" }, "none, or not in the journal");
  const { text, size, left_out } = data.texts[at];
  const bytes = `${size.toLocaleString("en")} bytes`;
  if (text === null) return element("p", { class: "hint" }, `${bytes}, left out of this page for its size`);
  const made = element("div", {}, element("pre", { tabindex: "0" }, text));
  if (left_out) made.append(element("p", { class: "hint" }, `${bytes}, of which ${left_out.toLocaleString("en")} are left out here`));
  return made;
}

// -- groups -----------------------------------------------------------------------------------------

/* What makes the content of a group, by its element. */
const fillers = new Map();

/* Return a group of nodes that can be opened; its content is made when it is. */
function group(head, members, content) {
  const inside = element("div");
  const made = element("details", {}, element("summary", {}, ...head), inside);
  fillers.set(made, () => {
    if (inside.childElementCount) return;
    const listed = members.rows.slice(0, LISTED).flatMap((row) => [opener(row), " "]);
    if (members.count > LISTED) listed.push(`and ${(members.count - LISTED).toLocaleString("en")} more`);
    inside.append(element("p", {}, element("code", {}, members.nodes)), ...content(), element("p", {}, ...listed));
  });
  made.addEventListener("toggle", () => { if (made.open) fillers.get(made)(); });
  return made;
}

function showFailures() {
  const made = data.failures.map((failure) => group(
    [mark(failure.kind), `${nodesOf(failure.count)}: ${failure.sentence || failure.kind}`,
      ...(failure.words ? [": ", element("code", {}, failure.words)] : [])],
    failure, () => [shownText(data.err[failure.rows[0]])]));
  showGroups("failures", made, data.failures_left_out);
}

function showOutputs() {
  const made = data.outputs.map((output, at) => {
    const what = output.out < 0 ? "no output" : `${data.texts[output.out].size.toLocaleString("en")} bytes`;
    const head = `${nodesOf(output.count)}: ${what}${at === 0 && data.outputs.length > 1 ? ", the output of most nodes" : ""}`;
    return group([head], output, () => [...(output.diff ? [difference(output.diff)] : []), shownText(output.out)]);
  });
  showGroups("outputs", made, data.outputs_left_out);
}

function showGroups(id, made, leftOut) {
  byId(id).replaceChildren(...(made.length ? made : [element("p", {}, "None.")]));
  if (leftOut) {
    byId(id).append(element("p", { class: "hint" },
      `${leftOut.toLocaleString("en")} more groups, which are smaller, are left out of this page for its size. The table below has their nodes.`));
  }
}

function difference(text) {
  const made = element("pre", { tabindex: "0", "aria-label": "difference from the output of most nodes" });
  for (const line of text.split("\n")) {
    const kind = line.startsWith("+") ? "added" : line.startsWith("-") ? "removed" : "";
    made.append(element("span", kind ? { class: kind } : {}, line), "\n");
  }
  return made;
}

// -- the whole --------------------------------------------------------------------------------------

function showHead() {
  byId("command").textContent = data.command;
  document.title = `mpshell: ${data.command.slice(0, 80)}`;
  const began_at = new Date(data.started_at * 1000).toISOString().replace("T", " ").slice(0, 19);
  const ran = data.start.reduce((number, start) => number + (start >= 0), 0);
  const rate = data.duration > 0 ? (ran / data.duration).toFixed(ran / data.duration < 10 ? 1 : 0) : "0";
  byId("about").textContent = [`run ${data.run}${data.mode === "run" ? "" : ` (${data.mode} of run ${data.root})`}`,
    `${began_at} UTC`, nodesOf(count), `${data.duration.toFixed(1)} s`, `${rate} nodes/s`, `over ${data.transport}`,
    ...(data.fanout ? [`fanout ${data.fanout}`] : []), `by ${data.user} on ${data.host} in ${data.directory}`].join(" · ");
  const notes = [...(data.ended ? [] : ["The run was broken off, or goes on."]),
    ...(data.error ? [`The run was ended by ${data.error}.`] : []),
    ...(data.incomplete ? [`The journal of this run is incomplete: ${data.incomplete}.`] : [])];
  byId("state").textContent = notes.join(" ");
  byId("state").hidden = notes.length === 0;
  byId("made").textContent = `Made by mpshell ${data.version}.`;
}

const timeline = new Timeline(byId("timeline"), data, colours, (view, shown) => {
  const part = `${seconds(view.from)} to ${seconds(view.to)} s`;
  byId("span").value = part;
  byId("timeline-text").textContent = `${nodesOf(shown)}, ${part} of the run. On the canvas: drag to move, double-click or + and - to zoom, arrows, 0 for all.`;
});

function listen() {
  byId("search-form").addEventListener("submit", (event) => { event.preventDefault(); search(); });
  byId("reset").addEventListener("click", () => {
    byId("search").value = "";
    chosen.kinds.fill(true);
    for (const box of document.querySelectorAll("#kinds input")) box.checked = true;
    search();
  });
  const clicks = { "zoom-in": () => timeline.zoom(0.5), "zoom-out": () => timeline.zoom(2), earlier: () => timeline.move(-0.5),
    later: () => timeline.move(0.5), whole: () => timeline.look(0, timeline.end),
    previous: () => { chosen.page--; showNodes(); }, next: () => { chosen.page++; showNodes(); } };
  for (const [id, act] of Object.entries(clicks)) byId(id).addEventListener("click", act);
  for (const button of document.querySelectorAll("#nodes th button")) {
    button.addEventListener("click", () => {
      chosen.down = chosen.sort === button.dataset.sort && !chosen.down;
      chosen.sort = button.dataset.sort;
      choose();
    });
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => timeline.redraw());
  window.addEventListener("beforeprint", () => {
    for (const list of ["failures", "outputs"]) {
      for (const each of [...byId(list).querySelectorAll("details")].slice(0, PRINTED)) {
        // The event `toggle` comes too late for what is printed now.
        fillers.get(each)();
        each.open = true;
      }
    }
    timeline.draw();
  });
}

showHead();
showKinds();
showFailures();
showOutputs();
listen();
choose();
document.documentElement.dataset.milliseconds = String(Math.round(performance.now() - began));
