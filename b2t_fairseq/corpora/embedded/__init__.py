"""Corpora that need no download: written for this project, or installed with Python and its packages."""
