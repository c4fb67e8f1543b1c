"""A relay for direct delivery has no server of its own to look at."""

from __future__ import annotations

from maildrop.delivery.relay_settings import Protocol, RelaySettings
from maildrop.smtp import Security
from maildrop.status.probe import Suspect, probe_all


def test_nothing_is_looked_up_for_direct_delivery() -> None:
    """It is said that there is nothing to try, and that is no failure."""
    settings = RelaySettings(name="out", hostname="me", port=25, security=Security.NONE, protocol=Protocol.MX)
    ((name, (finding,)),) = probe_all([Suspect(settings=settings)], step_seconds=1.0, tell=lambda _stages: None)
    assert name == "out"
    assert (finding.step, finding.code) == ("lookup", 0)
    assert "each recipient's domain" in finding.what
