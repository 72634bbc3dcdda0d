// The density of a point by following it to the prior: log p falls along the flow by the divergence,
//     d log p(y) / d log rho = -(N - trace of the Jacobian of E[x_0 | y]).
"use strict";

// log p(y) at rho in the plane. `exact` is the law's own at y; `flow` goes to the level `far` and
// takes the law there, so that the two agree; `prior` takes the prior there, noise about the mean.
function logDensities(points, y, rho, far, D, label, parts) {
  const exact = about(points, y, rho, D, label).logp, h = Math.log(far / rho) / parts;
  let at = Float64Array.from(y), level = rho, gained = 0;
  const rate = (place, r) => {
    const here = about(points, place, r, D, label);
    return [place.map((v, k) => v - here.mean[k]), 2 - here.trace];
  };
  for (let k = 0; k < parts; k++) {
    const half = level * Math.exp(h / 2), end = level * Math.exp(h);
    const go = (move, by) => at.map((v, i) => v + by * move[i]);
    const [a, da] = rate(at, level), [b, db] = rate(go(a, h / 2), half);
    const [c, dc] = rate(go(b, h / 2), half), [d, dd] = rate(go(c, h), end);
    at = at.map((v, i) => v + h / 6 * (a[i] + 2 * b[i] + 2 * c[i] + d[i]));
    gained += h / 6 * (da + 2 * db + 2 * dc + dd);
    level = end;
  }
  const origin = cloud(2, [0, 0]);
  return { exact, flow: about(points, at, level, D, label).logp + gained,
    prior: about(origin, at, level, D, -1).logp + gained };
}
