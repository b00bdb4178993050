"""What the user writes after ``--to``: a directory of this machine, or one at a host."""

from __future__ import annotations


def split_target(to: str) -> tuple[str | None, str]:
    """Return host (None: this machine) and directory of a target.

    Raises
    ------
    ValueError
        If it is neither a directory nor ``[USER@]HOST:DIR``.

    Examples
    --------
    >>> split_target("backup@db2:/srv")
    ('backup@db2', '/srv')
    >>> split_target("./a:b")
    (None, './a:b')
    """
    front, colon, rest = to.partition(":")
    host: str | None = None
    if to.startswith("[") or "@[" in front:
        front, colon, rest = to.partition("]:")
        host = front.replace("[", "", 1) if colon else None
    elif colon and "/" not in front:
        host = front
    directory = to if host is None else rest
    if not directory:
        raise ValueError(f"to: got {to!r}, expected a directory or HOST:DIRECTORY")
    if host is not None and (not host or host.startswith("-") or any(c.isspace() for c in host)):
        raise ValueError(f"to: got {to!r}, expected the name of a host before the colon")
    if "\0" in to:
        raise ValueError("to: got a zero byte, expected a directory or HOST:DIRECTORY")
    return host, directory


def is_local(to: str) -> bool:
    """Return whether a destination is a directory of this machine; errors as `split_target`.

    Examples
    --------
    >>> is_local("/srv/copy"), is_local("./a:b"), is_local("host:/srv")
    (True, True, False)
    """
    return split_target(to)[0] is None
