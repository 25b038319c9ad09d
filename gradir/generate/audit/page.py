"""The page of an audit: one list of blocks, written as Markdown and as HTML that holds its plots.

What comes from generated texts (first words, ids) is data: its punctuation is written so that neither form takes it for markup.
"""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple


class Heading(NamedTuple):
    """A heading; the first one is the title."""

    text: str


class Paragraph(NamedTuple):
    """Prose."""

    text: str


class Listing(NamedTuple):
    """A list of sentences."""

    items: Sequence[str]


class Table(NamedTuple):
    """A table; columns of numbers are set to the right."""

    head: Sequence[str]
    rows: Sequence[Sequence[Any]]

    def numeric(self) -> list[bool]:
        """Which columns hold numbers, or nothing."""
        return [not any(isinstance(row[place], str) for row in self.rows) for place in range(len(self.head))]


class Plot(NamedTuple):
    """A picture beside the page."""

    title: str
    file: str


Block = Heading | Paragraph | Listing | Table | Plot


def markdown(blocks: Iterable[Block]) -> str:
    """The page in Markdown; plots are named by their files."""
    lines: list[str] = []
    for place, block in enumerate(blocks):
        match block:
            case Heading(text):
                lines.append(f"{'##' if place else '#'} {_safe(text)}")
            case Paragraph(text):
                lines.append(_safe(text))
            case Listing(items):
                lines.append("\n".join(f"- {_safe(item)}" for item in items))
            case Table(head, rows):
                cells = [[_safe(_shown(cell)) for cell in row] for row in [head, *rows]]
                rule = ["---:" if number else "---" for number in block.numeric()]
                lines.append("\n".join("| " + " | ".join(row) + " |" for row in [cells[0], rule, *cells[1:]]))
            case Plot(title, file):
                lines.append(f"![{_safe(title)}]({file})")
    return "\n\n".join(lines) + "\n"


def page(blocks: Iterable[Block], folder: Path) -> str:
    """The page in HTML, the plots inside.

    Args:
        blocks: What stands on it.
        folder: Where the plots are.
    """
    blocks = list(blocks)
    title = next((block.text for block in blocks if isinstance(block, Heading)), "")
    body = "\n".join(_element(block, place, folder) for place, block in enumerate(blocks))
    return _FRAME.format(title=html.escape(title), style=_STYLE, body=body)


def _element(block: Block, place: int, folder: Path) -> str:
    match block:
        case Heading(text):
            tag = "h2" if place else "h1"
            return f"<{tag}>{html.escape(text)}</{tag}>"
        case Paragraph(text):
            return f"<p>{html.escape(text)}</p>"
        case Listing(items):
            return "<ul>" + "".join(f"<li>{html.escape(item)}</li>" for item in items) + "</ul>"
        case Table(head, rows):
            numeric = block.numeric()
            lines = [_cells("th", head, numeric), *(_cells("td", row, numeric) for row in rows)]
            return "<table>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"
        case Plot(title, file):
            data = base64.b64encode((folder / file).read_bytes()).decode()
            return f'<img alt="{html.escape(title)}" src="data:image/png;base64,{data}">'


def _cells(tag: str, row: Sequence[Any], numeric: Sequence[bool]) -> str:
    """The cells of a line; class n: a number."""
    marks = (' class="n"' if number else "" for number in numeric)
    return "".join(f"<{tag}{mark}>{html.escape(_shown(cell))}</{tag}>" for mark, cell in zip(marks, row, strict=True))


_FRAME = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>
<style>{style}</style></head><body>
{body}
</body></html>
"""
_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:54rem;margin:2rem auto;padding:0 1rem;color:#1a202c}"
    "h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem}img{max-width:49%;height:auto;vertical-align:top}"
    "table{border-collapse:collapse;margin:.8rem 0;font-variant-numeric:tabular-nums}"
    "th,td{padding:.2rem .8rem;border-bottom:1px solid #e2e8f0;text-align:left}"
    ".n{text-align:right}@media(max-width:40rem){img{max-width:100%}}"
)


def _safe(text: str) -> str:
    """Markdown that shows the text as it is."""
    return re.sub(r"([\\`*_\[\]<>|#{}!])", r"\\\1", " ".join(text.split()))


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.1e}" if 0 < abs(value) < 0.001 else f"{value:,.3f}".rstrip("0").rstrip(".")


def blocks_of(audit: Mapping[str, Any], plots: Sequence[tuple[str, str]] | None) -> list[Block]:
    """The blocks of an audit.

    Args:
        audit: What audit.json holds.
        plots: (title, file) of each; None: they could not be drawn.
    """
    kind = audit["kind"]
    counts = f"{audit['records']:,} records, {audit['queries']:,} queries, {audit['documents']:,} documents."
    found: list[Block] = [Heading(f"Audit of generated {kind}"), Paragraph(f"{audit['input']}: {counts}")]
    found.append(Listing(audit["findings"] or ["Nothing stands out."]))
    if plots is None:
        found.append(Paragraph("No plots: matplotlib is not installed (pip install 'gradir[plots]')."))
    else:
        found += [Plot(title, file) for title, file in plots]
    found += _numbers(audit)
    for name, section in (("leak", _leak), ("monotone", _monotone), ("contamination", _contamination)):
        if audit.get(name):
            found += section(audit[name])
    return found + _defects(audit)


def _numbers(audit: Mapping[str, Any]) -> list[Block]:
    names = ("n", "mean", "p5", "p25", "p50", "p75", "p95", "max")
    found: list[Block] = [Heading("Lengths and overlap")]
    rows = [
        [name.replace("_", " "), *(of.get(one) for one in names)] for name, of in audit["lengths"].items() if of["n"]
    ]
    if audit["overlap"]["n"]:
        rows.append(["query words found in the document", *(audit["overlap"].get(one) for one in names)])
    per = "queries per document" if audit["kind"] == "queries" else "documents per query"
    rows.append([per, *(audit["per_group"].get(one) for one in names)])
    found.append(Table(["", *names], rows))
    graded = [
        [f"{name.replace('_', ' ')}, grade {grade}", *(of.get(one) for one in names)]
        for name, grades in audit["by_grade"].items()
        for grade, of in grades.items()
    ]
    if graded and len(audit["grades"]) > 1:
        found.append(Table(["by grade", *names], graded))
    if audit["first_words"] and audit["kind"] == "queries":
        total = max(audit["queries"], 1)
        rows = [[word or "(none)", count, round(count / total, 3)] for word, count in audit["first_words"].items()]
        found += [Heading("First words"), Table(["word", "queries", "share"], rows[:15])]
    return found


_MEANINGS = {"document_words": "length of the document", "query_words": "length of the query", "bm25": "BM25"}


def _leak(leak: Mapping[str, Any]) -> list[Block]:
    rows = []
    for name, of in leak.items():
        for scope, how in (("within", "same query"), ("over_all", "all")):
            area, tau = of[scope]["auc"], of[scope]["tau_b"]
            tau = tau["value"] if isinstance(tau, Mapping) else tau
            rows.append([f"{_MEANINGS.get(name, name)}, {how}", tau, area["value"], area["low"], area["high"]])
    return [
        Heading("Can one number tell the grade?"),
        Paragraph(
            "AUC: share of pairs (grade 2 or 3, grade 0 or 1) in which the first has the higher number; 0.5 is chance."
        ),
        Table(["number, pairs of", "tau-b", "AUC", "95% from", "to"], rows),
    ]


def _monotone(monotone: Mapping[str, Any]) -> list[Block]:
    names = ("pairs", "right", "equal", "share", "better", "worse", "p")
    rows = [["all", *(monotone["all"][name] for name in names)]]
    for one in monotone["levels"]:
        shown = f"{one['high']} above {one['low']}" + (", neighbours" if one["adjacent"] else "")
        rows.append([shown, *(one[name] for name in names)])
    order = monotone["queries_in_order"]
    return [
        Heading("Does a reranker see the grades?"),
        Paragraph(
            f"By {monotone['by']}. {order['in_order']:,} of {order['queries']:,} queries are in order altogether. "
            "Better and worse: queries with more pairs in order than not, and fewer; p: sign test over queries, against chance."
        ),
        Table(["grades", *names], rows),
    ]


def _contamination(contamination: Mapping[str, Any]) -> list[Block]:
    rows = [[name.replace("_", " "), of["records"], ", ".join(of["examples"])] for name, of in contamination.items()]
    return [Heading("Contamination"), Table(["shared with", "records", "for example"], rows or [["nothing", 0, ""]])]


def _defects(audit: Mapping[str, Any]) -> list[Block]:
    if audit["kind"] == "judgements":
        return []
    rows = [[name, of["records"], ", ".join(of["examples"])] for name, of in audit["defects"].items()]
    rows.append(["cut off at --max-tokens", audit["cut_off"]["records"], ", ".join(audit["cut_off"]["examples"])])
    pairs = audit["duplicates"]
    for name in ("exact", "near"):
        if name in pairs:
            shown = ", ".join(f"{one} = {other}" for one, other, *_ in pairs[f"{name}_examples"])
            rows.append([f"{name} duplicates", pairs[name], shown])
    language = audit["language"]
    told = ", ".join(f"{code} {count:,}" for code, count in list(language["found"].items())[:6])
    rows.append([f"another language than {language['expected']}", language["wrong"], told])
    return [Heading("Defects"), Table(["what", "records", "for example"], rows)]
