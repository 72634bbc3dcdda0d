"""An image file becomes an array, whatever its size and mode, or is refused with the reason."""

import contextlib
import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from diffode.data.images import Look, NotAnImageError, UnreadableError, decode
from diffode.data.reading import Reading
from tests.pictures import chunk, picture, png


def saved(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def read(content, **reading):
    return decode(io.BytesIO(content), Look.of(Reading(**reading)))


@pytest.mark.parametrize("kind", ["PNG", "BMP", "GIF", "WEBP"])
def test_a_format_without_loss_gives_the_pixels_that_were_saved(kind):
    image = picture().quantize(64).convert("RGB") if kind == "GIF" else picture()
    content = saved(image, kind, **({"lossless": True} if kind == "WEBP" else {}))
    assert np.array_equal(read(content), np.asarray(image).transpose(2, 0, 1))


@pytest.mark.parametrize("mode", ["1", "L", "LA"])
def test_images_without_colours_have_one_channel(mode):
    image = picture(mode=mode)
    assert np.array_equal(read(saved(image)), np.asarray(image.convert("L"))[None])


def test_sixteen_bits_are_scaled_and_not_cut_off():
    levels = np.linspace(0, 65535, 256).round().astype(np.uint16).reshape(16, 16)
    found = read(saved(Image.fromarray(levels)))
    assert np.array_equal(found[0], np.arange(256).reshape(16, 16))
    with pytest.raises(UnreadableError, match="transparent level"):
        rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in levels)
        read(png(16, 16, 16, 0, rows, chunk(b"tRNS", b"\0\0")))


def test_sixteen_bits_of_colour_are_read():
    rows = b"".join(b"\0" + struct.pack(">6H", 65535, 0, 32896, 0, 257, 65535) for _ in range(2))
    assert read(png(2, 2, 16, 2, rows))[:, 0].tolist() == [[255, 0], [0, 1], [128, 255]]


def test_cmyk_becomes_rgb():
    image = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    red, green, blue = read(saved(image, "JPEG")).reshape(3, -1).mean(1)
    assert red > 250 and green < 5 and blue < 5


@pytest.mark.parametrize("mode", ["RGBA", "P", "LA"])
def test_transparency_is_laid_on_the_background(mode):
    image = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    image.paste((0, 0, 0, 255), (0, 0, 4, 2))
    content = saved(image.convert(mode))
    assert read(content)[..., :2, :].max() == 0 and read(content)[..., 2:, :].min() == 255
    on_red = read(content, background="red")
    assert on_red.shape[0] == 3 and on_red[:, 3, 3].tolist() == [255, 0, 0]
    assert read(content, background="#ff0000", grey=True)[:, 3, 3].tolist() == [76]


@pytest.mark.parametrize("background", ["", "nocolour", "#ff000080", "#12"])
def test_a_background_that_is_no_colour_is_refused(background):
    with pytest.raises(ValueError, match="background"):
        Look.of(Reading(background=background))


def test_an_image_is_turned_as_its_exif_data_say():
    exif = Image.Exif()
    exif[0x0112] = 6
    upright = picture(size=(31, 20))
    lying = upright.transpose(Image.Transpose.ROTATE_90)
    for kind in ("PNG", "WEBP"):
        options = {"lossless": True} if kind == "WEBP" else {}
        turned = saved(lying, kind, exif=exif, **options)
        for reading in ({}, {"resize": 8}):
            assert np.array_equal(read(turned, **reading), read(saved(upright), **reading))


def test_the_square_in_the_middle_is_averaged():
    wide = np.zeros((64, 192), np.uint8)
    wide[:, 64:128] = np.arange(64)[:, None] % 2 * 255  # stripes of a pixel, ends that are black
    found = read(saved(Image.fromarray(wide)), resize=8)
    assert found.shape == (1, 8, 8) and found.min() > 120 and found.max() < 135


def test_a_small_image_is_enlarged():
    assert read(saved(picture(size=(5, 4))), resize=16).shape == (3, 16, 16)


def test_a_jpeg_that_is_decoded_small_is_nearly_the_one_that_is_decoded_whole():
    large = picture(size=(800, 600))
    jpeg, exact = saved(large, "JPEG", quality=95), saved(large)
    gap = read(jpeg, resize=32).astype(int) - read(exact, resize=32)
    assert np.sqrt(np.square(gap).mean()) < 2


def test_the_first_frame_is_taken():
    frames = [picture(k).quantize(32) for k in range(3)]
    content = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert np.array_equal(read(content), np.asarray(frames[0].convert("RGB")).transpose(2, 0, 1))
    moving = saved(picture(0), "WEBP", lossless=True, save_all=True, append_images=[picture(1)])
    assert np.array_equal(read(moving), np.asarray(picture(0)).transpose(2, 0, 1))


def test_a_line_of_70000_pixels_is_read():
    content = saved(Image.new("1", (70_000, 16), 1))
    assert read(content, resize=8).min() == 255
    assert read(saved(Image.new("RGB", (8000, 40), "red")), resize=8)[:, 0, 0].tolist()[1:] == [
        0,
        0,
    ]


@pytest.mark.parametrize(
    "content, reason",
    [
        (png(70_000, 70_000), "more pixels"),
        (png(2**31 - 1, 2**31 - 1), "more pixels"),
        (png(13_000, 7_000), "more pixels"),
        (png(1, 1, data=b"\0\0"), "too few"),
        (png(4, 4), "damaged"),
        (saved(picture())[:200], "damaged"),
        (saved(picture(size=(200, 200)), "JPEG")[:2000], "damaged"),
        (saved(picture(), "GIF")[:-40], "damaged"),
        (saved(picture(), "BMP")[:300], "damaged"),
        (
            png(
                4,
                4,
                data=b"\0\0\0\0\0" * 4,
                before=chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2**26))),
            ),
            "damaged",
        ),
    ],
    ids=["bomb", "header", "limit", "1x1", "no-rows", "png", "jpeg", "gif", "bmp", "text-bomb"],
)
def test_what_cannot_be_read_says_why(content, reason):
    with pytest.raises(UnreadableError, match=reason):
        read(content, resize=8)


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"\x89PNG\r\n\x1a\n", bytes(1000), b"GIF89a", b"II*\0" + bytes(60)]
)
def test_what_begins_as_no_image_is_none(content):
    with pytest.raises((NotAnImageError, UnreadableError)):
        read(content)


def test_damage_anywhere_is_an_error_of_one_kind():
    rng = np.random.default_rng(0)
    for kind in ("PNG", "JPEG", "GIF", "WEBP", "BMP"):
        good = np.frombuffer(saved(picture(), kind), np.uint8)
        for _ in range(60):
            bad = good.copy()
            bad[rng.integers(0, len(bad), 4)] = rng.integers(0, 256, 4)
            with contextlib.suppress(NotAnImageError, UnreadableError):
                assert read(bad.tobytes(), resize=8).shape[1:] == (8, 8)
