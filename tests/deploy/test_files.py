"""The files in deploy/ agree with each other and with azr. What their own parsers say is in test_validators.py."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from azr import settings
from azr.cli import app
from azr.sandbox.protocol import TOKEN_VARIABLE
from azr.train.start import RESUMABLE

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
SCRIPTS = [DEPLOY / "azr-run", *sorted((DEPLOY / "slurm").iterdir())]
SKY = sorted((DEPLOY / "skypilot").glob("*.yaml"))
KUBERNETES = sorted((DEPLOY / "kubernetes").glob("train*.yaml"))


def azr_run(*words: str, azr: str = "echo azr") -> subprocess.CompletedProcess[str]:
    """Run deploy/azr-run with another command in azr's place, which shows what it was called with."""
    command = ["sh", str(DEPLOY / "azr-run"), *words]
    return subprocess.run(command, env=os.environ | {"AZR": azr}, capture_output=True, text=True, check=False)


def job(path: Path) -> dict:
    """The Job of a manifest."""
    return next(one for one in yaml.safe_load_all(path.read_text()) if one["kind"] == "Job")


# --- azr-run ---


def test_a_run_is_started_where_there_is_none(tmp_path):
    done = azr_run(f"{tmp_path}/runs", "demo", "steps=3", "learner.lr=1e-5")
    assert done.stdout == f"azr train demo --output-dir {tmp_path}/runs steps=3 learner.lr=1e-5\n"


def test_the_newest_run_is_continued(tmp_path):
    for name in ("demo-20261121-060701", "demo-20261122-000000", "demo-20261121-235959"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.toml").touch()
    assert azr_run(str(tmp_path), "demo").stdout == f"azr train --resume {tmp_path}/demo-20261122-000000\n"


def test_a_folder_without_a_configuration_is_no_run(tmp_path):
    (tmp_path / "demo-20261122-000000").mkdir()
    assert "--resume" not in azr_run(str(tmp_path), "demo").stdout


@pytest.mark.parametrize("key", RESUMABLE)
def test_what_a_resumed_run_may_change_is_passed_on(tmp_path, key):
    (tmp_path / "one").mkdir()
    (tmp_path / "one/config.toml").touch()
    word = f"{key}every=2" if key.endswith(".") else f"{key}=2"
    done = azr_run(str(tmp_path), "demo", "learner.lr=1e-5", word, "model.name=a b")
    assert done.stdout == f"azr train --resume {tmp_path}/one {word}\n"


def test_a_word_with_spaces_stays_one_word(tmp_path):
    done = azr_run(str(tmp_path), "demo", "model.name=a  b", azr="printf [%s]")
    assert done.stdout.endswith("[model.name=a  b]")


def test_the_command_may_have_words_of_its_own(tmp_path):
    done = azr_run(str(tmp_path), "demo", azr="echo torchrun --nnodes 2 -m azr")
    assert done.stdout == f"torchrun --nnodes 2 -m azr train demo --output-dir {tmp_path}\n"


def test_the_exit_code_is_azrs(tmp_path):
    assert azr_run(str(tmp_path), "demo", azr="sh -c 'exit 3'").returncode != 0
    stop = tmp_path / "azr"
    stop.write_text("#!/bin/sh\nexit 3\n")
    stop.chmod(0o755)
    assert azr_run(str(tmp_path), "demo", azr=str(stop)).returncode == 3


def test_too_few_words_are_refused():
    done = azr_run("runs")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "azr-run FOLDER PRESET_OR_FILE" in done.stderr


# --- the image ---


def test_the_build_context_has_what_the_dockerfile_copies():
    text = (ROOT / "Dockerfile").read_text()
    copied = {
        word
        for line in re.findall(r"^COPY (?!--from)(.*)$", text, re.M)
        for word in line.split()[:-1]  # the last is the target
    }
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert copied == sent
    assert all((ROOT / path).exists() for path in copied)


def requirements(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    for name in ("pyproject.toml", "deploy/requirements.py"):
        (folder / Path(name).name).write_text((ROOT / name).read_text())
    command = [sys.executable, str(folder / "requirements.py"), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_image_gets_azrs_dependencies_and_those_of_the_chosen_extras(tmp_path):
    plain = requirements("", folder=tmp_path).stdout.splitlines()
    extra = requirements("lora, wandb", folder=tmp_path).stdout.splitlines()
    assert any(line.startswith("torch>=") for line in plain)
    assert [re.split("[<>=]", line)[0] for line in extra if line not in plain] == ["peft", "wandb"]


def test_an_unknown_extra_is_refused_in_one_line(tmp_path):
    done = requirements("lroa", folder=tmp_path)
    assert done.returncode == 1
    assert re.fullmatch(r"EXTRAS: azr has no extra 'lroa'; it has .*lora.*\n", done.stderr)


# --- schedulers ---


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_parse(path):
    shell = path.read_text().splitlines()[0].rpartition("/")[2]
    done = subprocess.run([shell, "-n", str(path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_slurm_warns_the_script_before_torchrun_kills_the_ranks():
    text = (DEPLOY / "slurm/train.sbatch").read_text()
    (warning,) = re.findall(r"^#SBATCH --signal=B:USR1@(\d+)$", text, re.M)
    (patience,) = re.findall(r"--shutdown-timeout (\d+)", text)
    assert int(patience) < int(warning)
    assert f"--signal=B:USR1@{warning}" in (DEPLOY / "slurm/train-nodes.sbatch").read_text()


@pytest.mark.parametrize("path", SKY, ids=lambda path: path.stem)
def test_a_sky_task_runs_on_spot_machines_with_storage_that_outlives_them(path):
    task = yaml.safe_load(path.read_text())
    assert any(place["use_spot"] for place in task["resources"]["any_of"])
    (mount,) = task["file_mounts"]
    assert f'azr-run "{mount}/$RUN_NAME"' in task["run"]
    assert task["envs"]["PRESET"] in settings.presets()


@pytest.mark.parametrize("path", KUBERNETES, ids=lambda path: path.stem)
def test_a_job_keeps_its_runs_on_its_volume(path):
    pod = job(path)["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    folder, preset, *_ = container["args"]
    claims = {one["name"] for one in pod["volumes"] if "persistentVolumeClaim" in one}
    mounts = [one["mountPath"] for one in container["volumeMounts"] if one["name"] in claims]
    assert [folder.startswith(mount) for mount in mounts] == [True]
    assert preset in settings.presets()


@pytest.mark.parametrize("path", KUBERNETES, ids=lambda path: path.stem)
def test_a_job_runs_without_rights(path):
    pod = job(path)["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def test_the_pods_of_an_indexed_job_find_each_other():
    documents = list(yaml.safe_load_all((DEPLOY / "kubernetes/train-nodes.yaml").read_text()))
    service = next(one for one in documents if one["kind"] == "Service")
    found = job(DEPLOY / "kubernetes/train-nodes.yaml")
    name, spec = found["metadata"]["name"], found["spec"]
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    torchrun = next(one["value"] for one in container["env"] if one["name"] == "AZR")
    nodes, each = (int(re.search(rf"--{word} (\d+)", torchrun)[1]) for word in ("nnodes", "nproc-per-node"))
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["selector"] == {"batch.kubernetes.io/job-name": name}
    assert f"--master-addr {name}-0.{service['metadata']['name']} " in torchrun
    assert pod["subdomain"] == service["metadata"]["name"]
    assert (spec["completions"], spec["parallelism"], spec["completionMode"]) == (nodes, nodes, "Indexed")
    assert container["resources"]["limits"]["nvidia.com/gpu"] == str(each)
    assert f"learner.processes={nodes * each}" in container["args"]


def test_an_indexed_job_lets_torchrun_finish_before_it_kills_the_pod():
    pod = job(DEPLOY / "kubernetes/train-nodes.yaml")["spec"]["template"]["spec"]
    torchrun = next(one["value"] for one in pod["containers"][0]["env"] if one["name"] == "AZR")
    assert pod["terminationGracePeriodSeconds"] > int(re.search(r"--shutdown-timeout (\d+)", torchrun)[1])


def test_a_variable_is_used_only_below_its_definition():
    env = job(DEPLOY / "kubernetes/train-nodes.yaml")["spec"]["template"]["spec"]["containers"][0]["env"]
    known: set[str] = set()
    for one in env:
        assert set(re.findall(r"\$\((\w+)\)", one.get("value", ""))) <= known
        known.add(one["name"])


def test_the_sandbox_servers_have_the_names_that_runs_use_and_no_rights():
    path = DEPLOY / "kubernetes/sandbox.yaml"
    kinds = {one["kind"]: one for one in yaml.safe_load_all(path.read_text())}
    servers, service = kinds["StatefulSet"], kinds["Service"]
    pod = servers["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    name, (port,) = servers["metadata"]["name"], service["spec"]["ports"]
    assert servers["spec"]["serviceName"] == service["metadata"]["name"]
    assert service["spec"]["clusterIP"] == "None"
    urls = [f"http://{name}-{number}.{service['metadata']['name']}:{port['port']}" for number in range(2)]
    assert f"sandbox.url={','.join(urls)}\n" in path.read_text()
    assert servers["spec"]["replicas"] == len(urls)
    assert container["args"][container["args"].index("--port") + 1] == str(port["port"])
    assert container["env"][0]["name"] == TOKEN_VARIABLE
    for one in (service["spec"]["selector"], kinds["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"]):
        assert one == servers["spec"]["template"]["metadata"]["labels"]
    assert "egress" not in kinds["NetworkPolicy"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def test_the_sandbox_servers_start_with_the_options_of_the_command(monkeypatch):
    text = (DEPLOY / "kubernetes/sandbox.yaml").read_text()
    servers = next(one for one in yaml.safe_load_all(text) if one["kind"] == "StatefulSet")
    (container,) = servers["spec"]["template"]["spec"]["containers"]
    found = {}
    monkeypatch.setattr(
        "azr.sandbox.serve.serve", lambda server, host, port, *, protected: found.update(host=host, port=port)
    )
    assert app(container["args"], standalone_mode=False) in (None, 0)
    assert found == {"host": "0.0.0.0", "port": 8090}
