"""Import of strace output into the access log: its lines, the replay of its calls, the import."""

from precopy.access.strace.importing import ImportSummary, import_strace

__all__ = ["ImportSummary", "import_strace"]
