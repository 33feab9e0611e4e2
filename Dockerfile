# syntax=docker/dockerfile:1
# Meshdrop, with two targets:
#   cpu   fusion alone; what `docker build .` makes
#   gpu   also what nvdiffrec and reconviagen need, compiled ahead for Ampere, Ada, Hopper and Blackwell; the host needs
#         a driver for CUDA 13 (580 or newer). `docker build --target gpu .`
# Weights are in neither: docker-compose.yml has a service that fetches them into a volume.
#
# Debian 12 everywhere, so that what one stage compiles runs in the others. Python packages are those of the lock files,
# by hash, the CUDA compiler among them; sources without packages are pinned by commit. Whoever wants the very same
# layers again names the base image by its digest: --build-arg BASE=debian@sha256:...
# Kernels of numba are compiled for the processor at hand when the first capture arrives and are kept in the state
# volume; compiling them here would compile for the machine that builds the image.

ARG BASE=debian:bookworm-slim

# hadolint ignore=DL3006
FROM ${BASE} AS python
RUN apt-get update \
 && apt-get install -y --no-install-recommends python3=3.11.* python3-venv=3.11.* \
 && rm -rf /var/lib/apt/lists/* \
 && python3 -m venv /opt/meshdrop
ENV PATH=/opt/meshdrop/bin:$PATH \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PYTHONDONTWRITEBYTECODE=1

FROM python AS program
WORKDIR /src
COPY requirements.lock ./
RUN pip install --require-hashes --only-binary :all: --requirement requirements.lock
COPY pyproject.toml setup.py README.md LICENSE ./
COPY daemon/ daemon/
COPY db/ db/
COPY models/ models/
COPY samples/ samples/
RUN pip wheel --no-deps --no-build-isolation --no-index --wheel-dir /wheels .

FROM python AS compiler
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates=20230311* g++=4:12.* git=1:2.39.* python3-dev=3.11.* \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY requirements-gpu-build.lock ./
RUN pip install --require-hashes --only-binary :all: --requirement requirements-gpu-build.lock
# The compiler's packages hold libraries under their full names only, and no driver's: the linker looks for short names.
ENV CUDA_HOME=/opt/meshdrop/lib/python3.11/site-packages/nvidia/cu13
ENV PATH=$CUDA_HOME/bin:$PATH \
    LIBRARY_PATH=$CUDA_HOME/lib:$CUDA_HOME/stubs
RUN ln -s lib "$CUDA_HOME/lib64" \
 && for library in "$CUDA_HOME"/lib/lib*.so.*; do short="${library%%.so.*}.so"; \
      [ -e "$short" ] || ln -s "$(basename "$library")" "$short"; done \
 && mkdir "$CUDA_HOME/stubs" \
 && gcc -shared -Wl,-soname,libcuda.so.1 -o "$CUDA_HOME/stubs/libcuda.so" -x c /dev/null
# Ampere 8.0 and 8.6, Ada 8.9, Hopper 9.0, Blackwell 10.0 and 12.0; what comes later compiles the last one's PTX.
ARG TORCH_CUDA_ARCH_LIST="8.0;8.6;8.9;9.0;10.0;12.0+PTX"
ARG TCNN_CUDA_ARCHITECTURES="80;86;89;90;100;120"
# How many files at a time; each may take 3 GB of memory.
ARG MAX_JOBS=4

# Of each source only what is built from is fetched: pictures and examples are larger than the code.
FROM compiler AS nvdiffrast
ARG NVDIFFRAST_COMMIT=253ac4fcea7de5f396371124af597e6cc957bfae
WORKDIR /src/nvdiffrast
RUN git init --quiet \
 && git remote add origin https://github.com/NVlabs/nvdiffrast \
 && git fetch --quiet --depth 1 --filter=blob:none origin "$NVDIFFRAST_COMMIT" \
 && git checkout --quiet FETCH_HEAD -- LICENSE.txt MANIFEST.in README.md csrc nvdiffrast pyproject.toml setup.py \
 && TORCH_CUDA_ARCH_LIST="$TORCH_CUDA_ARCH_LIST" MAX_JOBS="$MAX_JOBS" \
    pip wheel --no-deps --no-build-isolation --no-index --wheel-dir /wheels .

# Only the encodings are used: without the networks it compiles in a fraction of the time, and needs no cutlass.
FROM compiler AS tiny-cuda-nn
ARG TINY_CUDA_NN_COMMIT=6ee3546bda615f51abe684ce9edefeb414689135
WORKDIR /src/tiny-cuda-nn
RUN git init --quiet \
 && git remote add origin https://github.com/NVlabs/tiny-cuda-nn \
 && git fetch --quiet --depth 1 --filter=blob:none origin "$TINY_CUDA_NN_COMMIT" \
 && git checkout --quiet FETCH_HEAD -- .gitmodules CMakeLists.txt LICENSE.txt bindings dependencies include src \
 && git submodule --quiet update --init --depth 1 dependencies/fmt
WORKDIR /src/tiny-cuda-nn/bindings/torch
RUN TCNN_CUDA_ARCHITECTURES="$TCNN_CUDA_ARCHITECTURES" MAX_JOBS="$MAX_JOBS" \
    python setup.py --quiet bdist_wheel --no-networks --dist-dir /wheels

# The code that reconviagen's networks are built from; models/reconviagen/upstream.py knows this revision by its files.
FROM compiler AS reconviagen
ARG RECONVIAGEN_COMMIT=f6720923260927333e22761fa722144d214733d9
WORKDIR /opt/reconviagen
RUN git init --quiet \
 && git remote add origin https://github.com/GAP-LAB-CUHK-SZ/ReconViaGen \
 && git fetch --quiet --depth 1 --filter=blob:none origin "$RECONVIAGEN_COMMIT" \
 && git checkout --quiet FETCH_HEAD -- trellis wheels/vggt LICENSE \
 && rm -rf .git

FROM python AS run
RUN groupadd --gid 10001 meshdrop \
 && useradd --uid 10001 --gid 10001 --home-dir /var/lib/meshdrop --shell /usr/sbin/nologin --no-create-home meshdrop \
 && install -d -o meshdrop -g meshdrop -m 0700 /var/lib/meshdrop \
 && install -d -o meshdrop -g meshdrop -m 0755 /srv/scans /weights
ENV MESHDROP_ROOT=/srv/scans \
    MESHDROP_STATE_DIR=/var/lib/meshdrop \
    MESHDROP_WEIGHTS_DIR=/weights
# Share and spool are one mount: a rename between two fails. The record lies on the volume, which is a local disk.
VOLUME /var/lib/meshdrop /weights
STOPSIGNAL SIGTERM
# Answered by the main loop itself: a process that is merely there is not healthy.
HEALTHCHECK --interval=30s --timeout=15s --start-period=60s --retries=3 CMD ["python3", "-I", "-c", \
    "import os, pathlib; from meshdrop.daemon.base.control import ask; ask(pathlib.Path(os.environ['MESHDROP_STATE_DIR'], 'control.sock'), 'ping')"]
ENTRYPOINT ["meshdrop"]
CMD ["run"]

FROM run AS gpu
COPY requirements-gpu.lock /tmp/
RUN pip install --require-hashes --only-binary :all: --requirement /tmp/requirements-gpu.lock
COPY --from=reconviagen /opt/reconviagen /opt/reconviagen
COPY --from=nvdiffrast /wheels /tmp/wheels
COPY --from=tiny-cuda-nn /wheels /tmp/wheels
COPY --from=program /wheels /tmp/wheels
RUN pip install --no-deps --no-index /tmp/wheels/*.whl && rm -rf /tmp/wheels /tmp/requirements-gpu.lock
ENV MESHDROP_TRELLIS=/opt/reconviagen \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 10001:10001

FROM run AS cpu
COPY requirements.lock requirements-weights.lock requirements-notify.lock requirements-validate.lock /tmp/
RUN pip install --require-hashes --only-binary :all: --requirement /tmp/requirements.lock \
    --requirement /tmp/requirements-weights.lock --requirement /tmp/requirements-notify.lock \
    --requirement /tmp/requirements-validate.lock
COPY --from=program /wheels /tmp/wheels
RUN pip install --no-deps --no-index /tmp/wheels/*.whl && rm -rf /tmp/wheels /tmp/requirements*.lock
USER 10001:10001
