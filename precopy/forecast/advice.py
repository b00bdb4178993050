"""What could be done for less downtime, as far as the numbers of a forecast say."""

from __future__ import annotations

from collections.abc import Mapping

from precopy._check import bytes_text
from precopy.forecast.numbers import Forecast
from precopy.forecast.report import seconds_short

WORTH = 1.2
"""What brings less than this factor is not worth a sentence."""

PATIENT_RULE = "stall(10) & dip(0.1)"
"""Waits until nothing gets better, and then for a good moment."""


def advice(found: Forecast, needed: Mapping[float, float | None]) -> list[str]:
    """Return sentences, the most useful first.

    Parameters
    ----------
    found : Forecast
    needed : mapping of float to float or None
        By downtime goal that is not always reached: with how many bytes per second it would be, or
        None where no link helps.
    """
    said: list[str] = []
    for goal, bandwidth in needed.items():
        if bandwidth is None:
            said.append(f"no link brings {seconds_short(goal)} from everywhere")
            continue
        said.append(
            f"{seconds_short(goal)} takes a link of about {bytes_text(bandwidth)}/s, "
            f"{bandwidth / found.bandwidth:.2g} times this one"
        )
        break  # a larger goal needs less: one number is enough
    long_run = found.long_run
    blocks, files = (long_run.granularities[each] for each in ("block", "file"))
    if found.granularity == "file" and files > WORTH * max(blocks, 1):
        said.append(
            f"--granularity block: about {bytes_text(blocks)} wait in place of {bytes_text(files)}"
        )
    here, best = long_run.orders[found.order], long_run.orders[long_run.best_order]
    if here > WORTH * max(best, 1):
        said.append(
            f"--order {long_run.best_order}: {bytes_text(best)} wait in the long run in place of "
            f"{bytes_text(here)}"
        )
    patient, usual = found.patient, found.outcome
    if (
        patient.downtime_s is not None
        and patient.precopy_s is not None
        and (
            usual.downtime_s is None or usual.downtime_s.median > WORTH * patient.downtime_s.median
        )
    ):
        said.append(
            f"--until '{PATIENT_RULE}' waits for a good moment: it stands "
            f"{seconds_short(patient.downtime_s.median)}, after "
            f"{seconds_short(patient.precopy_s.median)}"
        )
    return said
