"""Generators of every kind against the papers' formulas, computed in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from covary.errors import CheckpointError, InputError
from covary_bench import naive
from covary_plugins.stylegan2 import Architecture, Generator, Prefix

CLASSES = 5


def _random(kind: Any = "skip", *, c_dim: int = 0, clamp: float | None = None) -> Generator:
    """A 32x32 generator whose every parameter is drawn, with a mean code."""
    torch.manual_seed(0)
    architecture = Architecture(
        mapping_widths=(12, 16, 16),
        channels=(12, 10, 8, 6),
        conv_clamp=clamp,
        kind=kind,
        c_dim=c_dim,
        embed_features=7 if c_dim else 0,
    )
    generator = Generator(architecture)
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        generator.mapping.w_avg.normal_()
    return Generator.from_state_dict(generator.state_dict(), architecture.init_kwargs())


def _expected(generator: Generator, ws: Tensor, **options: Any) -> Tensor:
    architecture = generator.architecture
    return naive.synthesis(
        generator.state_dict(),
        ws.double(),
        kind=architecture.kind,
        clamp=architecture.conv_clamp,
        **options,
    ).float()


@pytest.mark.parametrize("kind", ["skip", "resnet", "orig"])
@pytest.mark.parametrize("clamp", [None, 1.5])
@pytest.mark.parametrize("batch", [1, 3])
def test_synthesis(kind: str, clamp: float | None, batch: int) -> None:
    generator = _random(kind, clamp=clamp)
    # Codes that differ from layer to layer, so that each is seen to reach its layer.
    ws = torch.randn(batch, generator.num_ws, generator.w_dim)
    image = generator.synthesis(ws)
    torch.testing.assert_close(image, _expected(generator, ws), atol=1e-4, rtol=1e-5)
    silent = generator.synthesis(ws, noise="none")
    expected = _expected(generator, ws, noise=False)
    torch.testing.assert_close(silent, expected, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("kind", ["resnet", "orig"])
def test_every_cutoff_shares_its_prefix(kind: str) -> None:
    generator = _random(kind)
    ws = generator.mapping(torch.randn(3, generator.z_dim))
    for c in range(generator.num_ws + 1):
        mixed = generator.style_mix(ws[:1], ws[1:], c)
        prefix = generator.prefix(ws[:1], c)
        mixed[:, :c] = float("nan")  # what the prefix holds must not be read again
        image = generator.synthesis(mixed, prefix=prefix)
        expected = _expected(generator, generator.style_mix(ws[:1], ws[1:], c))
        torch.testing.assert_close(image, expected, atol=1e-4, rtol=1e-5)


def test_a_prefix_ends_inside_a_residual_block() -> None:
    generator = _random("resnet")
    ws = generator.mapping(torch.randn(1, generator.z_dim))
    inside = [generator.prefix(ws, c).residual is not None for c in range(generator.num_ws + 1)]
    assert inside[2:] == [True, False] * 3 + [False]


def test_classes() -> None:
    generator = _random(c_dim=CLASSES)
    assert generator.c_dim == CLASSES
    z, classes = torch.randn(4, generator.z_dim), torch.tensor([0, 4, 2, 4])
    ws = generator.mapping(z, label=classes)
    expected = naive.mapping(
        generator.state_dict(), z.double(), generator.num_ws, classes=classes
    ).float()
    torch.testing.assert_close(ws, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(generator.mapping(z[1:2], label=4), ws[1:2])
    assert not torch.allclose(generator.mapping(z, label=1), generator.mapping(z, label=3))
    # Truncation goes towards the one mean code, whatever the class.
    torch.testing.assert_close(
        generator.mapping(z, 0.5, label=classes), (ws + generator.mapping.w_avg) / 2
    )


@pytest.mark.parametrize(
    "label", [None, CLASSES, -1, 1.0, True, torch.tensor([0, 1]), torch.tensor([0.0] * 3)]
)
def test_a_class_that_is_none(label: Any) -> None:
    generator = _random(c_dim=CLASSES)
    with pytest.raises(InputError, match=r"class in 0\.\.4"):
        generator.mapping(torch.randn(3, generator.z_dim), label=label)


def test_a_class_where_there_are_none() -> None:
    generator = _random()
    with pytest.raises(InputError, match="no classes"):
        generator.mapping(torch.randn(3, generator.z_dim), label=0)


@pytest.mark.parametrize("kind", ["skip", "resnet", "orig"])
def test_settings_survive(kind: Any) -> None:
    architecture = Architecture(
        (8, 16),
        (8, 8),
        conv_clamp=3.0,
        lr_multiplier=0.02,
        kind=kind,
        c_dim=3,
        embed_features=5,
        num_fp16_res=2,
    )
    state = Generator(architecture).state_dict()
    again = Generator.from_state_dict(state, architecture.init_kwargs())
    assert again.architecture == architecture


@pytest.mark.parametrize(
    ("settings", "count"),
    [
        ({"num_fp16_res": 3}, 3),
        ({"num_fp16_res": 3, "use_fp16": False}, 0),
        ({"use_fp16": True}, 4),
        ({"num_fp16_res": None}, 0),
        ({}, 0),
    ],
)
def test_float16_policy_is_recorded(settings: dict[str, Any], count: int) -> None:
    state = Generator(Architecture((8, 8), (8, 8))).state_dict()
    generator = Generator.from_state_dict(state, {"synthesis_kwargs": settings})
    assert generator.architecture.num_fp16_res == count


@pytest.mark.parametrize("kind", ["resnet", "orig"])
def test_settings_that_contradict_the_tensors(kind: Any) -> None:
    state = Generator(Architecture((8, 8), (8, 8), kind=kind)).state_dict()
    with pytest.raises(CheckpointError, match=f"expected {kind}.*'skip'"):
        Generator.from_state_dict(state, {"synthesis_kwargs": {"architecture": "skip"}})


@pytest.mark.parametrize("kind", ["skip", "resnet", "orig"])
def test_gradients_reach_every_parameter(kind: Any) -> None:
    generator = Generator(Architecture((8, 8), (8, 8, 4), kind=kind, c_dim=2, embed_features=4))
    ws = generator.mapping(torch.randn(2, 8), label=torch.tensor([0, 1]))
    generator.synthesis(ws, "random").square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in generator.parameters())


def test_a_residual_prefix_is_data() -> None:
    generator = _random("resnet")
    prefix = generator.prefix(torch.zeros(generator.num_ws, generator.w_dim), 2)
    assert isinstance(prefix, Prefix)
    assert prefix.residual is not None
    # conv0 of 8x8 is done and conv1 is not: the link waits, at the size of the block's output.
    assert prefix.residual.shape == (1, 10, 8, 8)
