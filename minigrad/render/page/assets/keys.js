// Input: pointer, wheel, keys, buttons, the address's hash; then the page starts.

// Arrow keys go to the nearest box in that direction.
function step2d(dx, dy) {
  const from = app.selectedItem, items = [...app.plan.items.values()];
  if (!from) { select(items[0]); keepInSight(items[0]); return; }
  let best = null, least = Infinity;
  for (const item of items) {
    const x = item.x - from.x, y = item.y - from.y, along = x * dx + y * dy, off = Math.abs(x * dy) + Math.abs(y * dx);
    const cost = along + 2.5 * off;
    if (item !== from && along > 4 && off < 2.5 * along + 60 && cost < least) { least = cost; best = item; }
  }
  if (best) { select(best); keepInSight(best); }
}

function onKey(event) {
  const typing = event.target.closest && event.target.closest("input, select, dialog[open]");
  if (event.key === "Escape") { escape(); return; }
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const pressed = event.target.closest && event.target.closest("button");
  if (pressed && (event.key === " " || event.key === "Enter")) return; // the button's own
  if (event.target.closest("#switch") && event.key.startsWith("Arrow")) { turn(event.key); event.preventDefault(); return; }
  const action = ACTIONS[event.key];
  if (!action) return;
  event.preventDefault();
  action();
}

const ACTIONS = {
  "/": () => { $("search").focus(); $("search").select(); }, "?": () => $("help").showModal(),
  ArrowLeft: () => step2d(-1, 0), ArrowRight: () => step2d(1, 0), ArrowUp: () => step2d(0, -1), ArrowDown: () => step2d(0, 1),
  Enter: enter, " ": play, ".": () => { stop(); goTo(app.step + 1); }, ",": () => { stop(); goTo(app.step - 1); },
  Home: () => { stop(); goTo(-1); }, End: () => { stop(); goTo(app.steps.length - 1); },
  1: () => nth(0), 2: () => nth(1), 3: () => nth(2), e: () => setAll(false), c: () => setAll(true),
  "+": () => zoom(1.25), "=": () => zoom(1.25), "-": () => zoom(0.8), 0: fit, v: toggleValues, d: toggleTheme,
  s: () => { app.showSaved = !app.showSaved; showSelection(); }, r: () => $("record").toggleAttribute("data-closed"),
};

function nth(i) { if (app.views[i]) setView(app.views[i].key, true); }

function turn(key) {
  const by = key === "ArrowRight" || key === "ArrowDown" ? 1 : -1, n = app.views.length;
  nth((app.views.indexOf(app.view) + by + n) % n);
  $("switch").children[app.views.indexOf(app.view)].focus();
}

function enter() {
  const item = app.selectedItem;
  if (!item) return;
  if (item.scope !== null) toggle(item.scope);
  else if (item.home !== ROOT) {
    const scope = item.home;
    toggle(scope);
    select(app.plan.items.get(`s${scope}`));
  }
}

function escape() {
  if ($("help").open) { $("help").close(); $("stage").focus(); return; }
  if (!$("found").hidden) { $("found").hidden = true; $("search").setAttribute("aria-expanded", false); $("stage").focus(); return; }
  stop();
  app.step = -1;
  app.selectedItem = null;
  select(null);
  showStep();
  $("stage").focus();
}

function toggleValues() {
  app.showValues = !app.showValues;
  $("values").setAttribute("aria-pressed", app.showValues);
  redraw();
}

function toggleTheme() {
  const dark = document.documentElement.dataset.theme ? document.documentElement.dataset.theme === "dark"
    : window.matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "light" : "dark";
  if (window.drawRecord) window.drawRecord();
  remember();
}

function pointer() {
  const stage = $("stage"), touches = new Map();
  let moved = 0;
  $("canvas").addEventListener("pointerdown", (event) => { touches.set(event.pointerId, event); moved = 0; });
  window.addEventListener("pointermove", (event) => {
    const last = touches.get(event.pointerId);
    if (!last) return;
    const others = [...touches.values()].filter((t) => t.pointerId !== event.pointerId);
    if (others.length === 1) {
      const o = others[0], before = Math.hypot(last.clientX - o.clientX, last.clientY - o.clientY);
      const after = Math.hypot(event.clientX - o.clientX, event.clientY - o.clientY);
      if (before > 0) zoom(after / before, (event.clientX + o.clientX) / 2, (event.clientY + o.clientY) / 2);
    } else if (!others.length) {
      moved += Math.abs(event.clientX - last.clientX) + Math.abs(event.clientY - last.clientY);
      if (moved > 4) { app.dragging = true; stage.classList.add("dragging"); }
      app.camera.x += event.clientX - last.clientX;
      app.camera.y += event.clientY - last.clientY;
      move();
    }
    touches.set(event.pointerId, event);
  });
  const end = (event) => {
    touches.delete(event.pointerId);
    stage.classList.remove("dragging");
    setTimeout(() => { app.dragging = false; }, 0);
  };
  window.addEventListener("pointerup", end);
  window.addEventListener("pointercancel", end);
  // A drag that ends on a box does not select it.
  $("canvas").addEventListener("click", (event) => { if (moved > 4) { event.stopPropagation(); return; }
    if (!event.target.closest(".box, .title")) { app.selectedItem = null; select(null); } }, true);
  stage.addEventListener("wheel", (event) => {
    if (event.target.closest("#legend, .zoom, #player")) return;
    event.preventDefault();
    if (event.shiftKey) { app.camera.x -= event.deltaY + event.deltaX; move(); return; }
    zoom(Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : event.deltaMode ? 0.06 : 0.0015)), event.clientX, event.clientY);
  }, { passive: false });
}

// --- the address: #view=train&open=bn1,relu1&node=bn1/gamma&theme=dark -----------------------------

function remember() {
  const parts = new URLSearchParams();
  if (app.views.length > 1) parts.set("view", app.view.key);
  const open = app.view.scopes.map((p, s) => [p.join("/"), s]).filter(([, s]) => s !== ROOT && !app.closed.has(s)).map(([p]) => p);
  if (app.closed.size) parts.set("open", open.map(encodeURIComponent).join(","));
  if (app.selected !== null) parts.set("node", app.view.nodes[app.selected].id);
  if (document.documentElement.dataset.theme) parts.set("theme", document.documentElement.dataset.theme);
  app.hash = `#${parts}`;
  try { window.history.replaceState(null, "", app.hash); } catch { /* an inline frame has no address */ }
}

function recall() {
  if (window.location.hash === app.hash) return;
  const parts = new URLSearchParams(window.location.hash.slice(1));
  const view = app.views.find((v) => v.key === parts.get("view")) || app.views[0];
  if (parts.get("theme") === "dark" || parts.get("theme") === "light") document.documentElement.dataset.theme = parts.get("theme");
  if (parts.has("open")) {
    const open = new Set(parts.get("open").split(",").map(decodeURIComponent));
    view.closed.clear();
    view.scopes.forEach((p, s) => { if (s !== ROOT && !open.has(p.join("/"))) view.closed.add(s); });
  }
  if (parts.get("values") === "1") app.showValues = true;
  const node = view.byId.get(parts.get("node"));
  const steps = Number(parts.get("step") || 0);
  app.selectedItem = null;
  setView(view.key, false);
  if (parts.has("focus")) app.showScope(parts.get("focus").split("/"));
  if (node !== undefined) { reveal(node); select(app.plan.of[node]); if (!parts.has("focus")) focusNode(node); }
  if (steps > 0) goTo(steps - 1);
}

// On paper stands what is in sight, scaled to the sheet.
function paper(on) {
  const { x, y, k } = app.camera, stage = $("stage").getBoundingClientRect();
  if (on) $("canvas").setAttribute("viewBox", [-x / k, -y / k, stage.width / k, stage.height / k].join(" "));
  else $("canvas").removeAttribute("viewBox");
  $("world").style.transform = on ? "none" : "";
  if (!on) move();
}

function controls() {
  $("title").textContent = data.title;
  $("switch").hidden = app.views.length < 2;
  app.views.forEach((view) => $("switch").append(el("button", { role: "radio", "data-key": view.key, title: view.told, text: view.label,
    onclick: () => setView(view.key, true) })));
  const on = { collapse: () => setAll(true), expand: () => setAll(false), values: toggleValues, theme: toggleTheme, "help-open": () => $("help").showModal(),
    "zoom-in": () => zoom(1.25), "zoom-out": () => zoom(0.8), fit, first: ACTIONS.Home, back: ACTIONS[","], play, next: ACTIONS["."] };
  for (const [id, action] of Object.entries(on)) $(id).addEventListener("click", action);
  $("progress").addEventListener("input", (event) => { stop(); goTo(Number(event.target.value) - 1); });
  $("search").addEventListener("input", (event) => search(event.target.value));
  $("search").addEventListener("focus", (event) => search(event.target.value));
  $("search").addEventListener("blur", () => { $("found").hidden = true; });
  $("search").addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") { event.preventDefault(); pick(event.key === "ArrowDown" ? 1 : -1); }
    if (event.key === "Enter") choose(app.pick);
  });
  window.addEventListener("beforeprint", () => paper(true));
  window.addEventListener("afterprint", () => paper(false));
  document.addEventListener("keydown", onKey);
  window.addEventListener("hashchange", recall);
  $("help").append(el("h2", { text: "Keys" }), el("dl", {}, ...KEYS.flatMap(([key, told]) => [el("dt", {}, el("kbd", { text: key })), el("dd", { text: told })])),
    el("p", { class: "hint", text: "Drag pans, the wheel or two fingers zoom, a double click opens a scope. The address names the selected node: copy it to share what you see." }),
    el("form", { method: "dialog" }, el("button", { class: "wide", text: "Close" })));
}

// The colours and line styles that this graph uses, and no others.
function legend() {
  const nodes = app.views.flatMap((view) => view.nodes), arrows = app.views.flatMap((view) => view.arrows);
  const used = new Set([...nodes.map((n) => n.kind), "closed", nodes.some((n) => n.marked) ? "changed" : ""]);
  const lines = new Set(arrows.map((a) => a[2]));
  $("legend").append(el("ul", {},
    ...LEGEND.filter(([kind]) => used.has(kind)).map(([kind, told]) => el("li", {}, el("i", { class: `key ${kind}` }), told)),
    ...LINES.filter(([kind]) => lines.has(kind)).map(([kind, told]) => el("li", {}, el("i", { class: `line ${kind}` }), told))));
  for (const [kind] of LINES) $("markers").append(svg("marker", { id: `arrow-${kind}`, viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 7, markerHeight: 7,
    markerUnits: "userSpaceOnUse", orient: "auto" }, svg("path", { d: "M0 .6 8 4 0 7.4 1.8 4z", class: `arrow ${kind}` })));
}

function start() {
  for (const view of app.views) prepare(view);
  app.views.slice(1).forEach((view) => { view.back = new Map(Object.entries(view.twins).map(([own, old]) => [old, Number(own)])); });
  legend();
  controls();
  pointer();
  if (data.record) startRecord(data.record);
  recall();
  // Milliseconds from the start of the navigation to the first frame that shows the graph.
  requestAnimationFrame(() => setTimeout(() => { document.body.dataset.ready = Math.round(performance.now()); }));
}

start();
