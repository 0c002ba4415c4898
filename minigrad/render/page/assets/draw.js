// Draws an arrangement as SVG. All text is set through textContent, so a name is never markup.

const SVG = "http://www.w3.org/2000/svg";
const CAPTION = "600 12.5px", HEAD = "10.5px", MONO = "10px";
const FACE = '"Inter", system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif';
const MONOFACE = 'ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace';
const WIDEST = 216;

function el(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  return fill(element, attributes, children);
}

function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function fill(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined) continue;
    if (key.startsWith("aria-")) element.setAttribute(key, String(value));
    else if (value === false) continue;
    else if (key === "text") element.textContent = value;
    else if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

const pen = document.createElement("canvas").getContext("2d");
const widths = new Map();

function textWidth(text, font) {
  const key = `${font}|${text}`;
  if (!widths.has(key)) {
    pen.font = `${font} ${font === MONO ? MONOFACE : FACE}`;
    widths.set(key, pen.measureText(text).width);
  }
  return widths.get(key);
}

function fitted(text, font, width) {
  if (textWidth(text, font) <= width) return text;
  const letters = Array.from(text);
  let low = 0, high = letters.length;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (textWidth(`${letters.slice(0, middle).join("")}…`, font) <= width) low = middle;
    else high = middle - 1;
  }
  return `${letters.slice(0, low).join("")}…`;
}

// What a box says, and how large it is for that.
function labelOf(view, item, showValues) {
  const node = view.nodes[item.index];
  if (item.port) return sized({ kind: item.lane === "gradient" ? "port gradient" : "port", head: portHead(view, item),
    type: "", lines: [item.lane === "gradient" && item.port === "u" ? "u = ∂L/∂y" : item.port] });
  if (item.scope !== null) return scopeLabel(view, item);
  const kind = node.lane === "incoming" ? "incoming" : node.kind;
  const head = [node.symbol, node.leaf && node.name !== node.leaf ? `${node.op} ${lastPart(node.leaf)}` : node.head]
    .filter(Boolean).join("  ");
  const lines = splitFormula(node.formula);
  const value = showValues && node.value ? node.value : null;
  return sized({ kind, head, type: node.type, lines, value, marks: marksOf(view, node) });
}

function portHead(view, item) {
  const path = view.scopes[view.nodes[item.index].scope];
  if (!path.length) return "from outside";
  const where = path[path.length - 1];
  return item.lane === "gradient" ? `from grad(${where})` : `from ${where}`;
}

function lastPart(name) { return name.slice(name.lastIndexOf("/") + 1); }

function splitFormula(formula) {
  const cut = formula.indexOf(" = ");
  if (textWidth(formula, CAPTION) <= WIDEST - 24 || cut < 0) return [formula];
  return [formula.slice(0, cut), `= ${formula.slice(cut + 3)}`];
}

function marksOf(view, node) {
  const marks = [];
  if (node.marked) marks.push("changed");
  if (node.value && node.value.bad) marks.push("broken");
  return marks;
}

function scopeLabel(view, item) {
  const path = view.scopes[item.scope], name = path[path.length - 1];
  const ops = item.members.filter((i) => view.nodes[i].kind === "op" || view.nodes[i].kind === "gradient");
  const counts = new Map();
  for (const i of ops) counts.set(view.nodes[i].op, (counts.get(view.nodes[i].op) || 0) + 1);
  const listed = [...counts].sort((a, b) => b[1] - a[1]).slice(0, 3)
    .map(([op, n]) => (n > 1 ? `${n} ${op}` : op)).join(", ");
  const gradient = item.lane === "gradient";
  const last = view.nodes[item.members[item.members.length - 1]];
  return sized({ kind: gradient ? "closed gradient" : "closed", head: `${ops.length} ${ops.length === 1 ? "op" : "ops"}`,
    type: gradient || !ops.length ? "" : view.nodes[exitOf(view, item)].type, last,
    lines: [gradient ? `grad(${name})` : name], small: listed + (counts.size > 3 ? ", …" : "") });
}

// The value by which a closed scope is read: the last forward op inside.
function exitOf(view, item) {
  const forward = item.members.filter((i) => view.nodes[i].lane === "forward");
  return forward.length ? forward[forward.length - 1] : item.members[item.members.length - 1];
}

function sized(label) {
  const room = WIDEST - 24;
  const top = textWidth(label.head, HEAD) + (label.type ? textWidth(label.type, MONO) + 14 : 0);
  const wide = Math.max(top, ...label.lines.map((line) => textWidth(line, CAPTION)),
    label.small ? textWidth(label.small, HEAD) : 0, label.value ? 154 : 0);
  const twist = label.kind.startsWith("closed") ? 22 : 0;
  label.width = Math.ceil(Math.max(64, Math.min(Math.max(wide, textWidth(label.lines[0], CAPTION) + twist), room) + 24));
  label.height = 26 + 16 * label.lines.length + (label.small ? 14 : 0) + (label.value ? 20 : 0);
  if (label.kind.startsWith("port")) label.height = 36;
  return { label, width: label.width, height: label.height };
}

function drawPlan(view, plan, handlers) {
  const layer = svg("g", {});
  layer.append(svg("g", { class: "bands" }, ...plan.bands.map((band) => drawBand(view, plan, band, handlers))));
  layer.append(drawHeads(plan));
  const wires = svg("g", { class: "wires" });
  const leftmost = new Map(); // where several labels meet at a box, the first stands to the left
  for (const { label, head, points } of plan.wires) if (label)
    leftmost.set(head, Math.min(points[points.length - 1][0], leftmost.get(head) ?? Infinity));
  for (const wire of plan.wires) wires.append(drawWire(wire, leftmost.get(wire.head)));
  layer.append(wires);
  const boxes = svg("g", { class: "boxes" });
  for (const item of plan.items.values()) boxes.append(drawBox(view, item, handlers));
  layer.append(boxes, svg("g", { class: "overlay" }));
  return layer;
}

// What the lanes are, above the first row.
function drawHeads(plan) {
  const names = { update: "next step ⇠", leaf: "parameters", forward: "forward ↓", gradient: "gradient ↑" };
  const group = svg("g", { class: "heads" });
  for (const lane of LANES) {
    const { start, width } = plan.columns.lanes[lane];
    if (!width) continue;
    const x = (plan.centers[start] + plan.centers[start + width - 1]) / 2;
    group.append(svg("text", { x, y: -10, class: `lane ${lane}`, "text-anchor": "middle", text: names[lane] }));
  }
  return group;
}

function drawBand(view, plan, band, handlers) {
  const inset = 10 * band.depth, path = view.scopes[band.scope];
  const x = -24 + inset, width = plan.width + 48 - 2 * inset;
  const group = svg("g", { class: `band depth${Math.min(band.depth, 2)}`, "data-scope": band.scope });
  group.append(svg("rect", { x, y: band.y, width, height: band.height, rx: 12, class: "frame" }));
  const { gradient, update } = plan.columns.lanes, centers = plan.centers;
  const rows = plan.rows.slice(band.first, band.last + 1);
  const used = (lane) => rows.some((row) => row.items.some((item) => item.lane === lane));
  if (gradient.width && used("gradient")) {
    const left = edgeOf(plan, gradient.start, -1);
    group.append(svg("rect", { x: left, y: band.y + 6, width: x + width - 6 - left, height: band.height - 12, rx: 8, class: "tint gradient" }));
  }
  if (update.width && used("update")) {
    const right = edgeOf(plan, update.start + update.width - 1, 1);
    group.append(svg("rect", { x: x + 6, y: band.y + SIZE.title, width: right - x - 6, height: band.height - SIZE.title - 6, rx: 8, class: "tint update" }));
  }
  const title = fitted(path[path.length - 1], "600 13px", 300);
  const button = svg("g", { class: "title", tabindex: -1, role: "button", "aria-label": `close scope ${path.join("/")}`,
    onclick: (event) => { event.stopPropagation(); handlers.toggle(band.scope); } });
  const wide = textWidth(title, "600 13px") + 34;
  button.append(svg("rect", { x: x + 8, y: band.y + 6, width: wide, height: 22, rx: 6, class: "hit" }),
    svg("text", { x: x + 16, y: band.y + 21, class: "twist", text: "▾" }),
    svg("text", { x: x + 30, y: band.y + 21, text: title }));
  group.append(button);
  return group;
}

// The left (-1) or right (1) end of a column's boxes, with room for wires.
function edgeOf(plan, column, side) {
  plan.edges ||= edgesOf(plan);
  return plan.centers[column] + side * (plan.edges[column] + 20);
}

function edgesOf(plan) {
  const half = new Array(plan.columns.total).fill(0);
  for (const item of plan.items.values()) half[item.column] = Math.max(half[item.column], item.width / 2);
  return half;
}

function drawWire(wire, leftmost) {
  const group = svg("g", { class: `wire ${wire.kind}`, "data-tail": wire.tail.key, "data-head": wire.head.key });
  group.append(svg("path", { d: roundedPath(wire.points), "marker-end": `url(#arrow-${wire.kind})` }));
  if (wire.label) group.append(wireLabel(wire, leftmost));
  return group;
}

function wireLabel(wire, leftmost) {
  const points = wire.points, [x, y] = points[points.length - 1], [px, py] = points[points.length - 2];
  const side = wire.kind === "term" && x <= leftmost ? -1 : 1;
  if (Math.abs(py - y) < 1)
    return svg("text", { x: (x + px) / 2, y: y - 6, "text-anchor": "middle", text: wire.label });
  return svg("text", { x: x + side * 7, y: y + (py > y ? 19 : -12), "text-anchor": side < 0 ? "end" : "start", text: wire.label });
}

function drawBox(view, item, handlers) {
  const { label, width, height } = item, left = item.x - width / 2, top = item.y - height / 2;
  const node = view.nodes[item.index];
  const name = item.scope !== null ? `scope ${view.scopes[item.scope].join("/")}, closed`
    : `${node.op}: ${node.formula}, ${node.type}`;
  const marks = (label.marks || []).join(" ");
  const group = svg("g", { class: `box ${label.kind} ${marks}`, "data-key": item.key, role: "button", tabindex: -1,
    "aria-label": name, transform: `translate(${left.toFixed(1)} ${top.toFixed(1)})`,
    onclick: (event) => { event.stopPropagation(); handlers.select(item); },
    ondblclick: (event) => { event.stopPropagation(); if (item.scope !== null) handlers.toggle(item.scope); },
    onpointerenter: (event) => handlers.hover(item, event), onpointerleave: () => handlers.hover(null) });
  if (item.scope !== null) group.append(svg("rect", { x: 5, y: 5, width, height, rx: 9, class: "behind" }));
  const round = label.kind.startsWith("port") || label.kind === "input" || label.kind === "incoming" ? height / 2
    : label.kind === "parameter" || label.kind === "constant" ? 3 : 9;
  group.append(svg("rect", { width, height, rx: round, class: "body" }));
  if (label.kind === "parameter") group.append(svg("rect", { width: 5, height, rx: 2, class: "bar" }));
  if (label.kind === "state") group.append(svg("path", { class: "lid", d: `M1 9H${width - 1}` }));
  group.append(svg("text", { x: 12, y: 17, class: "head", text: fitted(label.head, HEAD, width - 24 - (label.type ? textWidth(label.type, MONO) + 6 : 0)) }));
  if (label.type) group.append(svg("text", { x: width - 12, y: 17, class: "type", "text-anchor": "end", text: label.type }));
  label.lines.forEach((line, i) => group.append(svg("text", { x: width / 2, y: 34 + 16 * i - (label.kind.startsWith("port") ? 3 : 0),
    class: "caption", "text-anchor": "middle", text: fitted(line, CAPTION, width - 18) })));
  if (label.small) group.append(svg("text", { x: width / 2, y: 50, class: "head", "text-anchor": "middle", text: fitted(label.small, HEAD, width - 18) }));
  if (item.scope !== null) group.append(twist(item, label, handlers));
  if (label.value) group.append(tinyValue(label.value, width, height));
  if (marks.includes("changed")) group.append(svg("circle", { cx: width - 2, cy: 2, r: 5.5, class: "dot" }));
  return group;
}

function twist(item, label, handlers) {
  return svg("text", { x: label.width - 15, y: 34, class: "twist", text: "▸",
    onclick: (event) => { event.stopPropagation(); handlers.toggle(item.scope); } });
}

// A histogram and mean ± deviation along the bottom of a box.
function tinyValue(value, width, height) {
  const group = svg("g", { class: "value", transform: `translate(12 ${height - 21})` });
  if (value.bars && value.bars.length) {
    const step = 40 / value.bars.length;
    group.append(svg("path", { class: "bars", d: value.bars.map((bar, i) => bar
      ? `M${(i * step).toFixed(1)} 14v${(-bar * 0.14).toFixed(1)}h${(step * 0.8).toFixed(1)}V14z` : "").join("") }));
  }
  group.append(svg("text", { x: width - 24, y: 11, "text-anchor": "end", class: "head", text: fitted(value.lines[0] || "", HEAD, width - 70) }));
  return group;
}
