"""Messy needles from datasets/needle/facts.yaml: paraphrases, near names, stale and denied values.

The answer to a question is the latest stated value, or the file's `abstain` phrase when the text
does not say.
"""

import pathlib

import numpy as np
import yaml

from items import fill
from segments import KEY, NOISE, assemble, question

FACTS = pathlib.Path(__file__).resolve().parents[2] / "datasets" / "needle" / "facts.yaml"
LINE_FORMS = {"list", "table", "log", "code", "email"}
KINDS = ("plain", "near", "stale", "negated", "absent")  # what one question tests


class Facts:
    """The file; `held_out` wordings, questions and names are those never trained on."""

    def __init__(self, path=FACTS):
        self.data = yaml.safe_load(pathlib.Path(path).read_text())
        self.abstain = self.data["abstain"]
        self.relations = self.data["relations"]

    def names(self, kind, held_out):
        suffix = "_heldout" if held_out else ""
        return self.data["names" + suffix if kind == "person" else kind + suffix]

    @staticmethod
    def wordings(relation, what, held_out):
        split = "heldout" if held_out else "train"
        return [s for s in relation[what] if s["split"] == split]


class Messy:
    """`new_names`, `new_statements`, `new_questions`: use what training never shows."""

    def __init__(self, encoder, draw, facts, haystack, new_names=False, new_statements=False, new_questions=False):
        self.encoder, self.draw, self.rng, self.facts, self.haystack = encoder, draw, draw.rng, facts, haystack
        self.new_names, self.new_statements, self.new_questions = new_names, new_statements, new_questions

    # ---- entities and values

    def entity(self, kind):
        names = self.facts.names(kind, self.new_names)
        if kind == "person":
            return self.draw.pick(names["first"]) + " " + self.draw.pick(names["last"])
        if self.draw.chance(0.5) and not self.new_names:  # names made up on the spot
            a, b = self.draw.pick(self.draw.words), self.draw.pick(self.draw.words)
            return f"{a}-{self.rng.integers(1, 30):02d}" if kind == "servers" else f"{a.capitalize()} {b.capitalize()}"
        return self.draw.pick(names)

    def near(self, kind, entity):
        """Another entity with a name much like this one."""
        if kind == "servers":
            return f"{entity.rsplit('-', 1)[0]}-{self.rng.integers(1, 30):02d}"
        first, last = entity.split(" ", 1)
        if kind == "person":
            similar = self.facts.data["near_names"]
            for part, name in (("first", first), ("last", last)):
                others = [b if a == name else a for a, b in similar[part] if name in (a, b)]
                if others and self.draw.chance(0.7):
                    other = self.draw.pick(others)
                    return f"{other} {last}" if part == "first" else f"{first} {other}"
        stranger = self.entity(kind).split(" ", 1)
        return f"{first} {stranger[1]}" if self.draw.chance(0.5) else f"{stranger[0]} {last}"

    def value(self, relation):
        spec = relation["value"]
        if spec["kind"] == "digits":
            return self.draw.number(spec["length"])
        return self.draw.pick(self.facts.data[spec["from"]])

    def other_value(self, relation, value):
        while (other := self.value(relation)) == value:
            pass
        if relation["value"]["kind"] == "digits" and self.draw.chance(0.3):  # one digit apart
            i = int(self.rng.integers(1, len(value)))
            other = value[:i] + str((int(value[i]) + int(self.rng.integers(1, 10))) % 10) + value[i + 1 :]
        return other

    # ---- segments

    def _encode(self, relation, wording, entity, value, own_line=False):
        weight = NOISE if relation["value"]["kind"] == "digits" else KEY
        return self.encoder.encode(fill(wording, weight, KEY, e=entity, v=value), own_line)

    def statement(self, relation, entity, value):
        wording = self.draw.pick(self.facts.wordings(relation, "statements", self.new_statements))
        return self._encode(relation, wording["text"], entity, value, wording["form"] in LINE_FORMS)

    def ask(self, relation, entity, answer, lead):
        wording = self.draw.pick(self.facts.wordings(relation, "questions", self.new_questions))
        return question(self.encoder, wording["text"].replace("{e}", entity), answer, lead=lead)

    def state(self, relation, entity, stale):
        """(segments in order, the value that counts)"""
        value = self.value(relation)
        if not stale:
            return [self.statement(relation, entity, value)], value
        old = self.other_value(relation, value)
        first = (self._encode(relation, self.draw.pick(relation["stale"]), entity, old)
                 if self.draw.chance(0.5) else self.statement(relation, entity, old))
        return [first, self._encode(relation, self.draw.pick(relation["update"]), entity, value)], value

    def deny(self, relation, entity, value):
        other = self.value(relation) if value is None else self.other_value(relation, value)
        return self._encode(relation, self.draw.pick(relation["negated"]), entity, other)

    # ---- problems

    def problem(self, length):
        """A training problem: several facts of several relations, one to six questions."""
        draw, rng = self.draw, self.rng
        relations = [self.facts.relations[i] for i in rng.permutation(len(self.facts.relations))[: rng.integers(1, 5)]]
        count = int(rng.integers(2, min(17, max(3, length // 70))))
        pool = {}
        for kind in dict.fromkeys(r["entity"] for r in relations):
            pool[kind] = [self.entity(kind) for _ in range(int(rng.integers(1, count + 1)))]
            if draw.chance(0.4):
                pool[kind].append(self.near(kind, pool[kind][0]))
        stale_share = draw.pick([0, 0.2, 0.6])
        facts, groups = {}, []
        for _ in range(count):
            relation = draw.pick(relations)
            entity = draw.pick(pool[relation["entity"]])
            if (relation["name"], entity) in facts:
                continue
            group, value = self.state(relation, entity, draw.chance(stale_share))
            facts[relation["name"], entity] = (relation, value)
            groups.append(group)
        for _ in range(int(rng.integers(0, 4)) if draw.chance(0.5) else 0):
            relation = draw.pick(relations)
            entity = draw.pick(pool[relation["entity"]])
            groups.append([self.deny(relation, entity, facts.get((relation["name"], entity), (0, None))[1])])
        lead = draw.pick(["", "", "\n"])
        stated, tail = list(facts), []
        for i in rng.permutation(len(stated))[: int(rng.integers(1, 7))]:
            relation, value = facts[stated[i]]
            entity = stated[i][1]
            if draw.chance(0.17):
                relation, entity = self._unstated(relations, pool, facts)
                value = self.facts.abstain
                if relation is None:
                    continue
            tail.append(self.ask(relation, entity, value, lead))
        return self._place(length, groups, tail) if tail else None

    def _unstated(self, relations, pool, facts):
        for _ in range(8):
            relation = self.draw.pick(relations)
            entity = self.draw.pick(pool[relation["entity"]])
            if self.draw.chance(0.4):
                entity = self.near(relation["entity"], entity)
            if (relation["name"], entity) not in facts:
                return relation, entity
        return None, None

    def _place(self, length, groups, tail):
        """Random depths; the segments of a group stay in order."""
        placed = []
        for group in groups:
            depths = np.sort(self.rng.random(len(group)))
            placed += list(zip(depths, range(len(placed), len(placed) + len(group)), group))
        placed.sort(key=lambda p: p[:2])
        return assemble(length, self.rng, self.haystack(), [p[2] for p in placed], tail,
                        positions=[p[0] for p in placed])

    def test(self, length, kind):
        """One question of one kind among eight other facts, for evaluation."""
        draw, rng = self.draw, self.rng
        relation = draw.pick(self.facts.relations)
        alike = [r for r in self.facts.relations if r["entity"] == relation["entity"] and r is not relation]
        what = relation["entity"]
        names = list(dict.fromkeys(self.entity(what) for _ in range(12)))[:5]
        target = names[0]
        groups, answer = [], self.facts.abstain
        if kind != "absent":
            group, answer = self.state(relation, target, kind == "stale")
            groups.append(group)
        for name in names[1:]:  # the same relation, other entities
            groups.append(self.state(relation, name, kind == "stale" and draw.chance(0.5))[0])
        for other in alike[:3]:  # the same entity, other relations
            groups.append(self.state(other, target, False)[0])
        if kind == "near":
            twin = self.near(what, target)
            if twin in names:
                return None
            groups.append(self.state(relation, twin, False)[0])
        if kind == "negated":
            groups.append([self.deny(relation, target, answer)])
        rng.shuffle(groups)
        return self._place(length, groups, [self.ask(relation, target, answer, "\n")])
