"""Writes each run as a script of its own, for `--keep-harness`: to read, change and run with `python` alone.

The folder also gets the part of this package that runs user code, so that the scripts need torch and nothing
else. Nothing isolates them: whoever starts one runs the code as if it were his own.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from typing import Any

from runtime_verify.case import Case
from runtime_verify.readings import Order, as_json

RUNTIME = "runtime"
"""Folder of what the scripts import."""
_SCRIPT = '''"""{headline}

{what}, as `torchmemlint --verify` runs it. Runs with `python {name}` where torch is;
nothing is isolated. Change sizes (scale), passes, device or the text of the modules at will.
"""

import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "{runtime}"))

ORDER = json.loads(r\'\'\'{order}\'\'\')

MODULES = {modules}

if __name__ == "__main__":
    from runtime_verify.readings import order_from_json
    from runtime_verify.worker.main import execute

    ORDER["program"]["modules"] = MODULES
    record = execute(order_from_json(ORDER))
    print("outcome:", record.outcome.value, record.detail)
    for name in ("passes", "after", "steps"):
        for number, sample in enumerate(getattr(record, name)):
            print(f"{{name}} {{number}}:", sample)
    for event in record.events:
        print(f"{{event.path}}:{{event.line}}: {{event.kind.value}}: {{event.text}}")
'''


class HarnessError(Exception):
    """The folder cannot be written; the message names it."""


def keep(folder: str, case: Case, orders: dict[str, Order]) -> list[str]:
    """Writes a script for each order, by what it is ("original", "fixed"); the paths. Raises HarnessError."""
    try:
        os.makedirs(folder, exist_ok=True)
        _copy_runtime(os.path.join(folder, RUNTIME))
        written = []
        for variant, order in orders.items():
            stem = re.sub(r"\W+", "_", f"{case.code}_{case.path.removesuffix('.py')}_{case.line}_{case.column}")
            name = f"{stem.strip('_')}_{variant}.py"
            path = os.path.join(folder, name)
            with open(path, "w", encoding="utf-8", errors="surrogateescape") as file:
                file.write(_script(name, case, variant, order))
            written.append(path)
    except OSError as error:
        raise HarnessError(f"{error.filename or folder}: {error.strerror or error}") from None
    return written


def _script(name: str, case: Case, variant: str, order: Order) -> str:
    plain = as_json(order)
    modules = plain["program"]["modules"]
    plain["program"] = {**plain["program"], "modules": []}
    headline = f"{case.code} {case.path}:{case.line}: {case.message}"
    what = "The code as written" if variant == "original" else f"The code with the fix ({case.fix_title})"
    return _SCRIPT.format(
        headline=_quoted(headline),
        what=_quoted(what),
        name=name,
        runtime=RUNTIME,
        order=json.dumps(plain, indent=1).replace("'''", "\\u0027\\u0027\\u0027"),
        modules=_modules(modules),
    )


def _quoted(text: str) -> str:
    """Text that may stand in a docstring."""
    return text.replace("\\", "\\\\").replace('"""', "'''")


def _modules(modules: list[dict[str, Any]]) -> str:
    """The modules as a literal with their text line by line."""
    parts = []
    for module in modules:
        lines = "".join(f"            {line!r},\n" for line in module["text"].split("\n"))
        about = "".join(f"        {key!r}: {module[key]!r},\n" for key in ("name", "path", "package"))
        parts.append(f'    {{\n{about}        "text": "\\n".join([\n{lines}        ]),\n    }},\n')
    return f"[\n{''.join(parts)}]"


def _copy_runtime(folder: str) -> None:
    package = os.path.dirname(os.path.abspath(__file__))
    target = os.path.join(folder, "runtime_verify")
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(os.path.join(package, "worker"), os.path.join(target, "worker"), ignore=ignored, dirs_exist_ok=True)
    for name in ("__init__.py", "readings.py"):
        shutil.copy(os.path.join(package, name), target)
