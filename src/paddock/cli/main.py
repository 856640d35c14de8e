"""The `paddock` command."""

from __future__ import annotations

import sys

import typer

from paddock.cli.lazy import Later, LazyGroup
from paddock.errors import PaddockError

_JOIN, _WORK, _PROVE, _SERVE, _LOOK = "Join", "Work together", "Prove", "Serve", "Look around"


class _Commands(LazyGroup):
    """Every command, in the order in which somebody meets them."""

    later = (
        Later(
            "init",
            "identity_commands:init",
            "Make a home: your keys, your keeper's keys, nothing sent to anybody.",
            _JOIN,
        ),
        Later(
            "party",
            "identity_commands:party",
            "Who you are, and whose keys you accepted.",
            _JOIN,
            also=("hosting_commands",),
        ),
        Later(
            "seal",
            "asset_commands:seal",
            "Encrypt on this machine, store the ciphertext, deposit the key with your keeper.",
            _WORK,
        ),
        Later(
            "assets",
            "asset_commands:assets",
            "List what you sealed; of one asset also the query and sources that it was sealed from.",
            _WORK,
        ),
        Later(
            "rekey",
            "asset_commands:rekey",
            "Give an asset of yours a new data key, without storing its contents again.",
            _WORK,
        ),
        Later("ls", "volume_commands:volume_list", "List the files of an asset of yours, with their sizes.", _WORK),
        Later(
            "cat",
            "volume_commands:volume_cat",
            "Write one file of an asset of yours to standard output, as it is.",
            _WORK,
        ),
        Later(
            "open",
            "volume_commands:volume_open",
            "Write the files of an asset of yours to a folder, readable by you alone. From here on they are plain files.",
            _WORK,
        ),
        Later(
            "verify",
            "volume_commands:volume_verify",
            "Read everything that the store holds of an asset of yours, and hold it against the asset's id.",
            _WORK,
        ),
        Later(
            "mount",
            "mount_command:mount",
            "Show an asset of yours as a folder of ordinary files, for you alone, until Ctrl-C. The store keeps ciphertext.",
            _WORK,
        ),
        Later("program", "program_commands:program", "Networks as sealed programs.", _WORK),
        Later("contract", "contract_commands:contract", "Propose, read, sign and end contracts.", _WORK),
        Later("run", "run_commands:run", "Ask for a run of a contract that everybody signed.", _WORK),
        Later("follow", "run_commands:follow_run", "Follow a run, whoever asked for it, to its end.", _WORK),
        Later(
            "stop",
            "run_commands:stop",
            "End a run of one of your contracts without outputs. It can be resumed, while the contract allows another attempt.",
            _WORK,
        ),
        Later(
            "resume",
            "run_commands:resume",
            "Go on with a run that failed or was cancelled, from its newest checkpoint. It is the same run, of the same contract.",
            _WORK,
        ),
        Later("runs", "run_commands:runs", "List the runs of your contracts.", _WORK),
        Later(
            "results",
            "run_commands:results",
            "Verify a run's receipt and open the outputs that the contract gives you.",
            _WORK,
        ),
        Later("receipt", "run_commands:receipt", "Proof of what ran.", _PROVE),
        Later(
            "measure",
            "machine_commands:measure",
            "Measure the runtime installed here: the same on every machine with the same lock file and Python.",
            _PROVE,
        ),
        Later(
            "evidence", "evidence_commands:evidence", "Judge attestation evidence by hand; the vendors' roots.", _PROVE
        ),
        Later(
            "serve",
            "service_commands:serve_everything",
            "Serve hub, your keeper and a local engine in one process, at the addresses of your home.",
            _SERVE,
        ),
        Later("wait", "service_commands:wait", "Wait until the hub and the keeper of your home answer.", _SERVE),
        Later(
            "hub",
            "service_commands:hub",
            "The hub: contracts, runs, receipts, ciphertext; nothing readable.",
            _SERVE,
            also=("hosting_commands",),
        ),
        Later(
            "keeper",
            "keeper_commands:keeper",
            "Your keeper: the one that holds your data keys.",
            _SERVE,
            also=("hosting_commands", "service_commands"),
        ),
        Later(
            "executor",
            "executor_commands:executor",
            "What starts enclaves, and what must be built for it first.",
            _SERVE,
        ),
        Later(
            "host", "host_commands:host", "Attests this host by a key of its own: level 2, and 3 with a TPM.", _SERVE
        ),
        Later("simulator", "service_commands:simulator", "Stands in for attestation hardware (SIMULATED).", _SERVE),
        Later(
            "demo",
            "demo_command:demo",
            "Watch five parties train a tumour classifier on records that nobody sees, and three frauds refused; or, with `attacks`, what hosts, hubs, stores, parties, developers and jobs try on this machine, and what refuses each.",
            _LOOK,
        ),
        Later(
            "doctor", "machine_commands:doctor", "Show what this machine can do, and what to install for more.", _LOOK
        ),
        Later("level", "level_commands:level", "The five security levels.", _LOOK),
        Later("job", "machine_commands:job", "What can run inside.", _LOOK),
    )


app = typer.Typer(
    name="paddock",
    cls=_Commands,
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
)


@app.callback()
def paddock() -> None:
    """Confidential deep learning: train and use models on data that nobody may see."""


def main() -> None:
    """Run the command and leave with an exit code: 0, 2 usage, 3 refused, 4 unavailable, 5 misconfigured."""
    as_json = "--json" in sys.argv
    try:
        app()
    except PaddockError as error:
        from paddock.cli.output import say_error  # noqa: PLC0415 - loaded by commands, and not by help

        say_error(error, as_json=as_json)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
