# syntax=docker/dockerfile:1
# Built in a full toolchain, shipped with nothing but the C library: no shell, no package manager, no root.

FROM rust:1-slim-bookworm AS build
WORKDIR /ringway
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/ringway/target \
    cargo build --release --locked --bin ringway \
    && cp target/release/ringway /usr/local/bin/ringway \
    && mkdir /var/lib/ringway

# the same Debian release as the build stage, for the same glibc
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /usr/local/bin/ringway /usr/local/bin/ringway
# a volume mounted here takes over this owner, so that topology_file can be written
COPY --from=build --chown=nonroot:nonroot /var/lib/ringway /var/lib/ringway
USER nonroot
EXPOSE 6380 9380
HEALTHCHECK --interval=5s --timeout=3s --start-period=2s --retries=3 \
    CMD ["/usr/local/bin/ringway", "health", "--admin", "127.0.0.1:9380"]
ENTRYPOINT ["/usr/local/bin/ringway"]
CMD ["serve", "--config", "/etc/ringway/ringway.yaml"]
