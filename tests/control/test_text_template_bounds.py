"""A hostile chat template costs its own request an error, within bounded time and memory; ordinary templates do not notice."""

from __future__ import annotations

import threading
import time
import tracemalloc

import pytest

from octavo.errors import CheckpointError, InvalidRequestError
from octavo.text import template_meter
from octavo.text.chat_template import ChatTemplate

LOOPS = "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}BODY{% endfor %}{% endfor %}{% endfor %}"
DOUBLED = "{% set ns = namespace(x=START) %}{% for i in range(60) %}{% set ns.x = STEP %}{% endfor %}END"
HI = [{"role": "user", "content": "hi"}]


def doubled(start: str, step: str, end: str = "{{ ns.x }}") -> str:
    """A template whose value `ns.x` grows 60 times."""
    return DOUBLED.replace("START", start).replace("STEP", step).replace("END", end)


HOSTILE = {
    "nested loops": LOOPS.replace("BODY", ""),
    "nested loops that put out": LOOPS.replace("BODY", "x"),
    "loops whose rounds are filtered away": "{% for a in range(99999) %}{% for b in range(99999) if false %}{% endfor %}{% endfor %}",
    "loops over slices": "{% set t = 'x' * 1000000 %}" + LOOPS.replace("BODY", "{% if t[1:] == t[:1] %}{% endif %}"),
    "tower": "{{ 9 ** (9 ** 9) }}",
    "tower of variables": "{% set x = messages | length + 8 %}{{ x ** (x ** x) }}",
    "repeated squares": doubled("9", "ns.x * ns.x"),
    "repeated text": "{{ 'a' * 3000000000 }}",
    "repeated content": "{{ messages[0].content * 3000000000 }}",
    "repeated list": "{{ [1] * 3000000000 }}",
    "doubled text": doubled("'x'", "ns.x + ns.x"),
    "doubled text by tildes": doubled("'x'", "ns.x ~ ns.x"),
    "doubled text by join": doubled("'x'", "[ns.x, ns.x] | join"),
    "doubled text by a method": doubled("'x'", "ns.x.join(['', '', '', ns.x])"),
    "doubled text by replace": doubled("'x'", "ns.x.replace('x', 'xxxxxxxx')"),
    "doubled text by the filter replace": doubled("'x'", "ns.x | replace('x', 'xxxxxxxx')"),
    "doubled text by percent": doubled("'x'", "'%s%s' % (ns.x, ns.x)"),
    "doubled text by the filter format": doubled("'x'", "'%s%s' | format(ns.x, ns.x)"),
    "doubled text by the method format": doubled("'x'", "'{0}{0}'.format(ns.x)"),
    "doubled list": doubled("[1]", "ns.x + ns.x", "{{ ns.x | length }}"),
    "nested list": doubled("[1]", "[ns.x, ns.x]"),
    "nested mapping": doubled("{}", "{'a': ns.x, 'b': ns.x}"),
    "nested tuple as a key": doubled("(1,)", "(ns.x, ns.x)", "{{ {ns.x: 1} }}"),
    "nested tuples compared": doubled("(1,)", "(ns.x, ns.x)", "{{ ns.x == ns.x + () }}"),
    "nested mapping by a function": doubled("dict()", "dict(a=ns.x, b=ns.x)"),
    "nested list as JSON": doubled("[1]", "[ns.x, ns.x]", "{{ ns.x | tojson }}"),
    "namespaces": "{% set a = namespace(x=1) %}{% set b = namespace(x=a, y=a) %}{{ b }}",
    "doubled block": "{% set ns = namespace(x='x') %}{% for i in range(60) %}{% set y %}{{ ns.x }}{{ ns.x }}{% endset %}{% set ns.x = y %}"
    "{% endfor %}",
    "macros": "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    "endless macro": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "endless loop()": "{% for x in [messages] recursive %}{{ loop([x]) }}{% endfor %}",
    "maps of maps": "{% for a in range(99999) %}{{ range(99999) | map('string') | map('length') | sum }}{% endfor %}",
    "lists of a map": "{{ ([range(99999)] * 99999) | map('list') | list | length }}",
    "many large texts": "{% set ns = namespace(x=[]) %}{% for i in range(999) %}{% set ns.x = ns.x + ['x' * 1000000 ~ i] %}{% endfor %}",
    "endless lorem": "{{ lipsum(n=99999) }}",
    "wide JSON": "{{ messages | tojson(indent=10**8) }}",
    "wide JSON separators": "{{ messages | tojson(separators=(',', 'x' * 100000)) }}",
    "wide indentation": "{{ 'a\nb' | indent(10**9) }}",
    "wide field": "{{ '%999999999d' % 1 }}",
    "wide field by argument": "{{ '%*d' % (10**9, 1) }}",
    "wide field of the method": "{{ '{:999999999}'.format(1) }}",
    "wide field of the method by argument": "{{ '{:{}}'.format(1, 10**9) }}",
    "padded text": "{{ 'a'.ljust(10**9) }}",
    "padded text through attr": "{{ ('a' | attr('zfill'))(10**9) }}",
    "tabs": "{{ '\t'.expandtabs(10**9) }}",
    "bytes": "{{ (1).to_bytes(10**9, 'big') }}",
    "rounded": "{{ 1.5 | round(10**9, 'ceil') }}",
    "summed lists": "{{ ([[1] * 1000] * 90000) | sum(start=[]) }}",
}
TOO_DEEP = {
    "deep blocks": "{% if x %}" * 5000 + "{% endif %}" * 5000,
    "deep brackets": "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    "long": "x" * (1 << 21),
    "absent filter": "{{ 'x' | urlize }}",
}


@pytest.mark.parametrize("source", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_template_ends_soon_and_small(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template_meter, "_CPU_SECONDS", 0.2)
    template = ChatTemplate({"default": source}, {})
    tracemalloc.start()
    started = time.thread_time()
    try:
        with pytest.raises(InvalidRequestError, match="cannot render these messages"):
            template.render(HI)
        assert time.thread_time() - started < 5, "no single operation is long, though each costs several times as much while it is traced"
        assert tracemalloc.get_traced_memory()[1] < 150 * 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("source", TOO_DEEP.values(), ids=TOO_DEEP.keys())
def test_what_cannot_be_compiled_is_the_model_s_fault(source: str) -> None:
    with pytest.raises(CheckpointError, match="the model's chat template is"):
        ChatTemplate({"default": source}, {}).render(HI)


def test_bounds_grow_with_what_the_client_sent() -> None:
    long = "x" * 3_000_000
    template = ChatTemplate({"default": "{% for m in messages %}{{ m.content + '' }}{% endfor %}"}, {})
    assert template.render([{"role": "user", "content": long}] * 2) == long * 2


def test_many_turns_pass() -> None:
    source = "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + messages | length %}{{ m['role'] }}{% endfor %}"
    assert ChatTemplate({"default": source}, {}).render(HI * 20_000) == "user" * 20_000


def test_renderings_in_threads_have_bounds_of_their_own() -> None:
    template = ChatTemplate({"default": "{% for i in range(50000) %}x{% endfor %}"}, {})
    texts: list[str] = []
    threads = [threading.Thread(target=lambda: texts.append(template.render(HI))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert texts == ["x" * 50_000] * 4


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{{ '%05.1f|%s' % (3.14159, 'a') }}", "003.1|a"),
        ("{{ '{:>4}|{x}'.format(7, x='b') }}", "   7|b"),
        ("{{ '{a}'.format_map({'a': 1}) }}", "1"),
        ("{{ [1, 2, 3] | sum }}{{ messages | map(attribute='role') | join(', ') }}", "6user"),
        ("{{ messages | selectattr('role', 'equalto', 'user') | list | length }}", "1"),
        ("{{ 2 ** 10 }}{{ 7 // 2 }}{{ 7 % 2 }}{{ '-' * 3 }}{{ [1] + [2] }}", "102431---[1, 2]"),
        ("{{ 'a,b'.split(',') | last }}{{ ' x '.strip() }}{{ 'ab'.replace('b', 'c') }}{{ 'k' in {'k': 1} }}", "bxacTrue"),
        ("{{ {'a': [1, {'b': 2}]} | tojson(indent=2) }}", '{\n  "a": [\n    1,\n    {\n      "b": 2\n    }\n  ]\n}'),
        ("{{ 'a\nb' | indent(2) }}{{ '  x ' | trim }}{{ 2.55 | round(1) }}{{ none | default(99999999, true) }}", "a\n  bx2.599999999"),
        ("{% for k, v in {'a': 1} | dictsort %}{{ loop.index ~ '/' ~ loop.length ~ k ~ v ~ loop.last }}{% endfor %}", "1/1a1True"),
        ("{% for x in [[1, [2]]] recursive %}{{ x if x is number else loop(x) }}{% endfor %}", "12"),
        ("{% macro m(a) %}<{{ a }}{{ caller() }}>{% endmacro %}{% call m(1) %}2{% endcall %}", "<12>"),
    ],
)
def test_what_templates_use_works(source: str, expected: str) -> None:
    assert ChatTemplate({"default": source}, {}).render(HI) == expected
