"""Receipts: what a run did, signed by its attested key, verified offline."""

from paddock.receipt.statement import OutputReceipt, Receipt, sign_receipt, wrap_purpose
from paddock.receipt.verify import VerifiedReceipt, read_receipt, verify_receipt

__all__ = [
    "OutputReceipt",
    "Receipt",
    "VerifiedReceipt",
    "read_receipt",
    "sign_receipt",
    "verify_receipt",
    "wrap_purpose",
]
