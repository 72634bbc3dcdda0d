// Solvers as tables of numbers: Python makes the coefficients, and here they are only applied. Points
// are x = alpha y of data with mean 0; a table is
//     {levels: [[alpha, sigma], ...], steps: [...], last: whether E[x_0] is taken at the end}.
// A step of a multistep method: {x0, n, keep, weights, more, fraction, freeze, ddim}, see `multistep`.
// A step of a one-step method: {h, stages: [[alpha, sigma, d_alpha, d_sigma, row of the tableau]],
// sum: weights}.
"use strict";

// E[x_0 | x] and E[n | x] of rows x at a level; without signal, the mean of the data, which is 0.
function posterior(points, x, alpha, sigma, D, guide) {
  const x0 = new Float64Array(x.length), n = new Float64Array(x.length);
  if (alpha > 1e-9 * sigma) {
    guidedMeans(points, x.map((v) => v / alpha), sigma / alpha, D, guide, x0);
  } else if (guide && guide.label >= 0) {
    guidedMeans(points, new Float64Array(x.length), 1e9, Infinity, guide, x0);
  }
  for (let k = 0; k < x.length; k++) n[k] = (x[k] - alpha * x0[k]) / sigma;
  return [x0, n];
}

function add(out, factor, values) {
  if (factor) for (let k = 0; k < out.length; k++) out[k] += factor * values[k];
  return out;
}

function rowLength(values, j, n) {
  let s = 0;
  for (let k = 0; k < n; k++) s += values[j * n + k] ** 2;
  return Math.sqrt(s);
}

// A multistep method. With the slope H = x0 E[x_0] + n E[n] at this level, the last step is made again
// (x + fraction sum more_j H_j), and the next is keep x + sum weights_j H_j, the newest slope first. A
// step without weights is DDIM's, and so is the last one of a row that has come to rest.
function multistep(points, start, table, D, guide) {
  const size = points.n, slopes = [];
  let x = start.slice(), before = null;
  table.steps.forEach((now, k) => {
    const [alpha, sigma] = table.levels[k], [a, b] = table.levels[k + 1];
    const [x0, n] = posterior(points, x, alpha, sigma, D, guide);
    const ddim = add(add(new Float64Array(x.length), a, x0), b, n);
    slopes.unshift(add(add(new Float64Array(x.length), now.x0, x0), now.n, n));
    let to = ddim, beyond = null;
    if (now.weights) {
      let from = x;
      if (now.more && before) {
        beyond = new Float64Array(x.length);
        now.more.forEach((w, j) => add(beyond, w, slopes[j]));
        from = add(x.slice(), now.fraction, beyond);
      }
      to = from.map((v) => now.keep * v);
      now.weights.forEach((w, j) => add(to, w, slopes[j]));
    }
    if (beyond && now.freeze) {
      const change = x0.map((v, i) => v - before[i]);
      for (let j = 0; j < x.length / size; j++) {
        if (rowLength(change, j, size) < now.freeze * rowLength(beyond, j, size)) {
          for (let i = j * size; i < (j + 1) * size; i++) to[i] = ddim[i];
        }
      }
    }
    before = x0;
    x = to;
  });
  return x;
}

// A one-step method: Euler's, Heun's and other explicit ones.
function oneStep(points, start, table, D, guide) {
  let x = start.slice();
  for (const now of table.steps) {
    const rates = [];
    for (const [alpha, sigma, dAlpha, dSigma, row] of now.stages) {
      const at = x.slice();
      row.forEach((w, j) => add(at, now.h * w, rates[j]));
      const [x0, n] = posterior(points, at, alpha, sigma, D, guide);
      rates.push(add(add(new Float64Array(x.length), dAlpha, x0), dSigma, n));
    }
    x = x.slice();
    now.sum.forEach((w, j) => add(x, now.h * w, rates[j]));
  }
  return x;
}

// Where a solver ends that starts from noise n: estimates of the data.
function solved(points, n, table, D, guide) {
  const first = table.levels[0][1], start = n.map((v) => first * v);
  const x = (table.steps[0].stages ? oneStep : multistep)(points, start, table, D, guide);
  if (!table.last) return x;
  const [alpha, sigma] = table.levels[table.levels.length - 1];
  return posterior(points, x, alpha, sigma, D, guide)[0];
}

// The distances of rows from where they should be: the root mean square and the median.
function distances(x, wanted, n) {
  const each = [];
  for (let j = 0; j < x.length / n; j++) {
    let s = 0;
    for (let k = 0; k < n; k++) s += (x[j * n + k] - wanted[j * n + k]) ** 2;
    each.push(Math.sqrt(s));
  }
  const rms = Math.sqrt(each.reduce((a, b) => a + b * b, 0) / each.length);
  each.sort((a, b) => a - b);
  return { rms, median: each[each.length >> 1] };
}
