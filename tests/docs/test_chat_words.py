"""docs/chat.md names the words that answer the question, all of them and no others."""

from services.scenes.chat import ALLOW, DENY
from tests.docs.pages import ROOT, spans, tables


def test_the_words_are_those_of_the_code() -> None:
    """A word that is documented works, and one that works is documented."""
    rows = [row for table in tables(ROOT / "docs" / "chat.md") for row in table]
    words = {row[0]: set(spans(row[1])) for row in rows if row[0] in ("allow", "deny")}
    assert words == {"allow": ALLOW, "deny": DENY}
