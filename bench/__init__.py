"""Measures unspool beside the real uWSGI, in one run and on one file system: `python -m bench`."""
