"""What made a result, and running it again."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from sklearn.metrics import adjusted_rand_score

import covary
from covary import InputError, Pipeline, PluginError
from covary._registry import registry
from covary.provenance import adjusted_rand_index, file_sha256, iou, read_provenance, rerun
from covary.testing import strategies
from plugin_factory import write_plugin
from tiny_components import Boxed, Colours, Distinct, Given, Rest, Stripes, Widened

TINY = """
import covary

@covary.hookimpl
def covary_components():
    for kind, name, target in (
        ("source", "stripes", "Stripes"),
        ("features", "colours", "Colours"),
        ("clusterer", "distinct", "Distinct"),
        ("foreground", "rest", "Rest"),
        ("detector", "given", "Given"),
        ("features", "halved", "Halved"),
        ("refiner", "widened", "Widened"),
        ("foreground", "distinct", "Boxed"),
    ):
        yield covary.Component(kind=kind, name=name, target=f"tiny_components:{target}")
"""


@pytest.fixture(autouse=True)
def _registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path / "site")
    write_plugin(tmp_path / "site", "tiny", TINY, distribution="tiny-parts", version="3.2")
    registry.cache_clear()


def pipeline(**parts: object) -> Pipeline:
    default = {
        "source": "stripes",
        "features": "colours",
        "clusterer": ("tiny/distinct", {}),
        "foreground": "rest",
    }
    return Pipeline(**{**default, **parts}, device="cpu")  # type: ignore[arg-type]


class TestContent:
    def test_is_complete(self) -> None:
        seg = pipeline(source=("stripes", {"n": 5}))(seed=9)
        data = seg.provenance
        assert data["format"] == 1
        assert data["query"] == {"seed": 9}
        assert data["seed"] == 9
        assert data["recipe"]["source"] == {
            "use": "tiny/stripes", "n": 5, "height": 12, "width": 16, "stripes": 3, "off_by": 0,
            "last_width": None,
        }  # fmt: skip
        part = {"distribution": "tiny-parts", "version": "3.2"}
        assert data["components"] == {
            "source": {"id": "tiny/stripes", **part},
            "features": {"id": "tiny/colours", **part},
            "clusterer": {"id": "tiny/distinct", **part},
            "foreground": {"id": "tiny/rest", **part},
        }
        assert data["image"] == {
            "size": [12, 16],
            "variants": 5,
            "photo": None,
            "reconstruction": False,
            "metrics": {},
            "warnings": [],
        }
        assert data["machine"]["device"] == "cpu"
        assert data["versions"]["torch"] == version("torch")
        assert data["versions"]["covary"] == covary.__version__
        assert set(data["seconds"]) == {"source", "features", "clusterer", "foreground"}
        assert all(value >= 0 for value in data["seconds"].values())
        assert data["memory"]["process_peak_bytes"] > 2**20
        (region,) = data["result"]["regions"]
        assert region["box"] == [0, 0, 16, 12]
        assert region["cluster_pixels"] == seg.regions[0].clusters.counts.tolist()
        assert region["foreground_clusters"] == [1, 2]
        assert region["reason"] == seg.reason

    def test_is_strict_json_and_comes_back(self, tmp_path: Path) -> None:
        seg = pipeline()(np.int64(3))
        seg.save(tmp_path)
        text = (tmp_path / "provenance.json").read_text()
        assert json.loads(text, parse_constant=pytest.fail) == seg.provenance
        assert read_provenance(tmp_path) == seg.provenance

    def test_numbers_that_are_not_finite_are_null(self, tmp_path: Path) -> None:
        class Unsure(Rest):
            def select(
                self,
                clusters: covary.ClusterMap,
                image: torch.Tensor,
                ctx: covary.RunContext | None = None,
            ) -> covary.Foreground:
                scores = torch.tensor([torch.nan, torch.inf, 1.5])
                return covary.Foreground.from_clusters(clusters, scores > 1, scores, "unsure")

        pipeline(foreground=Unsure())(seed=0).save(tmp_path)
        text = (tmp_path / "provenance.json").read_text()
        data = json.loads(text, parse_constant=pytest.fail)
        assert data["result"]["regions"][0]["scores"] == [None, None, 1.5]

    def test_inputs_are_hashed(self, tmp_path: Path) -> None:
        path = tmp_path / "three.txt"
        path.write_text("3")
        data = pipeline()(path).provenance
        assert data["query"] == {"paths": [str(path)]}
        # echo -n 3 | sha256sum
        sha256 = "4e07408562bedb8b60ce05c1decfe3ad16b72230967de01f640b7e4729b49fce"
        assert data["inputs"] == {str(path): sha256}
        assert file_sha256(path) == sha256

    def test_paths_are_absolute(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "three.txt").write_text("3")
        monkeypatch.chdir(tmp_path)
        data = pipeline()("three.txt").provenance
        assert data["query"] == {"paths": [str(tmp_path / "three.txt")]}

    def test_a_name_that_several_kinds_share_is_attributed(self) -> None:
        data = pipeline(foreground="tiny/distinct")(seed=0).provenance
        for slot in ("clusterer", "foreground"):
            assert data["components"][slot]["distribution"] == "tiny-parts"

    def test_a_component_of_your_own_is_said_to_be_unregistered(self) -> None:
        class Mine(Distinct):
            pass

        data = pipeline(clusterer=Mine())(seed=0).provenance
        assert data["components"]["clusterer"] == {
            "id": "local/mine", "distribution": "not registered"
        }  # fmt: skip


class TestRerun:
    @pytest.mark.parametrize("foreground", ["rest", ("rest", {"nothing": True})])
    def test_reproduces(self, tmp_path: Path, foreground: object) -> None:
        pipeline(foreground=foreground)(4, seed=5).save(tmp_path)
        before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
        again = rerun(tmp_path, device="cpu")
        assert (again.ari, again.iou, again.same_image, again.changed) == (1, 1, True, ())
        assert again.reproduced
        after = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
        assert after == before

    def test_reproduces_boxes(self, tmp_path: Path) -> None:
        boxes = [[0, 0, 16, 6], [4, 4, 16, 12]]
        pipeline(foreground=("tiny/distinct", {"boxes": boxes}))(seed=5).save(tmp_path)
        assert rerun(tmp_path).reproduced

    def test_reproduces_objects(self, tmp_path: Path) -> None:
        found = [[0, 0, 9, 12, "left", 0.5], [5, 0, 16, 12, "right", 0.5], [0, 0, 1, 1, "dot", 1]]
        parts = {
            "detector": ("given", {"found": found}),
            "classes": {"left": {"features": "halved", "clusterer": ("lloyd", {"k": 2})}},
            "refine": ["widened"],
            "soft": True,
        }
        seg = pipeline(clusterer=("lloyd", {"k": 3}), **parts)(seed=5)
        seg.save(tmp_path)
        again = rerun(tmp_path)
        assert again.reproduced
        assert again.changed == ()
        saved = read_provenance(tmp_path)
        part = {"distribution": "tiny-parts", "version": "3.2"}
        assert list(saved["components"]) == [
            "source", "detector", "features", "clusterer", "foreground",
            "classes.left.features", "classes.left.clusterer", "refine.0",
        ]  # fmt: skip
        assert saved["components"]["detector"] == {"id": "tiny/given", **part}
        assert saved["components"]["classes.left.features"] == {"id": "tiny/halved", **part}
        assert saved["components"]["refine.0"] == {"id": "tiny/widened", **part}
        assert [one["label"] for one in saved["result"]["objects"]] == ["left", "right", "dot"]
        assert [one["area"] for one in saved["result"]["objects"]] == [
            one.area for one in seg.objects
        ]
        assert (saved["result"]["soft"], saved["result"]["refined"]) == (True, True)
        assert set(saved["seconds"]) >= {"detector", "soft", "refine"}

    def test_objects_that_are_found_no_more_are_told(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        found = [[0, 0, 9, 12, "left", 0.5], [5, 0, 16, 12, "right", 0.5]]
        pipeline(detector=("given", {"found": found}))(seed=5).save(tmp_path)
        monkeypatch.setattr(Given, "detect", lambda self, image, ctx=None: [])
        again = rerun(tmp_path)
        assert not again.reproduced
        assert "objects: left, right -> none" in again.changed

    @pytest.mark.parametrize("place", ["detector", "refine", "classes"])
    def test_a_component_of_your_own_anywhere_is_refused(self, tmp_path: Path, place: str) -> None:
        class Mine(Given):
            pass

        class Finer(Widened):
            pass

        class Space(Colours):
            pass

        parts = {
            "detector": Mine(found=((0, 0, 9, 12, "left", 0.5),)),
            "refine": [Finer()],
            "classes": {"left": {"features": Space()}},
        }
        given = {"detector": ("given", {"found": [[0, 0, 9, 12, "left", 0.5]]})}
        pipeline(**given | {place: parts[place]})(seed=0).save(tmp_path)
        with pytest.raises(PluginError, match="is not a registered component"):
            rerun(tmp_path)

    def test_the_numbering_of_the_clusters_does_not_matter(self, tmp_path: Path) -> None:
        seg = pipeline()(seed=1)
        seg.save(tmp_path)
        shuffled = torch.tensor([2, 0, 1])[seg.labels.long()].to(torch.uint8)
        covary.write_png(shuffled, tmp_path / "clusters.png")
        with pytest.raises(InputError, match="mode L"):
            rerun(tmp_path)
        picture = Image.fromarray(shuffled.numpy())
        picture.putpalette([0, 0, 0] * 256)
        picture.save(tmp_path / "clusters.png")
        assert rerun(tmp_path).ari == 1

    def test_says_how_far_another_mask_and_partition_are_off(self, tmp_path: Path) -> None:
        seg = pipeline()(seed=1)
        seg.save(tmp_path)
        other = seg.mask.clone()
        other[:6] = False
        covary.write_png(other, tmp_path / "mask.png")
        again = rerun(tmp_path)
        assert again.iou == pytest.approx(0.5)
        assert not again.reproduced
        (tmp_path / "mask.png").unlink()
        assert rerun(tmp_path).iou == 0

    def test_changed_inputs_are_told(self, tmp_path: Path) -> None:
        path = tmp_path / "seed.txt"
        path.write_text("3")
        pipeline()(path).save(tmp_path / "out")
        path.write_text("8")
        again = rerun(tmp_path / "out")
        assert [change for change in again.changed if change.startswith(f"inputs {path}: ")]
        assert not again.reproduced

    def test_changed_versions_are_told(self, tmp_path: Path) -> None:
        pipeline()(seed=3).save(tmp_path)
        path = tmp_path / "provenance.json"
        data = json.loads(path.read_text())
        data["versions"]["torch"] = "0.1"
        data["components"]["clusterer"]["version"] = "3.1"
        path.write_text(json.dumps(data))
        again = rerun(tmp_path)
        assert again.reproduced
        changed = "\n".join(again.changed)
        assert f"versions torch: 0.1 -> {version('torch')}" in changed
        assert "components clusterer" in changed

    def test_an_image_of_another_size_is_not_reproduced(self, tmp_path: Path) -> None:
        pipeline()(seed=3).save(tmp_path)
        path = tmp_path / "provenance.json"
        data = json.loads(path.read_text())
        data["recipe"]["source"]["width"] = 20
        path.write_text(json.dumps(data))
        again = rerun(tmp_path)
        assert (again.ari, again.iou, again.same_image, again.reproduced) == (0, 0, False, False)

    def test_an_input_that_is_gone(self, tmp_path: Path) -> None:
        path = tmp_path / "seed.txt"
        path.write_text("3")
        pipeline()(path).save(tmp_path / "out")
        path.unlink()
        with pytest.raises(InputError, match=r"seed\.txt.*no such file"):
            rerun(tmp_path / "out")

    def test_a_component_of_your_own_cannot_be_run_again(self, tmp_path: Path) -> None:
        class Mine(Distinct):
            pass

        pipeline(clusterer=Mine())(seed=0).save(tmp_path)
        with pytest.raises(PluginError, match="local/mine is not a registered component"):
            rerun(tmp_path)

    def test_a_plugin_that_is_gone_is_named(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pipeline()(seed=0).save(tmp_path)
        monkeypatch.setenv("COVARY_PLUGINS", "")
        registry.cache_clear()
        with pytest.raises(covary.UnknownNameError, match="tiny/stripes"):
            rerun(tmp_path)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (None, "expected a provenance.json"),
            ("{", "expected a provenance.json"),
            ("[]", "expected format 1, got list"),
            ('{"format": 2}', "expected format 1, got 2"),
            ('{"format": 1}', "expected an entry 'query', got none"),
        ],
    )
    def test_a_folder_without_a_result(
        self, tmp_path: Path, content: str | None, message: str
    ) -> None:
        if content is not None:
            (tmp_path / "provenance.json").write_text(content)
        with pytest.raises(InputError, match=message):
            rerun(tmp_path)

    def test_a_result_with_a_picture_missing(self, tmp_path: Path) -> None:
        pipeline()(seed=0).save(tmp_path)
        (tmp_path / "clusters.png").unlink()
        with pytest.raises(InputError, match=r"clusters\.png"):
            rerun(tmp_path)


class TestMeasures:
    @given(
        hnp.arrays(np.int64, st.just((4, 6)), elements=st.integers(-1, 4)),
        hnp.arrays(np.int64, st.just((4, 6)), elements=st.integers(-1, 4)),
    )
    def test_ari_is_scikit_learns(self, a: np.ndarray, b: np.ndarray) -> None:
        ours = adjusted_rand_index(torch.from_numpy(a), torch.from_numpy(b))
        assert ours == pytest.approx(adjusted_rand_score(a.ravel(), b.ravel()), abs=1e-12)

    @given(strategies.label_maps(), st.integers(-3, 3))
    def test_ari_of_renamed_labels_is_one(
        self, drawn: tuple[torch.Tensor, int], shift: int
    ) -> None:
        labels, _ = drawn
        assert adjusted_rand_index(labels, 7 - 2 * labels.int() + shift) == 1

    @given(
        hnp.arrays(bool, st.just((3, 5))),
        hnp.arrays(bool, st.just((3, 5))),
    )
    def test_iou_counts_pixels(self, a: np.ndarray, b: np.ndarray) -> None:
        one, two = (set(np.flatnonzero(mask)) for mask in (a, b))
        expected = len(one & two) / len(one | two) if one | two else 1
        assert iou(torch.from_numpy(a), torch.from_numpy(b)) == pytest.approx(expected)

    def test_of_different_shapes(self) -> None:
        for measure, dtype in ((adjusted_rand_index, torch.int64), (iou, torch.bool)):
            with pytest.raises(InputError, match=r"expected shape \(2, 3\), got \(3, 2\)"):
                measure(torch.zeros(2, 3, dtype=dtype), torch.zeros(3, 2, dtype=dtype))


def test_the_tiny_parts_are_what_this_file_believes() -> None:
    made = pipeline(foreground="tiny/distinct")
    parts = (made.source, made.features, made.clusterer, made.foreground)
    assert [type(part) for part in parts] == [Stripes, Colours, Distinct, Boxed]
