"""A trust policy in plain words, and a template of one: both made from the types that keepers judge by."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from paddock.contract.levels import LEVELS, Tee
from paddock.crypto.x509 import Certificate
from paddock.evidence.provider import installed_providers
from paddock.evidence.roots import named_root, read_anchor, root_names
from paddock.evidence.trust import (
    BUILT_IN,
    HostTrust,
    LevelTrust,
    ProviderTrust,
    SgxTrust,
    SimulatedTrust,
    TrustPolicy,
    VendorTrust,
)

WHAT: Mapping[str, str] = MappingProxyType(
    {
        "sgx": "Intel SGX enclaves",
        "tdx": "Intel TDX confidential machines",
        "snp": "AMD SEV-SNP confidential machines",
        "nitro": "AWS Nitro enclaves",
        "host": "hosts' own statements about their runtime and walls: level 2, with a TPM's quote beside it level 3",
        "tpm": "TPM 2.0 quotes over a machine's boot: beside a host's statement, under the label host",
        "azure": "Azure confidential machines behind their paravisor",
        "nvidia": "NVIDIA GPUs",
        "cca": "Arm CCA realms",
        "simulated": "simulators: software in place of hardware",
    }
)
"""Providers that come with Paddock, in words."""
_TEE: Mapping[str, Tee] = MappingProxyType(
    {
        "sgx": Tee.ENCLAVE,
        "tdx": Tee.CONFIDENTIAL_VM,
        "snp": Tee.CONFIDENTIAL_VM,
        "nitro": Tee.CONFIDENTIAL_VM,
        "azure": Tee.CONFIDENTIAL_VM,
        "cca": Tee.CONFIDENTIAL_VM,
        "host": Tee.SOFTWARE,
        "tpm": Tee.TPM,
    }
)
_ROOTS_OF: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "sgx": ("intel-",),
        "tdx": ("intel-",),
        "snp": ("amd-",),
        "nitro": ("aws-",),
        "azure": ("amd-", "intel-"),
        "nvidia": ("nvidia-",),
    }
)
_MEMBER = re.compile(r"^    (\w+): (.*)$")
_WIDTH = 110


@dataclass(frozen=True)
class RootFacts:
    """A root for people: its name or `PEM`, the digest of its public key, its certificate's own name."""

    name: str
    digest: str
    subject: str
    until: str

    def as_dict(self) -> dict[str, str]:
        """As JSON values."""
        return {"name": self.name, "digest": self.digest, "subject": self.subject, "valid_until": self.until}


def shipped_roots() -> list[RootFacts]:
    """Roots that come with Paddock."""
    return [_facts(name, named_root(name)[-1]) for name in root_names()]


def roots_of(section: VendorTrust) -> list[RootFacts]:
    """What a section's `roots` name."""
    found = []
    for text in section.roots:
        anchors = read_anchor(text)
        name = text if "BEGIN" not in text else "PEM in the policy"
        if anchors.certificates:
            found += [_facts(name, certificate) for certificate in anchors.certificates]
        else:
            found += [
                RootFacts(name if text not in anchors.keys else "a public key", key, "", "") for key in anchors.keys
            ]
    return found


def suggested_roots(vendor: str) -> list[str]:
    """Names of roots that come with Paddock and belong to a provider."""
    return [name for name in root_names() if name.startswith(_ROOTS_OF.get(vendor, ("-",)))]


def _facts(name: str, certificate: Certificate) -> RootFacts:
    digest = certificate.public_key().fingerprint()
    return RootFacts(name, digest, certificate.subject, f"{certificate.not_after:%Y-%m-%d}")


# --- explain ------------------------------------------------------------------------------------------------------


def explain(policy: TrustPolicy) -> list[str]:
    """What it accepts, refuses and lacks, as lines."""
    lines = []
    if policy.accepts_nothing():
        lines += [
            "This policy accepts no evidence at all: nothing is configured, so every release is refused.",
            "Missing: a section for the hardware that your runs use, with the vendor's root, e.g.",
            "  paddock keeper policy trust sgx --root intel-sgx",
            "  paddock keeper policy explain --template    (a whole policy with every member explained)",
        ]
    lines += [
        f"Evidence that says when it was made is refused when it is older than {policy.max_age_seconds} s.",
        f"What a vendor issued more than {policy.max_collateral_age_seconds / 86_400:g} days ago is refused (collateral).",
        "Evidence of an environment that can be debugged is always refused; no member can allow it.",
    ]
    for name in policy.configured():
        lines += ["", *_section(name, policy)]
    lines += ["", "By level, beside the signatures of all parties:"]
    for level in LEVELS:
        lines += [f"  {level}: {sentence}" for sentence in level_sentences(policy, level)]
    silent = [name for name in BUILT_IN if name not in policy.configured()]
    if silent:
        lines += ["", f"Refused, for there is no section: {', '.join(silent)}."]
    problems = shortcomings(policy)
    if problems:
        lines += ["", "To be looked at:", *(f"  - {problem}" for problem in problems)]
    return lines


def level_sentences(policy: TrustPolicy, level: str) -> list[str]:
    """What evidence this policy lets pass at a level."""
    accepted = LEVELS[level].evidence  # type: ignore[index]  # a level is its text
    names = [name for name in policy.configured() if _TEE.get(name) in accepted]
    if Tee.SEALED_VM in accepted and Tee.CONFIDENTIAL_VM not in accepted and policy.sealed_images:
        machines = [name for name in policy.configured() if _TEE.get(name) is Tee.CONFIDENTIAL_VM]
        names += [f"{name} (only the {len(policy.sealed_images)} sealed images)" for name in machines]
    if (
        Tee.MEASURED_HOST in accepted
        and Tee.SOFTWARE not in accepted
        and "tpm" in policy.configured()
        and policy.sealed_images
    ):
        names.append(f"tpm (only the {len(policy.sealed_images)} sealed images)")
    beside = policy.demanded(level)
    quoted = {"host", "tpm"} <= set(policy.configured()) and "host" in {*beside.require, *beside.allow}
    if quoted and Tee.MEASURED_HOST in accepted and Tee.SOFTWARE not in accepted:
        names.append("host with a tpm quote beside it that holds its runtime")
    names += [f"plug-in {name}" for name in policy.plugins]
    if policy.simulated is not None and policy.simulated.keys:
        names.append("SIMULATED, if every party signed that")
    if Tee.NONE in accepted:
        return ["demands no evidence; whatever is configured above may be shown."]
    demanded = beside
    text = f"accepts {', '.join(names)}." if names else "refuses everything: no section gives such evidence."
    if demanded.require:
        text += f" Demands beside it: {', '.join(demanded.require)}."
    if demanded.allow:
        text += f" Allows beside it: {', '.join(demanded.allow)}."
    return [text]


def shortcomings(policy: TrustPolicy) -> list[str]:
    """What can never work as it stands, or is laxer than it looks."""
    found = []
    for level, demanded in sorted(policy.levels.items()):
        for label in (*demanded.require, *demanded.allow):
            vendor = "tpm" if label == "host" else "nvidia"
            if vendor not in policy.configured() and not policy.plugins:
                found.append(f"[levels.{level}] speaks of '{label}', and there is no section [{vendor}] that reads it.")
    beside = policy.demanded("L3")
    if "tpm" in policy.configured() and "host" not in policy.configured():
        found.append("[tpm]: a quote alone says nothing of the runtime and passes at no level but 1; it needs [host].")
    elif {"tpm", "host"} <= set(policy.configured()) and "host" not in {*beside.require, *beside.allow}:
        found.append('[tpm] and [host] are level 3 together only if [levels.L3] has allow = ["host"].')
    for name in policy.configured():
        if name not in installed_providers():
            found.append(f"[{name}]: no such provider is installed, so the section does nothing.")
        section = policy.section(name)
        if isinstance(section, ProviderTrust):
            found += _laxness(name, section)
    if policy.simulated is not None and policy.simulated.keys:
        found.append(
            "[simulated] accepts software in place of hardware: it protects nobody from the machine's operator."
        )
    return found


def _laxness(name: str, section: ProviderTrust) -> list[str]:
    found = []
    lax = [status for status in section.tcb_statuses if status != "UpToDate"]
    if lax:
        found.append(f"[{name}] accepts platforms that are not up to date: {', '.join(lax)}.")
    if section.advisories:
        found.append(f"[{name}] accepts known faults of the platform: {', '.join(section.advisories)}.")
    if section.allow:
        found.append(f"[{name}] allows settings that weaken the environment: {', '.join(section.allow)}.")
    return found


def _section(name: str, policy: TrustPolicy) -> list[str]:
    section = policy.section(name)
    lines = [f"[{name}] {WHAT.get(name, 'a plug-in')}"]
    if isinstance(section, VendorTrust):
        for root in roots_of(section):
            ends = f", valid until {root.until}" if root.until else ""
            lines.append(
                f"  signatures must lead to: {root.name} {root.subject} {root.digest}{ends}".replace("  sha", " sha")
            )
        how = (
            "every certificate must be covered by a current one" if section.require_revocation else "used where at hand"
        )
        lines.append(f"  revocation lists: {how}")
        if isinstance(section, SgxTrust):
            lines.append(f"  signed by: {', '.join(section.signers) or 'anybody'}")
    elif isinstance(section, SimulatedTrust):
        lines += [f"  accepts the simulator {key}" for key in section.keys] or ["  names no simulator: refuses all"]
    elif isinstance(section, HostTrust):
        lines += [f"  accepts the host {key}" for key in section.keys]
    else:
        lines.append(f"  {section}")
    if isinstance(section, ProviderTrust):
        if name not in {"simulated", "host"}:
            lines.append(f"  state of the platform: {', '.join(section.tcb_statuses)} and no other")
            lines.append(f"  advisories that may apply: {', '.join(section.advisories) or 'none'}")
        least = ", ".join(f"{svn} at least {value}" for svn, value in sorted(section.min_svn.items()))
        if least:
            lines.append(f"  version numbers: {least}")
        lines.append(f"  settings allowed: {', '.join(section.allow) or 'none that weakens the environment'}")
    return lines


def as_json(policy: TrustPolicy) -> dict[str, Any]:
    """What `explain` says, for scripts."""
    roots = {
        name: [root.as_dict() for root in roots_of(section)]
        for name in policy.configured()
        if isinstance(section := policy.section(name), VendorTrust)
    }
    return {
        "accepts_nothing": policy.accepts_nothing(),
        "policy": policy.model_dump(mode="json", exclude_none=True),
        "roots": roots,
        "levels": {str(level): level_sentences(policy, level) for level in LEVELS},
        "refused": [name for name in BUILT_IN if name not in policy.configured()],
        "to_be_looked_at": shortcomings(policy),
    }


_SECTIONS: Mapping[str, type[ProviderTrust]] = MappingProxyType(
    {"sgx": SgxTrust, "simulated": SimulatedTrust, "host": HostTrust}
)

# --- template -----------------------------------------------------------------------------------------------------


def members(model: type[BaseModel]) -> dict[str, str]:
    """What each member means: the `Args` of the docstrings of a type and those that it builds on."""
    found: dict[str, str] = {}
    for cls in reversed(model.__mro__):
        name = ""
        for line in (cls.__doc__ or "").partition("Args:")[2].splitlines():
            text = line.removeprefix("    ") if line.startswith("        ") else line
            match = _MEMBER.match(text)
            if match:
                name = match[1]
                found[name] = match[2].strip()
            elif name and line.strip():
                found[name] += f" {line.strip()}"
    return {name: found[name] for name in model.model_fields if name in found}


def template() -> str:
    """A policy with every member, explained and commented out: as it is, it accepts nothing."""
    lines = [
        "# What evidence this keeper accepts. As it stands, everything is commented out and everything is refused.",
        "# Take the sign away before a member and before the head of its section to make it count. It is read anew at",
        "# every decision. Check it with: paddock keeper policy check",
        "",
        *_explained(TrustPolicy, skip={"levels", "plugins", *BUILT_IN}),
    ]
    lines += ["", *_comment(f"levels: {members(TrustPolicy)['levels']}"), "#[levels.L5]"]
    lines += _explained(LevelTrust)
    first = True
    for name in BUILT_IN:
        kind = _SECTIONS.get(name, VendorTrust)
        lines += ["", *_comment(WHAT[name]), f"#[{name}]"]
        lines += _explained(kind, name) if first or name == "sgx" else _bare(kind, name)
        first = False
    lines += ["", *_comment(f"plugins: {members(TrustPolicy)['plugins']}"), "#[plugins.name]"]
    return "\n".join(lines) + "\n"


def _explained(model: type[BaseModel], section: str = "", skip: Iterable[str] = ()) -> list[str]:
    about = members(model)
    lines = []
    for name in model.model_fields:
        if name not in skip:
            lines += [
                *_comment(f"{name}: {about.get(name, (model.__doc__ or '').splitlines()[0])}"),
                _assigned(model, name, section),
            ]
    return lines


def _bare(model: type[BaseModel], section: str) -> list[str]:
    return [_assigned(model, name, section) for name in model.model_fields]


def _assigned(model: type[BaseModel], name: str, section: str) -> str:
    default = model.model_fields[name].default
    if name == "roots":
        default = suggested_roots(section) or ["sha256:" + "0" * 64]
    elif name == "keys":
        default = ["0" * 64]
    return f"#{name} = {_toml([] if default is PydanticUndefined else default)}"


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(_toml(each) for each in value)}]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(each)}" for key, each in value.items()) + " }" if value else "{}"
    return f'"{value}"' if isinstance(value, str) else str(value)


def _comment(text: str) -> list[str]:
    lines, line = [], "#"
    for word in text.split():
        if len(line) + len(word) >= _WIDTH:
            lines.append(line)
            line = "#  "
        line += f" {word}"
    return [*lines, line]
