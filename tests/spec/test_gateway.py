"""One test or more per rule of docs/spec/gateway.md §2 to §4: a hostile job sends what no job may send."""

from __future__ import annotations

import contextlib
import io
import socket
import struct
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from paddock.enclave.files import MadeFiles
from paddock.errors import (
    CATALOGUE,
    GatewayBreached,
    JobEnded,
    JobRefused,
    LeaseLost,
    OutputTooLarge,
    ProgramRefused,
    ScriptFailed,
)
from paddock.gateway.client import Client, GatewayCheckpoints, GatewayFiles
from paddock.gateway.frames import MOST_BYTES, PIECE_BYTES, Kind, Link
from paddock.gateway.receiving import MAX_FILES, Budget
from paddock.gateway.supervisor import Supervisor, Volume
from paddock.jobs.api import Progress
from tests.fixtures.gateway import HEAD, HELLO, Keeping, answers, frame, output, speak, work

END = frame(Kind.END)


def breaks(sent: bytes, saying: str = "", **changes: Any) -> None:
    """The supervisor ends the job for these bytes."""
    with pytest.raises(GatewayBreached, match=saying or "gateway"):
        speak(sent, work(**changes))


def file(path: str, size: int) -> bytes:
    return frame(Kind.FILE, {"path": path, "size": size})


# --- what is allowed works ---


def test_a_job_hands_out_what_was_asked_for() -> None:
    files = {"a.txt": b"text", "folder/b": b"", "folder/c": b"x" * 50}
    made, answered = speak(HELLO + output("model", files) + output("log", {}) + END)
    assert made == {"model": files, "log": {}}
    kinds = [kind for kind, _ in answers(answered)]
    assert kinds == [Kind.TASK, Kind.ANSWER, Kind.ANSWER]


def test_the_jobs_own_end_reads_tells_keeps_and_hands_out(tmp_path: Path) -> None:
    big = bytes(range(256)) * 40_000
    keeping, told = Keeping(MadeFiles({"state": b"earlier"})), list[Progress]()
    many = {f"{number:05}": str(number).encode() for number in range(6000)}
    task = work(
        inputs={"data": [Volume(MadeFiles({"big": big, "empty": b""})), Volume(MadeFiles(many))]},
        outputs={"model": 20_000_000},
        memory_bytes=1 << 30,
        checkpoints=keeping,
        progress=told.append,
    )
    ours, its = socket.socketpair()
    found: dict[str, Any] = {}

    def job() -> None:
        client = Client(Link(its))
        given = client.task()
        first, second = (GatewayFiles(client, each.number, each.path) for each in given.roles["data"])
        with first.open("big") as stream:
            stream.seek(1000)
            found["part"] = stream.read(10)
            stream.seek(-3, io.SEEK_END)
            found["end"] = stream.read()
            stream.seek(0)
            found["whole"] = stream.read()
        found["sizes"] = [first.size(name) for name in first.names()]
        found["many"] = {name: second.open(name).read() for name in (*second.names()[:2], "05999")}
        found["count"] = len(second.names())
        assert given.state is not None
        checkpoints = GatewayCheckpoints(client, GatewayFiles(client, given.state))
        checkpoints._asked = 0
        found["due"] = [checkpoints.due(), checkpoints.due()]
        latest = checkpoints.latest()
        assert latest is not None
        found["state"] = latest.open("state").read()
        checkpoints.save({"state": b"later"})
        client.progress(Progress(1, 2, {"loss": 0.5, "epoch": 1}))
        (tmp_path / "written").write_bytes(big)
        client.output("model", {"in memory": b"12", "written": tmp_path / "written"})
        client.end()

    thread = threading.Thread(target=job)
    thread.start()
    with its, ours:
        made = Supervisor(Link(ours, lambda: None), task).run()
        thread.join()
    assert found["part"] == big[1000:1010]
    assert (found["end"], found["whole"]) == (big[-3:], big)
    assert found["sizes"] == [len(big), 0]
    assert found["count"] == 6000
    assert found["many"]["05999"] == b"5999"
    assert found["due"] == [True, False]  # asked once: not again so soon
    assert found["state"] == b"earlier"
    assert keeping.saved == [{"state": b"later"}]
    assert told == [Progress(1, 2, {"loss": 0.5, "epoch": 1})]
    assert made == {"model": {"in memory": b"12", "written": big}}


# --- 2. frames ---


@pytest.mark.parametrize("kind", [0, 13, 127, 132, 255])
def test_w12_a_frame_of_no_known_kind_ends_the_job(kind: int) -> None:
    breaks(HELLO + frame(kind), "no known kind")


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind < 128])
def test_w12_a_frame_longer_than_its_kind_is_refused_by_its_head(kind: Kind) -> None:
    breaks(HELLO + HEAD.pack(kind, MOST_BYTES[kind] + 1), "bytes")
    breaks(HELLO + HEAD.pack(kind, (1 << 32) - 1), "bytes")


def test_w12_a_frame_that_breaks_off_is_an_end_without_a_result() -> None:
    for sent in (b"", HELLO[:3], HELLO, HELLO + HEAD.pack(Kind.PROGRESS, 10) + b"{"):
        with pytest.raises(JobEnded):
            speak(sent)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"[]",
        b"\xff",
        b'{"step":1,"total":2,"values":{},"step":1}',
        b'{"step":1,"total":2,"values":{"a":NaN}}',
        b'{"step":1,"total":2,"values":{"a":1e999}}',
        b'{"step":1,"total":2,"values":{"a":1' + b"0" * 400 + b"}}",
        b'{"step":1,"total":2,"values":{"a":-9007199254740992}}',
        b'{"step":1,"total":2,"values":{"a":"text"}}',
        b'{"step":1,"total":2,"values":{"a":true}}',
        b'{"step":1,"total":2,"values":{"a b":1}}',
        b'{"step":1.0,"total":2,"values":{}}',
        b'{"step":-1,"total":2,"values":{}}',
        b'{"step":1,"total":2,"values":{},"more":1}',
        b'{"step":1,"total":2}',
        b"[" * 60_000,
        b'{"a":' * 10_000,
        b"9" * 60_000,
        b"\x80\x04K\x01.",  # a pickle
    ],
)
def test_w13_a_message_has_one_form(content: bytes) -> None:
    breaks(HELLO + frame(Kind.PROGRESS, content))


def test_w13_requests_have_one_length() -> None:
    for kind, size in ((Kind.LIST, 12), (Kind.READ, 24)):
        for wrong in (0, size - 1):
            breaks(HELLO + frame(kind, bytes(wrong)), "another length")


# --- 3. order, reads, words ---


def test_w14_no_output_that_nobody_asked_for_and_none_twice() -> None:
    breaks(HELLO + output("weights", {}), "nobody takes")
    breaks(HELLO + output("model", {}) + output("model", {}), "twice")
    breaks(HELLO + frame(Kind.OUTPUT, {"name": "../model"}))


@pytest.mark.parametrize(
    "path",
    ["", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "a/./b", "a\\b", "a\nb", "a\0b", "\u202ea", "x" * 256, "ü" * 128, "x/" * 256 + "x", "ü/" * 170 + "xxx", "\ud800"],
)  # fmt: skip
def test_w15_a_path_leads_nowhere_else(path: str) -> None:
    breaks(HELLO + frame(Kind.OUTPUT, {"name": "model"}) + file(path, 0))


def test_w15_no_path_twice_no_file_that_is_a_folder_and_not_too_many() -> None:
    for first, second in (("a", "a"), ("a", "a/b"), ("a/b", "a"), ("a/b/c", "a/b")):
        breaks(HELLO + output("model", {first: b""})[: -HEAD.size] + file(second, 0), "twice")
    many = b"".join(file(str(number), 0) for number in range(MAX_FILES + 1))
    breaks(HELLO + frame(Kind.OUTPUT, {"name": "model"}) + many, "More than")


def test_w15_names_take_no_more_memory_than_files() -> None:
    """Files of no bytes, each in two hundred folders of its own: gigabytes of names."""
    begun = HELLO + frame(Kind.OUTPUT, {"name": "model"})
    deep = b"".join(file(f"{number}/" + "a/" * 200 + "x", 0) for number in range(60))
    breaks(begun + deep, "More folders")
    long = b"".join(file((str(number).rjust(250, "0") + "/").ljust(500, "x"), 0) for number in range(2100))
    breaks(begun + long, "longer paths")
    speak(begun + b"".join(file(f"{number % 100}/{number}", 0) for number in range(5000)) + frame(Kind.CLOSE) + END)


def test_w16_an_output_is_no_larger_than_the_contract_allows() -> None:
    made, _ = speak(HELLO + output("model", {"a": bytes(60), "b": bytes(40)}) + END)
    assert sum(map(len, made["model"].values())) == 100
    for files in ({"a": bytes(101)}, {"a": bytes(60), "b": bytes(41)}):
        with pytest.raises(OutputTooLarge):
            speak(HELLO + output("model", files) + END)
    with pytest.raises(OutputTooLarge):  # by its word, before a byte of it came
        speak(HELLO + frame(Kind.OUTPUT, {"name": "model"}) + file("a", 1 << 40))


def test_w15_a_path_that_just_fits_is_taken() -> None:
    paths = {"ü" * 127 + "x", "/".join(["x" * 255, "y" * 254, "z"])}
    made, _ = speak(HELLO + output("model", dict.fromkeys(paths, b"")) + END)
    assert set(made["model"]) == paths


def test_w16_outputs_of_a_run_have_together_no_more_than_was_signed() -> None:
    """Each within its own bound, over outputs and over steps; what is announced too large is not counted."""
    shared = Budget(150)
    task = work(outputs={"model": 100, "log": 1000}, budgets={"model": shared, "log": shared})
    speak(HELLO + output("model", {"a": bytes(90)}) + END, task)  # a step
    with pytest.raises(OutputTooLarge, match="together"):  # the next one
        speak(HELLO + output("model", {"a": bytes(50)}) + frame(Kind.OUTPUT, {"name": "log"}) + file("b", 11), task)
    speak(HELLO + output("model", {"a": bytes(10)}) + END, task)
    with pytest.raises(OutputTooLarge, match="together"):
        speak(HELLO + frame(Kind.OUTPUT, {"name": "model"}) + file("b", 1), task)


def test_w16_a_file_has_the_bytes_that_it_announced() -> None:
    start = HELLO + frame(Kind.OUTPUT, {"name": "model"}) + file("a", 10)
    breaks(start + frame(Kind.PIECE, bytes(11)), "no file")
    breaks(start + frame(Kind.PIECE), "no file")
    breaks(start + frame(Kind.PIECE, bytes(10)) + frame(Kind.PIECE, b"1"))


def test_w16_a_state_is_no_larger_than_the_runs_memory() -> None:
    with pytest.raises(OutputTooLarge):
        speak(HELLO + frame(Kind.STATE) + file("a", 10_001), work(checkpoints=Keeping()))
    breaks(HELLO + frame(Kind.STATE), "none is kept")


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind not in {Kind.FILE, Kind.CLOSE}])
def test_w17_inside_an_output_nothing_else_comes(kind: Kind) -> None:
    breaks(HELLO + frame(Kind.OUTPUT, {"name": "model"}) + HEAD.pack(kind, 0))


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.PIECE])
def test_w17_inside_a_file_nothing_else_comes(kind: Kind) -> None:
    breaks(HELLO + frame(Kind.OUTPUT, {"name": "model"}) + file("a", 10) + HEAD.pack(kind, 0))


def test_w17_nothing_comes_before_the_greeting_and_it_comes_once() -> None:
    breaks(END, "greet")
    breaks(frame(Kind.HELLO, {"version": "paddock/gateway/v2"}))
    breaks(HELLO + HELLO)
    for kind in (Kind.TASK, Kind.LISTED, Kind.CONTENT, Kind.ANSWER, Kind.FILE, Kind.PIECE, Kind.CLOSE):
        breaks(HELLO + HEAD.pack(kind, 0))


def test_w18_a_job_reads_what_it_was_given_and_nothing_else() -> None:
    def read(volume: int, number: int, offset: int, length: int) -> bytes:
        return frame(Kind.READ, struct.pack(">IQQI", volume, number, offset, length))

    _, answered = speak(HELLO + read(1, 0, 2, 3) + read(1, 0, 8, 100) + read(1, 0, 1 << 60, 9) + read(1, 1, 0, 1) + END)
    assert [content for kind, content in answers(answered) if kind == Kind.CONTENT] == [b"234", b"89", b"", b""]
    for wrong in (read(2, 0, 0, 1), read(1, 2, 0, 1), read(1, 1 << 63, 0, 1), read(1, 0, 0, PIECE_BYTES + 1)):
        breaks(HELLO + wrong, "not given")
    breaks(HELLO + frame(Kind.LIST, struct.pack(">IQ", 2, 0)), "not given")


def test_w19_progress_comes_at_a_bounded_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Progress] = []
    news = frame(Kind.PROGRESS, {"step": 1, "total": 2, "values": {"loss": 1}})
    breaks(HELLO + news * 1000, "too often", progress=told.append)
    assert 200 <= len(told) < 300
    clock = iter(range(0, 1_000_000, 1))  # one message a second
    monkeypatch.setattr("paddock.gateway.supervisor.time.monotonic", lambda: float(next(clock)))
    speak(HELLO + news * 1000 + END)


def test_w19_a_state_is_taken_when_it_is_due() -> None:
    kept = Keeping()
    state = frame(Kind.STATE) + file("a", 0) + frame(Kind.CLOSE)
    speak(HELLO + state + END, work(checkpoints=kept))
    assert len(kept.saved) == 1
    kept.is_due = False
    breaks(HELLO + state * 100, "before one is due", checkpoints=kept)
    assert len(kept.saved) == 1


def test_w20_a_job_fails_as_a_job_and_as_nobody_else() -> None:
    for code, kind in CATALOGUE.items():
        told = HELLO + frame(Kind.FAILED, {"code": code, "detail": "x" * 2000})
        if issubclass(kind, JobRefused | ProgramRefused):
            with pytest.raises(kind) as caught:
                speak(told)
            assert caught.value.detail == "x" * 500
        else:
            breaks(told, "no job's")
    breaks(HELLO + frame(Kind.FAILED, {"code": "E-NONE-01", "detail": ""}), "no job's")
    with pytest.raises(ScriptFailed) as caught_script:
        speak(HELLO + frame(Kind.FAILED, {"code": ScriptFailed.code, "detail": "\x1b[2J\nx\u202ey"}))
    assert caught_script.value.detail == "[2Jxy"


@pytest.mark.parametrize(
    "sent",
    [
        b"",  # says nothing
        HELLO[:5],  # breaks off in the middle of a frame
        HELLO + frame(Kind.LIST, struct.pack(">IQ", 0, 0)) * 200_000,  # never reads what it asked for
        HELLO + frame(Kind.PROGRESS, {"step": 1, "total": 2, "values": {}}) * 150,
    ],
)
def test_w11_a_run_that_is_over_ends_its_job_whatever_that_does(sent: bytes) -> None:
    ours, its = socket.socketpair()
    began = time.monotonic()

    def idle() -> None:
        if time.monotonic() - began > 0.3:
            raise LeaseLost("revoked")

    def job() -> None:
        with contextlib.suppress(OSError):
            its.sendall(sent)

    thread = threading.Thread(target=job, daemon=True)
    thread.start()
    with its:
        link = Link(ours, idle)
        with pytest.raises(LeaseLost):
            Supervisor(link, work()).run()
        link.close()
        thread.join(10)
