# azr in a container: `docker build --target cpu -t azr .`, or `--target cuda`. See docs/deploy.md.
# Layers change in this order: torch, the other dependencies, azr. A change of azr's code rebuilds only the last, of a few MB.
ARG BASE=python:3.11-slim

FROM ${BASE} AS wheel
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN python3 -m pip wheel --quiet --no-cache-dir --no-deps --wheel-dir /wheel .

FROM ${BASE} AS common
ENV PATH=/opt/azr/bin:$PATH \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/work \
    HF_HOME=/work/huggingface
RUN python3 -m venv /opt/azr
COPY constraints.txt /opt/azr/
# A folder that any user may write, so that `docker run --user` works; a volume mounted here keeps its own owner.
RUN python3 -c "import os; os.makedirs('/work/runs'); os.chmod('/work', 0o1777); os.chmod('/work/runs', 0o1777)"
COPY pyproject.toml deploy/requirements.py /opt/azr/
COPY deploy/azr-run /usr/local/bin/
WORKDIR /work

FROM common AS cpu
ARG EXTRAS=""
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN pip install --quiet -c /opt/azr/constraints.txt ${TORCH_INDEX:+--index-url $TORCH_INDEX} torch
RUN python /opt/azr/requirements.py "$EXTRAS" > /opt/azr/requirements.txt \
    && pip install --quiet -c /opt/azr/constraints.txt -r /opt/azr/requirements.txt
COPY --from=wheel /wheel /opt/azr/wheel
RUN pip install --quiet --no-deps --no-index /opt/azr/wheel/*.whl
USER 10001:10001
ENTRYPOINT ["azr"]
CMD ["train", "demo"]

# The CUDA libraries come with torch's wheels and the driver from the host, so the base image is the same.
FROM common AS cuda
ARG EXTRAS="lora,quant"
ARG TORCH_INDEX=""
RUN pip install --quiet -c /opt/azr/constraints.txt ${TORCH_INDEX:+--index-url $TORCH_INDEX} torch
RUN python /opt/azr/requirements.py "$EXTRAS" > /opt/azr/requirements.txt \
    && pip install --quiet -c /opt/azr/constraints.txt -r /opt/azr/requirements.txt
COPY --from=wheel /wheel /opt/azr/wheel
RUN pip install --quiet --no-deps --no-index /opt/azr/wheel/*.whl
USER 10001:10001
ENTRYPOINT ["azr"]
CMD ["train", "demo"]
