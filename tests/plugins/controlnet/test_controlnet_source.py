"""What the source ``controlnet`` draws, with tiny random models."""

from __future__ import annotations

import importlib.util
import logging
import re
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

import covary
from covary.provenance import rerun

if TYPE_CHECKING:
    from .conftest import Pair

# Importing diffusers takes seconds: once is enough, where pytest-xdist runs with loadgroup.
pytestmark = pytest.mark.xdist_group("diffusers")


@pytest.fixture(params=["sd", "sdxl"])
def pair(request: pytest.FixtureRequest) -> Pair:
    """Each family in turn."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def other_map(tmp_path: Path) -> Path:
    """A control map that has nothing to do with the photo."""
    path = tmp_path / "map.png"
    stripes = torch.zeros(3, 32, 32, dtype=torch.uint8)
    stripes[:, :, ::4] = 255
    covary.write_png(stripes, path)
    return path


def distance(a: torch.Tensor, b: torch.Tensor) -> float:
    """Mean absolute difference in grey levels."""
    return float((a - b).abs().float().mean())


def drawn_by_diffusers(
    pair: Pair,
    control: torch.Tensor,
    prompts: list[str],
    seeds: list[int],
    negative: str | None,
    photo: torch.Tensor | None,
) -> torch.Tensor:
    """What the library gives by the shortest way: prompts as text, one image at a time."""
    import diffusers

    controlnet = diffusers.ControlNetModel.from_pretrained(pair.controlnet)
    xl = "XL" if (pair.model / "text_encoder_2").exists() else ""
    kind = f"StableDiffusion{xl}ControlNet{'Img2Img' if photo is not None else ''}Pipeline"
    options = {} if xl else {"safety_checker": None, "requires_safety_checker": False}
    pipe = getattr(diffusers, kind).from_pretrained(pair.model, controlnet=controlnet, **options)
    pipe.set_progress_bar_config(disable=True)
    control = control[None].float() / 255
    images = {"image": control}
    if photo is not None:
        images = {"image": photo[None].float() / 255, "control_image": control, "strength": 0.7}
    drawn = [
        pipe(
            prompt,
            **images,
            negative_prompt=negative,
            num_inference_steps=4,
            guidance_scale=5.0,
            controlnet_conditioning_scale=0.8,
            control_guidance_start=0.2,
            control_guidance_end=0.8,
            generator=torch.Generator().manual_seed(seed),
            output_type="pt",
        ).images[0]
        for prompt, seed in zip(prompts, seeds, strict=True)
    ]
    return (torch.stack(drawn) * 255).round().int()


@pytest.mark.parametrize(("strength", "negative"), [(None, "dull"), (0.7, None)])
def test_variants_are_what_diffusers_draws(
    pair: Pair, photo: Path, other_map: Path, strength: float | None, negative: str | None
) -> None:
    prompts = ("a red cat", "a cat in the snow", "a glass cat")
    variants = pair.open(
        5 if strength is None else photo,
        control=str(other_map),
        prompts=prompts,
        negative_prompt=negative,
        steps=4,
        guidance=5.0,
        conditioning_scale=0.8,
        control_start=0.2,
        control_end=0.8,
        strength=strength,
    )
    ours = torch.cat([batch.images for batch in variants.batches]).int()
    ctx = covary.RunContext(seed=1).at("source", "covary/controlnet")
    order = torch.randperm(3, generator=ctx.generator()).tolist()
    seed, start = (5, None) if strength is None else (ctx.derived_seed(), variants.image)
    chosen = [prompts[index] for index in order]
    theirs = drawn_by_diffusers(
        pair, covary.read_image(other_map), chosen, [seed] * 3, negative, start
    )
    assert distance(ours[0], ours[1]) > 1
    assert (ours - theirs).abs().max() <= 1


def test_x0_of_a_photo_is_the_photo(sd: Pair, photo: Path) -> None:
    variants = sd.open(photo)
    assert torch.equal(variants.image, covary.read_image(photo))
    assert variants.count == 3
    batches = list(variants.batches)
    assert all(batch.images.dtype == torch.uint8 for batch in batches)
    assert sum(len(batch.images) for batch in batches) == 3
    assert batches[0].images.shape[1:] == (3, 32, 32)


def test_x0_of_a_seed_is_drawn_from_the_map(sd: Pair, other_map: Path) -> None:
    first, again, other = (sd.open(seed, control=str(other_map)) for seed in (4, 4, 5))
    assert torch.equal(first.image, again.image)
    assert distance(first.image.int(), other.image.int()) > 1
    # The variants start from its noise, so the same words give the same image.
    same = sd.draw(4, control=str(other_map), prompts=("a cat",) * 3)
    assert (same - first.image.int()).abs().max() <= 1
    different = sd.draw(4, control=str(other_map))
    assert distance(different, first.image.int()) > 1


def test_a_seed_without_a_map_is_refused(sd: Pair) -> None:
    with pytest.raises(covary.InputError, match="give a photo, or set control"):
        sd.open(4)


def test_the_control_map_acts(sd: Pair, photo: Path, other_map: Path) -> None:
    edges, stripes = sd.draw(photo), sd.draw(photo, control=str(other_map))
    assert distance(edges, stripes) > 1
    off = {"conditioning_scale": 0.0}
    assert torch.equal(sd.draw(photo, **off), sd.draw(photo, control=str(other_map), **off))


def test_shared_latents_hold_the_structure_and_prompts_change_the_rest(
    sd: Pair, photo: Path
) -> None:
    shared, distinct = (sd.draw(photo, latents=kind) for kind in ("shared", "distinct"))
    spread = [float(stack.float().std(dim=0).mean()) for stack in (shared, distinct)]
    assert 1 < spread[0] < 0.8 * spread[1]
    same_words = {"prompts": ("a cat",) * 3}
    alike = sd.draw(photo, **same_words)
    assert (alike - alike[0]).abs().max() <= 1
    unlike = sd.draw(photo, latents="distinct", **same_words)
    assert distance(unlike[0], unlike[1]) > 1


def test_strength_starts_from_x0(sd: Pair, photo: Path, tmp_path: Path) -> None:
    inverted = tmp_path / "inverted.png"
    covary.write_png(255 - covary.read_image(photo), inverted)
    # Inverting leaves the edges where they are: without a strength only those are seen.
    assert distance(sd.draw(photo), sd.draw(inverted)) < 0.5
    with_strength = {"strength": 0.5}
    assert distance(sd.draw(photo, **with_strength), sd.draw(inverted, **with_strength)) > 2


@pytest.mark.parametrize("params", [{"latents": "distinct"}, {"strength": 0.5}])
def test_results_do_not_depend_on_the_batch(
    pair: Pair, photo: Path, params: dict[str, Any]
) -> None:
    whole, parts = (pair.draw(photo, n=5, batch=batch, **params) for batch in (5, 2))
    assert (parts - whole).abs().max() <= 1
    assert distance(whole[0], whole[4]) > 1


def test_the_same_seed_gives_the_same_variants(sd: Pair, photo: Path) -> None:
    assert torch.equal(sd.draw(photo, seed=3), sd.draw(photo, seed=3))
    assert distance(sd.draw(photo, seed=3), sd.draw(photo, seed=4)) > 1


def test_guidance_and_the_negative_prompt_act(sd: Pair, photo: Path) -> None:
    plain = sd.draw(photo)
    assert distance(plain, sd.draw(photo, guidance=1.0)) > 0.5
    assert distance(plain, sd.draw(photo, negative_prompt="blurry, dark")) > 0.1
    without = {"guidance": 1.0}
    assert torch.equal(
        sd.draw(photo, **without), sd.draw(photo, negative_prompt="blurry", **without)
    )


def test_schedulers(sd: Pair, photo: Path) -> None:
    own, ddim, euler, unipc = (
        sd.draw(photo, scheduler=name, steps=4) for name in (None, "ddim", "euler", "unipc")
    )
    # The model's own is DDIM, which is Euler's method in other variables.
    assert torch.equal(own, ddim)
    assert (euler - ddim).abs().max() <= 1
    # UniPC solves the same equation to a higher order.
    assert 0.5 < distance(unipc, ddim) < 25


def test_bfloat16_and_tiling_draw_nearly_the_same(sd: Pair, photo: Path) -> None:
    plain = sd.draw(photo)
    assert 0 < distance(plain, sd.draw(photo, dtype="bfloat16")) < 10
    assert distance(plain, sd.draw(photo, vae_tiling=True)) < 10


@pytest.mark.parametrize("params", [{"dtype": "float16"}, {"offload": "model"}])
def test_what_the_cpu_does_not_have(sd: Pair, photo: Path, params: dict[str, Any]) -> None:
    (name,) = params
    with pytest.raises(covary.InputError, match=f"parameter '{name}' of ControlNet"):
        sd.open(photo, **params)


def test_offloading_changes_nothing_but_memory(
    sd: Pair, other_map: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The CPU has nowhere to offload to, but the way there is the same.
    monkeypatch.setattr(
        "covary_plugins.sources._controlnet.diffusion._check_offload", lambda *_: None
    )
    query = covary.Query(seed=4)
    drawn = {}
    for way in ("none", "model"):
        params = sd.params(control=str(other_map), strength=0.5, offload=way)
        source = covary.create("controlnet", **params)
        # Twice, and each time two pipelines of the same networks: for X_0 and for its variants.
        opened = [source.open(query, covary.RunContext()) for _ in range(2)]
        drawn[way] = [torch.cat([b.images for b in v.batches]).int() for v in opened]
    for plain, offloaded in zip(drawn["none"], drawn["model"], strict=True):
        assert (plain - offloaded).abs().max() <= 1


def test_a_photo_of_any_size_gets_its_mask_back(sd: Pair, tmp_path: Path) -> None:
    image = torch.zeros(3, 50, 71, dtype=torch.uint8)
    image[:, 15:40, 20:50] = 200
    covary.write_png(image, tmp_path / "photo.png")
    pipe = covary.Pipeline(
        ("controlnet", sd.params()), "lab", ("lloyd", {"k": 3}), "saliency", device="cpu"
    )
    result = pipe(tmp_path / "photo.png")
    assert result.size == (32, 48)
    assert result.photo_mask.shape == (50, 71)


def test_a_whole_pipeline_records_its_inputs_and_runs_again(
    sd: Pair, photo: Path, tmp_path: Path
) -> None:
    pipe = covary.Pipeline(
        ("controlnet", sd.params(n=4)), "lab", ("lloyd", {"k": 3}), "saliency", device="cpu"
    )
    seen: list[tuple[int, int, str]] = []
    result = pipe(photo, progress=lambda *step: seen.append(step))
    assert result.size == (32, 32)
    assert result.labels.unique().numel() == 3
    assert (4, 4, "diffusing") in seen
    inputs = result.provenance["inputs"]
    weights = "diffusion_pytorch_model.safetensors"
    for name, path in (
        (str(photo), photo),
        (f"{sd.model}/unet/{weights}", sd.model / "unet" / weights),
        (f"{sd.controlnet}/{weights}", sd.controlnet / weights),
    ):
        assert inputs[name] == sha256(path.read_bytes()).hexdigest()
    result.save(tmp_path / "out")
    again = rerun(tmp_path / "out", device="cpu")
    assert again.reproduced
    assert again.changed == ()


def test_the_plan_counts_the_weights_until_they_are_loaded(sd: Pair, photo: Path) -> None:
    source = covary.create("controlnet", **sd.params())
    assert isinstance(source, covary.SupportsMemoryEstimate)
    before = source.memory((32, 32), 9)
    source.open(covary.Query(paths=(photo,)), covary.RunContext())
    after = source.memory((32, 32), 9)
    numbers = sum(
        path.stat().st_size
        for folder in (sd.model, sd.controlnet)
        for path in folder.rglob("*.safetensors")
    )
    # Files hold float32 and a header of names.
    assert 0.8 * numbers < before - after <= numbers
    assert after > 0


def out_of_memory_above(monkeypatch: pytest.MonkeyPatch, most: int) -> list[int]:
    """Let the UNet run out of memory above so many images (each counts twice, for guidance)."""
    import diffusers

    forward = diffusers.UNet2DConditionModel.forward
    tried: list[int] = []

    def limited(self: Any, sample: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        tried.append(len(sample) // 2)
        if tried[-1] > most:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate.")
        return forward(self, sample, *args, **kwargs)

    monkeypatch.setattr(diffusers.UNet2DConditionModel, "forward", limited)
    return tried


def test_batches_shrink_where_memory_runs_out(
    sd: Pair, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = sd.draw(photo, n=5, batch=4, latents="distinct")
    tried = out_of_memory_above(monkeypatch, 2)
    assert (sd.draw(photo, n=5, batch=4, latents="distinct") - whole).abs().max() <= 1
    assert tried == [4, 2, 2, 2, 2, 1, 1]  # two steps a batch


def test_one_variant_that_does_not_fit_is_an_error(
    sd: Pair, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out_of_memory_above(monkeypatch, 0)
    with pytest.raises(covary.MemoryBudgetError, match="lower size, set offload"):
        sd.draw(photo, batch=2)


def test_an_overflow_is_named(sd: Pair, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import diffusers

    def overflow(self: Any, latents: torch.Tensor, **_: Any) -> tuple[torch.Tensor]:
        return (torch.full((len(latents), 3, 32, 32), float("nan")),)

    monkeypatch.setattr(diffusers.AutoencoderKL, "decode", overflow)
    with pytest.raises(covary.InputError, match="set dtype='bfloat16' or dtype='float32'"):
        sd.draw(photo)


def test_a_run_can_be_stopped_between_steps_and_begun_again(sd: Pair, photo: Path) -> None:
    source = covary.create("controlnet", **sd.params(batch=1, steps=3))
    stage = covary.RunContext(seed=1).at("source", source.id)
    calls: list[tuple[int, int, str]] = []

    def stop(*step: Any) -> None:
        calls.append(step)
        if calls.count((1, 3, "diffusing")) == 2:  # inside the second variant
            raise KeyboardInterrupt

    query = covary.Query(paths=(photo,))
    stopped = covary.RunContext(seed=1, stage=stage.stage, progress=stop)
    variants = source.open(query, stopped)
    done = [next(variants.batches).images]
    with pytest.raises(KeyboardInterrupt):
        next(variants.batches)
    again = torch.cat([batch.images for batch in source.open(query, stage).batches])
    assert len(again) == 3
    assert torch.equal(again[:1], done[0])


def test_the_libraries_keep_silent_and_get_their_voices_back(
    sd: Pair, photo: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from diffusers.utils import logging as diffusers_log
    from transformers.utils import logging as transformers_log

    diffusers_log.set_verbosity_info()
    transformers_log.set_verbosity_info()
    diffusers_log.enable_progress_bar()
    transformers_log.enable_progress_bar()
    sd.draw(photo, strength=0.5)
    assert capfd.readouterr() == ("", "")
    assert diffusers_log.get_verbosity() == logging.INFO
    assert transformers_log.get_verbosity() == logging.INFO
    assert transformers_log.is_progress_bar_enabled()
    assert diffusers_log._tqdm_active
    diffusers_log.set_verbosity_warning()
    transformers_log.set_verbosity_warning()


def test_long_prompts_get_a_warning(sd: Pair, photo: Path) -> None:
    prompts = ("a cat " * 40, "a cat", "a red cat")
    (warning,) = sd.open(photo, prompts=prompts).warnings
    assert re.match(r"1 of the prompts are longer than the 77 tokens", warning)
    assert sd.open(photo).warnings == ()


def test_grey_and_transparent_photos(sd: Pair, photo: Path, tmp_path: Path) -> None:
    from PIL import Image

    for mode in ("L", "RGBA"):
        path = tmp_path / f"{mode}.png"
        Image.open(photo).convert(mode).save(path)
        assert sd.open(path).image.shape == (3, 32, 32)


@pytest.mark.parametrize("package", ["diffusers", "transformers"])
def test_missing_packages_are_named_with_the_install_line(
    sd: Pair, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == package else find(name)
    )
    with pytest.raises(covary.MissingPackageError, match=rf"{package}; run: .*\[controlnet\]"):
        covary.create("controlnet", **sd.params())
