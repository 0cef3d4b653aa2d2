"""The report of the clusterer benchmark says what the results files say, whatever they hold."""

from __future__ import annotations

import json
import re
import runpy
import shutil
import subprocess
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args
from xml.etree import ElementTree

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from covary.errors import InputError, OutputError
from covary_bench.cli import bench
from covary_bench.clusterers import charts, labels, tables
from covary_bench.clusterers.merged import groups, letters, plain
from covary_bench.clusterers.report import HTML, MARKDOWN, html, markdown, write_report
from covary_bench.clusterers.schema import (
    Memory,
    Quality,
    Results,
    Row,
    Setting,
    Status,
    Times,
)
from covary_bench.clusterers.store import load_results, results_files, save_results
from covary_bench.clusterers.sweeps import sweeps

ROOT = Path(__file__).parents[2]
MAIN = Setting(world="avatars", size=1024, variants=50, k=3)
HOSTILE = "<script>alert('x')</script>|`*_\x1b[31m\x07\u202e&amp; \"q\"\nnext"


def row(
    name: str = "covary/lloyd", warm: tuple[float, ...] = (0.1, 0.2, 0.4), **changed: Any
) -> Row:
    """A row that ran, unless it is changed."""
    ratio = changed.pop("ratio", 1.0)
    values: dict[str, Any] = {
        "id": name,
        "track": "same start",
        "setting": MAIN,
        "status": "ok",
        "times": Times(load=0.5, cold=warm[0] * 2 if warm else 1.0, warm=warm),
        "memory": Memory(host=50_000_000, host_method="VmHWM reset"),
        "quality": Quality(
            inertia=1e9 * ratio, inertia_ratio=ratio, reference_ratio=ratio, ari_reference=0.75,
            ari_truth=0.9, iou=0.95, iterations=7, converged=True,
        ),
    }  # fmt: skip
    return Row(**{**values, **changed})


def absent(name: str, status: Status, **changed: Any) -> Row:
    """A row that did not run."""
    values = {"reason": f"because of {status}", "fix": f"mend {status}", **changed}
    return row(name, status=status, times=None, memory=None, quality=None, **values)


def results(*rows: Row, **changed: Any) -> Results:
    values: dict[str, Any] = {
        "created": "2026-01-02T03:04:05+00:00",
        "command": "covary bench clusterers",
        "method": "What `warm` means.\n\nAnd more.",
        "machine": {"processor": "Example CPU", "cores": 2, "torch": "2.13.0", "faiss-cpu": None},
        "rows": rows,
    }
    return Results(**{**values, **changed})


class Page(HTMLParser):
    """The tags, texts and table rows of a page; fails on tags that do not nest."""

    VOID = ("meta", "br", "link", "img", "input", "hr")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.bold: list[str] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self._open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("th", "td"):
            self.rows[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" in self._open:
            return
        self.text += data
        if "td" in self._open or "th" in self._open:
            self.rows[-1][-1] += data
        if self._open[-1:] == ["strong"]:
            self.bold.append(data)

    def named(self, name: str) -> list[list[str]]:
        return [cells for cells in self.rows if cells and cells[0] == name]


def drawings(page: str) -> list[ElementTree.Element]:
    return [ElementTree.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", page, re.DOTALL)]


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the packages that draw: tables alone, and quickly."""
    monkeypatch.setattr(charts, "available", lambda: False)


# ------------------------------------------------------------------- results files


TEXT = st.text(max_size=20)
POSITIVE = st.floats(1e-9, 1e9)
ROWS = st.builds(
    row,
    name=TEXT,
    warm=st.lists(POSITIVE, max_size=3).map(tuple),
    variation=TEXT,
    note=TEXT,
    params=st.dictionaries(TEXT, st.none() | st.integers() | TEXT, max_size=2),
)
ABSENT = st.builds(
    absent,
    name=TEXT,
    status=st.sampled_from([status for status in get_args(Status) if status != "ok"]),
    reason=TEXT,
    fix=TEXT,
)


@given(st.lists(ROWS | ABSENT, max_size=3), TEXT)
def test_what_is_saved_is_loaded(rows: list[Row], remark: str) -> None:
    from tempfile import TemporaryDirectory

    written = results(*rows, remark=remark)
    with TemporaryDirectory() as folder:
        path = save_results(written, Path(folder) / "new" / "clusterers.json")
        assert load_results(path) == load_results(path.parent) == written


@pytest.mark.parametrize(
    ("change", "expected", "got"),
    [
        ("", "valid JSON", "Expecting value"),
        ("[1", "valid JSON", "delimiter"),
        ("[" * 100_000, "valid JSON", "recursion"),
        ('{"inertia": NaN}', "valid JSON", "NaN"),
        ("[]", "covary-bench-clusterers", "without a format"),
        ({"format": "another"}, "covary-bench-clusterers", "'another'"),
        ({"version": 2}, "version 1", "version 2"),
        ({"version": 0}, "version 1", "version 0"),
        ({"version": True}, "version 1", "version True"),
        ({"rows": [{"id": 3}]}, "valid string", "3"),
        ({"surprise": 1}, "not permitted", "1"),
        ({"command": None}, "valid string", "None"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, change: Any, expected: str, got: str) -> None:
    path = tmp_path / "clusterers.json"
    data = json.loads(results(row()).model_dump_json())
    path.write_text(change if isinstance(change, str) else json.dumps({**data, **change}))
    with pytest.raises(InputError) as caught:
        load_results(path)
    assert expected in caught.value.expected
    assert got in caught.value.got
    assert caught.value.fix
    assert str(path) in caught.value.what
    assert len(str(caught.value)) < 1000


def test_what_to_do_depends_on_which_version_is_newer(tmp_path: Path) -> None:
    fixes = []
    for version in (0, 2):
        path = tmp_path / f"{version}.json"
        data = json.loads(results().model_dump_json())
        path.write_text(json.dumps({**data, "version": version}))
        with pytest.raises(InputError) as caught:
            load_results(path)
        fixes.append(caught.value.fix)
    assert "update covary" not in fixes[0]
    assert "update covary" in fixes[1]


def test_a_missing_file_or_folder_is_named(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.json"):
        with pytest.raises(InputError, match="no such file"):
            load_results(path)
    with pytest.raises(InputError, match="got none"):
        results_files(tmp_path)


@pytest.mark.parametrize("machine", [{"load": float("nan")}, {"load": object()}])
def test_results_that_json_cannot_hold_leave_the_old_file(tmp_path: Path, machine: Any) -> None:
    path = save_results(results(row()), tmp_path / "clusterers.json")
    before = path.read_bytes()
    with pytest.raises(InputError):
        save_results(results(machine=machine), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_an_unwritable_place_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError):
        save_results(results(), tmp_path / "file" / "clusterers.json")
    with pytest.raises(OutputError):
        write_report([results()], tmp_path / "file")


# ---------------------------------------------------------------------- what is said


@pytest.mark.usefixtures("undrawn")
def test_every_status_is_listed_with_its_reason_and_what_helps() -> None:
    others = [status for status in get_args(Status) if status != "ok"]
    one = results(row(), *(absent(f"acme/{s.replace(' ', '-')}", s) for s in others))
    text, page = markdown([one]), Page(html([one]))
    for status in others:
        name, told = (
            f"acme/{status.replace(' ', '-')}",
            f"{status}: because of {status}; mend {status}",
        )
        assert f"| {name} | {told} |" in text
        assert [name, told] in page.rows


@pytest.mark.usefixtures("undrawn")
def test_figures_are_those_of_the_results() -> None:
    warm = (0.0123, 0.0456, 0.0171, 0.0229, 0.9)
    fast = row("covary/lloyd", (0.004, 0.005, 0.006))
    slow = row("acme/own", warm, ratio=1.5, busy=0.25)
    low, middle, high = np.quantile(warm, [0.25, 0.5, 0.75]) * 1e3
    one = results(fast, slow)
    (cells,) = Page(html([one])).named("acme/own")
    assert cells == [
        "acme/own", f"{middle:.1f} ({low:.1f}–{high:.1f})", "4.58×", "24.6", "500", "50.0",
        "1.50000 ▲", "1.50000", "0.7500", "0.9000", "0.9500", "7", "0.25",
    ]  # fmt: skip
    line = next(line for line in markdown([one]).splitlines() if line.startswith("| acme/own"))
    assert line == (
        f"| acme/own | {middle:.1f} ({low:.1f}–{high:.1f}) | 4.58× | 24.6 | 50.0 | 1.50000 ▲ "
        "| 0.7500 | 0.9500 |"
    )


def test_memory_is_that_of_a_warm_fit_where_it_is_known() -> None:
    known = Memory(host=90_000_000, host_warm=20_000_000, host_method="VmHWM reset")
    (group,) = groups(letters([results(row(memory=known), row("acme/first-only", (9.0,)))]))
    columns = tables.shown_columns(group.entries, [tables.HOST, tables.FIRST_HOST])
    figures = [[cell.text for cell in cells] for cells in tables.cells(group, columns)]
    assert figures == [["20.0", "90.0"], ["50.0", "–"]]
    assert [entry.memory for entry in group.entries] == [20_000_000, 50_000_000]


@pytest.mark.usefixtures("undrawn")
@given(st.permutations([0.3, 0.1, 0.2, 0.7, 0.05]))
@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rows_are_sorted_by_time_and_those_that_did_not_run_come_last(times: list[float]) -> None:
    rows = [row(f"acme/t{seconds}", (seconds,)) for seconds in times]
    one = results(absent("acme/first", "crashed"), *rows)
    names = [f"acme/t{seconds}" for seconds in sorted(times)] + ["acme/first"]
    assert [cells[0] for cells in Page(html([one])).rows if cells[0].startswith("acme/")] == names
    assert re.findall(r"^\| (acme/\S+)", markdown([one]), re.MULTILINE) == names


@pytest.mark.usefixtures("undrawn")
def test_machines_are_merged_and_compared_each_with_its_own_default() -> None:
    gpu = {"device": "NVIDIA H200"}
    device = Memory(host=1, host_method="VmHWM reset", device=7_000_000, device_method="NVML")
    first = results(row(warm=(0.2,)), row("covary/faiss", (0.6,)))
    second = results(
        row(warm=(0.01,), **gpu, memory=device),
        row("covary/faiss", (0.4,), **gpu),
        row("covary/faiss", (0.5,)),
        machine={"processor": "Other CPU", "cores": 16, "gpu": "NVIDIA H200"},
    )
    page = Page(html([first, second]))
    ratios = {cells[1]: cells[3] for cells in page.rows if cells[0].startswith("faiss")}
    assert ratios == {"A: CPU": "3.00×", "B: NVIDIA H200": "40.0×", "B: CPU": "–"}
    (cells,) = page.named("lloydB: NVIDIA H200")
    assert "7.0" in cells
    assert "A: Example CPU, 2 cores" in page.text
    assert "B: Other CPU, 16 cores, NVIDIA H200" in page.text
    text = markdown([first, second])
    assert "| faiss | B: NVIDIA H200 | 400 (400–400) | 40.0× |" in text
    assert text.count("## avatars, 1024×1024, 50 variants, k = 3: same start") == 1


@pytest.mark.usefixtures("undrawn")
def test_a_loss_of_the_default_is_in_the_overview() -> None:
    one = results(row(warm=(0.2,)), row("acme/better", (0.1,)), row("acme/rough", (0.05,), ratio=2))
    (cells,) = [cells for cells in Page(html([one])).rows if cells[0].startswith("avatars,")]
    assert cells[-4:] == ["200", "acme/better 100 ms (0.50×)", "acme/rough 50.0 ms (0.25×)", "0"]


def test_the_best_of_a_column_has_converged() -> None:
    one = results(
        row(warm=(0.2,)), row("acme/rough", (0.1,), ratio=1.01), row("acme/slow", (0.3,)),
        row("acme/unknown", (0.25,), quality=None),
    )  # fmt: skip
    (group,) = groups(letters([one]))
    marked = [
        [cell.text for cell in figures if cell.best]
        for figures in tables.cells(group, tables.COLUMNS)
    ]
    by_name = dict(zip([entry.name for entry in group.entries], marked, strict=True))
    assert by_name["lloyd"] == ["200 (200–200)", "400"]
    assert not any(by_name[name] for name in ("acme/rough", "acme/slow", "acme/unknown"))


@pytest.mark.usefixtures("undrawn")
def test_notes_versions_parameters_method_and_machine_are_there() -> None:
    one = results(
        row(note="stops by itself.", versions={"faiss": "1.2.3"}, params={"k": 3, "tol": 0.5}),
        remark="shared machine",
        command="covary bench clusterers --k 3",
    )
    page, text = Page(html([one])), markdown([one])
    for part in ("lloyd: stops by itself.", "1.2.3", "shared machine", "--k 3", "2026-01-02",
                 "not installed", "VmHWM reset (1 rows)", "And more."):  # fmt: skip
        assert part in page.text
        assert part in text
    assert ["lloyd", "same start", "tol = 0.5"] in page.rows
    assert "What `warm` means." in text
    assert "What warm means." in page.text


# ------------------------------------------------------------------ whatever is given


EDGES = {
    "no results": [],
    "no rows": [results()],
    "one row": [results(row())],
    "nothing ran": [results(absent("acme/a", "missing"), absent("acme/b", "timeout"))],
    "no quality": [results(row(quality=None), row("acme/b", (1.0,)))],
    "no memory": [
        results(row(memory=None), row("acme/b", memory=Memory(host=None, host_method="none")))
    ],
    "no times": [results(row(times=None))],
    "no warm fits": [results(row(warm=()))],
    "a time and a memory of zero": [
        results(row(warm=(0.0,), memory=Memory(host=0, host_method="VmHWM reset")), row("acme/b"))
    ],
    "twice the same": [results(row(), row()), results(row())],
    "no machine": [results(row(), machine={})],
    "a time though it failed": [results(row(status="failed", reason="late"))],
    "hostile": [
        results(
            row(HOSTILE, variation=HOSTILE, note=HOSTILE, params={HOSTILE: HOSTILE},
                versions={HOSTILE: HOSTILE}, device=HOSTILE),
            absent(HOSTILE, "crashed", reason=HOSTILE, fix=HOSTILE),
            row(setting=MAIN.model_copy(update={"world": HOSTILE, "space": HOSTILE})),
            machine={HOSTILE: HOSTILE, "processor": HOSTILE}, command=HOSTILE, method=HOSTILE,
            remark=HOSTILE, created=HOSTILE,
        )
    ],
}  # fmt: skip


@pytest.fixture(scope="module", params=EDGES)
def edge(request: pytest.FixtureRequest) -> tuple[list[Results], str]:
    return EDGES[request.param], html(EDGES[request.param])


def test_a_page_is_whole_and_loads_nothing(edge: tuple[list[Results], str]) -> None:
    found, text = edge
    page = Page(text)
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "link", "img", "iframe", "object"})
    for tag, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes)
        assert "src" not in attributes
        if "href" in attributes:
            assert tag == "a"
            assert (attributes["href"] or "").startswith("#")
    styles = "".join(re.findall(r"<style>(.*?)</style>", text, re.DOTALL))
    assert "url(" not in styles
    assert "@import" not in styles
    assert re.sub(r"[\x00-\x09\x0b-\x1f\u202e]", "", text) == text
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in page.tags:
        for name in ("href", "aria-labelledby"):
            if name in attributes:
                assert (attributes[name] or "").removeprefix("#") in ids
    for one in found:
        for each in one.rows:
            assert plain(each.reason) in page.text
            assert plain(f"{each.id.removeprefix('covary/')} {each.variation}") in page.text


def test_drawings_are_described_and_ready_for_a_dark_page(edge: tuple[list[Results], str]) -> None:
    _, text = edge
    for svg in drawings(text):
        assert svg.get("role") == "img"
        assert svg.get("aria-label")
        assert not [element for element in svg.iter() if element.tag.endswith("script")]
        for element in svg.iter():
            for paint in (element.get("fill"), element.get("stroke")):
                assert paint in (None, "none", "transparent", *charts.DARK)


def test_markdown_tables_keep_their_columns(edge: tuple[list[Results], str]) -> None:
    found, _ = edge
    text = markdown(found)
    assert not re.search(r"(?<!\\)<", text)
    for line, following in pairwise(text.splitlines()):
        if line.startswith("|") and following.startswith("|"):
            bars = [len(re.findall(r"(?<!\\)\|", each)) for each in (line, following)]
            assert bars[0] == bars[1]


@pytest.mark.usefixtures("undrawn")
@given(st.lists(ROWS | ABSENT, max_size=4))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_row_vanishes(rows: list[Row]) -> None:
    one = results(*rows)
    page, text = Page(html([one])), markdown([one])
    assert sum(entry.row == each for each in rows for group in groups(letters([one]))
               for entry in group.entries) >= len(rows)  # fmt: skip
    shown = [cells for cells in page.rows if len(cells) == 2 or len(cells) > 8]
    assert len(shown) >= len(rows)
    for each in rows:
        name = plain(f"{each.id.removeprefix('covary/')} {each.variation}")
        assert page.named(name)
        assert tables.escaped(name) in text


@pytest.mark.usefixtures("undrawn")
def test_without_the_packages_that_draw_the_page_says_so() -> None:
    page = html([results(row())])
    assert "covary[bench]" in Page(page).text
    assert not drawings(page)
    assert Page(page).named("lloyd")


# ---------------------------------------------------------------------------- charts


def titles(svg: str) -> list[str]:
    found = ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}title")
    return [element.text or "" for element in found]


def test_time_against_memory_draws_each_row_that_has_both() -> None:
    rows = [
        row(), row("acme/poor", ratio=1.05), row("acme/unknown", quality=None),
        row("acme/bare", memory=None), absent("acme/gone", "missing"),
    ]  # fmt: skip
    (group,) = groups(letters([results(*rows)]))
    svg = charts.tradeoff(group.entries, "all")
    assert sorted(title.split(",")[0] for title in titles(svg)) == [
        "acme/poor", "acme/unknown", "lloyd",
    ]  # fmt: skip
    for name in ("lloyd", "acme/poor", "acme/unknown"):
        assert f">{name}</text>" in svg
    page = Page(html([results(*rows)])).text
    assert "Not drawn: acme/bare (no figure of memory), acme/gone (missing)" in page


def test_quality_decides_colour_and_shape() -> None:
    paths = {}
    for ratio in (0.99, 1.00005, 1.005, 1.05, 2.0):
        (group,) = groups(letters([results(row(ratio=ratio))]))
        root = ElementTree.fromstring(charts.tradeoff(group.entries, "one"))
        (point,) = [element for element in root.iter() if list(element) and element.get("d")]
        paths[ratio] = point.get("d"), point.get("fill")
    assert paths[0.99] == paths[1.00005]
    assert len(set(paths.values())) == 4
    assert len({shape for shape, _ in paths.values()}) == 4


def test_profile_lists_every_row_and_how_the_others_ended() -> None:
    rows = [row(), absent("acme/gone", "out of memory"), row("acme/bare", times=None)]
    (group,) = groups(letters([results(*rows)]))
    svg = charts.profile(group.entries, "all")
    for name in ("lloyd", "acme/gone", "acme/bare", "out of memory"):
        assert f">{name}<" in svg
    told = [title for title in titles(svg) if title.startswith("lloyd")]
    assert sorted(told) == [
        "lloyd, first fit 200 ms",
        "lloyd, load 500 ms",
        "lloyd, warm fit 200 ms",
    ]


def test_sweeps_change_one_thing_and_the_fullest_is_drawn() -> None:
    def at(**changed: int) -> Row:
        return row(setting=MAIN.model_copy(update=changed))

    rows = [at(), at(size=512), at(size=256), at(k=8), at(variants=10), at(size=512, k=8)]
    found = sweeps(groups(letters([results(*rows)])))
    values = {sweep.axis: sorted(sweep.lines["lloyd"]) for sweep in found}
    assert values == {"N": [256**2, 512**2, 1024**2], "D": [30, 150], "k": [3, 8]}
    assert {sweep.axis: sweep.fixed for sweep in found} == {
        "N": "50 variants, k = 3", "D": "1024×1024, k = 3", "k": "1024×1024, 50 variants",
    }  # fmt: skip
    assert not sweeps(groups(letters([results(at(), at(size=512, k=8))])))


def test_scaling_draws_every_backend_of_the_sweep() -> None:
    sizes = [MAIN, MAIN.model_copy(update={"size": 512})]
    rows = [row(name, setting=s) for name in ("covary/lloyd", "acme/other") for s in sizes]
    found = html([results(*rows, absent("acme/gone", "missing"))])
    svg = next(s for s in drawings(found) if "Time against N" in (s.get("aria-label") or ""))
    texts = [e.text for e in svg.iter("{http://www.w3.org/2000/svg}text")]
    assert {"lloyd", "acme/other", "512²", "1024²"} <= set(texts)
    told = [e.text for e in svg.iter("{http://www.w3.org/2000/svg}title")]
    assert len(told) == 4


@pytest.mark.parametrize(
    ("colours", "page"), [(charts.DARK.keys(), "#ffffff"), (charts.DARK.values(), "#14181d")]
)
def test_colours_stand_out_from_the_page(colours: Any, page: str) -> None:
    """WCAG 2.2 asks for 3 to 1 for drawings; grid lines are none that one must see."""
    for colour in colours:
        if colour not in (charts.GRID, charts.DARK[charts.GRID]):
            assert contrast(colour, page) >= 3, colour


def contrast(first: str, second: str) -> float:
    low, high = sorted(luminance(colour) for colour in (first, second))
    return (high + 0.05) / (low + 0.05)


def luminance(colour: str) -> float:
    channels = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@given(st.lists(st.floats(0, 300), max_size=12))
def test_spreading_out_keeps_order_distance_and_bounds(positions: list[float]) -> None:
    moved = labels.spread_out(positions, 12, 300)
    ordered = [moved[i] for i in sorted(range(len(moved)), key=positions.__getitem__)]
    assert all(b - a >= 12 - 1e-9 for a, b in pairwise(ordered))
    assert all(-1e-9 <= one <= 300 + 1e-9 for one in moved)


# Charts leave room around their points.
INNER = st.tuples(st.floats(30, 260), st.floats(30, 230))


@given(st.lists(INNER, max_size=4))
def test_names_hardly_cover_each_other_or_leave_the_chart(
    points: list[tuple[float, float]],
) -> None:
    """A few square pixels are allowed, of some 350: a name prefers to stay near its point."""
    placed = labels.place(points, ["lloyd"] * len(points), (290, 260))
    width, height = labels.text_width("lloyd"), labels.FONT_SIZE
    for i, one in enumerate(placed):
        assert -1 <= one.x <= 291 - width
        assert height / 2 - 1 <= one.y <= 261 - height / 2
        for other in placed[:i]:
            across = max(width - abs(one.x - other.x), 0)
            assert across * max(height - abs(one.y - other.y), 0) <= 4


# ------------------------------------------------------------------- files, commands


def test_command_merges_folders_and_files_once(tmp_path: Path) -> None:
    save_results(results(row()), tmp_path / "a" / "clusterers.json")
    save_results(results(row("acme/b")), tmp_path / "a" / "clusterers-b.json")
    arguments = ["report", str(tmp_path / "a"), str(tmp_path / "a" / "clusterers.json")]
    done = CliRunner().invoke(bench, [*arguments, "-o", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert done.stdout.split() == [str(tmp_path / "out" / name) for name in (MARKDOWN, HTML)]
    text = (tmp_path / "out" / MARKDOWN).read_text(encoding="utf-8")
    assert re.findall(r"^## (\w): ", text, re.MULTILINE) == ["A", "B"]
    assert "| lloyd | A: CPU |" in text
    assert "| acme/b | B: CPU |" in text
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [HTML, MARKDOWN]


def test_command_writes_nothing_if_a_file_is_not_ours(tmp_path: Path) -> None:
    save_results(results(row()), tmp_path / "clusterers.json")
    (tmp_path / "clusterers-b.json").write_text("{}")
    done = CliRunner().invoke(bench, ["report", str(tmp_path), "-o", str(tmp_path / "out")])
    assert isinstance(done.exception, InputError)
    assert not (tmp_path / "out").exists()


@pytest.fixture
def maker() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "docs" / "make_clustering.py"))


def test_docs_are_made_between_their_marks_only(maker: dict[str, Any], tmp_path: Path) -> None:
    one = results(row(), row("acme/b", (1.0,)), absent("acme/c", "missing"), remark="shared")
    files = [save_results(one, tmp_path / "clusterers.json")]
    marks = [f"<!-- generated: {name} -->\nold\n<!-- end -->" for name in maker["PARTS"]]
    text = "before\n" + "\nbetween\n".join(marks) + "\nafter\n"
    made = maker["page"](text, files)
    assert maker["page"](made, files) == made
    assert "old" not in made
    assert made.startswith("before\n")
    assert made.count("\nbetween\n") == len(marks) - 1
    for part in ("A: Example CPU, 2 cores. shared", "| acme/b | A: CPU | 5.00× |",
                 "| acme/c | A: CPU | missing |", "missing: because of missing"):  # fmt: skip
        assert part in made
    with pytest.raises(SystemExit, match="nonsense"):
        maker["page"]("<!-- generated: nonsense -->\n<!-- end -->", files)


def test_the_page_on_clustering_is_made_from_the_committed_results(maker: dict[str, Any]) -> None:
    if not maker["PAGE"].exists() or not list(maker["RESULTS"].glob("clusterers*.json")):
        pytest.skip("no results of the clusterers are committed yet")
    text = maker["PAGE"].read_text(encoding="utf-8")
    files = results_files(maker["RESULTS"])
    assert text == maker["page"](text, files), "run: python docs/make_clustering.py"


def browsers() -> Iterator[str]:
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            yield found


@pytest.mark.skipif(not list(browsers()), reason="no Chromium")
def test_a_phone_shows_the_page_without_sideways_scrolling(tmp_path: Path) -> None:
    rows = [row(), row("acme/with-a-rather-long-name", (1.0,)), absent("acme/c", "crashed")]
    _, page = write_report([results(*rows), results(*rows)], tmp_path)
    (tmp_path / "frame.html").write_text(
        f'<iframe id="f" style="width:360px;height:700px" src="{page.name}"></iframe><script>'
        "f.onload = () => { const d = f.contentDocument;"
        "d.querySelectorAll('details').forEach(one => { one.open = true });"
        "document.title = `${d.documentElement.scrollWidth} ${d.querySelectorAll('svg').length}` }"
        "</script>"
    )
    command = [
        *(next(browsers()), "--headless", "--no-sandbox", "--disable-gpu"),
        *("--allow-file-access-from-files", f"--user-data-dir={tmp_path / 'profile'}"),
        *("--virtual-time-budget=5000", "--dump-dom", (tmp_path / "frame.html").as_uri()),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    found = re.search(r"<title>(\d+) (\d+)</title>", done.stdout)
    assert found, done.stderr
    assert int(found[1]) <= 360
    assert int(found[2]) == 4
