"""What files and mappings hold: ReStyle's checkpoints, and what is mistaken for them."""

from __future__ import annotations

import json
import os
import re
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import safetensors

from covary.errors import CheckpointError
from covary_plugins.checkpoints import Network, listed, read_checkpoint, sniff

__all__ = ["OPTIONS_FIX", "Parts", "at", "read_parts", "single_pass"]

OPTIONS_FIX = "pass the options that belong to this checkpoint"

_EXPECTED = "a ReStyle checkpoint, with tensors 'encoder.*' and usually 'decoder.*'"
_OPTIONS: Mapping[str, type] = {
    "dataset_type": str,
    "decoder": str,
    "encoder_type": str,
    "input_nc": int,
    "input_size": int,
    "n_iters_per_batch": int,
    "output_size": int,
}
"""Options that mean something here; training scripts store many more."""
_GENERATOR = re.compile(
    r"(G|D|G_ema|g_ema|g|generator)$|(synthesis|mapping|style|convs|to_rgbs|input|noises)\."
)
_PYRAMID = re.compile(r"encoder\.latlayer\d\.")


@dataclass(frozen=True, slots=True)
class Parts:
    """What a ReStyle checkpoint holds, before any network is built."""

    encoder: Mapping[str, Any]
    """Tensors, or lazy ones of `covary_plugins.checkpoints`, without the prefix ``encoder.``."""
    decoder: Mapping[str, Any] = field(default_factory=dict)
    """The same of the generator; empty where there is only an encoder."""
    latent_avg: Any = None
    """The mean code (S, W) or (W,), or None."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """The training options that matter; see `load_inverter`."""

    @property
    def decoder_name(self) -> str | None:
        """Name in the catalogue of the generator to use, where there is only an encoder."""
        return None if self.decoder else self.options.get("decoder")


def read_parts(
    source: str | os.PathLike[str] | Mapping[str, Any],
    opts: Mapping[str, Any] | Namespace | None = None,
) -> Parts:
    """The parts of a checkpoint, as `load_inverter` understands it; tensors stay in the file.

    Raises:
        CheckpointError: not a ReStyle checkpoint, or options of the wrong types.
    """
    if isinstance(source, Mapping):
        parts = _parts(source)
    else:
        path = Path(source)
        tree = _read(path)
        try:
            parts = _parts(tree)
        except CheckpointError as error:
            raise at(path, error) from error
    return replace(parts, options={**parts.options, **_options(opts)})


def at(place: Path | str, error: CheckpointError) -> CheckpointError:
    """The same error, with the place where it arose."""
    return CheckpointError(
        f"{place}: {error.what}", expected=error.expected, got=error.got, fix=error.fix
    )


def single_pass(got: str) -> CheckpointError:
    """The error to raise for an encoder that does not refine."""
    return CheckpointError(
        "the encoder",
        expected="a ReStyle encoder, which sees a photo beside its reconstruction (6 channels)",
        got=f"{got}, as in plain e4e (encoder4editing) and pSp",
        fix="those invert in a single pass and are not supported: use ReStyle's own e4e or pSp "
        "checkpoint of the same domain, or the source `project` with the generator",
    )


def _read(path: Path) -> Any:
    """The contents of a file of either format; tensors of pickles stay in it until they load."""
    if sniff(path).kind != "safetensors":
        return read_checkpoint(path, wanted=_EXPECTED)
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get("opts", "{}")
            tree = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, OSError) as error:
        raise CheckpointError(
            str(path),
            expected=_EXPECTED,
            got=f"a damaged or cut-off file ({error})",
            fix="get the file again",
        ) from error
    try:
        return {"state_dict": tree, "opts": json.loads(text)}
    except (ValueError, RecursionError):
        raise CheckpointError(
            f"{path}: metadata 'opts'", expected="a JSON object", got=text[:40], fix=OPTIONS_FIX
        ) from None


def _parts(tree: Any) -> Parts:
    """The parts of ``tree``: a whole checkpoint, or a bare state dict."""
    if isinstance(tree, Sequence) and any(isinstance(part, Network) for part in tree):
        raise _generator()  # (G, D, Gs) of the TensorFlow era
    if not isinstance(tree, Mapping):
        raise CheckpointError("the contents", expected=_EXPECTED, got=type(tree).__name__)
    whole = "state_dict" in tree
    state = tree["state_dict"] if whole else tree
    if not isinstance(state, Mapping):
        got = f"a 'state_dict' that is a {type(state).__name__}"
        raise CheckpointError("the contents", expected=_EXPECTED, got=got)
    beside = {"latent_avg", "opts"}
    tensors = {str(name): value for name, value in state.items() if name not in beside}
    _refuse_others(tensors)
    latent_avg = tree.get("latent_avg")
    return Parts(
        encoder=_under("encoder.", tensors),
        decoder=_under("decoder.", tensors),
        latent_avg=state.get("latent_avg") if latent_avg is None else latent_avg,
        options=_options(tree.get("opts")),
    )


def _refuse_others(tensors: Mapping[str, Any]) -> None:
    if any(map(_PYRAMID.match, tensors)):
        raise single_pass("one with a feature pyramid")
    foreign = sorted(name for name in tensors if not name.startswith(("encoder.", "decoder.")))
    if not any(name.startswith("encoder.") for name in tensors):
        if any(map(_GENERATOR.match, foreign)) or len(foreign) < len(tensors):
            raise _generator()
        raise CheckpointError(
            "the contents",
            expected=_EXPECTED,
            got=listed(foreign, "nothing"),
            fix="check that it is the right file",
        )
    if foreign:
        raise CheckpointError(
            "the state dict",
            expected="tensors under 'encoder.' and 'decoder.' only",
            got=f"also {listed(foreign)}",
            fix="pass the state dict of a ReStyle encoder",
        )


def _generator() -> CheckpointError:
    return CheckpointError(
        "the contents",
        expected=_EXPECTED,
        got="a generator without an encoder",
        fix="give it as `decoder` beside an encoder's checkpoint, or use it with the source "
        "`stylegan2` for seeds or `project` for photos",
    )


def _options(opts: Any) -> dict[str, Any]:
    """The options that matter, of the right types."""
    opts = vars(opts) if isinstance(opts, Namespace) else opts
    if opts is None:
        return {}
    if not isinstance(opts, Mapping):
        got = type(opts).__name__
        raise CheckpointError("opts", expected="a mapping of options", got=got, fix=OPTIONS_FIX)
    known = {name: opts[name] for name in _OPTIONS if opts.get(name) is not None}
    for name, value in known.items():
        wanted = _OPTIONS[name]
        fits = isinstance(value, wanted) and not isinstance(value, bool)
        if not fits or (isinstance(value, int) and value < 1):
            expected = "text" if wanted is str else "a positive integer"
            raise CheckpointError(
                f"option {name!r}", expected=expected, got=repr(value)[:60], fix=OPTIONS_FIX
            )
    return known


def _under(prefix: str, tensors: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }
