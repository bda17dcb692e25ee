"""``python -m hpc`` is the command ``holdfast``."""

import sys

from hpc.cli import main

sys.exit(main())
