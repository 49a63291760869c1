package status_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// STATUS.md names every member and every metric.
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
	all, err := parseMetrics(string(well().Metrics()))
	if err != nil {
		t.Fatal(err)
	}
	for name := range all {
		if !strings.Contains(metrics, "`"+strings.TrimPrefix(name, "nmos_authd_")+"`") {
			t.Errorf("nothing is said about %s", name)
		}
	}
	for _, name := range regexp.MustCompile("(?m)^\\| (`.*?`) \\|").FindAllStringSubmatch(metrics, -1) {
		for _, name := range strings.Fields(strings.ReplaceAll(name[1], "`", "")) {
			if all["nmos_authd_"+name] == nil {
				t.Errorf("there is no metric %s", name)
			}
		}
	}
}
