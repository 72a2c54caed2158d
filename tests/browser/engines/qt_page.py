"""Opens a page in the Chromium that Qt has inside, on an old Python: `qt_page.py URL EXPRESSION`.

Prints what the expression is in the page, as JSON, as soon as it is true, or after fifteen seconds.
"""

import json
import sys

from PyQt5.QtCore import QTimer, QUrl
from PyQt5.QtWebEngineWidgets import QWebEngineView
from PyQt5.QtWidgets import QApplication

application = QApplication(sys.argv[:1])
view = QWebEngineView()
view.resize(1280, 800)
view.show()
turns = [150]


def heard(value: object) -> None:
    turns[0] -= 1
    if value or turns[0] < 0:
        print(json.dumps(value))
        application.quit()
    else:
        QTimer.singleShot(100, look)


def look() -> None:
    view.page().runJavaScript(sys.argv[2], heard)


view.loadFinished.connect(lambda ok: look())
view.setUrl(QUrl(sys.argv[1]))
application.exec_()
