"""requirements.lock: each package by its hash, and all that setup.cfg asks for."""

import configparser
import json
import re
import subprocess

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.docs.pages import ROOT
from tests.servers import need

LOCK = ROOT / "requirements.lock"

_ENTRY = re.compile(r"^(?P<name>[^\s=]+)==(?P<version>[^\s;]+)(?: ; (?P<marker>[^\\]+?))? ?\\$")
_HASH = re.compile(r"^    --hash=sha256:[0-9a-f]{64}(?: \\)?$")


def locked() -> dict[str, Version]:
    """Every package of the lock; a line that is none, a hash or a comment fails."""
    found: dict[str, Version] = {}
    hashes = 1
    for line in LOCK.read_text().splitlines():
        if entry := _ENTRY.match(line):
            assert hashes, found
            hashes = 0
            found[canonicalize_name(entry["name"])] = Version(entry["version"])
            assert entry["marker"] is None or Marker(entry["marker"])
        elif _HASH.match(line):
            hashes += 1
        else:
            assert line.strip().startswith("#"), line
    assert hashes, found
    return found


def test_the_lock_satisfies_setup_cfg() -> None:
    """Each dependency of the server is locked to a version within its bounds, with its hashes."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    versions = locked()
    for line in config["options"]["install_requires"].strip().splitlines():
        asked = Requirement(line)
        assert asked.specifier.contains(versions[canonicalize_name(asked.name)]), line


@pytest.mark.slow
def test_the_bill_of_materials_names_what_is_locked() -> None:
    """CycloneDX knows every package of the lock by its version, each with its hashes."""
    program = need("cyclonedx-py", hint="scripts/test installs it")
    asked = ("requirements", str(LOCK), "--output-reproducible", "--of", "JSON", "-o", "-")
    printed = subprocess.run([program, *asked], capture_output=True, check=True, timeout=60)
    document = json.loads(printed.stdout)
    assert document["bomFormat"] == "CycloneDX"
    components = document["components"]
    assert {one["name"]: Version(one["version"]) for one in components} == locked()
    assert all(one["externalReferences"][0]["hashes"] for one in components)
