"use strict";
const results = JSON.parse(document.getElementById("results").textContent);
const COLOURS = ["#2f6fb5", "#e07b39", "#3f9b6c", "#c2497f", "#8a63c9", "#a08a1c", "#1c9a9a", "#d0474d", "#7a7a7a", "#5577ff"];
const W = 640, H = 360, LEFT = 62, RIGHT = 14, TOP = 12, BOTTOM = 42;

function svg(name, attributes, parent, text) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  if (parent) parent.append(node);
  return node;
}

function html(name, parent, text) {
  const node = document.createElement(name);
  if (text !== undefined) node.textContent = text;
  parent.append(node);
  return node;
}

function options(select, values) {
  for (const [value, text] of values) {
    const option = html("option", select, text);
    option.value = value;
  }
}

function short(value) {
  return Math.abs(value) >= 1000 || (value !== 0 && Math.abs(value) < 0.001) ? value.toExponential(0) : String(Number(value.toPrecision(3)));
}

// An axis over values: logarithmic where they are positive and span a factor of five.
function axis(values, from, to) {
  let low = Math.min(...values), high = Math.max(...values);
  const log = low > 0 && high / low > 5;
  const f = log ? Math.log10 : v => v;
  const pad = (f(high) - f(low) || Math.abs(f(high)) || 1) * 0.05;
  const a = f(low) - pad, b = f(high) + pad;
  const ticks = [];
  if (log) {
    const near = b - a < 1.6 ? [1, 2, 5] : b - a < 4 ? [1, 3] : [1];
    for (let e = Math.floor(a); e <= b; e++) for (const m of near) {
      const v = m * 10 ** e;
      if (f(v) >= a && f(v) <= b) ticks.push(v);
    }
  } else {
    const rough = (b - a) / 5, unit = 10 ** Math.floor(Math.log10(rough));
    const step = unit * [1, 2, 5, 10].find(m => m * unit >= rough);
    for (let v = Math.ceil(a / step) * step; v <= b; v += step) ticks.push(Math.abs(v) < step / 1e6 ? 0 : v);
  }
  return { at: v => from + (to - from) * (f(v) - a) / (b - a), ticks, low: log ? 10 ** a : a };
}

function chart(place, lines, floor, cost, metric, hidden) {
  place.replaceChildren();
  const legend = html("div", place);
  legend.className = "legend";
  lines.forEach((line, k) => {
    line.colour = COLOURS[k % COLOURS.length];
    const button = html("button", legend);
    button.type = "button";
    button.setAttribute("aria-pressed", String(!hidden.has(line.name)));
    html("i", button).style.background = line.colour;
    button.append(line.name);
    button.onclick = () => {
      if (!hidden.delete(line.name)) hidden.add(line.name);
      chart(place, lines, floor, cost, metric, hidden);
    };
  });
  const shown = lines.filter(line => !hidden.has(line.name) && line.points.length);
  const points = shown.flatMap(line => line.points);
  if (!points.length) { html("p", place, "Nothing to show."); return; }
  const ys = points.map(p => p.y).concat(floor === null ? [] : [floor]);
  const x = axis(points.map(p => p.x), LEFT, W - RIGHT), y = axis(ys, H - BOTTOM, TOP);
  const root = svg("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": `${metric} against ${cost}` }, place);
  svg("path", { d: `M${LEFT} ${TOP}V${H - BOTTOM}H${W - RIGHT}`, fill: "none", stroke: "currentColor", "stroke-opacity": 0.6 }, root);
  for (const v of x.ticks) {
    svg("path", { d: `M${x.at(v)} ${H - BOTTOM}v5`, stroke: "currentColor", "stroke-opacity": 0.6 }, root);
    svg("text", { x: x.at(v), y: H - BOTTOM + 18, "text-anchor": "middle" }, root, short(v));
  }
  for (const v of y.ticks) {
    svg("path", { d: `M${LEFT} ${y.at(v)}H${W - RIGHT}`, stroke: "currentColor", "stroke-opacity": 0.12 }, root);
    svg("text", { x: LEFT - 6, y: y.at(v) + 4, "text-anchor": "end" }, root, short(v));
  }
  svg("text", { x: (LEFT + W - RIGHT) / 2, y: H - 6, "text-anchor": "middle" }, root, cost);
  if (floor !== null) svg("path", { d: `M${LEFT} ${y.at(floor)}H${W - RIGHT}`, stroke: "currentColor", "stroke-dasharray": "5 4" }, root);
  for (const line of shown) {
    const sorted = [...line.points].sort((a, b) => a.x - b.x);
    const d = sorted.map((p, k) => `${k ? "L" : "M"}${x.at(p.x).toFixed(1)} ${y.at(p.y).toFixed(1)}`).join("");
    svg("path", { d, fill: "none", stroke: line.colour, "stroke-width": 1.8 }, root);
    for (const p of sorted) {
      const px = x.at(p.x);
      if (p.half > 0) {
        const top = Math.max(TOP, y.at(p.y + p.half)), bottom = Math.min(H - BOTTOM, y.at(Math.max(p.y - p.half, y.low)));
        svg("path", { d: `M${px} ${top}V${bottom}`, stroke: line.colour, "stroke-opacity": 0.55 }, root);
      }
      const dot = svg("circle", { cx: px, cy: y.at(p.y), r: 3.2, fill: line.colour }, root);
      svg("title", {}, dot, `${line.name}: ${short(p.y)} ± ${short(p.half || 0)} at ${short(p.x)} ${cost}`);
    }
  }
}

function unique(values) { return [...new Set(values)]; }

for (const section of document.querySelectorAll("section[data-set]")) {
  const data = section.dataset.set, rows = results.rows.filter(r => r.data === data);
  const solvers = unique(rows.map(r => r.solver)), fields = unique(rows.map(r => r.field));
  const [controls, grids] = section.querySelectorAll("form.controls");
  const usual = solvers.filter(s => s !== "own");
  const hidden = new Set();
  options(controls.elements.metric, results.metrics[data].map(m => [m, m]));
  controls.elements.metric.value = results.headline[data];
  options(controls.elements.show, usual.map(s => [`solver ${s}`, `fields, by ${s}`]).concat(fields.map(f => [`field ${f}`, `solvers, of ${f}`])));

  function draw() {
    const metric = controls.elements.metric.value, cost = controls.elements.cost.value;
    const [kind, ...rest] = controls.elements.show.value.split(" "), name = rest.join(" ");
    const mine = rows.filter(r => metric in r.metrics && (kind === "field" ? r.field === name : r.solver === name || r.solver === "own"));
    const by = kind === "field" ? "solver" : "field";
    const lines = unique(mine.map(r => r[by])).map(label => ({
      name: label,
      points: mine.filter(r => r[by] === label).map(r => ({ x: r[cost], y: r.metrics[metric][0], half: r.metrics[metric][1] })),
    }));
    const floor = metric in results.floors[data] ? results.floors[data][metric] : null;
    chart(section.querySelector(".chart"), lines, floor, controls.elements.cost.selectedOptions[0].text, metric, hidden);
  }
  controls.onchange = draw;
  draw();

  options(grids.elements.solver, usual.map(s => [s, s]));
  function pictures() {
    const solver = grids.elements.solver.value, place = section.querySelector(".grids");
    place.replaceChildren();
    const table = html("table", place);
    const real = results.pictures[results.real[data]];
    fields.forEach((field, k) => {
      const mine = rows.filter(r => r.field === field && (r.solver === solver || r.solver === "own") && r.picture).sort((a, b) => a.nfe - b.nfe);
      const line = html("tr", table);
      html("td", line, field).className = "text";
      for (const r of mine) {
        const cell = html("td", line);
        const image = html("img", cell);
        image.src = results.pictures[r.picture];
        image.alt = `${field}, ${solver}, ${short(r.nfe)} evaluations`;
        html("figcaption", cell, `${short(r.nfe)} evaluations`);
      }
      if (k === 0 && real) {
        const first = table.insertRow(0);
        html("td", first, "real data").className = "text";
        const image = html("img", html("td", first));
        image.src = real;
        image.alt = "real data";
      }
    });
  }
  grids.onchange = pictures;
  pictures();
}
