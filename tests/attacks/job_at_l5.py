"""A party's code where none may run: the way in that the attacks of the other `job_…` modules have at L2 to L4."""

from __future__ import annotations

from paddock.contract import verify_contract
from paddock.contract.levels import Level, check_job_allowed
from paddock.errors import TermsRefused
from tests.attacks.catalogue import Actor, Residual, absent, at_levels, attack, remains
from tests.attacks.ground import Ground
from tests.attacks.switches import without

_SCRIPTS_RUN = absent("scripts may run there, from L2 on inside walls")


@attack(
    "job-script-at-l5",
    Actor.JOB,
    "a party's script at L5",
    what="A contract of L5 that all parties signed, perhaps unread, has a step that runs a script.",
    stops="One table says which kinds of job may run at a level; terms, keepers and the enclave ask it.",
    enforced=("contract.levels", "contract.terms", "enclave.steps"),
    rules=("L-2", "C-9"),
    threats=(13,),
    codes=(TermsRefused,),
    claims=at_levels((Level.L5,), L1=_SCRIPTS_RUN, L2=_SCRIPTS_RUN, L3=_SCRIPTS_RUN, L4=_SCRIPTS_RUN),
    off=lambda: without(check_job_allowed, "if LEVELS[level].code is Code.BUILT_IN"),
)
def script_at_l5(ground: Ground) -> str:
    contract = verify_contract(ground.raw(lambda value: value["steps"][0].update(kind="script")))
    return f"a contract at {contract.terms.level} that runs a '{contract.terms.steps[0].kind}'"


remains(
    Residual(
        Actor.JOB,
        "its end, its times and its sizes as a message",
        "A job inside walls still chooses when and how it ends, how many messages of progress and checkpoints it sends and when, "
        "how much processor time and memory it takes, and below L5 the sizes of its outputs. Host, hub and store see these.",
    ),
    Residual(
        Actor.JOB,
        "outputs that say more than they should",
        "What a job writes into its declared outputs goes to their recipients, as far as the outputs' types let it: weights are "
        "numbers, and numbers can carry records. Parties at L2 to L4 read the script before they sign it.",
    ),
)
