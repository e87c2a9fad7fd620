"""Configuration: presets, files, overrides, and one clear line for every mistake."""

import tomllib

import pytest
from pydantic import ValidationError

from azr import settings
from azr.config import Config, RewardConfig
from azr.domains.registry import config_class
from azr.errors import UserError
from azr.train.start import resolve

MINIMAL = {"model": {"name": "m"}, "domain": {"name": "python"}}


def build(*assignments: str, tree=None):
    return settings.build(settings.override(tree or MINIMAL, assignments), config_class, source="file.toml")


def message(*assignments: str) -> str:
    with pytest.raises(UserError) as caught:
        build(*assignments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", settings.presets())
def test_every_preset_is_valid(name):
    assert isinstance(settings.build(settings.read(name), config_class, source=name), Config)


@pytest.mark.parametrize("name", settings.presets())
def test_every_preset_begins_with_a_headline(name):
    assert settings.headline(name).endswith(".")


def test_an_override_reaches_its_key():
    assert build("learner.lr=3e-5").learner.lr == 3e-5


def test_overrides_keep_the_rest_of_their_section():
    tree = MINIMAL | {"learner": {"lr": 0.5, "warmup_steps": 3}}
    assert build("learner.lr=0.1", tree=tree).learner.warmup_steps == 3


def test_overriding_does_not_change_what_was_read():
    tree = {"learner": {"lr": 0.5}}
    settings.override(tree, ["learner.lr=0.1"])
    assert tree == {"learner": {"lr": 0.5}}


def test_a_bare_word_is_a_string():
    assert build("model.name=org/some-model").model.name == "org/some-model"


def test_a_list_is_read_as_toml():
    assert build('domain.kinds=["deduction"]').domain.kinds == ("deduction",)


def test_null_goes_back_to_the_default():
    assert build("selfplay.batch_size=null").selfplay.batch_size == 64


def test_the_configuration_is_frozen():
    with pytest.raises(ValidationError):
        build().steps = 3


def test_what_is_dumped_builds_to_the_same():
    config = build("algorithm.dual_clip=3.0", "domain.style=compact", "rewards.novelty.coefficient=0.5")
    again = settings.build(tomllib.loads(settings.dump(config)), config_class, source="x")
    assert again == config


def test_an_unknown_key_names_the_nearest():
    assert message("learner.quux=1") == "file.toml: unknown key learner.quux"
    assert message("learner.warm_up_steps=1") == (
        "file.toml: unknown key learner.warm_up_steps; did you mean warmup_steps?"
    )


def test_an_unknown_section_names_the_nearest():
    assert message("lerner.lr=1").endswith("unknown key lerner; did you mean learner?")


def test_an_unknown_key_of_the_domain_names_the_nearest():
    assert message("domain.stile=r1").endswith("unknown key domain.stile; did you mean style?")


def test_an_unknown_domain_lists_those_that_are_there():
    assert "domain.name = pyton: no such domain; did you mean python?" in message("domain.name=pyton")


def test_what_the_user_wrote_is_told_as_it_was_written():
    assert "'Deduction' is not a kind of the python domain" in message('domain.kinds=["Deduction"]')


def test_a_missing_domain_is_named():
    with pytest.raises(UserError, match=r"domain\.name is missing"):
        settings.build({"model": {"name": "m"}}, config_class, source="x")


def test_a_missing_model_is_named():
    with pytest.raises(UserError, match=r"x: model is missing"):
        settings.build({"domain": {"name": "python"}}, config_class, source="x")


def test_a_nucleus_is_refused_while_the_model_learns():
    assert message("generation.top_p=0.9") == (
        "file.toml: configuration: generation.top_p = 0.9 cuts off part of the distribution that training computes log-probabilities"
        " for; set generation.top_p=1, or selfplay.learn=false"
    )


def test_a_nucleus_may_be_cut_out_where_nothing_is_learnt():
    assert build("generation.top_p=0.9", "selfplay.learn=false").generation.top_p == 0.9


def test_a_wrong_type_names_key_and_value():
    assert message("steps=many") == "file.toml: steps = 'many': input should be a valid integer"


def test_a_value_in_place_of_a_list_shows_how_to_write_the_list():
    assert message("domain.kinds=deduction") == (
        "file.toml: domain.kinds = 'deduction': expected a list, such as 'domain.kinds=[\"deduction\"]'"
    )


def test_a_value_in_place_of_a_section_lists_its_keys():
    assert message("buffer=3") == (
        "file.toml: buffer = 3: this is a section, not a value; its keys are cap, reject_duplicates, shape_limit"
    )


@pytest.mark.parametrize(
    ("assignment", "expected"),
    [
        ("learner.lr=-1", "learner.lr = -1"),
        ("learner.lr=1e30", "learner.lr = 1e+30: input should be less than or equal to 1"),
        ("learner.betas=[0.9,1.0]", "learner.betas"),
        ("rewards.wrong=nan", "rewards.wrong = nan: input should be a finite number"),
        ("rewards.novelty.coefficient=inf", "rewards.novelty.coefficient = inf"),
        ("algorithm.ppo.critic_lr=inf", "algorithm.ppo.critic_lr = inf"),
        ("generation.temperature=inf", "generation.temperature = inf: input should be a finite number"),
    ],
)
def test_a_number_out_of_range_is_refused(assignment, expected):
    assert expected in message(assignment)


@pytest.mark.parametrize(
    ("assignments", "expected"),
    [
        (["algorithm.dual_clip=0.5"], "dual_clip must be above 1"),
        (["buffer.cap=255"], "buffer.cap = 255: seeding makes selfplay.seed_factor x batch_size = 256 tasks"),
        (["sandbox.backend=remote"], "backend = remote needs url"),
        (
            ["algorithm.name=ppo", "selfplay.search.gold=1"],
            "the critic of algorithm.name = ppo cannot learn",
        ),
        (
            ["algorithm.name=ppo", "selfplay.relabel=1", "domain.sizes=2"],
            "the critic of algorithm.name = ppo cannot learn",
        ),
        (["selfplay.relabel=1"], "selfplay.relabel needs prompts that ask for a size; set domain.sizes, such as 3"),
        (
            ["domain.style=chat", "rewards.thinking.coefficient=1"],
            "set domain.style to r1 or compact",
        ),
        (["selfplay.solver_mix=uniform"], "it needs learn_from_samples = false"),
        (["domain.induction_shown=10"], "induction_shown must be less than induction_inputs"),
        (['domain.kinds=["deduction","sorting"]'], "'sorting' is not a kind of the python domain"),
        (['domain.kinds=["deduction","deduction"]'], "each kind may be listed only once"),
    ],
)
def test_impossible_combinations_are_refused(assignments, expected):
    assert expected in message(*assignments)


def test_weights_that_nobody_wants_to_train_may_be_frozen():
    with pytest.raises(UserError, match=r"needs model\.lora\.rank above 0"):
        build("model.quantization=4bit")
    assert build("model.quantization=4bit", "selfplay.learn=false").model.quantization == "4bit"


def test_an_assignment_below_a_value_is_refused():
    with pytest.raises(UserError, match="steps is a value, not a section"):
        settings.override({"steps": 3}, ["steps.more=1"])


def test_a_word_without_an_equals_sign_is_refused():
    with pytest.raises(UserError, match=r"expected the form key\.sub=value"):
        settings.override({}, ["steps"])


def test_a_preset_that_does_not_exist_lists_those_that_do():
    with pytest.raises(UserError, match=r"demp: no such preset or file; did you mean demo\?; the presets are .*demo"):
        settings.read("demp")


def test_a_file_that_is_not_toml_is_told(tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text("steps = = 3")
    with pytest.raises(UserError, match=r"bad\.toml: not valid TOML"):
        settings.read(str(path))


def test_a_file_is_read_by_its_path(tmp_path):
    path = tmp_path / "my.toml"
    path.write_text("steps = 3")
    assert settings.read(str(path)) == {"steps": 3}


def test_a_float_key_takes_a_whole_number():
    assert build("rewards.wrong=-1").rewards == RewardConfig(wrong=-1)


def test_another_domain_starts_from_its_own_defaults():
    config = resolve("demo", ["domain.name=primes", "domain.max_prime=31"])
    assert config.domain == config_class("primes")(name="primes", max_prime=31)


def test_the_same_domain_by_name_keeps_the_settings_of_the_preset():
    assert resolve("demo", ["domain.name=python", "domain.style=r1"]).domain.induction_inputs == 6
