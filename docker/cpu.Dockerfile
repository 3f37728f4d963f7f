# Everything but speed: the pipeline, the command line and Prefect on a machine without a GPU.
# Build from the project's folder: docker build --file docker/cpu.Dockerfile --tag cc-tuning:cpu .
FROM python:3.11.13-slim-bookworm

RUN apt-get update \
    && apt-get install --yes --no-install-recommends git \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 trainer

WORKDIR /project
# The index of torch's CPU builds can be given at build time; without it pip takes the default build.
ARG TORCH_INDEX=""
COPY constraints.txt ./
RUN python -m pip install --no-cache-dir ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch==2.13.0

COPY . .
# `[ray]` for the profile of that name.
ARG EXTRAS=""
RUN python -m pip install --no-cache-dir --constraint constraints.txt --editable ".$EXTRAS" asyncpg \
    && mkdir --parents .cc-tuning runs .prefect /models \
    && chown trainer:trainer . .cc-tuning runs .prefect /models
USER 1000
# Models that are downloaded: a volume of their own, or each new container would download them again.
ENV DO_NOT_TRACK=1 TOKENIZERS_PARALLELISM=false HF_HOME=/models
ENTRYPOINT ["cc-tuning"]
CMD ["doctor"]
