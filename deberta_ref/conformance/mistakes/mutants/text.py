r"""The mistakes in what makes ids of a text. Chapter 12 of spec/.

Those in normalisation change what the sentencepiece model says of itself, in its bytes and without changing their
number: the tag of its map of characters becomes one that no reader knows, or a part of the map's name becomes the field
3 or 4 of the normaliser, whether a blank is put before the first word and whether extra blanks are removed.
"""

from __future__ import annotations

from deberta_ref.conformance.cases.variants import Edit
from deberta_ref.conformance.mistakes.mistake import Mistake

TEXT = "deberta_ref.tokenizer"

MODEL = "tokenizer._processor", "model"
PIECES = "tokenizer.Tokenizer._ids", "ids +="
ROW = "tokenizer.Tokenizer._row", "row +="
FIRST = "tokenizer._round_robin", "first"
CALL = "tokenizer.Tokenizer.__call__"

WITHOUT_MAP = r'.replace(b"nmt_nfkc\x12", b"nmt_nfkc\x7a")'
UNMAPPED = f"type(self.processor)(model_proto=self.processor.serialized_model_proto(){WITHOUT_MAP})"
BLANKS = r're.sub(r"\s{2,}|[\n\r\t]", " ", stretch)'

MUTANTS = (
    Mistake(
        "normaliser-lost",
        "TOK-PIECES",
        "The model's map of characters is not applied: ligatures, full-width digits and tabs are unknown.",
        Edit(*MODEL, f"_{WITHOUT_MAP}"),
        shows="text",
    ),
    Mistake(
        "normaliser-nfc",
        "TOK-PIECES",
        "NFC, with blanks, tabs and line ends as one blank, stands in for the model's map of characters.",
        Edit(*PIECES, f'{UNMAPPED}.encode(__import__("unicodedata").normalize("NFC", {BLANKS}), out_type=int)'),
        ("transformers 5",),
        "text",
    ),
    Mistake(
        "normaliser-nfkc",
        "TOK-PIECES",
        "NFKC alone stands in for the model's map of characters, which also knows of invisible ones and blanks.",
        Edit(*PIECES, f'{UNMAPPED}.encode(__import__("unicodedata").normalize("NFKC", stretch), out_type=int)'),
        shows="text",
    ),
    Mistake(
        "marks-dropped",
        "TOK-PIECES",
        "Of several marks on a letter only the first is kept: the map's shortest match stands for the whole letter.",
        Edit(*PIECES, r'(lambda stretch: _)(re.sub("([\u0300-\u036f])[\u0300-\u036f]+", r"\1", stretch))'),
        ("huggingface/tokenizers#2116",),
        "text",
    ),
    Mistake(
        "lower-cased",
        "TOK-PIECES",
        "The text is put in lower case.",
        Edit(*PIECES, "(lambda stretch: _)(stretch.lower())"),
        shows="text",
    ),
    Mistake(
        "punctuation-apart",
        "TOK-PIECES",
        "Words and punctuation marks are tokenized each on its own, as split_by_punct has it.",
        Edit(*PIECES, r'sum(self.processor.encode(re.findall(r"[\w\s]+|[^\w\s]", stretch), out_type=int), [])'),
        shows="text",
    ),
    Mistake(
        "first-blank-missing",
        "TOK-PIECES",
        "No blank is put before the first word, which is then another word.",
        Edit(*MODEL, r'_.replace(b"\x0a\x08nmt_nfkc", b"\x18\x00\x0a\x06nmt_nf")'),
        shows="text",
    ),
    Mistake(
        "blanks-kept",
        "TOK-PIECES",
        "Several blanks are not one, and those at the ends stay.",
        Edit(*MODEL, r'_.replace(b"\x0a\x08nmt_nfkc", b"\x20\x00\x0a\x06nmt_nf")'),
        shows="text",
    ),
    Mistake(
        "unknown-left-out",
        "TOK-PIECES",
        "Characters that no piece has are left out.",
        Edit(*PIECES, "[i for i in _ if i != self.unk_id]"),
        shows="text",
    ),
    Mistake(
        "unknown-by-character",
        "TOK-PIECES",
        "Each character that no piece has is one unknown token, not each run of them.",
        Edit(
            *PIECES,
            "[i for i, piece in zip(_, self.processor.encode(stretch, out_type=str)) "
            "for character in (piece if i == self.unk_id else [i])]",
        ),
        shows="text",
    ),
    Mistake(
        "typed-special-tokens",
        "TOK-TYPED",
        "Special tokens typed in a text become special tokens.",
        Edit("tokenizer.Tokenizer._ids", "for n, stretch", "enumerate(SPECIAL.split(text))"),
        ("transformers",),
        "text",
    ),
    Mistake(
        "special-tokens-missing",
        "TOK-SPECIAL",
        "[CLS] and [SEP] are not put around the pieces.",
        (Edit("tokenizer.Tokenizer._row", "row", "[]"), Edit(*ROW, "segment[:length]")),
        ("transformers#44568",),
        "text",
    ),
    Mistake(
        "cls-missing",
        "TOK-SPECIAL",
        "There is no [CLS] in front.",
        Edit("tokenizer.Tokenizer._row", "row", "[]"),
        shows="text",
    ),
    Mistake(
        "pair-not-separated",
        "TOK-SPECIAL",
        "The first text of a pair has no [SEP] after it.",
        Edit(*ROW, "_ if segment is segments[-1] else _[:-1]"),
        shows="text",
    ),
    Mistake(
        "pair-separated-twice",
        "TOK-SPECIAL",
        "There are two [SEP] between the texts of a pair, as RoBERTa has it.",
        Edit(*ROW, "[*[self.sep_id][: len(row) - 1], *_]"),
        shows="text",
    ),
    Mistake(
        "mask-unknown",
        "TOK-MASK",
        "[MASK], which the sentencepiece model does not have, is the unknown token.",
        Edit("tokenizer.Tokenizer.from_file", "mask_id", 'processor.piece_to_id("[MASK]")'),
        shows="text",
    ),
    Mistake(
        "mask-last-piece",
        "TOK-MASK",
        "[MASK] has the id of the last piece.",
        Edit("tokenizer.Tokenizer.from_file", "mask_id", 'ids.get("[MASK]", size - 1)'),
        shows="text",
    ),
    Mistake(
        "cut-with-its-sep",
        "TOK-CUT",
        "The whole row is cut at its end, and the last [SEP] with it.",
        Edit(
            CALL,
            "rows",
            "[self._row(example, None, special_tokens=special_tokens)[:sequence_length] for example in examples]",
        ),
        shows="text",
    ),
    Mistake(
        "cut-at-the-front",
        "TOK-CUT",
        "The first tokens of a text are cut, not the last.",
        Edit(*ROW, "(lambda segment: _)(segment[len(segment) - length :])"),
        ("deberta 0.1.12, by chance",),
        "text",
    ),
    Mistake(
        "cut-longest-first",
        "TOK-CUT",
        "The odd place of a pair goes to the longer text, and to the second where they are as long.",
        Edit(*FIRST, "min(lengths[0], max((most + (lengths[0] > lengths[1])) // 2, most - lengths[1]))"),
        ("transformers",),
        "text",
    ),
    Mistake(
        "cut-second-alone",
        "TOK-CUT",
        "The first text of a pair takes all places that it needs, and the second the rest.",
        Edit(*FIRST, "min(lengths[0], most)"),
        ("KerasHub with truncate='waterfall'",),
        "text",
    ),
    Mistake(
        "cut-first-alone",
        "TOK-CUT",
        "The second text of a pair takes all places that it needs, and the first the rest.",
        Edit(*FIRST, "max(0, most - lengths[1])"),
        shows="text",
    ),
    Mistake(
        "cut-in-halves",
        "TOK-CUT",
        "The first text of a pair has half of the places at most, and what a short second one leaves stays empty.",
        Edit(*FIRST, "min(lengths[0], (most + 1) // 2)"),
        shows="text",
    ),
    Mistake(
        "pad-at-the-front",
        "TOK-PAD",
        "Padding is put in front.",
        Edit(CALL, "valid", "slice(width - len(row), width)"),
        shows="text",
    ),
    Mistake(
        "pad-valid",
        "TOK-PAD",
        "The mask is 1 for padding too.",
        Edit(CALL, "padding_mask", "np.ones_like(token_ids)"),
        shows="text",
    ),
    Mistake(
        "pad-with-sep",
        "TOK-PAD",
        "Padding has the id of [SEP].",
        Edit(CALL, "token_ids", "np.full_like(_, self.sep_id)"),
        shows="text",
    ),
    Mistake(
        "pad-to-the-longest",
        "TOK-PAD",
        "Rows are padded to the longest of them, whatever the length that was asked for.",
        Edit(CALL, "width", "max(map(len, rows), default=1)"),
        shows="text",
    ),
)
