"""scripts/migrate: everything that is kept of people and their sessions, from SQLite to MongoDB and
back, while the server goes on serving from the source.

`copying` compares a source with a destination page by page and applies the differences; `people`
and `sessions` say what one record of each sort looks like on the other side; `command` is the
command. What lives only for minutes (scenes, typed codes, grants) is not copied.
"""
