"""Frames as a film: GIF and WebP by Pillow, MP4 by the program ffmpeg."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features

from diffode.files import replacing

FIRST, LAST = 0.5, 2.0  # seconds that the first and the last frame are held

Frame = NDArray[np.uint8]  # (height, width, 3)
Encoder = Callable[[str | Path, int, Callable[[int], Frame], float], None]


def encoder_for(path: str | Path) -> Encoder:
    """What writes a film into a file of this ending, from a count and a function of the frame.

    Raises:
        ValueError: another ending, or one that nothing here can write.
    """
    ending = Path(path).suffix.lower()
    if ending == ".gif":
        return _gif
    if ending == ".webp":
        if not features.check("webp"):
            raise ValueError("this Pillow cannot write .webp; take .gif")
        return _webp
    if ending == ".mp4":
        if shutil.which("ffmpeg") is None:
            raise ValueError(
                ".mp4 needs the program ffmpeg, which is not found; install it, or take .webp or "
                ".gif"
            )
        return _mp4
    raise ValueError(f"got {path}; wanted a name that ends in .gif, .webp or .mp4")


def _durations(count: int, fps: float) -> list[int]:
    """Milliseconds that each frame is shown."""
    each = [1000 / fps] * count
    each[0], each[-1] = max(each[0], 1000 * FIRST), max(each[-1], 1000 * LAST)
    return [round(ms) for ms in each]


def _gif(path: str | Path, count: int, drawn: Callable[[int], Frame], fps: float) -> None:
    some = sorted({0, count // 2, 3 * count // 4, count - 1})
    palette = Image.fromarray(np.concatenate([drawn(k) for k in some])).quantize(256)

    def coloured(k: int) -> Image.Image:
        return Image.fromarray(drawn(k)).quantize(palette=palette, dither=Image.Dither.NONE)

    first, rest = coloured(0), map(coloured, range(1, count))
    with replacing(path) as draft:
        first.save(
            draft, "GIF", save_all=True, append_images=rest, duration=_durations(count, fps),
            loop=0, disposal=1,
        )  # fmt: skip


def _webp(path: str | Path, count: int, drawn: Callable[[int], Frame], fps: float) -> None:
    rest = (Image.fromarray(drawn(k)) for k in range(1, count))
    with replacing(path) as draft:
        Image.fromarray(drawn(0)).save(
            draft, "WEBP", save_all=True, append_images=rest, duration=_durations(count, fps),
            loop=0, quality=85,
        )  # fmt: skip


def _mp4(path: str | Path, count: int, drawn: Callable[[int], Frame], fps: float) -> None:
    first = drawn(0)
    size = f"{first.shape[1]}x{first.shape[0]}"
    with replacing(path) as draft:
        line = [
            "ffmpeg", "-loglevel", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24",
            "-s", size, "-r", f"{fps:g}", "-i", "-", "-c:v", "libx264", "-pix_fmt", "yuv420p",
            "-crf", "18", "-movflags", "+faststart", "-fflags", "+bitexact", "-map_metadata", "-1",
            "-flags:v", "+bitexact", "-f", "mp4", str(draft),
        ]  # fmt: skip
        with subprocess.Popen(line, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as program:
            assert program.stdin is not None and program.stderr is not None  # asked for
            try:
                for frame in _held(count, drawn, fps):
                    program.stdin.write(frame.tobytes())
                program.stdin.close()
            except BrokenPipeError:
                pass  # it says why
            said = program.stderr.read().decode(errors="replace").strip().splitlines()
        if program.returncode:
            raise ValueError(f"ffmpeg failed ({said[-1] if said else program.returncode})")


def _held(count: int, drawn: Callable[[int], Frame], fps: float) -> Iterator[Frame]:
    """The frames, the first and the last as often as they are held."""
    for k, ms in enumerate(_durations(count, fps)):
        frame = drawn(k)
        for _ in range(max(1, round(ms * fps / 1000))):
            yield frame
