"""What fixes make of code as people write it: what a guard takes in, and what a removed call leaves behind."""

from __future__ import annotations

import textwrap

import pytest

from cases import lint_files
from torchmemlint.fix import ON_REQUEST
from torchmemlint.fix_rounds import fix_until_quiet
from torchmemlint.model import Confidence, Finding
from torchmemlint.rule import load_rules
from torchmemlint.source import Source

RULES = [rule for rule in load_rules() if rule.default]
HEAD = "import torch\nfrom torch.utils.data import DataLoader\n\n\n"


def lint(source: Source) -> list[Finding]:
    found = lint_files({source.path: source.data}, RULES)
    return [one for one in found if one.confidence.rank >= Confidence.MEDIUM.rank]


def fixed(code: str) -> str:
    """The code with all its fixes, safe and unsafe."""
    done = fix_until_quiet(Source("a.py", (HEAD + textwrap.dedent(code)).encode()), lint, ON_REQUEST)
    assert not done.refused
    again = fix_until_quiet(Source("a.py", done.data), lint, ON_REQUEST)
    assert again.data == done.data
    return done.data.decode().removeprefix(HEAD)


# ---- what a guard takes in ------------------------------------------------------------------------


GUARDS = {
    "a loop that only evaluates, and what is called `train` in the project without doing so": (
        """
        def train_mode_name(scores):
            return scores.argmax(-1)


        def f(model, tests):
            model.eval()
            for x in DataLoader(tests):
                print(train_mode_name(model(x)).tolist())
        """,
        """
            with torch.no_grad():
                for x in DataLoader(tests):
                    print(train_mode_name(model(x)).tolist())
        """,
    ),
    "training by a library that is not known": (
        """
        def f(model, svi, data, tests):
            model.eval()
            for epoch in range(10):
                svi.step(data)
                for x in DataLoader(tests):
                    print(model(x).argmax().item())
        """,
        """
                svi.step(data)
                with torch.no_grad():
                    for x in DataLoader(tests):
        """,
    ),
    "the same in the loop itself": (
        """
        def f(model, svi, tests):
            model.eval()
            for x in DataLoader(tests):
                svi.step(x)
                print(model(x).argmax().item())
        """,
        """
                svi.step(x)
                with torch.no_grad():
                    print(model(x).argmax().item())
        """,
    ),
    "training in a function of the project": (
        """
        def once(net, x):
            net(x).sum().backward()


        def f(model, net, tests):
            model.eval()
            for x in DataLoader(tests):
                once(net, x)
                print(model(x).argmax().item())
        """,
        """
                once(net, x)
                with torch.no_grad():
                    print(model(x).argmax().item())
        """,
    ),
    "something that nobody knows, around the loop": (
        """
        def f(model, engine, tests):
            model.eval()
            for epoch in range(10):
                engine.go()
                for x in DataLoader(tests):
                    print(model(x).argmax().item())
        """,
        """
                engine.go()
                with torch.no_grad():
                    for x in DataLoader(tests):
        """,
    ),
    "a progress bar": (
        """
        def f(model, tests, bar):
            model.eval()
            for x in DataLoader(tests):
                print(model(x).argmax().item())
                bar.update(1)
        """,
        """
            with torch.no_grad():
                for x in DataLoader(tests):
                    print(model(x).argmax().item())
                    bar.update(1)
        """,
    ),
    "a generator, whose reader would run with grad off": (
        """
        def f(model, tests):
            model.eval()
            for x in DataLoader(tests):
                probs = model(x).detach().cpu().numpy()
                yield probs
        """,
        """
            for x in DataLoader(tests):
                with torch.no_grad():
                    probs = model(x).detach().cpu().numpy()
                yield probs
        """,
    ),
    "a coroutine, while which others run": (
        """
        async def f(model, queue):
            model.eval()
            while True:
                x = await queue.get()
                print(model(x).argmax().item())
        """,
        """
                x = await queue.get()
                with torch.no_grad():
                    print(model(x).argmax().item())
        """,
    ),
    "a function that is only defined in the loop": (
        """
        def f(model, tests):
            model.eval()
            for x in DataLoader(tests):
                def parts():
                    yield 1
                print(model(x).argmax().item(), parts)
        """,
        """
            with torch.no_grad():
                for x in DataLoader(tests):
        """,
    ),
    "neighbours": (
        """
        def f(model, other, x, y):
            model.eval()
            a = model(x)
            first = x[0]
            b = model(first)
            size = len(y)
            c = model(y)
            return a.argmax().item() + b.argmax().item() + c.argmax().item() + size
        """,
        """
            with torch.no_grad():
                a = model(x)
                first = x[0]
                b = model(first)
            size = len(y)
            with torch.no_grad():
                c = model(y)
        """,
    ),
    "all branches": (
        """
        def f(model, x, kind):
            model.eval()
            if kind == 0:
                a = model(x)
            elif kind == 1:
                a = model(x + 1)
            else:
                a = model(x + 2)
            return a.argmax().item()
        """,
        """
            with torch.no_grad():
                if kind == 0:
                    a = model(x)
                elif kind == 1:
                    a = model(x + 1)
                else:
                    a = model(x + 2)
            return a.argmax().item()
        """,
    ),
    "not all branches": (
        """
        def f(model, x, kind):
            model.eval()
            if kind == 0:
                a = model(x)
            else:
                print(kind)
                a = model(x + 2)
            return a.argmax().item()
        """,
        """
            if kind == 0:
                with torch.no_grad():
                    a = model(x)
            else:
                print(kind)
                with torch.no_grad():
                    a = model(x + 2)
        """,
    ),
}


@pytest.mark.parametrize(("code", "part"), GUARDS.values(), ids=GUARDS.keys())
def test_what_a_guard_takes_in(code: str, part: str) -> None:
    made = textwrap.indent(fixed(code), " " * 8)
    assert part.rstrip(" ") in made, made


@pytest.mark.parametrize("statement", ["yield model(x).argmax().item()", "await queue.put(model(x).argmax().item())"])
def test_a_statement_that_hands_over_gets_no_guard(statement: str) -> None:
    code = f"async def f(model, queue, x):\n    model.eval()\n    {statement}\n"
    assert fixed(code) == code


# ---- what a removed call leaves behind ------------------------------------------------------------


LEFT = {
    "no more blank lines than before": (
        """
        loss.backward()

        torch.cuda.empty_cache()

        optimizer.step()
        """,
        """
        loss.backward()

        optimizer.step()
        """,
    ),
    "none at the head of a block": (
        """
        with torch.cuda.device(0):  # here
            torch.cuda.empty_cache()

            loss.backward()
        """,
        """
        with torch.cuda.device(0):  # here
            loss.backward()
        """,
    ),
    "those of one side": (
        """
        loss.backward()
        torch.cuda.empty_cache()

        optimizer.step()
        """,
        """
        loss.backward()

        optimizer.step()
        """,
    ),
    "a page": (
        """
        loss.backward()

        torch.cuda.empty_cache()
        \x0c
        optimizer.step()
        """,
        """
        loss.backward()

        \x0c
        optimizer.step()
        """,
    ),
    "no empty question": (
        """
        loss.backward()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()  # frees
        """,
        """
        loss.backward()
        """,
    ),
    "no two of them": (
        """
        loss.backward()
        if torch.cuda.is_available():
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        optimizer.step()
        """,
        """
        loss.backward()
        optimizer.step()
        """,
    ),
    "an if with a remark": (
        """
        loss.backward()
        if torch.cuda.is_available():
            # why
            torch.cuda.empty_cache()
        """,
        """
        loss.backward()
        if torch.cuda.is_available():
            # why
            pass
        """,
    ),
    "an if with an else": (
        """
        loss.backward()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        else:
            print(1)
        """,
        """
        loss.backward()
        if torch.cuda.is_available():
            pass
        else:
            print(1)
        """,
    ),
    "an elif": (
        """
        loss.backward()
        if torch.backends.mps.is_available():
            print(1)
        elif torch.cuda.is_available():
            torch.cuda.empty_cache()
        """,
        """
        loss.backward()
        if torch.backends.mps.is_available():
            print(1)
        elif torch.cuda.is_available():
            pass
        """,
    ),
}


@pytest.mark.parametrize(("body", "expected"), LEFT.values(), ids=LEFT.keys())
def test_what_a_removed_call_leaves_behind(body: str, expected: str) -> None:
    head = "def train(model, loss_fn, optimizer, data):\n    for x, y in DataLoader(data):\n"
    head += "        loss = loss_fn(model(x), y)\n"
    assert fixed(head + body.lstrip("\n").rstrip(" ")) == head + expected.lstrip("\n").rstrip(" ")
