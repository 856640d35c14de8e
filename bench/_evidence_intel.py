"""Intel's quotes, recorded ones, beside dcap-qvl's own call on the same bytes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from dcap_qvl import QuoteCollateralV3, verify_with_root_ca  # type: ignore[import-untyped]  # as in the provider

from paddock.evidence import Collateral, TrustPolicy, UnverifiedEvidence, verify_evidence
from paddock.evidence.collateral import CollateralItem
from paddock.evidence.provider import installed_providers
from paddock.evidence.roots import named_root

Case = tuple[str, Callable[[], object], Callable[[], object]]
_VECTORS = Path(__file__).resolve().parents[1] / "tests" / "evidence" / "vectors"
_NOW = datetime(2025, 6, 20, tzinfo=UTC)
_POLICIES = {
    "sgx/quote_v3": {
        "tcb_statuses": ["ConfigurationAndSWHardeningNeeded"],
        "advisories": ["INTEL-SA-00289", "INTEL-SA-00615"],
    },
    "tdx/quote_v4": {"allow": ["cached-keys", "dynamic-platform", "smt"]},
}


def cases() -> list[Case]:
    """Name, whole verification, and dcap-qvl's own: quote, collateral and root as bytes go into both."""
    return [_case(name, section) for name, section in _POLICIES.items()]


def _case(name: str, section: dict[str, list[str]]) -> Case:
    vendor = name.split("/", maxsplit=1)[0]
    quote = (_VECTORS / f"{name}.bin").read_bytes()
    published = (_VECTORS / f"{name}.collateral.json").read_bytes()
    (need,) = installed_providers()[vendor].needs(quote)
    collateral = Collateral([CollateralItem(need.kind, need.key, "2025-06-20T00:00:00Z", published)])
    evidence = UnverifiedEvidence(f"application/vnd.paddock.{vendor}-quote.v1", quote)
    policy = TrustPolicy.model_validate({vendor: {"roots": ["intel-sgx"], **section}})
    root, seconds = named_root("intel-sgx")[-1].der, int(_NOW.timestamp())

    def verify() -> object:
        return verify_evidence(evidence, policy=policy, collateral=collateral, now=_NOW)

    def alone() -> object:
        return verify_with_root_ca(quote, QuoteCollateralV3.from_json(published.decode()), root, seconds)

    return f"{vendor}: recorded quote", verify, alone
