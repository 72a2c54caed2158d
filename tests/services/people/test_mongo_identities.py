"""Names that never collide, whatever openids and app ids look like."""

from hypothesis import given
from hypothesis import strategies as st

from services.ids import AppId, OpenId
from services.people.mongo_identities import key_of
from services.people.store import Identity

PARTS = st.text(alphabet="ab:1$.", max_size=6)


@given(one=st.tuples(PARTS, PARTS), two=st.tuples(PARTS, PARTS))
def test_two_identities_have_two_names(one: tuple[str, str], two: tuple[str, str]) -> None:
    """Equal names mean equal app_id and equal openid."""
    names = [key_of(Identity(AppId(app), OpenId(openid))) for app, openid in (one, two)]
    assert (names[0] == names[1]) == (one == two)
    assert all(name.startswith("openid:") for name in names)
