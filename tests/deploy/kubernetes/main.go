// Reads Kubernetes manifests from standard input and decodes each strictly into the type that the
// Kubernetes API itself is made of: an unknown field, a field given twice or a wrong type is an
// error. It knows the types of k8s.io/api; others (ServiceMonitor) it names and skips.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"
)

func main() {
	decoder := serializer.NewCodecFactory(scheme.Scheme, serializer.EnableStrict).UniversalDeserializer()
	documents := yaml.NewDocumentDecoder(os.Stdin)
	buffer := make([]byte, 1<<20)
	failed := false
	for {
		read, err := documents.Read(buffer)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
		_, kind, err := decoder.Decode(buffer[:read], nil, nil)
		switch {
		case runtime.IsNotRegisteredError(err):
			fmt.Println("unknown", err)
		case err != nil:
			fmt.Fprintln(os.Stderr, err)
			failed = true
		default:
			fmt.Println("valid", kind.Kind)
		}
	}
	if failed {
		os.Exit(1)
	}
}
