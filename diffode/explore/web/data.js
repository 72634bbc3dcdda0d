// The points that are explored: a set of the page, or what was drawn by hand.
"use strict";

const REACH = 3; // half the width of the window for points that are drawn by hand

// A set of the page as numbers: {n, xs, labels, names, shape, low, high, reach}.
function opened(set) {
  if (set.n === 2) {
    return { ...set, xs: Float64Array.from(set.x), labels: set.labels && Int32Array.from(set.labels) };
  }
  const bytes = Uint8Array.from(atob(set.bytes), (c) => c.charCodeAt(0));
  const xs = Float64Array.from(bytes, (v) => set.low + v / 255 * (set.high - set.low));
  return { ...set, xs, labels: set.labels && Int32Array.from(set.labels) };
}

function empty(names) {
  return { n: 2, xs: new Float64Array(0), labels: new Int32Array(0), names, reach: REACH };
}

function withPoint(points, x, y, label) {
  return { ...points, xs: Float64Array.from([...points.xs, x, y]),
    labels: points.labels && Int32Array.from([...points.labels, label]) };
}

// Without the point nearest to a place, if one is within reach.
function withoutPoint(points, x, y, near) {
  let best = -1, least = near;
  for (let i = 0; i < points.xs.length / 2; i++) {
    const d = Math.hypot(points.xs[2 * i] - x, points.xs[2 * i + 1] - y);
    if (d < least) { least = d; best = i; }
  }
  if (best < 0) return points;
  return { ...points, xs: points.xs.filter((_, k) => k >> 1 !== best),
    labels: points.labels && points.labels.filter((_, i) => i !== best) };
}

// The same with mean 0 and standard deviation 1, as a job holds them. A single point, or points in
// one place, keep their scale.
function normalised({ n, xs, labels }) {
  const count = xs.length / n, mean = new Array(n).fill(0);
  xs.forEach((v, k) => { mean[k % n] += v / count; });
  let square = 0;
  xs.forEach((v, k) => { square += (v - mean[k % n]) ** 2 / xs.length; });
  const std = Math.sqrt(square) > 1e-6 ? Math.sqrt(square) : 1;
  return { n, xs: xs.map((v, k) => (v - mean[k % n]) / std), labels, mean, std };
}

// The recorded particles of a run: states of all levels, {count, states, rhos}.
function replayed(run, n) {
  const bytes = Uint8Array.from(atob(run.bytes), (c) => c.charCodeAt(0));
  const view = new DataView(bytes.buffer), size = run.count * n, states = [];
  const kept = (k, i) => run.scale * view.getInt16(2 * (k * size + i), true);
  for (let k = 0; k <= LEVELS; k++) {
    const low = Math.floor(k / run.every), high = Math.ceil(k / run.every);
    states.push(Float32Array.from({ length: size }, (_, i) => (kept(low, i) + kept(high, i)) / 2));
  }
  return states;
}

// Where a level lies among those of a run, which fall from its first to its last.
function placeAmong(rhos, rho) {
  if (rho >= rhos[0]) return 0;
  for (let k = 1; k < rhos.length; k++) {
    if (rho >= rhos[k]) return k - 1 + Math.log(rhos[k - 1] / rho) / Math.log(rhos[k - 1] / rhos[k]);
  }
  return rhos.length - 1;
}
