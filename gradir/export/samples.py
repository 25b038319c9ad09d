"""Texts that an exported encoder is tried on."""

from __future__ import annotations

import unicodedata

# Of many lengths and kinds; read by nobody but models.
TEXTS = (
    "",
    "wing",
    "what is a wing spar",
    "how do I keep bread fresh for longer than a day",
    "capital of the country with the longest coast line",
    "The spar carries most of the bending load of a wing, the ribs give it its shape.",
    "Bread goes stale because its starch takes up water and hardens; a closed box slows this down, a refrigerator does not.",
    "In 1924 the observatory moved to the hill, 312 metres above the town, where the nights were darker.",
    "def mean(numbers): return sum(numbers) / len(numbers)",
    "Prices rose by 3.5% in March, 4.1% in April and not at all in May (seasonally adjusted).",
    "Don't touch! It's hot; let it cool for 10-15 minutes.",
    "naïve café façade, Ångström and Übergröße",
    "the the the the the the the the",
    "URLs such as https://example.org/a?b=c&d=e, e-mail addresses (a.b@example.org) and #tags",
    "A low tide lets the birds reach the mussels. They open the shells by dropping them on the rocks, again and again, until "
    "one breaks; young birds take weeks to learn from which height it pays.",
    "The judge held that the contract was void because neither side could have known the price, and ordered the deposit to be "
    "returned with interest from the day of the claim, but without the costs of the first hearing, which had been caused by "
    "the late filing. An appeal was not allowed.",
    "Photosynthesis turns light, water and carbon dioxide into sugar and oxygen. " * 6,
    "Rivers carry sand, gravel and clay to the sea; where they slow down they drop it, the coarse grains first. " * 30,
)
QUERIES = ("what is a wing spar", "how to keep bread fresh", "photosynthesis", "where do rivers drop sand")


def java_splits_alike(text: str, special: list[str]) -> bool:
    """Whether Anserini's tokenizer is known to split a text as Hugging Face's does.

    It does not part Chinese characters, makes a word with an invisible character unknown, and takes `[MASK]` for three words.
    """
    if any(token in text for token in special):
        return False
    return not any(_is_odd(character) for character in text)


def _is_odd(character: str) -> bool:
    if character in "\t\n\r":
        return False
    return unicodedata.category(character)[0] == "C" or "CJK" in unicodedata.name(character, "")
