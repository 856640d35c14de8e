"""Compiles modules in an interpreter of its own: the same sources give the same bytes.

Run as `python -s -S compiling.py OUTPUT` with `PYTHONHASHSEED=0`; lines of JSON on standard input, `[place, source]` each. Which
strings the interpreter holds already, and the order of sets, show in byte code; so it begins fresh and does nothing else.
"""

from __future__ import annotations

import importlib.util
import json
import marshal
import os
import sys

_UNCHECKED = (1).to_bytes(4, "little")
"""PEP 552: the byte code belongs to a source's hash, which is not to be compared."""
_HEADER = importlib.util.MAGIC_NUMBER + _UNCHECKED


def compiled(source: bytes, place: str) -> bytes:
    """The content of the `.pyc` file of a source."""
    code = compile(source, place, "exec", dont_inherit=True, optimize=0)
    return _HEADER + importlib.util.source_hash(source) + marshal.dumps(code)


def main(output: str) -> int:
    """Write all modules one behind the other; print place, offset and size of each as JSON, or the place of one that has a fault."""
    index: dict[str, list[int]] = {}
    with open(output, "xb") as sink:  # noqa: PTH123 - nothing is imported that is not needed
        for line in sys.stdin:
            place, path = json.loads(line)
            with open(path, "rb") as file:  # noqa: PTH123 - as above
                source = file.read()
            try:
                code = compiled(source, place)
            except (SyntaxError, ValueError):
                continue  # a template, or a file for another version: the interpreter would not take it either
            index[place + "c"] = [sink.tell(), len(code)]
            sink.write(code)
    sys.stdout.write(json.dumps(index))
    sys.stdout.flush()
    os._exit(0)  # without clearing away what is freed with the process


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
