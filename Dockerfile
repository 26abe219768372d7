# The image contains the binary and no shell. Mount a config at /etc/evenkeel/config.yaml.
# Both base images are build arguments, so that they can come from another registry.
ARG RUST_IMAGE=rust:1.95-slim-bookworm
ARG RUNTIME_IMAGE=gcr.io/distroless/cc-debian12:nonroot

FROM ${RUST_IMAGE} AS build
WORKDIR /build

# Builds the dependencies with an empty crate, in a layer that stays cached until Cargo.lock or a crate below changes.
# Cargo needs the manifests of all workspace members.
COPY Cargo.toml Cargo.lock ./
COPY chaos chaos
COPY crates crates
COPY sim sim
RUN mkdir src \
    && echo '//! Empty.' > src/lib.rs \
    && echo 'fn main() {}' > src/main.rs \
    && cargo build --release --locked --package evenkeel \
    && rm -r src

# Cargo compares modification times, and checked-out files may be older than those of the empty crate.
COPY src src
RUN touch src/lib.rs src/main.rs && cargo build --release --locked --package evenkeel

FROM ${RUNTIME_IMAGE}
LABEL org.opencontainers.image.title="Evenkeel" \
      org.opencontainers.image.description="An HTTP load balancer" \
      org.opencontainers.image.licenses="MIT"
COPY --from=build /build/target/release/evenkeel /usr/local/bin/evenkeel

# Any unprivileged user works: ports from 1024 need no privilege, and nothing is written to disk.
USER 65532:65532
EXPOSE 8080

# On SIGTERM it stops accepting, finishes running requests for at most `timeouts.drain` (30s) and exits. Set a longer stop timeout.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s --retries=3 CMD ["/usr/local/bin/evenkeel", "healthcheck"]

ENTRYPOINT ["/usr/local/bin/evenkeel"]
CMD ["run"]
