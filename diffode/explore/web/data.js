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
