"""Messy needles from datasets/needle/facts.yaml: paraphrases, near names, stale and denied values.

The answer to a question is the latest stated value, or the file's `abstain` phrase when the text
does not say.
"""

import pathlib

import numpy as np
import yaml

import wordings
from items import fill
from segments import KEY, NOISE, assemble, question

FACTS = pathlib.Path(__file__).resolve().parents[2] / "datasets" / "needle" / "facts.yaml"
LINE_FORMS = {"list", "table", "log", "code", "email"}
ENTITIES = ("person", "projects", "servers")
# Loss weights of an answer: its first token (the space and the first digit) decides, the rest
# is copied.
FIRST, REST = 100, 25
KINDS = ("plain", "near", "stale", "negated", "absent")  # what one question tests


class Facts:
    """The file; `held_out` wordings, questions and names are those never trained on."""

    def __init__(self, path=FACTS):
        self.data = yaml.safe_load(pathlib.Path(path).read_text())
        self.abstain = self.data["abstain"]
        self.relations = self.data["relations"]
        cues = wordings.cues(self.relations)
        for relation in self.relations:
            relation["cues"] = cues[relation["name"]]

    def names(self, kind, held_out):
        suffix = "_heldout" if held_out else ""
        return self.data["names" + suffix if kind == "person" else kind + suffix]

    @staticmethod
    def wordings(relation, what, held_out):
        split = "heldout" if held_out else "train"
        return [s for s in relation[what] if s["split"] == split]


class Messy:
    """`new_names`, `new_statements`, `new_questions`: use what training never shows.

    `made_up` is the share of wordings made of random words.
    """

    def __init__(
        self,
        encoder,
        draw,
        facts,
        haystack,
        new_names=False,
        new_statements=False,
        new_questions=False,
        made_up=0.3,
    ):
        self.made_up = made_up
        self.encoder, self.draw, self.rng, self.facts, self.haystack = (
            encoder,
            draw,
            draw.rng,
            facts,
            haystack,
        )
        self.new_names, self.new_statements, self.new_questions = (
            new_names,
            new_statements,
            new_questions,
        )

    # ---- entities and values

    def entity(self, kind):
        names = self.facts.names(kind, self.new_names)
        if kind == "person":
            return self.draw.pick(names["first"]) + " " + self.draw.pick(names["last"])
        if self.draw.chance(0.5) and not self.new_names:  # names made up on the spot
            a, b = self.draw.pick(self.draw.words), self.draw.pick(self.draw.words)
            return (
                f"{a}-{self.rng.integers(1, 30):02d}"
                if kind == "servers"
                else f"{a.capitalize()} {b.capitalize()}"
            )
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
        return self.draw.pick(
            spec["words"] if spec["kind"] == "words" else self.facts.data[spec["from"]]
        )

    def other_value(self, relation, value):
        while (other := self.value(relation)) == value:
            pass
        if relation["value"]["kind"] == "digits" and self.draw.chance(0.3):  # one digit apart
            i = int(self.rng.integers(1, len(value)))
            other = (
                value[:i]
                + str((int(value[i]) + int(self.rng.integers(1, 10))) % 10)
                + value[i + 1 :]
            )
        return other

    # ---- segments

    def _encode(self, relation, wording, entity, value, own_line=False):
        weight = NOISE if relation["value"]["kind"] == "digits" else KEY
        return self.encoder.encode(fill(wording, weight, KEY, e=entity, v=value), own_line)

    def sentence(self):
        """The words of a random sentence of the haystack, or None."""
        ids, cuts, _ = self.haystack().window(120, self.rng)
        if len(cuts) < 2:
            return None
        text = self.encoder.processor.decode(ids[cuts[0] : cuts[1]].tolist())
        words = text.replace("{", "").replace("}", "").split()
        return words if 4 <= len(words) <= 25 else None

    def statement(self, relation, entity, value):
        if "made" in relation and self.draw.chance(0.6):
            return self._encode(relation, self.draw.pick(relation["made"]), entity, value)
        if "made" in relation or self.draw.chance(self.made_up):
            terse = self.draw.chance(0.2)
            # A known relation can often do without its cue: the kind of value tells.
            share = 0.9 if "made" in relation else 0.6
            sentence = self.sentence() if self.draw.chance(0.5) else None
            wording = wordings.statement(
                self.draw, self.draw.pick(relation["cues"]), terse, sentence, share
            )
            return self._encode(relation, wording, entity, value, terse)
        wording = self.draw.pick(self.facts.wordings(relation, "statements", self.new_statements))
        return self._encode(relation, wording["text"], entity, value, wording["form"] in LINE_FORMS)

    def update(self, relation, entity, value):
        """A later value; any statement may be one, most say that something changed."""
        if "made" in relation or (self.made_up and self.draw.chance(0.2)):
            return self.statement(relation, entity, value)
        return self._encode(relation, self.draw.pick(relation["update"]), entity, value)

    def deny(self, relation, entity, value):
        other = self.value(relation) if value is None else self.other_value(relation, value)
        return self._encode(relation, self.draw.pick(relation["negated"]), entity, other)

    def state(self, relation, entity, stale):
        """(segments in order, the value that counts)"""
        value = self.value(relation)
        if not stale:
            return [self.statement(relation, entity, value)], value
        old = self.other_value(relation, value)
        said_old = "stale" in relation and self.draw.chance(0.5)
        first = (
            self._encode(relation, self.draw.pick(relation["stale"]), entity, old)
            if said_old
            else self.statement(relation, entity, old)
        )
        return [first, self.update(relation, entity, value)], value

    def ask(self, relation, entity, answer, lead="", own_line=False):
        if "made" in relation or self.draw.chance(self.made_up * 0.8):
            text = wordings.question(self.draw, self.draw.pick(relation["cues"]))
        else:
            text = self.draw.pick(self.facts.wordings(relation, "questions", self.new_questions))[
                "text"
            ]
        segment = question(
            self.encoder, text.replace("{e}", entity), answer, REST, lead=lead, own_line=own_line
        )
        first = int(np.argmax(segment.weights == REST))
        decisive = 2 if segment.ids[first] == self.encoder.space else 1
        segment.weights[first : first + decisive] = FIRST
        return segment

    # ---- problems

    def problem(self, length):
        return self.stream(length) if self.draw.chance(0.65) else self.quiz(length)

    def _cast(self, count):
        """Some relations, and the entities of each kind they speak of."""
        draw, rng = self.draw, self.rng
        some = int(rng.integers(1, 5))
        if draw.chance(0.35):
            relations = [wordings.invented_relation(draw, draw.pick(ENTITIES)) for _ in range(some)]
        else:
            relations = [
                self.facts.relations[i] for i in rng.permutation(len(self.facts.relations))[:some]
            ]
        pool = {}
        for kind in dict.fromkeys(r["entity"] for r in relations):
            pool[kind] = [self.entity(kind) for _ in range(int(rng.integers(1, count + 1)))]
            if draw.chance(0.4):
                pool[kind].append(self.near(kind, draw.pick(pool[kind])))
        return relations, pool

    def stream(self, length):
        """Facts, changes, denials and questions as they come; the answer is what holds by then."""
        draw, rng = self.draw, self.rng
        budget = rng.uniform(0.15, 0.9) * length - 150
        relations, pool = self._cast(max(3, int(budget / 40)))
        asking, changing, denying = (
            rng.uniform(0.3, 0.6),
            draw.pick([0.02, 0.15]),
            draw.pick([0, 0, 0.1]),
        )
        lines = draw.chance(0.3)  # questions on lines of their own
        facts, events, used = {}, [], 0
        while used < budget:
            relation = draw.pick(relations)
            entity = draw.pick(pool[relation["entity"]])
            known = facts.get((relation["name"], entity), (0, 0, None, False))[2]
            if not all(f[3] for f in facts.values()) and draw.chance(asking):
                events.append(self._question(relations, pool, facts, own_line=lines))
            elif "negated" in relation and draw.chance(denying):
                events.append(self.deny(relation, entity, known))
            elif known is None or draw.chance(changing) or all(f[3] for f in facts.values()):
                value = self.value(relation)
                say = self.statement if known is None else self.update
                events.append(say(relation, entity, value))
                facts[relation["name"], entity] = (relation, entity, value, False)
            else:
                events.append(self._question(relations, pool, facts, own_line=lines))
            used += len(events[-1])
        if not facts:
            return None
        lead = "\n" if draw.chance(0.4) else ""
        tail = [
            self._question(relations, pool, facts, lead) for _ in range(int(rng.integers(1, 4)))
        ]
        return assemble(length, rng, self.haystack(), events, tail)

    def _question(self, relations, pool, facts, lead="", own_line=False, absent=0.15):
        if self.draw.chance(absent):
            relation, entity = self._unstated(relations, pool, facts)
            if relation is not None:
                return self.ask(relation, entity, self.facts.abstain, lead, own_line)
        # An answer given once can be copied from there, so mostly ask what was not asked before.
        new = [k for k, fact in facts.items() if not fact[3]]
        key = self.draw.pick(new if new and self.draw.chance(0.9) else list(facts))
        relation, entity, value, _ = facts[key]
        facts[key] = (relation, entity, value, True)
        return self.ask(relation, entity, value, lead, own_line)

    def quiz(self, length):
        """Several facts, then one to six questions."""
        draw, rng = self.draw, self.rng
        count = int(rng.integers(2, min(17, max(3, length // 70))))
        relations, pool = self._cast(count)
        stale_share = draw.pick([0, 0.2, 0.6])
        facts, groups = {}, []
        for _ in range(count):
            relation = draw.pick(relations)
            entity = draw.pick(pool[relation["entity"]])
            if (relation["name"], entity) in facts:
                continue
            group, value = self.state(relation, entity, draw.chance(stale_share))
            facts[relation["name"], entity] = (relation, entity, value, False)
            groups.append(group)
        for _ in range(int(rng.integers(0, 4)) if draw.chance(0.5) else 0):
            relation = draw.pick(relations)
            entity = draw.pick(pool[relation["entity"]])
            if "negated" in relation:
                known = facts.get((relation["name"], entity), (0, 0, None, False))[2]
                groups.append([self.deny(relation, entity, known)])
        lead = draw.pick(["", "", "\n"])
        tail = [
            self._question(relations, pool, facts, lead) for _ in range(int(rng.integers(1, 7)))
        ]
        return self._place(length, groups, tail)

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
        return assemble(
            length,
            self.rng,
            self.haystack(),
            [p[2] for p in placed],
            tail,
            positions=[p[0] for p in placed],
        )

    def test(self, length, kind):
        """One question of one kind among eight other facts, for evaluation."""
        draw, rng = self.draw, self.rng
        relation = draw.pick(self.facts.relations)
        alike = [
            r
            for r in self.facts.relations
            if r["entity"] == relation["entity"] and r is not relation
        ]
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
