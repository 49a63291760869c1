package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"nmosauthd/agent"
	"nmosauthd/agent/alarm"
	"nmosauthd/agent/config"
	"nmosauthd/agent/discovery"
	"nmosauthd/agent/keys"
	"nmosauthd/agent/oauth"
	"nmosauthd/hal"
	"nmosauthd/platform"
)

// maxSecret is the longest secret or initial access token, in bytes (CLI-30: any string).
const maxSecret = 4096

// ownClient is the device as an OAuth client.
type ownClient struct {
	*oauth.Client
	identity func() hal.Identity // read once, at the start: the sandbox may hide what it is read from
	look     alarm.Alarm
	counts   ownCounts

	mu      sync.Mutex
	secrets secrets
	broken  error  // why secrets could not be read
	issuer  string // that it was configured with last
	halted  string // an issuer that was forgotten on the admin socket: no client is registered there until asked for
	began   time.Time
	failing map[string]time.Time // by scope, "" for the registration: since when it fails
	waiting []chan<- oauth.Event // who waits for what happens
}

// ownCounts are for the metrics.
type ownCounts struct{ registrations, tokens, failures atomic.Uint64 }

// secrets are what the files that [client] names hold.
type secrets struct{ client, initial string }

// readSecrets reads the files that [client] names (CLI-4). Errors name key and file, and quote nothing.
func readSecrets(c *config.Client) (s secrets, err error) {
	if !c.Enabled() {
		return s, nil
	}
	read := func(key, path string) string {
		if path == "" {
			return ""
		}
		text, e := platform.ReadSecret(path, maxSecret)
		if e != nil {
			err = errors.Join(err, &config.KeyError{Key: "[client] " + key, Err: e})
		}
		return text
	}
	s.client = read("client_secret_file", c.ClientSecretFile)
	const initial = "initial_access_token_file"
	s.initial = read(initial, c.InitialAccessTokenFile)
	if strings.Contains(s.initial, " ") { // a secret may have one
		err = errors.Join(err, &config.KeyError{Key: "[client] " + initial,
			Err: fmt.Errorf("%s holds a blank, which no access token does", c.InitialAccessTokenFile)})
	}
	return s, err
}

// CheckClient checks what [client] refers to: files with secrets, and a group. The errors are for keys of the file.
func CheckClient(c *config.Client) error {
	_, err := readSecrets(c)
	if bad := platform.CheckGroup(c.Group); bad != nil {
		err = errors.Join(err, &config.KeyError{Key: "[client] group", Err: bad})
	}
	return err
}

// newOwnClient connects the client with the rest of the daemon.
func (d *daemon) newOwnClient() *ownClient {
	o := &ownClient{look: alarm.New(), failing: map[string]time.Time{}}
	o.Client = oauth.New(oauth.Options{
		HTTP: func(issuer string) *http.Client {
			if at, found := d.finder.Server(issuer); found {
				issuer = at // at the addresses that were found with it
			}
			return d.client.Load().HTTPClient(issuer)
		},
		Metadata: d.ownMetadata,
		Storage:  clientStorage{d},
		Clock: func() (time.Time, bool) {
			t := d.clock.now()
			return t.Now, t.Trusted
		},
		Report: d.ownEvent,
	})
	o.identity = sync.OnceValue(func() hal.Identity {
		identity, err := d.device.identify()
		if err != nil {
			d.log.Warn("the device does not say what it is", zap.Error(err))
		}
		return identity
	})
	return o
}

// ownMetadata returns the metadata of an issuer, from the discovered server that speaks for it if there is one (KEY-8).
func (d *daemon) ownMetadata(ctx context.Context, issuer string) (discovery.Metadata, error) {
	client := d.client.Load()
	at, found := d.finder.Server(issuer)
	if !found {
		return client.Metadata(ctx, issuer)
	}
	m, err := client.FoundMetadata(ctx, at)
	if err == nil && keys.TrimIssuer(m.Issuer) != keys.TrimIssuer(issuer) {
		return m, fmt.Errorf("the metadata of the server found at %s name another issuer, %+.200q", at, m.Issuer)
	}
	return m, err
}

// configureClient takes the secrets of a configuration in force, or why they cannot be read.
func (d *daemon) configureClient(s secrets, broken error) {
	o := d.own
	o.mu.Lock()
	o.secrets, o.broken = s, broken
	o.mu.Unlock()
	if broken != nil {
		d.log.Error("the device is not an OAuth client: a secret cannot be read", zap.Error(broken))
	}
	o.lookNow()
}

// lookNow has the choice of the issuer reconsidered: something that it depends on may have changed.
func (o *ownClient) lookNow() { o.look.Ring() }

// runClient keeps the client's configuration up to date until ctx ends.
func (d *daemon) runClient(ctx context.Context) {
	d.own.look.Run(ctx, func() time.Duration {
		d.chooseClient(ctx)
		return 0
	})
}

// chooseClient configures the client for the issuer at which the device is to be one.
func (d *daemon) chooseClient(ctx context.Context) {
	c := d.inForce.Load()
	o := d.own
	var chosen oauth.Config
	if c.Client.Enabled() {
		held, err := o.Held(ctx) // an error is told by what follows
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			held = nil
		}
		o.mu.Lock()
		before := o.issuer
		o.mu.Unlock()
		chosen = d.clientConfig(c, d.chooseIssuer(c.Config, before, held))
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.broken != nil {
		chosen = oauth.Config{}
	}
	switch changed := o.issuer != chosen.Issuer; {
	case changed && chosen.Issuer != "":
		d.log.Info("the device is an OAuth client of this server", zap.String("issuer", chosen.Issuer),
			zap.String("name", chosen.Name), zap.Strings("scopes", chosen.Scopes))
		fallthrough
	case changed:
		o.began = time.Now()
		clear(o.failing)
	}
	o.issuer = chosen.Issuer
	if o.issuer == o.halted {
		chosen.Issuer = ""
	}
	o.Configure(chosen)
}

// clientConfig is what the configuration and the device say of the client.
func (d *daemon) clientConfig(c *inForceConfig, issuer string) oauth.Config {
	o, cl := d.own, &c.Client
	o.mu.Lock()
	secrets := o.secrets
	o.mu.Unlock()
	identity := o.identity()
	own := oauth.Config{
		Issuer: issuer, Name: clientName(identity, c.names), Scopes: cl.Scopes, InitialToken: secrets.initial,
		JWKSURI: cl.JWKSURI, Given: oauth.Given{ID: cl.ClientID, Secret: secrets.client},
	}
	if cl.Keys != config.ClientKeysAuto {
		own.Keys = oauth.KeyMethod(cl.Keys)
	}
	if cl.AuthMethod != config.ClientAuthAuto {
		own.AuthMethod = string(cl.AuthMethod)
	}
	if own.SoftwareID = cl.SoftwareID; own.SoftwareID != "" {
		own.Version = shownName(cmp.Or(identity.Firmware, d.version))
	}
	return own
}

// clientName is the client_name (CLI-31): maker, product and serial number, which no other device has. Without a serial
// number the host name stands for it, and without either there is none.
func clientName(id hal.Identity, names []string) string {
	own := id.Serial
	if own == "" && len(names) > 0 {
		own = names[0]
	}
	if own == "" {
		return ""
	}
	what := strings.TrimSpace(id.Maker + " " + id.Product)
	return shownName(cmp.Or(what, "NMOS device") + " " + own)
}

// shownName is a name as servers show it: of bounded length, on one line, in ASCII, which all of them take.
func shownName(s string) string {
	const most = 120
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
	if len(s) > most { // the serial number is at the end
		s = s[len(s)-most:]
	}
	return s
}

// chooseIssuer returns the issuer at which the device is to be a client, "" if none is known yet: the one that [client]
// names; else one at which it is registered, since another client_id would lock it out of its own entries in the
// registry (CLI-11); else the one whose keys are in use. A token never brings one: whoever names himself in a token
// must not be given the initial access token.
func (d *daemon) chooseIssuer(c *config.Config, before string, held []string) string {
	if c.Client.Issuer != "" {
		return keys.TrimIssuer(c.Client.Issuer)
	}
	var candidates []string
	for _, issuer := range c.Authorization.Servers {
		candidates = append(candidates, keys.TrimIssuer(issuer))
	}
	for _, f := range d.finder.Found().Servers {
		for _, issuer := range f.Issuers {
			candidates = append(candidates, keys.TrimIssuer(issuer))
		}
	}
	if slices.Contains(candidates, before) && slices.Contains(held, before) {
		return before
	}
	for _, issuer := range candidates {
		if slices.Contains(held, issuer) {
			return issuer
		}
	}
	withKeys := ""
	for _, s := range d.store.Status() {
		issuer := keys.TrimIssuer(s.Issuer)
		switch {
		case !slices.Contains(candidates, issuer):
		case s.Used:
			return issuer
		case withKeys == "" && len(s.KIDs) > 0:
			withKeys = issuer
		}
	}
	if withKeys == "" && len(candidates) > 0 { // Keycloak may make its key when it signs the first token
		withKeys = candidates[0]
	}
	return withKeys
}

// ownTexts are what the log says of the kinds of events.
var ownTexts = [...]eventText{
	oauth.EventRegistered: {zap.InfoLevel, "registered as an OAuth client"},
	oauth.EventUpdated:    {zap.InfoLevel, "the registration as an OAuth client is updated"},
	oauth.EventGone:       {zap.WarnLevel, "the registration as an OAuth client is lost"},
	oauth.EventForgotten:  {zap.WarnLevel, "the registration as an OAuth client is forgotten"},
	oauth.EventKeys:       {zap.InfoLevel, "the OAuth client's keys"},
	oauth.EventToken:      {zap.DebugLevel, "a token for this device"},
	oauth.EventFailure:    {zap.WarnLevel, "as an OAuth client"},
}

// ownEvent logs what happened to the client. oauth takes care that no secret is in an event.
func (d *daemon) ownEvent(e oauth.Event) {
	about := again(e.Again.Round(time.Millisecond), fields(e.Err, "issuer", e.Issuer, "scope", e.Scope, "what", e.Text))
	said := ownTexts[e.Kind]
	if d.own.note(e) {
		said.level = zap.InfoLevel
	}
	d.log.Log(said.level, said.text, about...)
}

// note counts an event and tells those who wait. It reports whether a token is the first of its scope, or the first
// after a failure.
func (o *ownClient) note(e oauth.Event) (first bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	since, known := o.failing[e.Scope]
	switch e.Kind {
	case oauth.EventRegistered:
		o.counts.registrations.Add(1)
		delete(o.failing, "")
	case oauth.EventGone:
		o.began = time.Now()
	case oauth.EventToken:
		o.counts.tokens.Add(1)
		first = !known || !since.IsZero()
		o.failing[e.Scope] = time.Time{}
	case oauth.EventFailure:
		o.counts.failures.Add(1)
		if since.IsZero() {
			o.failing[e.Scope] = time.Now()
		}
	}
	for _, w := range o.waiting {
		select {
		case w <- e:
		default:
		}
	}
	return first
}

// OwnToken returns the device's own token for a scope, or why there is none; it does not wait (CLI-69).
func (d *daemon) OwnToken(scope string) oauth.Token {
	c := d.inForce.Load()
	if !c.Client.Enabled() {
		return oauth.Token{Err: errNoClient, Retry: time.Hour}
	}
	t := d.own.Token(scope)
	d.own.mu.Lock()
	defer d.own.mu.Unlock()
	switch {
	case t.Err == nil:
	case d.own.broken != nil:
		t.Err, t.Retry = d.own.broken, time.Minute
	case d.own.halted != "" && d.own.halted == d.own.issuer:
		t.Err, t.Retry = errHalted, time.Minute
	case errors.Is(t.Err, oauth.ErrScope) && mayHave(c.Client.Scopes, scope):
		t.Err, t.Retry = errUnconfigured, 2*time.Second // the configuration is not applied yet
	}
	return t
}

// errNoClient is why a device without [client] scopes has no tokens.
var errNoClient = fmt.Errorf("[client] scopes is empty, so a token with this scope is %w", oauth.ErrScope)

// errUnconfigured is why there is no token in the first moment.
var errUnconfigured = errors.New("the daemon has not chosen an authorization server yet")

// mayHave reports whether every name of a scope is configured.
func mayHave(scopes []string, scope string) bool {
	return !slices.ContainsFunc(strings.Fields(scope), func(name string) bool { return !slices.Contains(scopes, name) })
}

var errHalted = errors.New("the registration was forgotten by an administrator; " +
	"\"nmos-authd client register\" makes another one")

// RefusedToken says that a resource server answered 401 to a token of OwnToken (CLI-14), and reports whether that was
// the one in use.
func (d *daemon) RefusedToken(token string) bool { return d.own.ReportRefused(token) }

// MayHaveTokens returns why the caller on a connection is given no token of the device, nil if it is (CLI-69).
func (d *daemon) MayHaveTokens(conn net.Conn, peer agent.Peer) error {
	c := &d.inForce.Load().Client
	if peer.UID == 0 || peer.UID == int64(os.Geteuid()) ||
		peer.UID >= 0 && slices.Contains(c.AllowUIDs, uint32(peer.UID)) {
		return nil
	}
	if c.Group != "" {
		if is, err := platform.PeerInGroup(conn, c.Group); err != nil {
			return fmt.Errorf("[client] group: %w", err)
		} else if is {
			return nil
		}
	}
	return fmt.Errorf("user %d is given no tokens: [client] allow_uids and group say who is", peer.UID)
}

// tokensFor hands out the device's own tokens on one connection of the decision socket.
type tokensFor struct {
	*daemon
	conn *agent.Conn
}

// MayHaveTokens implements agent.OwnTokens.
func (t tokensFor) MayHaveTokens() error { return t.daemon.MayHaveTokens(t.conn, t.conn.Peer) }

// clientStorage keeps the registrations in the state folder.
type clientStorage struct{ d *daemon }

// errNoState is why nothing is registered without a state folder: each start would leave another client at the server.
var errNoState = errors.New("[state] dir is empty")

// memoryOnly reports whether nothing has to be kept: a client that was made by hand, whose secret the configuration
// has.
func (s clientStorage) memoryOnly() bool {
	c := s.d.inForce.Load()
	return c.State.Dir == "" && c.Client.ClientID != "" && c.Client.ClientSecretFile != ""
}

func (s clientStorage) Load() ([]byte, error) { return s.d.persisted.loadClient() }

func (s clientStorage) Save(data []byte) error {
	if s.memoryOnly() {
		return nil
	}
	return s.d.persisted.keepClient(data)
}

// failingSince returns for how long what fails has failed, by scope.
func (o *ownClient) failingSince() map[string]time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	return maps.Clone(o.failing)
}
