"""``python -m jupyter_streaminfer`` is ``jupyter streaminfer``."""

import sys

from jupyter_streaminfer.client.cli import main

sys.exit(main())
