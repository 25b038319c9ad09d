"""What Pyserini 1.6 takes an encoder for by its path alone: the first key that is a part of it wins (`relevance` holds `ance`)."""

from __future__ import annotations

# In the order of pyserini.encode's maps, which decides.
DOCUMENT_KEYS = (
    "dpr",
    "tct_colbert",
    "aggretriever",
    "ance",
    "sentence-transformers",
    "unicoil",
    "openai-api",
    "cosdpr",
    "auto",
    "clip",
    "contriever",
    "arctic",
    "uniir",
    "splade",
    "qwen3",
    "dse",
    "mmeb",
)
QUERY_KEYS = (
    "dkrr",
    "cosdpr",
    "dpr",
    "bpr",
    "tct_colbert",
    "ance",
    "sentence",
    "contriever",
    "aggretriever",
    "openai-api",
    "auto",
    "clip",
    "arctic",
    "uniir",
    "qwen3",
    "dse",
    "mmeb",
)


def guesses(path: str, kind: str) -> list[str]:
    """Keys by which Pyserini takes the encoder at a path for another class than it is, where it is not told the class."""
    right = "splade" if kind == "splade" else None
    maps = (DOCUMENT_KEYS,) if kind == "splade" else (DOCUMENT_KEYS, QUERY_KEYS)
    found = [next((key for key in keys if key in path.lower()), None) for keys in maps]
    return list(dict.fromkeys(key for key in found if key and key != right))


def unusable(path: str, kind: str) -> str:
    """Why Pyserini cannot open the encoder at a path even when it is told the class; empty where it can."""
    lower = path.lower()
    if kind == "splade":
        if "unicoil" in lower:
            return "`search.lucene` takes a path with `unicoil` for a uniCOIL encoder"
        return "" if "splade" in lower else "`search.lucene` opens an encoder only if its path holds `splade`"
    keys = [key for key in ("clip", "dse") if key in lower]
    return (
        f"it gives an encoder with `{keys[0]}` in its path arguments that its own class does not take" if keys else ""
    )
