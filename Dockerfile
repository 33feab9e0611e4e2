# syntax=docker/dockerfile:1
# Meshdrop on the CPU. Kernels are compiled for the processor at hand when the first capture arrives and are kept in the
# state volume; compiling them here would compile for the machine that builds the image.
# The models that need a GPU bring a second target when they come: a CUDA base and their own lock file.

FROM python:3.12-slim AS build
WORKDIR /src
RUN python -m venv /opt/meshdrop
COPY requirements.lock ./
RUN /opt/meshdrop/bin/pip install --no-cache-dir --disable-pip-version-check \
    --require-hashes --only-binary :all: --requirement requirements.lock
COPY pyproject.toml README.md ./
COPY daemon/ daemon/
COPY db/ db/
COPY models/ models/
RUN /opt/meshdrop/bin/pip install --no-cache-dir --disable-pip-version-check \
    --no-deps --no-build-isolation --no-index .

FROM python:3.12-slim
RUN groupadd --gid 10001 meshdrop \
 && useradd --uid 10001 --gid 10001 --home-dir /var/lib/meshdrop --shell /usr/sbin/nologin --no-create-home meshdrop \
 && install -d -o meshdrop -g meshdrop -m 0700 /var/lib/meshdrop \
 && install -d -o meshdrop -g meshdrop -m 0755 /srv/meshdrop
COPY --from=build /opt/meshdrop /opt/meshdrop
ENV PATH=/opt/meshdrop/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    MESHDROP_ROOT=/srv/meshdrop \
    MESHDROP_STATE_DIR=/var/lib/meshdrop
USER 10001:10001
# Share and spool are one mount: a rename between two fails. The record lies on the volume, which is a local disk.
VOLUME /var/lib/meshdrop
STOPSIGNAL SIGTERM
# Answered by the main loop itself: a process that is merely there is not healthy.
HEALTHCHECK --interval=30s --timeout=15s --start-period=60s --retries=3 CMD ["python", "-I", "-c", \
    "import os, pathlib; from daemon.control import ask; ask(pathlib.Path(os.environ['MESHDROP_STATE_DIR'], 'control.sock'), 'ping')"]
ENTRYPOINT ["meshdrop"]
CMD ["run"]
