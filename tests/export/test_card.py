"""The card of an exported model."""

import pytest
from huggingface_hub import ModelCard

from azr.export.model_card import write_card
from azr.train.start import resolve

HELD_OUT = {
    "kinds": {"deduction": {"accuracy": 0.25, "tasks": 4}},
    "mean": {"accuracy": 0.25},
    "guess": 0.1,
    "marks": {"deduction": [0, 0, 0, 1]},
}
AFTER = HELD_OUT | {
    "kinds": {"deduction": {"accuracy": 0.75, "tasks": 4}},
    "mean": {"accuracy": 0.75},
    "marks": {"deduction": [0, 1, 1, 1]},
}
UNMEASURED = {"steps": 3, "before": {}, "after": {}}


def card(tmp_path, name, summary=UNMEASURED, repository=None):
    write_card(tmp_path, resolve("demo", [f"model.name={name}"]), summary, repository)
    return ModelCard.load(tmp_path / "README.md")


@pytest.mark.parametrize("name", ["owner/model-1B", "distilgpt2"])
def test_a_base_on_the_hub_is_named_so_that_the_hub_finds_it(tmp_path, name):
    assert card(tmp_path, name).data.base_model == name


def test_a_base_that_is_not_on_the_hub_is_named_in_the_text_only(tmp_path):
    (tmp_path / "mine").mkdir()
    for name, base in ((tmp_path / "mine", "mine"), ("nursery", "nursery")):
        made = card(tmp_path, name)
        assert made.data.base_model is None
        assert f"# {base}, trained by self-play" in made.text


def test_only_the_licence_of_azrs_own_weights_is_stated(tmp_path):
    assert card(tmp_path, "nursery").data.license == "mit"
    other = card(tmp_path, "owner/model-1B")
    assert other.data.license is None
    assert "that of `owner/model-1B` also holds" in other.text


def test_a_measured_gain_has_its_interval_in_the_text_and_its_accuracy_in_the_metadata(tmp_path):
    made = card(tmp_path, "nursery", {"steps": 3, "before": HELD_OUT, "after": AFTER})
    assert "25.0% ->  75.0%" in made.text
    assert "95 % interval" in made.text
    (result,) = made.data.eval_results
    assert (result.metric_type, result.metric_value) == ("accuracy", 0.75)
    assert result.dataset_name == "azr python, held-out deduction"


def test_an_unmeasured_model_claims_nothing(tmp_path):
    made = card(tmp_path, "nursery")
    assert made.data.eval_results is None
    assert "Not measured in this run." in made.text


@pytest.mark.parametrize(("repository", "address"), [(None, "FOLDER"), ("me/tiny", "me/tiny")])
def test_the_code_in_the_card_names_where_the_model_is(tmp_path, repository, address):
    assert f'AutoModelForCausalLM.from_pretrained("{address}")' in card(tmp_path, "nursery", repository=repository).text
