"""Ending workers."""

from __future__ import annotations

import socket

import pytest

from paddock.enclave.workers import Worker
from paddock.errors import InternalFault


class _Stays:
    def kill(self) -> None:
        pass

    def wait(self, timeout: float) -> int:
        raise TimeoutError(f"it stayed for {timeout}")


def test_a_job_that_is_not_gone_is_not_taken_as_gone() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        worker = Worker(_Stays(), ours)
        assert worker.wait() is None
        with pytest.raises(InternalFault, match="did not end"):
            worker.end()
        assert worker.code is None
