"""What was analysed and decided: a database and a folder of clips.

In: a URL (SQLite by default, PostgreSQL) or a folder. Out: videos, jobs, segments, verdicts, and who did what. Knows no model and no page.
"""

from __future__ import annotations

from vlad.library.audit import verify
from vlad.library.store import Library

__all__ = ["Library", "verify"]
