"""The language server: findings while somebody types, over standard input and output. Needs pygls.

A text is linted as the editor has it, the rest of its project as it is on disk. What was read of the project
is read again once a file has been saved. May not change files: editors make the changes they are offered.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from lsprotocol import types
from pygls.lsp.server import LanguageServer
from pygls.workspace import TextDocument

from torchmemlint import __version__
from torchmemlint.disk import Target, read_bytes
from torchmemlint.faces.adopting import Baselines
from torchmemlint.faces.check import STDIN, Checker, Choice
from torchmemlint.faces.editor_values import FIX_ALL, Checked, Speaker, path_of
from torchmemlint.model import Finding
from torchmemlint.rule import load_rules
from torchmemlint.settings import SettingsError
from torchmemlint.source import BadFile, Source, as_bytes

PAUSE = 0.3
"""Seconds without a keystroke before a text is linted."""
SUFFIXES = (".py", ".pyi")
ACTIONS = types.CodeActionOptions(code_action_kinds=[types.CodeActionKind.QuickFix, FIX_ALL])


class Server(LanguageServer):
    """One editor's texts and what was found in them."""

    def __init__(self, choice: Choice) -> None:
        super().__init__("torchmemlint", __version__, text_document_sync_kind=types.TextDocumentSyncKind.Full)
        self._choice = choice
        self._asked: tuple[Checker, Baselines] | None = None
        self._open: dict[str, Checked | None] = {}
        self._complaint = ""
        self._one = ThreadPoolExecutor(1)  # a checker is asked one thing at a time, and the editor never waits

    @property
    def speaker(self) -> Speaker:
        return Speaker(self.workspace.position_codec, _lines)

    async def open(self, uri: str) -> None:
        self._open[uri] = None
        await self.check(uri)

    def close(self, uri: str) -> None:
        self._open.pop(uri, None)
        self._show(uri, None, [])

    async def check(self, uri: str, pause: float = 0.0) -> None:
        """Lints a text and shows what is found, unless it changes meanwhile."""
        version = self._document(uri).version
        await asyncio.sleep(pause)
        if not self._current(uri, version):
            return
        text = self._document(uri).source
        source, findings = await asyncio.get_running_loop().run_in_executor(self._one, self._lint, uri, text)
        if self._current(uri, version):
            checked = self._open[uri] = Checked(uri, version, source, tuple(findings))
            self._show(uri, version, self.speaker.diagnostics(checked))
            self._complain()

    async def check_all(self) -> None:
        """Reads projects and settings again and lints every open text: what is found in one may rest on another."""
        self._asked = None
        for uri in list(self._open):
            await self.check(uri)

    def checked(self, uri: str) -> Checked | None:
        """What was found in a text, where it is still the same."""
        checked = self._open.get(uri)
        return checked if checked and self._current(uri, checked.version) else None

    def _document(self, uri: str) -> TextDocument:
        return self.workspace.get_text_document(uri)

    def _current(self, uri: str, version: int | None) -> bool:
        return uri in self._open and self._document(uri).version == version

    def _lint(self, uri: str, text: str) -> tuple[Source, list[Finding]]:
        path = path_of(uri)
        source = Source(path or STDIN, as_bytes(text))
        if path and not path.endswith(SUFFIXES):
            return source, []
        self._complaint = ""
        try:
            if self._asked is None:
                checker = Checker(self._choice)
                self._asked = checker, Baselines(checker)
            checker, baselines = self._asked
            if path and checker.forced_out(path):
                return source, []
            target = Target(path or STDIN, path or STDIN)
            return source, baselines.new(target, checker.check(target, source.data))
        except SettingsError as error:
            self._complaint = str(error)
            return source, []

    def _show(self, uri: str, version: int | None, diagnostics: list[types.Diagnostic]) -> None:
        self.text_document_publish_diagnostics(types.PublishDiagnosticsParams(uri, diagnostics, version))

    def _complain(self) -> None:
        if self._complaint:
            message = f"torchmemlint: {self._complaint}"
            self.window_show_message(types.ShowMessageParams(types.MessageType.Error, message))


def made(choice: Choice) -> Server:
    """A server that answers an editor's requests."""
    server = Server(choice)
    rules = {rule.code: rule for rule in load_rules()}

    @server.feature(types.TEXT_DOCUMENT_DID_OPEN)
    async def opened(params: types.DidOpenTextDocumentParams) -> None:
        await server.open(params.text_document.uri)

    @server.feature(types.TEXT_DOCUMENT_DID_CHANGE)
    async def changed(params: types.DidChangeTextDocumentParams) -> None:
        await server.check(params.text_document.uri, PAUSE)

    @server.feature(types.TEXT_DOCUMENT_DID_SAVE)
    async def saved(params: types.DidSaveTextDocumentParams) -> None:
        await server.check_all()

    @server.feature(types.WORKSPACE_DID_CHANGE_WATCHED_FILES)
    async def changed_elsewhere(params: types.DidChangeWatchedFilesParams) -> None:
        await server.check_all()

    @server.feature(types.TEXT_DOCUMENT_DID_CLOSE)
    def closed(params: types.DidCloseTextDocumentParams) -> None:
        server.close(params.text_document.uri)

    @server.feature(types.TEXT_DOCUMENT_CODE_ACTION, ACTIONS)
    def actions(params: types.CodeActionParams) -> list[types.CodeAction]:
        checked = server.checked(params.text_document.uri)
        if checked is None:
            return []
        only = params.context.only
        found = server.speaker.at(checked, params.range) if _wanted(only, types.CodeActionKind.QuickFix) else []
        offered = [offer(checked, one) for one in found for offer in (server.speaker.quick_fix, server.speaker.silence)]
        if only and _wanted(only, FIX_ALL):  # asked for when saving, not at every stop of the cursor
            offered.append(server.speaker.fix_all(checked))
        return [action for action in offered if action is not None]

    @server.feature(types.TEXT_DOCUMENT_HOVER)
    def hover(params: types.HoverParams) -> types.Hover | None:
        checked = server.checked(params.text_document.uri)
        if checked is None:
            return None
        found = server.speaker.at(checked, types.Range(params.position, params.position))
        return server.speaker.hover(checked, found, rules)

    return server


def serve(choice: Choice) -> None:
    """Speaks to an editor until it hangs up."""
    made(choice).start_io()


def _wanted(only: Sequence[types.CodeActionKind | str] | None, kind: str) -> bool:
    """Whether an editor asks for a kind of action, or for one that it is a sort of."""
    return only is None or any(kind == one or kind.startswith(f"{_text(one)}.") for one in only)


def _text(kind: types.CodeActionKind | str) -> str:
    return kind.value if isinstance(kind, types.CodeActionKind) else kind


def _lines(path: str) -> Sequence[str]:
    try:
        return Source(path, read_bytes(os.path.abspath(path)) or b"").lines
    except BadFile:
        return ()
