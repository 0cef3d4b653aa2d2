"""What there is to say of a sample beside its pictures, as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from covary import Box, InputError, Sample, SampleObject

if TYPE_CHECKING:
    from ._pictures import Maps

__all__ = ["as_json", "parsed", "record_of", "sample_of"]


def record_of(sample: Sample) -> dict[str, Any]:
    """Key, seed, metadata, and the objects where the data set has instances, as plain data."""
    record = {"key": sample.key, "seed": sample.seed, "metadata": dict(sample.metadata)}
    if sample.instances is not None:
        record["objects"] = [
            {"category": one.category, "box": list(one.box.corners), "score": one.score}
            for one in sample.objects
        ]
    return record


def as_json(data: Any, what: str) -> str:
    """``data`` on one line of JSON, in one order.

    Raises:
        InputError: something that JSON does not hold.
    """
    try:
        return json.dumps(data, ensure_ascii=False, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(what, expected="plain data", got=str(error)) from error


def parsed(text: str | bytes, what: str) -> dict[str, Any]:
    """The object that a text of JSON holds.

    Raises:
        InputError: it holds none.
    """
    try:
        data = json.loads(text)
    except ValueError as error:
        raise InputError(what, expected="JSON", got=str(error)) from error
    if not isinstance(data, dict):
        raise InputError(what, expected="an object of JSON", got=type(data).__name__)
    return data


def sample_of(record: Mapping[str, Any], maps: Maps, what: str) -> Sample:
    """The sample of a record and its tensors.

    Raises:
        InputError: they are damaged or do not belong together.
    """
    try:
        objects = tuple(
            SampleObject(one["category"], Box(*one["box"]), one["score"])
            for one in record.get("objects", ())
        )
        key, seed, metadata = record["key"], record["seed"], record["metadata"]
    except (KeyError, TypeError) as error:
        raise InputError(
            f"record of {what}", expected="what covary wrote", got=repr(error)
        ) from error
    return Sample(key, seed, *maps, objects, metadata)
