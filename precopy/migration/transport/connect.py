"""From what the user writes after ``--to`` to a transport."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from typing import Literal

from precopy.migration.transport.channel import Channel
from precopy.migration.transport.interface import Transport
from precopy.migration.transport.reach import Reach, SshReach
from precopy.migration.transport.rsync import Rsync
from precopy.migration.transport.target import split_target


def ssh_command(ssh: str | Sequence[str] | None) -> list[str]:
    """Return ssh's argument vector without host: as given, or ``PRECOPY_SSH``, or ``ssh``.

    Examples
    --------
    >>> ssh_command("ssh -p 2222 -o 'User=a b'")
    ['ssh', '-p', '2222', '-o', 'User=a b']
    """
    if ssh is None:
        ssh = os.environ.get("PRECOPY_SSH") or "ssh"
    words = shlex.split(ssh) if isinstance(ssh, str) else list(ssh)
    if not words:
        raise ValueError("ssh: got no words, expected a command such as 'ssh -p 2222'")
    return words


def connect(
    to: str,
    *,
    bandwidth: float | None = None,
    timeout: float = 30,
    ssh: str | Sequence[str] | None = None,
    transport: Literal["channel", "rsync"] = "channel",
) -> Transport:
    """Connect to a destination.

    Parameters
    ----------
    to : str
        ``DIR``, ``HOST:DIR`` or ``USER@HOST:DIR``; without a ``/`` in front at a host, below the
        user's home directory.
    bandwidth : float, optional
        The link's, in bytes per second: 50 ms of it may be unacknowledged, at least 256 KiB.
        Measured where it is not given.
    timeout : float
        Seconds without any progress after which the link counts as lost.
    ssh : str or sequence of str, optional
        The client with options; a string is split as a shell would, but no shell sees it. Default:
        the environment's ``PRECOPY_SSH``, or ``ssh``.
    transport : {"channel", "rsync"}
        rsync sends whole files, and needs no Python at the destination.

    Raises
    ------
    TransportError
        If the destination cannot be reached, or has no Python 3.9 or newer.

    Examples
    --------
    >>> import tempfile
    >>> directory = tempfile.TemporaryDirectory()
    >>> transport = connect(directory.name)
    >>> transport.begin("example", resume=False)
    >>> transport.truncate(b"/etc/motd", 0)
    >>> transport.write(b"/etc/motd", 0, b"hello")
    >>> _ = transport.barrier()
    >>> transport.listing()
    {b'/etc': ('directory', 4096), b'/etc/motd': ('file', 5)}
    >>> transport.withdraw()
    []
    >>> transport.close(); directory.cleanup()
    """
    if not timeout > 0:
        raise ValueError(f"timeout: got {timeout}, expected more than 0 seconds")
    if bandwidth is not None and not 0 < bandwidth < float("inf"):
        raise ValueError(f"bandwidth: got {bandwidth}, expected more than 0 bytes per second")
    host, directory = split_target(to)
    far = None if host is None else SshReach(to, host, ssh_command(ssh), connect_s=timeout)
    if far is None:
        directory = os.path.abspath(directory)
    if transport == "rsync":
        return Rsync(far, directory, bandwidth=bandwidth, timeout=timeout)
    reach = far or Reach(directory)
    return Channel(reach, os.fsencode(directory), bandwidth=bandwidth, timeout=timeout)
