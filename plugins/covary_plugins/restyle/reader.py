"""Inverters from ReStyle's checkpoints."""

from __future__ import annotations

import math
import os
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import covary
from covary.errors import CheckpointError
from covary_plugins.checkpoints import load_tensors
from covary_plugins.stylegan2 import Generator, load_generator

from .contents import OPTIONS_FIX, Parts, at, read_parts, single_pass
from .encoders import build_encoder
from .inverter import Inverter, mean_code

__all__ = ["build_inverter", "load_inverter"]

_AGAIN = "the file seems damaged; get it again"


def load_inverter(
    path_or_state: str | os.PathLike[str] | Mapping[str, Any],
    opts: Mapping[str, Any] | Namespace | None = None,
    *,
    decoder: Generator | None = None,
) -> Inverter:
    """The encoder and decoder of a ReStyle checkpoint, on the CPU, float32, ready to invert.

    Reading runs no code from the file.

    Args:
        path_or_state: a ``.pt`` file as ReStyle writes it; a safetensors file with ``encoder.*``,
            ``latent_avg``, perhaps ``decoder.*``, and the options as JSON under ``opts`` in its
            metadata; the contents of either as a mapping; or the bare state dict.
        opts: training options that override those in the file. Used are ``encoder_type``,
            ``dataset_type`` (cars are cut to the middle rows), ``n_iters_per_batch`` (5),
            ``input_nc`` (6), ``output_size``, ``input_size`` (from the encoder's depth: 256) and
            ``decoder``, a generator's name in the catalogue for files that hold only an encoder.
        decoder: the generator to use instead.

    Raises:
        CheckpointError: not a ReStyle checkpoint (plain e4e or pSp, a generator, something else),
            missing or unknown tensors, options that do not fit the tensors, no decoder, or a
            decoder of other codes; the message says which, and what to do.
    """
    parts = read_parts(path_or_state, opts)
    if isinstance(path_or_state, Mapping):
        return build_inverter(parts, decoder)
    try:
        return build_inverter(parts, decoder)
    except CheckpointError as error:
        raise at(Path(path_or_state), error) from error


def build_inverter(parts: Parts, decoder: Generator | None = None) -> Inverter:
    """The inverter of ``parts``; ``decoder`` takes the place of the one in them.

    Raises:
        CheckpointError: as `load_inverter`.
    """
    options = parts.options
    encoder_state = _loaded("encoder.", parts.encoder)
    _check_channels(encoder_state, options)
    encoder = build_encoder(encoder_state, _encoder_type(options))
    _check_output_size(options, encoder.sizes.styles)
    latent_avg = None
    if parts.latent_avg is not None:
        latent_avg = mean_code(_loaded("latent_avg", parts.latent_avg), encoder)
    if decoder is None:
        decoder = _decoder(parts, latent_avg)
    return Inverter(
        encoder,
        decoder,
        _decoders_mean(decoder) if latent_avg is None else latent_avg,
        n_iters=options.get("n_iters_per_batch", 5),
        input_size=options.get("input_size"),
        is_car="cars" in options.get("dataset_type", ""),
    )


def _loaded(what: str, part: Any) -> Any:
    """``part``, tensors by name or one tensor, in memory."""
    loaded = load_tensors(part)
    for name, value in loaded.items() if isinstance(loaded, Mapping) else [("", loaded)]:
        if not isinstance(value, Tensor):
            got = type(value).__name__
            raise CheckpointError(f"'{what}{name}'", expected="a tensor", got=got, fix=_AGAIN)
        if not math.isfinite(float(value.sum(dtype=torch.float64))):
            raise CheckpointError(
                f"tensor '{what}{name}'",
                expected="finite values",
                got="NaN or infinity",
                fix=_AGAIN,
            )
    return loaded


def _encoder_type(options: Mapping[str, Any]) -> str:
    if "encoder_type" in options:
        return str(options["encoder_type"])
    raise CheckpointError(
        "option 'encoder_type'",
        expected="the class of the encoder, as pSp's and e4e's have the same tensors",
        got="none",
        fix="pass opts={'encoder_type': ...}: BackboneEncoder or ResNetBackboneEncoder (pSp), "
        "ProgressiveBackboneEncoder or ResNetProgressiveBackboneEncoder (e4e)",
    )


def _check_channels(encoder: Mapping[str, Tensor], options: Mapping[str, Any]) -> None:
    first = encoder.get("input_layer.0.weight", encoder.get("conv1.weight"))
    found = [options["input_nc"]] if "input_nc" in options else []
    if first is not None and first.ndim == 4:
        found.append(first.shape[1])
    for channels in found:
        if channels != 6:
            raise single_pass(f"one for {channels} channels")


def _check_output_size(options: Mapping[str, Any], styles: int) -> None:
    size = options.get("output_size")
    if size is not None and 2 * math.log2(size) - 2 != styles:
        raise CheckpointError(
            "option 'output_size'",
            expected=f"{2 ** (styles // 2 + 1)}, as the encoder has {styles} styles",
            got=str(size),
            fix=OPTIONS_FIX,
        )


def _decoder(parts: Parts, latent_avg: Tensor | None) -> Generator:
    if parts.decoder_name is not None:
        return load_generator(covary.checkpoint_path(parts.decoder_name))
    if not parts.decoder:
        raise CheckpointError(
            "the decoder",
            expected="tensors 'decoder.*' in the checkpoint, or a generator beside it",
            got="an encoder alone",
            fix="give the generator that it was trained for as `decoder`",
        )
    state = _loaded("decoder.", parts.decoder)
    if latent_avg is not None:
        # Appearances are truncated towards one code: where the layers' differ, their mean.
        mean = latent_avg.mean(dim=0)
        state["mapping.w_avg" if "synthesis.b4.const" in state else "latent_avg"] = mean
    try:
        return Generator.from_state_dict(state)
    except CheckpointError as error:
        raise at("the decoder", error) from error
    # Shapes of a damaged file may be of any kind, and torch has no single error for that.
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
        got = f"tensors that do not fit together ({type(error).__name__}: {error})"
        raise CheckpointError(
            "the decoder", expected="a StyleGAN2 generator", got=got, fix=_AGAIN
        ) from error


def _decoders_mean(decoder: Generator) -> Tensor:
    if decoder.mapping.has_w_avg:
        return decoder.mapping.w_avg
    raise CheckpointError(
        "latent_avg",
        expected="the mean code that the refinement starts from",
        got="none, neither in the checkpoint nor in the decoder",
        fix="pass the checkpoint as a mapping with 'latent_avg', or give a decoder that has it",
    )
