"""The kinds of pictures that `diffode.viz.plot` draws, one a module. The list needs no torch."""

KINDS = {
    "samples": "samples, points over the data or images in rows",
    "paths": "trajectories from the prior to the data",
    "field-lines": "lines along the velocity, at several times and above the data",
    "density": "the log-density at several times",
    "strip": "samples at several times",
    "section": "velocity and density on a line or plane through the data",
    "loss": "the losses of a run",
    "interpolation": "the ways between samples",
}
