"""`python -m attack`."""

import sys

from attack.cli import main

sys.exit(main())
