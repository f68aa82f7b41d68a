"""The rules' pages answer what people ask about memory again and again, with figures that were measured."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field

import pytest

from cases import ROOT
from torchmemlint.faces.explain import measured, once
from torchmemlint.rule import Rule, load_rules

RULES = {rule.code: rule for rule in load_rules()}
DEFAULT = [rule for rule in RULES.values() if rule.default]


@dataclass(frozen=True)
class Question:
    """What people ask, and words that must stand in the answer on the page of each rule that answers it."""

    asked: str
    answers: dict[str, tuple[str, ...]] = field(default_factory=dict)
    unanswered: str = ""


GRAPH_OR_NODES = ("activations", "only graph nodes", "retain_graph=True", "1,152 MiB", "H200")
QUESTIONS = (
    Question("Why does memory climb every iteration?", {"TML204": GRAPH_OR_NODES, "TML302": GRAPH_OR_NODES}),
    Question(
        "I deleted it and emptied the cache: why does nvidia-smi still show it?",
        {
            "TML101": ("nvidia-smi", "allocated", "reserved", "CUDA context", "527"),
            "TML102": ("nvidia-smi", "memory_allocated()", "memory_reserved()", "CUDA context", "holds the tensor"),
        },
    ),
    Question(
        "empty_cache() on every step saved me half: why not?",
        {"TML101": ("reserved", "before it reports", "every 100 steps", "another process")},
    ),
    Question(
        "Validation runs out of memory and training does not; I called eval()",
        {"TML301": ("`eval()` switches no grad off", "no_grad()", "inference_mode()", "breaks", "Inference tensors")},
    ),
    Question("How much does it save?", {"TML301": ("batch", "--verify", "H200", "torch 2.11")}),
    Question(
        "The error told me to use retain_graph=True",
        {"TML302": ("a second time", "hidden state", "several losses on one", "the last `backward()`")},
    ),
    Question(
        "Reserved but unallocated: is that fragmentation?",
        {"TML101": ("memory_reserved()", "memory_allocated()", "expandable_segments", "no linter sees")},
    ),
    Question(
        "Host memory grows with num_workers", unanswered="no rule on loading data yet: reference counts of Python lists"
    ),
    Question(
        ".item(), .detach(), .cpu() or .data?",
        {
            "TML204": (".detach()", ".item()", "waits", "`.cpu()` alone keeps the graph", "`.data` hides"),
            "TML302": ("Memory is equal", "waits for the device", "once in the end", "`.data`"),
        },
    ),
    Question("Checkpointing did not help", unanswered="no rule on activation checkpointing yet"),
    Question(
        "Hooks and self references keep modules",
        {"TML201": ("cycle", "gc.collect()"), "TML202": ("cycle", "handle.remove()", "detach()")},
    ),
    Question(
        "After one out-of-memory error every cell of the notebook runs out",
        {"TML104": ("traceback", "`_` and `Out`", "sys.last_value", "%reset out")},
    ),
    Question("torch.load puts everything on GPU 0", unanswered="no rule on loading checkpoints yet"),
    Question(
        "To accumulate gradients, sum the losses or call backward() for each?",
        {"TML302": ("(loss / n).backward()", "freed", "graphs of all n steps")},
    ),
    Question("Which line owns the memory?", {"TML201": ("_record_memory_history", "_dump_snapshot", "--verify")}),
)
ANSWERS = [(question.asked, code) for question in QUESTIONS for code in question.answers]


def answers(rule: Rule) -> str:
    """What stands below `## Questions`."""
    return rule.doc.split("\n## Questions\n", 1)[1].split("\n## ", 1)[0]


def flat(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize(("asked", "code"), ANSWERS, ids=[f"{code} {asked}" for asked, code in ANSWERS])
def test_a_question_is_answered_on_the_page_that_it_was_given_to(asked: str, code: str) -> None:
    (question,) = [one for one in QUESTIONS if one.asked == asked]
    page = flat(answers(RULES[code]))
    missing = [word for word in question.answers[code] if word not in page]
    assert not missing, f"{code} does not speak of {missing}"


def test_a_question_without_an_answer_says_why() -> None:
    assert all(bool(question.answers) != bool(question.unanswered) for question in QUESTIONS)


@pytest.mark.parametrize("rule", DEFAULT, ids=lambda rule: rule.code)
def test_every_page_has_questions_with_answers(rule: Rule) -> None:
    heads = re.findall(r"^### (.+)$", answers(rule), re.MULTILINE)
    bodies = re.split(r"^### .+$", answers(rule), flags=re.MULTILINE)[1:]
    assert heads and all(head.endswith("?") for head in heads), heads
    assert all(len(body.split()) >= 10 for body in bodies)


@pytest.mark.parametrize("rule", DEFAULT, ids=lambda rule: rule.code)
def test_every_rule_has_a_price_with_its_workload(rule: Rule) -> None:
    """How much it costs, where: for the page, and in one sentence for the report."""
    assert any(row["sentence"].startswith("confirmed: ") for row in measured(rule.code))
    (word, sentence), more = once(rule.code, scaled=True)
    assert word == "for scale" and "NVIDIA" in sentence and ", torch " in sentence and re.search(r"\d", sentence)
    assert "iteration," not in sentence and len(sentence) < 250, sentence
    assert once(rule.code, scaled=False) == [more] == [("more", f"`torchmemlint --explain {rule.code}`")]


FIGURES = (
    ("TML101", "384 reserved", "what is left in use after del", "bad", "reserved MiB"),
    ("TML101", "911 in use", "what is left in use after del", "bad", "in use on the device MiB"),
    ("TML101", "and 527", "what is left in use after del", "good", "in use on the device MiB"),
    ("TML102", "527 MiB", "what is left in use after del", "good", "in use on the device MiB"),
    ("TML101", "4,032 MiB", "empty_cache every step, gpt, varying lengths", "bad", "peak allocated MiB"),
    ("TML101", "4,023 without", "empty_cache every step, gpt, varying lengths", "good", "peak allocated MiB"),
    ("TML101", "11.27 ms", "empty_cache every 100 steps, cnn", "bad", "ms per iteration"),
    ("TML101", "of 11.24", "empty_cache every 100 steps, cnn", "good", "ms per iteration"),
    *(
        (code, "1,152 MiB", f"loss {case}, cnn", "bad", "device MiB gained per iteration")
        for code in ("TML204", "TML302")
        for case in ("kept after backward that retains the graph", "summed without backward")
    ),
)


@pytest.mark.parametrize(("code", "words", "case", "variant", "reading"), FIGURES)
def test_figures_are_those_that_were_measured(code: str, words: str, case: str, variant: str, reading: str) -> None:
    effects = json.loads((ROOT / "fixtures/effects/nvidia-h200.json").read_text("utf-8"))
    assert words in flat(RULES[code].doc)
    (figure,) = re.findall(r"[\d,.]*\d", words)
    places = len(figure.partition(".")[2])
    assert f"{effects['bad / good'][case][variant][reading]:,.{places}f}" == figure
    assert effects["torch"].startswith("2.11")
