package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"

	"nmosauthd/agent/ascii"
	"nmosauthd/agent/audit"
	"nmosauthd/agent/config"
	"nmosauthd/agent/daemon"
	"nmosauthd/agent/explain"
	"nmosauthd/agent/observe"
	"nmosauthd/agent/status"
)

// Texts as long and as odd as a facility may have them.
var (
	longName = "Studio 4 / MADI bridge 2 (spare) – Übertragungswagen Süd, " +
		strings.Repeat("x", 120) + " \U0001f50a 北京"
	longURL  = "https://[2001:db8:85a3:1111:2222:8a2e:370:7334]:8443/realms/" + strings.Repeat("nmos-", 20)
	longPath = "/x-nmos/connection/v1.1/single/receivers/6f1e0001-0000-4000-8000-000000000001/" +
		strings.Repeat("staged", 30)
)

// printers are what each command prints for people, by nasty inputs.
func printers(t *testing.T) map[string]func(io.Writer) error {
	const now = status.Time(1795312810)
	s := &status.Status{
		Time: now, Since: now - 99999, Version: "1.2.3-rc.4+" + strings.Repeat("0123456789abcdef", 4), Model: longName,
		Names: []string{"node-1.example.com", longName, "2001:db8:85a3:1111:2222:8a2e:370:7334"}, Mode: "observe",
		Observe: &status.Observe{UID: 4294967294, Since: now, Until: now + 1800, Left: 1800},
		NotEnforced: []config.NotEnforced{{API: "streamcompatibility", Access: "read"},
			{API: "channelmapping", Access: "write"}, {API: "configuration", Access: "write"}},
		Refused: "/etc/nmos-authd/nmos-authd.toml:14: " + longName + "\nsecond",
		Clock:   status.Clock{State: "unsynchronised", Why: longName},
		Servers: []status.Server{{
			Issuer: longURL, Origin: status.Discovered, At: longURL, Domain: longName, Missing: 7200,
			KIDs: []string{longName, "k2", longName}, Fetched: now - 720, Next: now + 10, Failing: true,
			Error: longURL + ": " + longName, Failed: now - 5, Difference: longName,
		}},
		Discovery: status.Discovery{Mode: "both", Looked: now - 5, Error: longName},
		Decisions: []status.Count{{Reason: "subtree-not-granted", Status: 403, Answered: 1 << 60, Would: 1 << 60}},
		Sockets: []status.Socket{{Name: "authz", Path: "/run/" + strings.Repeat("long/", 20) + "authz.sock",
			Open: 4096, Limit: 4096, Waiting: 1024}},
		Audit: status.Audit{Sinks: []status.Sink{{Name: "syslog", Kept: 1 << 60, Dropped: 1 << 60, Queued: 1 << 60,
			Head: strings.Repeat("0f", 16), Error: longName}}},
		Client: status.Client{
			Enabled: true, Phase: "unregistered", Issuer: longURL, Trouble: longName, Error: longName, Failed: now - 1,
			Clients: []status.ClientAt{{Issuer: longURL, ClientID: longName, Since: now, Scope: longName,
				Method: "private_key_jwt", Keys: "jwks", KIDs: []string{longName}, Rotation: "retire",
				OldKeyEnds: now + 99, Expires: now + 1}},
			Tokens: []status.ClientToken{{Scope: longName, Granted: longName, Ends: now + 200, Next: now + 100,
				Error: longName, Failed: now - 5}},
		},
		Certs: status.Certs{
			Enabled: true, Phase: "waiting for approval", Server: longURL,
			Folder: "/run/" + strings.Repeat("long/", 20), Trouble: longName, Error: longName, Failed: now - 1,
			Unwritten: longName, Next: now + 9, Certificates: []status.Cert{
				{Key: "ecdsa", Held: true, Names: []string{"a.example.com", longName}, Issuer: longName,
					Serial: strings.Repeat("0f", 20), Fingerprint: strings.Repeat("0f", 32), Begins: now - 9,
					Ends: now + 1, Renewal: now + 1, Waiting: true, Error: longURL + ": no", Failed: now - 1}},
			Roots: []status.CertRoot{{Subject: longName, Fingerprint: strings.Repeat("0f", 32), Trust: "first contact",
				Since: now - 9, Ends: now}},
			Maker: status.CertMaker{Held: true, Subject: longName, Error: longName},
		},
		Inventory: status.Inventory{Source: "file", Resources: 16384, Since: now - 200, Error: longName},
		State:     status.State{Dir: "/var/" + strings.Repeat("long/", 20), Error: longName},
		Sandbox:   status.Sandbox{Landlock: 6, Denied: []string{longName, longName}, NotDenied: []string{longName}},
		Memory:    status.Memory{Resident: 1 << 60, Heap: 1 << 60},
		Errors:    []status.Error{{Time: now - 60, Level: "warn", Text: longName, Times: 3}},
	}
	s.Degraded = s.Health()
	refresh := &status.Refresh{Issuers: []status.Refreshed{
		{Issuer: longURL, Error: longURL + ": " + longName, Keys: []string{longName, "k2"}, Refused: 1000},
		{Issuer: "https://a.example.com", Keys: []string{"k"}, Added: []string{longName, "k"},
			Removed: []string{"a", longName}},
	}, Found: []string{longURL}, Gone: []string{longURL}}
	permitted := []status.Permitted{{Name: longPath, Access: "read"},
		{Kind: longName, Name: longName, Access: "read-write"}, {Kind: "meter", Name: "1", Access: "write"}}
	at := time.Unix(int64(now), 0)
	report := &observe.Report{
		Since: at.Add(-99999 * time.Hour), Until: at, Mode: "observe", Decisions: 1 << 60, Would: 1 << 60,
		Denied: 1 << 60, Off: 1 << 60, Unlisted: 1 << 60, Unseen: 1 << 60, Waiting: 1 << 60,
		Stages: []observe.Stage{{API: "streamcompatibility", Access: "write", Would: 1 << 60, Controllers: 256}},
		Controllers: []observe.Controller{{
			Token: observe.Verified, Client: longName, Issuer: longURL, Decisions: 1 << 60, Last: at, TokenBytes: 16000,
			Add: explain.Claims{"x-nmos-connection": map[string][]string{"write": {"single/receivers/*"}}},
			Claims: explain.Claims{"x-nmos-connection": map[string][]string{
				"write": {strings.Repeat("single/receivers/", 9), longName}}},
			Incomplete: []string{longName}, Mend: []observe.Mend{
				{Reason: "token-expired", Means: longName, Do: longName}}, Accesses: []observe.Access{{
				Access: "write", Path: longPath, Model: longName, Resource: "meter " + longName,
				Reason: "control-not-granted", Decisions: 1 << 60}},
		}},
	}
	c := config.Default()
	c.Authorization.CAFile = ""
	c.Authorization.Servers = []string{"https://[::1]:1/" + strings.Repeat("nmos-", 30)}
	claims := fmt.Sprintf(`{"client_id": %q, "sub": %q, "aud": [%q], "scope": %q, "x-nmos-connection": {"read": [%q]}}`,
		longName, longName, "*.example.com", longName, strings.Repeat("single/", 40))
	line := fmt.Sprintf(`{"audit":1,"seq":1234567890,"time":"2026-11-22T02:00:10.000001Z","clock":"unset","uid":4294967294,"gid":1,"pid":7,`+
		`"question":"decide","method":"PATCH","path":%q,"resource":%q,"decision":"deny","status":403,"reason":"path-not-granted","rule":"PATH-5",`+
		`"issuer":%q,"subject":%q,"client":%q,"jti":%q,"kid":%q,"count":1000000,"first":1,"since":"2026-11-22T02:00:09.000001Z"}`+"\n",
		longPath, "meter/"+longName, longURL, longName, longName, longName, longName)
	return map[string]func(io.Writer) error{
		"status":         s.WriteText,
		"client status":  s.WriteClient,
		"certs status":   s.WriteCerts,
		"refresh":        refresh.WriteText,
		"may":            func(w io.Writer) error { return status.WritePermitted(w, longName, permitted) },
		"observe report": report.Write,
		"discover": func(w io.Writer) error {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			daemon.TryServers(ctx, w, c)
			return nil
		},
		"explain": func(w io.Writer) error {
			_, err := explain.Explain(w,
				explain.Question{Config: config.Default(), Names: []string{"node-1.example.com"},
					Claims: []byte(claims), Method: "PATCH", Target: longPath, Now: at})
			return err
		},
		"explain --seq": func(w io.Writer) error {
			_, err := explain.Record(w, []byte(line), config.Default(), []string{"node-1.example.com"})
			return err
		},
	}
}

// whole is what may be wider than the terminal, since it is there to be copied: one word alone on its line, such as a
// URL or a path, or JSON, in the report behind its indentation, in explain from its brace on. Nothing in either is
// broken: the terminal does that.
var whole = regexp.MustCompile(`^ *(?:\S+|["{[].*|Missing: \{.*)$`)

// What each command shows fits the terminal, at 80 columns and at 132.
func TestEveryCommandFits(t *testing.T) {
	for name, print := range printers(t) {
		for _, width := range []int{80, 132} {
			var plain, folded bytes.Buffer
			if err := print(&plain); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if err := print(ascii.NewFolder(&folded, width)); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if plain.Len() == 0 || name != "discover" && squeezed(plain.String()) != squeezed(folded.String()) {
				t.Errorf("%s, %d columns: got other words:\n%s\nwant those of\n%s",
					name, width, folded.String(), plain.String())
			}
			for line := range strings.Lines(folded.String()) {
				line = strings.TrimSuffix(line, "\n")
				if ascii.Width([]byte(line)) > width && !whole.MatchString(line) {
					t.Errorf("%s: got a line of over %d columns, want it folded: %q", name, width, line)
				}
				if strings.HasSuffix(line, " ") && strings.TrimSpace(line) != "" {
					t.Errorf("%s: got blanks at the end of %q", name, line)
				}
			}
		}
	}
}

// squeezed is a text without its white space.
func squeezed(text string) string { return strings.Join(strings.Fields(text), "") }

var colours = regexp.MustCompile("\x1b\\[[0-9]*m")

// A row of watch fits, with colours and without, whatever is in it.
func TestWatchFits(t *testing.T) {
	for _, row := range []string{
		`"decision":"deny","status":403,"reason":"control-not-granted","method":"PATCH","path":%q,"client":%q,"targets":1024,"question":"control","allowed":3`,
		`"decision":"allow","status":200,"reason":"observe","would":"path-not-granted","would_status":403,"method":"GET","path":%q,"client":%q,"count":1000000`,
		`"decision":"deny","status":401,"reason":"issuer-untrusted","method":%q,"path":"/","unverified_issuer":%q`,
		`"decision":"allow","status":200,"reason":"administration","question":"observe","method":"start","name":%q,"kind":%q`,
		`"decision":"deny","status":403,"reason":"resource-unknown","question":"resource","kind":%q,"name":%q,"access":"write"`,
	} {
		line := fmt.Sprintf(`{"audit":1,"seq":1234567890,"time":"2026-11-22T02:00:10.000001Z","clock":"unset",`+row+
			"}\n", longPath, longName)
		for _, width := range []int{80, 132} {
			for _, colour := range []bool{false, true} {
				view := audit.View{Width: width, Colour: colour}
				text, err := view.Append([]byte(view.Head()), []byte(line))
				if err != nil {
					t.Fatal(err)
				}
				if coloured := colours.Match(text); coloured != colour {
					t.Errorf("colours: got %t, want %t: %q", coloured, colour, text)
				}
				for got := range strings.Lines(string(colours.ReplaceAll(text, nil))) {
					if n := ascii.Width([]byte(strings.TrimSuffix(got, "\n"))); n > width {
						t.Errorf("%d columns, colours %t: got %d: %q", width, colour, n, got)
					}
				}
			}
		}
	}
}
