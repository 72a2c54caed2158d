"""services.caches: what was kept longest ago is dropped first."""

from services.caches import Cache


def test_the_oldest_is_dropped_when_there_are_too_many() -> None:
    """Keeping again renews, reading does not."""
    cache: Cache[str, int] = Cache(3)
    for number, name in enumerate("abc"):
        cache.keep(name, number)
    assert cache.get("b") == 1
    cache.keep("a", 10)
    cache.keep("d", 3)
    assert list(cache.items()) == [("c", 2), ("a", 10), ("d", 3)]


def test_what_was_deleted_makes_room() -> None:
    """Entries may be deleted like those of any mapping."""
    cache: Cache[str, int] = Cache(2)
    for name in "abacad":
        cache.keep(name, 1)
        cache.pop("a", None)
    assert list(cache) == ["c", "d"]
