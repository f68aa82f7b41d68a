"""The language server as an editor meets it: messages over standard input and output of a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from commands import environment, lint, python, write

pytest.importorskip("pygls")

HELPER = "import torch\n\n\ndef release():\n    torch.cuda.empty_cache()\n"
TRAIN = (
    "import torch\nfrom helper import release\n\n\ndef train(model, loader, optimizer):\n    total = 0\n"
    "    for x, y in loader:\n        loss = torch.nn.functional.cross_entropy(model(x.cuda()), y.cuda())\n"
    "        loss.backward()\n        optimizer.step()\n        '😀'; total += loss\n"
    "        release()\n    return total\n"
)


class Editor:
    """One end of the conversation; the other is the server."""

    def __init__(self, folder: Path) -> None:
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        command = [sys.executable, "-m", "torchmemlint", "--lsp"]
        self.process = subprocess.Popen(command, cwd=folder, env=environment(stand_ins=False), **pipes)
        self.folder = folder
        self.asked = 0
        self.told: list[dict[str, Any]] = []

    def uri(self, name: str) -> str:
        return (self.folder / name).as_uri()

    def say(self, method: str, **params: Any) -> None:
        self._send({"method": method, "params": params})

    def ask(self, method: str, **params: Any) -> Any:
        self.asked += 1
        self._send({"id": self.asked, "method": method, "params": params})
        while (message := self._next()).get("id") != self.asked:
            self.told.append(message)
        assert "error" not in message, message["error"]
        return message["result"]

    def hear(self, method: str) -> dict[str, Any]:
        """The next notification of a kind."""
        while True:
            message = self.told.pop(0) if self.told else self._next()
            if message.get("method") == method:
                params: dict[str, Any] = message["params"]
                return params

    def open(self, name: str, text: str) -> list[dict[str, Any]]:
        document = {"uri": self.uri(name), "languageId": "python", "version": 1, "text": text}
        self.say("textDocument/didOpen", textDocument=document)
        return self.shown()

    def change(self, name: str, version: int, text: str) -> None:
        document = {"uri": self.uri(name), "version": version}
        self.say("textDocument/didChange", textDocument=document, contentChanges=[{"text": text}])

    def shown(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.hear("textDocument/publishDiagnostics")["diagnostics"]
        return found

    def actions(self, name: str, where: dict[str, Any], only: list[str] | None = None) -> list[dict[str, Any]]:
        context: dict[str, Any] = {"diagnostics": []} | ({"only": only} if only else {})
        document = {"uri": self.uri(name)}
        found: list[dict[str, Any]] = self.ask(
            "textDocument/codeAction", textDocument=document, range=where, context=context
        )
        return found

    def _send(self, message: dict[str, Any]) -> None:
        data = json.dumps({"jsonrpc": "2.0", **message}).encode()
        assert self.process.stdin is not None
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(data), data))
        self.process.stdin.flush()

    def _next(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        size = 0
        while line := self.process.stdout.readline().strip():
            name, _, value = line.partition(b":")
            size = int(value) if name == b"Content-Length" else size
        assert size, "the server has hung up"
        message: dict[str, Any] = json.loads(self.process.stdout.read(size))
        return message


@pytest.fixture
def editor(tmp_path: Path) -> Iterator[Editor]:
    write(tmp_path, helper_py=HELPER)
    (tmp_path / "pyproject.toml").write_text("[tool.torchmemlint]\nextend-exclude = ['left out']\n")
    editor = Editor(tmp_path)
    watchdog = 60
    try:
        editor.ask("initialize", processId=None, rootUri=tmp_path.as_uri(), capabilities={})
        editor.say("initialized")
        yield editor
        editor.ask("shutdown")
        editor.say("exit")
        assert editor.process.wait(watchdog) == 0
    finally:
        editor.process.kill()
        editor.process.communicate()


def test_findings_of_the_text_and_of_the_project(editor: Editor) -> None:
    found = {one["code"]: one for one in editor.open("train.py", TRAIN)}
    assert set(found) == {"TML101", "TML302"}
    total = found["TML302"]
    # columns count UTF-16 units: the face is two of them
    assert total["range"] == {"start": {"line": 10, "character": 14}, "end": {"line": 10, "character": 27}}
    assert (total["source"], total["severity"]) == ("torchmemlint", 2)
    assert total["codeDescription"]["href"].endswith("#tml302")
    elsewhere = found["TML101"]["relatedInformation"][-1]
    assert elsewhere["location"]["uri"] == editor.uri("helper.py")
    assert elsewhere["location"]["range"]["start"] == {"line": 4, "character": 4}


def test_while_typing(editor: Editor) -> None:
    assert editor.open("train.py", "import torch\n") == []
    editor.change("train.py", 2, TRAIN[:200])
    editor.change("train.py", 3, TRAIN)
    told = editor.hear("textDocument/publishDiagnostics")
    assert (told["version"], len(told["diagnostics"])) == (3, 2)  # the one before was never asked about
    editor.say("textDocument/didClose", textDocument={"uri": editor.uri("train.py")})
    assert editor.shown() == []


def test_a_saved_helper_changes_what_is_found_in_its_callers(editor: Editor) -> None:
    editor.open("train.py", TRAIN)
    write(editor.folder, helper_py="def release():\n    pass\n")
    editor.say("textDocument/didSave", textDocument={"uri": editor.uri("helper.py")})
    assert [one["code"] for one in editor.shown()] == ["TML302"]


def test_fixes_and_comments_are_offered(editor: Editor) -> None:
    found = {one["code"]: one for one in editor.open("train.py", TRAIN)}
    offered = editor.actions("train.py", found["TML302"]["range"])
    assert [one["title"] for one in offered] == [
        "TML302: detach it from its graph",
        "TML302: ignore on this line",
    ]
    assert offered[0]["isPreferred"] and offered[0]["diagnostics"][0]["code"] == "TML302"
    fixed = edited(TRAIN, offered[0])
    assert "'😀'; total += loss.detach()\n" in fixed
    unsafe, silence = editor.actions("train.py", found["TML101"]["range"])
    assert unsafe["title"] == "TML101: remove the call (unsafe: may change what is computed)"
    assert "isPreferred" not in unsafe
    editor.change("train.py", 2, edited(fixed, silence))
    assert editor.shown() == []


def test_all_safe_fixes_at_once(editor: Editor) -> None:
    editor.open("train.py", TRAIN)
    nowhere = {"start": {"line": 0, "character": 0}, "end": {"line": 0, "character": 0}}
    (action,) = editor.actions("train.py", nowhere, ["source.fixAll"])
    assert edited(TRAIN, action) == TRAIN.replace("+= loss\n", "+= loss.detach()\n")
    assert editor.actions("train.py", nowhere) == []


def test_what_a_finding_is_about(editor: Editor) -> None:
    (found, *_) = editor.open("train.py", TRAIN)
    place = found["range"]["start"]
    told = editor.ask("textDocument/hover", textDocument={"uri": editor.uri("train.py")}, position=place)
    for words in ("**TML302 loss-accumulated-with-graph**", "(train.py:7)", "Fix (safe): detach", "## When it is fine"):
        assert words in told["contents"]["value"]
    nothing = {"line": 0, "character": 0}
    assert editor.ask("textDocument/hover", textDocument={"uri": editor.uri("train.py")}, position=nothing) is None


def test_what_is_left_out_and_what_is_no_file(editor: Editor) -> None:
    (editor.folder / "left out").mkdir()
    assert editor.open("left out/train.py", TRAIN) == []
    assert editor.open("notes.txt", TRAIN) == []
    document = {"uri": "untitled:Untitled-1", "languageId": "python", "version": 1, "text": TRAIN}
    editor.say("textDocument/didOpen", textDocument=document)
    assert "TML302" in {one["code"] for one in editor.shown()}


def test_what_is_accepted_is_not_shown(editor: Editor) -> None:
    (editor.folder / "pyproject.toml").write_text("[tool.torchmemlint]\nbaseline = 'accepted.json'\n")
    write(editor.folder, train_py=TRAIN)
    lint("--write-baseline", "accepted.json", ".", cwd=editor.folder, stand_ins=False)
    assert editor.open("train.py", f"# moved by a line\n{TRAIN}") == []
    editor.change("train.py", 2, TRAIN.replace("total += loss", "total = total + loss"))
    assert [one["code"] for one in editor.shown()] == ["TML302"]


def test_a_mistake_in_the_configuration_is_said(editor: Editor) -> None:
    (editor.folder / "pyproject.toml").write_text("[tool.torchmemlint]\nslect = []\n")
    assert editor.open("train.py", TRAIN) == []
    said = editor.hear("window/showMessage")
    assert said["type"] == 1 and "unknown key `slect`; did you mean `select`?" in said["message"]


def test_without_pygls_it_says_what_to_install(tmp_path: Path) -> None:
    code = "import sys; sys.modules['pygls'] = None; from torchmemlint.faces.cli import main; sys.exit(main(['--lsp']))"
    done = python(code, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: --lsp needs pygls: pip install 'torchmemlint[lsp]'\n"


def test_the_flag_is_told_of(tmp_path: Path) -> None:
    assert "--lsp" in lint("--help", cwd=tmp_path).stdout


def edited(text: str, action: dict[str, Any]) -> str:
    """A text with an action's changes, as an editor makes them."""
    (document,) = action["edit"]["documentChanges"]
    lines = text.splitlines(keepends=True)
    for edit in sorted(document["edits"], key=lambda one: str(one["range"]), reverse=True):
        start, end = edit["range"]["start"], edit["range"]["end"]
        assert start["line"] == end["line"]
        units = lines[start["line"]].encode("utf-16-le")
        made = units[: 2 * start["character"]] + edit["newText"].encode("utf-16-le") + units[2 * end["character"] :]
        lines[start["line"]] = made.decode("utf-16-le")
    return "".join(lines)
