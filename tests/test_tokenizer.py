"""The tokenizer against sentencepiece itself, against KerasHub and transformers (marked ports), and what it refuses."""

import copy
import importlib
import io
import json
import os
import pickle
import subprocess
import sys
import warnings
from dataclasses import FrozenInstanceError
from itertools import chain, zip_longest
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st

from deberta_ref.tokenizer import Tokenizer, _round_robin

CORPUS = [
    "The quick brown fox jumps over the lazy dog, said the fine author of the book.",
    "In the beginning there were 12345 first offices, 67890 and a half: 1/2, IV, TM...",
    "日本語テキスト と 中文 文字",
    "A B C D E F G H I J K L M N O P Q R S T U V W X Y Z a b c d e f g h i j k l m n o p q r s t u v w x y z",
    "0 1 2 3 4 5 6 7 8 9 . , ! ? [ ] ( ) - ' é",
] * 20

PLAIN = [  # but for its blanks, or a letter and its accent, the model's normaliser leaves a text as it is
    "",
    " ",
    "The quick brown fox.",
    "  blanks   before, between and after ",
    "a tab\there,\na line there\r\n",
    "日本語テキスト 中文",
    "😀 the 👩‍👩‍👧 fox 🦊",
    "naïve e\u0301 é",
    "a\x00b",
    "the fox said " * 3_334,  # 10,002 words
    "x" * 10_000,
]
COMPOSED = {  # the model's normaliser rewrites them
    "ﬁne oﬃces": "fine offices",
    "Ⅳ": "IV",
    "½": "1\u20442",
    "１２３": "123",
    "Ａ Ｂ": "A B",
    "ﾃｷｽﾄ": "テキスト",
    "日本\u3000語": "日本 語",
    "the\u00a0fox": "the fox",
    "the\u200bfox": "the fox",
    "\ufeffthe fox": "the fox",
    "and so on…": "and so on...",
    "™": "TM",
    "the ▁fox": "the fox",
}
TYPED = ["[MASK] the fox", "a [SEP] b", "the [MASK].", "[CLS][PAD][UNK]", "fox[MASK]fox"]
TEXTS = [*PLAIN, *COMPOSED, *TYPED]
PAIRS = [*zip(TEXTS, reversed(TEXTS), strict=True), ("a b c d e f g h", "x"), ("x", "a b c d e f g h"), ("", "")]
LENGTHS = [3, 4, 5, 8, 13, 64]


def trained(**options):
    """A sentencepiece model as DeBERTaV3's is: its special tokens, its normaliser, unigram."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"builtin type \w+ has no __module__ attribute", DeprecationWarning)
        import sentencepiece  # noqa: PLC0415

    special = {"pad_id": 0, "bos_id": 1, "eos_id": 2, "unk_id": 3}
    special |= {"pad_piece": "[PAD]", "bos_piece": "[CLS]", "eos_piece": "[SEP]", "unk_piece": "[UNK]"}
    options = {"model_type": "unigram", "normalization_rule_name": "nmt_nfkc", **special, **options}
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS),
        model_writer=written,
        vocab_size=180,
        hard_vocab_limit=False,
        minloglevel=2,
        **options,
    )
    return written.getvalue()


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("tokenizer") / "spm.model"
    path.write_bytes(trained())
    return path


@pytest.fixture(scope="session")
def tokenizer(model):
    return Tokenizer.from_preset(model.parent)


def ids_of(tokenizer, text, **options):
    (row,) = tokenizer(text, **options)["token_ids"]
    return row.tolist()


def tokens_of(tokenizer, text, **options):
    return [tokenizer.id_to_token(i) for i in ids_of(tokenizer, text, **options)]


# What comes out


def test_the_special_ids_are_the_models_and_mask_comes_after_the_last_piece(tokenizer):
    size = tokenizer.processor.get_piece_size()
    assert (tokenizer.pad_id, tokenizer.cls_id, tokenizer.sep_id, tokenizer.unk_id) == (0, 1, 2, 3)
    assert (tokenizer.mask_id, tokenizer.vocabulary_size) == (size, size + 1)


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: ascii(text[:20]))
def test_a_text_is_cls_its_pieces_sep(tokenizer, text):
    inputs = tokenizer(text)
    wanted = [1, *tokenizer.processor.encode(text, out_type=int), 2]
    assert list(inputs) == ["token_ids", "padding_mask"]
    assert [array.dtype for array in inputs.values()] == [np.int32, np.int32]
    assert [array.shape for array in inputs.values()] == [(1, len(wanted))] * 2
    assert inputs["token_ids"].tolist() == [wanted]
    assert inputs["padding_mask"].all()


@pytest.mark.parametrize("text", COMPOSED, ids=ascii)
def test_a_text_is_normalised_as_the_model_prescribes(tokenizer, text):
    assert ids_of(tokenizer, text) == ids_of(tokenizer, COMPOSED[text])


def test_blanks_count_as_one_and_only_between_words(tokenizer):
    assert ids_of(tokenizer, " the \t\n fox\r\n") == ids_of(tokenizer, "the fox")
    assert ids_of(tokenizer, "") == ids_of(tokenizer, " \t") == [1, 2]


def test_a_batch_is_padded_to_its_longest_and_not_cut(tokenizer):
    inputs = tokenizer(["the fox", "", "the fox " * 1_000])
    lengths = [len(ids_of(tokenizer, text)) for text in ("the fox", "", "the fox " * 1_000)]
    assert inputs["token_ids"].shape == (3, max(lengths))
    assert inputs["padding_mask"].sum(axis=1).tolist() == lengths
    assert inputs["token_ids"][0, : lengths[0]].tolist() == ids_of(tokenizer, "the fox")
    assert not inputs["token_ids"][inputs["padding_mask"] == 0].any()


def test_a_pair_is_cls_first_sep_second_sep(tokenizer):
    first, second = ids_of(tokenizer, "the fox"), ids_of(tokenizer, "a dog")
    assert tokenizer([("the fox", "a dog")])["token_ids"].tolist() == [[*first, *second[1:]]]


def test_texts_and_pairs_may_share_a_batch(tokenizer):
    inputs = tokenizer(["the fox", ("the fox", "a dog"), ("", "")], sequence_length=30)
    for b, entry in enumerate(["the fox", ("the fox", "a dog"), ("", "")]):
        alone = tokenizer([entry], sequence_length=30)
        assert all(np.array_equal(inputs[name][b], alone[name][0]) for name in inputs)


def test_no_text_at_all_is_a_batch_of_none(tokenizer):
    assert [array.shape for array in tokenizer([]).values()] == [(0, 1), (0, 1)]
    assert [array.shape for array in tokenizer([], sequence_length=7).values()] == [(0, 7), (0, 7)]


@pytest.mark.parametrize("length", LENGTHS)
def test_sequence_length_pads_and_cuts_to_exactly_that(tokenizer, length):
    inputs = tokenizer(TEXTS, sequence_length=length)
    assert inputs["token_ids"].shape == inputs["padding_mask"].shape == (len(TEXTS), length)
    for text, ids, mask in zip(TEXTS, *inputs.values(), strict=True):
        whole = ids_of(tokenizer, text)
        kept = min(len(whole), length)
        assert ids.tolist() == [*whole[: kept - 1], 2] + [0] * (length - kept)
        assert mask.tolist() == [1] * kept + [0] * (length - kept)


@pytest.mark.parametrize("length", LENGTHS)
def test_the_texts_of_a_pair_take_places_in_turns(tokenizer, length):
    for pair, ids in zip(PAIRS, tokenizer(PAIRS, sequence_length=length)["token_ids"], strict=True):
        first, second = (ids_of(tokenizer, text)[1:-1] for text in pair)
        turns = list(chain.from_iterable(zip_longest([0] * len(first), [1] * len(second))))
        turns = [turn for turn in turns if turn is not None][: length - 3]
        wanted = [1, *first[: turns.count(0)], 2, *second[: turns.count(1)], 2]
        assert ids.tolist() == wanted + [0] * (length - len(wanted))


@given(st.lists(st.integers(0, 30), min_size=1, max_size=2), st.integers(0, 70))
def test_round_robin_gives_one_place_at_a_time(lengths, most):
    kept = [0] * len(lengths)
    while sum(kept) < min(most, sum(lengths)):
        for n, length in enumerate(lengths):
            kept[n] += kept[n] < length and sum(kept) < most
    assert _round_robin(lengths, most) == kept


# Special tokens in a text


@pytest.mark.parametrize("text", TYPED)
def test_special_tokens_typed_in_a_text_are_plain_text(tokenizer, text):
    assert not {0, 1, 2, tokenizer.mask_id} & {*ids_of(tokenizer, text)[1:-1]}
    assert tokenizer.detokenize(ids_of(tokenizer, text)) == text


def test_special_tokens_typed_in_a_text_are_meant_when_asked_for(tokenizer):
    fox = tokens_of(tokenizer, "the fox")[1:-1]
    meant = tokens_of(tokenizer, " the fox [MASK]the fox[SEP] [PAD][CLS] [UNK]", special_tokens=True)
    assert meant == ["[CLS]", *fox, "[MASK]", *fox, "[SEP]", "[PAD]", "[CLS]", "[UNK]", "[SEP]"]


def test_a_typed_padding_token_is_a_token(tokenizer):
    inputs = tokenizer("[PAD]", special_tokens=True, sequence_length=4)
    assert inputs["token_ids"].tolist() == [[1, 0, 2, 0]]
    assert inputs["padding_mask"].tolist() == [[1, 1, 1, 0]]


@pytest.mark.parametrize("text", [*PLAIN, *COMPOSED], ids=lambda text: ascii(text[:20]))
def test_asking_for_special_tokens_changes_nothing_where_there_are_none(tokenizer, text):
    assert ids_of(tokenizer, text, special_tokens=True) == ids_of(tokenizer, text)


def test_a_model_may_have_mask_among_its_pieces(tmp_path):
    path = tmp_path / "spm.model"
    path.write_bytes(trained(user_defined_symbols=["[MASK]"]))
    tokenizer = Tokenizer.from_file(path)
    assert tokenizer.mask_id == tokenizer.token_to_id("[MASK]") == tokenizer.processor.piece_to_id("[MASK]")
    assert tokenizer.vocabulary_size == tokenizer.processor.get_piece_size()
    assert tokens_of(tokenizer, "[MASK]")[-2] == "[MASK]"  # sentencepiece knows it in a text then, and so does KerasHub
    assert tokenizer.detokenize([tokenizer.mask_id]) == ""


# And back


@pytest.mark.parametrize("text", ["", "The quick brown fox.", "日本語テキスト 中文", "[MASK] a [SEP] b"])
def test_detokenize_gives_the_text_without_special_tokens_and_padding(tokenizer, text):
    assert tokenizer.detokenize(tokenizer(text, sequence_length=50)["token_ids"]) == [text]
    assert tokenizer.detokenize([*ids_of(tokenizer, text), tokenizer.mask_id, 0]) == text


def test_detokenize_is_sentencepieces(tokenizer):
    for text in TEXTS:
        ids = tokenizer.processor.encode(text, out_type=int)
        assert tokenizer.detokenize(ids) == tokenizer.processor.decode(ids)
    assert tokenizer.detokenize(ids_of(tokenizer, "the 😀")) == "the  ⁇ "


def test_detokenize_takes_one_row_or_many(tokenizer):
    ids = tokenizer.processor.encode("the fox", out_type=int)
    one = [ids, tuple(ids), np.array(ids), np.array(ids, np.uint8), list(np.array(ids))]
    assert [tokenizer.detokenize(row) for row in one] == ["the fox"] * len(one)
    many = [[ids, []], [tuple(ids), np.array([], np.int32)], np.array([ids, [0] * len(ids)])]
    assert [tokenizer.detokenize(rows) for rows in many] == [["the fox", ""]] * len(many)
    assert tokenizer.detokenize([]) == ""
    assert tokenizer.detokenize(np.zeros((0, 5), int)) == []


def test_every_id_has_its_token_and_every_token_its_id(tokenizer):
    tokens = [tokenizer.id_to_token(i) for i in range(tokenizer.vocabulary_size)]
    assert tokens[:4] == ["[PAD]", "[CLS]", "[SEP]", "[UNK]"]
    assert tokens[-1] == "[MASK]"
    assert [tokenizer.token_to_id(token) for token in tokens] == list(range(tokenizer.vocabulary_size))
    assert tokenizer.token_to_id("no such piece") == tokenizer.unk_id


# What is refused


@pytest.mark.parametrize(
    ("texts", "error", "sentence"),
    [
        (None, TypeError, "texts must be a str or a list; got None: make it a list of str."),
        (7, TypeError, "texts must be a str or a list; got 7: make it a list of str."),
        (b"fox", TypeError, "texts must be a str or a list; got b'fox': make it a list of str."),
        ({"fox"}, TypeError, "texts must be a str or a list; got {'fox'}: make it a list of str."),
        (
            np.array(["fox"]),
            TypeError,
            "texts must be a str or a list; got array(['fox'], dtype='<U3'): make it a list",
        ),
        (
            ("a", "b"),
            TypeError,
            "texts must not be a tuple: write [(first, second)] for a pair, [first, second] for two",
        ),
        ((), TypeError, "texts must not be a tuple"),
        (["a", b"b"], TypeError, "texts[1] must be a str or a tuple of two str; got b'b'."),
        ([None], TypeError, "texts[0] must be a str or a tuple of two str; got None."),
        ([("a", None)], TypeError, "texts[0] must be a str or a tuple of two str; got ('a', None)."),
        ([("a", "b", "c")], TypeError, "texts[0] must be a str or a tuple of two str; got ('a', 'b', 'c')."),
        ([("a",)], TypeError, "texts[0] must be a str or a tuple of two str; got ('a',)."),
        ([["a", "b"]], TypeError, "texts[0] must be a str or a tuple of two str; got ['a', 'b']."),
        (
            "a\ud83d",
            ValueError,
            r"texts[0] must be Unicode text; got half of a surrogate pair, '\ud83d', at character 1",
        ),
        (
            ["a", ("b", "\udfff")],
            ValueError,
            r"texts[1] must be Unicode text; got half of a surrogate pair, '\udfff', at",
        ),
    ],
)
@pytest.mark.parametrize("options", [{}, {"sequence_length": 9}, {"special_tokens": True}], ids=str)
def test_what_is_no_text_is_refused(tokenizer, texts, error, sentence, options):
    with pytest.raises(error) as refusal:
        tokenizer(texts, **options)
    assert str(refusal.value).startswith(sentence)


@pytest.mark.parametrize(
    ("texts", "length", "error", "sentence"),
    [
        ("a", 1, ValueError, "sequence_length must be at least 2, to hold [CLS] and every [SEP]; got 1."),
        (["a", ("b", "c")], 2, ValueError, "sequence_length must be at least 3, to hold [CLS] and every [SEP]; got 2."),
        ([], 0, ValueError, "sequence_length must be at least 2, to hold [CLS] and every [SEP]; got 0."),
        ("a", -5, ValueError, "sequence_length must be at least 2, to hold [CLS] and every [SEP]; got -5."),
        ("a", 8.0, TypeError, "sequence_length must be an integer; got 8.0."),
        ("a", "8", TypeError, "sequence_length must be an integer; got '8'."),
        ("a", True, TypeError, "sequence_length must be an integer; got True."),
    ],
)
def test_a_length_without_room_for_the_special_tokens_is_refused(tokenizer, texts, length, error, sentence):
    with pytest.raises(error) as refusal:
        tokenizer(texts, sequence_length=length)
    assert str(refusal.value) == sentence


def test_the_least_length_holds_the_special_tokens_alone(tokenizer):
    assert ids_of(tokenizer, "the fox", sequence_length=np.int64(2)) == [1, 2]
    assert ids_of(tokenizer, [("the fox", "a dog")], sequence_length=3) == [1, 2, 2]


@pytest.mark.parametrize(
    ("ids", "error", "sentence"),
    [
        (None, TypeError, "ids must be a list or an array of token ids, or of rows of them; got None."),
        ("the fox", TypeError, "ids must be a list or an array of token ids, or of rows of them; got 'the fox'."),
        (5, TypeError, "ids must be a list or an array of token ids, or of rows of them; got 5."),
        (["the"], TypeError, "a token id must be an integer; got 'the'."),
        ([1.0], TypeError, "a token id must be an integer; got 1.0."),
        ([True], TypeError, "a token id must be an integer; got True."),
        (np.ones((1, 2, 2), int), TypeError, "a token id must be an integer; got [1, 1]."),
        ([1, -1], ValueError, "a token id must be in 0 … {last}, the vocabulary's; got -1."),
        ([[1], [128_099]], ValueError, "a token id must be in 0 … {last}, the vocabulary's; got 128099."),
    ],
)
def test_what_is_no_id_is_refused(tokenizer, ids, error, sentence):
    with pytest.raises(error) as refusal:
        tokenizer.detokenize(ids)
    assert str(refusal.value) == sentence.format(last=tokenizer.vocabulary_size - 1)


def test_tokens_and_ids_are_looked_up_by_str_and_integer_only(tokenizer):
    with pytest.raises(ValueError, match="token must be Unicode text; got half of a surrogate pair"):
        tokenizer.token_to_id("\ud800")
    with pytest.raises(TypeError, match="token must be a str; got 3"):
        tokenizer.token_to_id(3)
    with pytest.raises(TypeError, match="a token id must be an integer; got 'the'"):
        tokenizer.id_to_token("the")
    with pytest.raises(ValueError, match=r"a token id must be in 0 … \d+, the vocabulary's; got -1"):
        tokenizer.id_to_token(-1)


# Where it comes from


def test_both_layouts_of_a_directory_are_read(tmp_path, model):
    nested = tmp_path / "assets" / "tokenizer"
    nested.mkdir(parents=True)
    (nested / "vocabulary.spm").write_bytes(model.read_bytes())
    assert ids_of(Tokenizer.from_preset(str(tmp_path)), "the fox") == ids_of(Tokenizer.from_file(model), "the fox")


def test_a_directory_without_a_model_is_refused(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(FileNotFoundError) as refusal:
        Tokenizer.from_preset(str(tmp_path))
    assert str(refusal.value) == (
        f"{tmp_path} must hold a sentencepiece model, spm.model or assets/tokenizer/vocabulary.spm; it has neither: "
        f"put the checkpoint's spm.model there (a tokenizer.json is not read)."
    )


@pytest.mark.parametrize("content", [b"", b"<html></html>", b"version https://git-lfs.github.com/spec/v1\n", bytes(99)])
def test_a_file_of_another_kind_is_refused(tmp_path, content):
    (tmp_path / "spm.model").write_bytes(content)
    with pytest.raises(ValueError, match=rf"must be a whole sentencepiece model; its {len(content)} bytes are"):
        Tokenizer.from_preset(tmp_path)


def test_a_file_that_is_cut_short_anywhere_is_refused(tmp_path, model):
    path, whole = tmp_path / "spm.model", model.read_bytes()
    path.write_bytes(whole)
    sizes = {*range(0, len(whole) - 2, 9_973), *range(3_500), *range(len(whole) - 100, len(whole) - 2)}
    for size in sorted(sizes, reverse=True):  # all pieces and settings, and into the normaliser's table
        os.truncate(path, size)
        with pytest.raises(ValueError, match=f"must be a whole sentencepiece model; its {size} bytes are"):
            Tokenizer.from_preset(tmp_path)


@pytest.mark.parametrize(
    ("options", "missing"),
    [
        ({"pad_id": -1}, "no [PAD]"),
        ({"bos_piece": "<s>", "eos_piece": "</s>"}, "no [CLS] and no [SEP]"),
    ],
    ids=str,
)
def test_a_model_of_another_family_is_refused(tmp_path, options, missing):
    path = tmp_path / "spm.model"
    ids = {"bos_id": 1, "eos_id": 2, "unk_id": 0} if "pad_id" in options else {}
    path.write_bytes(trained(**ids, **options))
    with pytest.raises(ValueError, match=r"take the spm\.model of a DeBERTaV3 checkpoint\.$") as refusal:
        Tokenizer.from_file(path)
    assert f"it has {missing}:" in str(refusal.value)


def test_it_is_frozen_and_it_can_be_copied_and_sent(tokenizer):
    with pytest.raises(FrozenInstanceError):
        tokenizer.cls_id = 5
    for twin in (copy.deepcopy(tokenizer), pickle.loads(pickle.dumps(tokenizer))):  # noqa: S301 - its own
        assert repr(twin) == repr(tokenizer)
        assert ids_of(twin, "the ﬁne fox") == ids_of(tokenizer, "the ﬁne fox")


def test_sentencepiece_is_imported_when_a_model_is_read_and_without_a_warning(model):
    code = (
        "import sys, deberta_ref.tokenizer as t; assert 'sentencepiece' not in sys.modules; "
        f"t.Tokenizer.from_preset({str(model.parent)!r})('fox'); assert 'sentencepiece' in sys.modules"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, cwd=Path(__file__).parents[1])


@pytest.mark.parametrize("name", ["SwigPyPacked", "SwigPyObject", "swigvarlink"])
def test_an_older_sentencepiece_is_imported_without_a_warning_on_a_newer_python(monkeypatch, model, name):
    import_module = importlib.import_module

    def warn(module):
        warnings.warn(f"builtin type {name} has no __module__ attribute", DeprecationWarning, stacklevel=1)
        return import_module(module)

    monkeypatch.setattr(importlib, "import_module", warn)
    Tokenizer.from_file(model)


# The same as in KerasHub, and in transformers but for its normalisation


@pytest.fixture(scope="module")
def ports(model, tokenizer, tmp_path_factory):
    python = os.environ.get("DEBERTA_REF_PORTS_PYTHON")
    if not python:
        pytest.fail("DEBERTA_REF_PORTS_PYTHON must name a Python interpreter that has keras-hub and transformers.")
    ids = [*tokenizer(TEXTS)["token_ids"].tolist(), [tokenizer.mask_id, 4, 5, 3, 2], []]
    batches = [
        {"texts": entries, "sequence_length": length} for entries in (TEXTS, PAIRS) for length in (None, *LENGTHS)
    ]
    request, answer = (tmp_path_factory.mktemp("ports") / name for name in ("request.json", "answer.json"))
    request.write_text(json.dumps({"model": str(model), "batches": batches, "ids": ids}))
    script = Path(__file__).parents[1] / "ports" / "tools" / "text.py"
    subprocess.run([python, script, request, answer], check=True)
    return {"batches": batches, "ids": ids, **json.loads(answer.read_text())}


@pytest.mark.ports
def test_it_is_kerashubs_tokenizer(tokenizer, ports):
    theirs = ports["keras-hub"]
    assert [tokenizer.id_to_token(i) for i in range(tokenizer.vocabulary_size)] == theirs["vocabulary"]
    assert [tokenizer.detokenize(ids) for ids in ports["ids"]] == theirs["texts"]


@pytest.mark.ports
@pytest.mark.parametrize("name", ["keras-hub", "deberta", "sentencepiece"])
def test_it_is_their_tokenizer_and_kerashubs_preprocessor(tokenizer, ports, name):
    for batch, theirs in zip(ports["batches"], ports[name]["batches"], strict=True):
        assert {key: rows.tolist() for key, rows in tokenizer(**batch).items()} == theirs


@pytest.mark.ports
def test_it_is_transformers_tokenizer_on_normalised_texts(tokenizer, ports):
    """transformers 5 has an NFC and a rule for blanks of its own instead of the model's normaliser."""
    theirs = ports["transformers"]
    assert [tokenizer.id_to_token(i) for i in range(tokenizer.vocabulary_size)] == theirs["vocabulary"]
    normalised = {*PLAIN, *TYPED}
    compared = 0
    for batch, found in zip(ports["batches"], theirs["batches"], strict=True):
        if batch["sequence_length"] is None:
            for entry, ids, mask in zip(batch["texts"], *found.values(), strict=True):
                ours = ids_of(tokenizer, [entry], special_tokens=True)
                if normalised.issuperset([entry] if isinstance(entry, str) else entry):
                    compared += 1
                    assert ours == ids[: sum(mask)]
                elif isinstance(entry, str):
                    assert ours != ids[: sum(mask)], f"transformers normalises {entry!r}: say so in docs/text.md"
                    assert tokenizer.unk_id in ids or "▁" in entry
    assert compared > len(normalised) + 3
