{{- define "scanpush.name" -}}
{{- printf "%s" .Release.Name | trunc 53 | trimSuffix "-" -}}
{{- end -}}

{{- define "scanpush.selector" -}}
app.kubernetes.io/name: scanpush
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "scanpush.labels" -}}
{{ include "scanpush.selector" . }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | quote }}
{{- end -}}

{{- /* A pod is killed only after it has left: preStop, then the drain. */ -}}
{{- define "scanpush.grace" -}}
{{- $leaving := add (int .Values.preStopSeconds) (int (dig "server" "drain_seconds" 10 .Values.config)) -}}
{{- if .Values.terminationGracePeriodSeconds -}}
{{- if le (int .Values.terminationGracePeriodSeconds) (int $leaving) -}}
{{- fail (printf "terminationGracePeriodSeconds must be above preStopSeconds + config.server.drain_seconds, which is %d" $leaving) -}}
{{- end -}}
{{- int .Values.terminationGracePeriodSeconds -}}
{{- else -}}
{{- add $leaving 10 -}}
{{- end -}}
{{- end -}}
