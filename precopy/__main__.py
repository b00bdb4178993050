"""``python -m precopy``, and the program `precopy`: Ctrl-C ends it quietly from the start."""

import sys


def main() -> int:
    """Run the command line; return the exit status."""
    try:
        from precopy import cli

        return cli.main()
    except KeyboardInterrupt:
        print("precopy: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
