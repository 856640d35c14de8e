"""Which registers each vendor's measurement is made of, so that nobody signs a digest of half of them.

Source: docs/spec/attestation.md §3 (A-10).
"""

from __future__ import annotations

from collections.abc import Mapping

_SHA256, _SHA384 = frozenset({64}), frozenset({96})
_ANY = frozenset({64, 96, 128})
_CCA = dict.fromkeys(("rim", "rem0", "rem1", "rem2", "rem3"), _ANY) | {"rpv": frozenset({128}), "platform": _SHA256}
_TDX = dict.fromkeys(("mrtd", "rtmr0", "rtmr1", "rtmr2", "rtmr3", "mr_config_id"), _SHA384)
_DEMANDED: Mapping[str, Mapping[str, frozenset[int]]] = {
    "sgx": {"mrenclave": _SHA256},
    "tdx": _TDX,
    "snp": {"measurement": _SHA384, "host_data": _SHA256},
    "nitro": dict.fromkeys(("pcr0", "pcr1", "pcr2"), _SHA384),
    "cca": _CCA,
}
_POSSIBLE: Mapping[str, Mapping[str, frozenset[int]]] = {
    "tdx": {"mr_service_td": _SHA384},  # of TDX 1.5
    "nitro": {"pcr8": _SHA384},  # where an image is signed
}


def register_faults(provider: str, registers: Mapping[str, str]) -> str:
    """What is wrong with these registers of a vendor, in words; empty where nothing is, or the vendor has no fixed ones.

    Args:
        provider: its name.
        registers: names to lower-case hex.
    """
    demanded = _DEMANDED.get(provider)
    if demanded is None:
        return ""
    known = {**demanded, **_POSSIBLE.get(provider, {})}
    missing, more = sorted(set(demanded) - set(registers)), sorted(set(registers) - set(known))
    odd = sorted(name for name in set(known) & set(registers) if len(registers[name]) not in known[name])
    parts = [("missing", missing), ("not among its registers", more), ("of another length", odd)]
    return "; ".join(f"{what}: {', '.join(names)}" for what, names in parts if names)
