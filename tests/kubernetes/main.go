// Reads manifests from stdin and decodes each into the type that Kubernetes has for it: an unknown field, a wrong type
// or an unknown kind is an error. A ServiceMonitor is the Prometheus operator's and is only counted.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/yaml"
)

func main() {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{appsv1.AddToScheme, corev1.AddToScheme, policyv1.AddToScheme} {
		if err := add(scheme); err != nil {
			fail(err)
		}
	}
	decoder := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()
	documents := yaml.NewYAMLReader(bufio.NewReader(os.Stdin))
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			fail(err)
		}
		json, err := yaml.ToJSON(document)
		if err != nil {
			fail(fmt.Errorf("%w in\n%s", err, document))
		}
		if string(json) == "null" {
			continue
		}
		var named metav1.TypeMeta
		if err := utiljson.Unmarshal(json, &named); err != nil {
			fail(fmt.Errorf("%w in\n%s", err, document))
		}
		if named.Kind == "ServiceMonitor" {
			fmt.Println(named.Kind)
			continue
		}
		object, _, err := decoder.Decode(json, nil, nil)
		if err != nil {
			fail(fmt.Errorf("%w in\n%s", err, document))
		}
		fmt.Println(object.GetObjectKind().GroupVersionKind().Kind)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
