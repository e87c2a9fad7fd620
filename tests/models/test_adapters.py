"""LoRA and quantised weights: what learns, what a checkpoint holds, what an export computes."""

import shutil
import sys
import tomllib

import pytest
import torch
from transformers import AutoModelForCausalLM

from azr.config import AlgorithmConfig, LoRAConfig, ModelConfig
from azr.domains.registry import config_class
from azr.errors import UserError
from azr.models.load import load_model
from azr.settings import build
from tests.learners import learner, plain_logprobs, train_samples
from tests.runs import azr, metrics, only_run, tiny_config
from tests.tiny import tiny_model

SCHEMES = ["none", "8bit", "4bit"]
LORA = LoRAConfig(rank=4, alpha=8.0)


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """Models whose layers NF4 can hold."""
    root = tmp_path_factory.mktemp("wide")
    return {name: tiny_model(root / name, architecture=name, hidden=64) for name in ("qwen2", "gpt2")}


def adapted(folder, quantization="none", lora=LORA):
    return load_model(ModelConfig(name=str(folder), device="cpu", quantization=quantization, lora=lora))


def logits(model):
    with torch.no_grad():
        return model(torch.arange(3, 40)[None]).logits


def taught(policy, steps=3, **options):
    teacher, rollouts = learner(policy, **options), train_samples(policy)
    for _ in range(steps):
        teacher.update(rollouts)
    return teacher


@pytest.mark.parametrize("architecture", ["qwen2", "gpt2"])
def test_an_adapter_changes_nothing_before_it_has_learnt(wide, architecture):
    plain = load_model(ModelConfig(name=str(wide[architecture]), device="cpu"))
    assert torch.equal(logits(adapted(wide[architecture]).model), logits(plain.model))


def test_only_the_adapter_learns(wide):
    policy = adapted(wide["qwen2"])
    before = {name: tensor.clone() for name, tensor in policy.model.state_dict().items()}
    taught(policy, steps=1)
    moved = {name for name, tensor in policy.model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert moved
    assert moved == {name for name in before if "lora_B" in name}  # A moves only once B is not 0


def test_targets_name_the_layers_that_get_an_adapter(wide):
    policy = adapted(wide["qwen2"], lora=LoRAConfig(rank=2, targets=("q_proj",)))
    names = {name.split(".")[-4] for name, tensor in policy.model.named_parameters() if tensor.requires_grad}
    assert names == {"q_proj"}


def test_unknown_targets_are_one_line(wide):
    with pytest.raises(UserError, match=r"model\.lora\.targets = \['nope'\]") as caught:
        adapted(wide["qwen2"], lora=LoRAConfig(rank=2, targets=("nope",)))
    assert "\n" not in str(caught.value)


def test_the_update_of_a_weight_is_scaled_by_alpha_over_rank(wide):
    outputs = []
    for alpha in (8.0, 16.0):
        policy = adapted(wide["qwen2"], lora=LoRAConfig(rank=4, alpha=alpha, targets=("o_proj",)))
        layer = policy.model.model.layers[0].self_attn.o_proj
        with torch.no_grad():
            layer.lora_B["default"].weight.fill_(0.01)
        outputs.append(layer(torch.ones(64)) - layer.base_layer(torch.ones(64)))
    torch.testing.assert_close(outputs[1], 2 * outputs[0])


@pytest.mark.parametrize("quantization", SCHEMES)
def test_ratios_at_the_first_step_are_one(wide, quantization):
    policy = adapted(wide["qwen2"], quantization)
    found = learner(policy).update(train_samples(policy))
    # LLM.int8 rounds activations by the batch that they are in, so that sampler and learner differ a little.
    tolerance = 0.05 if quantization == "8bit" else 1e-4
    assert found["ratio_min"] == pytest.approx(1, abs=tolerance)
    assert found["ratio_max"] == pytest.approx(1, abs=tolerance)


@pytest.mark.parametrize(("architecture", "quantization"), [("qwen2", "none"), ("gpt2", "none"), ("qwen2", "4bit")])
def test_an_export_is_merged_and_computes_the_same(wide, tmp_path, architecture, quantization):
    policy = adapted(wide[architecture], quantization)
    start = logits(policy.model)
    taught(policy)
    policy.export(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert (logits(policy.model) - start).abs().max() > 0.01  # it has learnt
    torch.testing.assert_close(logits(again), logits(policy.model), atol=1e-3, rtol=0)
    assert not [name for name in again.state_dict() if "lora" in name or "base_layer" in name]


def test_an_export_of_eight_bits_differs_by_the_rounding_of_activations_only(wide, tmp_path):
    policy = adapted(wide["qwen2"], "8bit")
    taught(policy)
    policy.export(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    spread = logits(policy.model).std()
    assert (logits(again) - logits(policy.model)).abs().mean() < 0.05 * spread


def test_an_export_leaves_the_adapter_as_it_was(wide, tmp_path):
    policy = adapted(wide["qwen2"])
    taught(policy)
    before = {name: tensor.clone() for name, tensor in policy.model.state_dict().items()}
    policy.export(tmp_path)
    after = policy.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("quantization", SCHEMES)
def test_saved_and_loaded_it_goes_on_as_if_nothing_had_happened(wide, tmp_path, quantization):
    policy = adapted(wide["qwen2"], quantization)
    rollouts, teacher = train_samples(policy), taught(policy)
    teacher.save(tmp_path)
    expected = [teacher.update(rollouts) for _ in range(2)]
    other = adapted(wide["qwen2"], quantization)
    resumed = learner(other)
    resumed.load(tmp_path)
    assert [resumed.update(rollouts) for _ in range(2)] == expected


def test_a_checkpoint_holds_the_adapter_alone(wide, tmp_path):
    learner(adapted(wide["qwen2"])).save(tmp_path)
    names = {path.name for path in (tmp_path / "model").iterdir()}
    assert "adapter_model.safetensors" in names
    assert "model.safetensors" not in names


@pytest.mark.parametrize("other", [LoRAConfig(rank=2), LoRAConfig(rank=4, targets=("q_proj",)), LoRAConfig()])
def test_a_checkpoint_of_another_adapter_is_refused(wide, tmp_path, other):
    learner(adapted(wide["qwen2"])).save(tmp_path)
    with pytest.raises(UserError, match="not a checkpoint of this model"):
        learner(adapted(wide["qwen2"], lora=other)).load(tmp_path)


@pytest.mark.parametrize("kl_in", ["loss", "reward"])
def test_the_divergence_is_that_from_the_model_without_its_adapter(wide, kl_in):
    algorithm = AlgorithmConfig(kl_coefficient=0.1, kl_in=kl_in)
    policy, untrained = adapted(wide["qwen2"]), load_model(ModelConfig(name=str(wide["qwen2"]), device="cpu"))
    rollouts = train_samples(policy)
    ours, theirs = learner(policy, algorithm=algorithm), learner(policy, algorithm=algorithm, reference=untrained.model)
    ours.update(rollouts)
    assert ours.penalties(rollouts) == pytest.approx(theirs.penalties(rollouts), abs=1e-5)
    if kl_in == "loss":
        assert ours.update(rollouts)["kl"] > 1e-4


def test_the_divergence_leaves_the_adapter_learning(wide):
    policy = adapted(wide["qwen2"])
    teacher = learner(policy, algorithm=AlgorithmConfig(kl_coefficient=0.1))
    rollouts = train_samples(policy)
    before = plain_logprobs(policy, rollouts[0].prompt_ids_P, rollouts[0].completion_ids_T).sum()
    for _ in range(2):
        assert teacher.update(rollouts)["grad_norm"] > 0
    assert plain_logprobs(policy, rollouts[0].prompt_ids_P, rollouts[0].completion_ids_T).sum() != before


def test_four_bits_on_a_cpu_need_whole_blocks(folders):
    with pytest.raises(UserError, match="width is a multiple of 64") as caught:
        adapted(folders["qwen2"], "4bit")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("module", "quantization", "extra"), [("peft", "none", "lora"), ("bitsandbytes", "4bit", "quant")]
)
def test_a_missing_extra_is_one_line(wide, monkeypatch, module, quantization, extra):
    monkeypatch.setitem(sys.modules, module, None)  # what Python itself does for a module that is not there
    with pytest.raises(UserError, match=rf"pip install 'azr\[{extra}\]'") as caught:
        adapted(wide["qwen2"], quantization)
    assert "\n" not in str(caught.value)


def test_quantised_weights_without_an_adapter_cannot_learn():
    tree = {"model": {"name": "m", "quantization": "4bit"}, "domain": {"name": "python"}}
    with pytest.raises(UserError, match=r"needs model\.lora\.rank above 0"):
        build(tree, config_class, source="test")


@pytest.mark.slow
@pytest.mark.parametrize("quantization", ["none", "4bit"])
def test_a_run_of_twenty_steps_resumes_exactly_and_exports_what_it_learnt(apprentice, tmp_path, quantization):
    words = ["model.lora.rank=4", f"model.quantization={quantization}", "learner.lr=1e-3", "checkpoint.keep=50"]
    done = azr("train", tiny_config(tmp_path, apprentice, steps=20), *words, "--output-dir", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    run = only_run(tmp_path / "out")
    interrupted = tmp_path / "interrupted"
    shutil.copytree(run, interrupted)
    for checkpoint in (interrupted / "checkpoints").glob("0000*"):
        if int(checkpoint.name) > 12:
            shutil.rmtree(checkpoint)
    again = azr("train", "--resume", interrupted, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert metrics(interrupted) == metrics(run)
    assert len([line for line in metrics(run) if "kinds" in line]) == 20
    config = build(tomllib.loads((run / "config.toml").read_text()), config_class, source="run")
    policy = load_model(config.model)
    policy.restore(run / "checkpoints" / "000020" / "model")
    exported = AutoModelForCausalLM.from_pretrained(run / "model")
    torch.testing.assert_close(logits(exported), logits(policy.model), atol=1e-3, rtol=0)
    assert (logits(load_model(config.model).model) - logits(exported)).abs().max() > 1e-3  # it has learnt
