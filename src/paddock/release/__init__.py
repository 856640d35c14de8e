"""The keeper's one decision: pure, numbered, fail closed; and the statements that a keeper signs."""

from paddock.release.decision import Grant, IssuedChallenge, KeeperFacts, ReleaseRequest, decide
from paddock.release.environment import check_environment
from paddock.release.statements import (
    LeaseStatement,
    ReleaseStatement,
    grant_info,
    read_answer,
    read_lease,
    read_release,
    sign_answer,
)

__all__ = [
    "Grant",
    "IssuedChallenge",
    "KeeperFacts",
    "LeaseStatement",
    "ReleaseRequest",
    "ReleaseStatement",
    "check_environment",
    "decide",
    "grant_info",
    "read_answer",
    "read_lease",
    "read_release",
    "sign_answer",
]
