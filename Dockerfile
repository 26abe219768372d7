# The image: the binary and nothing else, not even a shell. Mount a config at /etc/evenkeel/config.yaml.
# Both base images are arguments, for registries of one's own.
ARG RUST_IMAGE=rust:1.95-slim-bookworm
ARG RUNTIME_IMAGE=gcr.io/distroless/cc-debian12:nonroot

FROM ${RUST_IMAGE} AS build
WORKDIR /build

# The dependencies in a layer of their own, which stays until Cargo.lock changes: they are built for an empty crate.
COPY Cargo.toml Cargo.lock ./
RUN mkdir src \
    && echo '//! Empty.' > src/lib.rs \
    && echo 'fn main() {}' > src/main.rs \
    && cargo build --release --locked \
    && rm -r src

# Cargo compares times, and those of a checkout may be older than the empty crate's.
COPY src src
RUN touch src/lib.rs src/main.rs && cargo build --release --locked

FROM ${RUNTIME_IMAGE}
LABEL org.opencontainers.image.title="Evenkeel" \
      org.opencontainers.image.description="An HTTP load balancer" \
      org.opencontainers.image.licenses="MIT"
COPY --from=build /build/target/release/evenkeel /usr/local/bin/evenkeel

# Any user will do: ports from 1024 up need no right, and nothing is written to disk.
USER 65532:65532
EXPOSE 8080

# Stops accepting, finishes what is running for at most `timeouts.drain` (30s), exits. Give it longer than that to stop.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s --retries=3 CMD ["/usr/local/bin/evenkeel", "healthcheck"]

ENTRYPOINT ["/usr/local/bin/evenkeel"]
CMD ["run"]
