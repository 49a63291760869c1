package status_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// values are those that members have, beside the members' names in STATUS.md.
const values = `local enforce observe off synchronised unsynchronised unset configured discovered learned file pushed device
off starting unregistered refused unsaved registered unreadable broken forgotten
misconfigured expired held disabled`

var quoted = regexp.MustCompile("`([^`]*)`")

// STATUS.md names every member and every metric with its labels, and none that there is not.
func TestDocument(t *testing.T) {
	text, err := os.ReadFile("STATUS.md")
	if err != nil {
		t.Fatal(err)
	}
	about, metrics, ok := strings.Cut(string(text), "\n## Metrics\n")
	if !ok {
		t.Fatal("no part about metrics")
	}
	for _, name := range strings.Fields(stable) {
		member, deep := name, ""
		if at := strings.IndexByte(name, '.'); at >= 0 {
			member, deep = name[:at], name[strings.LastIndexByte(name, '.')+1:]
		}
		row := regexp.MustCompile("(?m)^\\| [^|]*`" + member + "`.*$").FindString(about)
		if row == "" || deep != "" && !strings.Contains(row, "`"+deep+"`") {
			t.Errorf("nothing is said about %s", name)
		}
	}
	names := append(strings.FieldsFunc(stable+values, func(r rune) bool { return r == '.' || r <= ' ' }), "no server",
		"no root", "no certificate", "waiting for approval", "token 1", "observe start", "[enforce]", "read", "write")
	for _, row := range regexp.MustCompile("(?m)^\\| `.*$").FindAllString(about, -1) {
		for _, name := range quoted.FindAllStringSubmatch(row, -1) {
			if !slices.Contains(names, name[1]) {
				t.Errorf("there is no member %s", name[1])
			}
		}
	}
	all, err := parseMetrics(string(well().Metrics()))
	if err != nil {
		t.Fatal(err)
	}
	for name := range all {
		if !strings.Contains(metrics, "`"+strings.TrimPrefix(name, "nmos_authd_")+"`") {
			t.Errorf("nothing is said about %s", name)
		}
	}
	for _, row := range regexp.MustCompile("(?m)^\\| (`.*?`) \\|(.*?)\\|").FindAllStringSubmatch(metrics, -1) {
		for _, name := range quoted.FindAllStringSubmatch(row[1], -1) {
			f := all["nmos_authd_"+name[1]]
			if f == nil {
				t.Errorf("there is no metric %s", name[1])
				continue
			}
			for labels := range f.samples {
				for _, label := range strings.Fields(labelValues.ReplaceAllString(labels, "")) {
					if !strings.Contains(row[2], "`"+label+"`") {
						t.Errorf("nothing is said about the label %s of %s", label, name[1])
					}
				}
				if labels == "" && strings.Contains(row[2], "`") {
					t.Errorf("%s has no labels", name[1])
				}
			}
		}
	}
}

// labelValues are the parts of a sample's key that are not names of labels.
var labelValues = regexp.MustCompile(`="[^"]*"`)
