package system_test

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"nmosauthd/tinytest/authserver"
	"nmosauthd/tinytest/spec"
)

// formsOf are the forms in which a secret could stand in a text, cut into parts that are no accident: as it is, and as
// forms, base64 and JSON have it.
func formsOf(secret string) (all []string) {
	const part = 14
	for _, form := range []string{
		secret, url.QueryEscape(secret), hex.EncodeToString([]byte(secret)), fmt.Sprintf("%q", secret),
		base64.StdEncoding.EncodeToString([]byte(secret)), base64.RawURLEncoding.EncodeToString([]byte(secret)),
	} {
		for ; len(form) >= part; form = form[part:] {
			all = append(all, form[:part])
		}
	}
	return all
}

// Whatever happens between the device and its server, none of the secrets that they share is seen anywhere but in the
// reply to "token 1": not in the log at its most talkative, in status, metrics or the audit, in what commands print, or
// in what other processes see of the daemon, nor in its last words when it crashes (OPS-2, CLI-4, CLI-69).
func TestNoClientSecretIsShown(t *testing.T) {
	spec.Rules(t, "OPS-2", "CLI-4", "CLI-69")
	t.Parallel()
	for _, row := range []struct {
		name   string
		kind   authserver.Kind
		config string
		given  bool // the client was made by hand, with a secret in a file; else an initial access token is in it
	}{
		{"CLI-51/key", authserver.Exemplary, "initial_access_token_file = %q\n", false},
		{"CLI-54/secret", authserver.OIDCProvider,
			"auth_method = \"client_secret_basic\"\ninitial_access_token_file = %q\n", false},
		{"CLI-54/given", authserver.Keycloak, "client_id = \"by hand\"\nclient_secret_file = %q\n", true},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			const initial, wrong = "initial-access-Zk93hxQp1LmTq7", "another-initial-Hw82nvCx5RgYe4"
			// so that tokens are fetched all the time
			server := newServer(t, authserver.Options{Kind: row.kind, InitialToken: initial, Life: 4 * time.Second})
			dir := newDir(t)
			file := dir.File("initial")
			write := func(text string) {
				t.Helper()
				if err := os.WriteFile(file, []byte(text+"\n"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			write(wrong)
			if row.given {
				if err := server.GiveClient("by hand", "registration", initial, nil); err != nil {
					t.Fatal(err)
				}
			}
			audit := dir.File("audit.jsonl")
			config := clientOf(t, fmt.Sprintf(row.config+"[log]\nlevel = \"debug\"\n"+
				"[audit]\nsinks = [\"log\", \"file\"]\nfile = %q\nrepeat = \"0s\"\n", file, audit), server)
			if err := dir.Write(config); err != nil {
				t.Fatal(err)
			}
			b := &box{t: t, config: config, caller: newCaller(t, dir), Daemon: startIn(t, dir)}
			var seen strings.Builder // what commands print
			run := func(args ...string) {
				t.Helper()
				r := command(t, "", append(args, "--config", b.ConfigFile())...)
				seen.WriteString(r.out + r.errors)
			}
			// Refused with one secret, and accepted with another.
			eventuallyOwn(t, "the secret is refused", func() bool {
				run("client", "register")
				b.ownToken("scope=registration")
				return strings.Contains(b.Log(), "HTTP 401")
			})
			write(initial)
			b.reload(config)
			run("client", "register")
			b.awaitOwnToken("scope=registration")
			for _, f := range []authserver.Fault{
				authserver.ErrorWithSecrets, authserver.InvalidClient, authserver.HTML, authserver.TokenControl,
				authserver.TokenMAC, authserver.TokenOtherScope, authserver.TokenRefresh, authserver.RedirectOther,
			} {
				server.MisbehaveTimes(authserver.PathToken, f, 1)
				eventuallyOwn(t, "a request meets "+string(f), func() bool {
					b.ownToken("scope=registration")
					return slices.ContainsFunc(server.Log(), func(q authserver.Request) bool { return q.Fault == f })
				})
			}
			server.Behave()
			b.awaitOwnToken("scope=registration")
			run("client", "rotate")
			run("client", "status")
			run("client", "status", "--json")
			run("status", "--json")
			run("status")
			run("check-config")
			if p := server.Registered(); len(p) != 1 {
				t.Errorf("%d clients are registered, want 1", len(p))
			}
			texts := map[string]string{}
			for _, path := range []string{"/status", "/metrics", "/records?last=100000", "/observe"} {
				if status, text := b.admin("GET", path, ""); status != 200 {
					t.Errorf("GET %s: %d, want 200", path, status)
				} else {
					texts[path] = text
				}
			}
			for _, name := range []string{"cmdline", "environ", "comm", "status", "limits"} {
				text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", b.PID(), name))
				if err != nil {
					t.Fatal(err)
				}
				texts["/proc "+name] = string(text)
			}
			// Nobody but its user's root reads its memory, by a core or otherwise: it is not dumpable, so its files in
			// /proc are root's.
			if !raceDetector {
				info, err := os.Stat(fmt.Sprintf("/proc/%d/mem", b.PID()))
				if err != nil {
					t.Fatal(err)
				}
				if uid := info.Sys().(*syscall.Stat_t).Uid; uid != 0 {
					t.Errorf("/proc/%d/mem belongs to user %d, want root: the daemon is dumpable", b.PID(), uid)
				}
			}
			private, kept := checkState(t, config.State)
			if !row.given && !slices.ContainsFunc(server.Secrets(), func(secret string) bool {
				return slices.ContainsFunc(formsOf(secret),
					func(form string) bool { return strings.Contains(kept, form) })
			}) {
				t.Error("no secret is found in the state folder, where there are some")
			}
			// Another state dump: the registration is forgotten at the end, which names what stays.
			run("client", "forget")
			if err := b.Signal(syscall.SIGQUIT); err != nil {
				t.Fatal(err)
			}
			if status := b.waitEnd(); status != 2 || !strings.Contains(b.Log(), "goroutine ") {
				t.Errorf("exit status %d, and no stacks; want 2 with them", status)
			}
			text, err := os.ReadFile(audit)
			if err != nil {
				t.Fatal(err)
			}
			texts["log"], texts["audit"], texts["commands"] = b.Log(), string(text), seen.String()
			secrets := append(server.Secrets(), initial, wrong)
			secrets = append(secrets, private...)
			if n := len(secrets); n < 8 {
				t.Errorf("only %d secrets are known, want those of as many requests", n)
			}
			for where, text := range texts {
				for _, secret := range secrets {
					for _, form := range formsOf(secret) {
						// The header of a JWT is no secret, and is the same in all.
						if strings.Contains(text, form) && !strings.Contains(strings.Split(secret, ".")[0], form) {
							t.Errorf("%s: %q of %.40q", where, form, secret)
						}
					}
				}
			}
			if !strings.Contains(texts["log"], "as an OAuth client") ||
				!strings.Contains(texts["audit"], `"own-token"`) ||
				!strings.Contains(texts["commands"], server.Issuer()) {
				t.Error("what was searched does not tell of the client")
			}
		})
	}
}

// checkState finds the secrets of a state folder where there is no key to seal them: in files of mode 0600 (CLI-4).
// It returns the private keys, and all that is there.
func checkState(t *testing.T, dir string) (private []string, kept string) {
	t.Helper()
	found := false
	files, err := filepath.Glob(dir + "/*")
	if err != nil || len(files) == 0 {
		t.Fatalf("state folder %s: %v, %v", dir, files, err)
	}
	for _, path := range files {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		holds := strings.Contains(string(data), `"client_id"`)
		if holds && info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, want 0600", path, info.Mode())
		}
		found, kept = found || holds, kept+string(data)
		private = append(private, privateKeys(data)...)
	}
	if !found {
		t.Error("no file holds the registration")
	}
	return private, kept
}
