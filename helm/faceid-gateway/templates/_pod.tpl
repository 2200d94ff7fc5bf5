{{/* The pod. As the values come, it satisfies the Pod Security Standard "restricted". */}}
{{- define "faceid-gateway.pod" -}}
{{- $annotations := dict }}
{{- /* New settings or webhooks, new pods. Callers are read again by those that run. */}}
{{- $webhooks := list }}
{{- range .Values.callers }}{{ $webhooks = append $webhooks (list .name .webhook) }}{{ end }}
{{- $_ := set $annotations "checksum/config" (printf "%s%s" (include "faceid-gateway.settings.toml" .) (toRawJson $webhooks) | sha256sum) }}
{{- $labels := fromYaml (include "faceid-gateway.labels" .) }}
{{- if .Values.istio.enabled }}
{{- $_ := set $labels "sidecar.istio.io/inject" "true" }}
{{- /* A sidecar that ended first, after its default of 5 s, would cut the calls that drain. */}}
{{- $_ := set $annotations "proxy.istio.io/config" (printf "holdApplicationUntilProxyStarts: true\nterminationDrainDuration: %ss\n" (include "faceid-gateway.drainSeconds" .)) }}
{{- end }}
{{- if .Values.linkerd.enabled }}
{{- $_ := set $annotations "linkerd.io/inject" "enabled" }}
{{- /* As a native sidecar the proxy ends after the gateway. */}}
{{- $_ := set $annotations "config.beta.linkerd.io/proxy-enable-native-sidecar" "true" }}
{{- end -}}
metadata:
  annotations:
    {{- toYaml (merge (deepCopy .Values.podAnnotations) $annotations) | nindent 4 }}
  labels:
    {{- toYaml (merge $labels .Values.podLabels) | nindent 4 }}
spec:
  serviceAccountName: {{ include "faceid-gateway.serviceAccountName" . }}
  automountServiceAccountToken: false
  # A release named faceid-gateway would otherwise put FACEID_GATEWAY_… of its own Service into the environment.
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ .Values.termination.gracePeriodSeconds }}
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  securityContext:
    {{- toYaml .Values.podSecurityContext | nindent 4 }}
  {{- with .Values.initContainers }}
  initContainers:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: faceid-gateway
      image: {{ include "faceid-gateway.image" . | quote }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args: ["serve", "--config", "/etc/faceid-gateway/gateway.toml"]
      {{- if or .Values.evidence.awsSecret .Values.extraEnvFrom }}
      envFrom:
        {{- with .Values.evidence.awsSecret }}
        - secretRef:
            name: {{ . }}
        {{- end }}
        {{- with .Values.extraEnvFrom }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- end }}
      {{- with .Values.extraEnv }}
      env:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      ports:
        - name: grpc
          containerPort: 50051
        - name: http
          containerPort: 8080
        - name: admin
          containerPort: 9464
      # By the admin port, which has connections of its own: callers and browsers cannot keep a probe out. It answers once the
      # database is migrated.
      startupProbe:
        httpGet:
          path: /livez
          port: admin
        {{- toYaml .Values.probes.startup | nindent 8 }}
      livenessProbe:
        httpGet:
          path: /livez
          port: admin
        {{- toYaml .Values.probes.liveness | nindent 8 }}
      readinessProbe:
        httpGet:
          path: /readyz
          port: admin
        {{- toYaml .Values.probes.readiness | nindent 8 }}
      {{- with .Values.resources }}
      resources:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      securityContext:
        {{- toYaml .Values.securityContext | nindent 8 }}
      volumeMounts:
        - name: config
          mountPath: /etc/faceid-gateway
          readOnly: true
        - name: secrets
          mountPath: /var/run/secrets/faceid-gateway
          readOnly: true
        - name: tmp
          mountPath: /tmp
        {{- if not .Values.store.postgres.url }}
        - name: data
          mountPath: /var/lib/faceid-gateway
        {{- end }}
        {{- with .Values.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    {{- with .Values.sidecars }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  volumes:
    - name: config
      configMap:
        name: {{ include "faceid-gateway.fullname" . }}
    # The vault's keys and every credential as files, gathered from their Secrets.
    - name: secrets
      projected:
        defaultMode: 0440
        sources:
          - secret:
              name: {{ .Values.vault.existingSecret.name }}
              items:
                - key: {{ .Values.vault.existingSecret.key }}
                  path: vault.keys
          {{- range .Values.credentials }}
          {{- if .existingSecret }}
          - secret:
              name: {{ .existingSecret }}
              items:
                - key: {{ default "secret_id" .secretIdKey }}
                  path: credentials/{{ .name }}/secret_id
                - key: {{ default "secret_key" .secretKeyKey }}
                  path: credentials/{{ .name }}/secret_key
          {{- end }}
          {{- end }}
          {{- range .Values.callers }}
          {{- if .webhook }}
          - secret:
              name: {{ .webhook.existingSecret }}
              items:
                - key: {{ default "secrets" .webhook.secretsKey }}
                  path: webhooks/{{ .name }}
          {{- end }}
          {{- end }}
          {{- with .Values.store.postgres }}
          {{- if and .url .passwordSecret.name }}
          - secret:
              name: {{ .passwordSecret.name }}
              items:
                - key: {{ .passwordSecret.key }}
                  path: postgres/password
          {{- end }}
          {{- if and .url .caConfigMap.name }}
          - configMap:
              name: {{ .caConfigMap.name }}
              items:
                - key: {{ .caConfigMap.key }}
                  path: postgres/ca.crt
          {{- end }}
          {{- if and .url .certificateSecret }}
          - secret:
              name: {{ .certificateSecret }}
              items:
                - key: tls.crt
                  path: postgres/tls.crt
                - key: tls.key
                  path: postgres/tls.key
          {{- end }}
          {{- end }}
          {{- with .Values.tencent.proxySecret }}
          {{- if .name }}
          - secret:
              name: {{ .name }}
              items:
                - key: {{ .key }}
                  path: tencent/proxy
          {{- end }}
          {{- end }}
          {{- with .Values.tencent.caConfigMap }}
          {{- if .name }}
          - configMap:
              name: {{ .name }}
              items:
                - key: {{ .key }}
                  path: tencent/ca.crt
          {{- end }}
          {{- end }}
          {{- if has "jwt" .Values.auth.modes }}
          {{- with .Values.auth.jwt.jwksConfigMap }}
          {{- if .name }}
          - configMap:
              name: {{ .name }}
              items:
                - key: {{ .key }}
                  path: jwt/jwks.json
          {{- end }}
          {{- end }}
          {{- end }}
          {{- with .Values.grpc.tls }}
          {{- if .existingSecret }}
          - secret:
              name: {{ .existingSecret }}
              items:
                - key: tls.crt
                  path: tls/tls.crt
                - key: tls.key
                  path: tls/tls.key
          {{- if .clientCa.name }}
          - secret:
              name: {{ .clientCa.name }}
              items:
                - key: {{ .clientCa.key }}
                  path: tls/ca.crt
          {{- end }}
          {{- end }}
          {{- end }}
    - name: tmp
      emptyDir:
        sizeLimit: 64Mi
    {{- with .Values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
