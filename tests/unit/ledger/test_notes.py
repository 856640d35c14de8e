"""Signed notes against the specification's own example."""

from __future__ import annotations

import pytest

from paddock.crypto.signing import SigningKey
from paddock.errors import CheckpointRefused
from paddock.ledger.notes import note_key, read_note, read_note_key, sign_text, verify_text

# The example of Go's golang.org/x/mod/sumdb/note, whose format C2SP signed-note is.
GO_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
    "\n"
    "\u2014 PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)


def test_the_example_of_the_go_implementation_verifies() -> None:
    name, key = read_note_key(GO_KEY)
    assert note_key(name, key) == GO_KEY
    verify_text(read_note(GO_NOTE), key, name)
    with pytest.raises(CheckpointRefused):
        verify_text(read_note(GO_NOTE.replace("answer", "Answer")), key, name)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a+b",
        GO_KEY.replace("c74f20a3", "c74f20a4"),
        GO_KEY.replace("Peter", "P ter"),
        GO_KEY[:-1],
        GO_KEY.replace("+AR", "+BB"),
    ],
)
def test_a_key_in_another_form_is_refused(text: str) -> None:
    with pytest.raises(CheckpointRefused):
        read_note_key(text)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\nb"])
def test_a_name_that_would_break_the_note_is_refused(name: str) -> None:
    with pytest.raises(CheckpointRefused):
        sign_text("text\n", SigningKey.generate(), name)
