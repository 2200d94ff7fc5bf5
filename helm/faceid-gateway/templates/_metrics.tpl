{{/*
By how much a counter rose in a window. A counter whose series is born with its first event has no increase() for that event, so the
whole of a series that was not there at the window's beginning counts. Arguments: the selector, the window.
*/}}
{{- define "faceid-gateway.rise" -}}
{{- $selector := index . 0 }}{{ $window := index . 1 -}}
({{ $selector }} unless {{ $selector }} offset {{ $window }}) or increase({{ $selector }}[{{ $window }}])
{{- end }}
