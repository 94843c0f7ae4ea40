"""Made-up wordings: an entity, a cue and a value among random words, in any order.

Fixed paraphrases are learned by heart. These are what makes the model find the value that stands
near an entity and a cue word whatever the sentence around them looks like.
"""

import collections
import re

import numpy as np

WORD = re.compile(r"(?<![{\w])[A-Za-z]{4,}(?![}\w])")


def cues(relations):
    """{relation name: words typical of it}, taken from the wordings that training may see."""
    count = {}
    for r in relations:
        texts = [
            w["text"]
            for what in ("statements", "questions")
            for w in r[what]
            if w["split"] == "train"
        ]
        count[r["name"]] = collections.Counter(
            w for t in texts for w in set(WORD.findall(t.lower()))
        )
    spread = collections.Counter(w for c in count.values() for w in c)
    stop = {
        "what",
        "which",
        "where",
        "answer",
        "does",
        "when",
        "info",
        "have",
        "that",
        "were",
        "server",
        "project",
    }
    return {
        name: [w for w, n in c.most_common() if n >= 2 and spread[w] <= 2 and w not in stop][:5]
        for name, c in count.items()
    }


def _sprinkle(draw, parts, most=4):
    """The parts with up to `most` - 1 random words around each."""
    out = []
    for part in parts:
        n = int(draw.rng.integers(0, most)) if draw.chance(0.7) else 0
        out += [draw.pick(draw.words) for _ in range(n)]
        out.append(part)
    return out + [
        draw.pick(draw.words)
        for _ in range(int(draw.rng.integers(0, most)) if draw.chance(0.5) else 0)
    ]


def _capital(text):
    return text[:1].upper() + text[1:]


def statement(draw, cue, terse=False, sentence=None, cue_share=0.9):
    """A wording with {e}, {v} and mostly the cue.

    `terse` ones read like a record; with a `sentence` (its words) the parts go in there.
    """
    parts = ["{e}", "{v}"] + ([cue] if draw.chance(cue_share) else [])
    draw.rng.shuffle(parts)
    if terse:
        return draw.pick(["", "- ", "# ", "| ", "// ", "INFO "]) + draw.pick(
            [" ", ": ", " | ", ", ", "="]
        ).join(parts)
    if sentence:
        places = np.sort(draw.rng.integers(0, len(sentence) + 1, len(parts)))
        words = list(sentence)
        for place, part in zip(places[::-1], parts[::-1]):
            words.insert(int(place), part)
    else:
        words = _sprinkle(draw, parts)
    if draw.chance(0.25) and len(words) > 3:  # two sentences
        cut = int(draw.rng.integers(1, len(words)))
        words[cut - 1] += "."
        words[cut] = _capital(words[cut])
    elif draw.chance(0.2):
        words[int(draw.rng.integers(len(words)))] += ","
    return _capital(" ".join(words)).rstrip(",.") + "."


def question(draw, cue):
    parts = ["{e}", cue]
    draw.rng.shuffle(parts)
    text = _capital(" ".join(_sprinkle(draw, parts))) + "?"
    follow = [
        "",
        " Answer:",
        " It is",
        " The " + cue + " is",
        " {e} " + cue,
        " " + draw.pick(draw.words),
    ]
    return text + draw.pick(follow)


def invented_relation(draw, entity):
    """A relation of this one text: a random cue, a kind of value and two or three wordings."""
    cue = draw.pick(draw.words)
    if draw.chance(0.6):
        value = {"kind": "digits", "length": int(draw.rng.integers(3, 8))}
    else:
        value = {"kind": "words", "words": [draw.pick(draw.words) for _ in range(12)]}
    made = [statement(draw, cue, draw.chance(0.2)) for _ in range(int(draw.rng.integers(1, 4)))]
    return {"name": "!" + cue, "entity": entity, "value": value, "cues": [cue], "made": made}
