"""A harness that runs in this process: one chat request per run, without tools."""

import httpx
import verifiers.v1 as vf

WAIT = httpx.Timeout(30.0, read=None)
"""Completions can take long; a seat's `timeout.rollout` bounds them."""


class ChatHarnessConfig(vf.HarnessConfig):
    """Settings that all harnesses have."""


class ChatHarness(vf.Harness[ChatHarnessConfig]):
    """Sends the prompt to the model and ends with its reply."""

    APPENDS_SYSTEM_PROMPT = True
    EXECUTES_CODE = False
    NEEDS_CONTAINER = False

    async def launch(
        self,
        ctx: vf.ModelContext,
        trace: vf.Trace,
        runtime: vf.Runtime,
        endpoint: str,
        secret: str,
        mcp_urls: dict[str, str],
        data: vf.TaskData,
    ) -> vf.ProgramResult:
        """One request through the interception server, which records it in the trace."""
        system, prompt = self.resolve_text_prompt(data)
        messages = [{"role": "system", "content": system}] if system else []
        messages.append({"role": "user", "content": prompt or ""})
        async with httpx.AsyncClient(timeout=WAIT) as client:
            answer = await client.post(
                f"{endpoint.rstrip('/')}/chat/completions",
                json={"model": ctx.model, "messages": messages},
                headers={"Authorization": f"Bearer {secret}"},
            )
        return vf.ProgramResult(0 if answer.is_success else 1, "", "" if answer.is_success else answer.text)
