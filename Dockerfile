# The gateway and CA certificates, for a user without rights. See README.md for how to run it.
FROM rust:1.95.0-bookworm AS build
WORKDIR /build
COPY . .
RUN cargo build --locked --release

FROM debian:bookworm-slim
# The newest CA certificates are the right ones.
# hadolint ignore=DL3008
RUN apt-get update && \
    apt-get install --yes --no-install-recommends ca-certificates && \
    rm -rf /var/lib/apt/lists/* && \
    install -d -o 65532 -g 65532 -m 700 /var/lib/faceid-gateway
COPY --from=build /build/target/release/faceid-gateway /usr/local/bin/faceid-gateway
USER 65532:65532
WORKDIR /var/lib/faceid-gateway
EXPOSE 50051 8080
ENTRYPOINT ["/usr/local/bin/faceid-gateway"]
CMD ["serve", "--config", "/etc/faceid-gateway/gateway.toml"]
