"""Segmenters from transformers against its own processing, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

import covary
from covary import CheckpointError, InputError
from covary.testing import worlds
from tiny_segmenters import LABELS, save

pytestmark = pytest.mark.xdist_group("transformers")

COMPONENTS = {
    "upernet": "upernet",
    "mobilenet_v2": "deeplab",
    "mobilevit": "deeplab",
    "mask2former": "mask2former",
}
EVERY = {f"label {i}": [i] for i in range(len(LABELS))}


def images(count: int = 3, size: tuple[int, int] = (48, 64)) -> Tensor:
    world = worlds.get("rooms")
    return torch.stack([world.scene(s, size).images(s)[0] for s in range(count)])


def segmenter(kind: str, folder: Path, **params: Any) -> covary.Segmenter:
    made = covary.create(
        COMPONENTS[kind], kind="segmenter", checkpoint=str(folder), classes=EVERY, **params
    )
    assert isinstance(made, covary.Segmenter)
    return made


def logits(kind: str, folder: Path, image: Tensor) -> Tensor:
    """Scores of every label for an image, by transformers' own classes, without a cut."""
    import transformers

    processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
    auto = {
        "mask2former": transformers.AutoModelForUniversalSegmentation,
    }.get(kind, transformers.AutoModelForSemanticSegmentation)
    model = auto.from_pretrained(folder).eval()
    photo = Image.fromarray(image.movedim(0, -1).numpy())
    extra = {} if kind == "mask2former" else {"do_center_crop": False}
    with torch.no_grad():
        output = model(**processor(photo, return_tensors="pt", **extra))
    if kind != "mask2former":
        return output.logits
    probability = output.class_queries_logits.softmax(dim=-1)[..., :-1]
    masks = F.interpolate(output.masks_queries_logits, (384, 384), mode="bilinear").sigmoid()
    return torch.einsum("bqc,bqhw->bchw", probability, masks)


@pytest.mark.parametrize("kind", COMPONENTS)
def test_labels_are_those_of_transformers(kind: str, folders: Callable[[str], Path]) -> None:
    batch = images()
    found = segmenter(kind, folders(kind), batch=2).segment(batch)
    assert len(found.unique()) > 1
    for image, labels in zip(batch, found, strict=True):
        scores = F.interpolate(logits(kind, folders(kind), image), (48, 64), mode="bilinear")
        # One class is the background; the numbers of the others begin at 1.
        agree = (labels - 1 == scores[0].argmax(dim=0)).double().mean()
        assert agree > 0.99


def test_labels_are_those_of_the_pipeline_of_transformers(
    folders: Callable[[str], Path],
) -> None:
    import transformers

    folder = folders("upernet")
    (image,) = images(1)
    ask = transformers.pipeline(
        "image-segmentation",
        model=transformers.UperNetForSemanticSegmentation.from_pretrained(folder),
        image_processor=transformers.SegformerImageProcessorPil.from_pretrained(folder),
    )
    told = ask(Image.fromarray(image.movedim(0, -1).numpy()), subtask="semantic")
    found = segmenter("upernet", folder).segment(image[None])[0]
    assert {LABELS[i - 1] for i in found.unique().tolist()} == {each["label"] for each in told}
    for each in told:
        mask = torch.from_numpy(np.array(each["mask"]) > 0)
        assert ((found - 1 == LABELS.index(each["label"])) == mask).double().mean() > 0.99


@pytest.mark.parametrize("kind", ["mobilenet_v2", "mobilevit"])
def test_the_whole_image_is_looked_at(kind: str, folders: Callable[[str], Path]) -> None:
    """What lies outside the middle square changes labels there, and its place is kept."""
    wide = images(1, (48, 96))
    changed = wide.clone()
    changed[..., :12] = 255 - changed[..., :12]
    network = segmenter(kind, folders(kind))
    before, after = network.segment(wide), network.segment(changed)
    differs = (before != after)[0].any(dim=0)
    assert bool(differs[:24].any())


def test_classes_choose_and_merge_labels(folders: Callable[[str], Path]) -> None:
    folder = folders("upernet")
    batch = images()
    every = segmenter("upernet", folder).segment(batch) - 1
    chosen = covary.create(
        "upernet", kind="segmenter", checkpoint=str(folder), classes=["table", "couch"]
    )
    assert torch.equal(chosen.segment(batch), (every == 3).long() + 2 * (every == 1).long())
    merged = covary.create(
        "upernet", kind="segmenter", checkpoint=str(folder), classes={"tables": [2, 3]}
    )
    assert torch.equal(merged.segment(batch), ((every == 2) | (every == 3)).long())


def test_every_file_that_is_read_is_named(folders: Callable[[str], Path]) -> None:
    network = segmenter("upernet", folders("upernet"))
    assert network.inputs() == {}  # type: ignore[attr-defined]
    network.segment(images(1))
    names = {Path(name).name for name in network.inputs()}  # type: ignore[attr-defined]
    assert names == {"config.json", "model.safetensors", "preprocessor_config.json"}


def test_results_may_be_used_with_gradients(folders: Callable[[str], Path]) -> None:
    found = segmenter("upernet", folders("upernet")).segment(images(1))
    assert not found.is_inference()


def test_half_precision_gives_nearly_the_same(folders: Callable[[str], Path]) -> None:
    batch = images()
    full, half = (
        segmenter("upernet", folders("upernet"), dtype=dtype).segment(batch)
        for dtype in ("float32", "bfloat16")
    )
    assert (full == half).double().mean() > 0.9


def copied(folder: Path, to: Path, **config: Any) -> Path:
    shutil.copytree(folder, to)
    path = to / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | config))
    return to


def test_a_network_of_another_kind_is_refused(folders: Callable[[str], Path]) -> None:
    with pytest.raises(CheckpointError, match=r"type upernet, got mobilevit.*covary list segm"):
        segmenter("upernet", folders("mobilevit")).segment(images(1))


def test_a_backbone_from_elsewhere_is_refused(
    folders: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = copied(folders("upernet"), tmp_path / "named", backbone="someone/backbone")
    with pytest.raises(CheckpointError, match="the name of one, 'someone/backbone'"):
        segmenter("upernet", folder).segment(images(1))


def test_pickles_are_refused(folders: Callable[[str], Path], tmp_path: Path) -> None:
    folder = copied(folders("upernet"), tmp_path / "pickled")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="pickles only"):
        segmenter("upernet", folder).segment(images(1))


def test_a_hub_id_that_is_not_here_says_how_to_get_it() -> None:
    missing = covary.create("deeplab", kind="segmenter", checkpoint="nobody/no-such-model")
    with pytest.raises(CheckpointError, match="hf download nobody/no-such-model"):
        missing.segment(images(1))


def test_thin_images_are_refused(folders: Callable[[str], Path]) -> None:
    thin = torch.zeros(1, 3, 4, 40, dtype=torch.uint8)
    with pytest.raises(InputError, match="at most 8 times the shorter, got 40x4 pixels"):
        segmenter("mobilenet_v2", folders("mobilenet_v2")).segment(thin)


def test_scores_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    import transformers

    save("upernet", tmp_path / "nan")
    model = transformers.UperNetForSemanticSegmentation.from_pretrained(tmp_path / "nan")
    with torch.no_grad():
        model.decode_head.classifier.bias.fill_(float("nan"))
    model.save_pretrained(tmp_path / "nan")
    with pytest.raises(InputError, match="finite scores"):
        segmenter("upernet", tmp_path / "nan").segment(images(1))
