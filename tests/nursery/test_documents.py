"""Every document's answer is right: parsed as self-play parses it and executed again by CPython."""

import ast
import re
from collections import Counter

from azr.domains.answers import answer_of
from azr.domains.python import prompts
from azr.domains.python.parse import fields_of, one
from azr.types import ABDUCTION, DEDUCTION, INDUCTION
from nursery.documents import STYLE, TRIES


def call(program, arguments):
    names = {}
    exec(program, names)
    return repr(eval(f"f({arguments})", names))


def chosen(made, family, kind):
    return [document for document in made if (document.family, document.kind) == (family, kind)]


def test_every_family_is_there(made):
    assert len(Counter((document.family, document.kind) for document in made)) == 8


def test_deductions_and_traces_answer_with_the_output(made):
    for document in chosen(made, "solve", DEDUCTION) + chosen(made, "trace", DEDUCTION):
        data = document.task.data
        assert answer_of(document.text) == call(data["program"], data["input"])


def test_abductions_answer_with_an_input_that_gives_the_output(made):
    for document in chosen(made, "solve", ABDUCTION) + chosen(made, "trace", ABDUCTION):
        data = document.task.data
        assert call(data["program"], answer_of(document.text)) == data["output"]


def test_inductions_answer_with_a_program_that_gives_every_output(made):
    for document in chosen(made, "solve", INDUCTION):
        program = one(fields_of(answer_of(document.text), "tagged")["program"], "program")
        data = document.task.data
        assert [call(program, text) for text in data["inputs"]] == data["outputs"]


def test_proposals_are_complete_and_run(made):
    for document in chosen(made, "propose", DEDUCTION) + chosen(made, "propose", ABDUCTION):
        fields = fields_of(answer_of(document.text), "tagged")
        assert call(one(fields["program"], "program"), one(fields["input"], "input")) == document.task.data["output"]


def test_induction_proposals_have_distinct_inputs_and_a_message(made):
    for document in chosen(made, "propose", INDUCTION):
        fields = fields_of(answer_of(document.text), "tagged")
        assert len(set(fields["input"])) == STYLE.induction_inputs
        assert one(fields["message"], "message") == document.task.data["message"]
        assert [call(document.task.data["program"], text) for text in fields["input"]] == document.task.data["outputs"]


def test_prompts_are_those_of_self_play(made):
    for document in chosen(made, "solve", INDUCTION) + chosen(made, "solve", ABDUCTION):
        assert document.prompt == prompts.solve_prompt(STYLE, document.task)


def test_only_trace_documents_must_think(made):
    assert all(document.thinks for document in made if document.family == "trace")
    for kind in (DEDUCTION, ABDUCTION, INDUCTION):
        assert {document.thinks for document in chosen(made, "solve", kind)} == {True, False}
    assert all(document.thinks == document.text.startswith("<think>\n") for document in made)


def test_every_comparison_in_a_thought_is_true_to_its_values(made):
    results = Counter()
    for document in made:
        if document.family == "solve" and document.kind == INDUCTION and document.thinks:
            for line in re.findall(r"\n(.+) = (True|False)(?=\n(?:f\(|<))", document.text):
                one_side, other_side = line[0].split(" == ")
                assert (ast.literal_eval(one_side) == ast.literal_eval(other_side)) == (line[1] == "True")
                results[line[1]] += 1
    assert results["True"] > 50
    assert results["False"] > 20


def test_wrong_tries_carry_no_loss_and_all_else_does(made):
    wrong = [piece for document in made for piece, weight in document.answer if weight == 0]
    assert len(wrong) > 20
    for document in made:
        assert "".join(piece for piece, _ in document.answer) == document.text


def test_a_wrong_try_is_not_the_program_itself(made):
    for document in chosen(made, "solve", INDUCTION):
        for piece, weight in document.answer:
            assert weight > 0 or document.task.data["program"] not in piece


def test_proposals_differ_from_their_references(made):
    for document in chosen(made, "propose", DEDUCTION):
        assert document.prompt.count(f"<program>\n{document.task.data['program']}\n</program>") == 0


def test_a_thought_has_no_more_tries_than_are_allowed_and_may_end_on_a_failed_one(made):
    failed = 0
    for document in made:
        if document.family == "solve" and document.kind == INDUCTION and document.thinks:
            thought = document.text.split("</think>")[0]
            assert 1 <= thought.count("<program>") <= TRIES
            failed += thought.endswith(" = False\n")
    assert failed > 5
