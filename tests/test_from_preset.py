"""from_preset: a configuration that is overridden, and handles that name nothing."""

import dataclasses

import models
import pytest

from deberta_ref import forward, from_preset, init, presets
from deberta_ref.checkpoints import DEMO, hub, read_config

CONFIG = read_config(DEMO)
SIZES = ["vocabulary_size", "num_layers", "num_heads", "hidden_dim", "intermediate_dim", "bucket_size"]


def test_what_no_weight_depends_on_is_overridden_and_the_weights_stay():
    params, longer = from_preset(DEMO), from_preset(DEMO, dropout=0, max_sequence_length=1000)
    assert longer.config == dataclasses.replace(CONFIG, dropout=0, max_sequence_length=1000)
    assert dataclasses.replace(longer, config=CONFIG) == params
    length = CONFIG.max_sequence_length + 1
    assert forward(longer, models.inputs_of([[5] * length])).shape == (1, length, CONFIG.hidden_dim)


def test_the_greatest_length_decides_where_the_log_buckets_end():
    params, longer = from_preset(DEMO), from_preset(DEMO, max_sequence_length=2 * CONFIG.max_sequence_length)
    near = models.inputs_of([[5, 6, 7] * (CONFIG.bucket_size // 6)])
    assert (forward(params, near) == forward(longer, near)).all()
    far = models.inputs_of([[5, 6, 7] * (CONFIG.max_sequence_length // 3)])
    assert (forward(params, far) != forward(longer, far)).any()


@pytest.mark.parametrize("name", SIZES)
def test_what_contradicts_the_weights_is_refused_by_name(name, monkeypatch):
    value = getattr(CONFIG, name)
    words = rf"weights of {DEMO} have {name} {value}; got {name} {2 * value}: leave out .* load_weights=False"
    with pytest.raises(ValueError, match=words):
        from_preset(DEMO, **{name: 2 * value})
    assert from_preset(DEMO, **{name: value}) == from_preset(DEMO)
    monkeypatch.setattr(hub, "download", lambda *_, **__: pytest.fail("fetched weights"))
    with pytest.raises(ValueError, match=f"weights of deberta_v3_base_en have {name}"):
        from_preset("deberta_v3_base_en", **{name: 7})


def test_all_that_contradicts_the_weights_is_listed():
    with pytest.raises(ValueError, match=r"have num_heads \d+, bucket_size \d+; got num_heads 1, bucket_size 2:"):
        from_preset(DEMO, num_heads=1, dropout=0.5, bucket_size=2)


@pytest.mark.parametrize("name", [*SIZES, "max_sequence_length"])
def test_random_parameters_are_of_whatever_sizes(name):
    sizes = {"num_heads": 1, "hidden_dim": 8, "intermediate_dim": 8, "vocabulary_size": 40} | {name: 4}
    params = from_preset(DEMO, load_weights=False, dtype="float16", **sizes)
    assert params == init(dataclasses.replace(CONFIG, **sizes), dtype="float16")


def test_unknown_and_impossible_overrides_are_refused():
    for load_weights in (True, False):
        with pytest.raises(TypeError, match=r"may override vocabulary_size, .*, bucket_size; got dropuot"):
            from_preset(DEMO, load_weights, dropuot=0.1)
        with pytest.raises(ValueError, match="dropout must be in"):
            from_preset(DEMO, load_weights, dropout=2)
        with pytest.raises(TypeError, match="num_layers must be an integer"):
            from_preset(DEMO, load_weights, num_layers=float(CONFIG.num_layers))


@pytest.mark.parametrize(
    ("handle", "words"),
    [
        ("microsoft/deberta-v3-base", r": a repository on the Hugging Face hub is 'hf://microsoft/deberta-v3-base'\."),
        ("deberta-v3-base", r": did you mean 'deberta_v3_base_en'\?"),
        ("deberta_v3_demo", r": did you mean 'deberta_v3_demo_en'\?"),
        ("no/such/directory", r"got 'no/such/directory'\."),
        ("", r"got ''\."),
    ],
)
def test_a_handle_that_names_nothing_is_refused_with_what_was_meant(handle, words):
    with pytest.raises(FileNotFoundError, match=f"A handle must be a directory, .*{words}$"):
        from_preset(handle)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("deberta-v3-base", "deberta_v3_base_en"),
        ("microsoft/deberta-v3-base", "deberta_v3_base_en"),
        ("mdeberta-v3-base", "deberta_v3_base_multi"),
        ("deberta-v3-xsmall", "deberta_v3_extra_small_en"),
        ("DeBERTa_v3_large", "deberta_v3_large_en"),
    ],
)
def test_a_preset_that_is_not_there_is_refused_with_what_was_meant(name, meant):
    with pytest.raises(KeyError, match=rf"presets has .*; got '{name}': did you mean '{meant}'\?"):
        presets[name]
    assert name not in presets
    assert presets.get(name) is None
    assert len(presets) == 5


@pytest.mark.parametrize("name", ["bert", "microsoft/deberta-base", 3])
def test_a_name_that_is_near_to_no_preset_gets_no_hint(name):
    with pytest.raises(KeyError, match=rf"got {name!r}\."):
        presets[name]


@pytest.mark.parametrize("given", [presets["deberta_v3_base_en"], init(models.SMALL)])
def test_whatever_has_a_configuration_is_not_taken_for_one(given):
    with pytest.raises(TypeError, match=rf"config must be .*; got {type(given).__name__}: give its \.config\."):
        init(given)
