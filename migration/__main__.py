"""`python -m migration`."""

import signal
import sys

if __name__ == "__main__":
    # Until the command handles it, Ctrl-C ends the process without a traceback of these imports.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from migration.command import main
from services.logs import configure, guard_output
from services.settings.models import LoggingSettings

guard_output()
configure(LoggingSettings())
sys.exit(main())
