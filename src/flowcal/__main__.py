"""``python -m flowcal`` is the command `flowcal`."""

import sys

from flowcal.cli import main

if __name__ == "__main__":
    sys.exit(main())
