"""Exact fields of data sets: speed, memory and error against the direct computation.

    python -m benchmarks.exact --threads 1
    python -m benchmarks.exact --threads 2 --only large

Competing cells take turns in one run, and the medians are printed: times of one run compare, those
of two runs on a shared machine do not. CPU seconds are the fairer figure with one thread.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from diffode.fields import Empirical, Karras
from diffode.priors import Normal, Spherical, StudentT

LEVELS = (0.05, 0.5, 8.0, 30.0)
NOISES: tuple[Spherical, ...] = (Normal(), StudentT(1.0), StudentT(128.0))


def take_turns(cells: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """The median CPU seconds of each cell (wall seconds with several threads)."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    times: dict[str, list[float]] = {name: [] for name in cells}
    for _ in range(repeats):
        for name, run in cells.items():
            begin = clock()
            run()
            times[name].append(clock() - begin)
    return {name: statistics.median(values) for name, values in times.items()}


def naive(x: Tensor, y: Tensor, sigma: float, noise: Spherical) -> Tensor:
    """The posterior mean as one would write it."""
    r2 = ((x[:, None] - y) ** 2).sum(-1)
    return torch.softmax(noise.log_radial(r2 / sigma**2, y.shape[1]), 1) @ y


def reference(x: Tensor, y: Tensor, sigma: float, noise: Spherical) -> Tensor:
    """The same in float64, the distances by direct differences."""
    r = torch.cdist(x.double(), y.double(), compute_mode="donot_use_mm_for_euclid_dist")
    return torch.softmax(noise.log_radial((r / sigma) ** 2, y.shape[1]), 1) @ y.double()


def attention(x: Tensor, y: Tensor, sigma: float) -> Tensor:
    """The same for normal noise: attention to the data, |y|^2 in the mask."""
    mask = (y.square().sum(1) / (-2 * sigma**2)).expand(len(x), -1)
    return scaled_dot_product_attention(x, y, y, attn_mask=mask, scale=1 / sigma**2)


def error(mean: Tensor, exact: Tensor) -> float:
    """The largest relative error of a row."""
    return float(((mean - exact).norm(dim=1) / exact.norm(dim=1)).max())


def peak_of(run: Callable[[], object]) -> float | None:
    """How many MB the process's memory rises during a call (None where Linux does not say)."""
    clear, status = Path("/proc/self/clear_refs"), Path("/proc/self/status")
    try:
        clear.write_text("5")
    except OSError:
        return None

    def read(field: str) -> int:
        return next(int(v.split()[1]) for v in status.read_text().splitlines() if field in v)

    before = read("VmRSS")
    run()
    return (read("VmHWM") - before) / 1024


def images(count: int, dim: int, generator: torch.Generator) -> Tensor:
    """Correlated values in [-1, 1] with near duplicates: every eighth point has a near copy."""
    low = torch.randn(count, 48, generator=generator) @ torch.randn(48, dim, generator=generator)
    y = (low / 7 + 0.3 * torch.randn(count, dim, generator=generator)).tanh()
    y[1::8] = y[::8] + 0.005 * torch.randn(y[::8].shape, generator=generator)
    return y


def acceptance(levels: list[float], repeats: int, slow: int) -> None:
    """B = 128, M = 4,096, N = 3,072: speed-up, memory, error."""
    generator = torch.Generator().manual_seed(0)
    y = images(4096, 3072, generator)
    x0, n = y[:128].clone(), torch.randn(128, 3072, generator=generator)
    print(f"B 128, M 4096, N 3072, float32; {torch.get_num_threads()} thread(s)")
    field = Empirical(y, Karras(), keep_float64=True)
    sizes = {name: b.nbytes / 2**20 for name, b in field.named_buffers()}
    data, wide = sizes.pop("points"), sizes.pop("wide")
    print(
        f"kept: data {data:.0f} MB, with keep_float64 {wide:.0f} MB more, other buffers "
        f"{sum(sizes.values()):.2f} MB"
    )
    print("first: the field is built and called; again: called; wide: called with keep_float64")
    print(
        "| noise | sigma | naive s | first s | again s | wide s | naive / first | / again ", end=""
    )
    print("| / wide | MB | error |\n|---|---|---|---|---|---|---|---|---|---|---|")
    for noise in NOISES:
        plain, kept = (Empirical(y, Karras(), noise, keep_float64=k) for k in (False, True))
        for sigma in levels:
            x = x0 + sigma * n
            plain.denoise(x[:2], sigma)
            peak = peak_of(lambda f=plain, x=x, s=sigma: f.denoise(x, s))
            exact = reference(x, y, sigma, noise)
            gap = max(error(f.denoise(x, sigma), exact) for f in (plain, kept))
            cells = {
                "first": lambda x=x, s=sigma, n=noise: Empirical(y, Karras(), n).denoise(x, s),
                "again": lambda f=plain, x=x, s=sigma: f.denoise(x, s),
                "wide": lambda f=kept, x=x, s=sigma: f.denoise(x, s),
            }
            quick = take_turns(cells, repeats)
            slow_one = {"naive": lambda x=x, s=sigma, n=noise: naive(x, y, s, n)}
            direct = take_turns(slow_one, slow)["naive"]
            seconds = [f"{quick[k]:.3f}" for k in cells]
            ratios = [f"{direct / quick[k]:.0f}" for k in cells]
            print(
                f"| {noise} | {sigma:g} | {direct:.2f} | {' | '.join(seconds + ratios)} "
                f"| {'-' if peak is None else f'{peak:.0f}'} | {gap:.1e} |",
                flush=True,
            )


def large(levels: list[float], repeats: int) -> None:
    """M = 60,000, N = 784: the share of the matmul peak of the same run."""
    generator = torch.Generator().manual_seed(1)
    y = images(60_000, 784, generator)
    print(f"M 60000, N 784, float32; {torch.get_num_threads()} thread(s)")
    print("| B | noise | sigma | s | GFLOP/s | matmul GFLOP/s | share |")
    print("|---|---|---|---|---|---|---|")
    for batch in (128, 512):
        n = torch.randn(batch, 784, generator=generator)
        for noise in NOISES[:2]:
            field = Empirical(y, Karras(), noise)
            for sigma in levels:
                x = y[:batch] + sigma * n
                field.denoise(x, sigma)
                cells = {
                    "field": lambda f=field, x=x, s=sigma: f.denoise(x, s),
                    "matmul": lambda x=x: x @ y.T,
                }
                seconds = take_turns(cells, repeats)
                flops = 2 * batch * y.numel()
                rate, peak = 2 * flops / seconds["field"] / 1e9, flops / seconds["matmul"] / 1e9
                print(
                    f"| {batch} | {noise} | {sigma:g} | {seconds['field']:.3f} | {rate:.0f} "
                    f"| {peak:.0f} | {100 * rate / peak:.0f} % |",
                    flush=True,
                )


def as_attention(levels: list[float], repeats: int) -> None:
    """Normal noise: this field against scaled_dot_product_attention."""
    generator = torch.Generator().manual_seed(0)
    y = images(4096, 3072, generator)
    x0, n = y[:128].clone(), torch.randn(128, 3072, generator=generator)
    field = Empirical(y, Karras())
    wide = y.double()
    print("attention: B 128, M 4096, N 3072, normal noise")
    print("| sigma | field s | error | attention float32 s | error | float64 s | error |")
    print("|---|---|---|---|---|---|---|")
    for sigma in levels:
        x = x0 + sigma * n
        exact = reference(x, y, sigma, Normal())
        cells: dict[str, Callable[[], Tensor]] = {
            "field": lambda x=x, s=sigma: field.denoise(x, s),
            "float32": lambda x=x, s=sigma: attention(x, y, s),
            "float64": lambda x=x, s=sigma: attention(x.double(), wide, s),
        }
        seconds = take_turns(cells, repeats)
        row = [f"{seconds[k]:.3f} | {error(run(), exact):.1e}" for k, run in cells.items()]
        print(f"| {sigma:g} | {' | '.join(row)} |", flush=True)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--naive", type=int, default=1, help="repeats of the direct computation")
    parser.add_argument("--only", choices=("acceptance", "large", "attention"))
    parser.add_argument("--levels", type=float, nargs="*", default=list(LEVELS))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with torch.no_grad():
        if options.only in (None, "acceptance"):
            acceptance(options.levels, options.repeats, options.naive)
        if options.only in (None, "large"):
            large(options.levels, options.repeats)
        if options.only in (None, "attention"):
            as_attention(options.levels, options.repeats)


if __name__ == "__main__":
    main()
