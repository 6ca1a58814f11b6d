"""Train the checkpoint in deberta_ref/demo: tokenizer, masked-language-model training, and what came of it.

The text is four of Jane Austen's six novels (1811 to 1815); a fifth, Persuasion (1817), is only read to measure. They
are in the Debian package r-cran-janeaustenr 1.0.0-1. README.md beside this file has the commands, and
requirements.txt the versions. What is printed at the end is the body of the model card.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import io
import math
import platform
import random
import re
import string
import time
from pathlib import Path

import sentencepiece
import torch
from torch.nn import functional
from transformers import DebertaV2Config, DebertaV2ForMaskedLM, set_seed

TEXTS = {
    "Sense and Sensibility": "105e1651fe93bed7130078578efd31e0c557d68667ba672ddc876f735b30fe09",
    "Pride and Prejudice": "dfc684d4f857fa938268f9ab9c5567b64bd0691251eca959644adeabe6287a4d",
    "Mansfield Park": "98bc90519cdf4ef663ad7de2734bb529435ef24f7abbde6bb1a50898871dafe9",
    "Emma": "7c67b5985c6d0de1efaeb5d342d52cb82c38083c40e2295129e30e87ee690ebe",
    "Persuasion": "8061549557aebd2fd6e353d18d9197cb707029112bd52d4d8b174583a925848a",
}
HELD_OUT = "Persuasion"

PIECES = 2000
ALWAYS_PIECES = string.ascii_letters + string.digits + string.punctuation + "àâäçèéêëîïñôöùûü£€“”‘’–—"
CLS, SEP, MASK, IGNORED = 1, 2, PIECES, -100  # [MASK] stands after the last piece, as in the published checkpoints

SEED = 0
TOKENS_A_BATCH, SHORTEST, LONGEST, MEASURED_LENGTH = 2048, 8, 512, 128
PEAK_LEARNING_RATE, WARM_UP, WEIGHT_DECAY, LARGEST_GRADIENT = 5e-3, 0.04, 0.01, 1.0

CONFIG = DebertaV2Config(
    vocab_size=PIECES + 8,  # pieces and [MASK], rounded up to a multiple of 8: a few rows that no token uses
    hidden_size=48,
    num_hidden_layers=3,
    num_attention_heads=4,
    intermediate_size=192,
    hidden_act="gelu",
    hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
    max_position_embeddings=512,
    type_vocab_size=0,
    initializer_range=0.1,  # 0.02 is for a width of 768: here it would leave the scores at zero for long
    layer_norm_eps=1e-7,
    relative_attention=True,
    max_relative_positions=-1,
    position_buckets=256,
    norm_rel_ebd="layer_norm",
    share_att_key=True,
    pos_att_type="p2c|c2p",
    position_biased_input=False,
    pad_token_id=0,
    legacy=False,  # the masked-language-model head of the authors
)


def read(paths: list[Path]) -> dict[str, list[str]]:
    """The paragraphs of each novel, one line each, without the underscores that stand for italics."""
    contents = {hashlib.sha256(content).hexdigest(): content for content in (path.read_bytes() for path in paths)}
    if set(contents) != set(TEXTS.values()):
        raise SystemExit(f"The texts must be {', '.join(TEXTS)}, byte for byte as README.md says how to get them.")
    novels = {title: contents[digest].decode().replace("_", "") for title, digest in TEXTS.items()}
    return {title: [" ".join(block.split()) for block in re.split("\n\\s*\n", text)] for title, text in novels.items()}


def train_tokenizer(lines: list[str]) -> bytes:
    """A sentencepiece unigram model with DeBERTaV3's special pieces, its normalisation, and no [MASK]."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=model,
        model_type="unigram",
        vocab_size=PIECES,
        character_coverage=1.0,
        required_chars=ALWAYS_PIECES,
        normalization_rule_name="nmt_nfkc",
        max_sentence_length=1 << 20,
        num_threads=1,
        minloglevel=2,
        pad_id=0,
        pad_piece="[PAD]",
        bos_id=CLS,
        bos_piece="[CLS]",
        eos_id=SEP,
        eos_piece="[SEP]",
        unk_id=3,
        unk_piece="[UNK]",
    )
    return model.getvalue()


def sequences(text: torch.Tensor, starts: torch.Tensor, length: int) -> torch.Tensor:
    """[CLS] text [SEP] from each start, ``length`` tokens in all: (B, T)."""
    body = text[starts[:, None] + torch.arange(length - 2)]  # (B, T - 2)
    return functional.pad(functional.pad(body, (1, 0), value=CLS), (0, 1), value=SEP)


def corrupt(ids: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """15% of the text to be guessed, of which 80% turn into [MASK], 10% into any piece, 10% stay: inputs, labels."""
    chosen = (torch.rand(ids.shape, generator=generator) < 0.15) & (ids > SEP)
    labels = ids.where(chosen, torch.tensor(IGNORED))
    kind = torch.rand(ids.shape, generator=generator)
    inputs = ids.masked_fill(chosen & (kind < 0.8), MASK)
    pieces = torch.randint(SEP + 2, PIECES, ids.shape, generator=generator)
    return pieces.where(chosen & (kind >= 0.9), inputs), labels


def guesses(model: DebertaV2ForMaskedLM, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The logits of the tokens to be guessed, and of no others, which would cost as much as the encoder: (M, V)."""
    hidden = model.deberta(inputs, attention_mask=torch.ones_like(inputs)).last_hidden_state  # (B, T, D)
    return model.lm_predictions(hidden[labels != IGNORED], model.deberta.embeddings.word_embeddings)


def train(model: DebertaV2ForMaskedLM, text: torch.Tensor, word_starts: torch.Tensor, steps: int) -> None:
    """``steps`` of AdamW, each on sequences of one length, which is drawn log-uniformly."""
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=WEIGHT_DECAY, betas=(0.9, 0.98))
    warm_up, average, began = WARM_UP * steps, math.nan, time.perf_counter()
    word_starts = word_starts[word_starts < len(text) - LONGEST]
    generator = torch.default_generator
    for step in range(1, steps + 1):
        length = round(math.exp(random.uniform(math.log(SHORTEST), math.log(LONGEST))))
        starts = word_starts[torch.randint(len(word_starts), (TOKENS_A_BATCH // length,))]
        inputs, labels = corrupt(sequences(text, starts, length), generator)
        loss = functional.cross_entropy(guesses(model, inputs, labels), labels[labels != IGNORED])
        decayed = 0.5 + 0.5 * math.cos(math.pi * max(0, step - warm_up) / (steps - warm_up))
        optimizer.param_groups[0]["lr"] = PEAK_LEARNING_RATE * min(step / warm_up, decayed)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), LARGEST_GRADIENT)
        optimizer.step()
        average = loss.item() if step == 1 else 0.99 * average + 0.01 * loss.item()
        if step % 250 == 0:
            print(f"step {step} of {steps}: loss {average:.3f}, {time.perf_counter() - began:.0f} s", flush=True)


@torch.no_grad()
def measure(model: DebertaV2ForMaskedLM, held_out: torch.Tensor) -> tuple[float, float]:
    """Cross entropy in nats and accuracy over the tokens to be guessed: the same tokens at every call."""
    generator, loss, right, count = torch.Generator().manual_seed(SEED), 0.0, 0, 0
    for ids in held_out.split(16):
        inputs, labels = corrupt(ids, generator)
        logits, wanted = guesses(model, inputs, labels), labels[labels != IGNORED]
        loss += functional.cross_entropy(logits, wanted, reduction="sum").item()
        right += int((logits.argmax(-1) == wanted).sum())
        count += len(wanted)
    return loss / count, right / count


def measure_unigram(text: torch.Tensor, held_out: torch.Tensor) -> tuple[float, float, int]:
    """The same for the frequencies of the pieces in the training text, blind to all context; and the tokens counted."""
    generator = torch.Generator().manual_seed(SEED)
    labels = torch.cat([corrupt(ids, generator)[1].flatten() for ids in held_out.split(16)])
    wanted, counts = labels[labels != IGNORED], torch.bincount(text, minlength=PIECES).double() + 1
    loss = -(counts / counts.sum()).log()[wanted].mean()
    return loss.item(), (wanted == counts.argmax()).double().mean().item(), len(wanted)


def without(model: DebertaV2ForMaskedLM, *terms: str) -> DebertaV2ForMaskedLM:
    """The model with c2p or p2c or both left out of the scores, whose scale stays sqrt(3d)."""
    model = copy.deepcopy(model)
    for layer in model.deberta.encoder.layer:
        attention = layer.attention.self
        attention.pos_att_type = [term for term in ("c2p", "p2c") if term not in terms]
        with torch.no_grad():  # transformers scales by the number of terms: undo that in the query of what is left
            for parameter in attention.query_proj.parameters():
                parameter.mul_(math.sqrt((3 - len(terms)) / 3))
    return model


def without_head(model: DebertaV2ForMaskedLM, layer: int, head: int) -> DebertaV2ForMaskedLM:
    """The model with one head's values replaced by zeros."""
    model = copy.deepcopy(model)
    width = CONFIG.hidden_size // CONFIG.num_attention_heads
    with torch.no_grad():
        for parameter in model.deberta.encoder.layer[layer].attention.self.value_proj.parameters():
            parameter[head * width : (head + 1) * width] = 0
    return model


def looks(probs: torch.Tensor, ids: torch.Tensor) -> list[float]:
    """Where attention goes, mean over all tokens that have text on both sides; probs (B, T, T), ids (B, T)."""
    length = ids.shape[1]
    distance = torch.arange(length)[:, None] - torch.arange(length)  # (T, T)
    own = distance == 0
    targets = [distance == 1, distance == -1, own, own.new_zeros(own.shape), own.new_zeros(own.shape)]
    targets[3][:, 0] = True  # [CLS]
    targets[4][:, -1] = True  # [SEP]
    targets = [target.expand_as(probs) for target in targets]
    targets.append((ids[:, :, None] == ids[:, None, :]) & ~own)
    inner = slice(2, -2)
    shares = [(probs * target).sum(-1)[:, inner].mean().item() for target in targets]
    logs = probs.clamp_min(1e-30).log()
    entropy = -(probs * logs).sum(-1)[:, inner].mean().item()
    return [*shares, entropy, logs.std(-1)[:, inner].mean().item()]  # log probs spread as the scores do


@torch.no_grad()
def report_attention(model: DebertaV2ForMaskedLM, held_out: torch.Tensor, base: float) -> None:
    """A table of every head's attention over the held-out text as it is, and of the loss without that head."""
    ids = held_out[::4]
    output = model.deberta(ids, attention_mask=torch.ones_like(ids), output_attentions=True)
    print("| layer.head | previous | next | itself | [CLS] | [SEP] | same piece elsewhere | entropy | spread | loss |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    row = lambda name, values: print("|", name, *(f"| {value:.3f}" for value in values), end=" | ")
    for n, probs in enumerate(output.attentions):
        for h in range(CONFIG.num_attention_heads):
            row(f"{n}.{h}", looks(probs[:, h], ids))
            print(f"{measure(without_head(model, n, h), held_out)[0] - base:+.3f} |", flush=True)
    uniform = torch.full(output.attentions[0][:, 0].shape, 1 / ids.shape[1])
    row("uniform", looks(uniform, ids))
    print("|")


def main() -> None:
    """Read the texts, train, measure, write the directory, print the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="the directory to write")
    parser.add_argument("texts", type=Path, nargs=len(TEXTS), metavar="novel.txt", help="the five, in any order")
    parser.add_argument("--steps", type=int, default=7000)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    set_seed(SEED)

    novels = read(arguments.texts)
    unseen = novels.pop(HELD_OUT)
    lines = [line for novel in novels.values() for line in novel]
    spm = train_tokenizer(lines)
    tokenizer = sentencepiece.SentencePieceProcessor(model_proto=spm)
    encode = lambda lines: torch.tensor([piece for line in tokenizer.encode(lines) for piece in line])
    text, unseen = encode(lines), encode(unseen)
    begins_word = torch.tensor([tokenizer.id_to_piece(n).startswith("▁") for n in range(PIECES)])
    body = MEASURED_LENGTH - 2
    held_out = sequences(unseen, torch.arange(0, len(unseen) - body + 1, body), MEASURED_LENGTH)

    model = DebertaV2ForMaskedLM(CONFIG)
    before, began = measure(model, held_out), time.perf_counter()
    train(model, text, begins_word[text].nonzero().flatten(), arguments.steps)
    seconds = time.perf_counter() - began
    model.deberta.save_pretrained(arguments.out)
    (arguments.out / "spm.model").write_bytes(spm)

    after = measure(model.eval(), held_out)
    *unigram, guessed = measure_unigram(text, held_out)
    print(f"text: {len(text)} tokens to learn from, {held_out.numel()} held out, of which {guessed} are guessed")
    print(f"training: {arguments.steps} steps, {arguments.steps * TOKENS_A_BATCH} tokens, {seconds:.0f} s")
    print(f"machine: {platform.machine()}, Python {platform.python_version()}, torch {torch.__version__}, one thread")
    print(f"parameters: {model.deberta.num_parameters()}, and {model.lm_predictions.lm_head.bias.numel()}")
    rows = {"unigram frequencies": unigram, "before training": before, "after training": after}
    for terms in (("c2p",), ("p2c",), ("c2p", "p2c")):
        rows[f"after training, without {' and '.join(terms)}"] = measure(without(model, *terms), held_out)
    print("| held-out text | nats a guessed token | accuracy |\n|---|---|---|")
    for name, (loss, accuracy) in rows.items():
        print(f"| {name} | {loss:.3f} | {accuracy:.1%} |")
    report_attention(model, held_out, after[0])


if __name__ == "__main__":
    main()
