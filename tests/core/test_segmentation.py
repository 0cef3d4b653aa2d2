"""Results: what they tell, and writing them so that a half of one never looks whole."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import covary
from covary import Box, ClusterMap, Foreground, InputError, OutputError, Region, Segmentation
from covary.segmentation import PALETTE, read_instances, read_labels

FILES = {"image.png", "clusters.png", "overlay.png", "mask.png", "provenance.json"}


def region(box: Box, labels: torch.Tensor, k: int, chosen: list[bool]) -> Region:
    """A region with these labels, which must already be canonical."""
    size = (box.y1 - box.y0, box.x1 - box.x0)
    clusters = ClusterMap.from_labels(labels, torch.zeros(k, 2), size=size, inertia=0, iterations=1)
    picked = torch.tensor(chosen)
    return Region(
        box, clusters, Foreground.from_clusters(clusters, picked, torch.zeros(k), "as told")
    )


def whole(seed: int = 0, k: int = 3, chosen: tuple[int, ...] = (1,), size=(6, 8)) -> Segmentation:
    """A segmentation of a random image whose labels are random."""
    draw = np.random.RandomState(seed)
    image = torch.from_numpy(draw.randint(0, 256, (3, *size)).astype(np.uint8))
    labels = torch.from_numpy(draw.randint(0, k, size))
    box = Box(0, 0, size[1], size[0])
    made = region(box, labels, k, [i in chosen for i in range(k)])
    return Segmentation(image=image, regions=(made,), provenance={"seed": seed})


class TestReading:
    def test_one_region_is_the_whole(self) -> None:
        seg = whole()
        (only,) = seg.regions
        assert (seg.size, seg.found, seg.reason) == ((6, 8), True, "as told")
        assert torch.equal(seg.labels, only.clusters.labels)
        assert torch.equal(seg.mask, only.clusters.labels == 1)

    def test_no_region_is_nothing_found(self) -> None:
        seg = Segmentation(image=whole().image, regions=())
        assert not seg.found
        assert not seg.mask.any()
        assert (seg.labels == -1).all()
        assert "no box" in seg.reason

    @given(st.data())
    def test_regions_are_placed_back(self, data: st.DataObject) -> None:
        height, width = 7, 9
        image = torch.zeros(3, height, width, dtype=torch.uint8)
        mask = np.zeros((height, width), bool)
        owner = np.full((height, width), -1)
        regions = []
        first = 0
        for _ in range(data.draw(st.integers(1, 4))):
            x0, y0 = data.draw(st.integers(0, width - 2)), data.draw(st.integers(0, height - 2))
            x1, y1 = data.draw(st.integers(x0 + 1, width)), data.draw(st.integers(y0 + 1, height))
            pixels = (y1 - y0) * (x1 - x0)
            k = data.draw(st.integers(1, 3))
            labels = data.draw(st.lists(st.integers(0, k - 1), min_size=pixels, max_size=pixels))
            chosen = data.draw(st.lists(st.booleans(), min_size=k, max_size=k))
            made = region(Box(x0, y0, x1, y1), torch.tensor(labels), k, chosen)
            regions.append(made)
            ids = made.clusters.labels.numpy()
            foreground = np.isin(ids, np.flatnonzero(chosen))
            if foreground.any() and not foreground.all():
                mask[y0:y1, x0:x1] |= foreground
            owner[y0:y1, x0:x1] = ids + first
            first += k
        seg = Segmentation(image=image, regions=tuple(regions))
        assert np.array_equal(seg.mask.numpy(), mask)
        assert np.array_equal(seg.labels.numpy(), owner)
        assert seg.found == mask.any()

    def test_the_reasons_of_all_regions_are_told(self) -> None:
        one = region(Box(0, 0, 2, 1), torch.tensor([0, 1]), 2, [True, False])
        two = region(Box(2, 0, 4, 1), torch.tensor([0, 1]), 2, [False, False])
        seg = Segmentation(image=torch.zeros(3, 1, 4).byte(), regions=(one, two))
        assert seg.found
        assert seg.reason == "as told; no cluster qualifies as foreground: as told"


class TestOverlay:
    def test_keeps_the_foreground_and_greys_the_rest(self) -> None:
        image = torch.zeros(3, 32, 32, dtype=torch.uint8)
        image[0] = 200
        labels = torch.zeros(32, 32, dtype=torch.int64)
        labels[8:24, 8:24] = 1
        seg = Segmentation(
            image=image, regions=(region(Box(0, 0, 32, 32), labels, 2, [False, True]),)
        )
        shown = seg.overlay()
        assert shown.dtype == torch.uint8
        assert torch.equal(shown[:, 9:23, 9:23], image[:, 9:23, 9:23])
        outside = shown[:, labels == 0]
        assert (outside == outside[0]).all()
        ring = torch.zeros(32, 32, dtype=torch.bool)
        ring[8:24, 8:24] = True
        ring[9:23, 9:23] = False
        assert (shown[:, ring] == 255).all()
        assert not (outside == 255).any()

    def test_where_nothing_is_found_all_is_grey(self) -> None:
        shown = whole(chosen=()).overlay()
        assert (shown == shown[:1]).all()

    def test_notebooks_get_a_png(self, tmp_path: Path) -> None:
        seg = whole()
        (tmp_path / "shown.png").write_bytes(seg._repr_png_())
        assert torch.equal(covary.read_image(tmp_path / "shown.png"), seg.overlay())


class TestSaving:
    def test_writes_what_it_says(self, tmp_path: Path) -> None:
        seg = whole()
        folder = seg.save(tmp_path / "a" / "b")
        assert {path.name for path in folder.iterdir()} == FILES
        assert torch.equal(covary.read_image(folder / "image.png"), seg.image)
        assert torch.equal(covary.read_image(folder / "overlay.png"), seg.overlay())
        assert torch.equal(covary.read_image(folder / "mask.png")[0] == 255, seg.mask)
        assert json.loads((folder / "provenance.json").read_text()) == {"seed": 0}

    def test_of_a_photo_there_is_a_mask_in_its_own_pixels(self, tmp_path: Path) -> None:
        seg = whole()
        photo = torch.zeros(3, 20, 24, dtype=torch.uint8)
        # X_0 lies at x = 5, y = 3 of the photo, at twice its size.
        crop = covary.Crop(photo, torch.tensor([[2.0, 0, 5], [0, 2, 3]]))
        of_photo = dataclasses.replace(seg, crop=crop, reconstruction=255 - seg.image)
        folder = of_photo.save(tmp_path)
        more = {"photo-mask.png", "photo-overlay.png", "reconstruction.png"}
        assert {path.name for path in folder.iterdir()} == FILES | more
        assert torch.equal(covary.read_image(folder / "reconstruction.png"), 255 - seg.image)
        saved = covary.read_image(folder / "photo-mask.png")[0] == 255
        assert torch.equal(saved, of_photo.photo_mask)
        assert saved.shape == (20, 24)
        assert not saved[:3].any()
        assert not saved[:, :5].any()
        enlarged = seg.mask.repeat_interleave(2, 0).repeat_interleave(2, 1)
        # Outlines are interpolated, so only pixels whose neighbours agree must be the same.
        inner = torch.nn.functional.avg_pool2d(enlarged[None].float(), 3, 1, 1)[0]
        sure = (inner == 0) | (inner == 1)
        assert sure.any()
        assert torch.equal(saved[3:15, 5:21][sure], enlarged[sure])

    def test_what_only_a_photo_has_goes_with_it(self, tmp_path: Path) -> None:
        seg = whole()
        crop = covary.Crop.whole(torch.zeros(3, 12, 16, dtype=torch.uint8), seg.size)
        dataclasses.replace(seg, crop=crop, reconstruction=seg.image).save(tmp_path)
        seg.save(tmp_path)
        assert {path.name for path in tmp_path.iterdir()} == FILES

    def test_without_a_photo_there_is_no_photo_mask(self) -> None:
        with pytest.raises(InputError, match="cut from a photo"):
            _ = whole().photo_mask

    @pytest.mark.parametrize("k", [1, 3, 40, 254, 255, 256, 300])
    def test_cluster_ids_are_exact(self, tmp_path: Path, k: int) -> None:
        image = torch.zeros(3, 20, 20, dtype=torch.uint8)
        labels = torch.arange(18 * 20) % k
        inside = region(Box(0, 1, 20, 19), labels, k, [False] * k)
        seg = Segmentation(image=image, regions=(inside,))
        seg.save(tmp_path)
        assert torch.equal(read_labels(tmp_path / "clusters.png"), seg.labels)
        assert seg.labels.max() == k - 1
        assert (seg.labels[0] == -1).all()

    def test_cluster_ids_of_many_boxes_are_exact(self, tmp_path: Path) -> None:
        boxes = [Box(x, y, x + 4, y + 4) for x in range(0, 40, 4) for y in range(0, 40, 4)]
        regions = tuple(region(box, torch.arange(16) % 4, 4, [False] * 4) for box in boxes)
        seg = Segmentation(image=torch.zeros(3, 40, 40).byte(), regions=regions)
        seg.save(tmp_path)
        assert len(seg.labels.unique()) == 400
        assert torch.equal(read_labels(tmp_path / "clusters.png"), seg.labels)

    def test_clusters_are_coloured(self, tmp_path: Path) -> None:
        seg = whole()
        seg.save(tmp_path)
        colours = torch.tensor(PALETTE, dtype=torch.uint8)[seg.labels.long()].permute(2, 0, 1)
        assert torch.equal(covary.read_image(tmp_path / "clusters.png"), colours)

    def test_where_nothing_is_found_there_is_no_mask(self, tmp_path: Path) -> None:
        whole(chosen=(1,)).save(tmp_path)
        whole(chosen=()).save(tmp_path)
        assert {path.name for path in tmp_path.iterdir()} == FILES - {"mask.png"}

    @pytest.mark.parametrize("failing", range(4))
    @pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
    def test_a_failure_leaves_the_earlier_result_whole(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        failing: int,
        error: BaseException,
    ) -> None:
        whole(seed=1).save(tmp_path)
        before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
        fail_at(monkeypatch, failing, error)
        with pytest.raises(
            KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else OutputError
        ):
            whole(seed=2).save(tmp_path)
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before

    @pytest.mark.parametrize("failing", range(4))
    def test_a_failure_in_an_empty_folder_leaves_it_empty(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
    ) -> None:
        fail_at(monkeypatch, failing, OSError(28, "No space left on device"))
        with pytest.raises(OutputError, match="No space left on device; choose another"):
            whole().save(tmp_path)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("failing", range(5))
    def test_stopped_while_names_are_given_nothing_looks_complete(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
    ) -> None:
        whole(seed=1).save(tmp_path)
        rename, calls = Path.replace, iter(range(100))

        def stop(self: Path, target: Path) -> Path:
            if next(calls) == failing:
                raise KeyboardInterrupt
            return rename(self, target)

        monkeypatch.setattr(Path, "replace", stop)
        with pytest.raises(KeyboardInterrupt):
            whole(seed=2).save(tmp_path)
        names = {path.name for path in tmp_path.iterdir()}
        assert "provenance.json" not in names
        assert names <= FILES

    def test_provenance_that_is_no_json_writes_nothing(self, tmp_path: Path) -> None:
        seg = Segmentation(whole().image, whole().regions, provenance={"x": object()})
        with pytest.raises(TypeError):
            seg.save(tmp_path)
        assert list(tmp_path.iterdir()) == []

    def test_into_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "out").touch()
        with pytest.raises(OutputError, match="cannot make the folder"):
            whole().save(tmp_path / "out")


def objects(count: int = 3, **more: object) -> Segmentation:
    """A segmentation of so many overlapping detected objects."""
    draw = np.random.RandomState(0)
    image = torch.from_numpy(draw.randint(0, 256, (3, 6, 40)).astype(np.uint8))
    made = []
    for index in range(count):
        start = index % 32
        box = Box(start, 0, start + 8, 6)
        labels = torch.arange(48) % 2
        one = region(box, labels, 2, [False, True])
        made.append(dataclasses.replace(one, label=f"thing {index % 2}", score=0.5, **more))
    return Segmentation(image, tuple(made), {"seed": 0}, detected=True)


class TestFilesOfObjects:
    def test_hold_the_instances_and_what_they_are(self, tmp_path: Path) -> None:
        seg = objects()
        seg.save(tmp_path)
        assert {path.name for path in tmp_path.iterdir()} == FILES | {
            "instances.png", "objects.json"
        }  # fmt: skip
        assert torch.equal(read_instances(tmp_path / "instances.png"), seg.instances)
        data = json.loads((tmp_path / "objects.json").read_text())
        assert (data["format"], data["size"]) == (1, [6, 40])
        for number, (one, saved) in enumerate(zip(seg.objects, data["objects"], strict=True), 1):
            assert saved == {
                "id": number,
                "label": one.label,
                "score": 0.5,
                "box": list(one.box.corners),
                "area": int((seg.instances == number).sum()),
                "found": one.found,
                "reason": one.reason,
            }

    @pytest.mark.parametrize(("count", "mode"), [(0, "P"), (255, "P"), (256, "I;16")])
    def test_tell_any_number_of_instances_apart(
        self, tmp_path: Path, count: int, mode: str
    ) -> None:
        seg = objects(count)
        seg.save(tmp_path)
        with Image.open(tmp_path / "instances.png") as picture:
            assert picture.mode == mode
        assert torch.equal(read_instances(tmp_path / "instances.png"), seg.instances)

    def test_show_an_object_in_one_colour_on_black(self, tmp_path: Path) -> None:
        seg = objects()
        seg.save(tmp_path)
        with Image.open(tmp_path / "instances.png") as picture:
            colours = np.array(picture.convert("RGB"))
        numbers = seg.instances.numpy()
        assert (colours[numbers == 0] == 0).all()
        shown = {tuple(colours[numbers == one][0]) for one in np.unique(numbers) if one}
        assert len(shown) == 3

    def test_refined_and_soft_masks(self, tmp_path: Path) -> None:
        soft = torch.linspace(0, 1, 48).reshape(6, 8)
        seg = objects(1, soft=soft, refined=soft > 0.5)
        seg.save(tmp_path)
        files = {path.name for path in tmp_path.iterdir()}
        assert files >= {"mask.png", "raw-mask.png", "soft.png"}
        with Image.open(tmp_path / "soft.png") as picture:
            grey = np.array(picture)
        assert grey.dtype == np.uint16
        assert np.abs(grey[:, :8] / 65535 - soft.numpy()).max() <= 0.5 / 65535
        assert not grey[:, 8:].any()
        saved = covary.read_image(tmp_path / "mask.png")[0] > 127
        assert torch.equal(saved[:, :8], soft > 0.5)
        raw = covary.read_image(tmp_path / "raw-mask.png")[0] > 127
        assert torch.equal(raw, seg.raw_mask)

    def test_parts(self, tmp_path: Path) -> None:
        seg = whole(k=3, chosen=(0, 1))
        (only,) = seg.regions
        named = dataclasses.replace(only.foreground, names=("skin", "hair", "wall"))
        seg = dataclasses.replace(seg, regions=(dataclasses.replace(only, foreground=named),))
        seg.save(tmp_path)
        parts = read_instances(tmp_path / "parts.png")
        assert torch.equal(parts, seg.parts)
        assert seg.part_names == ("hair", "skin", "wall")
        # What is no foreground is no part, whatever its name.
        assert np.array_equal(parts.numpy(), np.choose(seg.labels.numpy(), [2, 1, 0]))

    def test_stale_ones_are_removed(self, tmp_path: Path) -> None:
        soft = torch.ones(6, 8)
        objects(2, soft=soft, refined=soft > 0.5).save(tmp_path)
        whole().save(tmp_path)
        assert {path.name for path in tmp_path.iterdir()} == FILES

    def test_more_clusters_than_a_picture_tells_apart(self, tmp_path: Path) -> None:
        one = objects(1).regions[0]
        clusters = dataclasses.replace(one.clusters, centers=torch.zeros(65535, 2))
        wide = dataclasses.replace(one, clusters=clusters)
        seg = Segmentation(objects(1).image, (wide, one), {}, detected=True)
        with pytest.raises(OutputError, match=r"clusters.png: expected at most 65,535 .*got 65,5"):
            seg.save(tmp_path)
        assert list(tmp_path.iterdir()) == []

    def test_the_overlay_shows_mask_box_and_name_in_one_colour(self) -> None:
        image = torch.zeros(3, 96, 96, dtype=torch.uint8)
        image[0] = 200
        labels = torch.zeros(40, 50, dtype=torch.int64)
        labels[10:30, 10:30] = 1
        one = region(Box(20, 30, 70, 70), labels, 2, [False, True])
        one = dataclasses.replace(one, label="sofa", score=0.5)
        shown = Segmentation(image, (one,), detected=True).overlay()
        assert (shown.dtype, shown.shape) == (torch.uint8, image.shape)
        colour = torch.tensor(PALETTE[0], dtype=torch.uint8)
        for y, x in [(30, 69), (69, 20), (69, 69), (50, 20)]:  # the frame, ends inclusive
            assert torch.equal(shown[:, y, x], colour)
        assert torch.equal(shown[:, 40, 30], colour)  # the outline
        mixed = 0.4 * image[:, 50, 40].float() + 0.6 * colour.float()
        assert (shown[:, 50, 40].float() - mixed).abs().max() <= 0.5  # inside
        far = shown[:, 75:, :]
        assert (far == far[0, 0, 0]).all()  # grey
        name = shown[:, 10:30, 20:70]
        assert (name == colour[:, None, None]).all(dim=0).sum() > 200  # what the name stands on


class TestReadingLabels:
    @pytest.mark.parametrize(
        ("write", "message"),
        [
            (lambda path: None, "No such file"),
            (lambda path: path.write_bytes(b"no picture"), "cannot identify"),
            (lambda path: Image.new("RGB", (2, 2)).save(path), "mode RGB"),
        ],
    )
    def test_of_something_else(
        self, tmp_path: Path, write: Callable[[Path], None], message: str
    ) -> None:
        path = tmp_path / "clusters.png"
        write(path)
        with pytest.raises(
            InputError, match=f"expected a clusters.png that covary wrote.*{message}"
        ):
            read_labels(path)


def fail_at(monkeypatch: pytest.MonkeyPatch, picture: int, error: BaseException) -> None:
    """Let the writing of one of the pictures fail after some bytes."""
    save, calls = Image.Image.save, iter(range(100))

    def failing(self: Image.Image, path: Path, **options: object) -> None:
        if next(calls) == picture:
            Path(path).write_bytes(b"\x89PNG")
            raise error
        save(self, path, **options)

    monkeypatch.setattr(Image.Image, "save", failing)
