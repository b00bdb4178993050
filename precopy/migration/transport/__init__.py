"""How the bytes get to the destination: one interface, and a channel to a far side."""

from precopy.migration.transport.connect import connect as connect
from precopy.migration.transport.interface import (
    Acknowledged,
    Started,
    StartError,
    TargetError,
    Transport,
    TransportError,
    VerifyError,
)
from precopy.migration.transport.taking import take as take

__all__ = [
    "Acknowledged",
    "StartError",
    "Started",
    "TargetError",
    "Transport",
    "TransportError",
    "VerifyError",
    "connect",
    "take",
]
