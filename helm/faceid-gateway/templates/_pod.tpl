{{/* The pod, the same for both workloads. It satisfies the Pod Security Standard "restricted". */}}
{{- define "faceid-gateway.pod" -}}
metadata:
  annotations:
    # New settings or webhooks, new pods. Callers are read again by those that run.
    {{- $webhooks := list }}
    {{- range .Values.callers }}{{ $webhooks = append $webhooks (list .name .webhook) }}{{ end }}
    checksum/config: {{ printf "%s%s" (include "faceid-gateway.settings.toml" .) (toRawJson $webhooks) | sha256sum }}
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  labels:
    {{- include "faceid-gateway.labels" . | nindent 4 }}
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
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
  securityContext:
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    fsGroup: 65532
    fsGroupChangePolicy: OnRootMismatch
    seccompProfile:
      type: RuntimeDefault
  containers:
    - name: faceid-gateway
      image: {{ include "faceid-gateway.image" . | quote }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args: ["serve", "--config", "/etc/faceid-gateway/gateway.toml"]
      {{- with .Values.evidence.awsSecret }}
      envFrom:
        - secretRef:
            name: {{ . }}
      {{- end }}
      {{- if not (include "faceid-gateway.onSqlite" .) }}
      env:
        - name: FACEID_GATEWAY__STORE__URL
          valueFrom:
            secretKeyRef:
              name: {{ .Values.store.urlSecret.name }}
              key: {{ .Values.store.urlSecret.key }}
      {{- end }}
      ports:
        - name: grpc
          containerPort: 50051
        - name: http
          containerPort: 8080
        - name: admin
          containerPort: 9464
      # By the admin port, which has connections of its own: callers and browsers cannot keep a probe out. It answers once the
      # database is migrated; up to 60 seconds for that.
      startupProbe:
        httpGet:
          path: /livez
          port: admin
        periodSeconds: 1
        failureThreshold: 60
      livenessProbe:
        httpGet:
          path: /livez
          port: admin
        periodSeconds: 10
        timeoutSeconds: 3
        failureThreshold: 6
      readinessProbe:
        httpGet:
          path: /readyz
          port: admin
        periodSeconds: 5
        timeoutSeconds: 2
        failureThreshold: 2
      {{- with .Values.resources }}
      resources:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities:
          drop: ["ALL"]
      volumeMounts:
        - name: config
          mountPath: /etc/faceid-gateway
          readOnly: true
        - name: secrets
          mountPath: /var/run/secrets/faceid-gateway
          readOnly: true
        - name: tmp
          mountPath: /tmp
        {{- if include "faceid-gateway.onSqlite" . }}
        - name: data
          mountPath: /var/lib/faceid-gateway
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
