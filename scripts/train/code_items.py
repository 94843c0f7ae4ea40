"""Code-like retrieval: something is defined in a source file and asked for by name further down."""

from items import Draw
from segments import NOISE, TEXT, assemble, question

# (definition, question prefix, text after the answer); {n} name, {v} value
FORMS = [
    ("constexpr int {n} = {v};", "static_assert({n} ==", ");"),
    ("constexpr int {n} = {v};", "// The value of {n} is", "."),
    ("#define {n} {v}", "#if {n} !=", ""),
    ("const {n} = {v};", "console.log({n});  // prints", ""),
    ("static const int {n} = {v};", "What is the value of {n}? Answer:", "."),
    ("{n} = {v}", "assert {n} ==", ""),
    ("{n} = {v}", ">>> print({n})  #", ""),
    ("def {n}():\n    return {v}", "assert {n}() ==", ""),
    ("def {n}(self):\n    return {v}\n", "What does {n} return? It returns", "."),
    ("int {n}(void) { return {v}; }", "/* {n}() returns", " */"),
    ("fn {n}() -> u64 { {v} }", "assert_eq!({n}(),", ");"),
    ('    "{n}": {v},', 'config["{n}"] ==', ""),
    ("  {n}: {v}", "# {n} is", ""),
    ("{n}={v}", "echo ${n}  #", ""),
    ("local {n} = {v}", "-- {n} is", ""),
    ("    {n} = {v},", "case {n}:  // number", ""),
]


def identifier(draw: Draw):
    words = [draw.pick(draw.words) for _ in range(int(draw.rng.integers(1, 4)))]
    style = draw.rng.random()
    if style < 0.4:
        return "_".join(words)
    if style < 0.6:
        return "_".join(words).upper()
    if style < 0.8:
        return "k" + "".join(w.capitalize() for w in words)
    return words[0] + "".join(w.capitalize() for w in words[1:])


def _fill(form, name, value):
    """[(text, weight)]; the value is a surprise, so it weighs little."""
    before, after = form.replace("{n}", name).split("{v}")
    return [(before, TEXT), (value, NOISE), (after, TEXT)]


def problem(length, encoder, draw, haystack):
    rng = draw.rng
    shared = draw.pick(FORMS) if draw.chance(0.5) else None
    definitions = {}
    for _ in range(int(rng.integers(1, min(13, max(2, length // 80))))):
        value = draw.number(int(rng.integers(2, 7)))
        definitions[identifier(draw)] = (shared or draw.pick(FORMS), value)
    items = [
        encoder.encode(_fill(form[0], name, value), own_line=True)
        for name, (form, value) in definitions.items()
    ]
    names = list(definitions)
    tail = []
    for i in rng.permutation(len(names))[: int(rng.integers(1, 6))]:
        (_, prefix, end), value = definitions[names[i]]
        tail.append(question(encoder, prefix.replace("{n}", names[i]), value, end=end, lead="\n"))
    return assemble(length, rng, haystack, items, tail)
