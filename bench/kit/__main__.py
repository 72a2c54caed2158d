"""`python -m bench.kit`."""

import sys

from bench.kit.cli import main

sys.exit(main())
