package daemon

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"nmosauthd/agent/admin"
	"nmosauthd/agent/certs"
	"nmosauthd/agent/config"
	"nmosauthd/agent/discovery"
	"nmosauthd/platform"
)

// ownCerts is the device as an EST client, and what it has found and handed over.
type ownCerts struct {
	*certs.Client
	files    *handOver
	maker    *tls.Certificate // of the model
	makerErr error

	mu      sync.Mutex
	found   []discovery.Server // last
	until   time.Time          // they need not be looked for again
	skipped string             // what else was advertised, as the log has it
	began   time.Time          // since when certificates are to be had
	news    bool               // roots that are not handed over yet
	counts  certCounts
}

// certCounts are for the metrics.
type certCounts struct{ issued, failures uint64 }

// newOwnCerts connects the client with the rest of the daemon.
func (d *daemon) newOwnCerts() *ownCerts {
	o := &ownCerts{files: d.newHandOver()}
	o.Client = certs.New(certs.Options{
		Dial:    d.dialEST,
		Servers: d.estServers,
		Maker:   d.makerCertificate,
		Installed: func() ([]*x509.Certificate, error) {
			return readCertificates(d.inForce.Load().Certificates.CAFile)
		},
		Storage:  certStorage{d.persisted},
		HandOver: o.files.give,
		Clock:    func() (time.Time, bool) { return d.clock.NotBefore(), d.clock.now().Trusted },
		Report:   d.certEvent,
	})
	return o
}

// startCerts reads what was kept, and does what the sandbox does not let be done later: the maker's certificate is
// taken from the model, and the folder is made.
func (d *daemon) startCerts() {
	o := d.certs
	if d.device.Maker != nil {
		if o.maker, o.makerErr = d.device.Maker("/"); o.makerErr != nil {
			d.log.Warn("the maker's certificate cannot be used", zap.Error(o.makerErr))
		}
	}
	d.configureCerts()
	if err := o.Load(); err != nil {
		d.log.Error("the certificates that are kept cannot be used", zap.Error(err))
	}
	if d.startConfig.Certificates.Enabled() || o.holds() {
		if err := o.files.dir.Prepare(); err != nil {
			d.log.Error("[certificates] folder", zap.Error(err))
		}
	}
}

// holds reports whether there is anything to hand over.
func (o *ownCerts) holds() bool { return len(o.Roots()) > 0 || len(o.Certificates()) > 0 }

// awaitHandOver returns once what was kept is in the folder, or cannot be put there: whoever starts after the daemon
// finds it.
func (o *ownCerts) awaitHandOver() {
	if !o.holds() {
		return
	}
	select {
	case <-o.files.first:
	case <-time.After(5 * time.Second): // the disk hangs
	}
}

// certStorage keeps roots and certificates in the state folder, sealed as all that is kept there.
type certStorage struct{ *persisted }

func (s certStorage) Load() ([]byte, error)  { return s.loadCerts() }
func (s certStorage) Save(data []byte) error { return s.keepCerts(data) }

// configureCerts has the client go by the configuration in force and the device's names.
func (d *daemon) configureCerts() {
	o, c := d.certs, d.inForce.Load()
	x := &c.Certificates
	files := fileModes{fs.FileMode(x.FileMode()), x.Group}
	o.files.files.Store(&files)
	own := certs.Config{
		Enabled: x.Enabled(), Names: certificateNames(x.Names, c.names),
		TrustFirst: x.TrustFirst, Fingerprint: x.Fingerprint, NoRenewal: !x.Renew, Files: files,
	}
	if own.Enabled {
		own.Serial = d.serialNumber()
	}
	for _, kind := range x.Keys {
		own.Kinds = append(own.Kinds, certs.KeyKind(kind))
	}
	o.mu.Lock()
	o.until = time.Time{}
	switch {
	case !own.Enabled:
		o.began = time.Time{}
	case o.began.IsZero():
		o.began = time.Now()
	}
	o.mu.Unlock()
	o.Configure(own)
}

// serialNumber returns the device's serial number, as its maker's certificate has it, which the server compares it with
// (CERT-23, CERT-48).
func (d *daemon) serialNumber() string {
	maker, err := d.makerCertificate()
	if err != nil || maker == nil || len(maker.Certificate) == 0 { // which the client tells
		return d.own.identity().Serial
	}
	leaf, err := x509.ParseCertificate(maker.Certificate[0])
	if err != nil {
		return d.own.identity().Serial
	}
	return cmp.Or(leaf.Subject.SerialNumber, d.own.identity().Serial)
}

// certificateNames returns the names of a certificate: those configured, else the device's names that have a domain,
// and those in .local only if there is no other (CERT-22).
func certificateNames(configured, device []string) []string {
	if len(configured) > 0 {
		return configured
	}
	var names, local []string
	for _, name := range device {
		_, err := netip.ParseAddr(name)
		switch {
		case err == nil || !strings.Contains(name, "."):
		case strings.HasSuffix(name, ".local"):
			local = append(local, name)
		default:
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return local
	}
	return names
}

// estServers returns the EST servers, best first. Those of discovery are looked for again when their records say so.
func (d *daemon) estServers(ctx context.Context) ([]certs.Server, error) {
	c := d.inForce.Load()
	if at := c.Certificates.EST; at != config.ESTAuto {
		u, err := url.Parse(at)
		if err != nil {
			return nil, err // cannot happen: the configuration is checked
		}
		port, err := strconv.ParseUint(cmp.Or(u.Port(), "443"), 10, 16)
		return []certs.Server{{Host: u.Hostname(), Port: uint16(port), Label: strings.Trim(u.Path, "/")}}, err
	}
	o := d.certs
	o.mu.Lock()
	found, until := o.found, o.until
	o.mu.Unlock()
	var err error
	if !time.Now().Before(until) {
		var look discovery.Found
		look, err = d.client.Load().DiscoverEST(ctx, DiscoverOptions(c.Config), nil)
		var skipped []string
		for _, s := range look.Skipped {
			skipped = append(skipped, s.Instance+": "+s.Reason.Error())
		}
		found = look.Servers
		now := strings.Join(skipped, "; ")
		o.mu.Lock()
		news := now != o.skipped
		o.found, o.until, o.skipped = found, time.Now().Add(look.Again), now
		o.mu.Unlock()
		if news && now != "" {
			d.log.Warn("advertised EST servers cannot be used", zap.Strings("servers", skipped))
		}
	}
	var all []certs.Server
	for _, s := range found {
		all = append(all, certs.Server{Host: s.Host, Port: s.Port, Label: s.Selector})
	}
	return all, err
}

// dialEST connects to an EST server, at the addresses that were found with it if it was.
func (d *daemon) dialEST(ctx context.Context, network, address string) (net.Conn, error) {
	o := d.certs
	o.mu.Lock()
	at := slices.IndexFunc(o.found, func(s discovery.Server) bool {
		return address == net.JoinHostPort(s.Host, strconv.Itoa(int(s.Port)))
	})
	var server *discovery.Server
	if at >= 0 {
		server = &o.found[at]
	}
	o.mu.Unlock()
	return d.client.Load().DialServer(ctx, network, address, server)
}

// makerCertificate returns the maker's certificate: that which the configuration names, else the model's (CERT-26).
func (d *daemon) makerCertificate() (*tls.Certificate, error) {
	x := &d.inForce.Load().Certificates
	if x.MakerCertificate == "" {
		return d.certs.maker, d.certs.makerErr
	}
	key, err := platform.ReadPrivate(cmp.Or(x.MakerKey, x.MakerCertificate), maxPEM)
	if err != nil {
		return nil, err
	}
	chain := key
	if x.MakerKey != "" {
		if chain, err = readBounded(x.MakerCertificate, maxPEM); err != nil {
			return nil, err
		}
	}
	pair, err := tls.X509KeyPair(chain, key)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", x.MakerCertificate, err)
	}
	return &pair, nil
}

// certTexts are what the log says of the kinds of events.
var certTexts = [...]eventText{
	certs.EventFirstTrust: {zap.WarnLevel, "a root is trusted from now on that no other vouches for; compare its " +
		"fingerprint"},
	certs.EventRoots:      {zap.InfoLevel, "the roots that the EST server gives have changed"},
	certs.EventIssued:     {zap.InfoLevel, "a certificate for this device"},
	certs.EventWaiting:    {zap.InfoLevel, "the EST server wants somebody to agree to the certificate"},
	certs.EventHandedOver: {zap.InfoLevel, "roots and certificates are in "},
	certs.EventExpired:    {zap.ErrorLevel, "a certificate has ended, and no other came"},
	certs.EventRevoked:    {zap.ErrorLevel, "a certificate was revoked, and is taken away"},
	certs.EventForgotten:  {zap.WarnLevel, "roots and certificates are forgotten"},
	certs.EventFailure:    {zap.WarnLevel, "no certificate from the EST server"},
}

// certEvent logs what happened. The client takes care that no key is in an event.
func (d *daemon) certEvent(e certs.Event) {
	o := d.certs
	o.note(e)
	about := again(e.Again.Round(time.Second), fields(e.Err, "server", e.Server, "key", string(e.Key), "what", e.Text))
	said := certTexts[e.Kind]
	if e.Kind == certs.EventHandedOver {
		said.text += o.files.dir.Path
		if d.takeRoots() {
			said.text += "; servers are checked by the new roots"
		}
	}
	d.log.Log(said.level, said.text, about...)
	d.healthChanged()
}

// takeRoots has the authorization servers asked again if they are checked by roots that were just handed over, and
// reports whether they are.
func (d *daemon) takeRoots() bool {
	o := d.certs
	o.mu.Lock()
	news := o.news
	o.news = false
	o.mu.Unlock()
	if !news || d.inForce.Load().Authorization.CAFile != o.files.roots() {
		return false
	}
	d.finder.LookNow()
	d.store.RenewNow()
	return true
}

// note counts an event.
func (o *ownCerts) note(e certs.Event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch e.Kind {
	case certs.EventRoots, certs.EventFirstTrust:
		o.news = true
	case certs.EventIssued:
		o.counts.issued++
	case certs.EventFailure:
		o.counts.failures++
	}
}

// ChangeCerts is POST /certs and POST /certs/renew: certificates are asked for now, from the beginning, or for those
// that are held. It waits for the outcome.
func (d *daemon) ChangeCerts(ctx context.Context, enrol bool) error {
	o := d.certs
	if !d.inForce.Load().Certificates.Enabled() {
		return fmt.Errorf("[certificates] est is \"off\"; set it and send SIGHUP: %w", admin.ErrFixed)
	}
	ctx, cancel := context.WithTimeout(ctx, ownPatience)
	defer cancel()
	o.mu.Lock()
	o.until = time.Time{} // look for servers again
	o.mu.Unlock()
	what, ask := "renewing certificates", o.Renew
	if enrol {
		what, ask = "enrolling for certificates", o.Enrol
	}
	d.log.Info(what + ", as asked on the admin socket")
	select {
	case err := <-ask():
		return err
	case <-ctx.Done():
		return errors.New("not done yet, and still being tried: \"nmos-authd certs status\" shows how it goes")
	}
}

// InstallCertificate is PUT /certs: a pair that a person has, key and chain in PEM, is used from now on (CERT-47).
func (d *daemon) InstallCertificate(ctx context.Context, text []byte) error {
	d.log.Info("installing a certificate, as asked on the admin socket")
	err := d.certsTurn(ctx, func(ctx context.Context) error { return d.certs.Install(ctx, text) })
	if err != nil && d.sandbox != nil && d.certs.Status().HandOver != nil && missing(d.certs.files.dir.Path) {
		err = fmt.Errorf("%w; the sandbox does not let the folder be made: restart the daemon, which makes it", err)
	}
	return err
}

// RemoveCertificates is DELETE /certs: the pair of a kind of keys is taken away or, with "all", all that is held, the
// roots that came by EST included (CERT-47).
func (d *daemon) RemoveCertificates(ctx context.Context, what string) error {
	d.log.Warn("removing certificates, as asked on the admin socket", zap.String("what", what))
	return d.certsTurn(ctx, func(ctx context.Context) error {
		if what == "all" {
			return d.certs.Forget(ctx)
		}
		return d.certs.Remove(ctx, certs.KeyKind(what))
	})
}

// certsTurn has something done that waits for a request on its way.
func (d *daemon) certsTurn(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, ownPatience)
	defer cancel()
	err := do(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = errors.New("a request is on its way; try again")
	}
	return err
}
