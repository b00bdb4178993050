"""The published evaluation: its files, its writes, its claims, each beside our number.

References
----------
Paper, section 5.
"""

from precopy.paper.claims import CYCLE, EXISTING, LIMITS, ORDERS, PUBLISHED, Claim
from precopy.paper.evaluation import Reproduction, files, reproduce, skewed, uniform

__all__ = [
    "CYCLE",
    "EXISTING",
    "LIMITS",
    "ORDERS",
    "PUBLISHED",
    "Claim",
    "Reproduction",
    "files",
    "reproduce",
    "skewed",
    "uniform",
]
