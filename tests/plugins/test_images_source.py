"""Aligned stacks from folders, files and .npz."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from covary import InputError, ParamsError, Query, RunContext, read_image
from covary_plugins.sources.images import Images


def picture(seed, size=(5, 7)):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


@pytest.fixture
def stack(tmp_path):
    """Twelve images, 0.png to 11.png, whose natural order is not the alphabetic one."""
    arrays = [picture(seed) for seed in range(12)]
    for i, array in enumerate(arrays):
        Image.fromarray(array).save(tmp_path / f"{i}.png")
    return tmp_path, np.stack(arrays)


def opened(*paths, **params):
    return Images(**params).open(Query(paths=tuple(Path(path) for path in paths)), RunContext())


def variants(result):
    return torch.cat([batch.images for batch in result.batches]).permute(0, 2, 3, 1).numpy()


def image(result):
    return result.image.permute(1, 2, 0).numpy()


def test_a_folder_in_natural_order(stack):
    folder, arrays = stack
    result = opened(folder)
    assert result.count == 12
    assert (image(result) == arrays[0]).all()
    assert (variants(result) == arrays).all()


def test_provenance_names_every_file(stack):
    folder, _ = stack
    files = sorted(folder.iterdir())
    expected = {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    assert dict(opened(folder).inputs) == expected


def test_other_and_hidden_files_are_ignored(stack):
    folder, arrays = stack
    (folder / "notes.txt").write_text("x")
    (folder / ".hidden.png").write_text("x")
    (folder / "more.png").mkdir()
    assert (variants(opened(folder)) == arrays).all()


def test_files_in_the_order_given(stack):
    folder, arrays = stack
    result = opened(folder / "3.png", folder / "1.png", folder / "2.png")
    assert (image(result) == arrays[3]).all()
    assert (variants(result) == arrays[[3, 1, 2]]).all()


@pytest.mark.parametrize("x0", [4, "4.png", "4"])
def test_x0_by_index_or_name(stack, x0):
    folder, arrays = stack
    result = opened(folder, x0=x0)
    assert (image(result) == arrays[4]).all()
    assert (variants(result) == arrays).all()


@pytest.mark.parametrize("x0", [12, -1, "12.png", ""])
def test_an_x0_that_is_not_there(stack, x0):
    with pytest.raises(InputError, match=r"x0.*0.png"):
        opened(stack[0], x0=x0)


def test_an_ambiguous_x0(stack):
    folder, arrays = stack
    Image.fromarray(arrays[0]).save(folder / "4.bmp")
    with pytest.raises(InputError, match="2 of 13 images"):
        opened(folder, x0="4")


def test_batches_are_read_when_asked_for(stack):
    folder, _ = stack
    result = opened(folder)
    (folder / "5.png").write_bytes((folder / "5.png").read_bytes()[:60])
    for _ in range(5):
        assert next(result.batches).images.shape == (1, 3, 5, 7)
    with pytest.raises(InputError, match=r"5\.png.*whole image"):
        next(result.batches)


def test_images_of_different_sizes(stack):
    folder, _ = stack
    Image.fromarray(picture(0, (5, 8))).save(folder / "7.png")
    with pytest.raises(InputError, match=r"7\.png: expected 7x5 pixels.*0\.png, got 8x5"):
        variants(opened(folder))


def test_a_file_that_is_no_image(stack):
    folder, _ = stack
    (folder / "0.png").write_text("<html>")
    with pytest.raises(InputError, match=r"0\.png.*whole image"):
        opened(folder)


def test_too_few_images(tmp_path):
    with pytest.raises(InputError, match=r"image files.*got none"):
        opened(tmp_path)
    Image.fromarray(picture(0)).save(tmp_path / "a.png")
    for query in (tmp_path, tmp_path / "a.png"):
        with pytest.raises(InputError, match="at least 2 aligned images, got 1"):
            opened(query)


def test_paths_that_do_not_go_together(stack):
    folder, arrays = stack
    np.savez(folder / "a.npz", arrays)
    for other in (folder, folder / "a.npz"):
        with pytest.raises(InputError, match=r"one folder or .npz alone"):
            opened(folder / "1.png", other)
    with pytest.raises(InputError, match="no such file"):
        opened(folder / "1.png", folder / "none.png")


def test_a_seed_is_not_a_stack():
    assert Images.accepts == {"files"}
    with pytest.raises(InputError, match="expected files"):
        Images().open(Query(seed=1), RunContext())


# --- .npz ------------------------------------------------------------------------------------


@pytest.mark.parametrize("planar", [True, False])
def test_an_npz(stack, tmp_path, planar):
    _, arrays = stack
    np.savez_compressed(tmp_path / "a.npz", np.moveaxis(arrays, -1, 1) if planar else arrays)
    result = opened(tmp_path / "a.npz", x0=2)
    assert result.count == 12
    assert (image(result) == arrays[2]).all()
    assert (variants(result) == arrays).all()
    digest = hashlib.sha256((tmp_path / "a.npz").read_bytes()).hexdigest()
    assert dict(result.inputs) == {str(tmp_path / "a.npz"): digest}


def test_an_npz_of_several_arrays(stack, tmp_path):
    _, arrays = stack
    np.savez(tmp_path / "a.npz", day=arrays, night=255 - arrays)
    assert (variants(opened(tmp_path / "a.npz", key="night")) == 255 - arrays).all()
    with pytest.raises(InputError, match=r"one array, got day, night; .*key"):
        opened(tmp_path / "a.npz")
    with pytest.raises(InputError, match="'dusk', got day, night"):
        opened(tmp_path / "a.npz", key="dusk")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((3, 3, 4, 4)), r"uint8.*float64.*255"),
        (np.zeros((3, 3, 4, 4), np.int64), "uint8.*int64"),
        (np.zeros((3, 4, 4), np.uint8), r"\(n, 3, H, W\).*got \(3, 4, 4\)"),
        (np.zeros((3, 4, 4, 4), np.uint8), r"\(n, 3, H, W\)"),
        (np.zeros((0, 3, 4, 4), np.uint8), r"\(n, 3, H, W\)"),
        (np.zeros((1, 3, 4, 4), np.uint8), "at least 2"),
        (np.array([{}]), "numbers"),
    ],
)
def test_arrays_that_are_no_stack(tmp_path, array, message):
    np.savez(tmp_path / "a.npz", array)
    with pytest.raises(InputError, match=message):
        opened(tmp_path / "a.npz")


def test_files_that_are_no_npz(tmp_path):
    (tmp_path / "a.npz").write_text("<html>")
    with pytest.raises(InputError, match=r"\.npz file of numbers"):
        opened(tmp_path / "a.npz")
    with pytest.raises(InputError, match="no such file"):
        opened(tmp_path / "b.npz")
    np.savez(tmp_path / "c.npz", np.zeros((9, 3, 9, 9), np.uint8))
    (tmp_path / "c.npz").write_bytes((tmp_path / "c.npz").read_bytes()[:800])
    with pytest.raises(InputError, match=r"\.npz file of numbers"):
        opened(tmp_path / "c.npz")


def test_unknown_parameters():
    with pytest.raises(ParamsError, match="did you mean 'x0'"):
        Images(x=0)


def test_photos_are_turned_upright(tmp_path):
    for name in ("a.png", "b.png"):
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.fromarray(picture(0)).save(tmp_path / name, exif=exif)
    result = opened(tmp_path)
    assert tuple(result.image.shape) == (3, 7, 5)
    assert torch.equal(result.image, read_image(tmp_path / "a.png"))
