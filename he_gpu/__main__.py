"""``python -m he_gpu`` is the command ``he-gpu``."""

import sys

from he_gpu.cli import main

sys.exit(main())
