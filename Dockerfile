# docker build -t b2t . && docker run --rm -v "$PWD/runs:/b2t/runs" b2t quickstart --layers 6-6 --updates 300
FROM python:3.11-slim
RUN apt-get update && apt-get install -y --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
WORKDIR /b2t
RUN pip install --no-cache-dir torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu
COPY . .
RUN pip install --no-cache-dir -e ".[ve,plots]"
ENTRYPOINT ["b2t-fairseq"]
CMD ["--help"]
