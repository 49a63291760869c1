package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"nmosauthd/tinytest/mint"
)

func mintIt(args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = run(args, &out, &errs)
	return code, out.String(), errs.String()
}

func claims(t *testing.T, token string) map[string]any {
	t.Helper()
	raw, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(raw, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestMint(t *testing.T) {
	key := filepath.Join(t.TempDir(), "studio.pem")
	if code, out, errs := mintIt("--generate", "--key", key); code != 0 || out != "" {
		t.Fatalf("%d %s%s", code, out, errs)
	}
	if info, err := os.Stat(key); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	if code, _, errs := mintIt("--generate", "--key", key); code != 1 || !strings.Contains(errs, "exists") {
		t.Errorf("made over a key: %d %s", code, errs)
	}
	if code, out, _ := mintIt("--key", key, "--jwks"); code != 0 || !strings.Contains(out, `"kid":"studio"`) {
		t.Errorf("%d %s", code, out)
	}

	code, out, errs := mintIt("--key", key, "--iss", "https://a.example", "--aud", "x.example,y.example", "--scope",
		"node", "--exp", "-1m", "--claims", `{"x-nmos-node":{"read":["self"]},"jti":"1"}`, "--without", "sub,iat")
	if code != 0 {
		t.Fatalf("got exit status %d, want 0: %s", code, errs)
	}
	got := claims(t, strings.TrimSpace(out))
	for name, want := range map[string]string{
		"iss": `"https://a.example"`, "aud": `["x.example","y.example"]`, "x-nmos-node": `{"read":["self"]}`,
		"jti": `"1"`, "sub": "null", "iat": "null", "x-nmos-connection": "null", "scope": `"node"`,
	} {
		if text, err := json.Marshal(got[name]); err != nil || string(text) != want {
			t.Errorf("%s: %s, want %s", name, text, want)
		}
	}

	file := filepath.Join(t.TempDir(), "token")
	if code, out, errs := mintIt("--key", key, "--fault", "sub-missing", "--out", file); code != 0 || out != "" {
		t.Fatalf("%d %s%s", code, out, errs)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if _, there := claims(t, strings.TrimSpace(string(text)))["sub"]; there {
		t.Errorf("the fault is not there: %s", text)
	}
}

func TestCommandLine(t *testing.T) {
	key := filepath.Join(t.TempDir(), "key-1.pem")
	if err := os.WriteFile(key, mint.CachedKey("key-1", 2048).PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		code int
		args []string
	}{
		{2, nil}, {2, []string{"--nonsense"}}, {2, []string{"--key", key, "extra"}}, {0, []string{"--help"}},
		{1, []string{"--key", key + ".missing"}}, {1, []string{"--key", os.DevNull}},
		{1, []string{"--key", key, "--fault", "no-such"}},
		{1, []string{"--key", key, "--claims", "[]"}},
		{1, []string{"--key", key, "--fault", "sub-missing", "--device", "node-1"}},
		{1, []string{"--key", key + ".new", "--generate", "--bits", "512"}}, {0, []string{"--key", key}},
	} {
		if code, _, errs := mintIt(c.args...); code != c.code || code > 0 && errs == "" {
			t.Errorf("%q: %d %s", c.args, code, errs)
		}
	}
	code, out, _ := mintIt("--list-faults")
	if lines := strings.Count(out, "\n"); code != 0 || lines != 1+len(mint.Faults)+len(mint.Variants) {
		t.Errorf("%d, %d lines", code, lines)
	}
}
