"""The card of an exported model."""

import pytest

from azr.export.model_card import write_card
from azr.train.start import resolve


@pytest.mark.parametrize(("name", "base"), [("owner/model-1B", "owner/model-1B"), ("nursery", "nursery")])
def test_a_model_of_the_hub_is_named_so_that_it_is_found_there(tmp_path, name, base):
    write_card(tmp_path, resolve("demo", [f"model.name={name}"]), {"steps": 3, "before": {}, "after": {}})
    assert f"\nbase_model: {base}\n" in (tmp_path / "README.md").read_text()


def test_a_folder_is_named_without_what_leads_to_it(tmp_path):
    (tmp_path / "mine").mkdir()
    config = resolve("demo", [f"model.name={tmp_path / 'mine'}"])
    write_card(tmp_path, config, {"steps": 3, "before": {}, "after": {}})
    assert "\nbase_model: mine\n" in (tmp_path / "README.md").read_text()
