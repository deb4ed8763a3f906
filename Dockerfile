# The command conemos, with the packages of requirements/, each held against its hash.
#     docker build -t conemos .                               PyTorch for CPUs
#     docker build -t conemos:cuda --build-arg TORCH=cuda .   PyTorch with CUDA, some GB more
#     docker run --rm -u "$(id -u):$(id -g)" -v "$PWD:/data" conemos predict scan.nii.gz -r anterior -o masks
# Training, on a GPU: docker run --gpus all --shm-size 2g …
FROM python:3.11-slim-bookworm AS build
ARG TORCH=cpu
WORKDIR /source
COPY . .
RUN case "$TORCH" in \
        cpu) export PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu ;; \
        cuda) ;; \
        *) echo "TORCH=$TORCH: use cpu or cuda" >&2; exit 2 ;; \
    esac \
    && export PIP_NO_CACHE_DIR=1 \
    && python -m venv /opt/conemos \
    && bash requirements/install.sh /opt/conemos runtime .

FROM python:3.11-slim-bookworm
COPY --from=build /opt/conemos /opt/conemos
# whoever it runs as (docker run -u) has no home: what Matplotlib keeps goes to /tmp
ENV PATH=/opt/conemos/bin:$PATH PYTHONUNBUFFERED=1 MPLCONFIGDIR=/tmp
RUN useradd --create-home --uid 1000 conemos && install --directory --owner conemos /data
USER conemos
WORKDIR /data
ENTRYPOINT ["conemos"]
CMD ["--help"]
