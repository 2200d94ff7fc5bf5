{{- define "faceid-gateway.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "faceid-gateway.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{- define "faceid-gateway.selectorLabels" -}}
app.kubernetes.io/name: {{ include "faceid-gateway.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Of the pod of `helm test`, which no selector may find. */}}
{{- define "faceid-gateway.testLabels" -}}
app.kubernetes.io/name: {{ include "faceid-gateway.name" . }}-test
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* The chart's own win over commonLabels: the selectors rely on them. */}}
{{- define "faceid-gateway.labels" -}}
{{- $own := fromYaml (include "faceid-gateway.selectorLabels" .) }}
{{- $chart := printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- $own = merge $own (dict "helm.sh/chart" $chart "app.kubernetes.io/version" .Chart.AppVersion "app.kubernetes.io/managed-by" .Release.Service) }}
{{- toYaml (merge $own .Values.commonLabels) }}
{{- end }}

{{- define "faceid-gateway.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "faceid-gateway.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "faceid-gateway.image" -}}
{{- $image := printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) }}
{{- with .Values.image.digest }}{{ $image = printf "%s@%s" $image . }}{{ end }}
{{- $image }}
{{- end }}

{{/* How long a pod may take from SIGTERM to its exit, in seconds. */}}
{{- define "faceid-gateway.drainSeconds" -}}
{{- add (int .Values.drain.delaySeconds) (int .Values.drain.timeoutSeconds) }}
{{- end }}

{{/* The host of http.publicUrl, without a port. */}}
{{- define "faceid-gateway.publicHost" -}}
{{- (urlParse .Values.http.publicUrl).host | regexFind "^[^:]*" }}
{{- end }}

{{/* The path at which browsers come back, as they see it. */}}
{{- define "faceid-gateway.publicPath" -}}
{{- printf "%s/callback" ((urlParse .Values.http.publicUrl).path | trimSuffix "/") }}
{{- end }}
