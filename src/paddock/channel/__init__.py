"""Connections whose ends prove to each other who and what they are: attested TLS."""

from paddock.channel.address import pinned, pinned_server, split_address
from paddock.channel.client import ClientTls
from paddock.channel.end import LIFE, Attest, OwnEnd
from paddock.channel.server import Gate, ServerTls

__all__ = ["LIFE", "Attest", "ClientTls", "Gate", "OwnEnd", "ServerTls", "pinned", "pinned_server", "split_address"]
