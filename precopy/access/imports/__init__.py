"""Import of other programs' traces: block traces, a neutral CSV, logs of fio.

Left out on purpose: formats that do not say which requests write.
"""

from precopy.access.imports.importing import FORMATS, TraceSummary, import_trace

__all__ = ["FORMATS", "TraceSummary", "import_trace"]
