"""An LLM turns a bare corpus, or bare queries, into graded training data: `gradir generate`.

- `gradir generate queries`: queries for documents of a corpus (InPars, Promptagator).
- `gradir generate documents`: documents at grades 3, 2, 1, 0 for queries (SyCL), or graded queries for documents.
- `gradir generate judgements`: grades for pairs of query and document.
- `gradir generate pairs`: prompts with answers that are known, for `gradir train writer`.
- `gradir generate filter`: what is good enough, and why the rest is not.
- `gradir generate audit`: one page on what was generated.
- `gradir generate prompt list|show|render`: the prompts, which are data, and what the model sees.

All of them ask through `gradir.llm`: transformers, vLLM, or a server; what was answered once is stored and never asked again.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

# imported when they are asked for: each pulls in what it alone needs
_STAGES = {
    "queries": "queries_stage",
    "documents": "documents_stage",
    "judgements": "judgements_stage",
    "pairs": "pairs_stage",
    "filter_": "filter_stage",
}
__all__ = ["documents", "filter_", "judgements", "pairs", "queries"]


def __getattr__(name: str) -> Any:
    if name in _STAGES:
        return getattr(import_module(f"gradir.generate.{_STAGES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
