"""Reading and writing image files."""

from __future__ import annotations

import io
import struct
import zlib
from fractions import Fraction
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from covary import InputError, OutputError, read_image, write_png
from covary.files import drop_leftovers
from covary.images import output_folder, replacing, to_pil

RNG = np.random.RandomState(0)
PIXELS = RNG.randint(0, 256, (5, 7, 3)).astype(np.uint8)


def chw(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy())


def over_white(rgba: np.ndarray) -> np.ndarray:
    """Uint8 (H, W, 3): exact arithmetic on uint8 (H, W, 4), pixel by pixel."""

    def mix(colour: int, alpha: int) -> int:
        share = Fraction(int(alpha), 255)
        return int(int(colour) * share + 255 * (1 - share) + Fraction(1, 2))

    rows = [[[mix(c, pixel[3]) for c in pixel[:3]] for pixel in row] for row in rgba]
    return np.array(rows, np.uint8)


def deep_png(pixels: np.ndarray, kind: int, transparent: tuple[int, ...] = ()) -> bytes:
    """A PNG of 16 bits a channel, written by hand: PIL writes such colour images only as 8 bits."""

    def chunk(name: bytes, data: bytes) -> bytes:
        body = name + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    height, width = pixels.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    parts = [chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0))]
    if transparent:
        parts.append(chunk(b"tRNS", struct.pack(f">{len(transparent)}H", *transparent)))
    parts += [chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def encoded(suffix: str) -> bytes:
    """A small image file of that format."""
    buffer = io.BytesIO()
    picture = Image.fromarray(RNG.randint(0, 256, (12, 10, 3)).astype(np.uint8))
    picture.save(buffer, format={"jpg": "JPEG", "tif": "TIFF"}.get(suffix, suffix.upper()))
    return buffer.getvalue()


WHOLE = {suffix: encoded(suffix) for suffix in ("png", "gif", "jpg", "tif", "webp", "bmp")}


class TestReading:
    def test_rgb(self, tmp_path: Path) -> None:
        Image.fromarray(PIXELS).save(tmp_path / "a.png")
        image = read_image(tmp_path / "a.png")
        assert torch.equal(image, chw(PIXELS))
        assert image.is_contiguous()

    def test_greyscale_has_three_equal_channels(self, tmp_path: Path) -> None:
        grey = PIXELS[..., 0]
        Image.fromarray(grey).save(tmp_path / "l.png")
        assert torch.equal(read_image(tmp_path / "l.png"), chw(np.stack([grey] * 3, axis=2)))

    def test_one_bit_and_palette(self, tmp_path: Path) -> None:
        bits = PIXELS[..., 0] > 127
        Image.fromarray(bits).save(tmp_path / "bits.png")
        assert torch.equal(
            read_image(tmp_path / "bits.png")[1], torch.from_numpy(bits).to(torch.uint8) * 255
        )
        picture = Image.fromarray((PIXELS[..., 0] % 3).astype(np.uint8))
        colours = np.array([[1, 2, 3], [40, 50, 60], [255, 0, 7]], np.uint8)
        picture.putpalette(colours.tobytes())
        picture.save(tmp_path / "p.png")
        assert torch.equal(read_image(tmp_path / "p.png"), chw(colours[PIXELS[..., 0] % 3]))

    @pytest.mark.parametrize(
        ("orientation", "upright"),
        [
            (1, lambda p: p),
            (2, lambda p: p[:, ::-1]),
            (3, lambda p: p[::-1, ::-1]),
            (4, lambda p: p[::-1]),
            (6, lambda p: np.rot90(p, -1)),
            (8, lambda p: np.rot90(p, 1)),
        ],
    )
    def test_a_photo_is_turned_upright(self, tmp_path: Path, orientation, upright) -> None:
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(PIXELS).save(tmp_path / "a.png", exif=exif)
        assert torch.equal(read_image(tmp_path / "a.png"), chw(upright(PIXELS)))

    @pytest.mark.parametrize("dtype", [np.int32, np.float32])
    def test_values_without_a_range_are_refused(self, tmp_path: Path, dtype: type) -> None:
        Image.fromarray((PIXELS[..., 0] * 100.0).astype(dtype)).save(tmp_path / "deep.tif")
        with pytest.raises(InputError, match=r"deep\.tif: expected .*8 or 16 bits, got mode"):
            read_image(tmp_path / "deep.tif")

    def test_cmyk_is_refused(self, tmp_path: Path) -> None:
        Image.fromarray(PIXELS).convert("CMYK").save(tmp_path / "print.jpg")
        with pytest.raises(InputError, match="got mode CMYK"):
            read_image(tmp_path / "print.jpg")

    @pytest.mark.parametrize("content", [b"", b"<!doctype html><title>404</title>", b"\x89PNG"])
    def test_what_is_no_image(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "a.png").write_bytes(content)
        with pytest.raises(InputError, match=r"a\.png: expected a whole image file"):
            read_image(tmp_path / "a.png")

    @pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "tif"])
    def test_a_truncated_file(self, tmp_path: Path, suffix: str) -> None:
        path = tmp_path / f"a.{suffix}"
        pixels = RNG.randint(0, 256, (64, 64, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(path)
        whole = path.read_bytes()
        for part in (0.1, 0.5, 0.9):
            path.write_bytes(whole[: int(part * len(whole))])
            with pytest.raises(InputError, match="a whole image file"):
                read_image(path)

    def test_no_file_and_a_folder(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="got no such file"):
            read_image(tmp_path / "a.png")
        with pytest.raises(InputError, match="expected a whole image file"):
            read_image(tmp_path)

    @pytest.mark.filterwarnings("ignore")  # of Pillow, about damaged tags
    @pytest.mark.parametrize("suffix", ["png", "gif", "jpg", "tif", "webp", "bmp"])
    @given(
        spots=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), min_size=1, max_size=8)
    )
    def test_damaged_bytes_are_an_image_or_an_input_error(
        self, tmp_path_factory, suffix: str, spots: list[tuple[float, int]]
    ) -> None:
        whole = bytearray(WHOLE[suffix])
        for place, byte in spots:
            whole[int(place * len(whole))] = byte
        path = tmp_path_factory.getbasetemp() / f"damaged.{suffix}"
        path.write_bytes(whole)
        # A damaged header may ask for gigabytes.
        with mock.patch.object(Image, "MAX_IMAGE_PIXELS", 10_000):
            try:
                image = read_image(path)
            except InputError:
                return
        assert image.dtype == torch.uint8
        assert image.shape[0] == 3

    def test_nothing_interprets_an_eps(self, tmp_path: Path, monkeypatch) -> None:
        def start(*_: object, **__: object) -> None:
            raise AssertionError("Ghostscript was started")

        monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", start)
        (tmp_path / "a.png").write_bytes(
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"
        )
        with pytest.raises(InputError, match="got EPS, a program"):
            read_image(tmp_path / "a.png")

    def test_an_image_without_pixels(self, tmp_path: Path) -> None:
        for size in ("0 0", "0 4", "4 0"):
            (tmp_path / "a.ppm").write_bytes(f"P6 {size} 255\n".encode())
            with pytest.raises(InputError, match="a whole image file"):
                read_image(tmp_path / "a.ppm")

    def test_a_decompression_bomb(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        Image.fromarray(PIXELS).save(tmp_path / "a.png")
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
        with pytest.raises(InputError, match="decompression bomb"):
            read_image(tmp_path / "a.png")


class TestTransparency:
    """Over white: c * a + (1 - a), exactly, rounded to the nearest of 0..255."""

    @given(
        rgba=hnp.arrays(np.uint8, st.tuples(st.integers(1, 5), st.integers(1, 5), st.just(4))),
        suffix=st.sampled_from(["png", "tif", "webp"]),
    )
    def test_alpha_lies_over_white(self, tmp_path_factory, rgba: np.ndarray, suffix: str) -> None:
        path = tmp_path_factory.getbasetemp() / f"alpha.{suffix}"
        Image.fromarray(rgba).save(path, lossless=True, exact=True)
        assert torch.equal(read_image(path), chw(over_white(rgba)))

    def test_grey_with_alpha(self, tmp_path: Path) -> None:
        grey, alpha = PIXELS[..., 0], PIXELS[..., 1]
        Image.fromarray(np.stack([grey, alpha], axis=2)).save(tmp_path / "la.png")
        expected = over_white(np.stack([grey, grey, grey, alpha], axis=2))
        assert torch.equal(read_image(tmp_path / "la.png"), chw(expected))

    @pytest.mark.parametrize("suffix", ["png", "gif"])
    def test_a_transparent_palette_entry_is_white(self, tmp_path: Path, suffix: str) -> None:
        ids = PIXELS[..., 0] % 3
        picture = Image.fromarray(ids)
        colours = np.array([[1, 2, 3], [40, 50, 60], [255, 0, 7]], np.uint8)
        picture.putpalette(colours.tobytes())
        picture.save(tmp_path / f"p.{suffix}", transparency=1)
        colours[1] = 255
        assert torch.equal(read_image(tmp_path / f"p.{suffix}"), chw(colours[ids]))

    def test_a_palette_with_degrees_of_transparency(self, tmp_path: Path) -> None:
        ids = PIXELS[..., 0] % 3
        picture = Image.fromarray(ids)
        colours = np.array([[1, 2, 3, 0], [40, 50, 60, 99], [255, 0, 7, 255]], np.uint8)
        picture.putpalette(colours[:, :3].tobytes())
        picture.save(tmp_path / "p.png", transparency=bytes(colours[:, 3]))
        assert torch.equal(read_image(tmp_path / "p.png"), chw(over_white(colours[ids])))

    def test_a_transparent_colour(self, tmp_path: Path) -> None:
        pixels = PIXELS.copy()
        pixels[1, 2] = pixels[3, 4] = (9, 8, 7)
        Image.fromarray(pixels).save(tmp_path / "rgb.png", transparency=(9, 8, 7))
        pixels[1, 2] = pixels[3, 4] = 255
        assert torch.equal(read_image(tmp_path / "rgb.png"), chw(pixels))


class TestSixteenBits:
    @given(
        grey=hnp.arrays(np.uint16, st.tuples(st.integers(1, 5), st.integers(1, 5))),
        suffix=st.sampled_from(["png", "tif", "big.tif", "pgm"]),
    )
    def test_grey_is_rounded(self, tmp_path_factory, grey: np.ndarray, suffix: str) -> None:
        path = tmp_path_factory.getbasetemp() / f"deep.{suffix}"
        if suffix == "big.tif":
            Image.frombytes("I;16B", grey.shape[::-1], grey.astype(">u2").tobytes()).save(path)
        else:
            Image.fromarray(grey).save(path)
        nearest = [[[round(Fraction(int(v), 257)) for v in row] for row in grey]] * 3
        assert read_image(path).tolist() == nearest

    def test_every_grey_value(self, tmp_path: Path) -> None:
        """Eight bits widened to sixteen, v * 257, come back as they were."""
        grey = np.arange(256, dtype=np.uint16).reshape(16, 16)
        Image.fromarray(grey * np.uint16(257)).save(tmp_path / "deep.png")
        assert torch.equal(read_image(tmp_path / "deep.png")[1].long(), torch.tensor(grey.tolist()))

    def test_a_deep_photo_is_turned_upright(self, tmp_path: Path) -> None:
        grey = PIXELS[..., 0].astype(np.uint16) * np.uint16(257)
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.fromarray(grey).save(tmp_path / "deep.png", exif=exif)
        upright = np.rot90(PIXELS[..., 0], -1)
        assert torch.equal(read_image(tmp_path / "deep.png")[0], torch.from_numpy(upright.copy()))

    @pytest.mark.parametrize(("kind", "channels"), [(2, 3), (6, 4)])
    def test_colour_keeps_its_high_byte(self, tmp_path: Path, kind: int, channels: int) -> None:
        deep = RNG.randint(0, 65536, (5, 7, channels)).astype(np.uint16)
        (tmp_path / "deep.png").write_bytes(deep_png(deep, kind))
        high = (deep >> 8).astype(np.uint8)
        expected = high if channels == 3 else over_white(high)
        assert torch.equal(read_image(tmp_path / "deep.png"), chw(expected))

    def test_transparent_grey(self, tmp_path: Path) -> None:
        grey = np.array([[0, 300, 301], [65535, 300, 2]], np.uint16)
        path = tmp_path / "deep.png"
        path.write_bytes(deep_png(grey[..., None], 0, transparent=(300,)))
        assert read_image(path)[2].tolist() == [[0, 255, 1], [255, 255, 0]]


class TestSeveralFrames:
    @pytest.mark.parametrize("suffix", ["gif", "tif", "webp", "png"])
    def test_the_first_is_read(self, tmp_path: Path, suffix: str) -> None:
        frames = [Image.new("RGB", (6, 4), colour) for colour in ("red", "lime", "blue")]
        path = tmp_path / f"a.{suffix}"
        frames[0].save(path, save_all=True, append_images=frames[1:], lossless=True)
        with Image.open(path) as opened:
            assert opened.n_frames == 3
        red = torch.tensor([255, 0, 0], dtype=torch.uint8)[:, None, None].expand(3, 4, 6)
        assert torch.equal(read_image(path), red)


class TestWriting:
    @given(hnp.arrays(np.uint8, st.tuples(st.just(3), st.integers(1, 9), st.integers(1, 9))))
    def test_an_image_comes_back(self, tmp_path_factory, pixels: np.ndarray) -> None:
        path = tmp_path_factory.getbasetemp() / "round.png"
        image = torch.from_numpy(pixels)
        write_png(image, path)
        assert torch.equal(read_image(path), image)

    def test_maps(self, tmp_path: Path) -> None:
        mask = torch.from_numpy(PIXELS[..., 0] > 99)
        write_png(mask, tmp_path / "mask.png")
        with Image.open(tmp_path / "mask.png") as picture:
            assert picture.mode == "L"
            assert np.array_equal(np.array(picture), np.where(mask, 255, 0))
        grey = torch.from_numpy(PIXELS[..., 1].copy())
        assert np.array_equal(np.array(to_pil(grey)), grey.numpy())

    @pytest.mark.parametrize("image", [torch.zeros(3, 4, 4), torch.zeros(1, 4, 4).byte()])
    def test_other_tensors_are_refused_and_leave_nothing(
        self, tmp_path: Path, image: torch.Tensor
    ) -> None:
        with pytest.raises(InputError):
            write_png(image, tmp_path / "a.png")
        assert list(tmp_path.iterdir()) == []

    def test_a_missing_folder(self, tmp_path: Path) -> None:
        with pytest.raises(OutputError, match=r"cannot write .*a\.png.*No such file"):
            write_png(torch.zeros(3, 2, 2).byte(), tmp_path / "no" / "a.png")

    def test_a_read_only_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        # Changing the folder's mode would not stop a test that root runs.
        def refuse(*_: object, **__: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr("os.open", refuse)
        with pytest.raises(OutputError, match=r"cannot write .*a\.png.*Permission denied"):
            write_png(torch.zeros(3, 2, 2).byte(), tmp_path / "a.png")


class TestReplacing:
    def test_the_name_appears_only_at_the_end(self, tmp_path: Path) -> None:
        path = tmp_path / "a.txt"
        with replacing(path) as temporary:
            temporary.write_text("new")
            assert not path.exists()
        assert path.read_text() == "new"
        assert list(tmp_path.iterdir()) == [path]

    @pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
    def test_a_failure_keeps_what_was_there(
        self, tmp_path: Path, error: type[BaseException]
    ) -> None:
        path = tmp_path / "a.txt"
        path.write_text("old")

        def write() -> None:
            with replacing(path) as temporary:
                temporary.write_text("half")
                raise error

        with pytest.raises(error):
            write()
        assert path.read_text() == "old"
        assert list(tmp_path.iterdir()) == [path]

    def test_a_full_disk_is_an_output_error_that_names_the_file(self, tmp_path: Path) -> None:
        path = tmp_path / "a.txt"
        refusal = pytest.raises(OutputError, match=r"cannot write .*a\.txt.*No space left")
        with refusal as caught, replacing(path):
            raise OSError(28, "No space left on device")
        assert isinstance(caught.value, OSError)
        assert list(tmp_path.iterdir()) == []

    def test_the_innermost_file_is_the_one_that_is_named(self, tmp_path: Path) -> None:
        outer, inner = replacing(tmp_path / "outer"), replacing(tmp_path / "inner")
        with pytest.raises(OutputError) as caught, outer, inner:
            raise OSError(28, "No space left on device")
        assert "inner" in str(caught.value)
        assert "outer" not in str(caught.value)

    def test_the_usual_permissions(self, tmp_path: Path) -> None:
        with replacing(tmp_path / "a"):
            pass
        (tmp_path / "b").touch()
        assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode

    def test_the_umask_is_left_alone(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        # To read it is to set it, for all threads: their files would be open to everybody.
        monkeypatch.setattr("os.umask", lambda mask: pytest.fail("the umask is set"))
        with replacing(tmp_path / "a"):
            pass

    def test_what_a_killed_process_leaves_is_known(self, tmp_path: Path) -> None:
        others = {".a.swp", "a.part", ".a.part", ".a.12345.part"}
        for name in others:
            (tmp_path / name).touch()
        killed = replacing(tmp_path / "a")
        with killed as temporary:
            assert temporary.exists()
            drop_leftovers(tmp_path)
            assert {path.name for path in tmp_path.iterdir()} == others
            temporary.touch()
        drop_leftovers(tmp_path / "no such folder")


class TestOutputFolder:
    def test_is_made_with_its_parents(self, tmp_path: Path) -> None:
        folder = output_folder(tmp_path / "a" / "b")
        assert folder.is_dir()
        assert output_folder(folder) == folder

    def test_may_not_be_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "a").touch()
        for path in (tmp_path / "a", tmp_path / "a" / "b"):
            with pytest.raises(OutputError, match="cannot make the folder"):
                output_folder(path)
