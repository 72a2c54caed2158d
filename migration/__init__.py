"""scripts/migrate: all that is kept of people, sessions, screens and what happened, from SQLite to
MongoDB and back, while the server goes on serving from the source.

`copying` compares a source with a destination page by page and applies the differences; `people`,
`sessions` and `events` say what one record of each sort looks like on the other side; `command` is
the command. What lives only for minutes (scenes, typed codes, grants) is not copied.
"""
