"""The slice of small projects: what is kept runs and finds its names, what runs the program is left out."""

from __future__ import annotations

import ast
import sys
import textwrap
import types
from collections.abc import Iterator
from typing import Any

import pytest

from cases import MemoryFiles
from runtime_verify import slice as slicing
from runtime_verify.case import Module
from runtime_verify.modules import Modules
from runtime_verify.slice import sliced
from runtime_verify.targets import around, entry
from torchmemlint.facts.project import Project
from torchmemlint.model import Edit, Position, Span
from torchmemlint.source import Source


def cut(files: dict[str, str], path: str, function: str, near: int = 1) -> dict[str, Module]:
    """The modules that a function of a file needs, by name, the first one first."""
    data = {name: textwrap.dedent(text).encode() for name, text in files.items()}
    modules = Modules(Project(MemoryFiles(data)))
    return {module.name: module for module in sliced(modules, Source(path, data[path]), function, near)}


def kept(module: Module) -> str:
    """The lines that are left, without the blank ones."""
    return "\n".join(line for line in module.text.split("\n") if line.strip())


class _Finder:
    """Imports modules from a slice, and nothing of theirs from anywhere else."""

    def __init__(self, modules: dict[str, Module]) -> None:
        self.modules = modules

    def find_spec(self, name: str, path: object = None, target: object = None) -> Any:
        from importlib.machinery import ModuleSpec

        if name in self.modules:
            return ModuleSpec(name, self, is_package=self.modules[name].package)  # type: ignore[arg-type]
        if any(other.startswith(f"{name}.") for other in self.modules):
            return ModuleSpec(name, self, is_package=True)  # type: ignore[arg-type]
        return None

    def create_module(self, spec: object) -> None:
        return None

    def exec_module(self, module: types.ModuleType) -> None:
        if module.__name__ in self.modules:
            found = self.modules[module.__name__]
            exec(compile(found.text, found.path, "exec"), module.__dict__)


@pytest.fixture
def importer() -> Iterator[Any]:
    before = set(sys.modules)
    finders: list[_Finder] = []

    def load(modules: dict[str, Module]) -> types.ModuleType:
        finders.append(_Finder(modules))
        sys.meta_path.insert(0, finders[-1])  # type: ignore[arg-type]
        return __import__(next(iter(modules)), fromlist=["x"])

    yield load
    for finder in finders:
        sys.meta_path.remove(finder)  # type: ignore[arg-type]
    for name in set(sys.modules) - before:
        if any(name in finder.modules or finder.find_spec(name) for finder in finders):
            del sys.modules[name]


PROJECT = {
    "setup.py": "",
    "kit/__init__.py": """
        from kit.net import Net, Other
        from .sums import *
        from . import tables
        print("loading everything")
        """,
    "kit/net.py": """
        import math
        from .layers import Layer, Unused
        SIZE = 3
        class Net:
            def __init__(self): self.layer = Layer(SIZE)
            def __call__(self, x): return self.layer(x) * math.floor(1.5)
        class Other(Missing): pass
        """,
    "kit/layers.py": """
        class Base:
            def __init__(self, size): self.size = size
        class Layer(Base):
            def __call__(self, x): return x + self.size
        class Unused(Nowhere): pass
        """,
    "kit/sums.py": """
        def total(values): return sum(values)
        def average(values): return broken
        broken()
        """,
    "kit/tables.py": """
        TABLE = {}
        for name in ("a", "b"):
            TABLE[name] = len(name)
        def pick(name): return TABLE[name]
        """,
    "train.py": """
        from __future__ import annotations
        import argparse
        import kit.tables as tables
        from kit import Net, total, Other

        parser = argparse.ArgumentParser()
        parser.add_argument("--rate", default=2)
        args = parser.parse_args([])
        args.scale = 10
        unused = undefined_name

        def train(net, values):
            return total(net(value) * args.rate for value in values) * tables.pick("b") * args.scale

        def main():
            train(Net(), [1, 2])

        main()

        if __name__ == "__main__":
            main()
        """,
}


def test_a_project_of_several_files_runs_from_the_slice(importer: Any) -> None:
    modules = cut(PROJECT, "train.py", "train")
    assert importer(modules).train(lambda x: x, [1, 2]) == 3 * 2 * 1 * 10
    assert "main" not in modules["train"].text and "undefined_name" not in modules["train"].text


def test_only_what_is_needed_is_taken_from_a_package() -> None:
    modules = cut(PROJECT, "train.py", "train")
    assert set(modules) == {"train", "kit", "kit.sums", "kit.tables"}
    assert kept(modules["kit"]) == "from .sums import *"
    assert "average" not in modules["kit.sums"].text and "broken()" not in modules["kit.sums"].text


def test_classes_come_with_their_bases(importer: Any) -> None:
    modules = cut(PROJECT, "train.py", "main")
    assert set(modules) == {"train", "kit", "kit.net", "kit.layers", "kit.sums", "kit.tables"}
    assert "from kit.net import Net\n" in modules["kit"].text
    assert "Unused" not in modules["kit.layers"].text and "Unused" not in modules["kit.net"].text
    loaded = importer(modules)
    assert loaded.train(loaded.Net(), [1, 2]) == (4 + 5) * 2 * 10


def test_lines_stay_where_they_are() -> None:
    modules = cut(PROJECT, "train.py", "train")
    before = textwrap.dedent(PROJECT["train.py"]).split("\n")
    after = modules["train"].text.split("\n")
    assert len(after) == len(before)
    for old, new in zip(before, after, strict=True):
        assert new in ("", old) or new == "from kit import total"


def one(text: str, function: str, near: int = 1) -> str:
    return kept(cut({"one.py": text}, "one.py", function, near)["one"])


def test_a_method_takes_its_class_and_what_that_needs() -> None:
    text = """
        import os, sys
        LIMIT = 3
        class Base: pass
        class Trainer(Base):
            rate = LIMIT
            def step(self): return self.other()
            def other(self): return os.sep
        def elsewhere(): pass
        """
    assert one(text, "Trainer.step") == textwrap.dedent("""\
        import os
        LIMIT = 3
        class Base: pass
        class Trainer(Base):
            rate = LIMIT
            def step(self): return self.other()
            def other(self): return os.sep""")


def test_code_that_runs_the_program_is_left_out() -> None:
    text = """
        import sys
        class Runner:
            def go(self): pass
        runner = Runner()
        runner.go()
        def used(): return runner
        def main(): used()
        used()
        for epoch in range(3):
            used()
        if len(sys.argv) > 1:
            sys.exit()
        if True:
            main()
        """
    assert one(text, "used") == textwrap.dedent("""\
        class Runner:
            def go(self): pass
        runner = Runner()
        def used(): return runner""")


def test_what_the_main_guard_prepares_is_kept() -> None:
    """A script's function reads names that only `if __name__ == "__main__"` binds."""
    text = """
        def train(): return net, scale
        def main(): train()
        if __name__ == "__main__":
            net = object()
            scale = 3
            unused = 4
            main()
        """
    assert one(text, "train") == textwrap.dedent("""\
        def train(): return net, scale
        if True:
            net = object()
            scale = 3""")


def test_a_guard_of_an_imported_module_is_not_run() -> None:
    files = {
        "a.py": "from b import value, get\ndef f(): return value, get()\n",
        "b.py": "def get(): return value\nif __name__ == '__main__':\n    value = 1\n",
    }
    assert kept(cut(files, "a.py", "f")["b"]) == "def get(): return value"


def test_blocks_that_bind_stay_whole_and_find_all_that_they_import(importer: Any) -> None:
    files = {
        "a.py": """
            try:
                from b import first, second
            except ImportError:
                first = None
            def f(): return first
            """,
        "b.py": "first = 1\nsecond = 2\nthird = 3\n",
    }
    modules = cut(files, "a.py", "f")
    assert kept(modules["b"]) == "first = 1\nsecond = 2"
    assert importer(modules).f() == 1


def test_imports_inside_functions_are_followed(importer: Any) -> None:
    files = {
        "pkg/__init__.py": "",
        "pkg/a.py": "def f():\n    from .b import g\n    import pkg.c as c\n    return g() + c.h()\n",
        "pkg/b.py": "def g(): return 1\ndef other(): return broken\n",
        "pkg/c.py": "def h(): return 2\nx = broken()\n",
    }
    modules = cut(files, "pkg/a.py", "f")
    assert next(iter(modules)) == "pkg.a"
    assert importer(modules).f() == 3


def test_a_module_that_is_handed_about_keeps_its_functions_and_classes() -> None:
    files = {
        "a.py": "import b\ndef f(name): return getattr(b, name)\n",
        "b.py": "def g(): return 1\nclass C: pass\nrun()\n",
    }
    assert kept(cut(files, "a.py", "f")["b"]) == "def g(): return 1\nclass C: pass"


def test_locals_of_functions_need_nothing_of_the_module() -> None:
    text = """
        model = Broken()
        x = Broken()
        y = Broken()
        def f(model): return [x for x in model], (lambda y: y)(model)
        """
    assert one(text, "f") == "def f(model): return [x for x in model], (lambda y: y)(model)"


def test_globals_declared_in_functions_are_needed() -> None:
    text = "count = 0\ndef f():\n    global count\n    count += 1\n"
    assert one(text, "f") == text.strip()


def test_decorators_and_defaults_are_needed() -> None:
    text = """
        import functools
        def mark(f): return f
        SIZE = 3
        @mark
        @functools.cache
        def f(size=SIZE): return size
        """
    assert one(text, "f") == textwrap.dedent(text).strip()


def test_settings_of_torch_stay_where_they_need_nothing_more() -> None:
    text = """
        import torch
        torch.manual_seed(0)
        torch.cuda.set_device(options.gpu)
        torch.distributed.init_process_group("nccl")
        options = read()
        def f(): return torch.ones(1)
        """
    assert one(text, "f") == textwrap.dedent("""\
        import torch
        torch.manual_seed(0)
        def f(): return torch.ones(1)""")


def test_the_body_of_a_module_is_kept_whole() -> None:
    files = {
        "a.py": "import b\nb.g()\nif __name__ == '__main__':\n    b.h()\n",
        "b.py": "def g(): pass\ndef h(): pass\n",
    }
    modules = cut(files, "a.py", "")
    assert modules["a"].text.strip() == files["a.py"].strip()
    assert kept(modules["b"]) == files["b.py"].strip()


def test_libraries_are_never_taken_from_the_project() -> None:
    files = {
        "a.py": "import torch\nimport json\ndef f(): return torch.ones, json.dumps\n",
        "torch.py": "",
        "json.py": "",
    }
    assert set(cut(files, "a.py", "f")) == {"a"}


def test_a_library_is_meant_where_a_package_has_a_part_of_its_name() -> None:
    text = "from datasets import load_dataset\ndef f(): return load_dataset\n"
    part = {"pkg/__init__.py": "", "pkg/datasets/__init__.py": "def load_dataset(): pass\n"}
    assert set(cut({"pkg/a.py": text, **part}, "pkg/a.py", "f")) == {"pkg.a"}
    own = {"a.py": text, "datasets.py": "def load_dataset(): pass\n"}
    assert set(cut(own, "a.py", "f")) == {"a", "datasets"}


def test_a_circle_of_imports_ends() -> None:
    files = {"a.py": "from b import g\ndef f(): return g()\n", "b.py": "import a\ndef g(): return a.f\n"}
    modules = cut(files, "a.py", "f")
    assert set(modules) == {"a", "b"}


def test_there_is_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"m0.py": "from m1 import f1\ndef f0(): return f1()\n"}
    for n in range(1, 30):
        files[f"m{n}.py"] = f"from m{n + 1} import f{n + 1}\ndef f{n}(): return f{n + 1}()\n"
    monkeypatch.setattr(slicing, "MOST_MODULES", 5)
    modules = cut(files, "m0.py", "f0")
    assert list(modules) == ["m0", "m1", "m2", "m3", "m4"]
    monkeypatch.setattr(slicing, "MOST_LINES", 3)
    assert len(cut(files, "m0.py", "f0")) < 5


def test_what_cannot_be_parsed_is_left_to_the_runtime() -> None:
    files = {"a.py": "from b import g\ndef f(): return g()\n", "b.py": "print 'two'\n"}
    assert set(cut(files, "a.py", "f")) == {"a"}


NESTED = """\
class Trainer:
    rate = 1
    def fit(self, data=sorted([])):
        def inner():
            class Local:
                def deep(self): return 1
            return Local
        return inner
@register(3)
def g(): return 2
def h(): return 3
if __name__ == "__main__":
    def late(): return 4
"""


PLACES = (
    (2, 4, ""),
    (3, 24, ""),
    (6, 40, "Trainer.fit"),
    (8, 8, "Trainer.fit"),
    (9, 1, ""),
    (10, 16, "g"),
    (11, 16, "h"),
    (13, 23, ""),
)


@pytest.mark.parametrize(("line", "column", "name"), PLACES)
def test_the_outermost_function_is_run(line: int, column: int, name: str) -> None:
    target = around(ast.parse(NESTED), Position(line, column))
    assert (target.name if target else "") == name


STEPS = """\
class Decoder:
    def forward(self, x):
        y = self.decode(x)
        return y
    def decode(self, x):
        self.state = self.cell(x)
        return helper(self.state)
def helper(x):
    return x
"""


@pytest.mark.parametrize(
    ("changed", "name"),
    [((6, 8), "Decoder.decode"), ((4, 8), "Decoder.forward"), ((9, 4), "Decoder.decode"), ((1, 0), "Decoder.decode")],
)
def test_a_fix_at_the_end_of_the_step_takes_the_step(changed: tuple[int, int], name: str) -> None:
    place = Position(*changed)
    assert entry(ast.parse(STEPS), Position(6, 8), [Edit(Span(place, place), "x")]) == name
