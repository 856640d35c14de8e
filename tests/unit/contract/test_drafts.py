"""From what people write to what is signed."""

from __future__ import annotations

import re

import pytest

from paddock.contract import Level, Terms, resolve_draft
from paddock.contract.terms import read_terms
from paddock.errors import DraftRefused
from tests.fixtures.cast import DRAFT, MEASUREMENT, NONCE, NOW, CastDirectory, member


def _resolve(text: str) -> Terms:
    return resolve_draft(text, CastDirectory(), measurement=MEASUREMENT, now=NOW, nonce=NONCE)


def test_what_a_draft_leaves_out_is_filled_in_visibly() -> None:
    terms = _resolve(DRAFT)
    assert terms.level is Level.L5
    assert (terms.road, terms.created, terms.runs) == ("enclave", "2026-11-01T12:00:00Z", 2)
    assert terms.environment.measurements == (MEASUREMENT,)
    assert (terms.limits.lease_seconds, terms.limits.memory_bytes) == (30, 4 << 30)
    limits = terms.limits
    assert (limits.run_seconds, limits.processes, limits.scratch_bytes) == (86_400, 256, 1 << 30)
    assert limits.output_bytes == (1 << 30) + (64 << 10)
    assert {name: (row.type, row.max_bytes) for name, row in terms.outputs.items()} == {
        "weights": ("weights", 1 << 30),
        "metrics": ("metrics", 64 << 10),
    }
    assert terms.steps[1].parameters == {}
    assert terms.fingerprints()["clinic"] == member("clinic").fingerprint
    assert terms.owners() == ["east", "modelco", "north", "south"]
    assert terms.party_named_by("nobody") is None
    assert read_terms(terms.to_bytes()) == terms


def test_a_draft_says_what_it_wants() -> None:
    other = "sha256:" + "1" * 64
    text = DRAFT.replace("environment.simulated = true\nlimits.attempts = 2\n", "").replace("runs = 2\n", "")
    text = text.replace('asset = "north/records"', 'asset = "north/records"\nview = "staged"')
    terms = _resolve(text + f'\n[environment]\nmeasurements = ["this", "{other}"]\n[limits]\nlease_seconds = 5\n')
    assert terms.environment.measurements == (MEASUREMENT, other)
    assert not terms.environment.simulated
    assert (terms.limits.lease_seconds, terms.limits.attempts, terms.limits.checkpoint_seconds) == (5, 3, 300)
    assert (terms.inputs["north"].view, terms.inputs["south"].view) == ("staged", "auto")
    assert terms.runs == 1


@pytest.mark.parametrize(
    ("expires", "written"),
    [
        ("2027-01-31", "2027-01-31T00:00:00Z"),
        ("2027-01-31T01:00:00+01:00", "2027-01-31T00:00:00Z"),
        ("2027-01-31T00:00:00.9Z", "2027-01-31T00:00:00Z"),
    ],
)
def test_an_expiry_is_written_in_one_way(expires: str, written: str) -> None:
    assert _resolve(DRAFT.replace("2027-01-31T00:00:00Z", expires)).expires == written


@pytest.mark.parametrize(
    ("pattern", "replacement", "saying"),
    [
        (r"title = .*", "title = ", "not TOML"),
        (r"title = .*", "titel = 'x'", "Unknown members: titel"),
        (r"title = .*", "", "title"),
        (r"runs = 2", "runs = 0", "runs"),
        (r"expires = .*", "", "needs an expiry"),
        (r"expires = .*", "expires = '2027-01-31'", "needs an expiry"),
        (r"expires = .*", "expires = 2027-01-31T00:00:00", "needs a time zone"),
        (r"expires = .*", "expires = 0001-01-01T00:00:00+14:00", "calendar"),
        (r"expires = .*", "expires = 2020-01-01", "expires before"),
        (r"parties = .*", "parties = []", "needs a list"),
        (r"parties = .*", "parties = ['north', 1]", "needs a list"),
        (r"parties = .*", "parties = 'north'", "needs a list"),
        (r"parties = .*", "parties = ['south', 'east', 'modelco', 'clinic']", "who is not in parties"),
        (r'asset = "north/records"', "asset = 1", "inputs.north needs asset"),
        (r'asset = "north/records"', 'asset = "north/records"\nkind = "dataset"', "inputs.north needs asset"),
        (r"environment.simulated = true", "environment = 1", "environment"),
        (r"environment.simulated = true", "environment.debug = true", "may have measurements"),
        (r"environment.simulated = true", "environment.measurements = 'this'", "is a list"),
        (r"environment.simulated = true", "environment.measurements = [[]]", "measurements"),
        (r"limits.attempts = 2", "limits = 1", "limits"),
        (r"environment.simulated = true", "level = ['L5']", "level"),
        (r"seed = 7", 'seed = 7\nnote = "\\u001b[2J"', "control or formatting"),
        (r'kind = "train"', 'kind = "train"\nimage = "x"', "may have name, kind"),
        (r'kind = "train"', "", "kind"),
        (r'from = "training.weights"', 'source = "training.weights"', "needs from"),
        (r'from = "training.weights"', 'from = "training.weights"\nkind = "x"', "needs from"),
        (r'from = "training.weights"', 'from = "training.weights"\ntype = "x"', "type is one of weights"),
        (r'from = "training.weights"', 'from = "training.weights"\ntype = ["text"]', "type is one of weights"),
        (r'from = "training.weights"', 'from = "training.weights"\ntype = "text"', "free text"),
        (r'from = "training.weights"', 'from = "training.weights"\nmax_bytes = "x"', "max_bytes"),
        (r'from = "training.weights"', 'from = "training.weights"\nmax_bytes = 0', "max_bytes"),
        (r'from = "training.weights"', 'from = "training.other"', "free text"),
        (r'from = "training.weights"', "from = 1", "source"),
        (r"limits.attempts = 2", "limits.output_bytes = 1", "larger than all outputs together"),
        (r"limits.attempts = 2", "limits.seconds = 1", "seconds"),
        (r'to = \["modelco"\]', "to = 'modelco'", "to"),
    ],
)
def test_a_mistake_is_named(pattern: str, replacement: str, saying: str) -> None:
    text, count = re.subn(pattern, replacement.replace("\\", r"\\"), DRAFT, count=1)
    assert count == 1
    with pytest.raises(DraftRefused, match=saying):
        _resolve(text)


def test_outputs_of_a_script_are_any_files_and_its_log_is_text() -> None:
    text = 'level = "L4"\n' + DRAFT.replace('kind = "evaluate"', 'kind = "script"')
    text += '[outputs.log]\nfrom = "evaluation.log"\nto = ["north"]\n'
    text += '[outputs.table]\nfrom = "evaluation.table"\nto = ["north"]\ntype = "table"\nmax_bytes = 4096\n'
    terms = _resolve(text)
    assert {name: (row.type, row.max_bytes) for name, row in terms.outputs.items()} == {
        "weights": ("weights", 1 << 30),
        "metrics": ("files", 1 << 30),
        "log": ("text", 1 << 20),
        "table": ("table", 4096),
    }
    assert terms.limits.output_bytes == (2 << 30) + (1 << 20) + 4096


def test_steps_are_tables() -> None:
    head = DRAFT.split("[inputs.north]")[0]
    for steps in ("steps = 5\n", "steps = 'x'\n", "steps = ['x']\n", "steps = []\n"):
        rest = "inputs.north.asset = 'north/records'\noutputs.w = { from = 'a.b', to = ['north'] }\n"
        with pytest.raises(DraftRefused):
            _resolve(head + steps + rest)


def test_a_draft_without_inputs_or_outputs_is_named() -> None:
    for table in ("inputs", "outputs"):
        text = DRAFT.replace(f"[{table}.", "[unknown.")
        with pytest.raises(DraftRefused):
            _resolve(text.replace("[unknown.", "[limits."))


def test_brackets_without_end_are_no_fault() -> None:
    with pytest.raises(DraftRefused):
        _resolve("title = " + "[" * 50_000)


def test_many_faults_are_told_as_a_few() -> None:
    text = DRAFT.replace("runs = 2", "runs = 0\nlevel = 'L9'\nroad = 'x'").replace('title = "', 'title = "\\u0000')
    with pytest.raises(DraftRefused, match=r"\(and 1 more\)"):
        _resolve(text)
