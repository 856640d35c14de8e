"""The keeper's one decision: pure, numbered, fail closed."""

from paddock.release.decision import Grant, IssuedChallenge, KeeperFacts, ReleaseRequest, decide

__all__ = ["Grant", "IssuedChallenge", "KeeperFacts", "ReleaseRequest", "decide"]
