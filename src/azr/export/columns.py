"""The columns of an exported dataset, for the files and for the card."""

from typing import NamedTuple


class Column(NamedTuple):
    """Arrow type ("[string]" is a list of strings) and meaning."""

    type: str
    meaning: str


TASKS = {
    "id": Column("string", "content address"),
    "kind": Column("string", "of reasoning"),
    "text": Column("string", "the whole task for people, gold value included"),
    "prompt": Column("string", "what the solver is asked, before any chat template"),
    "answer": Column("string", "the gold answer in the form that the prompt asks for"),
    "data": Column("string", "the task's parts as JSON, in the domain's own terms"),
    "step": Column("int32", "at which it was proposed; 0: before training, by the untrained model"),
    "proposal": Column("string", "the rollout that proposed it; null: the run began with it"),
    "admitted": Column("bool", "whether it entered the task buffer"),
    "parents": Column("[string]", "tasks that the proposer was shown"),
    "fingerprint": Column("string", "equal for tasks that differ only in spelling"),
    "shape": Column("string", "equal for tasks that differ only in names and constants"),
    "trivial": Column("string", "its degenerate form, if it has one"),
    "complexity": Column("float64", "on the domain's scale; about 1 for a hard one"),
    "novelty": Column("float64", "1 - the largest similarity to a parent"),
    "diversity": Column("float64", "1 - share of the buffer's tasks with the same answer"),
    "attempts": Column("int32", "number of attempts when it was new"),
    "solve_rate": Column("float64", "share of those attempts that were correct; null without attempts"),
}

ROLLOUTS = {
    "id": Column("string", "step/role/kind/episode/attempt"),
    "step": Column("int32", "0: before training"),
    "role": Column("string", "propose or solve"),
    "kind": Column("string", "of the task"),
    "group": Column("string", "equal for completions of one prompt"),
    "task": Column("string", "the task attempted or proposed; null if the proposal was rejected"),
    "references": Column("[string]", "tasks that the proposer was shown"),
    "prompt": Column("string", "before any chat template"),
    "completion": Column("string", "what the model wrote"),
    "tokens": Column("int32", "its length"),
    "finished": Column("bool", "whether the model ended it itself"),
    "well_formed": Column("bool", "whether it has the format that the prompt asks for"),
    "score": Column("float64", "share of the answer that is correct; 1 for an accepted proposal"),
    "reason": Column("string", "of the verdict"),
    "detail": Column("string", "of the verdict, for people"),
    "reward": Column("float64", "Eq. 6; null if it was not used for training"),
    "advantage": Column("float64", "mean over its tokens; null if it was not used for training"),
}

PARTS = {"tasks": TASKS, "rollouts": ROLLOUTS}
"""The dataset's configurations, by name."""
