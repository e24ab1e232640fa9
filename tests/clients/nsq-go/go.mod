module nsq-go-scenarios

go 1.22

require github.com/segmentio/nsq-go v1.2.4

require github.com/pkg/errors v0.8.0 // indirect
