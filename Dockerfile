# A search engine behind URLs (docs/serve.md). BM25, recorded pages and engines behind a URL; no torch, no GPU.
#
#   docker build -t zerosearch .
#   docker run -p 8000:8000 -e ZEROSEARCH_API_KEY=... -v "$PWD:/data:ro" -v zerosearch-cache:/cache zerosearch mine.toml
#
# EXTRAS=serve,dense or serve,train for engines that need them.
FROM python:3.12-slim
ARG EXTRAS=serve
RUN useradd --create-home zerosearch && install -d -o zerosearch /cache /data
COPY pyproject.toml README.md LICENSE /src/
COPY docs/package.md /src/docs/package.md
COPY src /src/src
RUN pip install --no-cache-dir "/src[${EXTRAS}]"
USER zerosearch
WORKDIR /data
ENV ZEROSEARCH_CACHE=/cache PYTHONUNBUFFERED=1
EXPOSE 8000
HEALTHCHECK --interval=10s --start-period=120s CMD \
  python -c "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/health', timeout=3)"
STOPSIGNAL SIGTERM
ENTRYPOINT ["zerosearch", "serve", "--set", "serve.host=0.0.0.0", "--port", "8000"]
CMD ["demo", "--judge"]
