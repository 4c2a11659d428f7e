"""The same site in Django."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any
from wsgiref.validate import validator

from django.core.wsgi import get_wsgi_application

os.environ["DJANGO_SETTINGS_MODULE"] = "settings"

site = get_wsgi_application()


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """The site, checked; but for files, which the server sends where nobody is between."""
    app = site if environ["PATH_INFO"] == "/download" else validator(site)
    return app(environ, start_response)
