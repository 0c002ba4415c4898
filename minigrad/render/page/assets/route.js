// Draws wires as a circuit diagram does: along gutters between columns and gaps between rows, so
// that none passes through a box. Tracks are shared by the wires of one value and by nobody else.

const SIZE = { track: 9, gutter: 22, gap: 26, title: 30, band: 14, corner: 7, port: 15 };

function route(plan, wires) {
  const { rows, columns, bands } = plan;
  const taken = rows.map((row) => new Set(row.items.map((item) => item.column)));
  for (const wire of wires) wire.shape = shapeOf(wire, taken);
  const gutters = gutterTracks(wires, columns.total);
  placeColumns(plan, gutters);
  const ends = ports(wires);
  const gaps = gapTracks(wires, ends, rows.length, gutters);
  placeRows(plan, gaps, bands);
  for (const wire of wires) wire.points = pointsOf(wire, ends, gutters, gaps, plan);
}

// Which way a wire goes, in rows and columns: gap i is above row i, gutter i left of column i.
function shapeOf({ tail, head, kind }, taken) {
  const between = (from, to, test) => {
    for (let i = Math.min(from, to) + 1; i < Math.max(from, to); i += 1) if (!test(i)) return false;
    return true;
  };
  if (tail.row === head.row) {
    if (between(tail.column, head.column, (c) => !taken[tail.row].has(c))) return { side: true };
    const gap = tail.lane === "gradient" || kind === "update" ? tail.row : tail.row + 1;
    return { from: gap, to: gap, down: gap > tail.row, up: gap > tail.row };
  }
  const down = head.row > tail.row;
  const from = tail.row + (down ? 1 : 0), to = head.row + (down ? 0 : 1);
  const shape = { from, to, down, up: !down };
  if (from === to) return shape;
  const free = (column) => between(tail.row, head.row, (r) => !taken[r].has(column));
  if (tail.column === head.column || !free(head.column)) {
    if (free(tail.column)) return { ...shape, along: "tail" };
    if (!free(head.column))
      return { ...shape, gutter: tail.column < head.column ? head.column : head.column + 1 };
  }
  return { ...shape, along: "head" };
}

const netOf = (wire) => `${wire.tail.key} ${wire.kind} ${wire.shape.down}`;

// Tracks inside each gutter, by greedy colouring of the rows that a net spans there.
function gutterTracks(wires, total) {
  const gutters = Array.from({ length: total + 1 }, () => ({ nets: new Map(), tracks: [] }));
  for (const wire of wires) if (wire.shape.gutter !== undefined) {
    const nets = gutters[wire.shape.gutter].nets, { from, to } = wire.shape;
    const span = nets.get(netOf(wire)) || { low: Infinity, high: -Infinity };
    span.low = Math.min(span.low, from, to);
    span.high = Math.max(span.high, from, to);
    nets.set(netOf(wire), span);
  }
  for (const gutter of gutters) {
    const spans = [...gutter.nets.values()].sort((a, b) => (a.high - a.low) - (b.high - b.low));
    for (const span of spans) {
      let track = gutter.tracks.findIndex((list) => list.every((o) => o.high < span.low || o.low > span.high));
      if (track < 0) track = gutter.tracks.push([]) - 1;
      gutter.tracks[track].push(span);
      span.track = track;
    }
  }
  return gutters;
}

function placeColumns(plan, gutters) {
  const { rows, columns } = plan, widths = new Array(columns.total).fill(0);
  for (const row of rows) for (const item of row.items)
    widths[item.column] = Math.max(widths[item.column], item.width);
  const firsts = new Set(LANES.map((lane) => columns.lanes[lane].width ? columns.lanes[lane].start : -1));
  let x = 0;
  const centers = [];
  for (let c = 0; c <= columns.total; c += 1) {
    const lane = c > 0 && firsts.has(c) ? 26 : 0;
    gutters[c].width = SIZE.gutter + lane + SIZE.track * Math.max(0, gutters[c].tracks.length - 1)
      + (plan.labels.has(c) ? 44 : 0);
    gutters[c].x = x;
    x += gutters[c].width;
    if (c < columns.total) { centers.push(x + widths[c] / 2); x += widths[c]; }
  }
  plan.width = x;
  plan.centers = centers;
  for (const row of rows) for (const item of row.items) item.x = centers[item.column];
  for (const gutter of gutters) for (const span of gutter.nets.values())
    span.x = gutter.x + gutter.width / 2 + (span.track - (gutter.tracks.length - 1) / 2) * SIZE.track;
}

// Where wires touch a box's top and bottom: straight ones in the middle, the others beside it.
function ports(wires) {
  const sides = new Map(), ends = new Map();
  const attach = (item, bottom, key, other, straight) => {
    const side = `${item.key} ${bottom}`;
    if (!sides.has(side)) sides.set(side, { item, list: new Map() });
    const list = sides.get(side).list;
    const found = list.get(key) || { key, other: 0, straight: false, n: 0 };
    found.other = (found.other * found.n + other) / (found.n + 1);
    found.n += 1;
    found.straight = found.straight || straight;
    list.set(key, found);
  };
  wires.forEach((wire, w) => {
    if (wire.shape.side) return;
    const straight = wire.tail.column === wire.head.column && wire.shape.gutter === undefined;
    attach(wire.tail, wire.shape.down, `out ${netOf(wire)}`, wire.head.x, straight);
    attach(wire.head, wire.shape.up, `in ${w}`, wire.tail.x + (wire.shape.gutter === undefined ? 0
      : (wire.shape.gutter <= wire.head.column ? -1 : 1)), straight);
  });
  for (const { item, list } of sides.values()) {
    const all = [...list.values()].sort((a, b) => a.other - b.other);
    const middle = all.length === 1 ? 0 : all.findIndex((end) => end.straight);
    const step = Math.min(SIZE.port * (all.some((e) => e.key.startsWith("in")) ? 2 : 1),
      (item.width - 24) / Math.max(all.length - 1, 1));
    all.forEach((end, i) => {
      end.x = item.x + (i - (middle < 0 ? (all.length - 1) / 2 : middle)) * step;
      end.x = Math.max(item.x - item.width / 2 + 9, Math.min(item.x + item.width / 2 - 9, end.x));
      ends.set(`${item.key} ${end.key}`, end.x);
    });
  }
  return ends;
}

function endsOf(wire, w, ends) {
  return [ends.get(`${wire.tail.key} out ${netOf(wire)}`), ends.get(`${wire.head.key} in ${w}`)];
}

// Horizontal tracks in each gap. One net has one track; a stub that comes from above must lie
// above one that leaves downwards at the same place, or the two would lie on each other.
function gapTracks(wires, ends, rows, gutters) {
  const gaps = Array.from({ length: rows + 1 }, () => ({ nets: new Map(), tracks: [] }));
  wires.forEach((wire, w) => {
    if (wire.shape.side) return;
    const [out, into] = endsOf(wire, w, ends), { from, to, gutter, along, down, up } = wire.shape;
    const middle = gutter !== undefined ? gutters[gutter].nets.get(netOf(wire)).x
      : along === "tail" ? out : into;
    wire.middle = middle;
    // From a box above a gap the stub hangs from its top.
    if (from === to) span(gaps[from], netOf(wire), [[out, down], [into, up]]);
    else {
      span(gaps[from], netOf(wire), [[out, down], [middle, !down]]);
      span(gaps[to], netOf(wire), [[middle, down], [into, up]]);
    }
  });
  for (const gap of gaps) {
    const nets = [...gap.nets.values()].filter((net) => net.high - net.low > 1);
    nets.sort((a, b) => a.low - b.low || a.high - b.high);
    for (const net of nets) insert(gap.tracks, net);
    gap.tracks.forEach((list, track) => list.forEach((net) => { net.track = track; }));
  }
  return gaps;
}

function span(gap, key, stubs) {
  const net = gap.nets.get(key) || { low: Infinity, high: -Infinity, above: [], below: [], track: null };
  for (const [x, above] of stubs) {
    net.low = Math.min(net.low, x);
    net.high = Math.max(net.high, x);
    (above ? net.above : net.below).push(x);
  }
  gap.nets.set(key, net);
}

function insert(tracks, net) {
  const touch = (a, b) => a.some((x) => b.some((y) => Math.abs(x - y) < 5));
  let low = 0, high = tracks.length;
  tracks.forEach((list, track) => {
    if (list.some((o) => touch(o.above, net.below))) low = Math.max(low, track + 1);
    if (list.some((o) => touch(net.above, o.below))) high = Math.min(high, track);
  });
  for (let track = low; track < high; track += 1)
    if (tracks[track].every((o) => o.high < net.low - 6 || o.low > net.high + 6)) {
      tracks[track].push(net);
      return;
    }
  tracks.splice(Math.max(low, Math.min(high, tracks.length)), 0, [net]);
}

function placeRows(plan, gaps, bands) {
  const { rows } = plan, opens = rows.map(() => 0), closes = rows.map(() => 0);
  for (const band of bands) { opens[band.first] += 1; closes[band.last] += 1; }
  let y = 0;
  rows.forEach((row, r) => {
    const before = r > 0 ? closes[r - 1] * SIZE.band : 0;
    const gap = gaps[r], tracks = gap.tracks.length, labels = plan.roomy.has(r) ? 20 : 0;
    gap.y = y + before + (SIZE.gap + labels) / 2;
    y += before + SIZE.gap + labels + Math.max(0, tracks - 1) * SIZE.track;
    row.top = y;
    y += opens[r] * SIZE.title;
    row.height = Math.max(...row.items.map((item) => item.height), 12);
    row.y = y + row.height / 2;
    for (const item of row.items) item.y = row.y;
    y += row.height;
  });
  gaps[rows.length].y = y + SIZE.gap / 2;
  const tail = rows.length ? closes[rows.length - 1] * SIZE.band : 0;
  plan.height = y + tail + SIZE.gap + gaps[rows.length].tracks.length * SIZE.track;
  const depth = new Map();
  bands.forEach((band) => {
    let d = 0;
    for (const other of bands) if (other !== band && other.first <= band.first && other.last >= band.last
      && bands.indexOf(other) < bands.indexOf(band)) d += 1;
    depth.set(band, d);
    const inside = bands.filter((o) => o !== band && bands.indexOf(o) > bands.indexOf(band)
      && o.first >= band.first && o.last <= band.last && o.last === band.last).length;
    const first = rows[band.first], last = rows[band.last];
    const above = bands.filter((o) => o.first === band.first && bands.indexOf(o) < bands.indexOf(band)).length;
    band.depth = d;
    band.y = first.top + above * SIZE.title;
    band.height = last.y + last.height / 2 + SIZE.band * (1 + inside) - band.y;
  });
}

function pointsOf(wire, ends, gutters, gaps, plan) {
  const { tail, head, shape } = wire;
  if (shape.side) {
    const right = head.x > tail.x ? 1 : -1;
    return [[tail.x + right * tail.width / 2, tail.y], [head.x - right * head.width / 2, head.y]];
  }
  const out = ends.get(`${tail.key} out ${netOf(wire)}`);
  const into = ends.get(`${head.key} in ${plan.order.get(wire)}`);
  const start = [out, tail.y + (shape.down ? 1 : -1) * tail.height / 2];
  const stop = [into, head.y + (shape.up ? 1 : -1) * head.height / 2];
  const level = (g) => {
    const net = gaps[g].nets.get(netOf(wire));
    return gaps[g].y + (net.track === null ? 0 : net.track * SIZE.track);
  };
  if (shape.from === shape.to)
    return [start, [out, level(shape.from)], [into, level(shape.from)], stop];
  return [start, [out, level(shape.from)], [wire.middle, level(shape.from)],
    [wire.middle, level(shape.to)], [into, level(shape.to)], stop];
}

// A path through points with round corners.
function roundedPath(points) {
  const kept = points.filter((p, i) => i === 0 || Math.hypot(p[0] - points[i - 1][0], p[1] - points[i - 1][1]) > 0.5);
  let path = `M${kept[0][0].toFixed(1)} ${kept[0][1].toFixed(1)}`;
  for (let i = 1; i < kept.length; i += 1) {
    const [x, y] = kept[i];
    if (i === kept.length - 1) { path += `L${x.toFixed(1)} ${y.toFixed(1)}`; break; }
    const back = toward(kept[i], kept[i - 1]), on = toward(kept[i], kept[i + 1]);
    path += `L${back.map((n) => n.toFixed(1)).join(" ")}Q${x.toFixed(1)} ${y.toFixed(1)} ${on.map((n) => n.toFixed(1)).join(" ")}`;
  }
  return path;
}

function toward([x, y], [a, b]) {
  const length = Math.hypot(a - x, b - y), step = Math.min(SIZE.corner, length / 2);
  return [x + (a - x) / length * step, y + (b - y) / length * step];
}
