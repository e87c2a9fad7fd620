"""Prints what a real vLLM server says of its own routes, as JSON: the fixture that the fake server is held to.

Run by vLLM's interpreter against a server that `azr serve` started with any small model:

    PYTHON tests/rollout/vllm/capture.py http://127.0.0.1:8000 > tests/rollout/vllm/routes.json
"""

import dataclasses
import json
import sys
import urllib.request
from typing import Any

ROUTES = (
    "/inference/v1/generate",
    "/v1/completions",
    "/v1/models",
    "/server_info",
    "/weight_info",
    "/get_world_size",
    "/pause",
    "/resume",
    "/collective_rpc",
    "/update_weight_version",
    "/init_weight_transfer_engine",
    "/start_weight_update",
    "/update_weights",
    "/finish_weight_update",
)
"""Those that azr uses."""


def main(url: str) -> None:
    whole = ask(url, "/openapi.json")
    kept: dict[str, Any] = {}
    paths = {route: whole["paths"][route] for route in ROUTES}
    collect(paths, whole["components"]["schemas"], kept)
    collect({"$ref": "#/components/schemas/GenerateTokensResponse"}, whole["components"]["schemas"], kept)
    found = {
        "vllm": ask(url, "/version")["version"],
        "paths": paths,
        "components": {"schemas": kept},
        "answers": answers(url),
        "nccl": nccl(),
    }
    print(json.dumps(found, indent=1, sort_keys=True))


def ask(url: str, route: str, body: Any | None = None) -> Any:
    sent = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url + route, sent, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return json.loads(answer.read())


def collect(node: Any, schemas: dict[str, Any], kept: dict[str, Any]) -> None:
    """Keep all schemas that a node refers to."""
    if isinstance(node, dict):
        if isinstance(name := node.get("$ref"), str) and (name := name.rpartition("/")[2]) not in kept:
            kept[name] = schemas[name]
            collect(schemas[name], schemas, kept)
        for value in node.values():
            collect(value, schemas, kept)
    elif isinstance(node, list):
        for value in node:
            collect(value, schemas, kept)


def answers(url: str) -> dict[str, Any]:
    """An answer of every route that works on a CPU; of the long ones, what azr reads."""
    sampling = {"max_tokens": 2, "temperature": 1.0, "seed": 1, "logprobs": 0}
    served = ask(url, "/v1/models")["data"][0]
    reload = {"method": "reload_weights", "kwargs": {"weights_path": served["root"]}}
    config = ask(url, "/server_info?config_format=json")["vllm_config"]["model_config"]
    prompt = {"prompt": [5, 6, 7], "return_token_ids": True, **sampling}
    return {
        "/v1/models": ask(url, "/v1/models"),
        "/server_info": {"vllm_config": {"model_config": {"logprobs_mode": config["logprobs_mode"]}}},
        "/weight_info": ask(url, "/weight_info"),
        "/get_world_size": ask(url, "/get_world_size"),
        "/inference/v1/generate": ask(
            url, "/inference/v1/generate", {"token_ids": [5, 6, 7], "sampling_params": sampling}
        ),
        "/v1/completions": ask(url, "/v1/completions", {"model": served["id"], **prompt}),
        "/pause": ask(url, "/pause?mode=wait&clear_cache=true", {}),
        "/collective_rpc": ask(url, "/collective_rpc", reload),
        "/update_weight_version": ask(url, "/update_weight_version", {"new_version": "default"}),
        "/resume": ask(url, "/resume", {}),
    }


def nccl() -> dict[str, list[str]]:
    """Fields of what the NCCL routes take, which the schema calls any object."""
    from vllm.distributed.weight_transfer.nccl_common import NCCLWeightTransferInitInfo
    from vllm.distributed.weight_transfer.nccl_engine import NCCLWeightTransferUpdateInfo

    kinds = {"init_info": NCCLWeightTransferInitInfo, "update_info": NCCLWeightTransferUpdateInfo}
    return {name: [field.name for field in dataclasses.fields(kind)] for name, kind in kinds.items()}


if __name__ == "__main__":
    main(sys.argv[1])
