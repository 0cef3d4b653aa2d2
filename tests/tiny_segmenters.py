"""Tiny random segmenters, saved to disk as published ones are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

LABELS = ("wall", "sofa, couch, lounge", "coffee table, cocktail table", "table", "person", "lamp")


def save(kind: str, folder: Path, labels: tuple[str, ...] = LABELS) -> None:
    """A network with random weights, the same ones every time, and its processor."""
    model, processor = MAKERS[kind](dict(enumerate(labels)))
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


def _seeded(make: Callable[[], torch.nn.Module]) -> Any:
    """The network, with weights random enough for it to see several classes in an image."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        model = make().train()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
            for module in model.modules():
                if isinstance(module, torch.nn.BatchNorm2d):
                    module.momentum = 1.0  # statistics of the one batch that follows
            coarse = torch.rand(4, 3, 8, 8) * 2 - 1
            images = torch.nn.functional.interpolate(coarse, scale_factor=8, mode="bilinear")
            model(images)
            model.eval()
            if hasattr(model, "segmentation_head"):  # no class may be ahead everywhere
                means = model(images).logits.mean(dim=(0, 2, 3))
                model.segmentation_head.classifier.convolution.bias -= means
    return model


def _swin(window: int = 2) -> Any:
    import transformers

    return transformers.SwinConfig(
        image_size=64,
        embed_dim=8,
        depths=[1, 1, 1, 1],
        num_heads=[1, 1, 2, 2],
        window_size=window,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )


def _upernet(labels: dict[int, str]) -> tuple[Any, Any]:
    import transformers

    config = transformers.UperNetConfig(
        backbone_config=_swin(),
        hidden_size=16,
        pool_scales=[1, 2],
        use_auxiliary_head=False,
        id2label=labels,
    )
    return (
        _seeded(lambda: transformers.UperNetForSemanticSegmentation(config)),
        transformers.SegformerImageProcessorPil(size={"height": 64, "width": 64}),
    )


def _mobilenet_v2(labels: dict[int, str]) -> tuple[Any, Any]:
    import transformers

    config = transformers.MobileNetV2Config(
        depth_multiplier=0.25, output_stride=8, image_size=65, id2label=labels
    )
    return (
        _seeded(lambda: transformers.MobileNetV2ForSemanticSegmentation(config)),
        # Published ones too scale to more than they keep.
        transformers.MobileNetV2ImageProcessorPil(
            size={"shortest_edge": 73}, crop_size={"height": 65, "width": 65}
        ),
    )


def _mobilevit(labels: dict[int, str]) -> tuple[Any, Any]:
    import transformers

    config = transformers.MobileViTConfig(
        image_size=64,
        hidden_sizes=[8, 8, 8],
        neck_hidden_sizes=[8, 8, 8, 8, 8, 8, 16],
        num_attention_heads=2,
        aspp_out_channels=16,
        atrous_rates=[1, 2, 3],
        id2label=labels,
    )
    return (
        _seeded(lambda: transformers.MobileViTForSemanticSegmentation(config)),
        transformers.MobileViTImageProcessorPil(
            size={"shortest_edge": 68}, crop_size={"height": 64, "width": 64}
        ),
    )


def _mask2former(labels: dict[int, str]) -> tuple[Any, Any]:
    import transformers

    config = transformers.Mask2FormerConfig(
        backbone_config=_swin(),
        feature_size=32,
        mask_feature_size=32,
        hidden_dim=32,
        encoder_feedforward_dim=16,
        dim_feedforward=16,
        encoder_layers=1,
        decoder_layers=2,
        num_attention_heads=2,
        num_queries=8,
        feature_strides=[4, 8, 16, 32],
        id2label=labels,
    )
    return (
        _seeded(lambda: transformers.Mask2FormerForUniversalSegmentation(config)),
        transformers.Mask2FormerImageProcessorPil(
            size={"shortest_edge": 64, "longest_edge": 128}, size_divisor=32
        ),
    )


MAKERS: dict[str, Callable[[dict[int, str]], tuple[Any, Any]]] = {
    "upernet": _upernet,
    "mobilenet_v2": _mobilenet_v2,
    "mobilevit": _mobilevit,
    "mask2former": _mask2former,
}
