"""Contracts: typed terms, canonical bytes, signatures, states and security levels. Pure: no clock, no file, no socket."""

from paddock.contract.asset import AssetKind, AssetRecord
from paddock.contract.draft import Directory, resolve_draft
from paddock.contract.levels import LEVELS, Level, LevelPolicy
from paddock.contract.party import PartyRecord
from paddock.contract.request import Request, verify_request
from paddock.contract.signing import (
    CONTRACT_TYPE,
    SignedContract,
    contract_id,
    open_proposal,
    propose,
    sign_contract,
    verify_contract,
)
from paddock.contract.states import ContractEvent, ContractState, RunState, next_state
from paddock.contract.terms import Terms

__all__ = [
    "CONTRACT_TYPE",
    "LEVELS",
    "AssetKind",
    "AssetRecord",
    "ContractEvent",
    "ContractState",
    "Directory",
    "Level",
    "LevelPolicy",
    "PartyRecord",
    "Request",
    "RunState",
    "SignedContract",
    "Terms",
    "contract_id",
    "next_state",
    "open_proposal",
    "propose",
    "resolve_draft",
    "sign_contract",
    "verify_contract",
    "verify_request",
]
