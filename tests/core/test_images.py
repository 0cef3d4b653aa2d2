"""Reading and writing image files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from covary import InputError, OutputError, read_image, write_png
from covary.images import output_folder, replacing, to_pil

RNG = np.random.RandomState(0)
PIXELS = RNG.randint(0, 256, (5, 7, 3)).astype(np.uint8)


def chw(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy())


class TestReading:
    def test_rgb(self, tmp_path: Path) -> None:
        Image.fromarray(PIXELS).save(tmp_path / "a.png")
        image = read_image(tmp_path / "a.png")
        assert torch.equal(image, chw(PIXELS))
        assert image.is_contiguous()

    def test_the_transparency_is_ignored(self, tmp_path: Path) -> None:
        alpha = RNG.randint(0, 256, (5, 7, 1)).astype(np.uint8)
        Image.fromarray(np.concatenate([PIXELS, alpha], axis=2)).save(tmp_path / "a.png")
        assert torch.equal(read_image(tmp_path / "a.png"), chw(PIXELS))

    def test_greyscale_has_three_equal_channels(self, tmp_path: Path) -> None:
        grey = PIXELS[..., 0]
        Image.fromarray(grey).save(tmp_path / "l.png")
        Image.fromarray(np.stack([grey, grey // 2], axis=2)).save(tmp_path / "la.png")
        for name in ("l.png", "la.png"):
            assert torch.equal(read_image(tmp_path / name), chw(np.stack([grey] * 3, axis=2)))

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

    @pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
    def test_more_than_eight_bits_are_refused(self, tmp_path: Path, dtype: type) -> None:
        Image.fromarray((PIXELS[..., 0] * 100.0).astype(dtype)).save(tmp_path / "deep.tif")
        with pytest.raises(InputError, match=r"deep\.tif: expected 8-bit .*got mode"):
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

    def test_a_decompression_bomb(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        Image.fromarray(PIXELS).save(tmp_path / "a.png")
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
        with pytest.raises(InputError, match="decompression bomb"):
            read_image(tmp_path / "a.png")


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

        monkeypatch.setattr("tempfile.mkstemp", refuse)
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
