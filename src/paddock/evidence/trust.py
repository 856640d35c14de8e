"""A relying party's trust policy: what it accepts, written in TOML. Nothing configured means everything refused.

A section for each provider: one that has none is not asked. A section names its roots; everything else in it begins
at its strictest.

Source: docs/spec/attestation.md §4 (A-1, A-2, A-8, A-11 to A-13).
"""

from __future__ import annotations

import tomllib
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from paddock.errors import TrustPolicyInvalid
from paddock.evidence.claims import ENVIRONMENT, GPUS, HOST
from paddock.evidence.roots import read_anchor

DEFAULT_COLLATERAL_AGE = 30 * 86_400
_Digest = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
_SvnName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,31}$")]
_Setting = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,31}$")]
Label = Literal["host", "gpu-0", "gpu-1", "gpu-2", "gpu-3", "gpu-4", "gpu-5", "gpu-6", "gpu-7"]


def _anchor(text: str) -> str:
    read_anchor(text)
    return text


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ProviderTrust(_Strict):
    """What every provider's section may say.

    Args:
        tcb_statuses: the vendor's words for states of the platform's firmware that are accepted.
        advisories: ids of advisories that may apply to the platform.
        min_svn: least security version numbers, by name.
        allow: settings that are refused unless they stand here, e.g. `smt`, `migration`.
    """

    tcb_statuses: Annotated[list[str], Field(min_length=1)] = ["UpToDate"]
    advisories: list[str] = []
    min_svn: dict[_SvnName, Annotated[int, Field(ge=0)]] = {}
    allow: list[_Setting] = []


class VendorTrust(ProviderTrust):
    """A hardware vendor's section.

    Args:
        roots: what its signatures must lead to: names of roots that come with Paddock (`intel-sgx`, `amd-milan`…), a
            certificate or public key in PEM, or `sha256:…` of a public key (SubjectPublicKeyInfo in DER).
        require_revocation: whether every certificate must be covered by a current revocation list.
    """

    roots: Annotated[list[Annotated[str, AfterValidator(_anchor)]], Field(min_length=1)]
    require_revocation: bool = False


class SgxTrust(VendorTrust):
    """Intel SGX's section.

    Args:
        signers: who may have signed the enclave, as MRSIGNER (64 hex digits). Where none stands here everybody may, for the
            measurement says what runs; name them for enclaves that read what their signer can seal (Occlum).
    """

    signers: list[Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]] = []


class SimulatedTrust(ProviderTrust):
    """Simulators whose evidence is accepted: their Ed25519 public keys as 64 hex digits."""

    keys: list[Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]]


class HostTrust(ProviderTrust):
    """Hosts whose statements are accepted, at level 2: their Ed25519 public keys as 64 hex digits."""

    keys: Annotated[list[Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]], Field(min_length=1)]


class LevelTrust(_Strict):
    """What must and what may stand beside the environment's own evidence at one level.

    Args:
        require: labels that must be there.
        allow: labels that may.
    """

    require: list[Label] = []
    allow: list[Label] = []


class TrustPolicy(_Strict):
    """What evidence a keeper, or whoever verifies a receipt, accepts.

    Args:
        max_age_seconds: evidence that says when it was made is refused when it is older.
        max_collateral_age_seconds: what a vendor issued longer ago is refused.
        sealed_images: measurements of machines whose whole image is measured: of confidential ones for L5, of plain ones with a
            TPM for L3.
        levels: what is demanded beside the environment's own evidence, by level.
        plugins: sections of providers that do not come with Paddock, by the provider's name.
    """

    max_age_seconds: Annotated[int, Field(ge=1, le=86_400)] = 300
    max_collateral_age_seconds: Annotated[int, Field(ge=3600, le=3 * 366 * 86_400)] = DEFAULT_COLLATERAL_AGE
    sealed_images: list[_Digest] = []
    levels: dict[Literal["L1", "L2", "L3", "L4", "L5"], LevelTrust] = {}
    simulated: SimulatedTrust | None = None
    host: HostTrust | None = None
    sgx: SgxTrust | None = None
    tdx: VendorTrust | None = None
    snp: VendorTrust | None = None
    nitro: VendorTrust | None = None
    tpm: VendorTrust | None = None
    azure: VendorTrust | None = None
    nvidia: VendorTrust | None = None
    cca: VendorTrust | None = None
    plugins: dict[Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,31}$")], dict[str, Any]] = {}

    def section(self, provider: str) -> ProviderTrust | dict[str, Any] | None:
        """What it says of a provider; a table that is not yet read for a plug-in, None where it says nothing."""
        if provider in BUILT_IN:
            found: ProviderTrust | None = getattr(self, provider)
            return found
        return self.plugins.get(provider)

    def configured(self) -> list[str]:
        """Names of the providers that it has a section for."""
        return [name for name in BUILT_IN if getattr(self, name) is not None] + sorted(self.plugins)

    def demanded(self, level: str) -> LevelTrust:
        """What is demanded beside the environment's own evidence at this level."""
        return next((found for name, found in self.levels.items() if name == level), LevelTrust())

    def accepts_nothing(self) -> bool:
        """Whether no kind of evidence can pass."""
        return all(name == "simulated" and not (self.simulated and self.simulated.keys) for name in self.configured())


BUILT_IN = ("simulated", "host", "sgx", "tdx", "snp", "nitro", "tpm", "azure", "nvidia", "cca")
"""Providers that come with Paddock."""
if not {ENVIRONMENT, HOST, *GPUS} == {ENVIRONMENT, *Label.__args__}:  # type: ignore[attr-defined]
    raise RuntimeError("the labels of a policy are not those of evidence")


def read_trust_policy(text: str) -> TrustPolicy:
    """Read a policy file's text; an empty one accepts nothing.

    Raises:
        TrustPolicyInvalid: not TOML, a member unknown or ill-typed.
    """
    try:
        return TrustPolicy.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise TrustPolicyInvalid(f"It is not TOML: {error}.") from error
    except ValidationError as error:
        row = error.errors(include_url=False, include_input=False, include_context=False)[0]
        raise TrustPolicyInvalid(f"{'.'.join(map(str, row['loc']))}: {row['msg']}.") from error
