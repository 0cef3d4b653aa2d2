"""Photos read, aligned, and measured against their reconstruction."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

import covary
from covary.images import write_png
from covary_plugins.photos import (
    ACCEPTABLE_MSE,
    PhotoParams,
    PhotoSource,
    PreparedPhoto,
    error_warning,
    ffhq_matrix,
    one_photo,
    prepare,
    reconstruction_error,
)

FACE = [[150.0, 100.0], [250.0, 104.0], [200.0, 150.0], [165.0, 190.0], [235.0, 193.0]]


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A noisy photo of 400x300 pixels."""
    torch.manual_seed(0)
    path = tmp_path / "holiday.png"
    write_png(torch.randint(0, 256, (3, 300, 400), dtype=torch.uint8), path)
    return path


class Faces(covary.LandmarkDetector):
    """Finds what it was told to; the registry hands it out as ``stub``."""

    id = "test/stub"
    found: Sequence[torch.Tensor] = ()

    def landmarks(
        self, image: torch.Tensor, ctx: covary.RunContext | None = None
    ) -> Sequence[torch.Tensor]:
        assert image.dtype == torch.uint8
        assert ctx is not None
        assert ctx.stage == "landmarks:test/stub"
        return self.found


@pytest.fixture
def faces(monkeypatch: pytest.MonkeyPatch) -> type[Faces]:
    monkeypatch.setattr(covary.Spec, "create", lambda self, kind: Faces())
    monkeypatch.setattr(Faces, "found", ())
    return Faces


def prepared(path: Path, size: tuple[int, int] = (64, 64), **params: object) -> PreparedPhoto:
    return prepare(path, size, PhotoParams(**params), covary.RunContext())  # type: ignore[arg-type]


def test_a_photo_of_the_generators_size_stays_as_it_is(photo: Path) -> None:
    ready = prepared(photo, (300, 400))
    assert torch.equal(ready.image, covary.read_image(photo))
    assert torch.equal(ready.crop.photo, ready.image)
    assert ready.crop.matrix.tolist() == [[1, 0, 0], [0, 1, 0]]
    assert ready.warnings == ()
    assert ready.inputs == {str(photo): sha256(photo.read_bytes()).hexdigest()}


def test_a_photo_of_the_same_aspect_is_taken_whole(photo: Path) -> None:
    ready = prepared(photo, (75, 99))
    corners = ready.crop.matrix @ torch.tensor([[0, 99.0], [0, 75], [1, 1]]).double()
    assert torch.allclose(corners, torch.tensor([[0, 400.0], [0, 300]]).double())
    assert ready.warnings == ()


def test_a_photo_of_another_aspect_is_cut_in_its_middle_and_says_so(photo: Path) -> None:
    ready = prepared(photo)
    same = prepared(photo, align="center")
    middle = Image.open(photo).crop((50, 0, 350, 300)).resize((64, 64), Image.Resampling.LANCZOS)
    expected = torch.from_numpy(np.array(middle)).permute(2, 0, 1)
    assert torch.equal(ready.image, same.image)
    # Unlike a crop that is resized afterwards, ours sees the pixels beside it.
    difference = (ready.image.int() - expected.int())[:, 3:-3, 3:-3]
    assert difference.abs().max() <= 1
    (warning,) = ready.warnings
    assert "holiday.png is 400x300 pixels and was cut to the 300x300" in warning
    assert "landmarks" in warning
    assert same.warnings == ()


@pytest.mark.parametrize(
    ("align", "matrix"),
    [
        ("stretch", [[6.25, 0, 0], [0, 4.6875, 0]]),
        ("whole", [[6.25, 0, 0], [0, 6.25, -50]]),
        ("center", [[4.6875, 0, 50], [0, 4.6875, 0]]),
    ],
)
def test_alignments_without_landmarks(photo: Path, align: str, matrix: list[list[float]]) -> None:
    ready = prepared(photo, align=align)
    assert ready.crop.matrix.tolist() == matrix
    assert ready.image.shape == (3, 64, 64)


@pytest.mark.parametrize("folder", [False, True])
@pytest.mark.parametrize("wrapped", [False, True])
def test_landmarks_come_from_files(photo: Path, folder: bool, wrapped: bool) -> None:
    file = photo.with_suffix(".json")
    file.write_text(json.dumps({"landmarks": FACE} if wrapped else FACE))
    ready = prepared(photo, landmarks=photo.parent if folder else file)
    assert torch.equal(ready.crop.matrix, ffhq_matrix(torch.tensor(FACE), (64, 64)))
    assert ready.warnings == ()
    assert ready.inputs.keys() == {str(photo), str(file)}
    assert ready.inputs[str(file)] == sha256(file.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("[[1, 2]", "JSONDecodeError"),
        ("[[1, 2], [3]]", "5 or 68 points"),
        ("[[1, 2], [3, 4]]", r"shape \(2, 2\)"),
        ('{"points": []}', "KeyError"),
        ("7", "5 or 68 points"),
        (json.dumps([[x + 5000, y] for x, y in FACE]), "inside the photo of 400x300"),
        (json.dumps([[float("nan"), y] for x, y in FACE]), "finite numbers"),
        (json.dumps([[1e999, y] for x, y in FACE]), "finite numbers"),
        (json.dumps([*FACE[:3], [1e9, 1e9], [1e9, 1e9]]), "fits the photo of 400 pixels"),
    ],
)
def test_landmarks_that_are_none_are_refused(photo: Path, content: str, word: str) -> None:
    file = photo.with_suffix(".json")
    file.write_text(content)
    with pytest.raises(covary.InputError, match=word):
        prepared(photo, landmarks=file)


def test_a_folder_without_the_photos_landmarks_is_refused(photo: Path) -> None:
    with pytest.raises(covary.InputError, match=r"holiday\.json.*No such file"):
        prepared(photo, landmarks=photo.parent)


def test_the_most_prominent_face_is_taken(photo: Path, faces: type[Faces]) -> None:
    first, second = torch.tensor(FACE), torch.tensor(FACE) - 40
    faces.found = [first, second]
    ready = prepared(photo, landmark_detector="stub")
    assert torch.equal(ready.crop.matrix, ffhq_matrix(first, (64, 64)))
    assert "shows 2 faces" in ready.warnings[0]
    faces.found = [second]
    alone = prepared(photo, landmark_detector="stub", align="face")
    assert torch.equal(alone.crop.matrix, ffhq_matrix(second, (64, 64)))
    assert alone.warnings == ()


def test_without_a_face_auto_warns_and_face_refuses(photo: Path, faces: type[Faces]) -> None:
    ready = prepared(photo, landmark_detector="stub")
    assert any("no face that test/stub finds" in warning for warning in ready.warnings)
    assert torch.equal(ready.crop.matrix, prepared(photo, align="center").crop.matrix)
    with pytest.raises(covary.InputError, match="expected a face"):
        prepared(photo, landmark_detector="stub", align="face")


def test_a_source_keeps_its_detector_and_reports_what_it_read(
    photo: Path, faces: type[Faces], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Faces] = []

    def create(self: covary.Spec, kind: str) -> Faces:
        made.append(Faces())
        return made[-1]

    class Source(PhotoSource):
        Params = PhotoParams

        def open(self, query, ctx):
            raise NotImplementedError

    monkeypatch.setattr(covary.Spec, "create", create)
    monkeypatch.setattr(Faces, "inputs", lambda self: {"weights": "ab"}, raising=False)
    source = Source(landmark_detector="stub")
    query, ctx = covary.Query(paths=(photo,)), covary.RunContext()
    first, second = (source.prepared(query, (64, 64), ctx) for _ in range(2))
    assert len(made) == 1
    assert first.inputs == second.inputs
    assert first.inputs["weights"] == "ab"


def test_inputs_are_told_by_absolute_paths(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same file from whatever working folder: a changed photo must be noticed."""
    (photo.parent / "points.json").write_text(json.dumps(FACE))
    monkeypatch.chdir(photo.parent)
    ready = prepared(Path(photo.name), landmarks="points.json")
    assert set(ready.inputs) == {str(photo), str(photo.parent / "points.json")}


def test_a_folder_is_no_photo(photo: Path) -> None:
    for paths in ((photo.parent,), (photo, photo)):
        with pytest.raises(covary.InputError, match=r"query of source mine: expected one photo"):
            one_photo(covary.Query(paths=paths), "mine")
    assert one_photo(covary.Query(paths=(photo,)), "mine") == photo


def test_a_detectors_odd_points_are_refused(photo: Path, faces: type[Faces]) -> None:
    faces.found = [torch.zeros(7, 2)]
    with pytest.raises(covary.InputError, match=r"landmarks by test/stub.*\(7, 2\)"):
        prepared(photo, landmark_detector="stub")


def test_small_photos_are_called_blurred(photo: Path) -> None:
    assert any("enlarged 3.4 times" in w for w in prepared(photo, (1024, 1024)).warnings)
    assert not any("enlarged" in w for w in prepared(photo, (512, 512)).warnings)


def test_photos_turned_by_exif_and_grey_ones(tmp_path: Path) -> None:
    pixels = np.zeros((20, 40), dtype=np.uint8)
    pixels[:, :20] = 200
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    ready = prepared(tmp_path / "turned.png", (40, 20))
    assert ready.image.shape == (3, 40, 20)
    assert ready.image[:, :20].min() == 200
    assert ready.image[:, 20:].max() == 0


@pytest.mark.parametrize(
    ("params", "word"),
    [
        ({"align": "face"}, "landmarks or landmark_detector"),
        ({"align": "whole", "landmarks": "x.json"}, "no landmarks beside align='whole'"),
        ({"landmarks": "x.json", "landmark_detector": "yunet"}, "not both"),
        ({"align": "eyes"}, "'auto'"),
    ],
)
def test_parameters_that_contradict_each_other(params: dict[str, object], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        PhotoParams(**params)  # type: ignore[arg-type]


def test_the_error_is_numpys() -> None:
    torch.manual_seed(0)
    one, two = torch.randint(0, 256, (2, 3, 9, 7), dtype=torch.uint8)
    expected = np.mean((one.numpy() / 255.0 - two.numpy() / 255.0) ** 2)
    errors = reconstruction_error(one, two)
    assert errors == {
        "mse": pytest.approx(expected),
        "psnr": pytest.approx(-10 * np.log10(expected)),
    }
    assert reconstruction_error(one, one) == {"mse": 0}
    with pytest.raises(covary.InputError, match="shape of the image"):
        reconstruction_error(one, two[:, 1:])


def test_bad_reconstructions_are_named() -> None:
    assert error_warning({"mse": ACCEPTABLE_MSE}) is None
    warning = error_warning({"mse": 2 * ACCEPTABLE_MSE})
    assert warning is not None
    assert "0.040" in warning
    assert "align" in warning


@pytest.mark.parametrize("weights", [False, True])
def test_lpips_only_where_nothing_is_downloaded(
    weights: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = ModuleType("lpips")
    made: list[dict[str, object]] = []

    def network(**options: object) -> object:
        made.append(options)
        return lambda one, two: (one - two).abs().mean()

    package.LPIPS = network  # type: ignore[attr-defined]
    package.__spec__ = type(sys.__spec__)("lpips", None)  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "lpips", package)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    if weights:
        (tmp_path / "checkpoints").mkdir()
        (tmp_path / "checkpoints" / "alexnet-owt-7be5be79.pth").touch()
    black, white = torch.zeros(3, 64, 64, dtype=torch.uint8), torch.full((3, 64, 64), 255).byte()
    errors = reconstruction_error(black, white)
    assert bool(made) == weights
    # LPIPS takes values in [-1, 1].
    assert errors.get("lpips") == (pytest.approx(2) if weights else None)
