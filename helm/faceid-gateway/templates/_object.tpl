{{/* The metadata of an object. Arguments: the root, what is added to the release's name, its annotations, labels of its own. */}}
{{- define "faceid-gateway.metadata" -}}
{{- $root := index . 0 -}}
name: {{ include "faceid-gateway.fullname" $root }}{{ index . 1 }}
namespace: {{ $root.Release.Namespace }}
labels:
  {{- toYaml (merge (fromYaml (include "faceid-gateway.labels" $root)) (index . 3)) | nindent 2 }}
{{- with index . 2 }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
