// Runs beside the page: is given a job, answers in pieces, and drops a job for the next one.
// A job is {id, set: {n, xs, labels, mean, std}, family, schedule, D, h, guide, count, seed, table,
// frame, grid, arrows, window}; what is sent back is in the coordinates of the frame that is shown.
"use strict";

const PIECE = 250, CROWD = 400, STAGE_LENGTH = 1;
let current = null; // the job that is being done
let looked = null; // what questions about a place need

const pause = () => new Promise((go) => setTimeout(go, 0));
const tell = (job, message, ...buffers) => postMessage({ id: job.id, ...message }, buffers);

// The levels of a job and, for each, what a coordinate of the frame is multiplied by to become y.
function framed(job) {
  if (job.family === "monoflow") {
    const sigmas = stageSigmas(LEVELS);
    return { rhos: sigmas, factors: sigmas.map(() => 1), drift: sigmas.map(() => 0) };
  }
  const rhos = rhoLevels(job.schedule, LEVELS), { alpha } = SCHEDULES[job.schedule];
  const size = (rho) => (job.frame === "own" ? 1 / alpha(rho) : Math.sqrt(1 + rho * rho));
  const drift = rhos.map((rho) => Math.log(size(rho * 1.0001) / size(rho / 1.0001)) / 0.0002);
  return { rhos, factors: rhos.map(size), drift };
}

// States z of a flow, or x of a march, as coordinates of the frame.
function shown(job, state, rho, factor) {
  const { n, mean, std } = job.set, size = job.family === "monoflow" ? 1 : Math.sqrt(1 + rho * rho);
  return state.map((v, k) => (mean[k % n] + std * v * size) / factor);
}

function send(job, states, from) {
  const { rhos, factors } = job.levels, rows = states[0].length;
  const all = new Float32Array(states.length * rows);
  states.forEach((state, k) => all.set(shown(job, state, rhos[k], factors[k]), k * rows));
  tell(job, { kind: "piece", from, rows: rows / job.set.n, states: all }, all.buffer);
}

// Noise of the particles that are asked for; the same for every piece of them.
function starts(job) {
  const { n } = job.set;
  if (job.start) return Float64Array.from(job.start);
  return n === 2 ? noise(job.count, job.D, job.seed) : noiseOf(n, job.count, job.D, job.seed);
}

async function move(job, points) {
  const { n } = job.set, all = starts(job), rows = all.length / n, ends = [];
  job.levels = framed(job);
  const { rhos } = job.levels, flat = job.family === "monoflow";
  let crowd = null;
  if (flat) {
    all.forEach((v, k) => { all[k] = PRIOR_STD * v; });
    const first = all.slice(0, n * Math.min(CROWD, rows));
    crowd = march(points, first, rhos, job.h, STAGE_LENGTH);
    job.crowd = crowd;
  }
  const piece = n === 2 ? PIECE : 4;
  for (let from = 0; from < rows; from += piece) {
    const part = all.slice(n * from, n * Math.min(rows, from + piece));
    const states = flat ? follow(points, crowd, part, rhos, job.h, STAGE_LENGTH)
      : exactPaths(points, part, rhos, job.D, job.guide, n === 2 ? 2 : 1);
    send(job, states, from);
    if (!flat) ends.push(denoised(points, states[LEVELS], rhos[LEVELS], job.D, job.guide));
    await pause();
    if (current !== job) return;
  }
  if (n === 2) await maps(job, points);
  if (current === job && !flat && job.table) compare(job, points, all, ends);
  if (current === job) tell(job, { kind: "done" });
}

// The density and the direction of the flow on grids, a level at a time.
async function maps(job, points) {
  const { grid, arrows, window: reach, set } = job, { rhos, factors, drift } = job.levels;
  const density = new Uint8Array((LEVELS + 1) * grid * grid);
  const flow = new Float32Array((LEVELS + 1) * arrows * arrows * 2);
  for (let k = 0; k <= LEVELS; k++) {
    const law = job.crowd ? cloud(2, job.crowd[k]) : points, label = job.guide ? job.guide.label : -1;
    const coordinate = (g, v, i) => (g * factors[k] - set.mean[i]) / set.std;
    const place = (cells) => Float64Array.from({ length: 2 * cells * cells }, (_, i) => {
      const cell = i >> 1, at = i & 1 ? (cell / cells) | 0 : cell % cells;
      return coordinate((i & 1 ? -1 : 1) * reach * ((2 * at + 1) / cells - 1), 0, i & 1);
    });
    const y = place(grid), logs = new Float64Array(grid * grid);
    means(law, y, rhos[k], job.D, new Float64Array(y.length), job.crowd ? -1 : label, logs);
    const top = logs.reduce((a, b) => Math.max(a, b), -Infinity);
    logs.forEach((l, i) => { density[k * grid * grid + i] = 255 * Math.exp((l - top) / 2); });
    const at = place(arrows), out = new Float64Array(at.length), base = k * at.length;
    if (job.crowd) ratioMoves(points, law, at, rhos[k], job.h, out);
    else guidedMeans(points, at, rhos[k], job.D, job.guide, out);
    let most = 1e-12;
    for (let i = 0; i < at.length; i++) {
      const g = (set.mean[i & 1] + set.std * at[i]) / factors[k];
      const rate = job.crowd ? set.std * out[i]
        : set.std * (out[i] - at[i]) / factors[k] + g * drift[k];
      flow[base + i] = rate;
      most = Math.max(most, Math.abs(rate));
    }
    for (let i = 0; i < at.length; i++) flow[base + i] /= most;
    if (k % 8 === 7) await pause();
    if (current !== job) return;
  }
  tell(job, { kind: "maps", density, flow }, density.buffer, flow.buffer);
}

// Where the chosen solver takes the same particles, and how far from the exact flow that is.
function compare(job, points, n, ends) {
  const size = job.set.n, wanted = new Float64Array(n.length);
  let from = 0;
  for (const end of ends) { wanted.set(end, from); from += end.length; }
  const few = Math.min(n.length / size, size === 2 ? 1000 : n.length / size) * size;
  const x = solved(points, n.slice(0, few), job.table, job.D, job.guide);
  const off = distances(x, wanted.slice(0, few), size), scale = job.set.std;
  const found = Float32Array.from(shown(job, x, 0, 1));
  tell(job, { kind: "solver", rms: off.rms * scale, median: off.median * scale,
    nfe: job.table.nfe, ends: found }, found.buffer);
  const fewer = Math.min(few, 300 * size);
  tell(job, { kind: "errors", found: Object.values(job.tables).map((table) => {
    const end = solved(points, n.slice(0, fewer), table, job.D, job.guide);
    return { nfe: table.nfe, rms: scale * distances(end, wanted.slice(0, fewer), size).rms };
  }) });
}

// What is known at a place: y in units of the data's standard deviation about its mean.
function look(job, question) {
  const { points } = looked, { y, rho } = question, label = job.guide ? job.guide.label : -1;
  if (job.family === "monoflow") {
    const k = Math.min(LEVELS, Math.max(0, question.level)), out = new Float64Array(2), d = [];
    ratioMoves(points, cloud(2, job.crowd[k]), Float64Array.from(y), job.levels.rhos[k], job.h, out, d);
    tell(job, { kind: "look", place: y, ratio: d[0], move: Array.from(out) });
    return;
  }
  const here = about(points, Float64Array.from(y), rho, job.D, label);
  const far = rhoEnds(job.schedule)[0];
  const along = rho < far ? logDensities(points, y, rho, far, job.D, label, 120) : null;
  tell(job, { kind: "look", place: y, logp: here.logp, mean: Array.from(here.mean),
    score: Array.from(here.score), along: along && along.prior });
}

onmessage = async (event) => {
  const message = event.data;
  if (message.kind === "look") {
    if (looked && looked.job.id === message.id && looked.job.levels) look(looked.job, message);
    return;
  }
  current = message;
  const points = cloud(message.set.n, message.set.xs, message.set.labels);
  looked = { job: message, points };
  await pause();
  if (current === message) await move(message, points);
};
