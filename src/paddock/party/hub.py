"""The hub as a party sees it: a post box. Nothing it says is believed that somebody else did not sign."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from paddock.channel import ClientTls
from paddock.crypto.dsse import Envelope
from paddock.errors import CryptoRefused, HubAnswerRefused
from paddock.service.client import ServiceClient


class HubClient:
    """Typed calls to the hub's HTTP interface.

    Args:
        url: its address.
        tls: how to reach an https address.
    """

    def __init__(self, url: str, tls: ClientTls | None = None) -> None:
        self._client = ServiceClient("hub", url, tls=tls)
        self.url = self._client.url

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def info(self) -> dict[str, Any]:
        """Version and public facts."""
        return self._client.get("/v1/info")

    def publish_party(self, record: Envelope) -> None:
        """Post the own party record."""
        self._client.post("/v1/parties", record.to_dict())

    def party_record(self, fingerprint: str) -> Envelope:
        """The record of these keys: unverified."""
        return _envelope(self._client.get(f"/v1/parties/{fingerprint}"))

    def party_records(self, name: str) -> list[Envelope]:
        """Records of all who call themselves so. Anybody may: only a fingerprint tells them apart."""
        return _envelopes(self._client.get("/v1/parties", {"name": name}).get("parties"))

    def publish_asset(self, record: Envelope) -> None:
        """Post an own asset record."""
        self._client.post("/v1/assets", record.to_dict())

    def asset_records(self, owner: str, name: str | None = None, asset: str | None = None) -> list[Envelope]:
        """Asset records of an owner, newest first."""
        query = {key: value for key, value in (("owner", owner), ("name", name), ("asset", asset)) if value}
        return _envelopes(self._client.get("/v1/assets", query).get("assets"))

    def propose(self, contract: Envelope) -> dict[str, Any]:
        """Post a contract."""
        return self._client.post("/v1/contracts", contract.to_dict())

    def contract(self, contract: str) -> dict[str, Any]:
        """What the hub holds of a contract."""
        return self._client.get(f"/v1/contracts/{contract}")

    def contracts(self, party: str) -> Iterator[dict[str, Any]]:
        """Contracts of a party, newest first."""
        cursor: str | None = None
        while True:
            query = {"party": party, "limit": "100", **({"after": cursor} if cursor else {})}
            page = self._client.get("/v1/contracts", query)
            rows = page.get("contracts")
            if not isinstance(rows, list):
                raise HubAnswerRefused
            yield from rows
            following = page.get("next")
            if not rows or not following or following == cursor:
                return
            cursor = str(following)

    def add_signature(self, contract: str, envelope: Envelope) -> dict[str, Any]:
        """Post a signed contract."""
        return self._client.post(f"/v1/contracts/{contract}/signatures", envelope.to_dict())

    def act(self, contract: str, act: str, request: Envelope) -> dict[str, Any]:
        """`reject` or `cancel` a contract."""
        return self._client.post(f"/v1/contracts/{contract}/{act}", request.to_dict())

    def request_run(self, request: Envelope) -> str:
        """Ask for a run; its id."""
        return str(self._client.post("/v1/runs", request.to_dict()).get("run"))

    def runs(self, contract: str | None = None, party: str | None = None) -> list[dict[str, Any]]:
        """Runs, newest first."""
        query = {key: value for key, value in (("contract", contract), ("party", party)) if value}
        rows = self._client.get("/v1/runs", query).get("runs")
        if not isinstance(rows, list):
            raise HubAnswerRefused
        return rows

    def run(self, run: str) -> dict[str, Any]:
        """What the hub says of a run."""
        return self._client.get(f"/v1/runs/{run}")

    def events(self, run: str, after: int, wait_seconds: int) -> dict[str, Any]:
        """Events of a run after a sequence number; waits for some up to `wait_seconds`."""
        return self._client.get(
            f"/v1/runs/{run}/events", {"after": after, "wait": wait_seconds}, wait_seconds=wait_seconds
        )

    def cancel_run(self, run: str, request: Envelope) -> dict[str, Any]:
        """Cancel a run."""
        return self._client.post(f"/v1/runs/{run}/cancel", request.to_dict())

    def resume_run(self, run: str, request: Envelope) -> dict[str, Any]:
        """Go on with a run."""
        return self._client.post(f"/v1/runs/{run}/resume", request.to_dict())

    def receipt(self, run: str) -> Envelope:
        """A run's receipt: unverified."""
        return _envelope(self._client.get(f"/v1/runs/{run}/receipt"))


def _envelope(value: object) -> Envelope:
    try:
        return Envelope.from_dict(value.get("envelope") if isinstance(value, dict) else None)
    except CryptoRefused as error:
        raise HubAnswerRefused from error


def _envelopes(values: object) -> list[Envelope]:
    if not isinstance(values, list):
        raise HubAnswerRefused
    return [_envelope(value) for value in values]
