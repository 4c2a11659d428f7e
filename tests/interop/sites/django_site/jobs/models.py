"""What tasks have done."""

from __future__ import annotations

from django.db import models


class Done(models.Model):
    """One task."""

    text = models.TextField()
