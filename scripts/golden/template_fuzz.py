#!/usr/bin/env python3
"""Random expressions and templates, rendered by jinja2 as transformers sets it up and by hone's interpreter.

    PYTHON scripts/golden/template_fuzz.py [--count 4000] [--seed 1] [--hone PROGRAM]

Needs Python with transformers. The templates are the named chat templates of one directory, of which
each row given to `hone tokenize` chooses one. Prints the rows in which the two differ: other text, or
one of them refuses what the other renders. Exit code 1 if there is one.
"""
import argparse
import copy
import json
import random
import shutil
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

from transformers.utils import chat_template_utils

ROOT = Path(__file__).resolve().parent.parent.parent
TOKENIZER = ROOT / "data/models/tiny-base/tokenizer.json"

WORDS = ["'a'", "'Hello World'", "''", "'x,y,z'", "'  pad '", "'42'", "'3.5'", "'line1\\nline2'", "'ÄÖ ß é'",
         "'日本語'", "'%s-%d'", "'<b>&'", "'tool'", "'AbC dEf'", "'it\\'s'", "'{}{x}'"]
NUMBERS = ["0", "1", "2", "-3", "7", "10", "2.5", "-0.5", "1e20", "100", "3.0", "0.1", "true", "false"]
NAMES = ["s", "n", "f", "l", "d", "t", "nested", "messages", "missing", "none", "ns.a", "ns.b", "words", "tools",
         "messages[0]", "messages[-1]", "messages[0].content", "d.a", "d['b']", "nested.x.y", "loop_it", "people"]
UNARY_FILTERS = ["upper", "lower", "title", "capitalize", "trim", "length", "list", "first", "last", "reverse",
                 "string", "int", "float", "abs", "round", "sort", "unique", "join", "tojson", "items", "sum",
                 "min", "max", "default", "e", "safe", "wordcount", "dictsort", "count", "d", "urlencode",
                 "reverse|list", "unique|list", "items|list", "list|length", "string|length"]
TESTS = ["defined", "undefined", "none", "string", "number", "integer", "float", "boolean", "true", "false",
         "mapping", "iterable", "sequence", "callable", "odd", "even", "lower", "upper", "escaped"]
METHODS = ["upper()", "lower()", "strip()", "lstrip()", "rstrip()", "split()", "splitlines()", "title()",
           "capitalize()", "swapcase()", "isdigit()", "isalpha()", "isspace()", "isupper()", "islower()", "keys()",
           "values()", "items()", "copy()", "isalnum()", "istitle()", "casefold()", "isidentifier()", "pop()"]


class Source:
    def __init__(self, seed):
        self.r = random.Random(seed)

    def pick(self, items):
        return self.r.choice(items)

    def small(self):
        return self.pick(["0", "1", "2", "3", "-1", "-2", "5", "none", "n"])

    def atom(self):
        return self.pick([self.pick(WORDS), self.pick(NUMBERS), self.pick(NAMES), self.pick(NAMES)])

    def expr(self, depth):
        if depth <= 0:
            return self.atom()
        e = lambda: self.expr(depth - 1 - self.r.randrange(2))
        kind = self.r.randrange(22)
        if kind == 0:
            return f"({e()} {self.pick(['+', '-', '*', '/', '//', '%', '~', '**'])} {e()})"
        if kind == 1:
            return f"({e()} {self.pick(['==', '!=', '<', '<=', '>', '>=', 'in', 'not in'])} {e()})"
        if kind == 2:
            return f"({e()} {self.pick(['and', 'or'])} {e()})"
        if kind == 3:
            return f"(not {e()})"
        if kind == 4:
            return f"[{', '.join(e() for _ in range(self.r.randrange(4)))}]"
        if kind == 5:
            return "{" + ", ".join(f"{self.pick(WORDS + ['1', 'none'])}: {e()}" for _ in range(self.r.randrange(3))) + "}"
        if kind == 6:
            return f"({e()}, {e()})"
        if kind in (7, 8):
            return f"{self.pick(NAMES + WORDS)}|{self.pick(UNARY_FILTERS)}"
        if kind == 9:
            return f"({e()})|{self.pick(UNARY_FILTERS)}"
        if kind == 10:
            return f"({e()} is {self.pick(['', 'not '])}{self.pick(TESTS)})"
        if kind == 11:
            return f"{self.pick(NAMES + WORDS)}[{self.small()}]"
        if kind == 12:
            step = self.pick(["", ":", ":1", ":2", ":-1", ":-2"])
            return f"{self.pick([x for x in NAMES + WORDS if x != 'none'])}[{self.pick(['', self.small()])}:{self.pick(['', self.small()])}{step}]"
        if kind == 13:
            return f"{self.pick(NAMES + WORDS)}.{self.pick(METHODS)}"
        if kind == 14:
            return f"({e()} if {e()} else {e()})"
        if kind == 15:
            return self.call(e)
        if kind == 16:
            return self.filter_call(e)
        if kind == 17:
            name = self.pick(["divisibleby", "eq", "ne", "lt", "gt", "le", "ge", "in", "equalto", "sameas"])
            return f"({e()} is {name}({e()}))"
        if kind == 18:
            return f"{self.pick(['-', '+'])}{self.atom()}"
        if kind == 19:
            return f"({e()} {self.pick(['<', '==', '>='])} {e()} {self.pick(['<', '!=', '<='])} {e()})"
        if kind == 20:
            return self.pick(["range(3)", "range(1, 8, 3)|list", "range(5, 0, -2)|list", "dict(a=1, b=2)",
                              "range(4)[1:3]", "dict([('a', 1)])", "range(3)|string", "dict(d, z=3)"])
        return self.atom()

    def call(self, e):
        s = self.pick(WORDS + ["s", "words", "d.b", "messages[0].content", "s"])
        return s + self.pick([
            f".split({self.pick(WORDS)})", f".split({self.pick(WORDS)}, {self.small()})", f".rsplit(' ', 1)",
            f".replace({self.pick(WORDS)}, {self.pick(WORDS)})", f".replace('l', 'L', {self.small()})",
            f".startswith({self.pick(WORDS)})", f".endswith(('d', 'z'))", f".find({self.pick(WORDS)})",
            f".count('l')", f".index('l')", f".strip('Hdx ')", f".join(['p', 'q'])", f".join({e()})",
            f".format({e()}, x={e()})", f".center(11, '*')", f".ljust(8)", f".rjust(8, '.')", f".zfill(5)",
            f".partition(',')", f".rpartition(' ')", f".removeprefix('He')", f".removesuffix('ld')",
            f".splitlines(true)", f".split(none, 1)", f".rsplit(none, 1)", f".get('a')", f".get('zz', {e()})",
            f".expandtabs(4)", f".rfind('l')", f".find('l', 3)", f".startswith('l', 2)", f".lstrip('H')",
        ])

    def filter_call(self, e):
        v = self.pick([e(), self.pick(NAMES), self.pick(NAMES), self.pick(WORDS)])
        return f"({v})|" + self.pick([
            f"default({e()})", f"default({e()}, true)", f"join({self.pick(WORDS)})", f"join(',', attribute='age')",
            f"map('upper')|list", f"map(attribute='name')|list", f"map(attribute='zz', default=1)|list",
            f"select('odd')|list", f"reject('none')|list", f"selectattr('age', 'gt', 20)|list",
            f"rejectattr('role', 'equalto', 'user')|list", f"selectattr('name')|map(attribute='age')|list",
            f"tojson(indent={self.pick(['2', '4', 'none', '0'])})", "tojson(sort_keys=true)",
            "tojson(ensure_ascii=true)", "tojson(separators=(',', ':'))", f"round({self.small()})",
            f"round(1, {self.pick(['chr', 'ceil', 'floor', 'common'])!r})", f"int({e()})", f"int(0, 16)",
            f"float({e()})", f"replace({self.pick(WORDS)}, {self.pick(WORDS)})", f"replace('l', 'L', {self.small()})",
            f"sort(reverse=true)", f"sort(attribute='age')", f"sort(case_sensitive=true)",
            f"sort(attribute='name,age')", f"unique(attribute='role')|list", f"groupby('age')|list",
            f"batch({self.pick(['1', '2', '3'])})|list", f"batch(2, 'x')|list", f"slice(2)|list", f"slice(3, 0)|list",
            f"indent({self.small()})", f"indent(2, true)", f"indent('> ', blank=true)", f"truncate(8)",
            f"truncate(7, true, '~', 0)", f"trim('Hd')", f"format({e()})", f"sum(attribute='age')", f"sum(start=1)",
            f"max(attribute='age')", f"min(case_sensitive=true)", f"dictsort(by='value')", f"dictsort(reverse=true)",
            f"first|default('-')", f"center(9)", f"map('default', 1)|list", f"attr('upper')|string|length > 0",
            f"select|list", f"map('int')|sum", f"list|last", f"dictsort|map('last')|list", f"map('length')|list",
        ])

    def percent(self):
        spec = self.pick(["%s", "%d", "%5d", "%-5d|", "%05d", "%.2f", "%8.3f", "%e", "%g", "%x", "%o", "%X", "%r",
                          "%+d", "%5s", "%-5s|", "%.3s", "%%", "%c", "%i", "%#x"])
        brace = self.pick(["{}", "{:d}", "{:5}", "{:<5}|", "{:>5}", "{:^7}", "{:.2f}", "{:,}", "{:x}", "{:08.3f}",
                           "{:+d}", "{!r}", "{:e}", "{:g}", "{:%}", "{:*^9}", "{0}", "{:.3}", "{:#x}", "{:b}", "{:_}"])
        value = self.pick(NUMBERS + WORDS + ["n", "f", "l", "none", "123456789", "1234.5678", "1e-7", "12345678.9"])
        return self.pick([f"'{spec}' % {value}", f"'{spec}' % ({value},)", f"'{brace}'.format({value})",
                          f"'{spec}'|format({value})", f"({value})|string", f"[{value}]|string"])

    def body(self, depth):
        return "".join(self.piece(depth) for _ in range(self.r.randrange(1, 4)))

    def space(self):
        return self.pick(["", "", "\n", " ", "\n  ", "  \n", " text ", "\n\n", "\t"])

    def tag(self, inner):
        return self.space() + "{%" + self.pick(["", "", "-", "+"]) + " " + inner + " " + self.pick(["", "", "-", "+"]) + "%}" + self.space()

    def piece(self, depth):
        kind = self.r.randrange(16)
        if depth <= 0 or kind < 4:
            return self.space() + "{{" + self.pick(["", "-", "+"]) + " " + self.expr(2) + " " + self.pick(["", "-"]) + "}}" + self.space()
        if kind == 4:
            other = self.tag("else") + self.body(depth - 1) if self.r.random() < .5 else ""
            middle = self.tag("elif " + self.expr(1)) + self.body(depth - 1) if self.r.random() < .3 else ""
            return self.tag("if " + self.expr(2)) + self.body(depth - 1) + middle + other + self.tag("endif")
        if kind in (5, 6):
            loop = self.pick(["loop.index", "loop.index0", "loop.first", "loop.last", "loop.length", "loop.revindex",
                              "loop.revindex0", "loop.previtem", "loop.nextitem", "loop.cycle('p', 'q')",
                              "loop.changed(item)", "loop.depth", "item", "loop.changed(item.role)"])
            extra = self.pick(["", self.tag("break"), self.tag("continue"), self.tag("if loop.index == 2") +
                               self.tag(self.pick(["break", "continue"])) + self.tag("endif")])
            test = self.pick(["", "", " if item", " if item is defined", " if loop is defined", " if item != 2"])
            other = self.tag("else") + "none" if self.r.random() < .4 else ""
            source = self.pick(["l", "messages", "d", "range(3)", "words", "[]", "people", "missing", "d.items()",
                                "l|select", "messages[::-1]", self.expr(2)])
            return self.tag(f"for item in {source}{test}") + "{{ " + loop + " }}" + extra + self.body(depth - 1) + other + self.tag("endfor")
        if kind == 7:
            return self.tag(f"set {self.pick(['v', 's', 'n', 'ns.a', 'ns.b'])} = {self.expr(2)}") + "{{ v }}{{ ns.a }}"
        if kind == 8:
            return self.tag("set v" + self.pick(["", " | upper", " | trim | length"])) + self.body(depth - 1) + self.tag("endset") + "[{{ v }}]"
        if kind == 9:
            return (self.tag("macro m(a, b=" + self.expr(1) + ")") + "{{ a }}:{{ b }}" + self.pick(["", "{{ varargs }}", "{{ kwargs }}",
                    "{{ caller() if caller else '' }}"]) + self.body(depth - 1) + self.tag("endmacro") +
                    "{{ " + self.pick(["m(1)", "m()", "m(1, 2)", "m(b=3)", "m(1, 2, 3)", "m(1, c=2)", "m(*l)", "m(**{'a': 1})"]) + " }}")
        if kind == 10:
            return self.tag("with v = " + self.expr(1) + ", w = s") + "{{ v }}{{ w }}" + self.body(depth - 1) + self.tag("endwith")
        if kind == 11:
            return self.tag("filter " + self.pick(["upper", "trim", "replace('a', 'b')", "indent(2)", "title"])) + self.body(depth - 1) + self.tag("endfilter")
        if kind == 12:
            return self.tag("generation") + self.body(depth - 1) + self.tag("endgeneration")
        if kind == 13:
            return self.space() + self.pick(["{# c #}", "{#- c -#}", "{#+ c +#}", "{# a\nb #}", "{#--#}"]) + self.space()
        if kind == 14:
            return self.tag("raw").replace("+", "") + "{{ x }} {% y %}" + self.tag("endraw")
        return self.space() + self.pick(["{{ ", "{{- "]) + self.percent() + " }}"


VARS = {
    "s": "Hello World", "n": 3, "f": 2.5, "l": [3, 1, 2], "t": True, "words": "the quick\nbrown fox",
    "d": {"b": "two, three", "a": 1, "items": [1]}, "nested": {"x": {"y": "deep"}, "n": None, "big": 1e16},
    "messages": [{"role": "user", "content": "Hi <there>"}, {"role": "assistant", "content": "héllo\n"},
                 {"role": "user", "content": None}],
    "people": [{"name": "bob", "age": 30, "role": "user"}, {"name": "Al", "age": 25, "role": "user"},
               {"name": "al", "age": 30, "role": "x"}],
    "tools": [{"type": "function", "function": {"name": "f\"n", "parameters": {"z": 1, "a": [1.0, 1e-7, True, None]}}}],
    "documents": None, "add_generation_prompt": False,
}


def reference(template, variables):
    try:
        text = "".join(chat_template_utils._compile_jinja_template(template).generate(**variables))
        text.encode()  # not with half a surrogate pair
        return {"text": text}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


def render(program, templates):
    """What hone makes of each: {text} or {error}."""
    with tempfile.TemporaryDirectory() as directory:
        shutil.copy(TOKENIZER, directory)
        named = [{"name": str(i), "template": t} for i, t in enumerate(templates)]
        (Path(directory) / "tokenizer_config.json").write_text(json.dumps({"chat_template": named}))
        rows = [dict(VARS, id=i, chat_template=str(i)) for i in range(len(templates))]
        done = subprocess.run([program, "tokenize", directory, "--in", "-", "--quiet"], text=True,
                              input="".join(json.dumps(r) + "\n" for r in rows), capture_output=True)
    if done.returncode not in (0, 1):
        sys.exit(f"{program}: exit code {done.returncode}: {done.stderr}")
    return [json.loads(line) for line in done.stdout.split("\n") if line]


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=4000, help="templates")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--hone", default=ROOT / "build/hone", help="the program")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    templates = []
    for i in range(options.count):
        source = Source(options.seed * 1000003 + i)
        body = (source.body(2) if i % 4 == 3 else
                "{{ " + (source.percent() if i % 4 == 2 else source.expr(3)) + " }}")
        templates.append("{% set ns = namespace(a=1, b='x') %}{% set v = 1 %}" + body)
    found = render(options.hone, templates)
    differ = same = refused = 0
    for template, ours in zip(templates, found):
        theirs = reference(template, copy.deepcopy(VARS))
        if "text" in ours and ours["text"] == theirs.get("text"):
            same += 1
        elif "error" in ours and "error" in theirs:
            refused += 1
        elif " at 0x" in theirs.get("text", "").lower():
            refused += 1  # the text has an address of Python's in it
        else:
            differ += 1
            ours = {key: ours[key] for key in ("text", "error") if key in ours}
            print(json.dumps({"template": template, "hone": ours, "jinja2": theirs}, ensure_ascii=False))
    print(f"{same} equal, {refused} refused by both, {differ} differ, "
          f"{len(templates) - len(found)} without an answer")
    sys.exit(1 if differ or len(templates) != len(found) else 0)


if __name__ == "__main__":
    main()
