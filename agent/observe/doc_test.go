package observe_test

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"nmosauthd/agent/observe"
)

// OBSERVE.md has every member of the report.
func TestDocumented(t *testing.T) {
	text, err := os.ReadFile("OBSERVE.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []any{observe.Report{}, observe.Controller{}, observe.Mend{}, observe.Access{}} {
		for i := range reflect.TypeOf(v).NumField() {
			name, _, _ := strings.Cut(reflect.TypeOf(v).Field(i).Tag.Get("json"), ",")
			if name == "" || !strings.Contains(string(text), "`"+name+"`") {
				t.Errorf("%T has %q, of which OBSERVE.md does not know", v, name)
			}
		}
	}
}
