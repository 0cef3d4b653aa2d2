"""Fetching, adding and listing checkpoints, against a server on this machine and its faults."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

import covary
from covary import CheckpointError, InputError, OutputError, _store
from covary._http import count_of
from covary._registry import registry
from covary.cli import cli
from covary.downloads import Downloaded, download, part_of
from file_server import FileServer, serving

CONTENT = b"\x80\x04" + bytes(range(256)) * 1200
SHA256 = hashlib.sha256(CONTENT).hexdigest()
NO_PAUSE = (0.0, 0.0)


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serving(CONTENT) as running:
        yield running


def get(server: FileServer, target: Path, **more: object) -> Downloaded:
    """A download without pauses."""
    return download(server.url, target, **{"timeout": 5.0, "pauses": NO_PAUSE, **more})


def leave_part(server: FileServer, target: Path, count: int, **more: object) -> None:
    """What a download leaves that is cut off after ``count`` bytes and given up."""
    server.cuts = [count] * 20
    with pytest.raises(CheckpointError, match="goes on where this stopped"):
        get(server, target, **more)
    server.cuts = []
    assert part_of(target).stat().st_size == count
    server.sent = 0
    server.requests.clear()


class TestDownload:
    def test_a_file_comes_whole(self, server: FileServer, tmp_path: Path) -> None:
        seen: list[tuple[int, int | None]] = []
        target = tmp_path / "new" / "weights.pkl"
        done = get(
            server, target, sha256=SHA256, size=len(CONTENT), progress=lambda *now: seen.append(now)
        )
        assert done == Downloaded(target, SHA256, len(CONTENT), 0)
        assert target.read_bytes() == CONTENT
        assert list(target.parent.iterdir()) == [target]
        assert seen == sorted(seen)
        assert seen[-1] == (len(CONTENT), len(CONTENT))

    def test_a_broken_connection_is_tried_again(self, server: FileServer, tmp_path: Path) -> None:
        server.cuts = [10, 1000, 1000, 50_000]
        get(server, tmp_path / "w.pkl", sha256=SHA256)
        assert (tmp_path / "w.pkl").read_bytes() == CONTENT
        assert server.sent == len(CONTENT)

    @settings(max_examples=25)
    @given(count=st.integers(1, len(CONTENT) - 1), known=st.booleans())
    def test_it_goes_on_at_any_byte(self, tmp_path_factory, count: int, known: bool) -> None:
        sha256 = SHA256 if known else None
        folder = tmp_path_factory.mktemp("resume")
        with serving(CONTENT) as server:
            leave_part(server, folder / "w.pkl", count, sha256=sha256)
            done = get(server, folder / "w.pkl", sha256=sha256)
            assert (folder / "w.pkl").read_bytes() == CONTENT
            assert done.sha256 == SHA256
            assert done.resumed_at == count
            assert server.sent == len(CONTENT) - count
            (request,) = server.requests
            assert request["Range"] == f"bytes={count}-"
            assert request["If-Range"] == server.etag
        assert [path.name for path in folder.iterdir()] == ["w.pkl"]

    def test_a_whole_part_is_not_fetched_again(self, server: FileServer, tmp_path: Path) -> None:
        target = tmp_path / "w.pkl"
        leave_part(server, target, len(CONTENT) - 1)
        part_of(target).write_bytes(CONTENT)  # stopped after the last byte, before the rename
        assert get(server, target).resumed_at == len(CONTENT)
        assert server.requests == []

    @pytest.mark.parametrize("honoured", [True, False])
    def test_a_changed_file_starts_over(
        self, server: FileServer, tmp_path: Path, honoured: bool
    ) -> None:
        leave_part(server, tmp_path / "w.pkl", 5000)
        server.content, server.etag = CONTENT[::-1], '"two"'
        server.honours_if_range = honoured
        assert get(server, tmp_path / "w.pkl").resumed_at == 0
        assert (tmp_path / "w.pkl").read_bytes() == CONTENT[::-1]

    def test_a_shorter_file_starts_over(self, server: FileServer, tmp_path: Path) -> None:
        leave_part(server, tmp_path / "w.pkl", 5000)
        server.content, server.etag = b"\x80short", '"two"'
        server.honours_if_range = False
        get(server, tmp_path / "w.pkl")
        assert (tmp_path / "w.pkl").read_bytes() == b"\x80short"

    def test_without_a_version_only_a_known_hash_allows_to_go_on(
        self, server: FileServer, tmp_path: Path
    ) -> None:
        for etag in ("", 'W/"weak"'):
            server.etag = etag
            leave_part(server, tmp_path / "w.pkl", 5000)
            assert get(server, tmp_path / "w.pkl").resumed_at == 0
            leave_part(server, tmp_path / "w.pkl", 5000, sha256=SHA256)
            assert get(server, tmp_path / "w.pkl", sha256=SHA256).resumed_at == 5000
            assert "If-Range" not in server.requests[0]

    def test_a_date_is_a_version_too(self, server: FileServer, tmp_path: Path) -> None:
        server.etag, server.modified = "", "Wed, 01 Jan 2020 00:00:00 GMT"
        leave_part(server, tmp_path / "w.pkl", 5000)
        assert get(server, tmp_path / "w.pkl").resumed_at == 5000
        leave_part(server, tmp_path / "w.pkl", 5000)
        server.modified = "Thu, 02 Jan 2020 00:00:00 GMT"
        assert get(server, tmp_path / "w.pkl").resumed_at == 0

    def test_a_part_of_another_address_is_not_used(
        self, server: FileServer, tmp_path: Path
    ) -> None:
        leave_part(server, tmp_path / "w.pkl", 5000)
        done = download(f"{server.address}/elsewhere.pkl", tmp_path / "w.pkl", pauses=NO_PAUSE)
        assert done.resumed_at == 0

    def test_a_part_without_its_notes_is_not_used(self, server: FileServer, tmp_path: Path) -> None:
        for notes in (None, "", "[]", '{"url": 3, "more": 4}'):
            part = part_of(tmp_path / "w.pkl")
            part.write_bytes(b"of something")
            if notes is not None:
                part.with_name(part.name + ".json").write_text(notes)
            get(server, tmp_path / "w.pkl")
            assert (tmp_path / "w.pkl").read_bytes() == CONTENT

    def test_a_server_without_ranges(self, server: FileServer, tmp_path: Path) -> None:
        server.ranges = False
        server.cuts = [5000, len(CONTENT)]
        get(server, tmp_path / "w.pkl", sha256=SHA256)
        assert (tmp_path / "w.pkl").read_bytes() == CONTENT

    def test_a_server_that_states_no_length(self, server: FileServer, tmp_path: Path) -> None:
        server.stated_length = -1
        get(server, tmp_path / "w.pkl")
        assert (tmp_path / "w.pkl").read_bytes() == CONTENT
        with pytest.raises(CheckpointError, match=f"{len(CONTENT) + 1} bytes, got {len(CONTENT)}"):
            get(server, tmp_path / "v.pkl", size=len(CONTENT) + 1)
        with pytest.raises(CheckpointError, match="got more"):
            get(server, tmp_path / "u.pkl", size=len(CONTENT) - 1)
        assert not (tmp_path / "v.pkl").exists()

    def test_another_hash_leaves_nothing(self, server: FileServer, tmp_path: Path) -> None:
        other = hashlib.sha256(b"other").hexdigest()
        with pytest.raises(CheckpointError, match=rf"expected sha256 {other}, got {SHA256}"):
            get(server, tmp_path / "w.pkl", sha256=other)
        assert list(tmp_path.iterdir()) == []

    def test_another_length_is_noticed_at_once(self, server: FileServer, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match=rf"expected 7 bytes, got {len(CONTENT)} bytes"):
            get(server, tmp_path / "w.pkl", size=7)
        assert list(tmp_path.iterdir()) == []

    def test_less_than_was_stated(self, server: FileServer, tmp_path: Path) -> None:
        server.stated_length = len(CONTENT) + 3
        with pytest.raises(CheckpointError, match=f"{len(CONTENT) + 3} bytes, got {len(CONTENT)}"):
            get(server, tmp_path / "w.pkl")
        assert list(tmp_path.iterdir()) == []

    def test_a_connection_that_always_breaks(self, server: FileServer, tmp_path: Path) -> None:
        server.cuts = [5000] * 20
        words = rf"ended after 5000 of {len(CONTENT)} bytes.* are kept; the same command goes on"
        with pytest.raises(CheckpointError, match=words):
            get(server, tmp_path / "w.pkl")
        assert len(server.requests) == 2 + len(NO_PAUSE)

    @pytest.mark.parametrize(
        ("content", "kind", "words"),
        [
            (b"<!DOCTYPE html><title>Confirm</title>", "application/octet-stream", "web page"),
            (b"\n<HTML><body>", "application/octet-stream", "web page"),
            (b"confirm?", "text/html; charset=utf-8", "web page"),
            (b"version https://git-lfs.github.com/spec/v1\n", "text/plain", "Git-LFS pointer"),
            (b"", "application/octet-stream", "an empty file"),
        ],
    )
    def test_what_is_no_data(
        self, server: FileServer, tmp_path: Path, content: bytes, kind: str, words: str
    ) -> None:
        server.content, server.content_type = content, kind
        with pytest.raises(CheckpointError, match=words):
            get(server, tmp_path / "w.pkl")
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("status", [401, 403, 404, 410, 418])
    def test_a_refusal_is_not_repeated(
        self, server: FileServer, tmp_path: Path, status: int
    ) -> None:
        server.status = status
        with pytest.raises(CheckpointError, match=f"got HTTP {status}"):
            get(server, tmp_path / "w.pkl")
        assert len(server.requests) == 1

    @pytest.mark.parametrize("status", [429, 500, 503])
    def test_a_busy_server_is_asked_again(
        self, server: FileServer, tmp_path: Path, status: int
    ) -> None:
        server.status = status
        with pytest.raises(CheckpointError, match=f"HTTP {status}"):
            get(server, tmp_path / "w.pkl")
        assert len(server.requests) == 1 + len(NO_PAUSE)

    def test_a_server_that_falls_silent(self, server: FileServer, tmp_path: Path) -> None:
        server.stall = threading.Event()
        with pytest.raises(CheckpointError, match="the connection broke"):
            get(server, tmp_path / "w.pkl", timeout=0.1, pauses=())
        server.stall.set()
        assert get(server, tmp_path / "w.pkl").sha256 == SHA256

    def test_nobody_there(self, server: FileServer, tmp_path: Path) -> None:
        with serving(CONTENT) as gone:
            pass
        with pytest.raises(CheckpointError, match="cannot be reached"):
            download(gone.url, tmp_path / "w.pkl", pauses=(60.0,))

    def test_a_redirect_is_followed(self, server: FileServer, tmp_path: Path) -> None:
        server.location = f"{server.address}/other"
        leave_part(server, tmp_path / "w.pkl", 99)
        assert get(server, tmp_path / "w.pkl").resumed_at == 99

    @pytest.mark.parametrize("url", ["http://example.org/w.pkl", "ftp://127.0.0.1/w", "file:///"])
    def test_a_redirect_away_from_https(self, server: FileServer, tmp_path: Path, url: str) -> None:
        server.location = url
        with pytest.raises(CheckpointError, match=r"(?i)redirect"):
            get(server, tmp_path / "w.pkl")
        assert list(tmp_path.iterdir()) == []

    def test_redirects_without_end(self, server: FileServer, tmp_path: Path) -> None:
        server.location = server.url
        with pytest.raises(CheckpointError, match="HTTP 302"):
            get(server, tmp_path / "w.pkl")

    @pytest.mark.parametrize(
        "url",
        ["http://example.org/w.pkl", "ftp://example.org/w", "file:///etc/passwd", "data:,a", "w"],
    )
    def test_only_https(self, tmp_path: Path, url: str) -> None:
        with pytest.raises(InputError, match="expected https"):
            download(url, tmp_path / "w.pkl")

    def test_no_space(
        self, server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(9, 8, 1))
        with pytest.raises(OutputError, match=rf"expected {len(CONTENT)} bytes of free space"):
            get(server, tmp_path / "w.pkl")
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
    def test_a_disk_that_fills_up(self, server: FileServer, tmp_path: Path) -> None:
        leave_part(server, tmp_path / "w.pkl", 5000)
        part = part_of(tmp_path / "w.pkl")
        part.unlink()
        part.symlink_to("/dev/full")
        with pytest.raises(OutputError, match=r"cannot write .*w\.pkl\.part.*No space left"):
            get(server, tmp_path / "w.pkl")
        assert not (tmp_path / "w.pkl").exists()

    def test_a_folder_that_is_a_file(self, server: FileServer, tmp_path: Path) -> None:
        (tmp_path / "a").touch()
        with pytest.raises(OutputError, match="cannot make the folder"):
            get(server, tmp_path / "a" / "w.pkl")


ENTRY = """
[[checkpoint]]
name = "{name}"
url = "{url}"
code_license = "The Code Licence"
weights_license = "The Weights Licence"
{more}
"""


@pytest.fixture
def catalogue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's own catalogue, empty but for a comment."""
    path = tmp_path / "mine.toml"
    path.write_text("# my own\n")
    monkeypatch.setenv("COVARY_REGISTRY", str(path))
    registry.cache_clear()
    return path


@pytest.fixture
def enter(catalogue: Path) -> Callable[..., None]:
    """Add a checkpoint to the user's catalogue by hand."""

    def write(url: str, more: str = "", name: str = "faces") -> None:
        with catalogue.open("a") as file:
            file.write(ENTRY.format(name=name, url=url, more=more))
        registry.cache_clear()

    return write


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "checkpoints"


def checkpoints(*args: object, answer: str | None = None) -> Result:
    result = CliRunner().invoke(cli, ["checkpoints", *map(str, args)], input=answer)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def listed(name: str) -> dict[str, object]:
    rows = json.loads(checkpoints("list", "--json").stdout)["checkpoints"]
    (row,) = [row for row in rows if row["name"] == name and not row["shadowed"]]
    return row


def visible(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}


def fetch_command(cache: Path) -> list[str]:
    """``covary checkpoints fetch faces`` in a process of its own, with that cache."""
    code = (
        f"import platformdirs; platformdirs.user_cache_dir = lambda *_: {str(cache.parent)!r}\n"
        "from covary.cli import main; main()"
    )
    return [sys.executable, "-c", code, *["checkpoints", "fetch", "faces", "--accept-license"]]


class TestFetch:
    def test_the_licences_are_shown_and_the_file_is_found_afterwards(
        self, server: FileServer, enter: Callable[..., None], cache: Path
    ) -> None:
        enter(server.url, f'sha256 = "{SHA256}"\nbytes = {len(CONTENT)}')
        assert listed("faces")["path"] is None
        result = checkpoints("fetch", "faces", "--accept-license")
        assert result.exit_code == 0, result.output
        assert result.stdout == f"{cache / 'faces.pkl'}\n"
        for words in ("The Code Licence", "The Weights Licence", server.url, SHA256):
            assert words in result.stderr
        assert covary.checkpoint_path("faces").read_bytes() == CONTENT
        assert listed("faces")["verified"] == "yes"
        assert visible(cache) == {"faces.pkl"}
        assert (cache / ".faces.json").is_file()
        assert "it is here already" in checkpoints("fetch", "faces").stderr
        assert len(server.requests) == 1

    def test_without_consent_nothing_is_asked_of_the_server(
        self, server: FileServer, enter: Callable[..., None], cache: Path
    ) -> None:
        enter(server.url)
        result = checkpoints("fetch", "faces")
        assert result.exit_code == 2
        assert "The Weights Licence" in result.stderr
        assert "add --accept-license" in result.stderr
        assert server.requests == []
        assert not cache.exists()

    @pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 1), ("\n", 1)])
    def test_at_a_terminal_it_asks(
        self,
        server: FileServer,
        enter: Callable[..., None],
        monkeypatch: pytest.MonkeyPatch,
        answer: str,
        code: int,
    ) -> None:
        enter(server.url)
        monkeypatch.setattr("click.testing._NamedTextIOWrapper.isatty", lambda _: True)
        result = checkpoints("fetch", "faces", answer=answer)
        assert result.exit_code == code
        assert "Do you accept these licences" in result.stderr
        assert len(server.requests) == 1 - code

    def test_an_unpublished_hash_is_trusted_on_first_use(
        self, server: FileServer, enter: Callable[..., None], cache: Path
    ) -> None:
        enter(server.url)
        assert "this one was recorded" in checkpoints("fetch", "faces", "--accept-license").stderr
        assert json.loads((cache / ".faces.json").read_text())["sha256"] == SHA256
        assert listed("faces")["verified"] == "first use"
        (cache / "faces.pkl").touch()
        assert checkpoints("fetch", "faces").exit_code == 0
        (cache / "faces.pkl").unlink()
        assert listed("faces")["path"] is None
        server.content = CONTENT[::-1]
        result = checkpoints("fetch", "faces", "--accept-license")
        assert result.exit_code == 1
        assert f"expected sha256 {SHA256}" in result.stderr
        assert visible(cache) == set()
        server.content = CONTENT
        assert checkpoints("fetch", "faces", "--accept-license").exit_code == 0

    def test_another_hash_keeps_nothing(
        self, server: FileServer, enter: Callable[..., None], cache: Path
    ) -> None:
        enter(server.url, f'sha256 = "{"0" * 64}"')
        result = checkpoints("fetch", "faces", "--accept-license")
        assert result.exit_code == 1
        assert f"got {SHA256}" in result.stderr
        assert visible(cache) == set()

    def test_to_another_folder(
        self, server: FileServer, enter: Callable[..., None], tmp_path: Path
    ) -> None:
        enter(server.url)
        result = checkpoints("fetch", "faces", "--accept-license", "--to", tmp_path / "big disk")
        assert result.stdout == f"{tmp_path / 'big disk' / 'faces.pkl'}\n"
        assert covary.checkpoint_path("faces") == tmp_path / "big disk" / "faces.pkl"

    def test_json(self, server: FileServer, enter: Callable[..., None], cache: Path) -> None:
        enter(server.url)
        result = checkpoints("fetch", "faces", "--accept-license", "--json")
        data = json.loads(result.stdout)
        assert data["path"] == str(cache / "faces.pkl")
        assert (data["sha256"], data["bytes"]) == (SHA256, len(CONTENT))
        assert (data["verified"], data["resumed_at"]) == ("first use", 0)

    def test_offline_it_says_what_to_do_by_hand(self, enter: Callable[..., None]) -> None:
        with serving(CONTENT) as gone:
            pass
        enter(gone.url)
        result = checkpoints("fetch", "faces", "--accept-license")
        assert result.exit_code == 1
        assert f"download {gone.url} in a browser" in result.stderr
        assert "covary checkpoints add FILE --name faces" in result.stderr

    def test_what_only_a_browser_gets(self, catalogue: Path) -> None:
        page = "https://drive.google.com/file/d/1/view"
        catalogue.write_text(f'[[checkpoint]]\nname = "faces"\npage = "{page}"\n')
        registry.cache_clear()
        with pytest.raises(CheckpointError) as caught:
            covary.checkpoint_path("faces")
        fetched = checkpoints("fetch", "faces", "--accept-license")
        assert fetched.exit_code == 1
        for message in (fetched.stderr, str(caught.value)):
            assert f"download {page} in a browser" in message
            assert "covary checkpoints add FILE --name faces" in message

    def test_what_nobody_publishes(self) -> None:
        result = checkpoints("fetch", "stylegan2-deeprooms", "--accept-license")
        assert result.exit_code == 1
        assert "find or train one" in result.stderr

    def test_what_is_bundled(self) -> None:
        result = checkpoints("fetch", "avatars-64")
        assert result.exit_code == 0
        assert Path(result.stdout.strip()) == covary.checkpoint_path("avatars-64")

    def test_an_unknown_name_suggests(self) -> None:
        result = checkpoints("fetch", "stylegan2-fhq")
        assert result.exit_code == 2
        assert "did you mean 'stylegan2-ffhq'?" in result.stderr

    def test_a_file_put_there_by_hand_is_checked(
        self, server: FileServer, enter: Callable[..., None], cache: Path
    ) -> None:
        enter(server.url, f'sha256 = "{SHA256}"')
        cache.mkdir(parents=True)
        (cache / "weights.pkl").write_bytes(CONTENT)
        assert listed("faces")["verified"] == "no"
        assert checkpoints("fetch", "faces").exit_code == 0
        assert listed("faces")["verified"] == "yes"
        (cache / "weights.pkl").write_bytes(CONTENT[:-1])
        assert listed("faces")["verified"] == "no"
        result = checkpoints("fetch", "faces")
        assert result.exit_code == 1
        assert SHA256 in result.stderr
        assert server.requests == []

    def test_two_at_a_time(
        self, server: FileServer, enter: Callable[..., None], cache: Path
    ) -> None:
        enter(server.url)
        server.stall = threading.Event()
        first: list[Result] = []
        worker = threading.Thread(
            target=lambda: first.append(checkpoints("fetch", "faces", "--accept-license", "--json"))
        )
        # click's runner exchanges sys.stdout, which threads share: the second is another process.
        worker.start()
        while server.sent == 0:
            time.sleep(0.01)
        second = subprocess.run(fetch_command(cache), capture_output=True, text=True, check=False)
        server.stall.set()
        worker.join()
        assert second.returncode == 1
        assert "is being fetched by another process" in second.stderr
        assert first[0].exit_code == 0
        assert len(server.requests) == 1

    @pytest.mark.skipif(sys.platform == "win32", reason="no such signal")
    def test_ctrl_c_keeps_the_part(
        self, server: FileServer, enter: Callable[..., None], cache: Path
    ) -> None:
        enter(server.url)
        server.stall = threading.Event()
        running = subprocess.Popen(fetch_command(cache), stderr=subprocess.PIPE, text=True)
        part = cache / "faces.pkl.part"
        while not (part.exists() and part.stat().st_size):
            time.sleep(0.01)
        running.send_signal(signal.SIGINT)
        _, stderr = running.communicate(timeout=30)
        assert running.returncode == 130
        assert "the same command goes on from there" in stderr
        held = part.stat().st_size
        server.stall.set()
        result = checkpoints("fetch", "faces", "--accept-license")
        assert "resumed at" in result.stderr
        assert covary.checkpoint_path("faces").read_bytes() == CONTENT
        assert server.requests[-1]["Range"] == f"bytes={held}-"


class TestAdd:
    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        path = tmp_path / "downloads" / "weights.pkl"
        path.parent.mkdir()
        path.write_bytes(CONTENT)
        return path

    URL = "https://example.org/files/weights.pkl"

    @pytest.mark.parametrize("mode", [None, "--copy", "--move", "--link"])
    def test_a_known_hash_needs_no_name(
        self, enter: Callable[..., None], file: Path, cache: Path, mode: str | None
    ) -> None:
        enter(self.URL, f'sha256 = "{SHA256}"')
        renamed = file.rename(file.with_name("anything.pkl"))
        result = checkpoints("add", renamed, *([mode] if mode else []))
        assert result.exit_code == 0, result.output
        path = renamed if mode == "--link" else cache / "faces.pkl"
        assert result.stdout == f"{path}\n"
        assert covary.checkpoint_path("faces") == path
        assert path.read_bytes() == CONTENT
        assert renamed.exists() == (mode != "--move")
        assert listed("faces")["verified"] == "yes"

    def test_a_known_conversion(self, enter: Callable[..., None], file: Path) -> None:
        enter(self.URL, f'sha256 = "{"0" * 64}"\nalso_sha256 = ["{SHA256}"]')
        converted = file.rename(file.with_suffix(".pt"))
        assert checkpoints("add", converted).exit_code == 0
        assert covary.checkpoint_path("faces").name == "faces.pt"
        assert listed("faces")["verified"] == "yes"

    def test_an_unknown_conversion_is_taken_by_name_and_not_called_verified(
        self, enter: Callable[..., None], file: Path
    ) -> None:
        enter(self.URL, f'sha256 = "{"0" * 64}"\nbytes = 3')
        converted = file.rename(file.with_suffix(".safetensors"))
        assert checkpoints("add", converted).exit_code == 2
        result = checkpoints("add", converted, "--name", "faces")
        assert result.exit_code == 0
        assert "a conversion" in result.stderr
        assert listed("faces")["verified"] == "no"
        # Its size is its own and no sign of damage.
        doctor = CliRunner().invoke(cli, ["doctor", "--json"])
        assert "'faces'" not in json.dumps(json.loads(doctor.stdout)["problems"])

    def test_a_damaged_file_is_refused(
        self, enter: Callable[..., None], file: Path, cache: Path
    ) -> None:
        enter(self.URL, f'sha256 = "{SHA256}"\nbytes = {len(CONTENT)}')
        file.write_bytes(CONTENT[:-1])
        for name in ([], ["--name", "faces"]):
            result = checkpoints("add", file, *name)
            assert result.exit_code == 1
            assert f"expected sha256 {SHA256}, {len(CONTENT)} bytes" in result.stderr
        assert not cache.exists()

    def test_by_name_and_size_where_no_hash_is_known(
        self, enter: Callable[..., None], file: Path
    ) -> None:
        enter(self.URL, f"bytes = {len(CONTENT)}")
        result = checkpoints("add", file)
        assert result.exit_code == 0
        assert "by its name and size" in result.stderr
        assert listed("faces")["verified"] == "first use"

    def test_by_name_alone_it_is_only_suggested(
        self, enter: Callable[..., None], file: Path
    ) -> None:
        enter(self.URL)
        result = checkpoints("add", file)
        assert result.exit_code == 2
        assert "--name faces" in result.stderr

    def test_what_came_by_a_browser(self, catalogue: Path, file: Path, cache: Path) -> None:
        catalogue.write_text('[[checkpoint]]\nname = "faces"\npage = "https://example.org/view"\n')
        registry.cache_clear()
        result = checkpoints("add", file, "--name", "faces")
        assert result.stdout == f"{cache / 'faces.pkl'}\n"
        assert "conversion" not in result.stderr

    def test_an_unknown_file_needs_a_name(self, catalogue: Path, file: Path) -> None:
        result = checkpoints("add", file)
        assert result.exit_code == 2
        assert "--name NAME" in result.stderr

    @pytest.mark.parametrize("mode", [None, "--copy", "--move", "--link"])
    def test_a_new_name_is_entered_in_the_users_catalogue(
        self, catalogue: Path, file: Path, cache: Path, mode: str | None, monkeypatch
    ) -> None:
        monkeypatch.chdir(file.parent)
        modes = [mode] if mode else []
        result = checkpoints("add", file.name, "--name", "mine", "--family", "restyle", *modes)
        assert result.exit_code == 0, result.output
        path = cache / "mine.pkl" if mode in ("--copy", "--move") else file
        assert covary.checkpoint_path("mine") == path
        assert path.read_bytes() == CONTENT
        assert file.exists() == (mode != "--move")
        assert catalogue.read_text().startswith("# my own\n")
        (entry,) = tomllib.loads(catalogue.read_text())["checkpoint"]
        assert entry["file"] == str(path)
        assert (entry["sha256"], entry["bytes"]) == (SHA256, len(CONTENT))
        assert listed("mine")["family"] == "restyle"
        assert listed("mine")["verified"] == "yes"
        file.unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        with pytest.raises(CheckpointError, match="put it there, or correct `file`"):
            covary.checkpoint_path("mine")

    def test_what_is_in_the_users_catalogue_stays(self, catalogue: Path, file: Path) -> None:
        preset = (
            '# a preset\n[[preset]]\nname = "p"\ncite = "c"  # why\n[preset.recipe]\n'
            'source = "worlds"\nfeatures = "rgb"\nclusterer = "lloyd"\nforeground = "corner"'
        )
        catalogue.write_text(preset)
        registry.cache_clear()
        for name in ("one", "two"):
            copy = file.with_name(f"{name}.pkl")
            copy.write_bytes(CONTENT + name.encode())
            assert checkpoints("add", copy, "--name", name).exit_code == 0
        assert catalogue.read_text().startswith(preset)
        assert covary.problems() == ()
        assert "p" in covary.preset_names()
        assert {listed("one")["path"], listed("two")["path"]} == {
            str(file.with_name("one.pkl")), str(file.with_name("two.pkl"))
        }  # fmt: skip

    def test_a_changed_file_of_ones_own_is_noticed(self, catalogue: Path, file: Path) -> None:
        checkpoints("add", file, "--name", "mine")
        file.write_bytes(CONTENT[::-1])
        assert listed("mine")["verified"] == "no"
        result = checkpoints("fetch", "mine")
        assert result.exit_code == 1
        assert f"expected sha256 {SHA256}" in result.stderr

    def test_the_catalogue_is_made_where_there_is_none(self, file: Path, tmp_path: Path) -> None:
        assert checkpoints("add", file, "--name", "mine").exit_code == 0
        assert (tmp_path / "no-config" / "registry.toml").is_file()
        assert covary.checkpoint_path("mine") == file

    @pytest.mark.parametrize(
        "text", ["[[preset", "nonsense = 1", 'checkpoint = [{ name = "inline" }]']
    )
    def test_a_catalogue_that_cannot_be_extended_is_left_alone(
        self, catalogue: Path, file: Path, text: str
    ) -> None:
        catalogue.write_text(text)
        registry.cache_clear()
        result = checkpoints("add", file, "--name", "mine", "--move")
        assert result.exit_code == 2
        assert catalogue.read_text() == text
        assert file.exists()

    @pytest.mark.parametrize("name", ["Mine", "a b", "../x", ""])
    def test_unfit_names(self, catalogue: Path, file: Path, name: str) -> None:
        result = checkpoints("add", file, "--name", name)
        assert result.exit_code == 2
        assert "lower-case letters" in result.stderr

    def test_a_taken_name(self, enter: Callable[..., None], file: Path, cache: Path) -> None:
        enter(self.URL)
        checkpoints("add", file, "--name", "faces")
        other = file.with_name("other.pkl")
        other.write_bytes(b"\x80other")
        result = checkpoints("add", other, "--name", "faces")
        assert result.exit_code == 2
        assert "is here already" in result.stderr
        assert (cache / "faces.pkl").read_bytes() == CONTENT
        again = checkpoints("add", file, "--name", "faces")
        assert again.exit_code == 0
        assert "it was here already" in again.stderr

    def test_another_name_than_its_own(self, enter: Callable[..., None], file: Path) -> None:
        enter(self.URL, f'sha256 = "{SHA256}"')
        result = checkpoints("add", file, "--name", "mine")
        assert result.exit_code == 2
        assert "is checkpoint 'faces' by its sha256" in result.stderr

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (b"", "an empty file"),
            (b"<!doctype html>", "a web page"),
            (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
        ],
    )
    def test_what_is_no_data(self, catalogue: Path, file: Path, content: bytes, words: str) -> None:
        file.write_bytes(content)
        result = checkpoints("add", file, "--name", "mine")
        assert result.exit_code == 1
        assert words in result.stderr

    def test_no_file_and_a_folder(self, catalogue: Path, tmp_path: Path) -> None:
        for path in (tmp_path, tmp_path / "nothing.pkl"):
            result = checkpoints("add", path, "--name", "mine")
            assert result.exit_code == 1
            assert "expected an existing file" in result.stderr


class TestList:
    def test_the_table_says_where_each_is(self, enter: Callable[..., None], tmp_path: Path) -> None:
        enter("https://example.org/w.pkl")
        text = checkpoints("list").stdout
        for words in ("bundled", "not fetched", "not published", "381.7 MB", "CC BY-NC-SA 4.0"):
            assert words in text

    def test_shadowed_entries_are_shown(self, enter: Callable[..., None]) -> None:
        enter("https://example.org/w.pkl", name="stylegan2-ffhq")
        assert "shadowed" in checkpoints("list").stdout

    def test_it_loads_nothing_heavy(self) -> None:
        code = (
            "import sys; from click.testing import CliRunner; from covary.cli import cli\n"
            "assert CliRunner().invoke(cli, ['checkpoints', 'list']).exit_code == 0\n"
            "print([m for m in ('torch', 'numpy', 'urllib.request') if m in sys.modules])"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.stdout.strip() == "[]", done.stdout + done.stderr


class TestCatalogue:
    """covary's own entries."""

    ENTRIES = covary.read_catalogue().checkpoint

    def test_names_and_addresses_are_unique(self) -> None:
        for field in ("name", "url", "page", "sha256"):
            values = [value for entry in self.ENTRIES if (value := getattr(entry, field))]
            assert len(values) == len(set(values)), field

    @pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
    def test_each_says_what_its_owner_needs(self, entry: covary.Checkpoint) -> None:
        assert entry.summary
        for address in (entry.url, entry.page):
            assert not address or address.startswith("https://")
        if entry.url or entry.page or entry.file:
            assert entry.code_license
            assert entry.weights_license
        if entry.sha256:
            assert entry.sha256_origin

    def test_the_presets_name_checkpoints_that_exist(self) -> None:
        names = {entry.name for entry in self.ENTRIES}
        for preset in covary.read_catalogue().preset:
            checkpoint = preset.recipe.source.params.get("checkpoint")
            assert checkpoint is None or checkpoint in names


@pytest.mark.parametrize(
    ("text", "count"),
    [("0", 0), ("381673535", 381673535), ("²", None), ("-5", None), ("9" * 5000, None), ("", None),
     (None, None), ("1e3", None)],
)  # fmt: skip
def test_counts_in_headers(text: str | None, count: int | None) -> None:
    assert count_of(text) == count


@pytest.mark.parametrize(
    "url", ["https://[x/w.pkl", "https://a..b/w.pkl", f"https://{'a' * 70}.com/w.pkl", "https://é"]
)
def test_addresses_without_sense_are_one_message(url: str, tmp_path: Path) -> None:
    with pytest.raises(covary.CovaryError):
        download(url, tmp_path / "w.pkl", timeout=1, pauses=())
    assert visible(tmp_path) <= {"w.pkl.part", "w.pkl.part.json"}


def test_no_checkpoint_takes_the_name_of_another_s_record() -> None:
    """A file called ``x.json`` would be the record of ``x``, or would be overwritten by its own."""
    taken = {_store._record_file(name).name for name in ("x", "x.json", "a-b")}
    published = [f"https://example.org/w{suffix}" for suffix in (".json", ".pkl", "", ".PT")]
    files = {_store.file_name(name, url) for name in ("x", "x.json", "a-b") for url in published}
    assert not taken & files
