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
	"nmosauthd/tinytest/spec"
)

// secretParts are the parts of tokens' payloads and signatures that must stand nowhere, and the token that each is of.
// The header is no secret.
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

// Whatever a request brings as a secret, nothing of it stands in the log, in the replies, in any sink of the audit, in
// what the daemon says of itself or in what other processes can see of it, in any mode and at the most talkative level
// (OPS-2).
func TestNoSecretIsShown(t *testing.T) {
	spec.Rules(t, "OPS-2")
	t.Parallel()
	server := newServer(t, authserver.Options{})
	config := trusting(t, server)
	syslog, dir := startSyslog(t), newDir(t)
	file := dir.File("audit.jsonl")
	config.More = fmt.Sprintf("retry = \"1s\"\n[log]\nlevel = \"debug\"\n[limits]\nconnections = 8\n[audit]\nsinks = "+
		"[\"log\", \"file\", \"syslog\"]\nfile = %q\nfile_bytes = 67108864\nsyslog = \"tcp://%s\"\nrepeat = \"0s\"\n"+
		"deny_rate = 0\nallow_rate = 0\nqueue_bytes = 4194304\nring_bytes = 16777216\n", file, syslog.Addr())
	config.Admin = true
	if err := dir.Write(config); err != nil {
		t.Fatal(err)
	}
	b := &box{t: t, config: config, caller: newCaller(t, dir), Daemon: startIn(t, dir)}
	watched := b.watch("last=0")
	b.await(get(senders).bearing(everything(server).Sign()), 200, "ok")
	if status, _ := b.admin("PUT", "/inventory", metered("sources/1/state")); status != 204 {
		t.Fatalf("got %d, want 204", status)
	}

	// One who watches misses what he is slow to read, by design; so that this test sees all, it asks at his pace.
	atItsPace := func() {
		t.Helper()
		eventually(t, "every record is shown to one who watches", func() bool {
			status := b.auditStatus()
			if shown := watched.tally(); shown.dropped > 0 {
				t.Fatalf("%d records were not shown to one who watches; want none, since nothing was asked before "+
					"they were", shown.dropped)
			} else if shown.kept != status.Sinks[0].Kept {
				return false
			}
			return status.Pending == 0 && status.Sinks[0].Queued == 0
		})
	}
	secrets, questions := secretQuestions(server)
	var replies strings.Builder
	for _, mode := range []string{"enforce", "observe", "off"} {
		config.Mode = mode
		b.reload(config)
		for _, q := range questions {
			replies.WriteString(secretReplies(t, b, q))
			atItsPace()
		}
		misplaced(t, b, secrets, atItsPace)
	}
	// An administrator who takes one socket for the other, and a name for a token.
	for _, path := range []string{"/inventory", "/" + secrets[0], "/status?access_token=" + secrets[0]} {
		for _, body := range []string{"", secrets[0], `{"resources": [], "` + secrets[0] + `": 1}`} {
			_, text := b.admin("GET", path, body)
			replies.WriteString(text)
		}
	}
	// A caller that is turned away, one that breaks off, and a server that repeats what it was asked do not change
	// that.
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
	marks := b.askMarked(server)
	eventually(t, "every record is written", func() bool {
		status := b.auditStatus()
		for _, s := range status.Sinks {
			if s.Dropped > 0 {
				t.Fatalf("got %+v, want nothing dropped", status)
			}
			if logged, _ := syslog.tally(); s.Queued > 0 || logged.kept != s.Kept || watched.tally().kept != s.Kept {
				return false
			}
		}
		return status.Pending == 0
	})
	for _, path := range []string{"/records?last=1000000", "/status", "/metrics", "/observe"} {
		status, text := b.admin("GET", path, "")
		if status != 200 {
			t.Errorf("%s: %d", path, status)
		}
		seen[path] = text
	}
	for _, args := range []string{"status", "observe report", "explain --seq 1000"} {
		r := command(t, "", append(strings.Fields(args), "--config", b.ConfigFile())...)
		if seen["command "+args] = r.out + r.errors; r.out == "" {
			t.Errorf("%s: %s", args, r.errors)
		}
	}
	seen["syslog"], seen["watch"] = syslog.text(), watched.printed()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	seen["file"] = string(text)
	for _, name := range []string{"environ", "cmdline", "comm", "status"} {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", b.PID(), name))
		if err != nil {
			t.Fatal(err)
		}
		seen[name] = string(text)
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
		for _, mark := range marks {
			if form := markIn(text, mark); form != "" {
				t.Errorf("the %s: the mark %s as %s", where, mark, form)
			}
		}
	}
	for _, where := range []string{"log", "file", "syslog", "watch", "/records?last=1000000"} { // that it was searched
		if n := strings.Count(seen[where], "[token]"); n < 100 {
			t.Errorf("the %s: only %d tokens were taken out", where, n)
		}
	}
	claims := base64.RawURLEncoding.EncodeToString([]byte(`{"a":"` + marks[0] + `"}`))
	if parts.in("a line with "+secrets[0]+"\n") == "" || markIn(claims, marks[0]) == "" {
		t.Error("nothing is found where there is something")
	}
}

// misplaced asks with tokens where none belongs. Of what it answers, path= is the caller's own, so that is not looked
// at. After the questions with each token it calls then.
func misplaced(t *testing.T, b *box, secrets []string, then func()) {
	t.Helper()
	for _, s := range secrets {
		then()
		if parts := strings.Split(s, "."); len(parts) < 2 || !strings.HasPrefix(parts[0], "eyJ") ||
			!strings.HasPrefix(parts[1], "eyJ") || strings.ContainsAny(s, " /{") {
			continue // not in the compact form: nothing tells it from a name
		}
		name := s[:min(len(s), 256)]
		if !strings.Contains(name, ".eyJ") {
			name = "in-1" // of which a whole name would be the header alone, which is not a secret
		}
		percent := &strings.Builder{}
		for _, c := range []byte(s) {
			fmt.Fprintf(percent, "%%%02x", c)
		}
		for _, lines := range [][]string{
			{"decide 1", "method=GET", "target=/" + s},
			{"decide 1", "method=GET", "target=" + senders + "/" + s + "/staged?x"},
			{"decide 1", "method=GET", "target=/a//x" + s},
			{"decide 1", "method=GET", "target=/" + percent.String()},
			{"decide 1", "method=GET", "target=/a//" + strings.ReplaceAll(s, ".", "%2E")},
			{"decide 1", "method=" + s, "target=/"},
			{"decide 1", "method=GET", "target=/", "upgrade=" + s, "id=" + s},
			{"decide 1", "method=GET", "target=/", "id=" + s[len(s)-60:]},
			{"decide 1", "method=GET", "target=/", s + "=x"},
			{s, "method=GET", "target=/"},
			{"decide-all 1", "target=/" + s, "target=" + senders + "/" + s + "?y", "method=" + s},
			{"resource 1", "kind=meter", "name=" + name, "access=read"},
			{"resource 1", "kind=meter", "name=in-1", "access=" + s},
		} {
			if _, err := b.packet.AskPacket([]byte(strings.Join(lines, "\n") + "\n")); err != nil {
				t.Fatalf("%q: %v", lines, err)
			}
		}
	}
}

// askMarked asks with tokens that are marked in every place, and returns the marks that must be seen nowhere: all those
// of a forged token, and of a good one those that it does not put down as its name, or its bearer's.
func (b *box) askMarked(server *authserver.Server) (marks []string) {
	mark := func(what string) string {
		m := "mark-" + what + "-Zq81Lw5xTr90"
		marks = append(marks, m)
		return m
	}
	forged := another(server)
	forged.Header.Set("kid", mark("kid"))
	for _, name := range []string{"jti", "sub", "client_id", "scope", "x-private"} {
		forged.Claims.Set(name, mark(name))
	}
	good := everything(server)
	good.Claims.Set("x-secret", mark("secret"))
	good.Claims.Set("scope", mark("good-scope"))
	good.Header.Set("typ", "at+jwt")
	for _, tok := range []string{unsigned(forged), forged.Sign(), good.Sign()} {
		for _, q := range []question{get(senders).bearing(tok), get("/" + tok), get("/admin").bearing(tok),
			get(senders + "?access_token=" + tok)} {
			b.ask(q)
			b.askHTTP(q)
		}
	}
	return marks
}

// markIn tells in which form a mark stands in the text: as it is, in base64 of any alignment, or percent-encoded.
func markIn(text, mark string) string {
	forms := []string{mark, strings.ReplaceAll(mark, "-", "%2D"), strings.ReplaceAll(mark, "-", "%2d")}
	for before := range 3 {
		encoded := base64.RawStdEncoding.EncodeToString([]byte(strings.Repeat("x", before) + mark))
		forms = append(forms, encoded[(before*8+5)/6:len(encoded)-1])
	}
	for _, form := range forms {
		if strings.Contains(text, form) {
			return form
		}
	}
	return ""
}

// secretQuestions are questions of every kind that bring secrets, and the secrets in them.
func secretQuestions(server *authserver.Server) (secrets []string, all []question) {
	expired := server.Token(mint.Options{Now: time.Now().Add(-2 * time.Hour)})
	other := server.Token(mint.Options{Device: "node-2.example.com"})
	stranger := another(server)
	stranger.Claims.Set("iss", "https://attacker.example.net")
	for _, tok := range []string{
		everything(server).Sign(), expired.Sign(), other.Sign(), stranger.Sign(), unsigned(everything(server)),
		forger(server)("k-1"),
	} {
		secrets = append(secrets, tok, tok[:len(tok)-30], tok[:len(tok)/2]+"!"+tok[len(tok)/2:], tok+"."+tok,
			strings.ReplaceAll(tok, ".", ""))
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
	return append(secrets, password),
		append(all, question{method: "GET", target: senders, authorization: "Basic " + password},
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

// A daemon that crashes leaves no core, though its parent allows one and its folder could hold it. Nothing that it
// could start would gain rights.
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
