"""One suite for each port; every backend passes the same tests."""
