{{/*
The gateway's configuration file. A TOML string is a JSON string, so toRawJson writes them (and lists of them).
*/}}
{{- define "faceid-gateway.toml" -}}
[grpc]
listen = "0.0.0.0:50051"

[http]
listen = "0.0.0.0:8080"
public_url = {{ toRawJson .Values.http.publicUrl }}

[store]
{{- if include "faceid-gateway.onSqlite" . }}
url = "sqlite:/var/lib/faceid-gateway/gateway.db"
{{- else }}
# url comes as FACEID_GATEWAY__STORE__URL, from a Secret.
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
timeout_ms = {{ int .Values.tencent.timeoutMs }}
max_in_flight = {{ int .Values.tencent.maxInFlight }}
requests_per_second = {{ int .Values.tencent.requestsPerSecond }}

[reconcile]
poll_after_minutes = {{ toRawJson .Values.reconcile.pollAfterMinutes }}
concurrency = {{ int .Values.reconcile.concurrency }}

[auth]
mode = "tokens"

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
secret_id_file = {{ printf "/var/run/secrets/faceid-gateway/credentials/%s/secret_id" .name | toRawJson }}
secret_key_file = {{ printf "/var/run/secrets/faceid-gateway/credentials/%s/secret_key" .name | toRawJson }}
{{- end }}
{{- range .Values.flows }}

[[flows]]
name = {{ toRawJson .name }}
rule_id = {{ toRawJson .ruleId }}
credential = {{ toRawJson .credential }}
access_mode = {{ toRawJson .accessMode }}
comparison = {{ toRawJson .comparison }}
requires = {{ toRawJson (default list .requires) }}
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
{{- end }}
{{- range .Values.callers }}
{{- $caller := .name }}

[[callers]]
name = {{ toRawJson .name }}
token_sha256 = {{ toRawJson .tokenSha256 }}
flows = {{ toRawJson .flows }}
rights = {{ toRawJson (default list .rights) }}
{{- with .webhook }}
webhook_url = {{ toRawJson .url }}
webhook_allow_private = {{ default false .allowPrivate }}
webhook_secrets_file = {{ printf "/var/run/secrets/faceid-gateway/webhooks/%s" $caller | toRawJson }}
{{- end }}
{{- end }}
{{- end }}
