"""Every way in which a process with an engine can end, each in a process of its own: in silence, at once, with the right exit code."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
BEGIN = f"""
import gc, os, signal, sys, threading, time, weakref
sys.path.insert(0, {str(TESTS)!r})
from fakes.fake_engine import fake_engine
from fakes.fake_runner import FakeRunner
from octavo import SamplingParams
from octavo.config import EngineConfig
from octavo.errors import EngineDeadError
from octavo.llm import LLM

def make(): return LLM.from_engine(fake_engine())
def ask(llm, max_tokens=5): return llm.generate("hello", SamplingParams(max_tokens=max_tokens, seed=1))
def refused(call):
    try: call()
    except EngineDeadError as error: return str(error)
"""


def run(code: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", BEGIN + code], capture_output=True, text=True, timeout=timeout, check=False)


@pytest.mark.parametrize(
    ("end", "code"),
    [("", 0), ("sys.exit(3)", 3), ("os._exit(4)", 4), ("llm.close()", 0), ("llm.close(); llm.close()", 0), ("del llm", 0)],
    ids=["plain", "SystemExit", "os._exit", "close", "close twice", "dropped"],
)
def test_an_end_is_silent(end: str, code: int):
    done = run(f"llm = make()\nask(llm)\n{end}")
    assert (done.returncode, done.stderr, done.stdout) == (code, "", "")


@pytest.mark.parametrize(("error", "code"), [("ValueError('mine')", 1), ("KeyboardInterrupt()", -signal.SIGINT)])
def test_an_exception_of_the_user_is_all_that_is_shown(error: str, code: int):
    done = run(f"llm = make()\nask(llm)\nraise {error}")
    assert done.returncode == code
    assert done.stderr.count("Traceback") == 1
    assert "octavo" not in done.stderr.partition("Traceback")[2]


def test_an_end_in_the_middle_of_a_request_of_another_thread():
    code = """
llm = make()
threading.Thread(target=lambda: ask(llm, 150), daemon=True).start()
while not llm.engine.stats().generation_tokens: time.sleep(0.001)
"""
    done = run(code)
    assert (done.returncode, done.stderr) == (0, "")


def test_an_end_while_a_grammar_is_compiled():
    code = """
from fakes.fake_tokenizer import FakeTokenizer
from octavo.structured import GrammarCompiler
begun = threading.Event()
class Slow(GrammarCompiler):
    def check(self, grammar, field):
        begun.set()
        time.sleep(0.3)
llm = LLM.from_engine(fake_engine(grammars=Slow(FakeTokenizer(), FakeTokenizer.vocab_size)))
ask = lambda: llm.generate("hello", SamplingParams(max_tokens=5, grammar="start: /a+/"))
threading.Thread(target=ask, daemon=True).start()
begun.wait(20)
"""
    done = run(code)
    assert (done.returncode, done.stderr) == (0, "")


def test_an_engine_left_open_with_its_loop():
    code = """
import asyncio
async def leave():
    engine = fake_engine()
    await engine.start()
asyncio.run(leave())
"""
    done = run(code)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("thread", ["the engine's", "the user's"])
def test_the_garbage_collector_may_find_it_on_any_thread(thread: str):
    code = """
llm = make()
ask(llm)
llm.itself = llm
inner, gone = llm._thread, weakref.ref(llm)
async def collect(): gc.collect()
"""
    code += "keep = inner.call\ndel llm\n" + ("keep(collect())" if thread == "the engine's" else "gc.collect()")
    done = run(code + "\ninner._thread.join(20)\nassert gone() is None and not inner._thread.is_alive()")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_forked_child_ends_and_is_told_why_it_cannot_ask():
    code = """
llm = make()
ask(llm)
child = os.fork()
if child == 0:
    assert "forked" in refused(lambda: ask(llm))
    llm.close()
    sys.exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
assert len(ask(llm)) == 1
"""
    done = run(code)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_forked_child_that_ends_plainly():
    code = """
llm = make()
if (child := os.fork()) == 0:
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
"""
    done = run(code)
    assert (done.returncode, done.stderr) == (0, "")


def test_closing_in_parallel_and_using_what_is_closed():
    code = """
llm = make()
threading.Thread(target=lambda: refused(lambda: ask(llm, 150)), daemon=True).start()
closers = [threading.Thread(target=llm.close) for _ in range(4)]
for closer in closers: closer.start()
for closer in closers: closer.join(20)
assert not any(closer.is_alive() for closer in closers)
assert "closed" in refused(lambda: ask(llm))
assert "closed" in refused(lambda: next(llm.stream("a")))
"""
    done = run(code)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_close_that_is_cancelled_goes_on():
    code = """
import asyncio
async def main():
    runner = FakeRunner(vocab_size=100)
    engine = fake_engine(runner)
    await engine.start()
    first = asyncio.create_task(engine.close())
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.gather(engine.close(), engine.close())
    assert runner.closed == 1, runner.closed
asyncio.run(main())
"""
    done = run(code)
    assert (done.returncode, done.stderr) == (0, "")


def test_compute_threads_that_do_not_start_are_an_error_and_a_pool_may_be_forked():
    code = """
import resource
from octavo._kernels import ThreadPool
pool = ThreadPool(3)
if (child := os.fork()) == 0:
    del pool
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (100 << 20),) * 2)
try: ThreadPool(4096)
except RuntimeError as error: assert "of 4096 compute threads" in str(error), error
else: raise AssertionError("4096 threads in 100 MiB")
"""
    done = run(code)
    assert (done.returncode, done.stderr) == (0, "")
