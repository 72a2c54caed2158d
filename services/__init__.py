"""The version of this program: in the banner, in ``--version`` and on the operator's page."""

VERSION = "0.1.0"
