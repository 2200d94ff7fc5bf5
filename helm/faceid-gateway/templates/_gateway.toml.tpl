{{/*
The gateway's configuration file. A TOML string is a JSON string, so toRawJson writes them (and lists of them).
*/}}
{{- define "faceid-gateway.toml" -}}
{{ include "faceid-gateway.settings.toml" . }}
{{- include "faceid-gateway.callers.toml" . }}
{{- end }}

{{/* What needs new pods when it changes. */}}
{{- define "faceid-gateway.settings.toml" -}}
[grpc]
listen = "0.0.0.0:50051"
max_connections = {{ int .Values.grpc.maxConnections }}
max_connections_per_peer = {{ int .Values.grpc.maxConnectionsPerPeer }}
max_streams_per_connection = {{ int .Values.grpc.maxStreamsPerConnection }}
max_connection_age_s = {{ int .Values.grpc.maxConnectionAgeSeconds }}
{{- with .Values.grpc.tls }}
{{- if .existingSecret }}

[grpc.tls]
cert_file = "/var/run/secrets/faceid-gateway/tls/tls.crt"
key_file = "/var/run/secrets/faceid-gateway/tls/tls.key"
{{- if .clientCa.name }}
client_ca_file = "/var/run/secrets/faceid-gateway/tls/ca.crt"
client_cert = {{ toRawJson .clientCert }}
{{- end }}
{{- end }}
{{- end }}

[http]
listen = "0.0.0.0:8080"
public_url = {{ toRawJson .Values.http.publicUrl }}
max_connections = {{ int .Values.http.maxConnections }}
max_connections_per_peer = {{ int .Values.http.maxConnectionsPerPeer }}

[admin]
listen = "0.0.0.0:9464"

[limits]
calls_per_caller = {{ int .Values.limits.callsPerCaller }}
streams_per_caller = {{ int .Values.limits.streamsPerCaller }}
waits_per_caller = {{ int .Values.limits.waitsPerCaller }}
message_mib = {{ int .Values.limits.messageMib }}

[store]
{{- with .Values.store.postgres }}
{{- if .url }}
url = {{ toRawJson .url }}
max_connections = {{ int .maxConnections }}
{{- if .passwordSecret.name }}
password_file = "/var/run/secrets/faceid-gateway/postgres/password"
{{- end }}
{{- if .caConfigMap.name }}
ca_file = "/var/run/secrets/faceid-gateway/postgres/ca.crt"
{{- end }}
{{- if .certificateSecret }}
certificate_file = "/var/run/secrets/faceid-gateway/postgres/tls.crt"
key_file = "/var/run/secrets/faceid-gateway/postgres/tls.key"
{{- end }}
{{- else }}
url = "sqlite:/var/lib/faceid-gateway/gateway.db"
{{- end }}
{{- end }}

[evidence]
{{- if .Values.evidence.url }}
url = {{ toRawJson .Values.evidence.url }}
{{- else }}
url = "file:/var/lib/faceid-gateway/evidence"
{{- end }}

[vault]
keys_file = "/var/run/secrets/faceid-gateway/vault.keys"

[tencent]
endpoint = {{ toRawJson .Values.tencent.endpoint }}
backup_endpoints = {{ toRawJson .Values.tencent.backupEndpoints }}
{{- with .Values.tencent.host }}
host = {{ toRawJson . }}
{{- end }}
service = {{ toRawJson .Values.tencent.service }}
{{- if .Values.tencent.proxySecret.name }}
proxy_file = "/var/run/secrets/faceid-gateway/tencent/proxy"
{{- end }}
{{- if .Values.tencent.caConfigMap.name }}
ca_file = "/var/run/secrets/faceid-gateway/tencent/ca.crt"
{{- end }}
connect_timeout_ms = {{ int .Values.tencent.connectTimeoutMs }}
first_byte_timeout_ms = {{ int .Values.tencent.firstByteTimeoutMs }}
timeout_ms = {{ int .Values.tencent.timeoutMs }}
max_in_flight = {{ int .Values.tencent.maxInFlight }}
sts_endpoint = {{ toRawJson .Values.tencent.stsEndpoint }}
metadata_endpoint = {{ toRawJson .Values.tencent.metadataEndpoint }}

[tencent.quotas]
detect_auth = {{ int .Values.tencent.quotas.detectAuth }}
get_detect_info_enhanced = {{ int .Values.tencent.quotas.getDetectInfoEnhanced }}
get_wechat_bill_details = {{ int .Values.tencent.quotas.getWechatBillDetails }}

[reconcile]
poll_after_minutes = {{ toRawJson .Values.reconcile.pollAfterMinutes }}
concurrency = {{ int .Values.reconcile.concurrency }}

[auth]
mode = {{ toRawJson .Values.auth.modes }}
open = {{ toRawJson .Values.auth.open }}
{{- if has "jwt" .Values.auth.modes }}

[auth.jwt]
{{- if .Values.auth.jwt.jwksConfigMap.name }}
jwks_file = "/var/run/secrets/faceid-gateway/jwt/jwks.json"
{{- else }}
jwks_url = {{ toRawJson .Values.auth.jwt.jwksUrl }}
{{- end }}
issuer = {{ toRawJson .Values.auth.jwt.issuer }}
audience = {{ toRawJson .Values.auth.jwt.audience }}
leeway_s = {{ int .Values.auth.jwt.leewaySeconds }}
refresh_s = {{ int .Values.auth.jwt.refreshSeconds }}
{{- end }}
{{- if has "mtls" .Values.auth.modes }}

[auth.mtls]
trusted_proxies = {{ toRawJson .Values.auth.trustedProxies }}
{{- end }}

[id_card_limits]
per_minute = {{ int .Values.idCardLimits.perMinute }}
per_day = {{ int .Values.idCardLimits.perDay }}

[drain]
delay_s = {{ int .Values.drain.delaySeconds }}
timeout_s = {{ int .Values.drain.timeoutSeconds }}

[process]
allow_core_dumps = {{ .Values.process.allowCoreDumps }}

[log]
level = {{ toRawJson .Values.log.level }}
format = {{ toRawJson .Values.log.format }}
{{- with .Values.telemetry.otlpEndpoint }}

[telemetry]
otlp_endpoint = {{ toRawJson . }}
{{- end }}
{{- range .Values.credentials }}

[[credentials]]
name = {{ toRawJson .name }}
{{- with .source }}
source = {{ toRawJson .kind }}
{{- range $key, $value := dict "role_arn" .roleArn "based_on" .basedOn "role" .role "session_name" .sessionName }}
{{- if $value }}
{{ $key }} = {{ toRawJson $value }}
{{- end }}
{{- end }}
{{- with .durationS }}
duration_s = {{ int . }}
{{- end }}
{{- else }}
secret_id_file = {{ printf "/var/run/secrets/faceid-gateway/credentials/%s/secret_id" .name | toRawJson }}
secret_key_file = {{ printf "/var/run/secrets/faceid-gateway/credentials/%s/secret_key" .name | toRawJson }}
{{- end }}
{{- end }}
{{- range .Values.flows }}

[[flows]]
name = {{ toRawJson .name }}
{{- with .displayName }}
display_name = {{ toRawJson . }}
{{- end }}
rule_id = {{ toRawJson .ruleId }}
credential = {{ toRawJson .credential }}
access_mode = {{ toRawJson .accessMode }}
comparison = {{ toRawJson .comparison }}
requires = {{ toRawJson (default list .requires) }}
{{- with .intention }}
intention = {{ toRawJson . }}
{{- end }}
redirect_allow = {{ toRawJson .redirectAllow }}
{{- with .evidence }}
evidence = {{ toRawJson . }}
{{- end }}
{{- with .evidenceRetentionDays }}
evidence_retention_days = {{ int . }}
{{- end }}
{{- with .resultRetentionDays }}
result_retention_days = {{ int . }}
{{- end }}
{{- with .encryption }}

[flows.encryption]
algorithm = {{ toRawJson .algorithm }}
public_key = {{ toRawJson .publicKey }}
whole_response = {{ default false .wholeResponse }}
{{- end }}
{{- end }}
{{- end }}

{{/* What the gateway reads again by itself, but for the webhooks. */}}
{{- define "faceid-gateway.callers.toml" -}}
{{- range .Values.callers }}
{{- $caller := .name }}

[[callers]]
name = {{ toRawJson .name }}
token_sha256 = {{ toRawJson (default list .tokenSha256) }}
jwt_subject = {{ toRawJson (default list .jwtSubjects) }}
identities = {{ toRawJson (default list .identities) }}
requests_per_minute = {{ int .requestsPerMinute }}
creates_per_minute = {{ int .createsPerMinute }}
flows = {{ toRawJson .flows }}
rights = {{ toRawJson (default list .rights) }}
{{- with .webhook }}
webhook_url = {{ toRawJson .url }}
webhook_allow_private = {{ default false .allowPrivate }}
webhook_secrets_file = {{ printf "/var/run/secrets/faceid-gateway/webhooks/%s" $caller | toRawJson }}
{{- end }}
{{- end }}
{{- end }}
