"""Masks of whole images: generated ones, rendered ones, and photos of rendered ones.

Stands for the paper's Table 1 (synthetic images and inverted photos), on data that anyone can make
again. Three parts:

`generated`: images of a StyleGAN2 generator, the preset `avatars` unless another is named. No exact
mask exists; a network says where the content is, `worlds-unet` unless another is named. Its own
skill on rendered avatars stands beside, and no row can be trusted beyond it. Ours are the preset
and the same with one thing changed; the baselines look at the same images of the same seeds.
`datasetgan` learns from 16 images that the judge itself has labelled; `sis-oracle` chooses its
clusters by the judge's masks.

`rendered`: avatars of the renderer, varied by the renderer, against exact masks.

`photos`: rendered avatars written as PNG files, inverted into the bundled generator by the preset
`avatars-photo`, against exact masks. Beside them one mask for all that looks at no photo (each
pixel's majority over 500 further avatars), and `worlds-unet`, which was trained on exact masks.

IoU of foreground and background and their mean (mIoU); the same inside the band of 3 pixels on
either side of the true outline (trimap, Euclidean distance); boundary IoU (Cheng et al. 2021, 2 %
of the diagonal). "None found" counts as an empty mask; `found_only` leaves such images out, as the
paper does. Means over images, the spread of the mIoU beside them; `differences` are means of the
mIoU of `preset` less that of each other row, image by image, with 95 % intervals. Seeds start at
1000: smaller ones were used while presets and baselines were chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property, lru_cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

import covary
from covary.testing import worlds

from ..avatars.photos import majority_mask
from .figures import Figures, compare, difference, summarise
from .pairs import photo_file
from .pictures import Row, save_rows, scaled, shown
from .reference import Reference, exact_mask
from .remembering import Remembering
from .study import Study, told

if TYPE_CHECKING:
    from ..baselines import Baseline, FrozenGenerator

__all__ = [
    "Answer",
    "Method",
    "Part",
    "fit",
    "generated",
    "generator_of",
    "inverting",
    "labelled_photos",
    "own_photos",
    "photos",
    "rendered",
    "run",
    "worlds_pipeline",
]

_PHOTOS = (".jpg", ".jpeg", ".png", ".webp")
_SHOWN = 6
_TILE = 64


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What a method makes of one image."""

    image: Tensor
    """uint8 (3, H, W)."""
    mask: Tensor
    """bool (H, W)."""
    found: bool = True


@dataclass(frozen=True, slots=True)
class Method:
    """One row of the table."""

    name: str
    kind: str
    """``ours``, ``baseline``, ``supervised`` or ``blind``."""
    answer: Callable[[int], Answer]
    """Called with a seed, or with the number of a photo."""


@dataclass(frozen=True, slots=True)
class Part:
    """Rows that are measured on the same images."""

    name: str
    keys: Sequence[int]
    """The seeds, or the numbers of the photos."""
    truth: Callable[[int, Tensor], Tensor]
    """The true mask, bool (H, W), of a key and its image."""
    methods: Sequence[Method]
    about: Mapping[str, Any] = field(default_factory=dict)
    """For the results: what was measured, as plain data."""

    def measure(self, key: int) -> dict[str, Any]:
        """The figures of every method for one image."""
        found = {}
        for method in self.methods:
            answer = method.answer(key)
            truth = self.truth(key, answer.image)
            found[method.name] = compare(answer.mask, truth, answer.found).data()
        return found

    def rows(self, entries: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The rows of the table, of what `measure` gave for each key."""
        return [
            {
                "what": method.name,
                "kind": method.kind,
                **summarise([Figures(**entry[method.name]) for entry in entries]),
            }
            for method in self.methods
        ]

    def differences(self, entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """How much better the first method's mIoU is than each other's, on the same images."""
        first, *others = (
            (method.name, [entry[method.name]["miou"] for entry in entries])
            for method in self.methods
        )
        return {name: asdict(difference(first[1], mious)) for name, mious in others}

    def pictures(self, count: int = _SHOWN) -> Iterator[Row]:
        """The first images, the true masks and those of every method."""
        keys = self.keys[:count]
        for index, method in enumerate(self.methods):
            answers = [method.answer(key) for key in keys]
            if index == 0:
                truths = [self.truth(k, one.image) for k, one in zip(keys, answers, strict=True)]
                images = [one.image for one in answers]
                yield Row("what counts as true", _tiles(images, truths), self.name)
            masks = [one.mask for one in answers]
            yield Row(method.name, _tiles([one.image for one in answers], masks), self.name)


def _tiles(images: Sequence[Tensor], masks: Sequence[Tensor]) -> list[Tensor]:
    return [shown(image, mask, _TILE) for image, mask in zip(images, masks, strict=True)]


def generated(
    pipe: covary.Pipeline,
    reference: Reference,
    seeds: range,
    baselines: Sequence[str],
    work: Path,
) -> Part:
    """Images of a generator, judged by a network."""
    ours = [Method(name, "ours", _segmented(one)) for name, one in variations(pipe).items()]
    fitted = [_Fitted(name, pipe, reference, work / "baselines" / name) for name in baselines]
    methods = [*ours, *(Method(one.name, "baseline", one.answer) for one in fitted)]
    about = {"recipe": pipe.recipe.model_dump(mode="json"), "judge": reference.about()}
    return Part("generated", seeds, lambda _, image: reference.mask(image), methods, about)


def worlds_pipeline(side: int, device: str) -> covary.Pipeline:
    """The preset `worlds`, its images ``side`` pixels wide."""
    pipe = covary.Pipeline.preset("worlds", device=device)
    source = pipe.recipe.source
    return pipe.replace(source=(source.use, {**source.params, "resolution": side}))


def inverting(preset: str | None, device: str) -> covary.Pipeline:
    """The preset that inverts photos.

    Raises:
        InputError: none is named, or it takes no files.
    """
    pipe = None if preset is None else covary.Pipeline.preset(preset, device=device)
    if pipe is None or "files" not in pipe.source.accepts:
        raise covary.InputError(
            "--photo-preset",
            expected="a preset that inverts photos into the generator that is measured",
            got="none" if pipe is None else f"{preset}, whose source is {pipe.source.id}",
            fix="put one with the source restyle or project into a catalogue of your own",
        )
    return pipe


def rendered(pipe: covary.Pipeline, seeds: range, side: int) -> Part:
    """Scenes varied by the renderer, against exact masks."""
    methods = [Method(name, "ours", _segmented(one)) for name, one in variations(pipe).items()]
    about = {"recipe": pipe.recipe.model_dump(mode="json")}
    return Part(
        "rendered", seeds, lambda seed, _: exact_mask("avatars", seed, side), methods, about
    )


def photos(pipe: covary.Pipeline, supervised: Reference, seeds: range, folder: Path) -> Part:
    """Rendered scenes as files, inverted, against exact masks.

    Args:
        pipe: takes files.
        supervised: a network that sees the same photos.
        seeds: of the scenes.
        folder: for the files.
    """
    same = majority_mask(range(500, 1000))
    side = same.shape[0]

    def blind(seed: int) -> Answer:
        return Answer(_photo(seed, side), same)

    def network(seed: int) -> Answer:
        image = _photo(seed, side)
        return Answer(image, supervised.mask(image))

    def inverted(one: covary.Pipeline) -> Callable[[int], Answer]:
        return lambda seed: _answer(one(_photo_file(seed, side, folder), seed=seed))

    methods = [
        *(Method(name, "ours", inverted(one)) for name, one in variations(pipe).items()),
        Method("the same mask for all", "blind", blind),
        Method(supervised.spec.use, "supervised", network),
    ]
    about = {"recipe": pipe.recipe.model_dump(mode="json")}
    return Part("photos", seeds, lambda seed, _: exact_mask("avatars", seed, side), methods, about)


def own_photos(pipe: covary.Pipeline, folder: Path, reference: Reference) -> Part:
    """Photos in a folder, inverted; a network judges what the pipeline cut from them.

    Raises:
        InputError: there are none.
    """
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in _PHOTOS)
    if not files:
        raise covary.InputError(
            f"photos in {folder}", expected=f"files ending in {', '.join(_PHOTOS)}", got="none"
        )

    def inverted(one: covary.Pipeline) -> Callable[[int], Answer]:
        return lambda number: _answer(one(files[number], seed=number))

    methods = [Method(name, "ours", inverted(one)) for name, one in variations(pipe).items()]
    about = {
        "recipe": pipe.recipe.model_dump(mode="json"),
        "judge": reference.about(),
        "files": [path.name for path in files],
    }
    return Part(
        "own photos", range(len(files)), lambda _, image: reference.mask(image), methods, about
    )


def labelled_photos(pipe: covary.Pipeline, root: Path, count: int) -> Part:
    """The first photos of CelebAMask-HQ, inverted, against the masks that people drew.

    All its parts, from hair to clothes, are the content. Masks are compared at the size of theirs.

    Args:
        pipe: takes files.
        root: the folder of images and masks.
        count: how many; all if there are fewer.

    Raises:
        InputError: no images there.
    """
    from covary.evaluation.inputs import CelebAMaskHQ

    entries = list(islice(CelebAMaskHQ(root).entries(), count))

    @lru_cache(maxsize=1)  # every method asks for it, and it is in some ten files
    def content(number: int) -> Tensor:
        return entries[number].load().labels > 0

    def truth(number: int, _: Tensor | None = None) -> Tensor:
        return content(number)

    def inverted(one: covary.Pipeline) -> Callable[[int], Answer]:
        def answer(number: int) -> Answer:
            file = photo_file(root / "CelebA-HQ-img", entries[number].name)
            result = one(file, seed=number)
            if result.crop is None:
                image, mask = result.image, result.mask
            else:  # back to the photo, where the people's mask is
                image, mask = result.crop.photo.cpu(), result.photo_mask
            return Answer(image, scaled(mask, truth(number).shape), result.found)

        return answer

    methods = [Method(name, "ours", inverted(one)) for name, one in variations(pipe).items()]
    about = {"recipe": pipe.recipe.model_dump(mode="json"), "photos": len(entries)}
    return Part("labelled photos", range(len(entries)), truth, methods, about)


def variations(pipe: covary.Pipeline) -> dict[str, covary.Pipeline]:
    """The pipeline as it is, then with one thing changed that the paper discusses.

    All of them see the same variants of an image, which are drawn once.
    """
    pipe = pipe.replace(source=Remembering(pipe.source))
    changed = {
        "k = auto": pipe.replace(clusterer=("lloyd", {"k": "auto"})),
        "rule border": pipe.replace(foreground=("border", {"sides": "upper"})),
        "rule corner": pipe.replace(foreground=("corner", {"corners": "upper"})),
        "rule saliency": pipe.replace(foreground="saliency"),
    }
    others = {name: one for name, one in changed.items() if one.recipe != pipe.recipe}
    return {"preset": pipe, **others}


class _Fitted:
    """A baseline that is fitted when its first mask is asked for."""

    def __init__(
        self, name: str, pipe: covary.Pipeline, reference: Reference, folder: Path
    ) -> None:
        self.name = name
        self._pipe, self._reference, self._folder = pipe, reference, folder

    def answer(self, seed: int) -> Answer:
        images, masks = self._baseline.masks([seed])
        return Answer(images[0], masks[0])

    @cached_property
    def _baseline(self) -> Baseline:
        return fit(self.name, self._pipe, self._reference, self._folder)


def fit(name: str, pipe: covary.Pipeline, reference: Reference, folder: Path | None) -> Baseline:
    """The baseline of that name, fitted to the generator of a pipeline.

    Raises:
        InputError: the pipeline's source is no StyleGAN2 generator.
    """
    from ..baselines import create

    baseline = create(name)

    def report(what: str, done: int, steps: int) -> None:
        told(f"fitting {name}", steps)(what, done)

    generator = generator_of(pipe.recipe)
    baseline.fit(generator, label=reference.masks, folder=folder, report=report)
    return baseline


def generator_of(recipe: covary.Recipe) -> FrozenGenerator:
    """The generator of a pipeline, as baselines look at it.

    Raises:
        InputError: the pipeline's source is no StyleGAN2 generator.
    """
    from ..baselines import FrozenGenerator

    source = recipe.source
    if source.use != "covary/stylegan2":
        raise covary.InputError(
            "baselines",
            expected="a pipeline whose source is stylegan2",
            got=source.use,
            fix="choose another preset, or leave baselines out",
        )
    params = source.params
    return FrozenGenerator(params["checkpoint"], params["psi"], params["max_resolution"])


def _segmented(pipe: covary.Pipeline) -> Callable[[int], Answer]:
    return lambda seed: _answer(pipe(seed=seed))


def _answer(result: covary.Segmentation) -> Answer:
    return Answer(result.image, result.mask, result.found)


def _photo(seed: int, side: int) -> Tensor:
    image: Tensor = worlds.get("avatars").scene(seed, (side, side)).images(seed)[0]
    return image


def _photo_file(seed: int, side: int, folder: Path) -> Path:
    from covary.files import output_folder

    path = output_folder(folder) / f"{seed}-{side}.png"
    if not path.exists():
        covary.write_png(_photo(seed, side), path)
    return path


def run(study: Study, parts: Sequence[Part], extra: Mapping[str, Any]) -> dict[str, Any]:
    """Measure the parts, draw their first images, write the results.

    Args:
        study: where and on what.
        parts: of the table.
        extra: for the results, e.g. the judge's skill.
    """
    found = {}
    by_key = {f"{part.name} {key}": (part, key) for part in parts for key in part.keys}

    def one(name: str) -> Any:
        part, key = by_key[name]
        return part.measure(key)

    about = {
        part.name: {**part.about, "methods": [method.name for method in part.methods]}
        for part in parts
    }
    for part in parts:
        # What is missing for a later part shows now, and not after hours of an earlier one.
        part.methods[0].answer(part.keys[0])
    entries = dict(zip(by_key, study.measure(by_key, one, about), strict=True))
    for part in parts:
        own = [entries[f"{part.name} {key}"] for key in part.keys]
        found[part.name] = {
            **part.about,
            "rows": part.rows(own),
            "differences": part.differences(own),
        }
    rows = [row for part in parts for row in part.pictures()]
    sheet = save_rows(rows, study.out / f"{study.name}.webp")
    data = {**extra, "parts": found, "pictures": sheet}
    study.write(data, __doc__)
    return data
