"""``python -m flowcal`` is the command `flowcal`."""

import sys

from flowcal.cli import main

sys.exit(main())
