// Places boxes: a score that is read downwards. Every forward op has a row, the gradient ops that
// its rule made stand in the same row to the right, parameters and the next step's state to the
// left. A scope is a band of rows; a closed one is a single row. Nothing here touches the DOM.

const LANES = ["update", "leaf", "forward", "gradient"];
const ROOT = 0;

// What is drawn: one item for a node, a closed scope, its gradient, or a port of an open scope.
function itemsOf(view, closed) {
  const outer = view.scopes.map((path, s) => outermost(view, closed, s));
  const items = new Map(), of = new Array(view.nodes.length).fill(null);
  view.nodes.forEach((node, index) => {
    if (node.inline !== undefined) return;
    const scope = outer[node.scope];
    const gradient = node.lane === "gradient";
    const key = scope === null ? `n${index}` : `${gradient ? "g" : "s"}${scope}`;
    if (!items.has(key)) {
      const lane = scope === null ? laneOf(node) : gradient ? "gradient" : "forward";
      items.set(key, { key, lane, index, scope, members: [], home: scope === null ? node.scope
        : view.parents[scope] });
    }
    items.get(key).members.push(index);
    of[index] = items.get(key);
  });
  return { items, of, ports: portsOf(view, outer, items, of) };
}

function laneOf(node) {
  return { input: "forward", incoming: "gradient" }[node.lane] || node.lane;
}

function outermost(view, closed, scope) {
  let found = null;
  for (let s = scope; s !== ROOT; s = view.parents[s]) if (closed.has(s)) found = s;
  return found;
}

// A value that a band reads more than once comes in through one port, under the band's own name.
function portsOf(view, outer, items, of) {
  const ports = new Map();
  for (const [scope, index, name] of view.ports) {
    if (outer[scope] !== null || of[index] === null) continue;
    if (view.nodes[index].scope === scope) continue;
    const gradient = of[index].lane === "gradient";
    const key = `p${scope}_${index}`;
    const port = { key, lane: gradient ? "gradient" : "forward", index, scope: null, port: name,
      members: [index], home: scope };
    items.set(key, port);
    ports.set(`${scope}:${index}`, port);
  }
  return ports;
}

// Arrows between items; those through a port are cut in two, and equal ones into a scope merge.
function wiresOf(view, drawn) {
  const wires = [], seen = new Set();
  const add = (tail, head, kind, label) => {
    if (tail === head) return;
    const key = `${tail.key} ${head.key} ${kind === "update"}`;
    if (seen.has(key) && (tail.scope !== null || head.scope !== null || tail.port || head.port))
      return;
    seen.add(key);
    wires.push({ tail, head, kind, label });
  };
  for (const [t, h, kind, label] of view.arrows) {
    const tail = drawn.of[t], head = drawn.of[h];
    if (!tail || !head || kind === "saved") continue;
    const port = head.scope === null ? drawn.ports.get(`${view.nodes[h].scope}:${t}`) : null;
    if (port && view.nodes[h].lane !== "update") {
      add(tail, port, tail.lane === "gradient" ? "gradient" : "data", "");
      add(port, head, kind, label);
    } else add(tail, head, kind, label);
  }
  return wires;
}

// Rows from top to bottom, and which rows each open scope spans.
function rowsOf(view, drawn, closed) {
  const rows = [], bands = [];
  const homes = view.scopes.map(() => []);
  for (const item of drawn.items.values()) homes[item.home].push(item);
  const kids = view.scopes.map(() => []);
  view.scopes.forEach((_, s) => { if (s !== ROOT && !closed.has(s)) kids[view.parents[s]].push(s); });
  // An explicit stack: scopes may be nested deeper than JavaScript likes to recurse.
  const stack = [{ scope: ROOT }];
  while (stack.length) {
    const job = stack.pop();
    if (job.close !== undefined) { job.band.last = rows.length - 1; continue; }
    if (job.row) { rows.push(job.row); continue; }
    const plan = planScope(view, drawn, homes, kids, job.scope);
    if (job.scope !== ROOT && plan.length) {
      const band = { scope: job.scope, first: rows.length, last: rows.length };
      bands.push(band);
      stack.push({ close: true, band });
    }
    for (const entry of plan.reverse()) stack.push(entry);
  }
  rows.forEach((row, r) => row.items.forEach((item) => { item.row = r; }));
  return { rows, bands: bands.filter((band) => band.last >= band.first) };
}

// The rows of one scope in order, with its open children between them.
function planScope(view, drawn, homes, kids, scope) {
  const own = homes[scope];
  let flow = own.filter((i) => i.lane === "forward" && !i.port);
  if (!flow.length && !kids[scope].length) {
    flow = own.filter((i) => !i.port && i.lane !== "leaf");
    if (!flow.length) flow = own.filter((i) => !i.port);
    // A scope of updates or gradients alone keeps its lane, one row each in order.
  }
  const units = [...flow.map((item) => ({ item })), ...kids[scope].map((kid) => ({ kid }))];
  const ranks = ranked(view, drawn, scope, units);
  const plan = [];
  for (const rank of [...new Set(ranks)].sort((a, b) => a - b)) {
    const here = units.filter((_, u) => ranks[u] === rank);
    for (const unit of here) if (unit.kid !== undefined) plan.push({ scope: unit.kid });
    const items = here.filter((unit) => unit.item).map((unit) => unit.item);
    const closedOnes = items.filter((i) => i.scope !== null), nodes = items.filter((i) => i.scope === null);
    for (const item of closedOnes) plan.push({ row: newRow(scope, [item]) });
    if (nodes.length) plan.push({ row: newRow(scope, nodes) });
  }
  aside(view, plan);
  attach(view, drawn, own, flow, plan, scope);
  return plan;
}

// An input that comes late (labels) stands beside the flow, which then runs straight past it.
function aside(view, plan) {
  plan.slice(1).forEach((entry) => entry.row && entry.row.items.forEach((item) => {
    if (item.scope === null && view.nodes[item.index].kind === "input") item.lane = "leaf";
  }));
}

function newRow(scope, items) { return { scope, items: [...items] }; }

// Longest path among the units of a scope; a cycle (a scope that is entered twice) is cut.
function ranked(view, drawn, scope, units) {
  const at = new Map(), child = new Map();
  units.forEach((unit, u) => {
    if (unit.item) at.set(unit.item, u);
    else child.set(unit.kid, u);
  });
  const unitOf = (index) => {
    const item = drawn.of[index];
    if (!item) return undefined;
    if (at.has(item)) return at.get(item);
    for (let s = item.home; s !== ROOT; s = view.parents[s]) {
      if (child.has(s)) return child.get(s);
      if (s === scope) return undefined;
    }
    return undefined;
  };
  const n = units.length, after = units.map(() => new Set()), before = new Array(n).fill(0);
  for (const [t, h, kind] of view.inside[scope]) {
    if (kind !== "data") continue;
    const a = unitOf(t), b = unitOf(h);
    if (a === undefined || b === undefined || a === b || after[a].has(b)) continue;
    after[a].add(b);
    before[b] += 1;
  }
  const rank = new Array(n).fill(0), done = new Array(n).fill(false);
  const left = [...before];
  let ready = units.map((_, u) => u).filter((u) => left[u] === 0), count = 0, scan = 0;
  while (count < n) {
    if (!ready.length) {
      while (done[scan]) scan += 1;
      ready.push(scan);
    }
    const u = ready.shift();
    if (done[u]) continue;
    done[u] = true;
    count += 1;
    for (const v of after[u]) {
      if (done[v]) continue;
      rank[v] = Math.max(rank[v], rank[u] + 1);
      left[v] -= 1;
      if (left[v] === 0) ready.push(v);
    }
  }
  // What nothing leads to (labels, a generator) waits just above its first reader.
  units.forEach((_, u) => {
    if (before[u] === 0 && after[u].size)
      rank[u] = Math.max(rank[u], Math.min(...[...after[u]].map((v) => rank[v])) - 1);
  });
  return rank;
}

function within(view, scope, outer) {
  for (let s = scope; s !== ROOT; s = view.parents[s]) if (s === outer) return true;
  return outer === ROOT;
}

// Puts ports, gradients, leaves and updates beside the rows of their scope.
function attach(view, drawn, own, flow, plan, scope) {
  const placed = new Set(flow), rowOf = new Map();
  let rows = plan.filter((entry) => entry.row).map((entry) => entry.row);
  rows.forEach((row, r) => row.items.forEach((item) => rowOf.set(item, r)));
  const rest = own.filter((item) => !placed.has(item));
  const top = rest.filter((i) => (i.port && i.lane === "forward")
    || (i.lane === "gradient" && isInflow(view, drawn, i, scope)));
  const arrives = (i) => view.nodes[i.index].incoming !== undefined && !rowOf.has(drawn.of[view.nodes[i.index].incoming]);
  const bottom = rest.filter((i) => i.lane === "gradient" && (i.port || arrives(i)));
  const put = (item, r) => { rows[r].items.push(item); rowOf.set(item, r); placed.add(item); };
  if (!rows.length && rest.length) {
    rows = [newRow(scope, [])];
    plan.push({ row: rows[0] });
  }
  for (const item of rest) if (!top.includes(item) && !bottom.includes(item) && item.lane === "gradient")
    put(item, gradientRow(view, drawn, item, rowOf, rows.length - 1));
  updates(view, drawn, rest, rowOf, put, () => {
    rows.push(newRow(scope, []));
    plan.push({ row: rows[rows.length - 1] });
    return rows.length;
  }, () => rows.length);
  for (const item of [...rest].reverse()) if (item.lane === "leaf" && !placed.has(item)) {
    const readers = view.readers[item.index].map((r) => rowOf.get(drawn.of[r]));
    put(item, Math.min(...readers.filter((r) => r !== undefined), rows.length - 1));
  }
  if (top.length) plan.unshift({ row: newRow(scope, top) });
  if (bottom.length) plan.push({ row: newRow(scope, bottom) });
}

// A sum of gradients of a value that was made outside: what leaves the scope upwards.
function isInflow(view, drawn, item, scope) {
  const adjoint = view.nodes[item.index].adjoint;
  return item.scope === null && adjoint !== undefined && view.nodes[adjoint].scope !== scope;
}

function gradientRow(view, drawn, item, rowOf, last) {
  if (item.scope !== null) {
    const forward = drawn.items.get(`s${item.scope}`);
    return rowOf.has(forward) ? rowOf.get(forward) : last;
  }
  const cause = view.nodes[item.index].cause;
  if (cause !== undefined && rowOf.has(drawn.of[cause])) return rowOf.get(drawn.of[cause]);
  const output = view.nodes[item.index].incoming;
  if (output !== undefined && rowOf.has(drawn.of[output])) return rowOf.get(drawn.of[output]);
  const near = view.nodes[item.index].in.map((i) => rowOf.get(drawn.of[i]));
  return Math.min(...near.filter((r) => r !== undefined), last);
}

// Updates start in the row of the value that they read, each sum one row lower.
function updates(view, drawn, rest, rowOf, put, grow, size) {
  const waiting = rest.filter((item) => item.lane === "update");
  const late = [];
  for (const item of waiting) {
    const rows = view.nodes[item.index].in.map((i) => drawn.of[i]).filter(Boolean)
      .map((o) => rowOf.get(o) === undefined ? undefined
        : rowOf.get(o) + (o.lane === "update" && view.nodes[o.index].kind === "op" ? 1 : 0))
      .filter((r) => r !== undefined);
    if (!rows.length) { late.push(item); continue; }
    const row = Math.max(...rows);
    while (size() <= row) grow();
    put(item, row);
  }
  for (const item of late.reverse()) {
    const readers = view.readers[item.index].map((r) => drawn.of[r])
      .filter((o) => o && rowOf.has(o));
    const rows = readers.map((o) => {
      const alone = view.nodes[o.index].in.filter((i) => drawn.of[i]).length > 1;
      return Math.max(rowOf.get(o) - (alone ? 1 : 0), 0);
    });
    put(item, Math.min(...rows, size() - 1));
  }
}

// Columns within each lane: few items are tried in every order, many are sorted by their partners.
function columnsOf(rows, wires) {
  const partners = new Map();
  for (const wire of wires) for (const [a, b] of [[wire.tail, wire.head], [wire.head, wire.tail]]) {
    if (!partners.has(a)) partners.set(a, []);
    partners.get(a).push(b);
  }
  const counts = {};
  for (const lane of LANES) {
    const lists = rows.map((row) => row.items.filter((item) => item.lane === lane));
    counts[lane] = Math.max(0, ...lists.map((list) => list.length));
    lists.forEach((list) => startColumns(lane, list));
    if (lane === "forward" || lane === "gradient") settle(lists, counts[lane], partners, lane);
  }
  let start = 0;
  for (const lane of LANES) {
    const width = counts[lane], mirrored = lane === "update" || lane === "leaf";
    for (const row of rows) for (const item of row.items) if (item.lane === lane)
      item.column = start + (mirrored ? width - 1 - item.slot : item.slot);
    counts[lane] = { start, width };
    start += width;
  }
  return { lanes: counts, total: start };
}

function startColumns(lane, list) {
  // In the left lanes what a row's op reads stands next to it, states and their factors outside.
  if (lane === "update" || lane === "leaf") list.sort((a, b) => rankLeft(a) - rankLeft(b));
  list.forEach((item, slot) => { item.slot = slot; });
}

function rankLeft(item) {
  return item.leftRank || 0;
}

// How far left of its row's op an item stands: what is read stands outside of what reads it.
function rankLanes(view, drawn) {
  for (const item of [...drawn.items.values()].reverse()) {
    if (item.lane !== "update" && item.lane !== "leaf") continue;
    const node = view.nodes[item.index];
    const lanes = node.in.map((i) => drawn.of[i]).filter(Boolean).map((o) => o.lane);
    item.leftRank = item.lane === "update" && !lanes.includes("forward") ? 0.5 : 0;
    for (const reader of view.readers[item.index]) {
      const other = drawn.of[reader];
      if (other && other.lane === item.lane && other.row === item.row)
        item.leftRank = Math.max(item.leftRank, (other.leftRank || 0) + 1);
    }
  }
}

// The whole arrangement: items with centres and sizes, wires with points, bands with frames.
function arrange(view, closed, measure) {
  const drawn = itemsOf(view, closed), wires = wiresOf(view, drawn);
  const { rows, bands } = rowsOf(view, drawn, closed);
  rankLanes(view, drawn);
  const columns = columnsOf(rows, wires);
  for (const item of drawn.items.values()) Object.assign(item, measure(item));
  const plan = { ...drawn, wires, rows, bands, columns, labels: new Set(), roomy: new Set(),
    order: new Map(wires.map((wire, w) => [wire, w])) };
  for (const { head, tail, kind, label } of wires) if (label && kind === "term") {
    if (head.row === tail.row) plan.labels.add(Math.max(head.column, tail.column));
    else plan.roomy.add(head.row + (tail.row > head.row ? 1 : 0));
  }
  route(plan, wires);
  return plan;
}

const ORDERS = [[[]], [[0]], [[0, 1], [1, 0]],
  [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]]];

function settle(lists, width, partners, lane) {
  const slots = width <= 4 ? width : 0;
  for (let sweep = 0; sweep < 6; sweep += 1) {
    const order = sweep % 2 ? lists : [...lists].reverse();
    for (const list of order) {
      if (!list.length) continue;
      if (list.length <= 3 && slots) tryOrders(list, slots, partners, lane);
      else {
        const want = new Map(list.map((item) => [item, wanted(item, partners, lane)]));
        list.sort((a, b) => want.get(a) - want.get(b));
        const shift = Math.floor((width - list.length) / 2) * (lane === "forward" ? 1 : 0);
        list.forEach((item, slot) => { item.slot = slot + shift; });
      }
    }
  }
}

function wanted(item, partners, lane) {
  const near = (partners.get(item) || []).filter((p) => p.lane === lane && p.row !== item.row);
  return near.length ? near.reduce((sum, p) => sum + p.slot, 0) / near.length : item.slot;
}

function tryOrders(list, slots, partners, lane) {
  let best = null, least = Infinity;
  const choose = (taken) => {
    if (taken.length === list.length) {
      list.forEach((item, i) => { item.slot = taken[i]; });
      const cost = list.reduce((sum, item) => sum + strain(item, partners, lane), 0);
      if (cost < least - 1e-9) { least = cost; best = [...taken]; }
      return;
    }
    for (let slot = 0; slot < slots; slot += 1) if (!taken.includes(slot)) choose([...taken, slot]);
  };
  choose([]);
  list.forEach((item, i) => { item.slot = best[i]; });
}

function strain(item, partners, lane) {
  let sum = item.slot * (lane === "forward" ? 0.6 : 0.05);
  for (const other of partners.get(item) || []) {
    if (other.lane !== lane) {
      if (other.row === item.row) sum += lane === "forward" ? item.slot * 0.2 : 0;
      continue;
    }
    const apart = Math.abs(other.slot - item.slot);
    if (other.row === item.row) sum += apart === 1 ? 0 : 2 * apart;
    else sum += apart / (1 + 0.15 * (Math.abs(other.row - item.row) - 1));
  }
  return sum;
}
