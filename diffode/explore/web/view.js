// One of the two views: its own controls, its worker, and what it says of the place under the cursor.
"use strict";

const FIELDS = {
  vp: ["VP (DDPM)", "vp"], subvp: ["sub-VP", "subvp"], ve: ["VE", "ve"],
  edm: ["EDM (Karras)", "karras"], rectified: ["Rectified flow", "rectified"],
  cosine: ["Cosine", "cosine"], poisson: ["Poisson flow (PFGM++)", "karras"],
  monoflow: ["MonoFlow, exact ratio", null],
};
const DOFS = 24; // steps of the slider of D, of which the last is infinity

class View {
  constructor(side, field, template, page) {
    this.page = page;
    this.side = side;
    const root = template.content.firstElementChild.cloneNode(true);
    for (const element of root.querySelectorAll("[data-id]")) {
      const name = element.dataset.id;
      element.id = `${name}-${side}`;
      this[name] = element;
    }
    for (const label of root.querySelectorAll("[data-for]")) label.htmlFor = `${label.dataset.for}-${side}`;
    root.setAttribute("aria-label", `${side} view`);
    this.title.textContent = `${side} view`;
    this.root = root;
    for (const [key, [name]] of Object.entries(FIELDS)) this.field.add(new Option(name, key));
    if (CONTENT.run) this.field.add(new Option("the trained run", "run"));
    this.field.value = field;
    for (const name of SOLVER_NAMES) this.solver.add(new Option(name, name));
    this.drawing = new Drawing(this.canvas);
    for (const name of ["field", "D", "h", "weight", "solver"]) {
      this[name].addEventListener("input", () => page.changed(this));
    }
    const code = ["mathematics", "worker"].map((id) => document.getElementById(id).textContent);
    const made = URL.createObjectURL(new Blob([code.join("\n")], { type: "text/javascript" }));
    this.worker = new Worker(made);
    this.worker.onmessage = (event) => this.hear(event.data);
    this.worker.onerror = () => { this.error.textContent = "This browser does not let the page compute beside it."; };
    this.id = 0;
  }

  get dof() {
    if (this.field.value !== "poisson") return Infinity;
    return +this.D.value === DOFS ? Infinity : 2 ** (this.D.value / 2);
  }

  get schedule() { return (FIELDS[this.field.value] || [])[1]; }

  get isRun() { return this.field.value === "run"; }

  // Where the time's slider is among the levels of this flow.
  place(u, clock) {
    if (this.isRun && CONTENT.run.rhos && clock !== "own") return placeAmong(CONTENT.run.rhos, noiseAt(u));
    if (!this.schedule) return u * LEVELS;
    const [first, last] = rhoEnds(this.schedule), { span, rho } = SCHEDULES[this.schedule];
    const at = clock === "own" ? rho(span[0] + u * (span[1] - span[0])) : noiseAt(u);
    const part = Math.log(Math.min(at, first) / first) / Math.log(last / first);
    return LEVELS * Math.min(1, Math.max(0, part));
  }

  rho(place) {
    if (this.isRun) {
      const [a, b, u] = between(place), { rhos } = CONTENT.run;
      return rhos ? rhos[a] * (rhos[b] / rhos[a]) ** u : 0;
    }
    const [first, last] = this.schedule ? rhoEnds(this.schedule) : STAGE_ENDS;
    return first * (last / first) ** (place / LEVELS);
  }

  // What a coordinate of the frame is multiplied by to become y.
  factor(place, frame) {
    if (!this.schedule && !this.isRun) return 1;
    const rho = this.rho(place);
    if (this.isRun) return Math.sqrt(1 + rho * rho);
    return frame === "own" ? 1 / SCHEDULES[this.schedule].alpha(rho) : Math.sqrt(1 + rho * rho);
  }

  // Show the controls that mean something for this field, and say what they are set to.
  tidy(labelled, image) {
    const name = this.field.value;
    this.rowD.hidden = name !== "poisson";
    this.rowH.hidden = name !== "monoflow";
    this.rowWeight.hidden = !labelled || !this.schedule;
    this.rowSolver.hidden = !this.schedule;
    this.valueD.textContent = this.dof === Infinity ? "∞" : this.dof.toPrecision(3);
    this.valueWeight.textContent = (+this.weight.value).toFixed(1);
    const without = { monoflow: image, run: find("set").value !== "0" };
    for (const choice of this.field.options) choice.disabled = Boolean(without[choice.value]);
    if (without[name]) { this.field.value = "poisson"; this.tidy(labelled, image); }
  }

  // Why the default solver has no table here, or "".
  untabled(guide) {
    if (this.solver.value !== "default") return "";
    if (this.dof <= 8) return "For D up to 8 the default gives each particle its own times. Choose another solver.";
    const jumps = guide && guide.weight !== 1 && (guide.low > 0 || guide.high < 1e6);
    return guide && (guide.weight > 2 || jumps)
      ? "Strong guidance has its own tables of the default. Choose another solver." : "";
  }

  start(job, nfe) {
    const reason = this.schedule ? this.untabled(job.guide) : "";
    this.id += 1;
    this.error.textContent = reason || "";
    this.errors.textContent = "";
    const tables = this.schedule && !reason ? TABLES[this.schedule][this.solver.value] : null;
    const table = tables && tables[nfe];
    this.drawing.clear(job.count, job.set.n);
    this.job = { ...job, id: this.id, family: this.field.value, schedule: this.schedule, D: this.dof,
      h: this.h.value, table, tables, grid: 48, arrows: 13 };
    if (this.isRun) this.replay(job.set.n);
    else if (job.set.xs.length) this.worker.postMessage(this.job);
    this.busy = !this.isRun && job.set.xs.length > 0;
    this.root.setAttribute("aria-busy", String(this.busy));
    this.look.textContent = this.isRun || job.set.n > 2 ? ""
      : "Move the pointer over the picture, or the cross by the arrow keys, to read the density there.";
  }

  // Show what was recorded of the run.
  replay(n) {
    const { run } = CONTENT;
    this.drawing.clear(run.count, n);
    this.drawing.states = replayed(run, n);
    this.drawing.known = run.count;
    this.error.textContent = `${run.count} particles, moved by the trained network in ${run.nfe} evaluations.`;
  }

  hear(message) {
    if (message.id !== this.id) return;
    if (message.kind === "piece") this.drawing.piece(message);
    else if (message.kind === "maps") this.drawing.maps(message, this.job.grid);
    else if (message.kind === "solver") {
      this.drawing.ends = message.ends;
      this.error.textContent = `${this.solver.value}, ${message.nfe} evaluations: distance from the exact `
        + `flow's end ${brief(message.rms)} rms, ${brief(message.median)} median.`;
    } else if (message.kind === "errors") {
      const each = message.found.map(({ nfe, rms }) => `${nfe}: ${brief(rms)}`);
      this.errors.textContent = `rms distance by evaluations: ${each.join(", ")}`;
    } else if (message.kind === "look") this.say(message);
    else { this.busy = false; this.root.setAttribute("aria-busy", "false"); }
    this.page.dirty();
  }

  // Ask what is known at a place of the frame.
  ask(cross, place, frame) {
    if (!this.job || this.isRun || this.job.set.n !== 2 || !this.job.set.xs.length) return;
    const { mean, std } = this.job.set, factor = this.factor(place, frame);
    const y = cross.map((v, k) => (v * factor - mean[k]) / std);
    this.asked = { rho: this.rho(place), place };
    this.worker.postMessage({ kind: "look", id: this.id, y, rho: this.asked.rho, level: Math.round(place) });
  }

  say(found) {
    const centre = this.page.points.centre || [0, 0];
    const { mean, std } = this.job.set, rho = this.asked.rho, at = found.place;
    const pair = (v) => `(${brief(v[0])}, ${brief(v[1])})`, data = (v, k) => centre[k] + mean[k] + std * v;
    if (found.ratio !== undefined) {
      this.look.textContent = `At ${pair(at.map(data))}: log p/q = ${brief(found.ratio)}, next move `
        + `${pair(found.move.map((v) => std * v))}.`;
      return;
    }
    const alpha = SCHEDULES[this.schedule].alpha(rho), units = 2 * Math.log(std * alpha);
    const along = found.along === null ? "" : ` (followed to the prior: ${brief(found.along - units)})`;
    this.look.textContent = `At x = ${pair(at.map((v, k) => alpha * data(v, k)))}: log p = `
      + `${brief(found.logp - units)} nats${along}; score ${pair(found.score.map((v) => v / (std * alpha)))}; `
      + `E[x₀|x] = ${pair(found.mean.map(data))}.`;
  }

  // The level as numbers.
  level(place) {
    if (this.isRun) {
      this.numbers.textContent = CONTENT.run.rhos ? `ρ = ${brief(this.rho(place))}` : "";
      return;
    }
    if (!this.schedule) {
      this.numbers.textContent = `stage ${Math.round(place)} of ${LEVELS}, noise ${brief(this.rho(place))}`;
      return;
    }
    const rho = this.rho(place), { alpha, time } = SCHEDULES[this.schedule], a = alpha(rho);
    this.numbers.textContent = `t = ${brief(time(rho))}, α = ${brief(a)}, σ = ${brief(a * rho)}, `
      + `ρ = σ/α = ${brief(rho)}`;
  }
}

// The noise level of a place of the slider that both views share.
function noiseAt(u) { return 100 * (0.001 / 100) ** u; }

function brief(v) {
  if (!Number.isFinite(v)) return String(v);
  const size = Math.abs(v);
  return size && (size < 0.001 || size >= 1e5) ? v.toExponential(1) : String(+v.toPrecision(3));
}
