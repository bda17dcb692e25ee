"""``python -m hpc`` is the command ``holdfast``."""

import sys

from hpc.cli.app import main

sys.exit(main())
