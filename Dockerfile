# deta with the locked packages, for a machine with or without GPUs:
#   docker build -t deta . && docker run --rm --gpus all -v "$PWD":/work deta train experiment=deta_shapes
FROM python:3.11-slim
ENV VIRTUAL_ENV=/opt/venv PATH=/opt/venv/bin:$PATH UV_NO_CACHE=1 UV_LINK_MODE=copy
WORKDIR /opt/deta
COPY pyproject.toml requirements.lock ./
RUN python -m venv $VIRTUAL_ENV && pip install --quiet uv==0.13.9 && uv pip sync --require-hashes requirements.lock
COPY . .
RUN uv pip install --no-deps --no-build-isolation .
WORKDIR /work
ENTRYPOINT ["deta"]
CMD ["--help"]
