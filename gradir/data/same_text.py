"""When two texts say the same."""

from __future__ import annotations

import unicodedata


def same_text(text: str) -> str:
    """What two texts that say the same have in common: NFKC, case folded, white space as single blanks."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())
