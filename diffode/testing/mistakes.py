"""The mistakes that a comparison can name: what each is, and what to do."""

from __future__ import annotations

MISTAKES = {
    "sign": ("the velocity points the other way", "turn its sign"),
    "reversed time": (
        "time runs the other way",
        "span is (t_prior, t_data); use t as it is given, not {first:g} + {last:g} - t",
    ),
    "other clock": (
        "the field counts time the other way round (t = 0 where the schedule has its other end)",
        "state a schedule in the field's clock, or evaluate at {first:g} + {last:g} - t and turn "
        "the sign",
    ),
    "missing 1/sigma": (
        "a factor 1 / sigma is missing",
        "the score is -E[n|x] / sigma, and with alpha = 1 the velocity (x - E[x_0|x]) / sigma",
    ),
    "extra 1/sigma": ("there is a factor 1 / sigma too many", "leave it out"),
    "eps as score": (
        "the noise estimate is taken for the score",
        "score = -eps / sigma",
    ),
    "score as eps": ("the score is taken for the noise estimate", "eps = -sigma * score"),
    "missing minus": (
        "the minus between noise and score is missing",
        "score = -eps / sigma",
    ),
    "swapped alpha and sigma": (
        "alpha and sigma are swapped",
        "the path is alpha x_0 + sigma n: alpha is 1 at the data, sigma is 0 there",
    ),
    "x0 as noise": ("the data estimate is taken for the noise", "n = (x - alpha x0) / sigma"),
    "noise as x0": ("the noise estimate is taken for the data", "x0 = (x - sigma n) / alpha"),
    "v-prediction as noise": (
        "v = alpha n - sigma x0 is taken for the noise",
        "n = (sigma x + alpha v) / (alpha^2 + sigma^2)",
    ),
    "v-prediction as x0": (
        "v = alpha n - sigma x0 is taken for the data",
        "x0 = (alpha x - sigma v) / (alpha^2 + sigma^2)",
    ),
    "v-prediction as velocity": (
        "v = alpha n - sigma x0 is returned as the velocity",
        "the velocity is d_alpha x0 + d_sigma n",
    ),
    "straight velocity": (
        "n - x0, the straight path's velocity, is returned on another path",
        "the velocity is d_alpha x0 + d_sigma n",
    ),
    "velocity as noise": (
        "n - x0, the straight path's velocity, is taken for the noise",
        "with alpha = 1 - t and sigma = t, n = x + alpha v",
    ),
    "velocity as v-prediction": (
        "n - x0, the straight path's velocity, is taken for v = alpha n - sigma x0",
        "with alpha = 1 - t and sigma = t, x0 = x - sigma v",
    ),
    "noise as velocity": (
        "the noise estimate is returned as the velocity",
        "the velocity is d_alpha x0 + d_sigma n",
    ),
    "x0 as velocity": (
        "the data estimate is returned as the velocity",
        "the velocity is d_alpha x0 + d_sigma n",
    ),
    "score as velocity": (
        "the score is returned as the velocity",
        "the velocity is f x - g^2 score / 2",
    ),
    "missing alpha": ("a factor alpha is missing", "n = (x - alpha x0) / sigma"),
    "missing 1/alpha": ("a factor 1 / alpha is missing", "x0 = (x - sigma n) / alpha"),
    "missing 1/2": (
        "this is the drift of the reverse SDE, with g^2 where the ODE has g^2 / 2",
        "the velocity is f x - g^2 score / 2",
    ),
    "missing drift": ("the drift f x is missing", "the velocity is f x - g^2 score / 2"),
    "off-by-one grid": (
        "times are one step of the grid off",
        "index t belongs to the table's entry t; check where it starts, at 0 or 1",
    ),
    "time shift": ("times are shifted", "use t as it is given"),
    "float16 time": (
        "the time is rounded to float16",
        "keep t in float64 until it is scaled, float32 at least",
    ),
    "bfloat16 time": (
        "the time is rounded to bfloat16",
        "keep t in float64 until it is scaled, float32 at least",
    ),
    "data scale": (
        "the field is that of data in other units",
        "train and compare in one range, such as [-1, 1] for images",
    ),
    "Gaussian kernel": (
        "a Gaussian kernel stands in the Poisson kernel's place",
        "weigh the data by (|x - alpha y|^2 + D sigma^2)^(-(N + D) / 2), not by "
        "exp(-|x - alpha y|^2 / (2 sigma^2))",
    ),
    "Poisson kernel": (
        "a Poisson kernel stands in the Gaussian's place",
        "state its noise, StudentT(D), or weigh the data by exp(-|x - alpha y|^2 / (2 sigma^2))",
    ),
    "kernel exponent": (
        "the Poisson kernel has a wrong exponent",
        "weigh the data by (|x - alpha y|^2 + r^2)^(-(N + D) / 2), for PFGM with D = 1",
    ),
    "kernel radius": (
        "the Poisson kernel is taken at a wrong radius r",
        "r = sigma sqrt(D) in (|x - alpha y|^2 + r^2)^(-(N + D) / 2)",
    ),
    "kernel D": (
        "the Poisson kernel is that of another D",
        "state the D that the field was made for, StudentT(D)",
    ),
    "sub-VP as VP": (
        "a sub-VP field is read as VP",
        "state SubVP(): sigma is 1 - alpha^2 there, and sqrt(1 - alpha^2) for VP",
    ),
    "VP as sub-VP": (
        "a VP field is read as sub-VP",
        "state VP(): sigma is sqrt(1 - alpha^2) there, and 1 - alpha^2 for sub-VP",
    ),
    "other schedule": (
        "the field is that of another schedule",
        "state the schedule that it was made for",
    ),
    "constant factor": ("the velocity has a constant factor", "divide it out"),
    "speed": (
        "the velocity points the right way at a wrong speed: it is in another clock",
        "it is dx/dt in the schedule's own t: multiply by the rate of your clock",
    ),
}
