// The page: what is open, selected and stepped to; keys, pointer, search, and the address's hash.

const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const KEYS = [["/", "search"], ["← ↑ → ↓", "move to the next box that way"], ["Enter", "open or close the selected scope"],
  ["Space", "play or pause"], [". and ,", "step on, step back"], ["Home, End", "first step, last step"],
  ["1 2 3", "training, inference, folded"], ["e, c", "open all, close all scopes"], ["+ − 0", "larger, smaller, everything"],
  ["v", "values on the boxes"], ["s", "forward values that gradients read"], ["r", "recorded training"], ["d", "light or dark"], ["Esc", "clear"], ["?", "these keys"]];
const LEGEND = [["input", "input"], ["parameter", "parameter, it trains"], ["state", "state, for the next step"],
  ["op", "forward op"], ["gradient", "gradient op"], ["closed", "closed scope"], ["changed", "differs in another graph"]];
const LINES = [["data", "value"], ["gradient", "gradient"], ["term", "term of a sum"], ["update", "next step"], ["saved", "kept for the gradient"]];

const app = { data, views: data.views, view: null, closed: new Set(), plan: null, selected: null, step: -1, steps: [],
  timer: null, showValues: false, showSaved: false, camera: { x: 0, y: 0, k: 1 }, placedNodes: new Map() };

// --- the graph -----------------------------------------------------------------------------------

function prepare(view) {
  const numbers = new Map(view.scopes.map((path, s) => [JSON.stringify(path), s]));
  view.parents = view.scopes.map((path) => (path.length ? numbers.get(JSON.stringify(path.slice(0, -1))) : -1));
  view.byId = new Map(view.nodes.map((node, i) => [node.id, i]));
  view.readers = view.nodes.map(() => []);
  view.effects = {};
  view.nodes.forEach((node, i) => {
    node.in.forEach((operand) => view.readers[operand].push(i));
    if (node.kind === "gradient" && node.cause !== undefined && node.adjoint === undefined) (view.effects[node.cause] ||= []).push(i);
  });
  view.inside = view.scopes.map(() => []);
  for (const arrow of view.arrows) {
    for (let s = view.nodes[arrow[0]].scope; s !== -1; s = view.parents[s])
      if (within(view, view.nodes[arrow[1]].scope, s)) view.inside[s].push(arrow);
  }
  const boxes = view.nodes.filter((n) => n.inline === undefined).length;
  view.closed = new Set(boxes > data.limit ? view.scopes.map((_, s) => s).filter((s) => s !== ROOT) : []);
}

function setView(key, keep) {
  const view = app.views.find((v) => v.key === key) || app.views[0];
  const twin = keep && app.selected !== null && app.view ? twinIndex(app.view, view, app.selected) : null;
  app.view = view;
  app.closed = view.closed;
  app.selected = twin;
  app.selectedItem = null;
  stop();
  app.step = -1;
  for (const button of $("switch").children) {
    const on = button.dataset.key === view.key;
    button.setAttribute("aria-checked", on);
    button.tabIndex = on ? 0 : -1;
  }
  $("told").textContent = view.told;
  redraw();
  fit();
  if (twin !== null) focusNode(twin);
  remember();
}

// The node of another view that is the same op: along the chain train, inference, folded.
function twinIndex(from, to, index) {
  const chain = app.views, a = chain.indexOf(from), b = chain.indexOf(to);
  let found = index;
  for (let i = a; i < b && found !== undefined; i += 1) found = chain[i + 1].back.get(found);
  for (let i = a; i > b && found !== undefined; i -= 1) found = chain[i].twins[found];
  return found === undefined ? null : found;
}

app.twinOf = (index) => {
  const other = app.views[app.view === app.views[0] ? 1 : 0];
  if (!other || other === app.view) return null;
  const twin = twinIndex(app.view, other, index);
  if (twin === null) return null;
  return { label: other.label, text: other.nodes[twin].formula, go: () => { setView(other.key, true); } };
};

function redraw() {
  const view = app.view;
  app.plan = arrange(view, app.closed, (item) => labelOf(view, item, app.showValues));
  app.placedNodes = new Map();
  const world = $("world");
  world.replaceChildren(drawPlan(view, app.plan, { select: (item) => select(item), toggle, hover }));
  for (const group of world.querySelectorAll(".box")) app.placedNodes.set(group.dataset.key, group);
  app.wires = [...world.querySelectorAll(".wire")];
  app.steps = stepsOf(view, app.plan);
  $("progress").max = app.steps.length;
  $("canvas").setAttribute("aria-label", `graph of ${app.plan.items.size} boxes`);
  showSelection();
  showStep();
}

// What is opened comes into sight whole; what is closed stays where it was.
function toggle(scope) {
  const band = app.plan.bands.find((b) => b.scope === scope);
  const y = band ? band.y : 0, middle = app.plan.width / 2;
  if (app.closed.has(scope)) app.closed.delete(scope);
  else app.closed.add(scope);
  redraw();
  const item = app.plan.items.get(`s${scope}`);
  if (item && band) {
    app.camera.y += (y - (item.y - item.height / 2)) * app.camera.k;
    app.camera.x += (middle - app.plan.width / 2) * app.camera.k;
    move();
    keepInSight(item);
  } else app.showScope(app.view.scopes[scope]);
  remember();
}
app.toggle = toggle;

function setAll(closed) {
  app.closed.clear();
  if (closed) app.view.scopes.forEach((_, s) => { if (s !== ROOT) app.closed.add(s); });
  redraw();
  fit();
  remember();
}

// Opens whatever hides a node.
function reveal(index) {
  let changed = false;
  for (let s = app.view.nodes[index].scope; s !== -1; s = app.view.parents[s]) changed = app.closed.delete(s) || changed;
  if (changed) redraw();
}

app.go = (index) => { reveal(index); select(app.plan.of[index]); focusNode(index); };
app.showScope = (path) => {
  const scope = app.view.scopes.findIndex((p) => p.join("/") === path.join("/"));
  const band = app.plan.bands.find((b) => b.scope === scope);
  if (band) lookAt(-24, band.y, app.plan.width + 48, band.height);
};

// --- selection -----------------------------------------------------------------------------------

function select(item) {
  app.selected = item ? item.index : null;
  app.selectedItem = item || null;
  showSelection();
  remember();
}

function showSelection() {
  const { view, plan } = app;
  let item = app.selectedItem && plan.items.get(app.selectedItem.key);
  if (!item && app.selected !== null) item = plan.of[app.selected];
  app.selectedItem = item || null;
  for (const [key, group] of app.placedNodes) {
    group.classList.toggle("selected", Boolean(item) && key === item.key);
    group.setAttribute("tabindex", item && key === item.key ? 0 : -1);
  }
  $("stage").classList.toggle("focused", Boolean(item));
  const near = new Set(item ? [item.key] : []);
  for (const wire of app.wires) {
    const hot = Boolean(item) && (wire.dataset.tail === item.key || wire.dataset.head === item.key);
    wire.classList.toggle("hot", hot);
    if (hot) { near.add(wire.dataset.tail); near.add(wire.dataset.head); }
  }
  drawSaved(item, near);
  for (const [key, group] of app.placedNodes) group.classList.toggle("near", near.has(key));
  const parts = !item ? showStart(app) : item.scope !== null ? showScope(app, item) : showNode(app, item.index);
  $("panel").replaceChildren(...parts.filter(Boolean));
  $("panel").scrollTop = 0;
  if (item && window.onRecordSelect) window.onRecordSelect(view.scopes[view.nodes[item.index].scope].join("/"));
}

// Forward values that gradients read: many, so they show for one node at a time, or on request.
function drawSaved(item, near) {
  const overlay = $("world").querySelector(".overlay"), paths = [];
  for (const [t, h, kind] of app.view.arrows) {
    if (kind !== "saved") continue;
    const tail = app.plan.of[t], head = app.plan.of[h];
    if (!tail || !head || tail === head) continue;
    const hot = item && (tail === item || head === item);
    if (!hot && !app.showSaved) continue;
    if (hot) { near.add(tail.key); near.add(head.key); }
    const x1 = tail.x + tail.width / 2, x2 = head.x - head.width / 2, bend = Math.max(30, Math.abs(x2 - x1) / 2);
    paths.push(svg("path", { class: `saved ${hot ? "hot" : ""}`, "marker-end": "url(#arrow-saved)",
      d: `M${x1} ${tail.y}C${x1 + bend} ${tail.y} ${x2 - bend} ${head.y} ${x2} ${head.y}` }));
  }
  overlay.replaceChildren(...paths);
}

function hover(item, event) {
  const tip = $("tip");
  if (!item || app.dragging) { tip.hidden = true; return; }
  const node = app.view.nodes[item.index];
  const lines = item.scope !== null ? [["b", app.view.scopes[item.scope].join("/")], ["span", `${item.members.length} nodes; double-click opens it`]]
    : [["b", node.formula], ["span", `${node.head}  ·  ${node.type}`], node.value ? ["span", node.value.lines.join("  ·  ")] : null,
      node.note ? ["em", node.note] : null, ["small", [app.view.scopes[node.scope].join("/"), node.source].filter(Boolean).join("  ·  ")]];
  tip.replaceChildren(...lines.filter(Boolean).map(([tag, text]) => el(tag, { text })));
  tip.hidden = false;
  const stage = $("stage").getBoundingClientRect();
  tip.style.left = `${Math.min(event.clientX - stage.left + 14, stage.width - tip.offsetWidth - 8)}px`;
  tip.style.top = `${Math.min(event.clientY - stage.top + 16, stage.height - tip.offsetHeight - 8)}px`;
}

// --- stepping ------------------------------------------------------------------------------------

// Forward, then the gradient, then what is carried to the next step; a closed scope is one step.
function stepsOf(view, plan) {
  const phases = { forward: [], backward: [], update: [] }, seen = new Set();
  view.nodes.forEach((node, index) => {
    const item = plan.of[index];
    if (!item || !["op", "gradient"].includes(node.kind) || seen.has(item)) return;
    seen.add(item);
    phases[node.lane === "update" ? "update" : node.order ? "backward" : "forward"].push({ item, index });
  });
  phases.backward = upward(plan, phases.backward);
  return Object.entries(phases).flatMap(([phase, list]) => list.map((step) => ({ ...step, phase })));
}

// The gradient as it is swept: of what is ready, the lowest row comes first.
function upward(plan, steps) {
  const of = new Map(steps.map((step) => [step.item, step])), waits = new Map(steps.map((step) => [step, 0]));
  const after = new Map(steps.map((step) => [step, []]));
  for (const { tail, head } of plan.wires) {
    const a = of.get(tail), b = of.get(head);
    if (a && b) { after.get(a).push(b); waits.set(b, waits.get(b) + 1); }
  }
  const ready = steps.filter((step) => waits.get(step) === 0), order = [];
  while (ready.length) {
    let best = 0;
    ready.forEach((step, i) => { if (step.item.row > ready[best].item.row) best = i; });
    const [step] = ready.splice(best, 1);
    order.push(step);
    for (const next of after.get(step)) {
      waits.set(next, waits.get(next) - 1);
      if (waits.get(next) === 0) ready.push(next);
    }
  }
  return order.length === steps.length ? order : steps; // a scope entered twice may go in a circle
}

function goTo(step) {
  app.step = Math.max(-1, Math.min(app.steps.length - 1, step));
  showStep();
  const now = app.steps[app.step];
  if (now) { select(now.item); keepInSight(now.item); }
}

function showStep() {
  const { step, steps } = app, on = step >= 0;
  $("stage").classList.toggle("stepping", on);
  $("progress").value = step + 1;
  const rank = new Map(steps.map((s, i) => [s.item.key, i]));
  for (const [key, group] of app.placedNodes) {
    const i = rank.get(key);
    group.classList.toggle("future", on && i > step);
    group.classList.toggle("now", on && i === step);
  }
  for (const wire of app.wires) wire.classList.toggle("future", on && (rank.get(wire.dataset.head) ?? -1) > step);
  const now = steps[step];
  $("where").textContent = now ? `${{ forward: "forward", backward: "backward", update: "next step" }[now.phase]} ${step + 1}/${steps.length}`
    : `${steps.length} steps`;
  $("where").className = now ? now.phase : "";
}

function play() {
  if (app.timer) { stop(); return; }
  if (app.step >= app.steps.length - 1) app.step = -1;
  app.timer = setInterval(() => { if (app.step >= app.steps.length - 1) stop(); else goTo(app.step + 1); }, 900);
  goTo(app.step + 1);
  playIcon("M4 3h3v10H4zM9 3h3v10H9z", "pause");
}

function stop() {
  clearInterval(app.timer);
  app.timer = null;
  playIcon("M4 2.5v11L13 8z", "play");
}

function playIcon(shape, told) {
  $("play").querySelector("path").setAttribute("d", shape);
  $("play").setAttribute("aria-label", told);
}

// --- camera --------------------------------------------------------------------------------------

function move(smooth) {
  const { x, y, k } = app.camera, world = $("world");
  world.classList.toggle("smooth", Boolean(smooth));
  world.style.transform = `translate(${x}px, ${y}px) scale(${k})`;
}

function lookAt(x, y, width, height, most = 1.25) {
  const stage = $("stage").getBoundingClientRect(), foot = 64, pad = 20;
  const k = Math.max(0.02, Math.min(most, (stage.width - 2 * pad) / width, (stage.height - foot - 2 * pad) / height));
  app.camera = { k, x: (stage.width - width * k) / 2 - x * k, y: (stage.height - foot - height * k) / 2 - y * k };
  move(true);
}

function fit() {
  lookAt(-24, -34, app.plan.width + 48, app.plan.height + 34);
  // A long graph is shown readable from its top rather than whole and unreadable.
  if (app.camera.k < 0.45) {
    const stage = $("stage").getBoundingClientRect();
    const k = Math.max(0.05, Math.min(0.8, (stage.width - 40) / (app.plan.width + 48)));
    if (k > app.camera.k) { app.camera = { k, x: (stage.width - app.plan.width * k) / 2, y: 50 }; move(true); }
  }
}

function zoom(factor, cx, cy) {
  const stage = $("stage").getBoundingClientRect(), camera = app.camera;
  const x = cx === undefined ? stage.width / 2 : cx - stage.left, y = cy === undefined ? stage.height / 2 : cy - stage.top;
  const k = Math.max(0.02, Math.min(4, camera.k * factor)), f = k / camera.k;
  app.camera = { k, x: x - (x - camera.x) * f, y: y - (y - camera.y) * f };
  move();
}

function focusNode(index) {
  const item = app.plan.of[index];
  if (item) keepInSight(item, true);
}

function keepInSight(item, near) {
  const stage = $("stage").getBoundingClientRect(), c = app.camera;
  if (near && c.k < 0.6) c.k = 0.85;
  const x = item.x * c.k + c.x, y = item.y * c.k + c.y, pad = 90;
  if (near || x < pad || x > stage.width - pad) c.x = stage.width / 2 - item.x * c.k;
  if (near || y < pad || y > stage.height - pad - 60) c.y = stage.height / 2 - item.y * c.k;
  move(true);
}

// --- search --------------------------------------------------------------------------------------

function search(text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean), view = app.view;
  const rows = !words.length ? [] : view.nodes.map((node, index) => ({ node, index })).filter(({ node }) => node.inline === undefined
    && words.every((w) => `${node.id} ${node.leaf || ""} ${node.op} ${view.scopes[node.scope].join("/")} ${node.formula} ${node.type}`.toLowerCase().includes(w)));
  app.found = rows.slice(0, 40);
  app.pick = 0;
  const list = $("found");
  list.replaceChildren(...app.found.map(({ node, index }, i) => el("li", { role: "option", id: `found${i}`, "aria-selected": i === 0,
    onpointerdown: (event) => { event.preventDefault(); choose(i); } },
  el("b", { text: node.formula }), el("small", { text: `${node.op} · ${view.scopes[node.scope].join("/") || "top"} · ${node.type}` }))));
  if (words.length && !rows.length) list.replaceChildren(el("li", { class: "none", text: "nothing found" }));
  if (rows.length > 40) list.append(el("li", { class: "none", text: `and ${rows.length - 40} more` }));
  list.hidden = !words.length;
  $("search").setAttribute("aria-expanded", !list.hidden);
}

function pick(by) {
  if (!app.found || !app.found.length) return;
  app.pick = (app.pick + by + app.found.length) % app.found.length;
  [...$("found").children].forEach((li, i) => li.setAttribute("aria-selected", i === app.pick));
  $("search").setAttribute("aria-activedescendant", `found${app.pick}`);
  $("found").children[app.pick].scrollIntoView({ block: "nearest" });
}

function choose(i) {
  const row = app.found && app.found[i];
  $("found").hidden = true;
  $("search").setAttribute("aria-expanded", false);
  if (row) { app.go(row.index); $("stage").focus(); }
}
