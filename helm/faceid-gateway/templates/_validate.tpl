{{/*
What the schema cannot say: what is missing, and what contradicts what. All faults are named at once.
*/}}
{{- define "faceid-gateway.validate" -}}
{{- $v := .Values }}
{{- $faults := list }}
{{- if $v.store.postgres.url }}
{{- if not (hasPrefix "s3://" $v.evidence.url) }}
{{- $faults = append $faults "store.postgres.url is set, and evidence.url names no bucket (s3://…): a pod on PostgreSQL has no volume, and all pods need the same evidence" }}
{{- end }}
{{- if gt (int $v.autoscaling.minReplicas) (int $v.autoscaling.maxReplicas) }}
{{- $faults = append $faults "autoscaling.minReplicas is more than maxReplicas" }}
{{- end }}
{{- else }}
{{- if gt (int $v.replicas) 1 }}
{{- $faults = append $faults (printf "replicas is %d, but SQLite has one writer: set replicas to 1, or store.postgres.url" (int $v.replicas)) }}
{{- end }}
{{- if $v.autoscaling.enabled }}
{{- $faults = append $faults "autoscaling.enabled is true, but SQLite has one writer: set it to false, or set store.postgres.url" }}
{{- end }}
{{- end }}
{{- if not $v.http.publicUrl }}
{{- $faults = append $faults "http.publicUrl is required: the address where browsers reach this gateway's /callback" }}
{{- end }}
{{- if not $v.vault.existingSecret.name }}
{{- $faults = append $faults "vault.existingSecret.name is required: the Secret that holds the vault's keys; without keys the gateway does not start" }}
{{- end }}
{{- range $section := list "credentials" "flows" "callers" }}
{{- $names := list }}
{{- range $entry := index $v $section }}
{{- if has $entry.name $names }}
{{- $faults = append $faults (printf "%s: the name %q is used twice" $section $entry.name) }}
{{- end }}
{{- $names = append $names $entry.name }}
{{- end }}
{{- if not $names }}
{{- $faults = append $faults (printf "%s is empty: at least one is required" $section) }}
{{- end }}
{{- end }}
{{- $credentials := list }}
{{- range $v.credentials }}{{ $credentials = append $credentials .name }}{{ end }}
{{- $flows := list }}
{{- range $flow := $v.flows }}
{{- $flows = append $flows $flow.name }}
{{- if not (has $flow.credential $credentials) }}
{{- $faults = append $faults (printf "flows: %q uses the credential %q, which is not among credentials" $flow.name $flow.credential) }}
{{- end }}
{{- end }}
{{- range $caller := $v.callers }}
{{- range $flow := $caller.flows }}
{{- if not (has $flow $flows) }}
{{- $faults = append $faults (printf "callers: %q may use the flow %q, which is not among flows" $caller.name $flow) }}
{{- end }}
{{- end }}
{{- end }}
{{- if has "jwt" $v.auth.modes }}
{{- if or (and (not $v.auth.jwt.jwksUrl) (not $v.auth.jwt.jwksConfigMap.name)) (not $v.auth.jwt.issuer) (not $v.auth.jwt.audience) }}
{{- $faults = append $faults "auth.jwt.jwksUrl (or jwksConfigMap), issuer and audience are required with the mode jwt" }}
{{- end }}
{{- if and $v.auth.jwt.jwksUrl $v.auth.jwt.jwksConfigMap.name }}
{{- $faults = append $faults "auth.jwt.jwksUrl and auth.jwt.jwksConfigMap are both set: take one of them out" }}
{{- end }}
{{- end }}
{{- if and (has "mtls" $v.auth.modes) (not $v.auth.trustedProxies) (or (not $v.grpc.tls.existingSecret) (not $v.grpc.tls.clientCa.name)) }}
{{- $faults = append $faults "the mode mtls needs grpc.tls.existingSecret and grpc.tls.clientCa.name, or auth.trustedProxies" }}
{{- end }}
{{- if and $v.grpc.tls.clientCa.name (not $v.grpc.tls.existingSecret) }}
{{- $faults = append $faults "grpc.tls.clientCa needs grpc.tls.existingSecret: clients show a certificate only to a server that has one" }}
{{- end }}
{{- range $caller := $v.callers }}
{{- $shows := or (and (has "tokens" $v.auth.modes) $caller.tokenSha256) (and (has "jwt" $v.auth.modes) $caller.jwtSubjects) (and (has "mtls" $v.auth.modes) $caller.identities) }}
{{- if not $shows }}
{{- $faults = append $faults (printf "callers: %q has no tokenSha256, jwtSubjects or identities of a mode in auth.modes" $caller.name) }}
{{- end }}
{{- end }}
{{- if le (int $v.termination.gracePeriodSeconds) (include "faceid-gateway.drainSeconds" . | int) }}
{{- $faults = append $faults "termination.gracePeriodSeconds must be longer than drain.delaySeconds and drain.timeoutSeconds together: the pod would be killed while it drains" }}
{{- end }}
{{- $ports := list (int $v.service.grpcPort) (int $v.service.httpPort) (int $v.service.adminPort) }}
{{- if lt (len ($ports | uniq)) 3 }}
{{- $faults = append $faults "service.grpcPort, httpPort and adminPort must differ" }}
{{- end }}
{{- range $v.extraEnv }}
{{- if and (hasPrefix "FACEID_GATEWAY__" .name) (hasKey . "value") }}
{{- $faults = append $faults (printf "extraEnv: %s is a setting: use the value of the chart, or valueFrom where it is a secret" .name) }}
{{- end }}
{{- end }}
{{- if and $v.ingress.enabled (ne (include "faceid-gateway.publicPath" .) "/callback") }}
{{- $faults = append $faults "ingress.enabled with a path in http.publicUrl: an Ingress cannot take the path away; use httpRoute, or a host of its own" }}
{{- end }}
{{- range $route := list "httpRoute" "grpcRoute" }}
{{- with index $v $route }}
{{- if and .enabled (not .parentRefs) }}
{{- $faults = append $faults (printf "%s.parentRefs is empty: name the Gateway" $route) }}
{{- end }}
{{- end }}
{{- end }}
{{- if and $v.serviceMonitor.enabled $v.podMonitor.enabled }}
{{- $faults = append $faults "serviceMonitor and podMonitor are both enabled: every sample would be there twice" }}
{{- end }}
{{- if and $v.istio.enabled $v.linkerd.enabled }}
{{- $faults = append $faults "istio and linkerd are both enabled: a pod is in one mesh" }}
{{- end }}
{{- if and $v.istio.enabled $v.grpc.tls.existingSecret }}
{{- $faults = append $faults "istio.enabled with grpc.tls.existingSecret: the mesh encrypts, and cannot see calls inside of other TLS; take one of them out" }}
{{- end }}
{{- if $faults }}
{{- fail (printf "\n  - %s\n" (join "\n  - " $faults)) }}
{{- end }}
{{- end }}
