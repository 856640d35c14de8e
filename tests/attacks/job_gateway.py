"""A job's only way out is one socket to its supervisor: what a hostile job sends on it.

A script has its worker's process for its own and writes to the socket what it likes. At L2 to L4 that socket is all that it
has; at L1 it has the host's files and network as well, and the socket is no more than a convenience.
"""

from __future__ import annotations

import json
from typing import Any

from paddock.contract import SignedContract
from paddock.contract.levels import Level
from paddock.enclave import control, typed
from paddock.enclave.files import MadeFiles
from paddock.enclave.words import LastWords
from paddock.errors import (
    GatewayBreached,
    KeeperBusy,
    OutputRefused,
    OutputTooLarge,
    ScriptFailed,
)
from paddock.gateway import messages, receiving, strict
from paddock.gateway.frames import Kind, Link
from paddock.gateway.receiving import Intake, Outputs
from paddock.gateway.supervisor import Supervisor
from paddock.jobs.api import Progress
from tests.attacks.catalogue import NO_CODE_AT_L5, NOTHING, Actor, Outcome, at_levels, attack, unclaimed
from tests.attacks.ground import Ground
from tests.attacks.switches import both, instead, without
from tests.fixtures.gateway import HEAD, HELLO, Keeping, frame, output, speak, work

END = frame(Kind.END)
Json = dict[str, Any]
_CLAIMS = at_levels(
    (Level.L2, Level.L3, Level.L4),
    L1=unclaimed("the gateway is the same at L1, and a job there has the host's files and network as well"),
    L5=NO_CODE_AT_L5,
)
_GATEWAY: Json = {"threats": (42,), "claims": _CLAIMS, "alike": True}
_MODEL = HELLO + frame(Kind.OUTPUT, {"name": "model"})


def _file(path: str, size: int) -> bytes:
    return frame(Kind.FILE, {"path": path, "size": size})


def _handed_out(sent: bytes, **changes: Any) -> str:
    made, _ = speak(sent, work(**changes))
    return f"{sum(len(files) for files in made.values())} files taken, of {', '.join(sorted(made)) or 'nothing'}"


@attack(
    "job-giant-frame",
    Actor.JOB,
    "a frame of four gigabytes",
    what="A job sends the head of a frame that says that four gigabytes follow, for which its supervisor makes room.",
    stops="A frame is refused by its head where it is longer than its kind may be.",
    enforced=("gateway.frames",),
    rules=("W-12",),
    codes=(GatewayBreached,),
    off=lambda: both(
        lambda: without(Link.receive, "if length > MOST_BYTES[kind]:"), lambda: instead(Link, "_exactly", _measured)
    ),
    **_GATEWAY,
)
def giant_frame(ground: Ground) -> str:
    _ASKED.clear()
    try:
        speak(HELLO + HEAD.pack(Kind.PROGRESS, 0xFFFFFFFF))
    except GatewayBreached:
        if not _ASKED:
            raise
    return f"{max(_ASKED) >> 20} MiB of the supervisor's memory"


_ASKED: list[int] = []
_EXACTLY = Link._exactly


def _measured(link: Link, length: int) -> bytearray:
    """Notes what would be made room for, and makes none."""
    if length > 1 << 24:
        _ASKED.append(length)
        raise GatewayBreached("measured")
    return _EXACTLY(link, length)


@attack(
    "job-undeclared-output",
    Actor.JOB,
    "an output that no contract lists",
    what="A job hands out a second output, with the records in it.",
    stops="Outputs are those of the task, each once.",
    enforced=("gateway.receiving",),
    rules=("W-14",),
    codes=(GatewayBreached,),
    off=lambda: instead(Outputs, "begin", _any_output),
    **_GATEWAY,
)
def undeclared_output(ground: Ground) -> str:
    return _handed_out(HELLO + output("records", {"all.csv": b"x"}) + END)


def _any_output(outputs: Outputs, name: str) -> Intake:
    intake = Intake(name, 1 << 30, None)
    outputs.made[name] = intake.files
    return intake


@attack(
    "job-output-path-traversal",
    Actor.JOB,
    "a file that leaves its output's folder",
    what="A job calls a file of its output `../../.ssh/authorized_keys`, for whoever opens the output.",
    stops="Paths of outputs are relative and have no empty, `.` or `..` parts, at the gateway and again when they are sealed.",
    enforced=("gateway.messages", "seal.paths"),
    rules=("W-15", "S-17"),
    codes=(GatewayBreached,),
    off=lambda: instead(receiving, "check_path", lambda path: path),
    **_GATEWAY,
)
def output_path_traversal(ground: Ground) -> str:
    return _handed_out(_MODEL + _file("../../.ssh/authorized_keys", 0) + frame(Kind.CLOSE) + END)


@attack(
    "job-output-too-large",
    Actor.JOB,
    "more than the output may hold",
    what="A job hands out the records whole in an output that may hold a hundred bytes.",
    stops="A file's size is announced, and refused before a byte of it comes; all outputs are counted again before sealing.",
    enforced=("gateway.receiving", "enclave.control"),
    rules=("W-16", "J-16"),
    codes=(OutputTooLarge,),
    off=lambda: without(Intake.begin, "if message.size > self._left:"),
    **_GATEWAY,
)
def output_too_large(ground: Ground) -> str:
    return _handed_out(HELLO + output("model", {"a": bytes(5000)}) + END)


@attack(
    "job-names-without-end",
    Actor.JOB,
    "gigabytes of names in an output of no bytes",
    what="A job hands out empty files, each in hundreds of folders of its own, until its supervisor's memory is full of names.",
    stops="Files, folders and the characters of all paths are counted.",
    enforced=("gateway.receiving",),
    rules=("W-15",),
    codes=(GatewayBreached,),
    off=lambda: without(Intake.begin, "if len(self._folders) > MAX_FILES"),
    **_GATEWAY,
)
def names_without_end(ground: Ground) -> str:
    intake = Intake("model", 0, None)
    for number in range(60):
        intake.begin(messages.FileMessage(path=f"{number}/" + "a/" * 200 + "x", size=0))
    return f"{len(intake._folders)} folders of {len(intake.files)} files"


@attack(
    "job-other-volume",
    Actor.JOB,
    "an input of another step",
    what="A job asks by number for a volume that its step was not given.",
    stops="Numbers are those of the task's volumes; the supervisor, which has the keys, reads no other.",
    enforced=("gateway.supervisor",),
    rules=("W-18",),
    codes=(GatewayBreached,),
    off=lambda: instead(Supervisor, "_listed", _any_volume),
    **_GATEWAY,
)
def other_volume(ground: Ground) -> str:
    _, answered = speak(HELLO + frame(Kind.LIST, (7).to_bytes(4, "big") + bytes(8)) + END, work())
    return f"a list of files: {answered[-60:]!r}"


def _any_volume(served: Supervisor, number: int) -> list[str]:
    served._volumes += [MadeFiles({"records-of-another-step.csv": b"x"})] * (number + 1 - len(served._volumes))
    return served._volumes[number].names()


@attack(
    "job-speaks-for-a-keeper",
    Actor.JOB,
    "a failure in a keeper's name",
    what="A job fails with the code of a keeper, so that parties blame it, or go on with what it is said to ask for.",
    stops="A job fails with codes of jobs and programs and with no other.",
    enforced=("gateway.supervisor",),
    rules=("W-20",),
    codes=(GatewayBreached,),
    off=lambda: without(Supervisor._failed, "if error is None or not issubclass("),
    **_GATEWAY,
)
def speaks_for_a_keeper(ground: Ground) -> str:
    try:
        speak(HELLO + frame(Kind.FAILED, {"code": KeeperBusy.code, "detail": "ask mallory's keeper"}))
    except KeeperBusy as error:
        return f"{error.code} {error.detail}"
    return ""


@attack(
    "job-progress-flood",
    Actor.JOB,
    "news without end",
    what="A job tells of its progress thousands of times a second, to fill the hub's disk or to speak in beats.",
    stops="News come at a bounded rate.",
    enforced=("gateway.supervisor",),
    rules=("W-19",),
    codes=(GatewayBreached,),
    off=lambda: without(Supervisor._progress, "if self._allowed < 0:"),
    residual="Below that rate, when and how often news come is seen by the host.",
    **_GATEWAY,
)
def progress_flood(ground: Ground) -> str:
    told: list[Progress] = []
    news = frame(Kind.PROGRESS, {"step": 1, "total": 2, "values": {"loss": 1}})
    speak(HELLO + news * 1000 + END, work(progress=told.append))
    return f"{len(told)} messages at once"


@attack(
    "job-checkpoint-flood",
    Actor.JOB,
    "checkpoints without end",
    what="A job has its state kept again and again, each as large as its memory, until the store is full.",
    stops="A state is taken when the contract's time between two is over.",
    enforced=("gateway.supervisor",),
    rules=("W-19",),
    codes=(GatewayBreached,),
    off=lambda: without(Supervisor._state, "if not self._work.checkpoints.due():"),
    **_GATEWAY,
)
def checkpoint_flood(ground: Ground) -> str:
    kept = Keeping()
    kept.is_due = False
    state = frame(Kind.STATE) + _file("a", 0) + frame(Kind.CLOSE)
    speak(HELLO + state * 50 + END, work(checkpoints=kept))
    return f"{len(kept.saved)} checkpoints at once"


@attack(
    "job-two-readings",
    Actor.JOB,
    "a message with two meanings",
    what="A job names an output twice in one message, for two readers to read differently.",
    stops="A message has exactly its members, each once.",
    enforced=("gateway.strict", "gateway.messages"),
    rules=("W-13",),
    codes=(GatewayBreached,),
    off=lambda: instead(strict, "_unique", dict),
    **_GATEWAY,
)
def two_readings(ground: Ground) -> str:
    twice = frame(Kind.OUTPUT, b'{"name":"log","name":"model"}')
    return _handed_out(HELLO + twice + frame(Kind.CLOSE) + END)


@attack(
    "job-out-of-order",
    Actor.JOB,
    "a file under another output's head",
    what="A job begins a second output while a file of the first still lacks bytes, so that they land in the second.",
    stops="While a file lacks pieces nothing else is taken.",
    enforced=("gateway.supervisor",),
    rules=("W-17",),
    codes=(GatewayBreached,),
    off=lambda: instead(Supervisor, "_check_order", lambda *_: None),
    **_GATEWAY,
)
def out_of_order(ground: Ground) -> str:
    begun = _MODEL + _file("a", 2) + frame(Kind.PIECE, b"x") + frame(Kind.OUTPUT, {"name": "log"})
    return _handed_out(begun + _file("b", 1) + frame(Kind.PIECE, b"y") + frame(Kind.CLOSE) + END)


# --- what a job says of itself ---


def _scripted(ground: Ground) -> SignedContract:
    def script(value: Json) -> None:
        value["steps"][0]["kind"] = "script"
        value["outputs"]["words"] = {"source": "training.log", "to": ["south"], "type": "text", "max_bytes": 4096}

    return ground.contract(script)


@attack(
    "job-words-of-a-failure",
    Actor.JOB,
    "records carried out in an error's words",
    what="The script of one party fails with words that hold another's records, which all parties would read.",
    stops="What a script says of its failure goes to those who receive its log; others read its code and exit status.",
    enforced=("enclave.words",),
    rules=("V-12", "W-20"),
    codes=(NOTHING,),
    off=lambda: instead(LastWords, "error_for", lambda _self, error, *_: error),
    residual="The code of a failure and its exit status, some twelve bits a run, are read by all parties.",
    threats=(45,),
    claims=_CLAIMS,
)
def words_of_a_failure(ground: Ground) -> str | Outcome:
    words = LastWords()
    words.keep("training", {})
    told = words.error_for(ScriptFailed("31.415926535897"), _scripted(ground).terms, "modelco")
    return f"records in '{told.detail}'" if told.detail else Outcome.refused(NOTHING, "no words for this party")


@attack(
    "job-words-in-file-names",
    Actor.JOB,
    "records carried out in the name of a refused file",
    what="A script calls a file of its output by what it read and has the output refused, so that the refusal names it.",
    stops="In a contract with scripts the words of any failure go to those alone who receive the scripts' logs.",
    enforced=("enclave.words", "enclave.control"),
    rules=("V-12",),
    codes=(NOTHING,),
    off=lambda: instead(LastWords, "error_for", lambda _self, error, *_: error),
    threats=(45,),
    claims=_CLAIMS,
)
def words_in_file_names(ground: Ground) -> str | Outcome:
    terms = _scripted(ground).terms
    made = {"training.weights": {"31.415926535897.safetensors": b"no tensors"}, "evaluation.metrics": {}}
    try:
        control.controlled(terms, {**made, "training.log": {}}, {})
    except OutputRefused as error:
        told = LastWords().error_for(error, terms, "modelco")
        if "31.415926535897" in told.detail:
            return f"records in '{told.detail}'"
        return Outcome.refused(NOTHING, "no words for this party")
    raise AssertionError("such a file was let out")


# --- outputs of a type ---


def _controlled(ground: Ground, output_type: str, files: dict[str, bytes]) -> str:
    def change(value: Json) -> None:
        value["outputs"]["weights"].update(type=output_type)

    terms = ground.contract(change).terms
    made = {"training.weights": files, "evaluation.metrics": {"metrics.json": b'{"accuracy": 0.5}'}}
    leaving = control.controlled(terms, made, {})
    return f"{sum(map(len, leaving['training.weights'].values()))} bytes leave"


_TYPES: Json = {"enforced": ("enclave.control", "enclave.typed"), "threats": (44,), "claims": _CLAIMS}


@attack(
    "job-pickle-as-weights",
    Actor.JOB,
    "code for the recipient of weights",
    what="A script hands out a pickle under the name of a weights file, to run code where its recipient loads it.",
    stops="Weights are safetensors whose header accounts for every byte.",
    rules=("J-17",),
    codes=(OutputRefused,),
    off=lambda: instead(typed, "check_tensors", lambda *_: {}),
    **_TYPES,
)
def pickle_as_weights(ground: Ground) -> str:
    return _controlled(ground, "weights", {"weights.safetensors": b"\x80\x04cposix\nsystem\n."})


@attack(
    "job-words-as-metrics",
    Actor.JOB,
    "records among the metrics",
    what="A script writes names of patients into its metrics.",
    stops="Metrics are finite numbers under short names, written anew in one form.",
    rules=("J-18",),
    codes=(OutputRefused,),
    off=lambda: instead(typed, "_numbers", lambda _path, value, _depth: value),
    **_TYPES,
)
def words_as_metrics(ground: Ground) -> str:
    return _controlled(ground, "metrics", {"metrics.json": json.dumps({"first": "Jane Doe, 1984"}).encode()})


@attack(
    "job-control-signs-in-text",
    Actor.JOB,
    "a log that moves its reader's cursor",
    what="A script prints signs that clear the screen of whoever reads its log and write something else there.",
    stops="Text holds no control or direction signs.",
    rules=("J-20",),
    codes=(OutputRefused,),
    off=lambda: without(typed.text, "if not all("),
    **_TYPES,
)
def control_signs_in_text(ground: Ground) -> str:
    return _controlled(ground, "text", {"log.txt": b"\x1b[2J\x1b[Hall is well\n"})
