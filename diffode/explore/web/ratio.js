// MonoFlow with the exact ratio. Data p and a crowd of particles q are both seen through normal noise
// of scale sigma, as the critic of a march sees them; then d = log p / q is known, and
//     sigma^2 grad h(d) = h'(d) (E_p[x_0 | x] - E_q[x_0 | x]).
// A stage is one Euler step of it, x <- x + length sigma^2 grad h(d), while sigma falls.
"use strict";

const sigmoid = (d) => 1 / (1 + Math.exp(-d));
const MONOTONE = { // the slope h'(d) of each
  logit: () => 1,
  ns: (d) => sigmoid(-d),
  vanilla: sigmoid,
  arcsinh: (d) => 1 / Math.sqrt(1 + d * d),
  hellinger: (d) => Math.exp(Math.min(d, 60) / 2) / 2,
};
const STAGE_ENDS = [1, 0.05], PRIOR_STD = 1.3; // in units of the data's standard deviation

function stageSigmas(L) {
  const [first, last] = STAGE_ENDS;
  return Float64Array.from({ length: L + 1 }, (_, k) => first * (last / first) ** (k / L));
}

// sigma^2 grad h(d) of rows x into out, and d into logs where it is given.
function ratioMoves(data, crowd, x, sigma, h, out, logs) {
  const rows = x.length / 2, q = new Float64Array(x.length);
  const p = new Float64Array(rows), below = new Float64Array(rows), rate = MONOTONE[h];
  means(data, x, sigma, Infinity, out, -1, p);
  means(crowd, x, sigma, Infinity, q, -1, below);
  for (let j = 0; j < rows; j++) {
    const d = p[j] - below[j], slopeAt = rate(d);
    out[2 * j] = slopeAt * (out[2 * j] - q[2 * j]);
    out[2 * j + 1] = slopeAt * (out[2 * j + 1] - q[2 * j + 1]);
    if (logs) logs[j] = d;
  }
}

// The crowd at every stage, from rows x: each stage moves all of it by its own ratio.
function march(data, x, sigmas, h, length) {
  const states = [x.slice()], out = new Float64Array(x.length);
  for (let k = 0; k + 1 < sigmas.length; k++) {
    const now = states[k], next = now.slice();
    ratioMoves(data, cloud(2, now), now, sigmas[k], h, out);
    for (let i = 0; i < next.length; i++) next[i] += length * out[i];
    states.push(next);
  }
  return states;
}

// Other particles that follow the same stages; the crowd stays as it is.
function follow(data, crowdStates, x, sigmas, h, length) {
  const states = [x.slice()], out = new Float64Array(x.length);
  for (let k = 0; k + 1 < sigmas.length; k++) {
    const next = states[k].slice();
    ratioMoves(data, cloud(2, crowdStates[k]), states[k], sigmas[k], h, out);
    for (let i = 0; i < next.length; i++) next[i] += length * out[i];
    states.push(next);
  }
  return states;
}
