"""The landmark detector around kornia's YuNet; its published weights are not at hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from kornia.contrib.face_detection import YuNet
from kornia.models.yunet.processors import PriorBox
from kornia.models.yunet.processors import decode as kornias_decode

import covary
from covary_plugins.landmarks import _yunet


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "yunet_final.pth"
    torch.save(YuNet("test", pretrained=False).state_dict(), path)
    return path


class Stub(torch.nn.Module):
    """A network that sees given faces: (anchor, score, x, y) with all points at (x, y)."""

    def __init__(self, faces: list[tuple[int, float, float, float]]) -> None:
        super().__init__()
        self.faces = faces
        self.seen = torch.empty(0)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        self.seen = x
        height, width = x.shape[2:]
        anchors = _yunet._anchors((height, width))
        found = {"loc": torch.zeros(1, len(anchors), 14), "iou": torch.ones(1, len(anchors), 1)}
        found["conf"] = torch.tensor([1.0, 0.0]).repeat(1, len(anchors), 1)
        for i, score, *point in self.faces:
            found["conf"][0, i] = torch.tensor([1 - score**2, score**2])
            offset = (torch.tensor(point) - anchors[i, :2]) / (0.1 * anchors[i, 2])
            found["loc"][0, i, 4:] = offset.repeat(5)
        return found


def found(stub: Stub, image: torch.Tensor, **options: Any) -> list[torch.Tensor]:
    settings = {"threshold": 0.5, "overlap": 0.3, "max_side": 640} | options
    return _yunet.find_faces(stub, image, **settings)


@pytest.mark.parametrize("size", [(128, 192), (64, 64)])
def test_anchors_are_decoded_as_kornia_does(size: tuple[int, int]) -> None:
    sizes = [[10, 16, 24], [32, 48], [64, 96], [128, 192, 256]]
    priors = PriorBox(sizes, [8, 16, 32, 64], False, image_size=size)()
    torch.manual_seed(0)
    loc = torch.randn(len(priors), 14)
    expected = kornias_decode(loc, priors, [0.1, 0.2]) * torch.tensor([size[1], size[0]] * 7)
    boxes, points = _yunet.decode(loc, size)
    assert torch.allclose(boxes, expected[:, :4], atol=1e-3)
    assert torch.allclose(points.flatten(1), expected[:, 4:], atol=1e-3)


def test_faces_come_by_falling_score_and_once() -> None:
    # Anchors 0 and 1 share a place; the others lie apart.
    stub = Stub([(300, 0.7, 30, 20), (0, 0.6, 3, 4), (1, 0.65, 5, 6), (500, 0.9, 90, 70)])
    image = torch.zeros(3, 128, 192, dtype=torch.uint8)
    places = [tuple((face[0] + 0.5).tolist()) for face in found(stub, image)]
    assert [pytest.approx(place, abs=1e-3) for place in [(90, 70), (30, 20), (5, 6)]] == places
    assert [face.shape for face in found(stub, image)] == [(5, 2)] * 3
    assert len(found(stub, image, threshold=0.68)) == 2
    assert len(found(stub, image, overlap=1.0)) == 4
    assert found(Stub([]), image) == []


def test_large_photos_are_shrunk_and_points_scaled_back() -> None:
    stub = Stub([(40, 0.9, 32, 16)])
    image = torch.zeros(3, 300, 500, dtype=torch.uint8)
    (face,) = found(stub, image, max_side=100)
    assert stub.seen.shape == (1, 3, 64, 128)  # 60x100, whole cells
    assert torch.allclose(face + 0.5, torch.tensor([32.0, 16.0]) * 5, atol=1e-3)


def test_the_network_sees_bgr_values_unscaled() -> None:
    stub = Stub([])
    image = torch.tensor([10, 20, 250], dtype=torch.uint8)[:, None, None].repeat(1, 64, 64)
    found(stub, image)
    assert stub.seen[0, :, 5, 5].tolist() == [250, 20, 10]


def test_the_component_runs_the_network_of_its_checkpoint(weights: Path) -> None:
    detector = covary.create(
        "yunet", kind="landmarks", checkpoint=str(weights), threshold=0, overlap=0
    )
    torch.manual_seed(1)
    image = torch.randint(0, 256, (3, 70, 90), dtype=torch.uint8)
    faces = detector.landmarks(image)
    assert faces
    assert all(face.shape == (5, 2) and face.isfinite().all() for face in faces)
    again = detector.landmarks(image)
    assert all(torch.equal(one, two) for one, two in zip(faces, again, strict=True))


@pytest.mark.parametrize("content", [b"", b"<html>quota exceeded</html>", b"\x80\x04N."])
def test_files_that_are_no_weights(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "yunet.pth"
    path.write_bytes(content)
    detector = covary.create("yunet", kind="landmarks", checkpoint=str(path))
    with pytest.raises(covary.CheckpointError, match="YuNet's weights"):
        detector.landmarks(torch.zeros(3, 64, 64, dtype=torch.uint8))


@pytest.mark.parametrize("state", [{"conv.weight": torch.zeros(3)}, [torch.zeros(3)], {}])
def test_weights_of_other_networks(tmp_path: Path, state: object) -> None:
    torch.save(state, tmp_path / "other.pth")
    detector = covary.create("yunet", kind="landmarks", checkpoint=str(tmp_path / "other.pth"))
    with pytest.raises(covary.CheckpointError, match=r"another network|a list"):
        detector.landmarks(torch.zeros(3, 64, 64, dtype=torch.uint8))


def test_a_hostile_file_is_not_run(tmp_path: Path) -> None:
    target = tmp_path / "ran"

    class Hostile:
        def __reduce__(self) -> tuple[object, tuple[object, ...]]:
            return Path.touch, (target,)

    torch.save({"model0.conv1.weight": Hostile()}, tmp_path / "hostile.pth")
    detector = covary.create("yunet", kind="landmarks", checkpoint=str(tmp_path / "hostile.pth"))
    with pytest.raises(covary.CheckpointError):
        detector.landmarks(torch.zeros(3, 64, 64, dtype=torch.uint8))
    assert not target.exists()
