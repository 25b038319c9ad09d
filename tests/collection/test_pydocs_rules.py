"""The rules of the built-in collection, each on a few hand-written lines."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradir.collection import build, grades, queries
from gradir.collection.attached import attached_docstrings, static_text
from gradir.collection.inline import plain
from gradir.collection.names import Names
from gradir.collection.sources import NOT_READ, Module, files_of, folder_of, parse
from gradir.collection.text import read_docstring
from gradir.errors import MissingDependency

PROSE = (
    "It walks the wings of the aircraft from root to tip and adds the load of every rib to that of the spar before it. "
    * 2
)


def tree(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
    return folder / next(iter(files)).split("/")[0]


def modules_of(library: Path) -> list[Module]:
    shared: dict[str, dict[str, object]] = {}
    parsed = [parse(path, library, shared) for path in files_of(library)[0]]
    return [module for module in parsed if module]


# --- text


def test_numpydoc_sections_markup_and_code() -> None:
    text = read_docstring(
        textwrap.dedent("""\
        Sum the :math:`x^2` of ``spar`` elements, see :func:`~wing.load`.

        .. versionadded:: 1.7

        .. note::

           Slow for [1]_ many **wings**.

        Parameters
        ----------
        x : array_like
            The elements.

        See Also
        --------
        load, rib.mass : Other things.
        :func:`wing.flap`

        Examples
        --------
        >>> wing([1, 2])
        3

        .. seealso:: :meth:`wing.slat`

        References
        ----------
        A paper about wings.

        .. [1] Someone, "A paper".
        """)
    )
    assert text.body() == (
        "Sum the x^2 of spar elements, see wing.load.\nSlow for many wings.\nParameters: x (array_like): The elements."
    )
    assert text.see_also == ["wing.slat", "load", "rib.mass", "wing.flap"]


def test_google_sections_signatures_and_fences() -> None:
    text = read_docstring(
        "wing(x, *, out=None,\n    y=2) -> Tensor\n\nAdds one.\n\nArgs:\n    x (Tensor): the input\n        tensor.\n"
        "    y: an offset.\n\nExample::\n\n    >>> wing(1)\n    2\n"
    )
    assert text.body() == "Adds one.\nArgs: x (Tensor): the input tensor.\ny: an offset."
    fenced = read_docstring("Read [`~wing.Spar`] and [this](https://example.org/a_(b)).\n\n```python\nwing(1)\n```\n")
    assert fenced.body() == "Read wing.Spar and this."


def test_prose_after_a_google_section_is_prose_again() -> None:
    text = read_docstring(
        "Adds.\n\nArgs:\n    x: the input\n\nMore than one\nelement is fine.\n\nExample:\n    code\n\nThe end."
    )
    assert text.paragraphs == [
        ("", "Adds."),
        ("Args", "x: the input"),
        ("", "More than one element is fine."),
        ("", "The end."),
    ]


def test_tables_and_placeholders_are_dropped() -> None:
    text = read_docstring(
        "Words here.\n\n%(before_notes)s\n\n====  ====\na     b\n====  ====\n1     2\n====  ====\n\nAfter."
    )
    assert text.body() == "Words here.\nAfter."


def test_described_does_not_count_the_headers_of_entries() -> None:
    text = read_docstring(
        "One two three.\n\nParameters\n----------\nalpha_beta : array_like of floats\n    Four five.\n"
    )
    assert text.described == 5


@pytest.mark.parametrize(
    ("markup", "prose"),
    [
        (":class:`the text <a.b>` and `link <https://example.org>`_", "the text and link"),
        ("``*args`` and *emphasis* and **strong**", "*args and emphasis and strong"),
        ("see https://example.org/x for more", "see for more"),
        ("<Tip> Careful. </Tip>", "Careful."),
    ],
)
def test_inline_markup(markup: str, prose: str) -> None:
    assert plain(markup) == prose


# --- first sentences


def sentence_of(docstring: str) -> str:
    return queries.first_sentence(read_docstring(docstring))


def test_first_sentence_ends_at_a_full_stop_not_at_an_abbreviation() -> None:
    assert sentence_of("Sums ribs, e.g. Those of wings. Then stops.") == "Sums ribs, e.g. Those of wings."
    assert sentence_of("Sums ribs of plane.Wing frames. Then stops.") == "Sums ribs of plane.Wing frames."
    assert sentence_of("Sums ribs\nof wings\n\nThen stops.") == "Sums ribs of wings"


def test_headings_and_lists_have_no_first_sentence() -> None:
    assert sentence_of("Wings of planes\n===============\n\nMore about them.") == ""
    assert sentence_of("Args:\n    x (int): the number.") == ""


@pytest.mark.parametrize(
    ("sentence", "name", "reason"),
    [
        ("Load the ribs of every wing.", "sum", ""),
        ("Too short sentence.", "sum", "is not of"),
        ("word " * 31 + ".", "sum", "is not of"),
        ("Sums the ribs of every wing.", "sum", "own name"),
        ("Computes k means of the wing ribs.", "KMeans", "own name"),
        ("Sorted ribs of every wing frame.", "sort", "own name"),
        ("x (int): The number of wing ribs.", "sum", "argument list"),
        ("Compute the wing ribs given by", "sum", "goes on"),
        ("See the wing frame of ribs.", "sum", "only refers"),
        ("Return the value of this object.", "sum", "telling words"),
        ("f(x)=2 g(y)=3 wing rib frame{1}", "sum", "code or formulas"),
        ("", "sum", "heading or a list"),
    ],
)
def test_refusals(sentence: str, name: str, reason: str) -> None:
    refusal = queries.refusal(sentence, ["other", name], left=100)
    assert refusal == "" if not reason else reason in refusal


def test_a_query_must_leave_a_document() -> None:
    assert "too little" in queries.refusal("Load the ribs of every wing.", ["sum"], left=5)


def test_sentence_is_removed_from_its_text() -> None:
    text = read_docstring(f"Load the ribs of wings. And more.\n\n{PROSE}")
    left = queries.without_first_sentence(text)
    assert left.body() == f"And more.\n{PROSE.strip()}"
    assert left.described == text.described - 5


def test_repeated_and_quoted_sentences() -> None:
    assert queries.repeated(["Load the ribs.", "load the `ribs`", "Other one."]) == {"load the ribs"}
    assert queries.found_in({"a": "Load the ribs.", "b": "Load the spar."}, ["We load, then: load the ribs!"]) == {"a"}


@given(st.text(alphabet="abcdef", min_size=4, max_size=8), st.lists(st.text(alphabet="xyz", min_size=1), max_size=5))
def test_a_name_is_found_wherever_it_stands(name: str, others: list[str]) -> None:
    for at in range(len(others) + 1):
        assert queries.names_itself(" ".join([*others[:at], name, *others[at:]]), name)
    assert not queries.names_itself(" ".join(others), name)


# --- sources and names


def test_public_names_follow_re_exports(tmp_path: Path) -> None:
    library = tree(
        tmp_path,
        {
            "wing/__init__.py": "from ._core import *\nfrom ._core import Spar as Beam\n",
            "wing/_core.py": '''
                __all__ = ["load"]
                def load():
                    """Doc."""
                def helper():
                    """Doc."""
                class _Base:
                    def bend(self):
                        """Doc."""
                class Spar(_Base):
                    """Doc."""
                    def _hidden(self):
                        """Doc."""
                class rib_gen:
                    """Doc."""
                rib = rib_gen(name="rib")
                ''',
            "wing/ribs.py": "from ._core import rib\nrib = rib\n",
        },
    )
    modules = modules_of(library)
    names = Names(modules)
    found = {source.qualname: names.public(source) for module in modules for source in module.sources}
    assert found == {
        "load": "wing.load",
        "helper": None,
        "_Base.bend": "wing.Beam.bend",
        "Spar": "wing.Beam",
        "Spar._hidden": None,
        "rib_gen": "wing.ribs.rib",
    }


def test_see_also_names_are_relative_to_class_and_packages(tmp_path: Path) -> None:
    library = tree(
        tmp_path,
        {
            "wing/__init__.py": "from .sub import Spar\n",
            "wing/sub.py": '''
                def load():
                    """Doc."""
                class Base:
                    def bend(self):
                        """Doc."""
                class Spar(Base):
                    """Doc."""
                    def twist(self):
                        """Doc."""
                class Text:
                    def split(self):
                        """Doc."""
                class Frame:
                    str = Accessor("str", Text)
                ''',
        },
    )
    names = Names(modules_of(library))
    assert names.find("load", "wing.sub.Spar") == "wing.sub.load"
    assert names.find("twist", "wing.Spar.bend") == "wing.sub.Spar.twist"
    assert names.find("Spar.bend", "wing.sub.load") == "wing.sub.Base.bend"
    assert names.find("sub.Frame.str.split", "wing.Spar") == "wing.sub.Text.split"
    assert names.find("wing.Spar", "elsewhere.x") == "wing.sub.Spar"
    assert names.find("absent", "wing.Spar") is None


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("numpy/linalg/tests/x.py", "test code"),
        ("torch/testing/_internal/x.py", "test code"),
        ("sklearn/externals/x.py", "code of other projects"),
        ("numpy/distutils/x.py", "differs between builds"),
        ("transformers/models/bert/modular_bert.py", "generated from another file"),
        ("numpy/linalg/_linalg.py", ""),
    ],
)
def test_files_not_read(tmp_path: Path, place: str, reason: str) -> None:
    read, left_out = files_of(tree(tmp_path, {place: ""}))
    assert left_out == {name: int(name == reason) for name in NOT_READ}
    assert len(read) == (not reason)


def test_a_file_that_cannot_be_parsed_is_skipped(tmp_path: Path) -> None:
    library = tree(tmp_path, {"wing/bad.py": "def (:\n"})
    assert parse(library / "bad.py", library, {}) is None


def test_missing_library_names_the_command() -> None:
    build.LIBRARIES["gradir_no_such_library"] = "no-such"
    try:
        with pytest.raises(MissingDependency, match=r"pip install 'gradir\[demo\]'"):
            folder_of("gradir_no_such_library")
    finally:
        del build.LIBRARIES["gradir_no_such_library"]


# --- attached docstrings


def attached(code: str, module: str, shared: dict[str, dict[str, object]] | None = None) -> dict[tuple[str, str], str]:
    import ast

    return dict(attached_docstrings(ast.parse(textwrap.dedent(code)), module, {} if shared is None else shared))


def test_add_newdoc_in_its_four_forms() -> None:
    code = """
        add_newdoc("numpy._core", "arange", "Text of arange.")
        add_newdoc("numpy._core", "ndarray", ("sum", "Text of sum."))
        add_newdoc("numpy._core", "dtype", [("kind", "Text of kind."), ("char", "Text of char.")])
        add_newdoc("numpy._core", "computed", make_text())
        """
    assert attached(code, "numpy._core._add_newdocs") == {
        ("numpy._core", "arange"): "Text of arange.",
        ("numpy._core", "ndarray.sum"): "Text of sum.",
        ("numpy._core", "dtype.kind"): "Text of kind.",
        ("numpy._core", "dtype.char"): "Text of char.",
    }
    assert attached('add_newdoc("airy", "Text.")', "scipy.special._add_newdocs") == {("scipy.special", "airy"): "Text."}


def test_add_docstr_resolves_constants_and_skips_the_rest() -> None:
    code = '''
        common = parse_kwargs("""
            input (Tensor): the input.
            out (Tensor): the output.
        """)
        more = merge_dicts(parse_kwargs("\\n    input (Tensor): the input.\\n"), {"dim": "the dim"})
        add_docstr(torch.abs, "abs(x)" + r""" {input} {dim} {{x}}""".format(**more))
        add_docstr(torch.Tensor.add_, "Text " + unknown)
        add_docstr_all("mul", "Text of mul.")
        det = _add_docstr(_linalg.linalg_det, "Text of det.")
        '''
    assert attached(code, "torch.linalg") == {
        ("torch", "abs"): "abs(x) input (Tensor): the input. the dim {x}",
        ("torch._tensor", "Tensor.mul"): "Text of mul.",
        ("torch.linalg", "det"): "Text of det.",
    }


def test_static_text_refuses_what_is_not_constant() -> None:
    import ast

    assert static_text(ast.parse('"{a}".format(a="b")', mode="eval").body, "m", {}) == "b"
    assert static_text(ast.parse('"{a}".format(b="b")', mode="eval").body, "m", {}) is None
    assert static_text(ast.parse("name", mode="eval").body, "m", {}) is None


# --- which docstrings are documents


@pytest.mark.parametrize(
    ("docstring", "reason"),
    [
        (f"Loads ribs. {PROSE}", ""),
        ("Loads ribs.", "fewer than"),
        (f"mask (`Tensor`, *optional*): The mask. {PROSE}", "argument list"),
        (f"Deprecated. {PROSE}", "deprecated"),
        (f"Loads %(klass)s ribs. {PROSE}", "placeholders"),
        (f"Loads ribs.\n\nCopyright (c) 2001 Somebody. {PROSE}", "licence"),
        (f"Returns a load. {PROSE}", ""),
    ],
)
def test_unfit(docstring: str, reason: str) -> None:
    found = build._unfit(read_docstring(docstring))
    assert found == "" if not reason else reason in found


# --- alike texts, grades, splits


def test_masking_blanks_names_and_numbers() -> None:
    assert grades.masked("Load BertModel with 12 layers of wing_rib") == grades.masked(
        "Load GPTModel with 24 layers of spar_beam"
    )
    assert grades.masked("Load wings") != grades.masked("Load ribs")


def test_near_duplicates_point_to_the_earlier_text() -> None:
    alike = grades.near_duplicates(
        {"a": PROSE, "b": PROSE + "More words.", "c": "Something else about engines and fuel lines."}
    )
    assert alike["b"][0] == "a"
    assert alike["b"][1] > grades.NEAR_DUPLICATE
    assert "c" not in alike


def test_near_duplicates_among_long_texts() -> None:
    numerals = [f"{tens} {ones}" for tens in "abcdefghijklmnop" for ones in "qrstuvwxyz"]
    long = " ".join(numerals * 2) + " " + " ".join(reversed(numerals))
    assert grades.near_duplicates({"a": long, "b": long + " end"})["b"][0] == "a"


def test_another_name_has_grade_2_by_words_or_by_statement() -> None:
    shared = (
        "rotates every wing rib around the spar until the trailing edge meets another surface and locks there firmly"
    )
    bodies = {
        "l.KMeans": shared,
        "l.sub.k_means": shared + " again",
        "l.other": shared,
        "l.nn.relu": "Alias for l.func.ReLU and nothing more.",
        "l.func.ReLU": "Clips negative loads to zero.",
        "m.k_means": shared,
    }
    same = grades.same_object(
        bodies, {docid: docid[0] for docid in bodies}, lambda name, near: name if name in bodies else None
    )
    assert same == {
        "l.KMeans": {"l.sub.k_means"},
        "l.sub.k_means": {"l.KMeans"},
        "l.nn.relu": {"l.func.ReLU"},
        "l.func.ReLU": {"l.nn.relu"},
    }


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=30), st.permutations(range(31)))
def test_splits_keep_an_object_together_whatever_the_order(pairs: list[tuple[int, int]], order: list[int]) -> None:
    same: dict[str, set[str]] = {}
    for one, other in pairs:
        same.setdefault(str(one), set()).add(str(other))
        same.setdefault(str(other), set()).add(str(one))
    texts = {str(number): f"text {number}" for number in range(31)}
    split = grades.splits([str(number) for number in order], same, texts)
    assert set(split) == set(texts)
    assert all(split[str(one)] == split[str(other)] for one, other in pairs)
    assert split == grades.splits(sorted(texts), same, texts)


def test_at_most_a_quarter_from_one_library() -> None:
    from collections import Counter

    from gradir.collection.sources import Source

    entries = [
        build.Entry(f"{library}.n{number}", Source(library, library, f"n{number}", "function", ""), read_docstring("x"))
        for library, count in {"a": 50, "b": 9, "c": 9, "d": 9, "e": 9}.items()
        for number in range(count)
    ]
    removed: Counter[str] = Counter()
    kept = Counter(entry.source.library for entry in build._quarter(entries, removed))
    assert max(kept.values()) <= sum(kept.values()) / 4
    assert kept["a"] == 12
    assert removed.total() == 38


def test_queries_without_which_documents_are_alike_are_withdrawn() -> None:
    from gradir.collection.sources import Source

    texts = {
        "a.x": f"Loads the ribs of wings. {PROSE}",
        "a.y": f"Loads the spar of wings. {PROSE}",
        "a.z": "Other words.",
    }
    entries = [
        build.Entry(docid, Source("a", "a", docid[2:], "function", ""), read_docstring(text))
        for docid, text in texts.items()
    ]
    for entry in entries[:2]:
        entry.query = queries.first_sentence(entry.text)
    assert build._withdraw_ambiguous(entries) == 2
    assert [entry.query for entry in entries] == ["", "", ""]
    assert len({entry.body() for entry in entries}) == 3
