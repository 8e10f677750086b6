# The daemon as an image: built in one stage, run in another, as nobody in particular, on a read-only root file system.
# .ci/image-steps runs the same steps where no image can be built.
FROM python:3.13-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY config ./config
COPY migrations ./migrations
COPY rollout ./rollout
RUN python -m venv /opt/rollout \
 && /opt/rollout/bin/pip install --no-cache-dir -c config/constraints.txt '.[postgresql]'

FROM python:3.13-slim
COPY --from=build /opt/rollout /opt/rollout
ENV PATH=/opt/rollout/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    ROLLOUT_HTTP__HOST=127.0.0.1 \
    ROLLOUT_DATABASE=sqlite:////var/lib/rollout/rollout.db
# State lives in a volume; nothing else is written, so the root file system may be read-only.
VOLUME /var/lib/rollout
USER 10001:10001
EXPOSE 8080
HEALTHCHECK --interval=15s --timeout=5s --start-period=20s --retries=3 \
  CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/healthz', timeout=4)"]
ENTRYPOINT ["rollout"]
CMD ["serve"]
