# The gateway, the libraries that it is linked with, and CA certificates; no shell, no rights. See README.md for how to run it.
# `docker buildx build --sbom=true` attaches a bill of materials, with the crates that the build stage was made of.
FROM rust:1.95.0-bookworm AS build
ARG BUILDKIT_SBOM_SCAN_STAGE=true
# GetServerInfo tells it: --build-arg FACEID_GATEWAY_COMMIT="$(git rev-parse HEAD)"
ARG FACEID_GATEWAY_COMMIT=
WORKDIR /build
COPY . .
RUN cargo build --locked --release && \
    scripts/bare-root target/release/faceid-gateway /bare

FROM scratch
LABEL org.opencontainers.image.title="faceid-gateway" \
      org.opencontainers.image.description="The gateway between a company's services and Tencent Cloud FaceID" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /bare /
COPY --from=build --chown=65532:65532 /bare/var/lib/faceid-gateway /var/lib/faceid-gateway
USER 65532:65532
WORKDIR /var/lib/faceid-gateway
EXPOSE 50051 8080 9464
ENTRYPOINT ["/usr/local/bin/faceid-gateway"]
CMD ["serve", "--config", "/etc/faceid-gateway/gateway.toml"]
