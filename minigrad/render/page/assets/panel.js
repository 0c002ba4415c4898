// The panel of the selected node: formula, rule, value, gradient, and links to its neighbours.

function section(title, ...children) {
  return el("section", {}, title ? el("h3", { text: title }) : null, ...children);
}

function nodeLink(app, index, told) {
  const node = app.view.nodes[index];
  if (node.inline !== undefined) return el("span", { class: "chip constant", text: node.inline });
  const name = told || (node.kind === "parameter" || node.kind === "state" || node.kind === "input" ? node.name : node.formula);
  return el("button", { class: `chip ${node.kind}`, "data-node": node.id, title: `${node.op} · ${node.type}`,
    onclick: () => app.go(index) }, el("span", { text: name }));
}

function linkList(app, indices) {
  return el("div", { class: "chips" }, ...indices.map((index) => nodeLink(app, index)));
}

function showNode(app, index) {
  const { view, data } = app, node = view.nodes[index];
  const parts = [headOf(app, node)];
  if (node.note) parts.push(el("p", { class: "note", text: node.note }));
  if (node.adjoint !== undefined) {
    const count = view.readers[node.adjoint].filter((r) => !view.nodes[r].order).length;
    parts.push(el("p", { class: "hint", text: `${view.nodes[node.adjoint].name} is read ${count} times, so its gradient is a sum: one term for each path.` }));
  }
  const readers = [...new Set(view.readers[index])];
  const forward = readers.filter((r) => view.nodes[r].order === node.order && view.nodes[r].lane !== "update");
  if (!node.order && forward.length > 1)
    parts.push(el("p", { class: "hint", text: `Read ${forward.length} times: its gradient will have ${forward.length} terms.` }));
  parts.push(ruleOf(app, node, index, data.rules[node.rule]));
  if (node.value) parts.push(section("Value", ...valueOf(node.value)));
  if (node.ct !== undefined) {
    const gradient = view.nodes[node.ct];
    parts.push(section("Gradient", el("div", { class: "chips" }, nodeLink(app, node.ct, `∂L/∂${node.name}`)),
      ...(gradient.value ? valueOf(gradient.value, true) : [])));
  }
  if (node.in.length) parts.push(section("Operands", linkList(app, node.in)));
  if (forward.length) parts.push(section("Read by", linkList(app, forward)));
  const updates = readers.filter((r) => view.nodes[r].lane === "update");
  if (updates.length && node.lane !== "update") parts.push(section("Remembered by", linkList(app, updates)));
  const saved = readers.filter((r) => view.nodes[r].order > node.order);
  if (saved.length) parts.push(section("Kept for the gradient", linkList(app, saved)));
  if (node.updates !== undefined) parts.push(section("Next value of", linkList(app, [node.updates])));
  const twin = app.twinOf(index);
  if (twin) parts.push(section(`In the ${twin.label.toLowerCase()} graph`, el("button", { class: "chip", text: twin.text, onclick: twin.go })));
  return parts;
}

function headOf(app, node) {
  const path = app.view.scopes[node.scope];
  const crumbs = el("p", { class: "crumbs" });
  path.forEach((part, depth) => crumbs.append(depth ? " / " : "",
    el("button", { class: "link", text: part, onclick: () => app.showScope(path.slice(0, depth + 1)) })));
  const kind = { op: "forward op", gradient: "gradient op" }[node.kind] || node.kind;
  return el("div", { class: `card ${node.kind}` },
    el("p", { class: "eyebrow", text: `${kind}${node.order > 1 ? `, order ${node.order}` : ""}` }),
    el("h2", { text: node.formula }),
    el("dl", {}, ...pairs([["op", node.head], ["type", node.type], ["name", node.leaf || node.id],
      ["line", node.source]])), path.length ? crumbs : null);
}

function pairs(rows) {
  return rows.filter(([, text]) => text).flatMap(([term, text]) => [el("dt", { text: term }), el("dd", { text })]);
}

// The rule of the op; for a gradient node, the rule of the op that caused it.
function ruleOf(app, node, index, own) {
  const { view, data } = app;
  const cause = node.kind === "gradient" && node.cause !== undefined ? view.nodes[node.cause] : null;
  const body = [];
  if (cause && node.adjoint === undefined) {
    const rule = data.rules[cause.rule];
    body.push(el("p", { class: "hint" }, "made by the rule of ", nodeLink(app, node.cause)));
    if (rule) body.push(ruleTable(rule, cause));
    return section("Rule", ...body);
  }
  if (own) body.push(ruleTable(own, node));
  const made = view.effects[index] || [];
  if (made.length) body.push(el("p", { class: "hint", text: "its rule made" }), linkList(app, made));
  return body.length ? section(node.kind === "gradient" ? "Op" : "Rule", ...body) : null;
}

function ruleTable([forward, backward, note], node) {
  const table = el("div", { class: "rule" }, el("p", { class: "forward", text: forward }));
  for (const line of node.kind === "gradient" ? [] : backward) table.append(el("p", { class: "backward", text: line }));
  const letters = node.in.slice(0, node.rule.startsWith("pow ") ? 1 : 3).map((_, i) => `${(node.op === "pow" && i ? "p" : node.op === "where" ? "cab"[i] : "abc"[i])} = ${node.args[i]}`);
  if (letters.length) table.append(el("p", { class: "letters", text: `here ${letters.join(", ")}${backward.length && node.kind !== "gradient" ? ", ū = ∂L/∂y" : ""}` }));
  if (note) table.append(el("p", { class: "hint", text: note }));
  return table;
}

function showScope(app, item) {
  const { view } = app, path = view.scopes[item.scope], gradient = item.lane === "gradient";
  const trained = item.members.filter((i) => view.nodes[i].kind === "parameter");
  const exit = view.nodes[exitOf(view, item)];
  return [el("div", { class: "card scope" }, el("p", { class: "eyebrow", text: gradient ? "gradient of a closed scope" : "closed scope" }),
    el("h2", { text: gradient ? `grad(${path.join("/")})` : path.join("/") }),
    el("dl", {}, ...pairs([["nodes", String(item.members.length)], ["gives", gradient ? "" : exit.type]])),
    el("button", { class: "wide", text: "Open (Enter)", onclick: () => app.toggle(item.scope) })),
  trained.length ? section("Parameters", linkList(app, trained)) : null,
  exit.value && !gradient ? section("What it gives", ...valueOf(exit.value)) : null];
}

function valueOf(value, gradient) {
  const parts = [];
  const [mean, std, low, high] = value.stats;
  if (value.bad) parts.push(el("p", { class: "alarm", text: `${value.bad} of ${value.shape.reduce((a, b) => a * b, 1)} not finite` }));
  if (value.whole) parts.push(wholeTable(value));
  if (value.shape.length && !(value.whole && value.whole.flat().length < 3)) {
    const facts = [["mean", mean], ["std", std], ["min", low], ["max", high], ["norm", value.norm]];
    parts.push(el("dl", { class: "facts" }, ...pairs(facts.filter(([, n]) => n !== null).map(([t, n]) => [t, number(n)]))));
  }
  if (value.bars && value.bars.length && !value.whole) parts.push(histogram(value, gradient));
  if (value.heat) parts.push(heatStrip(value.heat, value.shape));
  return parts;
}

function number(n) {
  const text = n !== 0 && (Math.abs(n) < 1e-3 || Math.abs(n) >= 1e5) ? n.toExponential(2) : String(Number(n.toPrecision(4)));
  return text.replace("-", "−");
}

function wholeTable(value) {
  const table = el("table", { class: "whole" });
  for (const row of value.whole) table.append(el("tr", {}, ...row.map((text) => el("td", { text }))));
  return el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "all elements" }, table);
}

function histogram(value, gradient) {
  const w = 300, h = 64, step = w / value.bars.length;
  const chart = svg("svg", { viewBox: `0 0 ${w} ${h + 14}`, class: `histogram ${gradient ? "gradient" : ""}`, role: "img", "aria-label": "histogram" });
  value.bars.forEach((bar, i) => { if (bar) chart.append(svg("rect", { x: i * step + 0.5, y: h - bar / 100 * h, width: step - 1, height: bar / 100 * h, rx: 1 })); });
  const [, , low, high] = value.stats;
  if (low < 0 && high > 0) { const x = -low / (high - low) * w; chart.append(svg("path", { d: `M${x} 0V${h}`, class: "zero" })); }
  chart.append(svg("text", { x: 0, y: h + 12, text: number(low) }), svg("text", { x: w, y: h + 12, "text-anchor": "end", text: number(high) }));
  return chart;
}

const LEVELS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz+-";

function heatStrip(heat, shape) {
  const rows = heat.cells.length / heat.columns, canvas = el("canvas", { width: heat.columns, height: rows, class: "heat", role: "img",
    "aria-label": `heat strip from ${number(heat.low ?? 0)} to ${number(heat.high ?? 0)}` });
  canvas.style.height = `${Math.min(150, 12 + 10 * rows)}px`;
  const image = new ImageData(heat.columns, rows);
  [...heat.cells].forEach((c, i) => image.data.set(heatColor(LEVELS.indexOf(c), heat), 4 * i));
  canvas.getContext("2d").putImageData(image, 0, 0);
  const told = shape.length > 1 ? "first axis down" : "along its axis";
  return el("figure", {}, canvas, el("figcaption", { text: `${number(heat.low ?? 0)} … ${number(heat.high ?? 0)}, ${told}` }));
}

// Blue below zero, white at it, orange above (safe for the colour-blind); grey where not finite.
function heatColor(level, heat) {
  if (level < 0) return [192, 0, 0, 255];
  const share = level / 63, mixed = (from, to, t) => from.map((c, i) => Math.round(c + (to[i] - c) * t));
  const white = [247, 247, 247], blue = [0, 90, 160], orange = [200, 80, 0];
  if (heat.low < 0 && heat.high > 0) return [...(share < 0.5 ? mixed(white, blue, 1 - 2 * share) : mixed(white, orange, 2 * share - 1)), 255];
  return [...mixed(white, heat.high <= 0 ? blue : orange, heat.high <= 0 ? 1 - share : share), 255];
}

function showStart(app) {
  const { view, data } = app, ops = view.nodes.filter((n) => n.kind === "op").length;
  const back = view.nodes.filter((n) => n.kind === "gradient").length;
  const weights = view.nodes.filter((n) => n.kind === "parameter").length;
  return [el("div", { class: "card scope" }, el("p", { class: "eyebrow", text: view.label }), el("h2", { text: data.title }),
    el("p", { text: view.told }),
    el("dl", {}, ...pairs([["forward", `${ops} ops`], ["gradient", back ? `${back} ops` : ""], ["parameters", String(weights)]]))),
  section("Outputs", el("div", { class: "chips" }, ...view.outputs.map(([name, index]) => nodeLink(app, index, name)))),
  section("How to read it", ...[
    "Time runs down the blue column: each box is one primitive with its formula.",
    back ? "The gradient flows up the orange column. In each row stand the ops that the rule of the blue op beside them made." : null,
    back ? "A value that is read k times has a gradient of k terms: the thick orange arrows." : null,
    view.nodes.some((n) => n.lane === "update") ? "Dashed arrows carry running statistics to the next step; nothing in this step reads them." : null,
    "Click a box for its rule and its numbers; press ? for the keys.",
  ].filter(Boolean).map((text) => el("p", { class: "hint", text })))];
}
