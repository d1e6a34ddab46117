"""python -m hmrfit: the command line."""

import sys

from hmrfit.cli import main

sys.exit(main())
