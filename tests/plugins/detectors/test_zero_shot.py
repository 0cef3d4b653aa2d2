"""Detectors by words with tiny random weights: what they make of an image, and what they refuse."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import covary
from covary import CheckpointError, InputError, ParamsError
from covary.testing import worlds
from covary_plugins.detectors._grounding_dino import GroundingDinoNetwork, by_class
from covary_plugins.detectors._networks import ZeroShotNetwork
from covary_plugins.detectors._owlv2 import Owlv2Network
from covary_plugins.detectors._prompts import Prompt

# Importing transformers takes seconds: once is enough, where pytest-xdist runs with loadgroup.
pytestmark = pytest.mark.xdist_group("transformers")

SIZE = (60, 84)
PROMPT = Prompt.parse("sofa, coffee table, lamp")


@pytest.fixture(scope="session")
def room() -> torch.Tensor:
    return worlds.get("rooms").scene(3, SIZE).images(3)[0]


@pytest.fixture(params=["dino", "mm_dino", "owl"])
def model(request: pytest.FixtureRequest) -> Path:
    folder: Path = request.getfixturevalue(request.param)
    return folder


def component(folder: Path) -> str:
    return "owlv2" if folder.name == "owl" else "grounding-dino"


def detector(folder: Path, **params: Any) -> Any:
    """A detector that keeps every box of a tiny network."""
    every = {"model": str(folder), "prompt": "sofa, coffee table", "threshold": 0, "nms": 1}
    if folder.name != "owl":
        every["text_threshold"] = 0
    return covary.create(component(folder), "detector", **(every | params))


def network(folder: Path) -> ZeroShotNetwork:
    if folder.name == "owl":
        return Owlv2Network(str(folder), torch.float32, "a photo of a {}")
    return GroundingDinoNetwork(str(folder), 0.0)


def edited(folder: Path, to: Path, **changes: Any) -> Path:
    """A copy with other entries in its configuration."""
    copy = shutil.copytree(folder, to / folder.name)
    path = copy / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return copy


# --- against transformers' own account of the same outputs ----------------------------------------


def pil(image: torch.Tensor) -> Image.Image:
    return Image.fromarray(image.permute(1, 2, 0).numpy())


@pytest.mark.parametrize("name", ["dino", "mm_dino"])
def test_grounding_dino_finds_what_its_own_processor_finds(
    name: str, request: pytest.FixtureRequest, room: torch.Tensor
) -> None:
    import transformers

    folder = request.getfixturevalue(name)
    kind = "GroundingDino" if name == "dino" else "MMGroundingDino"
    model = getattr(transformers, f"{kind}ForObjectDetection").from_pretrained(folder).eval()
    processor = transformers.GroundingDinoProcessor(
        transformers.GroundingDinoImageProcessorPil.from_pretrained(folder),
        transformers.BertTokenizer.from_pretrained(folder),
    )
    text = [list(PROMPT.classes)]
    inputs = processor(images=pil(room), text=text, return_tensors="pt")
    with torch.no_grad():
        output = model(**inputs)
    (theirs,) = processor.post_process_grounded_object_detection(
        output, threshold=0, text_threshold=2, target_sizes=[SIZE]
    )
    ours = network(folder)
    found = ours.find(room, PROMPT)
    torch.testing.assert_close(found.boxes, theirs["boxes"], rtol=1e-4, atol=1e-3)
    # Theirs looks at full stops too, and at the tokens of every class.
    assert ours.words(PROMPT).ids == inputs["input_ids"][0].tolist()
    classes = [[1], [3, 4], [6]]
    assert [list(own) for own in ours.words(PROMPT).classes] == classes
    probabilities = output.logits[0].sigmoid()
    for i, chosen in enumerate(found.classes.tolist()):
        means = [float(probabilities[i, own].mean()) for own in classes]
        assert means[chosen] == pytest.approx(max(means), abs=1e-5)
        assert float(found.scores[i]) == pytest.approx(
            float(probabilities[i, classes[chosen]].max()), abs=1e-4
        )


@pytest.mark.parametrize("size", [(60, 84), (84, 60), (1, 9)])
def test_owlv2_finds_what_its_own_processor_finds(owl: Path, size: tuple[int, int]) -> None:
    import transformers

    draw = torch.Generator().manual_seed(1)
    image = torch.randint(0, 256, (3, *size), generator=draw, dtype=torch.uint8)
    model = transformers.Owlv2ForObjectDetection.from_pretrained(owl).eval()
    processor = transformers.Owlv2Processor(
        transformers.Owlv2ImageProcessorPil.from_pretrained(owl),
        transformers.CLIPTokenizer.from_pretrained(owl),
    )
    text = [[f"a photo of a {name}" for name in PROMPT.classes]]
    inputs = processor(
        images=pil(image), text=text, return_tensors="pt", padding="max_length", max_length=64,
        input_data_format="channels_last",
    )  # fmt: skip
    with torch.no_grad():
        output = model(**inputs)
    (theirs,) = processor.post_process_grounded_object_detection(
        output, threshold=0, target_sizes=[size]
    )
    found = network(owl).find(image, PROMPT)
    torch.testing.assert_close(found.boxes, theirs["boxes"], rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(found.scores, theirs["scores"], rtol=1e-4, atol=1e-5)
    assert torch.equal(found.classes, theirs["labels"])


# --- classes ---------------------------------------------------------------------------------


def test_a_box_belongs_to_the_class_whose_words_it_answers_to() -> None:
    """Tokens: start, sofa, stop, coffee, table, stop, side, table, stop, end."""
    words = [range(1, 2), range(3, 5), range(6, 8)]
    probabilities = torch.zeros(4, 10)
    probabilities[:, [0, 2, 5, 8, 9]] = 0.9  # belong to no class
    probabilities[0, 1] = 0.5
    probabilities[1, [3, 4]] = torch.tensor([0.4, 0.3])
    probabilities[1, 7] = 0.45  # "table" alone
    probabilities[2, [6, 7]] = 0.2
    chosen, scores, strengths = by_class(probabilities, words)
    assert chosen.tolist() == [0, 1, 2, 0]
    torch.testing.assert_close(scores, torch.tensor([0.5, 0.4, 0.2, 0.0]))
    torch.testing.assert_close(strengths, torch.tensor([0.5, 0.35, 0.2, 0.0]))


def answering(monkeypatch: pytest.MonkeyPatch, network: ZeroShotNetwork, **output: Any) -> None:
    """Make a network's model give this output, in the class of output that it gives."""
    given = type(network._model)
    real = given.forward

    def forward(self: Any, **inputs: Any) -> Any:
        result = real(self, **inputs)
        for name, values in output.items():
            setattr(result, name, values)
        return result

    monkeypatch.setattr(given, "forward", forward)


def test_labels_and_thresholds(dino: Path, room: torch.Tensor, monkeypatch: Any) -> None:
    probabilities = torch.full((1, 4, 48), 0.01)
    # Tokens: start, sofa, in, a, living, room, stop, coffee, table, in, ..., end.
    probabilities[0, 0, 1] = 0.8
    probabilities[0, 1, [7, 8]] = torch.tensor([0.9, 0.5])
    probabilities[0, 2, [7, 8]] = torch.tensor([0.4, 0.05])
    probabilities[0, 3, [2, 3, 4, 5]] = 0.99  # the context
    boxes = torch.tensor([[[0.5, 0.5, 0.5, 0.5], [0.25, 0.5, 0.5, 2.0],
                           [0.5, 0.5, 0.2, 0.2], [0.5, 0.5, 0.3, 0.3]]])  # fmt: skip
    params = {"prompt": "Sofa, coffee table, in a livingroom", "threshold": 0.3}
    finder = detector(dino, text_threshold=0.25, **params)
    assert finder.detect(room) is not None
    answering(monkeypatch, finder._network, logits=probabilities.logit(), pred_boxes=boxes)
    found = finder.detect(room)
    assert [(each.label, str(each.box)) for each in found] == [
        ("coffee table", "(0, 0, 42, 60)"),
        ("Sofa", "(21, 15, 63, 45)"),
    ]
    assert [each.score for each in found] == pytest.approx([0.9, 0.8])
    assert len(detector(dino, text_threshold=0, **params).detect(room)) == 3


def test_owlv2_labels(owl: Path, room: torch.Tensor, monkeypatch: Any) -> None:
    logits = torch.full((1, 3, 2), -5.0)
    logits[0, 0, 1], logits[0, 1, 0] = 2.0, 1.0
    boxes = torch.tensor([[[0.25, 0.25, 0.5, 0.5]] * 3])
    finder = detector(owl, threshold=0.1)
    finder.detect(room)
    answering(monkeypatch, finder._network, logits=logits, pred_boxes=boxes)
    found = finder.detect(room)
    # Relative to the longer side, which the shorter one is padded to.
    assert [(each.label, str(each.box)) for each in found] == [
        ("coffee table", "(0, 0, 42, 42)"),
        ("sofa", "(0, 0, 42, 42)"),
    ]


def test_what_is_not_finite_is_refused(model: Path, room: torch.Tensor, monkeypatch: Any) -> None:
    finder = detector(model)
    finder.detect(room)
    answering(monkeypatch, finder._network, pred_boxes=torch.full((1, 12, 4), torch.nan))
    with pytest.raises(InputError, match="finite scores and boxes, got NaN"):
        finder.detect(room)


def test_nothing_found_is_no_error(model: Path, room: torch.Tensor) -> None:
    assert detector(model, threshold=1).detect(room) == []


def test_the_context_changes_what_is_read_but_not_the_labels(
    model: Path, room: torch.Tensor
) -> None:
    plain = detector(model).detect(room)
    inside = detector(model, prompt="sofa, coffee table, in a livingroom").detect(room)
    assert plain != inside
    assert {each.label for each in inside} <= {"sofa", "coffee table"}


def test_the_image_matters(model: Path, room: torch.Tensor) -> None:
    finder = detector(model)
    assert finder.detect(room) != finder.detect(room.flip(2))


# --- prompts ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["grounding-dino", "owlv2"])
@pytest.mark.parametrize("prompt", ["", " ", "in a livingroom", "sofa, sofa"])
def test_prompts_without_classes(name: str, prompt: str) -> None:
    with pytest.raises(ParamsError, match="prompt"):
        covary.create(name, "detector", prompt=prompt)


def test_prompts_that_are_too_long(dino: Path, owl: Path, room: torch.Tensor) -> None:
    classes = ", ".join("sofa " * i for i in range(1, 10))
    with pytest.raises(InputError, match="at most 48 tokens, got 56; name fewer classes"):
        detector(dino, prompt=classes).detect(room)
    with pytest.raises(InputError, match=r"at most 64 tokens.*got 71 in 'a photo of a sss"):
        detector(owl, prompt="s" * 60).detect(room)


def test_words_that_mean_nothing(dino: Path, room: torch.Tensor) -> None:
    with pytest.raises(InputError, match=r"class 'диван'.*English"):
        detector(dino, prompt="sofa, диван").detect(room)


@pytest.mark.parametrize("template", ["a photo", "{} and {}"])
def test_templates_need_a_place_for_the_class(template: str) -> None:
    with pytest.raises(ParamsError, match="once, where the class goes"):
        covary.create("owlv2", "detector", prompt="sofa", template=template)


def test_classes_do_not_read_each_other(dino: Path) -> None:
    """What BERT makes of "sofa" is the same beside other classes."""
    ours = network(dino)
    seen: list[torch.Tensor] = []
    backbone = ours._model.model.text_backbone
    backbone.register_forward_hook(lambda *call: seen.append(call[-1].last_hidden_state[0, 1]))
    room = torch.zeros((3, *SIZE), dtype=torch.uint8)
    for prompt in ("sofa, coffee table, lamp", "sofa, rug"):
        ours.find(room, Prompt.parse(prompt))
    torch.testing.assert_close(seen[0], seen[1])


# --- images ----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (3, 3), (3, 50)])
def test_small_images(model: Path, size: tuple[int, int]) -> None:
    for each in detector(model).detect(torch.zeros((3, *size), dtype=torch.uint8)):
        each.box.inside(size)


def test_images_that_cannot_be_resized(dino: Path) -> None:
    with pytest.raises(InputError, match="got 4000x1 pixels"):
        detector(dino).detect(torch.zeros((3, 1, 4000), dtype=torch.uint8))


# --- models on disk --------------------------------------------------------------------------


def test_every_file_that_is_loaded_is_recorded(model: Path, room: torch.Tensor) -> None:
    finder = detector(model)
    assert finder.inputs() == {}
    finder.detect(room)
    for name in ("config.json", "model.safetensors", "preprocessor_config.json", "tokenizer.json"):
        digest = sha256((model / name).read_bytes()).hexdigest()
        assert finder.inputs()[f"{model}/{name}"] == digest


def test_a_model_that_is_not_there(room: torch.Tensor) -> None:
    for name, repository in (
        ("grounding-dino", "IDEA-Research/grounding-dino-tiny"),
        ("owlv2", "google/owlv2-base-patch16-ensemble"),
    ):
        finder = covary.create(name, "detector", prompt="sofa")
        with pytest.raises(CheckpointError, match=f"licence at .*`hf download {repository}`"):
            finder.detect(room)
    with pytest.raises(CheckpointError, match="no such folder"):
        covary.create("owlv2", "detector", prompt="sofa", model="./nowhere").detect(room)


def test_a_single_file(owl: Path, room: torch.Tensor) -> None:
    with pytest.raises(CheckpointError, match="got a single file; give the whole folder"):
        detector(owl, model=str(owl / "model.safetensors")).detect(room)


def test_models_of_another_kind(dino: Path, owl: Path, tmp_path: Path, room: torch.Tensor) -> None:
    with pytest.raises(CheckpointError, match="type owlv2, got grounding-dino"):
        detector(owl, model=str(dino)).detect(room)
    with pytest.raises(CheckpointError, match="grounding-dino or mm-grounding-dino, got owlv2"):
        detector(dino, model=str(owl)).detect(room)
    with pytest.raises(CheckpointError, match="no stated type"):
        detector(edited(owl, tmp_path, model_type=None)).detect(room)


@pytest.mark.parametrize(
    "name", ["config.json", "model.safetensors", "preprocessor_config.json", "tokenizer.json"]
)
def test_missing_files(model: Path, tmp_path: Path, room: torch.Tensor, name: str) -> None:
    copy = shutil.copytree(model, tmp_path / model.name)
    (copy / name).unlink()
    for other in ("tokenizer_config.json", "vocab.json", "merges.txt"):
        if name == "tokenizer.json":
            (copy / other).unlink(missing_ok=True)
    with pytest.raises(CheckpointError, match="fetch the whole folder"):
        detector(copy).detect(room)


def test_tokenizers_in_their_older_files(model: Path, tmp_path: Path, room: torch.Tensor) -> None:
    """A list of words, or words and merges, as older folders have them."""
    copy = shutil.copytree(model, tmp_path / model.name)
    vocabulary = json.loads((copy / "tokenizer.json").read_text())["model"]["vocab"]
    (copy / "tokenizer.json").unlink()
    if model.name != "owl":
        (copy / "vocab.txt").write_text("\n".join(sorted(vocabulary, key=vocabulary.__getitem__)))
    assert detector(copy).detect(room) == detector(model).detect(room)


@pytest.mark.parametrize("share", [0.01, 0.999])
def test_truncated_weights(model: Path, tmp_path: Path, room: torch.Tensor, share: float) -> None:
    copy = shutil.copytree(model, tmp_path / model.name)
    whole = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(CheckpointError, match="fetch it again"):
        detector(copy).detect(room)


def test_missing_tensors_are_not_left_at_random(
    model: Path, tmp_path: Path, room: torch.Tensor
) -> None:
    copy = shutil.copytree(model, tmp_path / model.name)
    tensors = load_file(copy / "model.safetensors")
    del tensors[max(name for name in tensors if name.endswith("norm.weight") or "dense0" in name)]
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="1 missing or of another shape"):
        detector(copy).detect(room)


class Bomb:
    """Runs when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.mark,)


def test_nothing_in_the_folder_is_run(model: Path, tmp_path: Path, room: torch.Tensor) -> None:
    before = detector(model).detect(room)
    code = f"from pathlib import Path\nPath({str(tmp_path / 'ran')!r}).touch()\n"
    copy = edited(
        model, tmp_path, auto_map={"AutoModel": "evil.Evil"}, _attn_implementation="some/kernel"
    )
    (copy / "evil.py").write_text(code)
    (copy / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(tmp_path / "ran")))
    assert detector(copy).detect(room) == before
    (copy / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="pickles only"):
        detector(copy).detect(room)
    assert not (tmp_path / "ran").exists()


# --- precision, packages, quiet ----------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_near(owl: Path, room: torch.Tensor, dtype: str) -> None:
    whole = network(owl).find(room, PROMPT)
    half = Owlv2Network(str(owl), getattr(torch, dtype), "a photo of a {}").find(room, PROMPT)
    assert half.scores.dtype == torch.float32
    torch.testing.assert_close(half.scores, whole.scores, rtol=0, atol=0.05)


def test_loading_and_finding_say_nothing(
    model: Path, room: torch.Tensor, capfd: pytest.CaptureFixture[str]
) -> None:
    detector(model).detect(room)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("name", "package"), [("grounding-dino", "transformers"), ("owlv2", "scipy")]
)
def test_a_package_that_is_missing(name: str, package: str, tmp_path: Path) -> None:
    """In a process of its own, whose find_spec does not see the package."""
    code = (
        "import importlib.util as u, covary\n"
        "real = u.find_spec\n"
        f"u.find_spec = lambda name, *rest: None if name == {package!r} else real(name, *rest)\n"
        "try:\n"
        f"    covary.create({name!r}, 'detector', prompt='sofa')\n"
        "except covary.MissingPackageError as error:\n"
        "    print(error)\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    ).stdout
    assert package in said
    assert "covary[detect]" in said
