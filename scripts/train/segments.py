"""Building blocks of a training row: encoded segments, haystacks, and placing one in the other.

A row is a list of token ids with a loss weight for each. Segments (a statement, a question with its
answer) are encoded on their own and placed into token windows of a haystack, so that a problem has
an exact length in tokens and nothing is encoded twice.
"""

from dataclasses import dataclass

import numpy as np

from corpus import BOS, NEWLINE

# Loss weights, in tenths (they travel as bytes).
NONE, NOISE, KEY, TEXT, COPY, ANSWER = 0, 2, 5, 10, 20, 40

FILLER = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again."


@dataclass
class Segment:
    ids: np.ndarray  # uint16 [n]
    weights: np.ndarray  # uint8 [n]
    own_line: bool = False  # placed at a line start rather than a sentence end

    def __len__(self):
        return len(self.ids)


def join(segments):
    return Segment(
        np.concatenate([s.ids for s in segments]), np.concatenate([s.weights for s in segments])
    )


class Encoder:
    def __init__(self, processor):
        self.processor = processor
        self.pieces = [processor.id_to_piece(i) for i in range(processor.vocab_size())]
        self.lengths = np.array(
            [1 if processor.is_byte(i) else len(p) for i, p in enumerate(self.pieces)]
        )
        self.space = processor.piece_to_id("\u2581")
        self.starts_word = np.array([p.startswith("\u2581") for p in self.pieces])
        self.ends_sentence = np.array([p.endswith((".", "!", "?")) for p in self.pieces])

    def encode(self, parts, own_line=False):
        """[(text, weight)] as one string; a token takes the weight of its last character's part.

        Text that starts with a newline stands where it would in one long string: without the
        space that the tokenizer puts before a text. `own_line` text likewise, and ends its line.
        """
        text = "".join(p for p, _ in parts)
        glue = own_line or text.startswith("\n")
        if own_line:
            text, parts = "\n" + text + "\n", [("\n", TEXT), *parts, ("\n", TEXT)]
        ids = np.array(self.processor.encode(text), np.uint16)
        ends = np.cumsum([len(p) for p, _ in parts])
        last = np.cumsum(self.lengths[ids]) - 2  # -1: the added space is character -1
        which = np.minimum(np.searchsorted(ends, last, side="right"), len(ends) - 1)
        weights = np.array([w for _, w in parts], np.uint8)[which]
        if glue:
            drop = 1 if ids[0] == self.space else 0
            if own_line:
                drop += 1  # the newline before it belongs to the haystack
            ids, weights = ids[drop:], weights[drop:]
        return Segment(ids, weights, own_line)

    def text(self, text, weight=TEXT):
        return self.encode([(text, weight)])


def question(encoder, prefix, answer, weight=ANSWER, end=".", lead="", own_line=False):
    """A question and its answer; " " between them unless the prefix opens a bracket or a quote.

    The space counts as answer: before a number it is a token, and with it the model has decided
    that a number comes.
    """
    gap = "" if prefix.endswith(("<", '"', "(")) else " "
    return encoder.encode([(lead + prefix, TEXT), (gap + answer, weight), (end, TEXT)], own_line)


class Haystack:
    """A token stream with the places where something may be inserted."""

    def __init__(self, encoder, ids):
        self.ids = ids
        before, after = ids[:-1], ids[1:]
        self.sentence_cuts = (
            np.nonzero(encoder.starts_word[after] & encoder.ends_sentence[before])[0] + 1
        )
        self.line_cuts = np.nonzero((before == NEWLINE) & (after != NEWLINE))[0] + 1

    def window(self, n, rng):
        """ids [n], sentence cuts, line cuts."""
        if n <= 0:
            return self.ids[:0], np.array([], int), np.array([], int)
        start = int(rng.integers(0, len(self.ids) - n - 1))
        cuts = [
            c[np.searchsorted(c, start) : np.searchsorted(c, start + n)] - start
            for c in (self.sentence_cuts, self.line_cuts)
        ]
        return self.ids[start : start + n], *cuts


class RepeatedFiller:
    """One short text over and over, as the published passkey test has it."""

    def __init__(self, ids):
        self.ids = ids

    def window(self, n, rng):
        ids = np.tile(self.ids, n // len(self.ids) + 1)[:n]
        return ids, np.arange(0, n, len(self.ids)), np.array([], int)


def assemble(length, rng, haystack, items, tail, head=(), positions=None):
    """BOS, head, haystack with the items inserted in order, tail: exactly `length` tokens.

    `positions` (sorted, 0..1) says how deep each item goes; random when None. Returns None when the
    parts do not fit.
    """
    room = length - 1 - sum(map(len, items)) - sum(map(len, tail)) - sum(map(len, head))
    if room < 0:
        return None
    window, sentences, lines = haystack.window(room, rng)
    depth = np.sort(rng.random(len(items))) if positions is None else np.asarray(positions)
    out = [Segment(np.array([BOS], np.uint16), np.array([NONE], np.uint8)), *head]
    at = 0
    for item, where in zip(items, depth * room):
        sentence, line = (_nearest(cuts, where, room / 8 + 40) for cuts in (sentences, lines))
        first, second = (line, sentence) if item.own_line else (sentence, line)
        cut = next((c for c in (first, second) if c is not None), int(where))
        newline = item.own_line and cut is not line
        cut = max(at, int(cut))
        out.append(_plain(window[at:cut]))
        if newline:
            out.append(Segment(np.array([NEWLINE], np.uint16), np.array([TEXT], np.uint8)))
            window = window[:-1]
        out.append(item)
        at = cut
    out.append(_plain(window[at:]))
    row = join([*out, *tail])
    return row if len(row) == length else None


def _plain(ids):
    return Segment(ids, np.full(len(ids), TEXT, np.uint8))


def _nearest(cuts, where, reach):
    """The next cut, the last one if there is none; None when it is further away than `reach`."""
    if len(cuts) == 0:
        return None
    cut = cuts[min(np.searchsorted(cuts, where), len(cuts) - 1)]
    return cut if abs(cut - where) < reach else None
