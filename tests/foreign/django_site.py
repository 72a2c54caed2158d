"""A Django site that logs people in by mozilla-django-oidc, with what docs/openid.md shows.

python django_site.py FOLDER PORT; in FOLDER: settings.py, urls.py and the package shop
"""

import sys
from pathlib import Path
from typing import Any

import django
from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.core.management import call_command
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.middleware.csrf import get_token
from django.urls import include, path

folder = Path(sys.argv[1])
sys.path.insert(0, str(folder))
sys.modules["site_urls"] = sys.modules[__name__]

shown: dict[str, Any] = {
    "INSTALLED_APPS": [
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
    ]
}
exec((folder / "settings.py").read_text(), shown)
settings.configure(
    # The answer to a failure then says why.
    DEBUG=True,
    SECRET_KEY="a-secret-of-the-site",
    ALLOWED_HOSTS=["localhost"],
    ROOT_URLCONF="site_urls",
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ],
    DATABASES={
        "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": str(folder / "people.db")}
    },
    **{name: value for name, value in shown.items() if name.isupper()},
)
django.setup()


@login_required
def members(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"username": request.user.get_username(), "csrf": get_token(request)})


def home(request: HttpRequest) -> HttpResponse:
    return HttpResponse("Hello." if request.user.is_authenticated else "Bye.")


urlpatterns = [path("", home), path("members", members)]
exec(
    (folder / "urls.py").read_text(), {"urlpatterns": urlpatterns, "path": path, "include": include}
)

if __name__ == "__main__":
    call_command("migrate", verbosity=0)
    call_command("runserver", f"127.0.0.1:{sys.argv[2]}", use_reloader=False)
