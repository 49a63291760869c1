package agent_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"nmosauthd/agent"
	"nmosauthd/agent/keys"
	"nmosauthd/tinytest/spec"
)

// Whatever a state file of servers holds, what is taken from it could have been found, and is written and read again as
// it is; an error is short.
func FuzzFound(f *testing.F) {
	spec.Rules(f, "DIS-6", "KEY-8")
	for _, seed := range []string{
		`{"format":1,"servers":[{"url":"https://a.example.com","domain":"example.com","issuer":"https://a.example.com/r"}]}`,
		`{"format":1,"servers":[{"url":"https://a.example.com/x","issuer":"https://b","missing_seconds":-1}]}`,
		`{"format":1,"servers":[{"url":"http://a","missing_seconds":9223372036854775807},null]}`,
		`{"format":1,"servers":[{"url":"` + strings.Repeat("x", 5000) + `"}]}`, `{"format":` + strings.Repeat("1", 5000) + `}`,
		`{"format":2}`, `{"format":1,"servers":1e999}`, `{"` + strings.Repeat("x", 5000) + `":1,"a":2,"a":3}`, `[`, ``,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		found, err := agent.DecodeFound(keys.WithChecksum(slices.Clone(line)))
		if err != nil {
			if s := err.Error(); len(s) > 1000 || found != nil {
				t.Errorf("got %d servers and an error of %d bytes, %.200q", len(found), len(s), s)
			}
			return
		}
		if len(found) > 128 {
			t.Errorf("got %d servers", len(found))
		}
		for _, s := range found {
			if keys.Origin(s.URL) == "" || s.Issuer != "" && !keys.MayName(s.URL, s.Issuer) ||
				s.Missing < 0 || s.Missing > 24*time.Hour {
				t.Errorf("got %+v", s)
			}
		}
		data, err := agent.EncodeFound(found)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := agent.DecodeFound(data); err != nil || !slices.Equal(again, found) {
			t.Errorf("written again got %v, %v; want %v", again, err, found)
		}
	})
}
