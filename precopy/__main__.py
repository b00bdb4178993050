"""``python -m precopy``."""

import sys

from precopy.cli import main

sys.exit(main())
