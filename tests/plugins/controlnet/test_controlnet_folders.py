"""Models as users have them on disk: whole, partial, of the wrong kind, or hostile."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import covary
from covary_plugins.sources._controlnet.folders import Folders, find_folders
from covary_plugins.sources._controlnet.memory import weight_bytes, working_bytes

if TYPE_CHECKING:
    from .conftest import Pair

# Importing diffusers takes seconds: once is enough, where pytest-xdist runs with loadgroup.
pytestmark = pytest.mark.xdist_group("diffusers")

UNET = "unet/diffusion_pytorch_model.safetensors"


def edit(path: Path, **changes: Any) -> None:
    """Change entries of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def found(pair: Pair) -> Folders:
    return find_folders(str(pair.model), str(pair.controlnet))


def test_what_is_read_from_the_configuration(sd: Pair, sdxl: Pair) -> None:
    small, xl = found(sd), found(sdxl)
    assert (small.is_xl, xl.is_xl) == (False, True)
    assert small.native_side == 32
    assert small.scale_factor == 2
    assert set(xl.networks) == {"unet", "vae", "text_encoder", "text_encoder_2"}


def test_every_file_that_is_loaded_is_recorded(sdxl: Pair) -> None:
    inputs = found(sdxl).inputs
    for path in [*sdxl.model.rglob("*.safetensors"), *sdxl.model.glob("*/*config.json")]:
        digest = sha256(path.read_bytes()).hexdigest()
        assert inputs[f"{sdxl.model}/{path.relative_to(sdxl.model)}"] == digest
    weights = "diffusion_pytorch_model.safetensors"
    digest = sha256((sdxl.controlnet / weights).read_bytes()).hexdigest()
    assert inputs[f"{sdxl.controlnet}/{weights}"] == digest


def test_weights_are_counted_without_loading_them(sd: Pair) -> None:
    tensors = [
        tensor
        for folder in (sd.model, sd.controlnet)
        for path in folder.rglob("*.safetensors")
        for tensor in load_file(path).values()
    ]
    total = sum(tensor.numel() for tensor in tensors)
    folders = found(sd)
    assert weight_bytes(folders, 2, "none") == 2 * total
    largest = weight_bytes(folders, 4, "model")
    assert weight_bytes(folders, 4, "sequential") < largest < weight_bytes(folders, 4, "none")


def test_the_working_estimate_grows_as_work_does(sd: Pair) -> None:
    folders = found(sd)
    small = working_bytes(folders, (64, 64), 2, 7.5)
    assert working_bytes(folders, (64, 128), 2, 7.5).denoising == 2 * small.denoising
    assert working_bytes(folders, (64, 64), 2, 1.0).denoising == small.denoising // 2
    assert small.of_batch(64) == 64 * small.denoising
    assert small.of_batch(1) >= small.decoding


def test_variants_of_files_are_found_where_there_are_no_plain_ones(
    sd: Pair, tmp_path: Path, photo: Path
) -> None:
    pair = sd.copied(tmp_path)
    for path in [*pair.model.rglob("*.safetensors"), *pair.controlnet.glob("*.safetensors")]:
        path.rename(path.with_suffix(".fp16.safetensors"))
    assert found(pair).networks["unet"].variant == "fp16"
    assert torch.equal(pair.draw(photo), sd.draw(photo))


def test_sharded_weights_are_read(sd: Pair, tmp_path: Path, photo: Path) -> None:
    import diffusers

    pair = sd.copied(tmp_path)
    unet = diffusers.UNet2DConditionModel.from_pretrained(sd.model / "unet")
    shutil.rmtree(pair.model / "unet")
    unet.save_pretrained(pair.model / "unet", max_shard_size="40KB")
    assert len(found(pair).networks["unet"].weights) > 1
    assert torch.equal(pair.draw(photo), sd.draw(photo))


def test_the_old_names_in_published_vaes_are_read(sd: Pair, tmp_path: Path, photo: Path) -> None:
    pair = sd.copied(tmp_path)
    path = pair.model / "vae" / "diffusion_pytorch_model.safetensors"
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    tensors = {}
    for name, tensor in load_file(path).items():
        for new_part, old_part in old.items():
            name = name.replace(f".{new_part}.", f".{old_part}.")
        tensors[name] = tensor
    assert any(".proj_attn." in name for name in tensors)
    save_file(tensors, path, metadata={"format": "pt"})
    assert torch.equal(pair.draw(photo), sd.draw(photo))


class Bomb:
    """Runs when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.mark,)


def test_pickles_are_refused_unread(sd: Pair, tmp_path: Path, photo: Path) -> None:
    pair = sd.copied(tmp_path)
    (pair.model / UNET).unlink()
    pickled = pair.model / "unet" / "diffusion_pytorch_model.bin"
    pickled.write_bytes(pickle.dumps(Bomb(tmp_path / "ran")))
    with pytest.raises(covary.CheckpointError, match=r"pickles only \(diffusion.*safetensors"):
        pair.open(photo)
    assert not (tmp_path / "ran").exists()


def test_nothing_in_the_folders_is_run(sd: Pair, tmp_path: Path, photo: Path) -> None:
    pair = sd.copied(tmp_path)
    code = f"from pathlib import Path\nPath({str(tmp_path / 'ran')!r}).touch()\n"
    for name in ("model", "controlnet", "model/unet", "model/text_encoder", "model/tokenizer"):
        (tmp_path / name / "evil.py").write_text(code)
        (tmp_path / name / "pipeline.py").write_text(code)
    edit(
        pair.model / "model_index.json",
        _class_name=["pipeline", "Evil"],
        unet=["evil", "Evil"],
        scheduler=["os", "system"],
        extra=["evil", "Evil"],
    )
    edit(pair.model / "unet" / "config.json", _class_name="Evil", auto_map={"AutoModel": "evil.E"})
    edit(
        pair.model / "text_encoder" / "config.json",
        auto_map={"AutoModel": "evil.Evil"},
        attn_implementation="somebody/kernel",
        _attn_implementation="somebody/kernel",
    )
    edit(pair.model / "tokenizer" / "tokenizer_config.json", auto_map={"AutoTokenizer": "evil.E"})
    assert torch.equal(pair.draw(photo), sd.draw(photo))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "name", ["os", "Path", "AutoencoderKL", "NoSuchScheduler", "SchedulerMixin"]
)
def test_a_scheduler_must_be_one(sd: Pair, tmp_path: Path, photo: Path, name: str) -> None:
    pair = sd.copied(tmp_path)
    edit(pair.model / "scheduler" / "scheduler_config.json", _class_name=name)
    with pytest.raises(covary.CheckpointError, match=rf"schedulers of diffusers, got '{name}'"):
        pair.open(photo)
    assert pair.draw(photo, scheduler="ddim").shape[0] == 3


def test_a_model_and_a_controlnet_that_do_not_match(sd: Pair, sdxl: Pair) -> None:
    with pytest.raises(
        covary.CheckpointError, match=r"cross_attention_dim 64, got 32; use a ControlNet made for"
    ):
        find_folders(str(sdxl.model), str(sd.controlnet))


def test_model_and_controlnet_exchanged(sd: Pair) -> None:
    with pytest.raises(covary.CheckpointError, match="exchange model and controlnet"):
        find_folders(str(sd.controlnet), str(sd.model))
    with pytest.raises(covary.CheckpointError, match="got a single network"):
        find_folders(str(sd.model / "unet"), str(sd.controlnet))


@pytest.mark.parametrize("kind", ["T2IAdapter", "FluxControlNetModel", None])
def test_other_adapters_are_named(sd: Pair, tmp_path: Path, kind: str | None) -> None:
    pair = sd.copied(tmp_path)
    edit(pair.controlnet / "config.json", _class_name=kind)
    with pytest.raises(covary.CheckpointError, match=f"got {kind or 'a network of no'}"):
        found(pair)


def test_other_families_are_named(sd: Pair, tmp_path: Path) -> None:
    pair = sd.copied(tmp_path)
    index = {"_class_name": "FluxPipeline", "transformer": ["diffusers", "FluxTransformer2DModel"]}
    (pair.model / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(covary.CheckpointError, match=r"1\.5, 2\.x or XL.*got FluxPipeline"):
        found(pair)


def test_inpainting_models_are_refused(sd: Pair, tmp_path: Path) -> None:
    pair = sd.copied(tmp_path)
    edit(pair.model / "unet" / "config.json", in_channels=9)
    with pytest.raises(covary.CheckpointError, match=r"takes 4 channels.*got 9.*inpainting"):
        found(pair)


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "git lfs pull"),
        (b"<!DOCTYPE html><html></html>", "a whole safetensors file"),
        (b"", "a whole safetensors file"),
    ],
)
def test_files_that_are_no_weights(sd: Pair, tmp_path: Path, content: bytes, word: str) -> None:
    pair = sd.copied(tmp_path)
    (pair.model / UNET).write_bytes(content)
    with pytest.raises(covary.CheckpointError, match=word):
        found(pair)


@pytest.mark.parametrize("share", [0.01, 0.5, 0.999])
def test_truncated_weights(sd: Pair, tmp_path: Path, share: float) -> None:
    pair = sd.copied(tmp_path)
    whole = (pair.model / UNET).read_bytes()
    (pair.model / UNET).write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(covary.CheckpointError, match="fetch it again"):
        found(pair)


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder", "controlnet"])
def test_missing_tensors_are_not_left_at_random(
    sd: Pair, tmp_path: Path, photo: Path, part: str
) -> None:
    pair = sd.copied(tmp_path)
    (path,) = (tmp_path / ("" if part == "controlnet" else "model") / part).glob("*.safetensors")
    tensors = load_file(path)
    lost = sorted(tensors)[len(tensors) // 2]
    del tensors[lost]
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(covary.CheckpointError, match="1 missing or of another shape"):
        pair.open(photo)


@pytest.mark.parametrize("part", ["unet", "text_encoder", "controlnet"])
def test_tensors_of_another_shape(sd: Pair, tmp_path: Path, photo: Path, part: str) -> None:
    pair = sd.copied(tmp_path)
    (path,) = (tmp_path / ("" if part == "controlnet" else "model") / part).glob("*.safetensors")
    tensors = load_file(path)
    name = max(tensors, key=lambda name: tensors[name].numel())
    tensors[name] = tensors[name][:-1].contiguous()
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(covary.CheckpointError, match=rf"(weights in|folder) .*{part}"):
        pair.open(photo)


@pytest.mark.parametrize(
    "name",
    ["model_index.json", "unet/config.json", "scheduler/scheduler_config.json", UNET, "tokenizer"],
)
def test_missing_files(sd: Pair, tmp_path: Path, photo: Path, name: str) -> None:
    pair = sd.copied(tmp_path)
    path = pair.model / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(covary.CheckpointError, match=str(tmp_path)):
        pair.open(photo)


def test_quantised_weights_are_named(sd: Pair, tmp_path: Path, photo: Path) -> None:
    pair = sd.copied(tmp_path)
    quantised = {"quant_method": "bitsandbytes", "load_in_8bit": True}
    edit(pair.model / "unet" / "config.json", quantization_config=quantised)
    with pytest.raises(covary.CheckpointError, match="quantised"):
        pair.open(photo)


def test_a_folder_that_is_not_there(sd: Pair, tmp_path: Path) -> None:
    for name in (str(tmp_path / "gone"), "./models/gone", "gone"):
        with pytest.raises(covary.CheckpointError, match="got no such folder"):
            find_folders(name, str(sd.controlnet))


def test_a_single_file_says_how_to_convert_it(sd: Pair, tmp_path: Path) -> None:
    (tmp_path / "v1-5.safetensors").write_bytes(b"")
    with pytest.raises(covary.CheckpointError, match=r"single file; .*from_single_file"):
        find_folders(str(tmp_path / "v1-5.safetensors"), str(sd.controlnet))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty Hugging Face cache."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def put(cache: Path, name: str, folder: Path) -> None:
    """Put a folder into the cache as a download would."""
    repository = cache / f"models--{name.replace('/', '--')}"
    commit = "0123456789abcdef0123456789abcdef01234567"
    shutil.copytree(folder, repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)


def test_a_hub_id_is_read_from_the_cache(sd: Pair, cache: Path, photo: Path) -> None:
    put(cache, "someone/tiny-sd", sd.model)
    put(cache, "someone/tiny-canny", sd.controlnet)
    ids = {"model": "someone/tiny-sd", "controlnet": "someone/tiny-canny"}
    assert torch.equal(sd.draw(photo, **ids), sd.draw(photo))
    inputs = sd.open(photo, **ids).inputs
    assert f"someone/tiny-sd/{UNET}" in inputs


def test_a_hub_id_that_is_not_in_the_cache_is_not_fetched(sd: Pair, cache: Path) -> None:
    with pytest.raises(
        covary.CheckpointError,
        match=r"licence at https://huggingface.co/a/b, then run `hf download a/b`",
    ):
        find_folders("a/b", str(sd.controlnet))
