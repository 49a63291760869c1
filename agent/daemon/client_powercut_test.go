package daemon

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json"
	"go.uber.org/zap"

	"nmosauthd/agent/config"
	"nmosauthd/agent/discovery"
	"nmosauthd/agent/oauth"
	"nmosauthd/hal"
	"nmosauthd/platform"
	"nmosauthd/tinytest/powercut"
	"nmosauthd/tinytest/spec"
)

const cutIssuer = "https://auth.example.com"

// cutServer is an authorization server that can be copied: what it knows is what it had been told by a moment.
type cutServer struct {
	mu         sync.Mutex
	keys       map[string]jose.JSONWebKeySet // of each client
	tokens     map[string]string             // registration access tokens
	registered int
	last       int // of what it numbers
	saw        []string
}

func (s *cutServer) copy() *cutServer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &cutServer{keys: maps.Clone(s.keys), tokens: maps.Clone(s.tokens), registered: s.registered, last: s.last}
}

// secrets are those that it has seen.
func (s *cutServer) secrets() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.saw)
}

// answered reports whether a client was told of itself so many times.
func (s *cutServer) answered(n int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last >= n
}

func (s *cutServer) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		var err error
		if body, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	status, text := s.answer(r, body)
	s.mu.Unlock()
	return &http.Response{StatusCode: status, Header: http.Header{},
		Body: io.NopCloser(strings.NewReader(text)), Request: r}, nil
}

func (s *cutServer) answer(r *http.Request, body []byte) (status int, text string) {
	var m struct {
		JWKS jose.JSONWebKeySet `json:"jwks"`
	}
	known := func(id string) string {
		s.last++
		s.tokens[id] = fmt.Sprintf("registration-token-%d", s.last)
		s.saw = append(s.saw, s.tokens[id])
		return fmt.Sprintf(`{"client_id":%q,"registration_access_token":%q,"registration_client_uri":"%s/client/%s"}`,
			id, s.tokens[id], cutIssuer, id)
	}
	id, managed := strings.CutPrefix(r.URL.Path, "/client/")
	switch {
	case r.URL.Path == "/register":
		if err := json.Unmarshal(body, &m); err != nil || len(m.JWKS.Keys) == 0 {
			return 400, `{"error":"invalid_client_metadata"}`
		}
		s.registered++
		id = fmt.Sprintf("client-%d", s.registered)
		s.keys[id] = m.JWKS
		return 201, known(id)
	case managed:
		if s.tokens[id] == "" || r.Header.Get("Authorization") != "Bearer "+s.tokens[id] {
			return 401, `{"error":"invalid_token"}`
		}
		if r.Method == http.MethodPut {
			if err := json.Unmarshal(body, &m); err != nil || len(m.JWKS.Keys) == 0 {
				return 400, `{"error":"invalid_client_metadata"}`
			}
			s.keys[id] = m.JWKS
			return 200, known(id) // the old registration token is no longer valid
		}
		return 200, fmt.Sprintf(`{"client_id":%q}`, id)
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return 400, `{"error":"invalid_request"}`
	}
	id = form.Get("client_id")
	s.saw = append(s.saw, form.Get("client_assertion"))
	jws, err := jose.ParseSignedCompact(form.Get("client_assertion"), []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return 400, `{"error":"invalid_request"}`
	}
	keys := s.keys[id]
	for _, k := range keys.Key(jws.Signatures[0].Header.KeyID) {
		if _, err := jws.Verify(k); err == nil {
			return 200, `{"access_token":"t","token_type":"Bearer","expires_in":300}`
		}
	}
	return 401, `{"error":"invalid_client"}`
}

// cutDevice is a device on a disk, at a server.
func cutDevice(disk platform.Disk, seal *hal.Sealer, server *cutServer) (*oauth.Client, *persisted) {
	p := &persisted{dir: platform.StateDir{Path: stateDir, Disk: disk}, seal: seal, log: zap.NewNop()}
	d := &daemon{persisted: p}
	d.inForce.Store(&inForceConfig{Config: config.Default()})
	return oauth.New(oauth.Options{
		HTTP: func(string) *http.Client { return &http.Client{Transport: server} },
		Metadata: func(context.Context, string) (discovery.Metadata, error) {
			return discovery.Metadata{
				TokenEndpoint: cutIssuer + "/token", RegistrationEndpoint: cutIssuer + "/register",
				TokenAuthMethods: []string{oauth.PrivateKeyJWT}, TokenAuthSigningAlgs: []string{"ES256"},
			}, nil
		},
		Storage: clientStorage{d}, Clock: func() (time.Time, bool) { return time.Now(), true },
		Report: func(oauth.Event) {},
	}), p
}

func cutConfig(name string) oauth.Config {
	return oauth.Config{Issuer: cutIssuer, Name: name, Scopes: []string{"registration"}}
}

// works runs a client until it has a token, for a quarter of an hour at most.
func works(t *testing.T, c *oauth.Client, name string) bool {
	ctx, off := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { c.Run(ctx) })
	c.Configure(cutConfig(name))
	defer running.Wait()
	defer off()
	for range 15 * 12 {
		if c.Token("registration").Err == nil {
			return true
		}
		time.Sleep(5 * time.Second)
	}
	return false
}

// The power fails at every step of every write of a device's life: the registration, settings that change, a key that
// is replaced. Whatever is then found on the disk, the device goes on: with the client that it had, and the keys that
// the server has. Another one is registered only if the power failed between the server's answer and the write, which
// leaves one behind (CLI-36, CLI-68). What is on the disk shows no secret, since the device has a key to seal it
// (CLI-4).
func TestClientPowerCut(t *testing.T) {
	spec.Rules(t, "CLI-4", "CLI-36", "CLI-68")
	synctest.Test(t, func(t *testing.T) {
		seal, err := hal.NewSealer(bytes.Repeat([]byte("ab"), hal.KeySize/2))
		if err != nil {
			t.Fatal(err)
		}
		server := &cutServer{keys: map[string]jose.JSONWebKeySet{}, tokens: map[string]string{}}
		disk := powercut.New("/var/lib")
		moments, behind := 0, 0
		check := func(moment string, found *powercut.Disk) {
			moments++
			then := server.copy()
			before := then.registered
			c, p := cutDevice(found, seal, then)
			data, err := p.loadClient()
			if err != nil {
				t.Errorf("%s: the client cannot be read: %v", moment, err)
				return
			}
			held := bytes.Contains(data, []byte(`"client_id"`))
			name := "a"
			if !works(t, c, name) {
				t.Errorf("%s: no token; %+v", moment, c.Status())
			}
			want := 1
			if before == 1 && !held {
				want = 2
				behind++
			}
			if then.registered != want {
				t.Errorf("%s: %d registrations (%d before, client held: %v), want %d",
					moment, then.registered, before, held, want)
			}
			for _, s := range slices.Concat(server.secrets(), then.secrets(), []string{"pkcs8", "client-1"}) {
				for _, slot := range filesOf(t, found) {
					if strings.Contains(slot, s) {
						t.Errorf("%s: the disk shows %.20q", moment, s)
					}
				}
			}
		}
		err = disk.Cut(func() error {
			ctx, off := context.WithCancel(t.Context())
			defer synctest.Wait()
			defer off()
			c, _ := cutDevice(disk, seal, server)
			go c.Run(ctx)
			c.Configure(cutConfig("a"))
			until := func(done func() bool) { // the devices that are tried meanwhile take their time
				for range 100_000 {
					if c.Token("registration"); done() {
						return
					}
					time.Sleep(10 * time.Second)
				}
			}
			until(func() bool { return c.Token("registration").Err == nil })
			c.Configure(cutConfig("b"))
			until(func() bool { return server.answered(2) })
			if err := c.RotateKey(ctx); err != nil {
				return err
			}
			until(func() bool { return server.answered(4) && c.Status().Clients[0].Rotation == "" })
			s := c.Status()
			if len(s.Clients) != 1 || len(s.Clients[0].KeyIDs) != 1 || s.Err != nil || s.Tokens[0].Err != nil {
				return fmt.Errorf("in the end: %+v", s)
			}
			return nil
		}, check)
		if err != nil {
			t.Error(err)
		}
		t.Logf("%d disks were found; a client was left behind %d times", moments, behind)
		if moments < 300 || behind == 0 || behind == moments {
			t.Errorf("%d disks were found, and %d left a client behind, want hundreds and a few", moments, behind)
		}
	})
}

// filesOf returns what is in the files of the state folder.
func filesOf(t *testing.T, d *powercut.Disk) (all []string) {
	names, err := d.Names(stateDir)
	if err != nil {
		return nil // not made yet
	}
	for _, name := range names {
		f, err := d.Open(stateDir + "/" + name)
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(f)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(data))
	}
	return all
}
