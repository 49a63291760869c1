package system_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"nmosauthd/hal"
	"nmosauthd/platform"
	"nmosauthd/tinytest/authserver"
	"nmosauthd/tinytest/daemon"
	"nmosauthd/tinytest/spec"
)

// altered builds the daemon once more, with two things as no device has them: the old key of a client goes after five
// seconds and not after an hour, and the generic model has a device key, from the environment.
var altered = sync.OnceValues(func() (string, error) {
	dir := filepath.Join(folder, "altered")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	replace := map[string]string{}
	for path, change := range map[string][2]string{
		"agent/oauth/manage.go": {"keyRetired = time.Hour\n", "keyRetired = 5 * time.Second\n"},
		"hal/models/models.go":  {"\tgeneric,\n}\n", "\tkeyed(),\n}\n"},
	} {
		original, err := filepath.Abs(filepath.Join("..", "..", path))
		if err != nil {
			return "", err
		}
		text, err := os.ReadFile(original)
		if err != nil {
			return "", err
		}
		if bytes.Count(text, []byte(change[0])) != 1 {
			return "", fmt.Errorf("%s does not say %q once", path, change[0])
		}
		replace[original] = filepath.Join(dir, filepath.Base(path))
		text = bytes.Replace(text, []byte(change[0]), []byte(change[1]), 1)
		if err := os.WriteFile(replace[original], text, 0o600); err != nil {
			return "", err
		}
	}
	models, err := filepath.Abs("../../hal/models/keyed.go")
	if err != nil {
		return "", err
	}
	replace[models] = filepath.Join(dir, "keyed.go")
	if err := os.WriteFile(replace[models], []byte(keyed), 0o600); err != nil {
		return "", err
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(file, overlay, 0o600); err != nil {
		return "", err
	}
	return daemon.Build(dir, append(buildFlags(), "-overlay="+file)...)
})

// keyed is a file of hal/models.
const keyed = `package models

import (
	"os"

	"nmosauthd/hal"
)

func keyed() hal.Model {
	m := generic
	m.Key = func(string) ([]byte, error) {
		if key := os.Getenv("TEST_DEVICE_KEY"); key != "" {
			return []byte(key), nil
		}
		return nil, nil
	}
	return m
}
`

// startAltered runs altered in a box, with a device key if it is not empty.
func (b *box) startAltered(key string) {
	b.t.Helper()
	program, err := altered()
	if err != nil {
		b.t.Fatal(err)
	}
	c := exec.Command(program)
	c.Env = append(os.Environ(), "TEST_DEVICE_KEY="+key)
	b.caller, b.Daemon = newCaller(b.t, b.Dir), startCommand(b.t, c, b.Dir)
}

// stateText is all that is in the state folder's files for the client.
func (b *box) stateText() string {
	b.t.Helper()
	files, err := filepath.Glob(filepath.Join(b.config.State, "client*"))
	if err != nil || len(files) != 2 {
		b.t.Fatalf("got the files %q, error %v; want the two slots of the client", files, err)
	}
	var all strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			b.t.Fatal(err)
		}
		all.Write(text)
	}
	return all.String()
}

// The key is replaced while the device goes on getting tokens, at a server that goes by its copy of the key set for ten
// seconds: no assertion is refused, and afterwards nothing has the old key.
func TestClientRotate(t *testing.T) {
	spec.Rules(t, "CLI-68")
	t.Parallel()
	dir := newDir(t)
	fetchKeys := keysOf(t, dir)
	kids := func() (all []string) {
		t.Helper()
		text, err := fetchKeys("")
		var set struct{ Keys []struct{ Kid string } }
		if err == nil {
			err = json.Unmarshal(text, &set)
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range set.Keys {
			all = append(all, k.Kid)
		}
		return all
	}
	server := newServer(t, authserver.Options{FetchKeys: fetchKeys, Life: 30 * time.Second})
	c := clientOf(t, "keys = \"jwks_uri\"\njwks_uri = \"https://node-1.example.com/x-nmos-authd/jwks\"\n", server)
	if err := dir.Write(c); err != nil {
		t.Fatal(err)
	}
	b := &box{t: t, config: c, Daemon: &daemon.Daemon{Dir: dir}}
	b.startAltered("")
	b.register()
	b.awaitOwnToken("scope=registration")
	before, secret := kids(), privateKeys([]byte(b.stateText()))
	if len(before) != 1 || len(secret) != 1 {
		t.Fatalf("got the keys %q, %d of them private; want one", before, len(secret))
	}
	b.client("rotate", server.Issuer()).check(t, 0, "A new key is made", "")
	tokens := map[string]bool{}
	eventuallyOwn(t, "the old key is withdrawn", func() bool {
		r := b.ownToken("scope=registration")
		if r.Status != 200 {
			t.Fatalf("got %d %s, %s; want tokens all the time", r.Status, r.Reason, r.Detail)
		}
		tokens[r.TokenID] = true
		return strings.Contains(b.Log(), "the old key is withdrawn")
	})
	if len(tokens) < 2 {
		t.Errorf("got %d tokens meanwhile, want several", len(tokens))
	}
	b.awaitOwnToken("scope=events") // with the new key
	if after := kids(); len(after) != 1 || after[0] == before[0] {
		t.Errorf("/jwks has %q, want another key than %q", after, before)
	}
	if strings.Contains(b.stateText(), secret[0]) {
		t.Error("the old private key is still in the state folder")
	}
	eventually(t, "an answer with a token to each request for one", func() bool {
		return uint64(server.Requests(authserver.PathToken)) == b.clientStatus().Fetched
	})
	if s := b.clientStatus(); s.Failures != 0 || s.Clients[0].Rotation != "" || s.Clients[0].OldKeyEnds != 0 {
		t.Errorf("got the status %+v, want no failure and no replacement under way", s)
	}
	log := b.Log()
	for _, step := range []string{
		"replacing the OAuth client's key, as asked on the admin socket", "a new key is made, to replace " + before[0],
		"the new key is published beside the old one", "the new key signs", "the old key is withdrawn",
	} {
		_, rest, found := strings.Cut(log, step)
		if !found {
			t.Errorf("the log does not say %q in its turn", step)
			continue
		}
		log = rest
	}
	if n := server.Registrations(); n != 1 {
		t.Errorf("got %d registrations, want 1", n)
	}
	noViolations(t, server)
}

// privateKeys are the private keys in what the client keeps, as it stands there, each once.
func privateKeys(kept []byte) (all []string) {
	for _, part := range strings.Split(string(kept), `"pkcs8":"`)[1:] {
		key, _, _ := strings.Cut(part, `"`)
		all = append(all, key)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// Why a key is not replaced is said, and the one that is held stays.
func TestClientRotateRefused(t *testing.T) {
	spec.Rules(t, "CLI-68")
	t.Parallel()
	server := newServer(t, authserver.Options{})
	server.Misbehave(authserver.PathRegister, authserver.HostNotTrusted)
	b := start(t, clientOf(t, "", server))
	b.client("rotate").check(t, 1, "", "no client is held")
	server.Behave()
	b.register()
	b.client("rotate", "https://elsewhere.example.com").check(t, 1, "", "a client of \""+server.Issuer()+"\"")

	lost := b.config.State + "-lost"
	if err := os.Rename(b.config.State, lost); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(b.config.State, nil, 0o600); err != nil { // not a folder: root cannot write there either
		t.Fatal(err)
	}
	b.client("rotate").check(t, 1, "", "the registration cannot be stored")
	if s := b.clientStatus(); len(s.Clients) != 1 || s.Clients[0].Rotation != "" || len(s.Clients[0].KIDs) != 1 {
		t.Errorf("got the status %+v, want the client with its key", s)
	}
	b.Kill()
	if err := os.Remove(b.config.State); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(lost, b.config.State); err != nil {
		t.Fatal(err)
	}
	b.again(nil)
	b.register()

	server.Misbehave(authserver.PathClient, authserver.ServerError) // the new key does not get there
	b.client("rotate").check(t, 0, "A new key is made", "")
	b.client("rotate").check(t, 1, "", "another replacement is under way")
	text := strings.Join(strings.Fields(b.client("status").out), " ")
	if want := "the key is being replaced: the new one is not published yet"; !strings.Contains(text, want) {
		t.Errorf("client status: got %s, want %q", text, want)
	}
	b.accessToken("events") // by the old one

	bySecret := newServer(t, authserver.Options{})
	b = start(t, clientOf(t, "auth_method = \"client_secret_basic\"\n", bySecret))
	b.register()
	b.client("rotate").check(t, 1, "", "the server knows the client by a secret")
	noViolations(t, server, bySecret)
}

// On a device with a key of its own, what the client keeps is sealed, its secret and its private key alike. It is the
// same client after a restart; on another device it is none, and no second one is registered there (CLI-4, CLI-36).
func TestClientIsSealed(t *testing.T) {
	spec.Rules(t, "CLI-4", "CLI-36")
	t.Parallel()
	const mine, other = "0123456789abcdef-0123456789abcde", "another-key-of-another-device-01"
	for _, method := range []string{"private_key_jwt", "client_secret_basic"} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			server := newServer(t, authserver.Options{})
			dir, c := newDir(t), clientOf(t, fmt.Sprintf("auth_method = %q\n", method), server)
			if err := dir.Write(c); err != nil {
				t.Fatal(err)
			}
			b := &box{t: t, config: c, Daemon: &daemon.Daemon{Dir: dir}}
			b.startAltered(mine)
			b.register()
			b.accessToken("registration")
			id := b.clientStatus().Clients[0].ClientID
			b.Kill()

			seal, err := hal.NewSealer([]byte(mine))
			if err != nil {
				t.Fatal(err)
			}
			file, err := (&platform.StateDir{Path: c.State}).ReadFile("client", 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			plain, err := seal.Open("client", file)
			if err != nil {
				t.Fatal(err)
			}
			var kept struct {
				Clients []struct {
					ID     string `json:"client_id"`
					Secret string `json:"client_secret"`
					Token  string `json:"registration_access_token"`
				}
			}
			if err := json.Unmarshal(plain, &kept); err != nil || len(kept.Clients) != 1 || kept.Clients[0].ID != id {
				t.Fatalf("unsealed: %v, %d clients; want client %s", err, len(kept.Clients), id)
			}
			secrets := append(privateKeys(plain), kept.Clients[0].Secret, kept.Clients[0].Token)
			secrets = slices.DeleteFunc(secrets, func(s string) bool { return s == "" })
			if len(secrets) < 2 {
				t.Fatalf("got %d secrets, want a key or a secret, and a registration token", len(secrets))
			}
			text := b.stateText()
			for _, s := range append(secrets, id, "client_id", "pkcs8") {
				if slices.ContainsFunc(append(formsOf(s), s),
					func(form string) bool { return strings.Contains(text, form) }) {
					t.Errorf("the state folder shows %.12q", s)
				}
			}

			b.startAltered(mine)
			b.register()
			b.accessToken("events")
			if s := b.clientStatus(); len(s.Clients) != 1 || s.Clients[0].ClientID != id || s.Registrations != 0 {
				t.Errorf("after a restart: got %+v, want client %s", s, id)
			}
			b.Kill()
			b.startAltered(other)
			b.client("register").check(t, 1, "", "sealed on another device")
			if n := server.Registrations(); n != 1 {
				t.Errorf("got %d registrations, want 1", n)
			}
			noViolations(t, server)
		})
	}
}
