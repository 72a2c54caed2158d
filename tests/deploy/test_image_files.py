"""What deploy/Dockerfile copies is what the server is made of."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_image_has_every_folder_that_the_server_imports() -> None:
    """A new one needs a line in the Dockerfile and one in .dockerignore."""
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text()
    copied = set(re.findall(r"(?m)^COPY (\w+) \1$", dockerfile))
    code = [ROOT / "server.py", *(path for name in copied for path in (ROOT / name).rglob("*.py"))]
    imported = set()
    for path in code:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                imported.add(node.module.partition(".")[0])
    own = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert imported & own == copied - {"static"}
    allowed = set(re.findall(r"(?m)^!(\S+)$", (ROOT / ".dockerignore").read_text()))
    assert copied <= allowed
