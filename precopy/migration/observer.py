"""Whoever follows a migration: told of its stages, its cycles, and what an operator should know."""

from __future__ import annotations

from precopy.migration.curves import CycleRecord


class Observer:
    """Follows a migration and says nothing; commands have one that prints."""

    def stage(self, name: str, text: str) -> None:
        """Take in that a stage begins: its name, and a sentence for people."""

    def cycle(self, number: int, record: CycleRecord) -> None:
        """Take in a cycle that has ended."""

    def rehearsal(self, predicted_downtime_s: float) -> None:
        """Take in what a rehearsal of the final copy predicts."""

    def note(self, text: str) -> None:
        """Take in what the operator should know."""
