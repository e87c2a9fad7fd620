"""The command line: quick to answer, one clear line for bad input, and a whole run through it."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tests.runs import azr, events, metrics, only_run, tiny_config


def error_line(done) -> str:
    """What was said on standard error, which must be one line, with exit code 2 and no traceback."""
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.strip().splitlines()
    return line


def test_help_answers_without_importing_torch():
    code = "import sys; sys.argv = ['azr', '--help']\nfrom azr.cli import main\ntry: main()\nexcept SystemExit: pass\n"
    check = code + "print(sorted({'torch', 'transformers', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "train" in done.stdout


def test_importing_the_core_leaves_torch_out():
    core = "types config settings algorithms.registry selfplay.step selfplay.rewards domains.python domains.registry sandbox"
    imports = "".join(f"import azr.{module}\n" for module in core.split())
    check = imports + "import sys; print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_no_words_at_all_print_the_help(tmp_path):
    done = azr(cwd=tmp_path, fresh=True)
    assert "Usage: azr " in done.stdout
    assert (done.returncode, done.stderr) == (2, "")


def test_the_version_is_printed(tmp_path):
    assert azr("--version", cwd=tmp_path, fresh=True).stdout == "azr 0.1.0\n"


def test_presets_are_listed(tmp_path):
    assert "demo " in azr("presets", cwd=tmp_path).stdout


def test_domains_are_listed(tmp_path):
    assert "python " in azr("domains", cwd=tmp_path).stdout


def test_the_resolved_configuration_is_printed(tmp_path):
    assert "lr = 0.5\n" in azr("config", "demo", "learner.lr=0.5", cwd=tmp_path).stdout


def test_the_doctor_finds_every_protection_of_the_local_sandbox_in_place(tmp_path):
    done = azr("sandbox", "doctor", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "NO" not in done.stdout
    assert "determinism" in done.stdout


def test_the_doctor_tells_that_the_unsafe_sandbox_falls_short(tmp_path):
    done = azr("sandbox", "doctor", "backend=unsafe", "allow_unsafe=true", cwd=tmp_path)
    assert done.returncode == 1
    assert "NO" in done.stdout


@pytest.mark.slow
def test_a_context_that_is_too_short_is_told_before_the_run(tmp_path, apprentice):
    config = tiny_config(tmp_path, apprentice)
    line = error_line(azr("train", config, "generation.max_prompt_tokens=4000", cwd=tmp_path))
    assert "holds 512 tokens" in line
    assert "come to 4080" in line


@pytest.fixture(scope="module")
def run(apprentice, tmp_path_factory):
    """A run of three steps, evaluated on a held-out set of its own."""
    folder = tmp_path_factory.mktemp("run")
    held_out = folder / "held_out.jsonl"
    tasks = [
        {"kind": kind, "data": {"program": f"def f(a):\n    return a + {n}", "input": "1", "output": str(n + 1)}}
        for kind in ("deduction", "abduction")
        for n in range(2, 8)
    ]
    held_out.write_text("".join(json.dumps(task) + "\n" for task in tasks))
    overrides = ["evaluation.tasks=6", "evaluation.every=2", f"domain.held_out={held_out}"]
    words = ["--config", tiny_config(folder, apprentice), *overrides, "--output-dir", "out"]
    done = azr("train", *words, cwd=folder, fresh=True)  # all of it, as from a shell
    assert done.returncode == 0, done.stderr
    return only_run(folder / "out"), done.stdout


def test_a_run_directory_is_complete(run):
    names = {path.name for path in run[0].iterdir()} - {".lock"}
    assert names == {"config.toml", "seed.jsonl", "events.jsonl", "metrics.jsonl", "checkpoints", "model"}


def test_every_kind_of_event_is_there(run):
    kinds = {event["event"] for event in events(run[0])}
    assert kinds == {"proposal", "verdict", "task", "attempt", "reward", "advantage", "tokens", "update", "held_out"}


def test_every_rollout_has_its_reward_and_its_advantage(run):
    found = events(run[0])
    learnt = [event["id"] for event in found if event["event"] == "reward"]
    assert learnt == [event["id"] for event in found if event["event"] == "advantage"]
    written = {event["id"] for event in found if event["event"] in ("proposal", "attempt") and event["step"] > 0}
    assert set(learnt) <= written


def test_metrics_can_be_recomputed_from_the_events(run):
    found = events(run[0])
    for line in metrics(run[0]):
        if "kinds" not in line:
            continue
        mine = [event for event in found if event["step"] == line["step"]]
        proposals = {event["id"]: event["kind"] for event in mine if event["event"] == "proposal"}
        attempts = {event["id"]: event["kind"] for event in mine if event["event"] == "attempt"}
        verdicts = {event["id"]: event for event in mine if event["event"] == "verdict"}
        for kind, values in line["kinds"].items():
            accepted = [verdicts[name]["score"] for name, of in proposals.items() if of == kind]
            solved = [verdicts[name]["score"] >= 1 for name, of in attempts.items() if of == kind]
            assert values["valid"] == pytest.approx(sum(accepted) / len(accepted))
            assert values["solve_rate"] == (pytest.approx(sum(solved) / len(solved)) if solved else None)


def test_held_out_accuracy_is_measured_before_during_and_after(run):
    assert [line["step"] for line in metrics(run[0]) if "held_out" in line] == [0, 2, 3]


def test_the_closing_summary_compares_before_and_after_with_a_random_guess(run):
    for words in ("untrained -> trained", "95 % interval", "random guess", "task that it proposed at the start"):
        assert words in run[1]


def test_a_run_ends_with_commands_to_go_on_with(run):
    end = run[1].partition("go on with:\n")[2].splitlines()
    commands = [line.split()[1] for line in end]
    assert commands == ["report", "explain", "play", "chat", "export"]
    assert all(run[0].name in line for line in end)


def test_the_exported_model_loads_with_plain_transformers(run):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(run[0] / "model")
    tokenizer = AutoTokenizer.from_pretrained(run[0] / "model")
    text = "<deduction>\n<program>\ndef f(a):\n    return a + 3\n</program><input>4</input>\n<solve>\n"
    assert tokenizer.decode(tokenizer.encode(text)) == text
    ids = tokenizer(text, return_tensors="pt")
    written = model.generate(**ids, max_new_tokens=20, do_sample=False)
    assert "<answer>" in tokenizer.decode(written[0])


def test_the_exported_model_has_a_card_with_what_was_measured(run):
    card = (run[0] / "model" / "README.md").read_text()
    assert "random guess" in card
    assert "[selfplay]" in card


@pytest.mark.slow
def test_weights_that_explode_are_one_line_and_no_checkpoint(apprentice, tmp_path):
    words = ["learner.lr=1", "learner.weight_decay=1e30", "--output-dir", "out"]
    done = azr("train", tiny_config(tmp_path, apprentice), *words, cwd=tmp_path)
    assert "update 0: the step drove the weights beyond all bounds; its checkpoints are from before" in error_line(done)
    assert [path.name for path in (only_run(tmp_path / "out") / "checkpoints").iterdir()] == ["000000"]


@pytest.mark.slow
def test_seed_tasks_are_saved_and_used_again(run, apprentice, tmp_path):
    words = [f"selfplay.seed_file={run[0] / 'seed.jsonl'}", "--steps", "1", "--output-dir", "out"]
    done = azr("train", tiny_config(tmp_path, apprentice), *words, cwd=tmp_path)
    again = only_run(tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert (again / "seed.jsonl").read_bytes() == (run[0] / "seed.jsonl").read_bytes()
    assert not [event for event in events(again) if event["step"] == 0]


@pytest.mark.slow
def test_a_finished_run_can_be_prolonged(run, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(run[0], copy)
    done = azr("train", "--resume", copy, "--steps", "4", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [line["step"] for line in metrics(copy) if "kinds" in line] == [1, 2, 3, 4]


@pytest.mark.slow
def test_a_run_is_held_by_one_process_at_a_time(run, tmp_path):
    import fcntl

    with (run[0] / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "another process is training this run" in error_line(azr("train", "--resume", run[0], cwd=tmp_path))


def test_interrupting_saves_and_says_how_to_resume(apprentice, tmp_path):
    config = tiny_config(tmp_path, apprentice, steps=5000)
    words = [sys.executable, "-m", "azr", "train", str(config), "--output-dir", str(tmp_path / "out")]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    wait_for(lambda: any(tmp_path.glob("out/tiny*/checkpoints/000002")))
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    run = only_run(tmp_path / "out")
    last = max(line["step"] for line in metrics(run))
    assert process.returncode == 3
    assert f"stopped after step {last} of 5000; continue with: azr train --resume {run}" in said
    assert (run / "checkpoints" / f"{last:06d}" / "state.json").is_file()


def wait_for(condition, seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


# A full disk and one that cannot be written: real file systems, in a mount namespace of the test's own

MOUNTS = ["unshare", "--mount", "sh", "-c"]
can_mount = subprocess.run([*MOUNTS, "mount -t tmpfs none /mnt"], capture_output=True, check=False).returncode == 0
needs_mounts = pytest.mark.skipif(not can_mount, reason="only root can mount a file system to fill up")


def azr_on_a_small_disk(size: str, words: str, folder, then: str = "true", options: str = ""):
    """Run azr with `folder`/disk as a file system of that size; `then` copies out what is left of it."""
    disk = folder / "disk"
    disk.mkdir(exist_ok=True)
    script = f"mount -t tmpfs -o size={size}{options} none {disk} && {sys.executable} -m azr {words}; code=$?; {then}; exit $code"
    return subprocess.run([*MOUNTS, script], cwd=folder, capture_output=True, text=True, timeout=240, check=False)


@pytest.mark.slow
@needs_mounts
def test_a_disk_that_fills_up_is_one_line_and_what_was_saved_resumes(apprentice, tmp_path):
    config = tiny_config(tmp_path, apprentice, steps=200)
    then = f"mkdir saved && cp -r {tmp_path}/disk/tiny* saved/run"
    done = azr_on_a_small_disk("5m", f"train {config} checkpoint.keep=9 --output-dir {tmp_path}/disk", tmp_path, then)
    assert "no space left on device; free some space, then azr train --resume it" in error_line(done)
    run = tmp_path / "saved" / "run"
    steps = max(int(path.name) for path in (run / "checkpoints").glob("[0-9]*"))
    again = azr("train", "--resume", run, "--steps", steps + 2, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert [line["step"] for line in metrics(run)] == list(range(1, steps + 3))


@pytest.mark.slow
@needs_mounts
def test_a_read_only_directory_is_one_line(apprentice, tmp_path):
    config = tiny_config(tmp_path, apprentice)
    done = azr_on_a_small_disk("1m", f"train {config} --output-dir {tmp_path}/disk/runs", tmp_path, options=",ro")
    assert "read-only file system; choose another output_dir" in error_line(done)


@pytest.mark.slow
def test_a_model_is_loaded_without_libraries_that_it_does_not_need():
    check = (
        "import azr.rollout.local.generator, transformers.models.llama.modeling_llama, sys;"
        "print({'sklearn', 'scipy', 'numba'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert found.stdout == "set()\n"
