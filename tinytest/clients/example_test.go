package clients_test

import (
	"bytes"
	"errors"
	"os/exec"
	"strings"
	"testing"
)

// The example exits as the daemon's own "ask" does, and prints no token.
func TestExample(t *testing.T) {
	program := compile(t, "example",
		join(sanitizers, []string{clientDir + "/example.c", clientDir + "/nmos_authz.c"})...)
	d := startDaemon(t, socketPath(t), honest)
	socket := d.ln.Addr().String()
	tests := []struct {
		name     string
		behave   behaviour
		args     []string
		input    string
		exit     int
		prints   string
		question string // the end of it
	}{
		{"allow", honest, []string{socket, "GET", "/"}, "", 0, "allow 200\nreason: ok\n", "\nmethod=GET\ntarget=/\n"},
		{"token", honest, []string{"-a", socket, "GET", "/"}, "Bearer s3cret\nmore\n", 0, "allow 200\nreason: ok\n",
			"\nauthorization=Bearer s3cret\n"},
		{"deny", replying("deny 401\nid=$ID\nreason=no-token\nwww-authenticate=Bearer realm=\"n\"\n"),
			[]string{socket, "GET", "/"}, "", 1,
			"deny 401\nreason: no-token\nwww-authenticate: Bearer realm=\"n\"\n" +
				"body: {\"code\":401,\"error\":\"Unauthorized\",\"debug\":\"no-token\"}\n", "\ntarget=/\n"},
		{"resource", honest, []string{socket, "meter", "in-1", "read"}, "", 0, "allow 200\n",
			"\nkind=meter\nname=in-1\naccess=read\n"},
		{"resource with a token", honest, []string{"-a", socket, "sender", "1", "write"}, "Bearer s3cret\n", 0,
			"allow 200\n", "\naccess=write\nauthorization=Bearer s3cret\n"},
		{"resource without access", honest, []string{socket, "meter", "in-1", "look"}, "", 2,
			"read or write, not look", ""},
		{"own token", replying(given("s3cret", "registration", ownID)), []string{"-t", socket, "registration"}, "", 0,
			"token of 6 bytes\ntoken-id: " + ownID + "\nscope: registration\nallow 200\nreason: own-token\n",
			"\nscope=registration\n"},
		{"no own token", replying("deny 503\nid=$ID\nreason=own-token-pending\nretry-after=2\ndetail=why\n"),
			[]string{"-t", socket, "registration"}, "", 1, "detail: why\ndeny 503\nreason: own-token-pending\n",
			"\nscope=registration\n"},
		{"lost", hangup, []string{socket, "GET", "/"}, "", 2, "deny 503\nretry-after: 1\n", "\ntarget=/\n"},
		{"bad value", hangup, []string{socket, "GET", "/\x01"}, "", 2, "deny 400\n", ""},
		{"nobody", hangup, []string{socket + "x", "GET", "/"}, "", 2, "deny 503\n", ""},
		{"long path", hangup, []string{strings.Repeat("p", 200), "GET", "/"}, "", 2, "is not a path of a socket", ""},
		{"empty input", hangup, []string{"-a", socket, "GET", "/"}, "", 2, "no authorization on standard input", ""},
		{"usage", hangup, []string{socket}, "", 2, "usage: ", ""},
	}
	for _, test := range tests {
		d.become(test.behave)
		before, _ := d.asked()
		cmd := exec.CommandContext(t.Context(), program, test.args...)
		cmd.Stdin = strings.NewReader(test.input)
		out, err := cmd.CombinedOutput()
		exit := 0
		if ended := (*exec.ExitError)(nil); errors.As(err, &ended) {
			exit = ended.ExitCode()
		} else if err != nil {
			t.Fatal(err)
		}
		if exit != test.exit || !strings.Contains(string(out), test.prints) || bytes.Contains(out, []byte("s3cret")) {
			t.Errorf("%s: exit %d; want %d and %q:\n%s", test.name, exit, test.exit, test.prints, out)
		}
		after, _ := d.asked()
		if sent := len(after) > len(before); sent != (test.question != "") {
			t.Errorf("%s: asked %q", test.name, after[len(before):])
		} else if sent && !strings.HasSuffix(after[len(before)], test.question) {
			t.Errorf("%s: asked %q; want it to end in %q", test.name, after[len(before)], test.question)
		}
	}
}
