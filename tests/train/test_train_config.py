"""The configuration of a training run: YAML, settings, and all that is wrong with it at once."""

from pathlib import Path

import pytest

from gradir.errors import GradirError
from gradir.train.config import changed, parse, read_values
from gradir.train.stage import settings

GOOD = {"encoder": "e", "output": "o", "lists": [{"lists": "l.jsonl"}], "steps": 5}


def test_numbers_that_yaml_takes_for_text_are_numbers(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("encoder: e\noutput: o\nlists: [{lists: l}]\nsteps: 5\nlearning_rate: 2e-5\nwarmup: 1\n")
    config = parse(read_values(path), "dense")
    assert (config.learning_rate, config.warmup) == (2e-5, 1.0)


def test_settings_reach_into_mappings() -> None:
    values = changed(GOOD, ["regularise.doc.weight=0.5", "dev.collection=c", "dev.qrels=q", "losses=[kl]"])
    config = parse(values, "splade")
    assert config.regularise.doc.weight == 0.5
    assert config.dev is not None
    assert config.dev.collection == "c"
    assert config.losses == ["kl"]
    assert GOOD == {"encoder": "e", "output": "o", "lists": [{"lists": "l.jsonl"}], "steps": 5}


def test_flags_overrule_the_file_and_settings_both(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("format: 1\nencoder: e\noutput: o\nepochs: 2\nbatch_size: 3\nseed: 1\n")
    flags = {
        "lists": ["a", "b"],
        "corpus": ["c"],
        "steps": 9,
        "batch_size": 4,
        "lambda_doc": 0.1,
        "loss": ["kl", "infonce:0.1"],
    }
    values = settings(path, flags, ["batch_size=5"])
    assert values["lists"] == [{"lists": "a", "corpus": ["c"]}, {"lists": "b", "corpus": ["c"]}]
    assert values["losses"] == [{"name": "kl"}, {"name": "infonce", "weight": 0.1}]
    config = parse(values, "splade")
    assert (config.steps, config.epochs, config.batch_size, config.seed) == (9, None, 5, 1)
    assert config.regularise.doc.weight == 0.1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"bach_size": 3}, ["unknown key `bach_size`", "batch_size"]),
        ({"batch_size": 0, "learning_rate": "fast"}, ["`learning_rate` is 'fast', not a number"]),
        ({"batch_size": 0, "accumulate": 0}, ["`batch_size` is 0", "`accumulate` is 0"]),
        ({"steps": None}, ["either `steps` or `epochs`"]),
        ({"epochs": 1}, ["not both"]),
        ({"dev": {"collection": "c"}}, ["`dev` needs `qrels`"]),
        (
            {"model": {"max_query_len": 3}, "bach_size": 3},
            ["`bach_size`", "`model.max_query_len`", "'max_query_length'"],
        ),
        ({"dev": {"colection": "c"}}, ["unknown key `dev.colection`", "collection"]),
        ({"regularise": {"doc": {"weight": 1}}}, ["`regularise` is for splade, not for dense"]),
        ({"schedule": "cosin"}, ["cosine"]),
        ({"lists": []}, ["no `lists`"]),
        ({"gradient_checkpointing": 1}, ["not true or false"]),
    ],
)
def test_what_is_wrong_is_named(changes: dict, words: list[str]) -> None:
    with pytest.raises(GradirError) as caught:
        parse({**GOOD, **changes}, "dense")
    assert all(word in str(caught.value) for word in words)


def test_what_goes_to_hugging_face_is_looked_at(tmp_path: Path) -> None:
    """All problems at once; what would go round our own keys is refused, and names them."""
    from gradir.train.arguments import arguments, plan_steps

    trainer = {"optm": "adafactor", "gradient_accumulation_steps": 2, "save_steps": 7}
    config = parse({**GOOD, "device": "cpu", "trainer": trainer}, "dense")
    with pytest.raises(GradirError) as caught:
        arguments(config, tmp_path)
    for words in ("`trainer.optm`, did you mean 'optim'?", "give `accumulate`", "give `save_every`"):
        assert words in str(caught.value)
    config = parse({**GOOD, "device": "cpu", "trainer": {"optim": "adafactor"}}, "dense")
    args = arguments(config, tmp_path)
    plan_steps(args, config, 5)
    assert (args.optim, args.logging_steps) == ("adafactor", 5)  # fewer than log_every: still a line


@pytest.mark.parametrize(
    ("text", "words"), [("a: [", "not YAML"), ("- a", "not a mapping"), ("format: 2", "is of format 2")]
)
def test_damaged_files(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(GradirError, match=words):
        read_values(path)
