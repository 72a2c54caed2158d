"""A site on Django with scan-to-login: scan, verify, a session of its own, log-out.

pip install ../../packages/python django
SCANPUSH_URL=http://127.0.0.1:8888 python app.py runserver 3000    # then open http://127.0.0.1:3000

scanpush must know the site: SCANPUSH_SERVER__ALLOWED_ORIGINS=http://127.0.0.1:3000 scripts/run
"""

import os
import secrets
import sys

from django.conf import settings
from django.core.management import execute_from_command_line
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template import engines
from django.urls import path
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from scanpush_client import LoginClaims, Scanpush
from scanpush_client.django import token_required

SCANPUSH_URL = os.environ.get("SCANPUSH_URL", "http://127.0.0.1:8888")
# The server's public_url once that is set; without one it says "scanpush".
ISSUER = os.environ.get("SCANPUSH_ISSUER", "scanpush")
HTTPS = "SITE_HTTPS" in os.environ

settings.configure(
    SECRET_KEY=os.environ.get("SITE_SECRET", secrets.token_urlsafe()),
    ALLOWED_HOSTS=["127.0.0.1", "localhost"],
    ROOT_URLCONF=__name__,
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
    ],
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates"}],
    # Sessions of this process. A real site keeps them in its database: the default.
    SESSION_ENGINE="django.contrib.sessions.backends.cache",
    SESSION_COOKIE_AGE=8 * 3600,
    SESSION_COOKIE_SECURE=HTTPS,
    CSRF_COOKIE_SECURE=HTTPS,
)

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>A site on Django</title>
{% if user %}
<p>Hello, {{ user }}.</p>
<form method="post" action="/logout">{% csrf_token %}<button>Log out</button></form>
{% else %}
<script type="module" src="{{ scanpush_url }}/static/scan-login.js"></script>
<scan-login></scan-login>
<script type="module">
document.querySelector("scan-login").addEventListener("login", async ({ detail }) => {
  const headers = { Authorization: `Bearer ${detail.token}` };
  if ((await fetch("/session", { method: "POST", headers })).ok) location.reload();
});
</script>
{% endif %}</html>
"""

scanpush = Scanpush(SCANPUSH_URL, issuer=ISSUER)


@require_GET
@never_cache
def home(request: HttpRequest) -> HttpResponse:
    values = {"user": request.session.get("user"), "scanpush_url": SCANPUSH_URL}
    return HttpResponse(engines["django"].from_string(PAGE).render(values, request))


# Needs no CSRF token: the login token is in a header that no other site can make a browser send.
@token_required(scanpush)
@require_POST
def log_in(request: HttpRequest, login: LoginClaims) -> HttpResponse:
    request.session.cycle_key()
    request.session["user"] = login.sub
    return HttpResponse(status=204)


@require_POST
def log_out(request: HttpRequest) -> HttpResponse:
    request.session.flush()
    return redirect("/")


urlpatterns = [path("", home), path("session", log_in), path("logout", log_out)]

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
