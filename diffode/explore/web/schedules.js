// The paths x = alpha x_0 + sigma n of normal and Student-t noise, by their level rho = sigma / alpha.
// Each is told by its ends, by alpha as a function of rho, and by its own clock.
"use strict";

const BETA = [0.1, 20]; // of VP and sub-VP
const VE_ENDS = [0.01, 50], KARRAS_ENDS = [0.002, 80];
const RHO_CAP = 999; // where alpha reaches 0 the flow begins here, as the time grids of diffode do

function betaTime(integral) {
  const [low, high] = BETA;
  return 2 * integral / (low + Math.sqrt(low * low + 2 * (high - low) * integral));
}

function betaIntegral(t) { return BETA[0] * t + (BETA[1] - BETA[0]) * t * t / 2; }

const one = () => 1;
const SCHEDULES = {
  vp: { span: [1, 1e-3], alpha: (rho) => 1 / Math.sqrt(1 + rho * rho),
    time: (rho) => betaTime(Math.log1p(rho * rho)),
    rho: (t) => Math.sqrt(Math.expm1(betaIntegral(t))) },
  subvp: { span: [1, 1e-3], alpha: (rho) => 2 / (rho + Math.sqrt(rho * rho + 4)),
    time: (rho) => betaTime(2 * Math.asinh(rho / 2)),
    rho: (t) => 2 * Math.sinh(betaIntegral(t) / 2) },
  ve: { span: [1, 0], alpha: one,
    time: (rho) => Math.log(rho / VE_ENDS[0]) / Math.log(VE_ENDS[1] / VE_ENDS[0]),
    rho: (t) => VE_ENDS[0] * Math.exp(t * Math.log(VE_ENDS[1] / VE_ENDS[0])) },
  karras: { span: [KARRAS_ENDS[1], KARRAS_ENDS[0]], alpha: one, time: (rho) => rho,
    rho: (t) => t },
  rectified: { span: [1, 1e-3], alpha: (rho) => 1 / (1 + rho), time: (rho) => rho / (1 + rho),
    rho: (t) => t / (1 - t) },
  cosine: { span: [1, 1e-3], alpha: (rho) => 1 / Math.sqrt(1 + rho * rho),
    time: (rho) => Math.atan(rho) * 2 / Math.PI, rho: (t) => Math.tan(Math.PI / 2 * t) },
};

// The first and the last rho of a flow.
function rhoEnds(name) {
  const { span, rho } = SCHEDULES[name];
  return [Math.min(rho(span[0]), RHO_CAP), rho(span[1])];
}

// L + 1 levels of rho from the prior to the data, evenly spaced in log rho.
function rhoLevels(name, L) {
  const [first, last] = rhoEnds(name);
  return Float64Array.from({ length: L + 1 }, (_, k) => first * (last / first) ** (k / L));
}
