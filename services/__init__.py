"""Everything of scanpush but HTTP, which is in handlers/.

    settings     config.yaml and the environment as frozen models
    scenes       one attempt to log in: its states, its stores, and what moves it
    push         the sockets and polls of pages, and the notices between nodes
    web_login    logins on WeChat's web pages and by a mini program
    wechat       callbacks from WeChat, and calls to it
    people       who has logged in
    tokens       the JWTs that are issued, and their keys
    container    builds all of it

The modules beside the folders are the ground floor: errors, ids, clock, tasks, logs, metrics,
SQLite, Redis, rate limits. Imports point one way: handlers -> web_login, push -> scenes ->
people, tokens, wechat -> ground floor.
"""

VERSION = "0.1.0"
"""In the banner, in ``--version`` and on the operator's page."""
