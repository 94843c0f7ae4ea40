"""Retrieval problems for training: one stated value, many keyed values, dense records, copies.

Two wordings in five are drawn up on the spot from random words. They are what makes the model
look a value up by its key, whatever the sentence; with fixed wordings alone it fails on new ones.
"""

import uuid

import numpy as np

import segments
from segments import ANSWER, COPY, KEY, NOISE, TEXT, Segment, assemble, join, question

ABSTAIN = "not stated"
LANDMARK_HEAD = (
    "There is an important info hidden inside a lot of irrelevant text. Find it and memorize {it}. "
    "I will quiz you about the important information there."
)
NAMES_OF_VALUES = [
    "magic number",
    "special magic number",
    "secret number",
    "pass key",
    "code",
    "access code",
    "pin",
    "register value",
    "phone number",
    "ticket number",
    "locker number",
    "score",
    "room number",
    "serial number",
    "account number",
    "password",
]

# (statement, question that repeats the key before the answer, question with a bare answer)
# {k} key, {v} value, {a} name of the value
KEYED = [
    (
        "The {a} for {k} is {v}.",
        "What is the {a} for {k}? The {a} for {k} is",
        "What is the {a} for {k}? Answer:",
    ),
    (
        "One of the special magic numbers for {k} is: {v}.",
        "What is the special magic number for {k} mentioned in the provided text? "
        "The special magic number for {k} mentioned in the provided text is",
        "What is the special magic number for {k} mentioned in the provided text?",
    ),
    (
        "The {a} of {k} is {v}.",
        "Question: what is the {a} of {k}? Answer: The {a} of {k} is",
        "Question: what is the {a} of {k}? Answer:",
    ),
    (
        "Remember that {k} has the {a} {v}.",
        "Which {a} does {k} have? {k} has the {a}",
        "Which {a} does {k} have? Answer:",
    ),
    ("{k}: {v}.", "{k}:", "What is {k}? Answer:"),
    (
        "register {k}: {v}.",
        "What is in register {k}? register {k}:",
        "What is in register {k}? Answer:",
    ),
    (
        "line {k}: REGISTER_CONTENT is <{v}>",
        "Tell me what is the <REGISTER_CONTENT> in line {k}? "
        "The <REGISTER_CONTENT> in line {k} is <",
        "What is the REGISTER_CONTENT in line {k}? Answer: <",
    ),
    (
        "Note: the {a} {k} was set to {v}.",
        "What was the {a} {k} set to? The {a} {k} was set to",
        "What was the {a} {k} set to? Answer:",
    ),
    (
        "{v} is the {a} for {k}.",
        "What is the {a} for {k}? The {a} for {k} is",
        "What is the {a} for {k}? Answer:",
    ),
]
DENSE = [KEYED[i] for i in (4, 5, 6, 6, 0, 1)]
UUID_SENTENCE = (
    "One of the special magic uuids for {k} is: {v}.",
    "What is the special magic uuid for {k} mentioned in the provided text? "
    "The special magic uuid for {k} mentioned in the provided text is",
    "What is the special magic uuid for {k} mentioned in the provided text?",
)
SINGLE = [
    (
        "The pass key is {v}. Remember it. {v} is the pass key.",
        "What is the pass key? The pass key is",
        "What is the pass key? Answer:",
    ),
    (
        "The {a} is {v}. Remember it. {v} is the {a}.",
        "What is the {a}? The {a} is",
        "What is the {a}? Answer:",
    ),
    ("The {a} is {v}.", "What is the {a}? The {a} is", "What is the {a}? Answer:"),
    (
        "Do not forget that the {a} is {v}.",
        "What is the {a} that you should not forget? The {a} is",
        "Tell me the {a}. Answer:",
    ),
]


def fill(template, value_weight, key_weight=TEXT, **values):
    """[(text, weight)] of a template, the value and the key with weights of their own."""
    parts = []
    weight = {"k": key_weight, "v": value_weight, "e": key_weight, "a": TEXT}
    at = 0
    while at < len(template):
        open_ = template.find("{", at)
        while open_ >= 0 and template[open_ + 1 : open_ + 3] not in ("k}", "v}", "e}", "a}"):
            open_ = template.find("{", open_ + 1)
        if open_ < 0:
            parts.append((template[at:], TEXT))
            break
        if open_ > at:
            parts.append((template[at:open_], TEXT))
        name = template[open_ + 1]
        parts.append((values[name], weight[name]))
        at = open_ + 3
    return parts


class Draw:
    """Random words, keys, values and wordings."""

    def __init__(self, rng, words, random_wordings=0.4):
        self.rng, self.words, self.random_wordings = rng, words, random_wordings

    def chance(self, p):
        return self.rng.random() < p

    def pick(self, options):
        return options[int(self.rng.integers(len(options)))]

    def some_words(self, low, high):
        return " ".join(self.pick(self.words) for _ in range(int(self.rng.integers(low, high))))

    def number(self, digits):
        return str(self.rng.integers(10 ** (digits - 1), 10**digits))

    def key(self):
        p = self.rng.random()
        if p < 0.7:
            return self.pick(self.words) + "-" + self.pick(self.words)
        if p < 0.85:
            return self.pick(self.words)
        if p < 0.93:
            return self.pick(self.words).capitalize() + " " + self.pick(self.words).capitalize()
        return str(self.rng.integers(10, 9999))

    def value(self):
        p = self.rng.random()
        if p < 0.65:
            return self.number(5)
        return self.number(int(self.rng.integers(3, 9))) if p < 0.9 else self.pick(self.words)

    def uuid(self):
        return str(uuid.UUID(bytes=self.rng.bytes(16), version=4))

    def wording(self, fixed, keyed=True):
        return (
            self._random_wording(keyed) if self.chance(self.random_wordings) else self.pick(fixed)
        )

    def _random_wording(self, keyed):
        before, between = self.some_words(1, 5).capitalize(), self.some_words(1, 5)
        after = " " + self.some_words(1, 4) if self.chance(0.5) else ""
        if self.chance(0.3):
            between += self.pick([" =", ":", " is", " equals"])
        key = " {k}" if keyed else ""
        ask = ""
        if self.chance(0.7):
            ask = self.some_words(1, 5).capitalize() + (key if self.chance(0.5) else "")
            ask += (" " + self.some_words(1, 4) if self.chance(0.5) else "") + "? "
        stem = "{k} " + between if keyed and self.chance(0.25) else before + key + " " + between
        return stem + " {v}" + after + ".", ask + stem, ask + stem


class Retrieval:
    """Makes the problems; `stacks` are [(share, haystack)]."""

    def __init__(self, encoder, draw, stacks):
        self.encoder, self.draw, self.rng = encoder, draw, draw.rng
        share = np.array([s for s, _ in stacks])
        self.shares, self.stacks = share / share.sum(), [h for _, h in stacks]
        self.filler = segments.RepeatedFiller(encoder.text(segments.FILLER).ids)

    def haystack(self):
        return self.stacks[int(self.rng.choice(len(self.stacks), p=self.shares))]

    def repeated(self):
        """The published filler, or one to four sentences of text, over and over."""
        if self.draw.chance(0.5):
            return self.filler
        ids, cuts, _ = self.haystack().window(400, self.rng)
        if len(cuts) < 6:
            return self.filler
        first = int(self.rng.integers(len(cuts) - 5))
        return segments.RepeatedFiller(
            ids[cuts[first] : cuts[first + int(self.rng.integers(1, 5))]]
        )

    def statement(self, wording, key, value, name, own_line=False):
        return self.encoder.encode(fill(wording[0], NOISE, KEY, k=key, v=value, a=name), own_line)

    def record(self, wording, key, value, name, new_line=True):
        """A line of a dense block; without `new_line` it runs on, as prose does."""
        parts = fill(wording[0], NOISE, 3, k=key, v=value, a=name)
        return self.encoder.encode([("\n", KEY), *parts] if new_line else parts)

    def ask(self, wording, key, value, name, bare=False, lead=""):
        prefix = "".join(
            t for t, _ in fill(wording[2 if bare else 1], TEXT, k=key, v=value, a=name)
        )
        end = ">" if prefix.endswith("<") else "."
        return question(self.encoder, prefix, value, end=end, lead=lead)

    def passkey(self, length):
        draw = self.draw
        wording, name, value = (
            draw.wording(SINGLE, keyed=False),
            draw.pick(NAMES_OF_VALUES),
            draw.value(),
        )
        repeated = draw.chance(0.3)
        if repeated and draw.chance(0.6):
            wording, value = SINGLE[0], str(self.rng.integers(1, 50001))
        lead = "\n" if draw.chance(0.4) else ""
        head = []
        if draw.chance(0.6 if repeated else 0.4):
            text = LANDMARK_HEAD.replace("{it}", draw.pick(["them", "them", "it"]))
            head = [self.encoder.text(text + ("\n" if lead else ""))]
        stack = self.repeated() if repeated else self.haystack()
        own_line = bool(lead) and draw.chance(0.5)
        return assemble(
            length,
            self.rng,
            stack,
            [self.statement(wording, "", value, name, own_line)],
            [self.ask(wording, "", value, name, draw.chance(0.3), lead)],
            head,
        )

    def keyed(self, length):
        """2-16 needles; some keys get a second value, some questions a key that is not there."""
        draw, rng = self.draw, self.rng
        count = int(rng.integers(2, min(17, max(3, length // 60))))
        same, bare = draw.chance(0.7), draw.chance(0.3)
        shared = draw.wording(KEYED), draw.pick(NAMES_OF_VALUES)
        needles = []
        for key in dict.fromkeys(draw.key() for _ in range(count)):
            wording, name = shared if same else (draw.wording(KEYED), draw.pick(NAMES_OF_VALUES))
            needles.append((wording, key, draw.value(), name))
        rng.shuffle(needles)
        items = [self.statement(*n) for n in needles]
        asked = [needles[i] for i in rng.permutation(len(needles))[: int(rng.integers(1, 9))]]
        lead = "\n" if draw.chance(0.3) else ""
        if draw.chance(0.12):  # the latest value counts
            changed = {n[1]: (n[0], n[1], draw.value(), n[3]) for n in needles if draw.chance(0.5)}
            items += [self.statement(*n) for n in changed.values()]
            asked = [changed.get(n[1], n) for n in asked]
        elif draw.chance(0.12) and not shared[0][0].endswith(">"):
            asked[0] = (shared[0], draw.key(), ABSTAIN, shared[1])
        elif draw.chance(0.45):
            return self._interleaved(length, needles, items, asked, bare)
        return assemble(
            length, rng, self.haystack(), items, [self.ask(*n, bare, lead) for n in asked]
        )

    def _interleaved(self, length, needles, items, asked, bare):
        """Each question somewhere after its own statement; the first one once more at the end."""
        rng = self.rng
        depth = np.sort(rng.random(len(items)))
        where = {n[1]: d for n, d in zip(needles, depth)}
        events = list(zip(depth, [0] * len(items), items))
        events += [
            (where[n[1]] + (1 - where[n[1]]) * rng.random(), 1, self.ask(*n, bare)) for n in asked
        ]
        events.sort(key=lambda e: e[:2])
        return assemble(
            length,
            rng,
            self.haystack(),
            [e[2] for e in events],
            [self.ask(*asked[0], bare)],
            positions=[e[0] for e in events],
        )

    def dense(self, length):
        """A block of records, one a line, that may fill the whole context."""
        draw, rng = self.draw, self.rng
        wording, name, bare = draw.wording(DENSE), draw.pick(NAMES_OF_VALUES), draw.chance(0.3)
        budget = rng.random() ** 0.7 * 0.95 * length - 250
        records, lines, used, new_line = {}, [], 0, draw.chance(0.85)
        while used < budget:
            key, value = draw.key(), draw.value()
            if key in records:
                continue
            records[key] = value
            lines.append(self.record(wording, key, value, name, new_line))
            used += len(lines[-1])
        if len(lines) < 2:
            return None
        keys = list(records)
        asked = [keys[i] for i in rng.permutation(len(keys))[: int(rng.integers(1, 9))]]
        lead = "\n" if draw.chance(0.6) else ""
        tail = [self.ask(wording, k, records[k], name, bare, lead) for k in asked]
        return assemble(length, rng, self.haystack(), [join(lines)], tail)

    def uuids(self, length):
        draw, rng = self.draw, self.rng
        count = int(rng.integers(2, max(3, min(40, (length - 100) // 110))))
        values = [draw.uuid() if draw.chance(0.7) else draw.value() for _ in range(count)]
        if draw.chance(0.3):
            pairs = [(draw.key() if draw.chance(0.5) else draw.uuid(), v) for v in values]
            items = [
                self.encoder.encode(fill(UUID_SENTENCE[0], NOISE, NOISE, k=k, v=v))
                for k, v in pairs
            ]
            ask = lambda k, v: question(
                self.encoder, UUID_SENTENCE[1].replace("{k}", k), v, ANSWER // 2
            )
            dense = False
        else:
            pairs = [(draw.uuid(), v) for v in values]
            items = [
                self.encoder.encode(
                    [('"', TEXT), (k, NOISE), ('": "', TEXT), (v, NOISE), ('",', TEXT)]
                )
                for k, v in pairs
            ]
            middle = draw.pick([' Value: "', '\nCorresponding value: "', ' Value: "'])
            ask = lambda k, v: question(self.encoder, f'Key: "{k}"{middle}', v, ANSWER // 2, '"')
            dense = draw.chance(0.5)
        tail = [ask(*pairs[i]) for i in rng.permutation(count)[: int(rng.integers(1, 4))]]
        return assemble(length, rng, self.haystack(), [join(items)] if dense else items, tail)

    def copy(self, length):
        """A span of text, half the time shuffled, and the same again later."""
        n = int(self.rng.integers(16, min(200, length // 4)))
        span, _, _ = self.haystack().window(n, self.rng)
        shuffled = self.draw.chance(0.5)
        span = self.rng.permutation(span) if shuffled else span.copy()
        again = np.full(n, COPY, np.uint8)
        again[:3] = NOISE
        first = Segment(span, np.full(n, NOISE if shuffled else TEXT, np.uint8))
        return assemble(length, self.rng, self.haystack(), [first], [Segment(span, again)])
