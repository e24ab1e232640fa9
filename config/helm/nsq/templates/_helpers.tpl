{{- define "nsq.labels" -}}
app.kubernetes.io/name: nsq
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "nsq.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "nsq.nodes" -}}
{{ if .Values.cluster.enabled }}{{ .Values.cluster.nodes }}{{ else }}{{ .Values.nsqd.replicas }}{{ end }}
{{- end }}

{{- define "nsq.clusterSecret" -}}
{{ .Values.cluster.existingSecret | default (printf "%s-cluster" .Release.Name) }}
{{- end }}

{{/* Security that every container has: no root, no writes but to volumes. */}}
{{- define "nsq.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- define "nsq.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile: {type: RuntimeDefault}
{{- end }}
