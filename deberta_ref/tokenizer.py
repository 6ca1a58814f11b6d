"""Text in, token ids out: a checkpoint's sentencepiece model, and the special tokens around its pieces.

Chapter 12 of spec/.

A text A becomes [CLS] A [SEP], a pair of texts [CLS] A [SEP] B [SEP], as KerasHub's DebertaV3Tokenizer and
DebertaV3TextClassifierPreprocessor have it. How a text is normalised is written in the sentencepiece model (NFKC and
blanks), and sentencepiece does it: nothing here touches a text. transformers 5 reads the pieces of the same file but
not its normaliser, so “ﬁ”, “…”, “½” or a full-width digit is unknown there.
"""

from __future__ import annotations

import importlib
import operator
import re
import reprlib
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deberta_ref.checkpoints import locate

if TYPE_CHECKING:  # at run time it is imported where it is used: it costs time that `import deberta_ref` need not
    from sentencepiece import SentencePieceProcessor

Texts = str | list[str] | list[tuple[str, str]] | list[str | tuple[str, str]]
"""What is tokenized: a text, or a list of texts and of pairs of texts."""

Ids = Sequence[int] | Sequence[Sequence[int]] | NDArray[np.integer[Any]]
"""Token ids, (T,) or (B, T); the rows of a list may have different lengths."""

FILES = ("spm.model", "assets/tokenizer/vocabulary.spm")
"""Where a directory keeps its sentencepiece model: in the Hugging Face layout, and in KerasHub's."""

REQUIRED = ("[PAD]", "[CLS]", "[SEP]")
"""The pieces that every DeBERTaV3's sentencepiece model has."""

SPECIAL = re.compile(r"(\[(?:PAD|CLS|SEP|UNK|MASK)\])")
"""A special token typed in a text."""


@dataclass(frozen=True, eq=False)
class Tokenizer:
    """A sentencepiece model and the ids of its special tokens. Build one with ``from_preset`` or ``from_file``.

    Parameters
    ----------
    processor : sentencepiece.SentencePieceProcessor
        The model.
    vocabulary_size : int
        The number of tokens, [MASK] included. The token embedding of a checkpoint may have more rows, which then belong
        to no token.
    pad_id, cls_id, sep_id, unk_id : int
        The ids of [PAD], [CLS], [SEP] and [UNK].
    mask_id : int
        The id of [MASK]: after the last piece if the model has none.

    Examples
    --------
    >>> from deberta_ref import Tokenizer, forward, from_preset
    >>> tokenizer = Tokenizer.from_preset("deberta_v3_demo_en")
    >>> inputs = tokenizer(["It is a truth.", "Emma"])
    >>> inputs["token_ids"].shape
    (2, 7)
    >>> forward(from_preset("deberta_v3_demo_en"), inputs).shape
    (2, 7, 48)
    """

    processor: SentencePieceProcessor = field(repr=False)
    vocabulary_size: int
    pad_id: int
    cls_id: int
    sep_id: int
    unk_id: int
    mask_id: int

    @classmethod
    def from_preset(cls, handle: str | PathLike[str]) -> Tokenizer:
        """The tokenizer of the model that ``handle`` names.

        Parameters
        ----------
        handle : str or path
            A directory with spm.model or assets/tokenizer/vocabulary.spm, or any other handle that the function
            ``from_preset`` takes. No weights are fetched.

        Returns
        -------
        Tokenizer
            The tokenizer.

        Raises
        ------
        FileNotFoundError
            If there is no such file, or the handle names nothing.
        ValueError
            If the file is no sentencepiece model of a DeBERTaV3.
        PermissionError, ConnectionError
            Where the file cannot be fetched.

        Examples
        --------
        >>> from deberta_ref import Tokenizer
        >>> Tokenizer.from_preset("deberta_v3_demo_en").vocabulary_size
        2001
        """
        directory = locate(handle, weights=False)
        for path in (directory / name for name in FILES):
            if path.is_file():
                return cls.from_file(path)
        raise FileNotFoundError(
            f"{directory} must hold a sentencepiece model, {' or '.join(FILES)}; it has neither: put the checkpoint's "
            f"spm.model there (a tokenizer.json is not read)."
        )

    @classmethod
    def from_file(cls, path: str | PathLike[str]) -> Tokenizer:
        """The tokenizer of one sentencepiece model file.

        Parameters
        ----------
        path : str or path
            The file, such as the spm.model of a checkpoint.

        Returns
        -------
        Tokenizer
            The tokenizer.

        Raises
        ------
        OSError
            If the file cannot be read.
        ValueError
            If the file is cut short or something else, or if the model has no [PAD], [CLS] or [SEP].

        Examples
        --------
        >>> import deberta_ref
        >>> from pathlib import Path
        >>> path = Path(deberta_ref.__file__).parent / "demo" / "spm.model"
        >>> deberta_ref.Tokenizer.from_file(path).cls_id
        1
        """
        processor = _processor(Path(path))
        size = processor.get_piece_size()
        ids = {name: processor.piece_to_id(name) for name in (*REQUIRED, "[MASK]")}
        ids = {name: i for name, i in ids.items() if processor.id_to_piece(i) == name}  # what is no piece has unk_id
        if missing := [name for name in REQUIRED if name not in ids]:
            raise ValueError(
                f"{path} must have the pieces {', '.join(REQUIRED)}; it has no {' and no '.join(missing)}: take the "
                f"spm.model of a DeBERTaV3 checkpoint."
            )
        mask_id = ids.get("[MASK]", size)  # TOK-MASK
        return cls(
            processor=processor,
            vocabulary_size=max(size, mask_id + 1),
            pad_id=ids["[PAD]"],
            cls_id=ids["[CLS]"],
            sep_id=ids["[SEP]"],
            unk_id=processor.unk_id(),
            mask_id=mask_id,
        )

    def __call__(
        self, texts: Texts, *, sequence_length: int | None = None, special_tokens: bool = False
    ) -> dict[str, NDArray[np.int32]]:
        """The inputs of ``forward`` for some texts.

        Parameters
        ----------
        texts : str, or list of str and of pairs (tuples of two str)
            One text (B = 1), or B texts and pairs of texts.
        sequence_length : int, optional
            T, in tokens; by default what the longest entry needs. An entry that needs more is cut, and the two texts of
            a pair take places in turns, the first text first, until none is left (KerasHub's 'round_robin').
        special_tokens : bool
            False to take "[MASK]" typed in a text for plain text. True to take it, [PAD], [CLS], [SEP] and [UNK] for
            those tokens; the stretches of text between them are tokenized each on its own.

        Returns
        -------
        dict of str to array of int32, (B, T)
            ``token_ids``, and ``padding_mask``, 1 for a token and 0 for padding.

        Raises
        ------
        TypeError
            For what is no text, list or integer.
        ValueError
            For text that is not Unicode, or a ``sequence_length`` that does not hold the special tokens.

        Examples
        --------
        >>> from deberta_ref import Tokenizer
        >>> tokenizer = Tokenizer.from_preset("deberta_v3_demo_en")
        >>> inputs = tokenizer(["Emma", ("Emma", "was")], sequence_length=6)
        >>> inputs["token_ids"].tolist()
        [[1, 147, 2, 0, 0, 0], [1, 147, 2, 14, 2, 0]]
        >>> inputs["padding_mask"].tolist()
        [[1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 1, 0]]
        """
        examples = _examples(texts)
        if sequence_length is not None:
            sequence_length = _integer("sequence_length", sequence_length)
            least = 1 + max(map(len, examples), default=1)
            if sequence_length < least:
                raise ValueError(
                    f"sequence_length must be at least {least}, to hold [CLS] and every [SEP]; got {sequence_length}."
                )
        rows = [self._row(example, sequence_length, special_tokens=special_tokens) for example in examples]
        width = sequence_length or max(map(len, rows), default=1)  # a model wants T of at least 1
        token_ids = np.full((len(rows), width), self.pad_id, np.int32)
        padding_mask = np.zeros_like(token_ids)
        for b, row in enumerate(rows):
            valid = slice(0, len(row))  # TOK-PAD
            token_ids[b, valid] = row
            padding_mask[b, valid] = 1
        return {"token_ids": token_ids, "padding_mask": padding_mask}

    def detokenize(self, ids: Ids) -> str | list[str]:
        """The text of token ids, or of each row of them.

        Special tokens and padding are left out; only an unknown token is seen, as sentencepiece's " ⁇ ".

        Parameters
        ----------
        ids : list or array of int, (T,) or (B, T)
            The ids. The rows of a list may have different lengths.

        Returns
        -------
        str or list of str
            One text, or B of them.

        Raises
        ------
        TypeError
            For what is no integer.
        ValueError
            For an id outside the vocabulary.

        Examples
        --------
        >>> from deberta_ref import Tokenizer
        >>> tokenizer = Tokenizer.from_preset("deberta_v3_demo_en")
        >>> tokenizer.detokenize(tokenizer("It is a truth.")["token_ids"])
        ['It is a truth.']
        """
        rows = np.asarray(ids).tolist() if hasattr(ids, "__array__") else ids
        if not isinstance(rows, (list, tuple)):
            raise TypeError(
                f"ids must be a list or an array of token ids, or of rows of them; got {reprlib.repr(ids)}."
            )
        if getattr(ids, "ndim", 1) > 1 or any(isinstance(row, (list, tuple, np.ndarray)) for row in rows):
            return [self._text(row) for row in rows]
        return self._text(rows)

    def token_to_id(self, token: str) -> int:
        """The id of a piece or a special token.

        Parameters
        ----------
        token : str
            The piece, with sentencepiece's "▁" for a blank, or the special token.

        Returns
        -------
        int
            Its id; ``unk_id`` for any other str, as sentencepiece has it.

        Raises
        ------
        TypeError
            For what is no str.
        ValueError
            For text that is not Unicode.

        Examples
        --------
        >>> from deberta_ref import Tokenizer
        >>> tokenizer = Tokenizer.from_preset("deberta_v3_demo_en")
        >>> tokenizer.token_to_id("[CLS]"), tokenizer.token_to_id("▁Emma")
        (1, 147)
        """
        _check_text("token", token)
        return self.mask_id if token == "[MASK]" else int(self.processor.piece_to_id(token))  # noqa: S105 - no password

    def id_to_token(self, token_id: int) -> str:
        """The piece or the special token of an id.

        Parameters
        ----------
        token_id : int
            The id, in 0 … vocabulary_size − 1.

        Returns
        -------
        str
            The piece, with sentencepiece's "▁" for a blank, or the special token.

        Raises
        ------
        TypeError
            For what is no integer.
        ValueError
            For an id outside the vocabulary.

        Examples
        --------
        >>> from deberta_ref import Tokenizer
        >>> tokenizer = Tokenizer.from_preset("deberta_v3_demo_en")
        >>> tokenizer.id_to_token(147), tokenizer.id_to_token(tokenizer.mask_id)
        ('▁Emma', '[MASK]')
        """
        known = self._known(token_id)
        return "[MASK]" if known == self.mask_id else str(self.processor.id_to_piece(known))

    def _row(self, example: tuple[str, ...], sequence_length: int | None, *, special_tokens: bool) -> list[int]:
        """[CLS] A [SEP], or [CLS] A [SEP] B [SEP], in at most ``sequence_length`` tokens."""
        segments = [self._ids(text, special_tokens=special_tokens) for text in example]
        lengths = [len(segment) for segment in segments]
        if sequence_length is not None:
            lengths = _round_robin(lengths, sequence_length - 1 - len(segments))  # TOK-CUT
        row = [self.cls_id]  # TOK-SPECIAL
        for segment, length in zip(segments, lengths, strict=True):
            row += [*segment[:length], self.sep_id]
        return row

    def _ids(self, text: str, *, special_tokens: bool) -> list[int]:
        ids: list[int] = []
        for n, stretch in enumerate(SPECIAL.split(text) if special_tokens else [text]):  # TOK-TYPED
            if n % 2:  # a split has text and special tokens in turns
                ids.append(self.token_to_id(stretch))
            else:
                ids += self.processor.encode(stretch, out_type=int)  # TOK-PIECES
        return ids

    def _text(self, ids: Any) -> str:
        known = [self._known(token_id) for token_id in ids]
        return str(self.processor.decode([token_id for token_id in known if token_id != self.mask_id]))

    def _known(self, token_id: Any) -> int:
        known = _integer("a token id", token_id)
        if not 0 <= known < self.vocabulary_size:
            raise ValueError(f"a token id must be in 0 … {self.vocabulary_size - 1}, the vocabulary's; got {known}.")
        return known


def _round_robin(lengths: list[int], most: int) -> list[int]:
    """How many tokens of each segment stay when they take ``most`` places in turns, first segment first. TOK-CUT."""
    if sum(lengths) <= most:
        return lengths
    if len(lengths) == 1:
        return [most]
    first = min(lengths[0], max((most + 1) // 2, most - lengths[1]))
    return [first, most - first]


def _examples(texts: Any) -> list[tuple[str, ...]]:
    """Every entry of ``texts`` as its segments: one, or two."""
    if isinstance(texts, tuple):
        raise TypeError("texts must not be a tuple: write [(first, second)] for a pair, [first, second] for two texts.")
    entries = [texts] if isinstance(texts, str) else texts
    if not isinstance(entries, list):
        raise TypeError(f"texts must be a str or a list; got {reprlib.repr(texts)}: make it a list of str.")
    examples: list[tuple[str, ...]] = []
    for n, entry in enumerate(entries):
        example = entry if isinstance(entry, tuple) and len(entry) == 2 else (entry,)
        if not all(isinstance(text, str) for text in example):
            raise TypeError(f"texts[{n}] must be a str or a tuple of two str; got {reprlib.repr(entry)}.")
        for text in example:
            _check_text(f"texts[{n}]", text)
        examples.append(example)
    return examples


def _check_text(name: str, text: Any) -> None:
    if not isinstance(text, str):
        raise TypeError(f"{name} must be a str; got {reprlib.repr(text)}.")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{name} must be Unicode text; got half of a surrogate pair, {text[error.start]!r}, at character "
            f"{error.start}: decode the text again from its bytes, with errors='replace' if need be."
        ) from None


def _integer(name: str, value: Any) -> int:
    try:
        if isinstance(value, bool):
            raise TypeError  # noqa: TRY301 - True is no id and no length, though Python counts it as one
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer; got {reprlib.repr(value)}.") from None


def _processor(path: Path) -> SentencePieceProcessor:
    """The sentencepiece processor of the model in a file."""
    with warnings.catch_warnings():  # before 0.2.2 the import warns from Python 3.12 on
        warnings.filterwarnings("ignore", r"builtin type \w+ has no __module__ attribute", DeprecationWarning)
        sentencepiece: Any = importlib.import_module("sentencepiece")
    model = path.read_bytes()
    with suppress(RuntimeError):
        processor: SentencePieceProcessor = sentencepiece.SentencePieceProcessor(model_proto=model)
        if _is_whole(model):
            return processor
    raise ValueError(
        f"{path} must be a whole sentencepiece model; its {len(model)} bytes are something else, or cut short: fetch "
        f"or write it again."
    )


def _is_whole(model: bytes) -> bool:
    """Whether a ModelProto reaches its normaliser; one that is cut off between two pieces parses all the same."""
    piece_or_trainer = re.compile(rb"[\x0a\x12]([\x80-\xff]*[\x00-\x7f])")  # and its size, seven bits a byte
    at = 0
    while entry := piece_or_trainer.match(model, at):
        at = entry.end() + sum((byte & 127) << 7 * n for n, byte in enumerate(entry[1]))
    return model[at : at + 1] == b"\x1a"
