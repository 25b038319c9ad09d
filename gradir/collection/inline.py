"""Inline markup of reStructuredText and Markdown, taken out of a paragraph."""

from __future__ import annotations

import re

_RULES: list[tuple[re.Pattern[str], str]] = [
    (re.compile(pattern), replacement)
    for pattern, replacement in [
        (r"<!--.*?-->", " "),
        (r"</?(Tip|hfoptions?|frameworkcontent|pt|tf|br|p|div|span|img|a|small|code|sup|sub|b|i|em)\b[^<>]*>", " "),
        (r"\[!(NOTE|TIP|WARNING|IMPORTANT)\]", ""),
        (r"!\[[^\]]*\]\([^)]*\)", " "),  # images
        (r"\[`?~?\.?([^\]`]+)`?\]\((?:[^()\s]|\([^()]*\))*\)", r"\1"),  # [text](address)
        (r"\[`~?\.?([^\]`]+)`\]", r"\1"),  # [`Name`]
        (r":[a-zA-Z][\w:+-]*:`([^`<]+?)\s*<[^`>]*>`", r"\1"),  # :role:`text <target>`
        (r":[a-zA-Z][\w:+-]*:`~?!?\.?([^`]+)`", r"\1"),  # :role:`~target`
        (r"``+(.+?)``+", r"\1"),
        (r"`([^`<]+?)\s*<[^`>]*>`__?", r"\1"),  # `text <address>`_
        (r"`~?([^`]+)`_{0,2}", r"\1"),
        (r"\s*\[(?:\d{1,2}|[A-Z]\w{1,12}\d{2,4})\]_", ""),  # footnotes [1]_
        (r"\s*\[#?\w+\]_(?=\W|$)", ""),
        (r"\*\*([^*\s](?:[^*]*[^*\s])?)\*\*", r"\1"),
        (r"(?<![\w*\\])\*([^*\s](?:[^*]*[^*\s])?)\*(?![\w*])", r"\1"),
        (r"\[([^\]\[]+)\]\((?:https?:[^)\s]*|#[^)\s]*|\.{0,2}/[^)\s]*)\)", r"\1"),  # the same around code
        (r"\bRead more in the [\w ]*User Guide\b\.?", ""),
        (r"<?\bhttps?://[^\s>)\]]+>?", ""),
        (r"\\([*_`|<>\s])", r"\1"),
        (r"\(\s*\)", "()"),
        (r"\s+", " "),
        (r"\s+([,.;:])(?=\s|$)", r"\1"),
    ]
]


def plain(text: str) -> str:
    """A paragraph without markup, on one line."""
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    return text.strip()
