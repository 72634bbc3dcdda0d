// The page: shared controls, the pointer and the keyboard, and a frame whenever something changed.
"use strict";

const CONTENT = JSON.parse(document.getElementById("content").textContent);
const TABLES = CONTENT.tables, SOLVER_NAMES = Object.keys(TABLES.vp);
const find = (id) => document.getElementById(id);
const dark = matchMedia("(prefers-color-scheme: dark)"), still = matchMedia("(prefers-reduced-motion: reduce)");
const OWN_NAMES = ["A", "B", "C", "D"];

class Page {
  constructor() {
    this.sets = CONTENT.sets.map((set) => () => opened(set));
    CONTENT.sets.forEach((set, k) => find("set").add(new Option(set.name, String(k))));
    find("set").add(new Option("draw your own", "own"));
    for (const nfe of Object.keys(TABLES.vp.heun)) find("nfe").add(new Option(nfe, nfe));
    find("nfe").value = "10";
    this.own = empty(OWN_NAMES);
    this.cross = null;
    const template = find("view");
    this.views = [["Left", CONTENT.run ? "run" : "poisson"], ["Right", "rectified"]].map(
      ([side, field]) => new View(side, field, template, this));
    for (const view of this.views) {
      find("views").append(view.root);
      this.listen(view);
    }
    this.controls();
    this.views[0].solver.value = "dpm++"; // the default has no table for small D
    this.choose();
    new ResizeObserver(() => this.dirty()).observe(find("views"));
  }

  controls() {
    find("set").addEventListener("input", () => this.choose());
    for (const id of ["target", "low", "high", "nfe", "frame", "count"]) {
      find(id).addEventListener("input", () => this.restart());
    }
    for (const id of ["time", "clock"]) find(id).addEventListener("input", () => this.dirty());
    for (const id of ["density", "arrows", "lines", "data", "particles", "solver"]) {
      find(`layer-${id}`).addEventListener("input", () => this.dirty());
    }
    find("theme").addEventListener("input", () => this.paint());
    dark.addEventListener("change", () => this.paint());
    find("play").addEventListener("click", () => this.play());
    find("clear").addEventListener("click", () => {
      this.own = empty(OWN_NAMES);
      find("set").value = "own";
      this.choose();
    });
    this.paint();
  }

  paint() {
    const chosen = find("theme").value;
    this.theme = chosen === "auto" ? (dark.matches ? "dark" : "light") : chosen;
    document.documentElement.dataset.theme = this.theme;
    this.dirty();
  }

  get u() { return find("time").value / 1000; }
  get frame() { return find("frame").value; }

  // Another set of points.
  choose() {
    const chosen = find("set").value, target = find("target");
    this.points = chosen === "own" ? this.own : this.sets[+chosen]();
    target.replaceChildren(new Option("no class", "-1"));
    const used = this.points.labels ? [...new Set(this.points.labels)].sort((a, b) => a - b) : [];
    const known = chosen === "own" ? OWN_NAMES.map((_, k) => k) : used;
    for (const k of known) target.add(new Option((this.points.names || [])[k] ?? String(k), String(k)));
    find("guidance").hidden = !known.length;
    for (const id of ["pointer", "layers", "row-count"]) find(id).hidden = this.points.n > 2;
    find("brush").replaceChildren(...known.map((k) => new Option((this.points.names || [])[k] ?? String(k), k)));
    find("row-brush").hidden = !known.length;
    if (chosen === "own" && !this.own.xs.length) { find("mode").value = "draw"; find("time").value = 1000; }
    this.restart();
  }

  // Begin anew: what is computed depends on what was changed.
  restart() { for (const view of this.views) this.changed(view); }

  changed(view) {
    const { points } = this, label = +find("target").value, image = points.n > 2;
    const has = points.labels && [...points.labels].includes(label);
    view.tidy(label >= 0, image);
    const guide = label >= 0 && has && view.schedule
      ? { label, weight: +view.weight.value, low: +find("low").value,
        high: find("high").value === "" ? 1e9 : +find("high").value } : null;
    const count = image ? 16 : +find("count").value;
    view.start({ set: normalised(points), guide, count, seed: 1, frame: this.frame,
      window: points.reach || REACH }, find("nfe").value);
    this.dirty();
  }

  dirty() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => { this.waiting = false; this.render(); });
  }

  render() {
    const layers = {};
    for (const id of ["density", "arrows", "lines", "data", "particles", "solver"]) {
      layers[id] = find(`layer-${id}`).checked;
    }
    const { u, frame, theme, cross, points } = this, clock = find("clock").value;
    for (const view of this.views) {
      const place = view.place(u, clock);
      view.drawing.fit();
      view.drawing.draw(place, { layers, theme, cross, points, reach: points.reach || REACH,
        factor: (at) => view.factor(at, frame) });
      view.level(place);
    }
    find("time-value").textContent = u === 0 ? "prior" : u === 1 ? "data" : `${Math.round(100 * u)} %`;
  }

  play() {
    if (this.playing) { this.playing = false; return; }
    const time = find("time"), began = performance.now(), from = this.u >= 1 ? 0 : this.u;
    this.playing = true;
    find("play").textContent = "Pause";
    const tick = (now) => {
      const jump = still.matches ? 0.1 : 0, gone = from + (now - began) / 8000;
      const u = Math.min(1, jump ? Math.floor(gone / jump) * jump : gone);
      if (!this.playing || u >= 1) { this.playing = false; find("play").textContent = "Play"; }
      time.value = 1000 * u;
      this.dirty();
      if (this.playing) requestAnimationFrame(tick);
    };
    requestAnimationFrame(tick);
  }

  // Pointer and keyboard on a canvas: look, draw or erase.
  listen(view) {
    const { canvas } = view;
    const place = (event) => {
      const box = canvas.getBoundingClientRect(), reach = this.points.reach || REACH;
      return [reach * (2 * (event.clientX - box.left) / box.width - 1),
        reach * (1 - 2 * (event.clientY - box.top) / box.height)];
    };
    canvas.addEventListener("pointermove", (event) => {
      if (find("mode").value === "look") this.point(place(event));
      else if (event.buttons & 1) this.act(place(event), view);
    });
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      if (find("mode").value === "look") this.point(place(event)); else this.act(place(event), view);
    });
    canvas.addEventListener("keydown", (event) => {
      const step = (this.points.reach || REACH) / (event.shiftKey ? 10 : 40), at = this.cross || [0, 0];
      const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
      const move = moves[event.key];
      if (move) this.point(at.map((v, k) => v + step * move[k]));
      else if (event.key === " " || event.key === "Enter") this.act(at, view, "draw");
      else if (event.key === "Delete" || event.key === "Backspace") this.act(at, view, "erase");
      else return;
      event.preventDefault();
    });
  }

  point(cross) {
    if (this.points.n > 2) return;
    this.cross = cross;
    for (const view of this.views) view.ask(cross, view.place(this.u, find("clock").value), this.frame);
    this.dirty();
  }

  // Draw or erase a point: what is changed becomes a set of one's own.
  act(cross, view, mode) {
    if (this.points.n > 2) return;
    if (this.u < 1) { find("time").value = 1000; }
    const reach = this.points.reach || REACH, erase = (mode || find("mode").value) === "erase";
    const [x, y] = cross;
    this.points = erase ? withoutPoint(this.points, x, y, reach / 15)
      : withPoint(this.points, x, y, +find("brush").value || 0);
    this.own = { ...this.points, reach };
    if (find("set").value !== "own") find("set").value = "own";
    this.cross = cross;
    this.restart();
  }
}

window.explorer = new Page();
