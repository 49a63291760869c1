package system_test

import (
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"nmosauthd/tinytest/authserver"
	"nmosauthd/tinytest/mint"
)

// secretParts are the parts of tokens' payloads and signatures that must stand nowhere, and the token that each is of. The
// header is no secret.
type secretParts map[string]string

// secretPart is how long a part is, in characters: no accident.
const secretPart = 16

func (p secretParts) add(token string) {
	_, secret, _ := strings.Cut(strings.TrimSpace(token), ".")
	if secret == "" {
		secret = strings.TrimSpace(token) // malformed as it is, it may be a good one cut off
	}
	for ; len(secret) >= secretPart; secret = secret[secretPart:] {
		p[secret[:secretPart]] = token
	}
}

// in returns a part that stands in the text, "" if none does.
func (p secretParts) in(text string) string {
	for i := range max(0, len(text)-secretPart+1) {
		if part := text[i : i+secretPart]; p[part] != "" {
			return part
		}
	}
	return ""
}

// leaked returns a part of one token that stands in the text.
func leaked(text, token string) string {
	parts := secretParts{}
	parts.add(token)
	return parts.in(text)
}

// Whatever a request brings as a secret, nothing of it stands in the log, in the replies or in what other processes can see of
// the daemon, in any mode and at the most talkative level (OPS-2).
func TestNoSecretIsShown_OPS2(t *testing.T) {
	t.Parallel()
	server := newServer(t, authserver.Options{})
	config := trusting(t, server)
	config.More = "retry = \"1s\"\n[log]\nlevel = \"debug\"\n[limits]\nconnections = 8"
	config.Admin = true
	b := start(t, config)
	b.await(get(senders).bearing(everything(server).Sign()), 200, "ok")
	if status, _ := b.admin("PUT", "/inventory", metered("sources/1/state")); status != 204 {
		t.Fatal(status)
	}

	secrets, questions := secretQuestions(server)
	var replies strings.Builder
	for _, mode := range []string{"enforce", "observe", "off"} {
		config.Mode = mode
		b.reload(config)
		for _, q := range questions {
			replies.WriteString(secretReplies(t, b, q))
		}
	}
	// An administrator who takes one socket for the other, and a name for a token.
	for _, path := range []string{"/inventory", "/" + secrets[0], "/status?access_token=" + secrets[0]} {
		for _, body := range []string{"", secrets[0], `{"resources": [], "` + secrets[0] + `": 1}`} {
			_, text := b.admin("GET", path, body)
			replies.WriteString(text)
		}
	}
	// A caller that is turned away, one that breaks off, and a server that repeats what it was asked do not change that.
	for range 20 {
		conn := dialPacket(t, b.Authz())
		fmt.Fprintf(conn, "decide 1\nmethod=GET\ntarget=/\nauthorization=Bearer %s\n", secrets[0])
		conn.Close()
	}
	server.Misbehave(authserver.PathJWKS, authserver.HTML)
	forge := forger(server)("no-such-key")
	b.ask(get(senders).bearing(forge))
	secrets = append(secrets, forge)

	if n := strings.Count(replies.String(), "\n"); n < 100 {
		t.Errorf("only %d lines of replies", n)
	}
	seen := map[string]string{"replies": replies.String()}
	for _, name := range []string{"environ", "cmdline", "comm", "status"} {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", b.PID(), name))
		if err != nil {
			t.Fatal(err)
		}
		seen[name] = string(text)
	}
	for _, path := range []string{"/status", "/metrics", "/observe", "/records?last=1000"} {
		status, text := b.admin("GET", path, "")
		if status != 200 {
			t.Errorf("%s: %d", path, status)
		}
		seen[path] = text
	}
	seen["service manager"] = strings.Join(b.Told(), "\n")
	if !strings.Contains(seen["environ"], "NOTIFY_SOCKET") {
		t.Errorf("the environment could not be read: %q", seen["environ"])
	}
	// Crashing with all goroutines' stacks, it still shows none.
	if err := b.Signal(syscall.SIGQUIT); err != nil {
		t.Fatal(err)
	}
	if status := b.waitEnd(); status != 2 || !strings.Contains(b.Log(), "goroutine ") {
		t.Errorf("exit status %d, and no stacks", status)
	}
	seen["log"] = b.Log()
	parts := secretParts{}
	for _, secret := range secrets {
		parts.add(secret)
	}
	for where, text := range seen {
		if leak := parts.in(text); leak != "" {
			t.Errorf("the %s: %q of %.2000q", where, leak, parts[leak])
		}
	}
	if parts.in("a line with "+secrets[0]+"\n") == "" {
		t.Error("nothing is found where there is something")
	}
}

// secretQuestions are questions of every kind that bring secrets, and the secrets in them.
func secretQuestions(server *authserver.Server) (secrets []string, all []question) {
	expired := server.Token(mint.Options{Now: time.Now().Add(-2 * time.Hour)})
	other := server.Token(mint.Options{Device: "node-2.example.com"})
	stranger := another(server)
	stranger.Claims.Set("iss", "https://attacker.example.net")
	for _, tok := range []string{
		everything(server).Sign(), expired.Sign(), other.Sign(), stranger.Sign(), unsigned(everything(server)), forger(server)("k-1"),
	} {
		secrets = append(secrets, tok, tok[:len(tok)-30], tok[:len(tok)/2]+"!"+tok[len(tok)/2:], tok+"."+tok, strings.ReplaceAll(tok, ".", ""))
	}
	for _, s := range secrets {
		query := "?a=b&access_token=" + s
		all = append(all, get(senders).bearing(s), get(senders+query), get("/admin"+query).bearing(s),
			question{method: "GET", target: "/x-nmos/events/v1.0/ws" + query, upgrade: "websocket"},
			question{method: "GET", target: "/x-nmos//ws" + query, upgrade: "websocket"},
			question{method: "TRACE", target: senders + query}.bearing(s),
			get(senders).bearing(s+", Bearer "+s))
	}
	for _, c := range mint.Faults {
		if tok := c.Make(everything(server)); len(tok) < 4000 && !strings.ContainsAny(tok, "\r\n\x00") {
			secrets, all = append(secrets, tok), append(all, get(senders).bearing(tok))
		}
	}
	password := base64.StdEncoding.EncodeToString([]byte("operator:correct horse battery staple"))
	return append(secrets, password), append(all, question{method: "GET", target: senders, authorization: "Basic " + password},
		question{method: "PATCH", target: receiver, authorization: "Digest " + password})
}

// secretReplies asks both sockets, every way that they can be asked, and returns all that they say.
func secretReplies(t *testing.T, b *box, q question) string {
	t.Helper()
	var all strings.Builder
	for _, lines := range [][]string{q.lines(), {"verify 1", "authorization=" + q.authorization},
		{"resource 1", "kind=meter", "name=in-1", "access=read", "authorization=" + q.authorization},
		{"resource 1", "kind=meter", "name=in-2", "access=write", "authorization=" + q.authorization},
		append([]string{"decide-all 1", "target=/x-nmos/events/v1.0/sources/1"}, q.lines()[1:]...)} {
		r, err := b.packet.Ask(lines...)
		if err != nil {
			t.Fatal(err)
		}
		all.WriteString(r.Text)
	}
	request, err := httpRequest(q)
	if err != nil {
		t.Fatal(err)
	}
	r, err := b.http.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if err := r.Write(&all); err != nil {
		t.Fatal(err)
	}
	return all.String()
}

// A daemon that crashes leaves no core, though its parent allows one and its folder could hold it. Nothing that it could start
// would gain rights.
func TestNoCoreIsLeft(t *testing.T) {
	t.Parallel()
	limits, err := os.ReadFile("/proc/self/limits")
	if err != nil {
		t.Skip(err)
	}
	if strings.Contains(limitOf(string(limits), "Max core file size"), "0 0") {
		t.Skip("this test may have no core either")
	}
	server := newServer(t, authserver.Options{})
	dir := newDir(t)
	if err := dir.Write(trusting(t, server)); err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	c := exec.Command("sh", "-c", "ulimit -S -c $(ulimit -H -c) && exec \"$0\" \"$@\"", program)
	c.Dir, c.Env = folder, append(os.Environ(), "GOTRACEBACK=crash")
	b := &box{t: t, Daemon: startCommand(t, c, dir), caller: newCaller(t, dir)}
	b.await(get(senders).bearing(everything(server).Sign()), 200, "ok")
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", b.PID()))
	if err != nil {
		t.Fatal(err)
	}
	if core := limitOf(string(text), "Max core file size"); core != "0 0 bytes" {
		t.Errorf("core limit %q", core)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", b.PID()))
	if err != nil || !strings.Contains(string(status), "NoNewPrivs:\t1") && !raceDetector {
		t.Errorf("it could gain rights: %v", err)
	}
	if err := b.Signal(syscall.SIGABRT); err != nil {
		t.Fatal(err)
	}
	b.waitEnd()
	if wait := b.State().Sys().(syscall.WaitStatus); wait.CoreDump() || !wait.Signaled() {
		t.Errorf("it ended with %v, core %v", b.State(), wait.CoreDump())
	}
	if left, err := filepath.Glob(folder + "/*"); err != nil || len(left) > 0 {
		t.Errorf("it left %v, %v", left, err)
	}
}

// limitOf returns a line of /proc/PID/limits, single spaces between its columns.
func limitOf(limits, name string) string {
	for line := range strings.Lines(limits) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			return strings.Join(strings.Fields(rest), " ")
		}
	}
	return ""
}
