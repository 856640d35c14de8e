"""The enclave's process: one launch in, events out."""

from __future__ import annotations

import sys

from paddock.contract.levels import LEVELS
from paddock.contract.signing import SignedContract
from paddock.enclave.boot import harden, keep_to_channel, take_channel
from paddock.enclave.events import EventWriter
from paddock.enclave.launch import MAX_LAUNCH_BYTES, Launch, read_launch
from paddock.enclave.run import open_contract, perform
from paddock.enclave.warm import get_warm
from paddock.enclave.words import LastWords
from paddock.errors import InternalFault, JobRefused, PaddockError, ProgramRefused, RunRefused, Unavailable
from paddock.receipt.failure import failure_info, failure_message


def main(arguments: list[str]) -> int:
    """Run once; the exit code is that of the error's branch.

    Args:
        arguments: `--warm`: load what most runs need before the launch is read.
    """
    locked = harden()
    source, sink = take_channel()
    channel = keep_to_channel(source)
    events = EventWriter(sink)
    words = LastWords()
    launch: Launch | None = None
    contract: SignedContract | None = None
    ready = get_warm() if arguments == ["--warm"] else None
    try:
        launch = read_launch(source.readline(MAX_LAUNCH_BYTES))
        channel.launched()
        contract = open_contract(launch)
        events.phase("booted", memory_locked=locked)
        events.receipt(perform(launch, contract, events, words, ready))
    except PaddockError as error:
        return _fail(events, launch, contract, error, words)
    except OSError as error:
        # A full or failing disk or network outside: its number is public, its path is not.
        return _fail(events, launch, contract, Unavailable(f"The system answered with error {error.errno}."), words)
    except MemoryError:
        return _fail(events, launch, contract, InternalFault("Memory ran out."), words)
    except Exception as error:  # noqa: BLE001 - the last line: a fault of ours may carry data in its words, so only its kind is told
        return _fail(events, launch, contract, InternalFault(f"{type(error).__name__}."), words)
    return 0


def _fail(
    events: EventWriter,
    launch: Launch | None,
    contract: SignedContract | None,
    error: PaddockError,
    words: LastWords,
) -> int:
    if launch is None or contract is None or not _may_be_a_jobs(error, words):
        events.failed(error, [])
        return error.exit_code
    # L-5, V-12: what a job found wrong may say something of the data: only the parties read it.
    info = failure_info(contract.id, launch.run)
    sealed = []
    for name, party in contract.terms.parties.items():
        keys = party.keys.public()
        told = words.error_for(error, contract.terms, name)
        message = failure_message(told, words.log_for(contract.terms, name))
        sealed.append((keys.fingerprint(), keys.seal.seal(message, info)))
    events.failed(error if LEVELS[contract.terms.level].host_sees_logs else type(error)(), sealed)
    return error.exit_code


def _may_be_a_jobs(error: PaddockError, words: LastWords) -> bool:
    """Whether the detail may hold what a job said: once one began, of all errors but those that this process, a keeper or
    a store words. Sealing names a path as well, and a job chose it.
    """
    if isinstance(error, JobRefused | ProgramRefused):
        return True
    return words.begun and not isinstance(error, RunRefused | Unavailable)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
