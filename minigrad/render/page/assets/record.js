// The recording of a training run: a slider over its steps, and four charts with a cursor.

const H = 124, PAD = { l: 46, r: 8, t: 8, b: 16 };
let W = 300; // of a chart, in pixels of the page: lines and letters keep their size
const rec = { data: null, at: 0, layer: null, channel: 0, scope: "", activation: null };

function startRecord(record) {
  rec.data = record;
  rec.at = record.step.length - 1;
  rec.layer = Object.keys(record.norms)[0] || null;
  rec.activation = Object.keys(record.activations)[0] || null;
  const slider = el("input", { type: "range", id: "record-step", min: 0, max: rec.at, value: rec.at, "aria-label": "recorded training step" });
  slider.addEventListener("input", () => { rec.at = Number(slider.value); drawRecord(); });
  const layers = chooser("record-layer", "batch-norm layer", Object.keys(record.norms), (name) => { rec.layer = name; rec.channel = 0; channels(); drawRecord(); });
  const channel = chooser("record-channel", "channel", [], (name) => { rec.channel = Number(name); drawRecord(); });
  $("record").append(el("div", { class: "bar" }, el("h2", { text: "Training" }), layers, channel, slider, el("output", { id: "record-told", "aria-live": "off" }),
    el("button", { class: "link", text: "hide (r)", onclick: () => $("record").toggleAttribute("data-closed") })), el("div", { class: "charts", id: "charts" }));
  $("record").hidden = false;
  channels();
  drawRecord();
}

function chooser(id, label, names, change) {
  const box = el("select", { id, "aria-label": label });
  box.append(...names.map((name) => el("option", { value: name, text: name })));
  box.addEventListener("change", () => change(box.value));
  return box;
}

function channels() {
  const norm = rec.data.norms[rec.layer], box = $("record-channel");
  box.hidden = !norm;
  if (norm) box.replaceChildren(...norm.channels.map((c, i) => el("option", { value: i, text: `channel ${c}` })));
}

// The selected node's scope picks the layer, the activation and the parameters that are shown.
function onRecordSelect(scope) {
  if (!rec.data) return;
  rec.scope = scope;
  if (rec.data.norms[scope] && rec.layer !== scope) { rec.layer = scope; rec.channel = 0; $("record-layer").value = scope; channels(); }
  if (rec.data.activations[scope]) rec.activation = scope;
  drawRecord();
}

function drawRecord() {
  const { data, at } = rec;
  if (!data) return;
  W = Math.max(220, ($("record").clientWidth - 32 - 3 * 18) / (window.innerWidth > 900 ? 4 : 2));
  const norm = data.norms[rec.layer], charts = [];
  if (norm) {
    const pick = (key) => norm[key].map((row) => row[rec.channel]);
    charts.push(lines(`${rec.layer} mean`, [["batch", pick("batch_mean")], ["ema", pick("running_mean")]]));
    charts.push(lines(`${rec.layer} variance`, [["batch", pick("batch_var")], ["ema", pick("running_var")]]));
  }
  if (rec.activation) charts.push(fan(`what ${rec.activation} gives: 1 15 50 85 99 %`, data.activations[rec.activation]));
  const own = Object.keys(data.gradients).filter((name) => rec.scope && name.startsWith(`${rec.scope}/`));
  charts.push(norms(own.length ? `gradient norm of ${own.join(", ")}` : "gradient norm of every parameter", data.gradients, own));
  $("charts").replaceChildren(...charts);
  const loss = data.loss[at];
  $("record-told").textContent = `step ${data.step[at]}   loss ${loss === null ? "not finite" : number(loss)}`;
}
window.addEventListener("resize", drawRecord);
window.drawRecord = drawRecord;
window.onRecordSelect = onRecordSelect;

function scales(series, log) {
  const all = series.flat().filter((n) => n !== null && (!log || n > 0)).map((n) => (log ? Math.log10(n) : n));
  let low = Math.min(...all), high = Math.max(...all);
  if (!all.length) { low = 0; high = 1; }
  if (high - low < 1e-12) { low -= 0.5; high += 0.5; }
  const steps = rec.data.step, first = steps[0], last = steps[steps.length - 1];
  return { low, high, log, x: (i) => PAD.l + (W - PAD.l - PAD.r) * (last === first ? 0.5 : (steps[i] - first) / (last - first)),
    y: (n) => { const v = log ? Math.log10(Math.max(n, 1e-300)) : n; return Math.min(H, H - PAD.b - (H - PAD.t - PAD.b) * (v - low) / (high - low)); } };
}

function frame(title, scale, ...children) {
  const told = scale.log ? [number(10 ** scale.low), number(10 ** scale.high)] : [number(scale.low), number(scale.high)];
  const steps = rec.data.step, x = scale.x(rec.at);
  const chart = svg("svg", { viewBox: `0 0 ${W} ${H}`, class: "chart", role: "img", "aria-label": title },
    svg("path", { class: "axis", d: `M${PAD.l} ${PAD.t}V${H - PAD.b}H${W - PAD.r}` }),
    svg("text", { x: PAD.l - 4, y: PAD.t + 6, "text-anchor": "end", text: told[1] }), svg("text", { x: PAD.l - 4, y: H - PAD.b, "text-anchor": "end", text: told[0] }),
    svg("text", { x: PAD.l, y: H - 4, text: String(steps[0]) }), svg("text", { x: W - PAD.r, y: H - 4, "text-anchor": "end", text: String(steps[steps.length - 1]) }),
    ...children, svg("path", { class: "cursor", d: `M${x} ${PAD.t}V${H - PAD.b}` }));
  chart.addEventListener("pointerdown", (event) => { // a click moves the slider
    const box = chart.getBoundingClientRect(), wanted = (event.clientX - box.left) / box.width * W;
    let best = 0;
    steps.forEach((_, i) => { if (Math.abs(scale.x(i) - wanted) < Math.abs(scale.x(best) - wanted)) best = i; });
    rec.at = best;
    $("record-step").value = best;
    drawRecord();
  });
  return el("figure", {}, el("figcaption", { text: title }), chart);
}

function path(values, scale) {
  let down = false;
  return values.map((n, i) => {
    if (n === null) { down = false; return ""; }
    const text = `${down ? "L" : "M"}${scale.x(i).toFixed(1)} ${scale.y(n).toFixed(1)}`;
    down = true;
    return text;
  }).join("");
}

function point(kind, value, scale) {
  return value === null ? null : svg("circle", { class: `point ${kind}`, cx: scale.x(rec.at), cy: scale.y(value), r: 3.5 });
}

function lines(title, series) {
  const scale = scales(series.map(([, values]) => values));
  const chart = frame(title, scale, ...series.map(([kind, values]) => svg("path", { class: kind, d: path(values, scale) })),
    ...series.map(([kind, values]) => point(kind, values[rec.at], scale)));
  const told = series.map(([kind, values]) => [el("i", { class: `swatch ${kind}` }), `${kind === "ema" ? "running" : kind} ${values[rec.at] === null ? "–" : number(values[rec.at])}`]);
  chart.querySelector("figcaption").append(...told.flat());
  return chart;
}

// Percentiles of what a layer gives: the median inside two bands.
function fan(title, rows) {
  const scale = scales(rows), column = (c) => rows.map((row) => row[c]);
  const band = (a, b, kind) => svg("path", { class: kind, d: `${path(column(a), scale)}${[...column(b).entries()].reverse().filter(([, n]) => n !== null)
    .map(([i, n]) => `L${scale.x(i).toFixed(1)} ${scale.y(n).toFixed(1)}`).join("")}Z` });
  return frame(title, scale, band(0, 4, "area"), band(1, 3, "area inner"), svg("path", { class: "median", d: path(column(2), scale) }));
}

function norms(title, gradients, own) {
  const scale = scales(Object.values(gradients), true);
  return frame(title, scale, ...Object.entries(gradients).map(([name, values]) => svg("path", { class: `norm ${own.includes(name) ? "hot" : ""}`, d: path(values, scale) })),
    ...own.map((name) => point("norm", gradients[name][rec.at], scale)));
}
