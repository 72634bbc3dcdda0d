// The exact flow of points in the state z = y / sqrt(1 + rho^2), for data of mean 0 and of standard
// deviation 1, in the angle theta = arctan rho:
//     dz / dtheta = cos(theta) E[n | y] - sin(theta) E[x_0 | y],     E[n | y] = (y - E[x_0 | y]) / rho.
// There a Gaussian stands still, and both ends are smooth. Steps are Runge and Kutta's of order 4.
"use strict";

const LEVELS = 48; // between which a path is drawn as straight

// The radius, at scale 1, of the point of the noise's law in the plane that lies further out than
// the fraction 1 - u of all: P(R > r) = (1 + r^2 / D)^(-D / 2), exp(-r^2 / 2) for normal noise.
function radius(u, D) {
  const log = -Math.log1p(-u);
  return D === Infinity ? Math.sqrt(2 * log) : Math.sqrt(D * Math.expm1(2 * log / D));
}

// Uniform numbers from a seed (mulberry32), the same on every machine.
function uniform(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

// Noise in the plane at scale 1: the same seeds and D's that are close give points that are close.
function noise(count, D, seed) {
  const next = uniform(seed), out = new Float64Array(2 * count);
  for (let j = 0; j < count; j++) {
    const r = radius(next(), D), angle = 2 * Math.PI * next();
    out[2 * j] = r * Math.cos(angle);
    out[2 * j + 1] = r * Math.sin(angle);
  }
  return out;
}

// Normal noise of any even number of coordinates, and Student-t noise made of it.
function noiseOf(n, count, D, seed) {
  const next = uniform(seed), out = new Float64Array(n * count);
  for (let j = 0; j < count; j++) {
    for (let k = 0; k < n; k += 2) {
      const r = radius(next(), Infinity), angle = 2 * Math.PI * next();
      out[j * n + k] = r * Math.cos(angle);
      if (k + 1 < n) out[j * n + k + 1] = r * Math.sin(angle);
    }
    if (D === Infinity) continue;
    const scale = Math.sqrt(D / chiSquare(D, next));
    for (let k = 0; k < n; k++) out[j * n + k] *= scale;
  }
  return out;
}

// A draw of chi-squared with D >= 1 degrees of freedom, by Marsaglia and Tsang's method.
function chiSquare(D, next) {
  const boost = D < 2 ? Math.pow(1 - next(), 2 / D) : 1, shape = D < 2 ? D / 2 + 1 : D / 2;
  const d = shape - 1 / 3, c = 1 / Math.sqrt(9 * d);
  for (;;) {
    const x = radius(next(), Infinity) * Math.cos(2 * Math.PI * next()), v = (1 + c * x) ** 3;
    if (v > 0 && Math.log(1 - next()) < x * x / 2 + d - d * v + d * Math.log(v)) {
      return 2 * d * v * boost;
    }
  }
}

// dz / dtheta of rows z at rho, into out; work is {y, mean, spare} of the length of z.
function slope(points, z, rho, D, guide, out, work) {
  const size = Math.sqrt(1 + rho * rho), { y, mean, spare } = work;
  for (let k = 0; k < z.length; k++) y[k] = z[k] * size;
  guidedMeans(points, y, rho, D, guide, mean, spare);
  for (let k = 0; k < z.length; k++) {
    out[k] = ((y[k] - mean[k]) / rho - rho * mean[k]) / size;
  }
}

function workFor(length) {
  const made = () => new Float64Array(length);
  return { y: made(), mean: made(), spare: made(), a: made(), b: made(), c: made(), d: made(),
    z: made() };
}

// One step of rows z from one rho to another, in place.
function step(points, z, from, to, D, guide, work) {
  const first = Math.atan(from), h = Math.atan(to) - first, middle = Math.tan(first + h / 2);
  const { a, b, c, d, z: moved } = work, count = z.length;
  slope(points, z, from, D, guide, a, work);
  for (let k = 0; k < count; k++) moved[k] = z[k] + h / 2 * a[k];
  slope(points, moved, middle, D, guide, b, work);
  for (let k = 0; k < count; k++) moved[k] = z[k] + h / 2 * b[k];
  slope(points, moved, middle, D, guide, c, work);
  for (let k = 0; k < count; k++) moved[k] = z[k] + h * c[k];
  slope(points, moved, to, D, guide, d, work);
  for (let k = 0; k < count; k++) z[k] += h / 6 * (a[k] + 2 * b[k] + 2 * c[k] + d[k]);
}

// The states at all levels of rho of rows that start from noise n, as Float64Arrays; parts is the
// number of steps between two levels.
function exactPaths(points, n, rhos, D, guide, parts) {
  const size = Math.sqrt(1 + rhos[0] * rhos[0]), work = workFor(n.length);
  const z = Float64Array.from(n, (v) => v * rhos[0] / size), states = [z.slice()];
  for (let k = 1; k < rhos.length; k++) {
    const ratio = rhos[k] / rhos[k - 1];
    for (let p = 0; p < parts; p++) {
      const from = rhos[k - 1] * ratio ** (p / parts), to = rhos[k - 1] * ratio ** ((p + 1) / parts);
      step(points, z, from, to, D, guide, work);
    }
    states.push(z.slice());
  }
  return states;
}

// E[x_0] where a flow ended, the data that it leads to.
function denoised(points, z, rho, D, guide) {
  const size = Math.sqrt(1 + rho * rho), out = new Float64Array(z.length);
  guidedMeans(points, z.map((v) => v * size), rho, D, guide, out);
  return out;
}
