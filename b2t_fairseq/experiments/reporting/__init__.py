"""The report: findings first, then every table and figure beside what is published, then environment and commands."""

from .pages import write

__all__ = ["write"]
