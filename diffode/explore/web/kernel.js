// Sums over the data under the kernel of the noise, in y = x / alpha at the level rho = sigma / alpha.
// One law of noise serves every path: normal noise is D = Infinity, Student-t noise has D degrees of
// freedom and the scale rho. Points are {n, xs, logw, labels}: n coordinates each, in one flat array.
"use strict";

const CUT = 40; // of log-weights below their largest: what is smaller adds nothing in float64

function cloud(n, xs, labels) {
  const count = xs.length / n;
  return { n, count, xs: Float64Array.from(xs), labels: labels || null,
    logw: new Float64Array(count).fill(-Math.log(count)), scratch: new Float64Array(count) };
}

// The log-kernels of all points at y = ys[at], ys[at + 1], ... in points.scratch; returns their largest.
// A label leaves the points of other classes out.
function logKernels(points, ys, at, rho, D, label) {
  const { n, count, xs, logw, labels, scratch } = points, normal = D === Infinity;
  const half = normal ? 0.5 / (rho * rho) : (n + D) / 2, r2 = normal ? 0 : D * rho * rho;
  const base = normal ? 0 : half * Math.log(r2), a = ys[at], b = ys[at + 1];
  let top = -Infinity;
  for (let i = 0; i < count; i++) {
    let d2;
    if (n === 2) {
      const u = a - xs[2 * i], v = b - xs[2 * i + 1];
      d2 = u * u + v * v;
    } else {
      d2 = 0;
      for (let k = 0, p = i * n; k < n; k++) { const u = ys[at + k] - xs[p + k]; d2 += u * u; }
    }
    let l = logw[i] - (normal ? half * d2 : half * Math.log(d2 + r2) - base);
    if (label >= 0 && labels[i] !== label) l = -Infinity;
    scratch[i] = l;
    if (l > top) top = l;
  }
  return top;
}

// E[x_0 | y] of rows of ys into out; and, where logs is given, log p(y) of each row up to the
// kernel's norm, see logNorm.
function means(points, ys, rho, D, out, label, logs) {
  const { n, count, xs, scratch } = points, rows = ys.length / n;
  const known = label === undefined ? -1 : label;
  for (let j = 0; j < rows; j++) {
    const top = logKernels(points, ys, j * n, rho, D, known), cut = top - CUT;
    let s = 0;
    if (n === 2) {
      let a = 0, b = 0;
      for (let i = 0; i < count; i++) {
        if (scratch[i] > cut) {
          const w = Math.exp(scratch[i] - top);
          s += w; a += w * xs[2 * i]; b += w * xs[2 * i + 1];
        }
      }
      out[2 * j] = a / s; out[2 * j + 1] = b / s;
    } else {
      for (let k = 0; k < n; k++) out[j * n + k] = 0;
      for (let i = 0; i < count; i++) {
        if (scratch[i] > cut) {
          const w = Math.exp(scratch[i] - top);
          s += w;
          for (let k = 0; k < n; k++) out[j * n + k] += w * xs[i * n + k];
        }
      }
      for (let k = 0; k < n; k++) out[j * n + k] /= s;
    }
    if (logs) logs[j] = top + Math.log(s) - Math.log(share(points, known));
  }
}

// The weight of a class among the points; 1 for all of them.
function share(points, label) {
  if (label < 0) return 1;
  let found = 0;
  for (let i = 0; i < points.count; i++) found += points.labels[i] === label;
  return found / points.count;
}

// log of the kernel's norm in the plane, the same for normal and for Student-t noise.
function logNorm(rho) { return -Math.log(2 * Math.PI * rho * rho); }

// Guidance: E = E_ref + w (E_class - E_ref) inside the interval of rho, and w = 1 outside.
// guide is {label, weight, low, high}, or null for the law of all points.
function guidedMeans(points, ys, rho, D, guide, out, spare) {
  if (!guide || guide.label < 0) return means(points, ys, rho, D, out, -1);
  const on = rho >= guide.low && rho <= guide.high, w = on ? guide.weight : 1;
  if (w !== 0) means(points, ys, rho, D, out, guide.label);
  if (w === 1) return undefined;
  const reference = spare || new Float64Array(ys.length);
  means(points, ys, rho, D, reference, -1);
  for (let k = 0; k < out.length; k++) {
    out[k] = w === 0 ? reference[k] : reference[k] + w * (out[k] - reference[k]);
  }
  return undefined;
}

// What is known at one point y of the plane: log p(y) in nats, E[x_0 | y], the gradient of log p,
// and the trace of the Jacobian of E[x_0 | y].
function about(points, y, rho, D, label) {
  const { n, count, xs, scratch } = points, known = label === undefined ? -1 : label;
  const top = logKernels(points, y, 0, rho, D, known);
  const mean = new Float64Array(n), score = new Float64Array(n);
  let s = 0, trace = 0;
  for (let pass = 0; pass < 2; pass++) {
    for (let i = 0; i < count; i++) {
      if (scratch[i] <= top - CUT) continue;
      const w = pass ? Math.exp(scratch[i] - top) / s : Math.exp(scratch[i] - top);
      if (!pass) { s += w; for (let k = 0; k < n; k++) mean[k] += w * xs[i * n + k]; continue; }
      let d2 = 0;
      for (let k = 0; k < n; k++) d2 += (y[k] - xs[i * n + k]) ** 2;
      const pull = D === Infinity ? 1 / (rho * rho) : (n + D) / (D * rho * rho + d2);
      for (let k = 0; k < n; k++) {
        const gradient = -pull * (y[k] - xs[i * n + k]);
        score[k] += w * gradient;
        trace += w * (xs[i * n + k] - mean[k]) * gradient;
      }
    }
    if (!pass) for (let k = 0; k < n; k++) mean[k] /= s;
  }
  return { logp: top + Math.log(s / share(points, known)) + logNorm(rho), mean, score, trace };
}
