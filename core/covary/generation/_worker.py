"""A worker process of the local executor: takes shards from stdin, answers on stdout, a line each.

Its stdin is held open by the driver alone. When that ends, however it does, the worker ends too,
whatever it is at: what it has not finished counts for nothing.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any, TextIO

from .._seeds import Seeds
from ..errors import CovaryError, PluginError
from ..samples import Shard
from ._job import Job

__all__ = ["error_data", "error_of", "main", "shard_data", "shard_of"]


def main() -> None:
    """Work until the driver closes stdin."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver decides what Ctrl-C means
    answers = _private_stdout()
    orders: SimpleQueue[dict[str, Any]] = SimpleQueue()
    Thread(target=_listen, args=(orders,), daemon=True).start()

    def answer(**data: Any) -> None:
        answers.write(json.dumps(data) + "\n")
        answers.flush()

    try:
        _work(orders, answer)
    except CovaryError as error:
        answer(error=error_data(error))
    except OSError:
        pass  # the driver is gone, and takes no answer


def _work(orders: SimpleQueue[dict[str, Any]], answer: Any) -> None:
    from ._maker import ShardMaker, single_thread

    order = orders.get()
    job, root = Job.model_validate(order["job"]), Path(order["root"])
    maker = ShardMaker(job, root, f"{platform.node()} {os.getpid()}")
    with single_thread():
        answer(ready=True)
        while True:
            shard = shard_of(orders.get()["shard"])
            record = maker.make(shard, lambda seeds: answer(made=seeds))
            answer(record=record.data())


def _private_stdout() -> TextIO:
    """The pipe to the driver; what plugins print goes to stderr instead."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


def _listen(orders: SimpleQueue[dict[str, Any]]) -> None:
    for line in sys.stdin:
        orders.put(json.loads(line))
    # Not sys.exit: whatever the main thread is at must not go on without a driver.
    os._exit(0)


def shard_data(shard: Shard) -> dict[str, Any]:
    """A shard as plain data."""
    return {"name": shard.name, "split": shard.split, "seeds": str(Seeds.of(shard.seeds))}


def shard_of(data: Mapping[str, Any]) -> Shard:
    """The shard in plain data."""
    return Shard(data["name"], data["split"], tuple(Seeds.of(data["seeds"])))


def error_data(error: CovaryError) -> dict[str, str]:
    """An error as plain data."""
    parts = {name: getattr(error, name) for name in ("what", "expected", "got", "fix")}
    return {"type": type(error).__name__, **parts}


def error_of(data: Mapping[str, str]) -> CovaryError:
    """The error in plain data."""
    from .. import errors

    found = getattr(errors, data["type"], PluginError)
    made = found(data["what"], expected=data["expected"], got=data["got"], fix=data["fix"])
    assert isinstance(made, CovaryError)  # noqa: S101  (for the type checker)
    return made


if __name__ == "__main__":
    main()
