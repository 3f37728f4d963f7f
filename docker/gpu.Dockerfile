# Training and evaluation on NVIDIA GPUs; needs the NVIDIA container toolkit on the host.
# Build from the project's folder: docker build --file docker/gpu.Dockerfile --tag cc-tuning:gpu .
FROM nvidia/cuda:13.0.1-cudnn-runtime-ubuntu24.04

RUN apt-get update \
    && apt-get install --yes --no-install-recommends git python3.12 python3.12-venv \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1001 trainer

WORKDIR /project
ENV VIRTUAL_ENV=/opt/venv PATH=/opt/venv/bin:$PATH
RUN python3.12 -m venv "$VIRTUAL_ENV"
COPY . .
RUN python -m pip install --no-cache-dir --constraint constraints.txt --editable '.[gpu]' asyncpg \
    && mkdir --parents .cc-tuning runs .prefect /models \
    && chown trainer:trainer . .cc-tuning runs .prefect /models
USER 1001
# Models that are downloaded: a volume of their own, or each new container would download them again.
ENV DO_NOT_TRACK=1 TOKENIZERS_PARALLELISM=false HF_HOME=/models
ENTRYPOINT ["cc-tuning"]
CMD ["doctor"]
