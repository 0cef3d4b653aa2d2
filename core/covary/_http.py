"""Requests to web servers by https, and what their failures mean."""

from __future__ import annotations

import http.client
import ipaddress
import re
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import IO, Any
from urllib.parse import urlsplit

from . import __version__
from .errors import CheckpointError

__all__ = ["BrokenConnectionError", "OutdatedPartError", "count_of", "is_private", "open_url"]

_REFUSALS = {
    401: "it wants you to log in",
    403: "access is forbidden",
    404: "there is no such file any more",
    410: "the file was removed",
}
_PASSING = (408, 425, 429)


class BrokenConnectionError(Exception):
    """A connection that may work the next time."""

    def __init__(self, reason: str, *, unreachable: bool = False) -> None:
        super().__init__(reason)
        self.unreachable = unreachable


class OutdatedPartError(BrokenConnectionError):
    """The server's file is not the one of which there is a part; ``total`` is its size, if told."""

    def __init__(self, reason: str, total: int | None = None) -> None:
        super().__init__(reason)
        self.total = total


def open_url(url: str, headers: Mapping[str, str], timeout: float) -> http.client.HTTPResponse:
    """The server's answer, after redirects to https.

    Raises:
        BrokenConnectionError: none, or one that says to come back later.
        OutdatedPartError: the range that was asked for is not there.
        CheckpointError: it refuses for good, or its certificate is not trusted.
    """
    agent = {"User-Agent": f"covary/{__version__}", "Accept-Encoding": "identity"}
    request = urllib.request.Request(url, headers={**agent, **headers})  # noqa: S310
    try:
        return _opener().open(request, timeout=timeout)  # type: ignore[no-any-return]
    except urllib.error.HTTPError as error:
        error.close()
        raise _refusal(url, error) from error
    except urllib.error.URLError as error:
        reason = error.reason
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise CheckpointError(
                f"cannot download {url}",
                expected="a certificate that this machine trusts",
                got=reason.verify_message,
                fix="check the clock, the proxy and the root certificates of this machine",
            ) from error
        raise BrokenConnectionError(
            f"the server cannot be reached ({reason})", unreachable=True
        ) from error
    except CheckpointError:
        raise  # a redirect that was refused
    # ValueError is what addresses and headers without sense end in.
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise BrokenConnectionError(f"no answer ({error or type(error).__name__})") from error


def count_of(text: str | None) -> int | None:
    """The count in a header; None where there is none that makes sense."""
    return int(text) if text and re.fullmatch(r"[0-9]{1,18}", text) else None


def is_private(url: str) -> bool:
    """Whether nobody on the way can change what ``url`` gives: https, or this machine itself."""
    try:
        return urlsplit(url).scheme == "https" or _is_local(url)
    except ValueError:
        return False


def _is_local(url: str) -> bool:
    address = urlsplit(url)
    if address.scheme != "http":
        return False
    try:
        return ipaddress.ip_address(address.hostname or "").is_loopback
    except ValueError:
        return address.hostname == "localhost"


def _refusal(url: str, error: urllib.error.HTTPError) -> BrokenConnectionError | CheckpointError:
    said = "".join(c if c.isprintable() else "?" for c in str(error.reason)[:80])
    answer = f"HTTP {error.code} {said}".strip()
    if error.code == 416:
        total = error.headers.get("Content-Range", "").rpartition("/")[2]
        return OutdatedPartError(answer, count_of(total))
    if error.code in _PASSING or error.code >= 500:
        return BrokenConnectionError(f"the server answers {answer}")
    why = _REFUSALS.get(error.code, "the server refuses")
    return CheckpointError(
        f"cannot download {url}",
        expected="the file",
        got=f"{answer}: {why}",
        fix="look for the file in a browser",
    )


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to https, and those of this machine to itself."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: Any,
        newurl: str,
    ) -> urllib.request.Request | None:
        if not is_private(newurl) or (_is_local(newurl) and not _is_local(req.full_url)):
            raise CheckpointError(
                f"cannot download {req.full_url}",
                expected="redirects to https only",
                got=f"one to {newurl}",
                fix="look for the file in a browser",
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    # Not build_opener, which would also read file:, ftp: and data: addresses.
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPErrorProcessor,
        _Redirects,
    ):
        opener.add_handler(handler())
    return opener
