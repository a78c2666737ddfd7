# syntax=docker/dockerfile:1

# Built with the toolchain that CI uses, on the Debian release that it runs on: the same glibc.
FROM rust:1.95.0-slim-bookworm AS build
# aws-lc-rs compiles C.
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY . .
RUN cargo build --release --locked -p payvault --bin payvault \
    && install -D -m 0755 target/release/payvault /out/usr/local/bin/payvault \
    && install -D -m 0644 LICENSE /out/usr/share/doc/payvault/LICENSE \
    # Empty directories with the right owner: a new named volume takes it over.
    && install -d -m 0700 -o 10001 -g 10001 /out/data /out/keys

FROM debian:bookworm-slim
# No shell account, no package beside glibc: whoever breaks in finds little.
RUN groupadd --system --gid 10001 payvault \
    && useradd --system --uid 10001 --gid 10001 --home-dir /nonexistent --no-create-home \
       --shell /usr/sbin/nologin payvault
COPY --from=build /out/ /

USER 10001:10001
# /data: the store and the high-water mark. /keys: seal and keyring. Two volumes, since a data
# backup must never hold the keyring. Nothing else is written: run with --read-only.
VOLUME ["/data", "/keys"]
ENV PAYVAULT_DATA_DIR=/data \
    PAYVAULT_KEYS_DIR=/keys \
    PAYVAULT_LISTEN=0.0.0.0:7443 \
    PAYVAULT_HEALTH_LISTEN=127.0.0.1:7444
EXPOSE 7443
# SIGTERM drains: calls under way have 10 seconds.
STOPSIGNAL SIGTERM
# The health listener is on the container's own loopback: no certificate, no secret. A sealed vault
# is healthy but not ready; only a dead one should be restarted.
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
    CMD ["/usr/local/bin/payvault", "status", "--health"]
ENTRYPOINT ["/usr/local/bin/payvault"]
CMD ["serve"]
