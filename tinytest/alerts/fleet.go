// Package alerts has a real Prometheus watch a fleet of real daemons, with the alert rules that are shipped in
// configs/prometheus.
//
//	f, err := alerts.Start(ctx, program, 20, "configs/prometheus/nmos-authd.rules.yml")
//	defer f.Close()
//	f.Servers[0].Replace()
//	firing, err := f.WaitFiring(ctx, "NmosAuthdTokensRefused", 10)
//
// Half of the devices use each of two authorization servers. A device's metrics reach Prometheus as with a maker's web
// server: over a port that passes requests on to the admin socket. All is on loopback.
//
// Limits: for tests and demonstrations. Minutes of the rules are seconds here.
package alerts

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"nmosauthd/tinytest/authserver"
	"nmosauthd/tinytest/daemon"
	"nmosauthd/tinytest/firmware"
	"nmosauthd/tinytest/mint"
)

// Program is Prometheus' own; the Debian package prometheus has it.
const Program = "prometheus"

// Device is a daemon and what asks it.
type Device struct {
	Name   string // also the instance in Prometheus
	Server *authserver.Server
	*daemon.Daemon
	asker   *firmware.Asker
	metrics *http.Server
	token   string
}

// Fleet is all that runs. Close it.
type Fleet struct {
	Servers [2]*authserver.Server
	Devices []*Device
	URL     string // of Prometheus

	dir        string
	prometheus *exec.Cmd
	said       bytes.Buffer
	asking     sync.WaitGroup
	stop       context.CancelFunc
}

// Start starts two servers, n devices and Prometheus with the rules of a file, and has a controller ask each device
// twice a second, with the token that it got at the start.
func Start(ctx context.Context, program string, n int, rules string) (f *Fleet, err error) {
	f = &Fleet{}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	if f.dir, err = os.MkdirTemp("", "fleet"); err != nil {
		return f, err
	}
	for i := range f.Servers {
		if f.Servers[i], err = authserver.Start(authserver.Options{}); err != nil {
			return f, err
		}
	}
	for i := range n {
		d := &Device{Name: fmt.Sprintf("stagebox-%02d", i+1), Server: f.Servers[i*len(f.Servers)/n]}
		f.Devices = append(f.Devices, d)
		if err = d.start(ctx, program); err != nil {
			return f, fmt.Errorf("%s: %w", d.Name, err)
		}
	}
	if err = f.startPrometheus(rules); err != nil {
		return f, err
	}
	asking, stop := context.WithCancel(context.Background())
	f.stop = stop
	for _, d := range f.Devices {
		f.asking.Go(func() {
			for tick := time.NewTicker(500 * time.Millisecond); ; {
				select {
				case <-asking.Done():
					tick.Stop()
					return
				case <-tick.C:
					d.Ask() // what it answers shows in the metrics
				}
			}
		})
	}
	return f, nil
}

// Config is what the device's daemon is configured with; write it with another mode and send SIGHUP to change that.
func (d *Device) Config() daemon.Config {
	return daemon.Config{
		Names: []string{d.Name + ".example.com"}, Servers: []string{d.Server.Issuer()}, CAPEM: d.Server.CAPEM(),
		Admin: true, More: "refresh = \"5s\"\nretry = \"1s\"\n",
	}
}

func (d *Device) start(ctx context.Context, program string) error {
	dir, err := daemon.NewDir()
	if err != nil {
		return err
	}
	if err := dir.Write(d.Config()); err != nil {
		return err
	}
	if d.Daemon, err = daemon.Start(ctx, program, dir); err != nil {
		return errors.Join(err, dir.Remove())
	}
	d.asker = firmware.NewAsker(dir.Authz(), 10*time.Second)
	d.Renew()
	port, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	d.metrics = &http.Server{
		Addr: port.Addr().String(),
		Handler: &httputil.ReverseProxy{
			Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "http", Host: "localhost"}) },
			Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "unix", dir.Admin())
			}},
			ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) {
				w.WriteHeader(http.StatusBadGateway)
			},
		},
	}
	go d.metrics.Serve(port)
	return nil
}

// Renew has the device's controller get a new token.
func (d *Device) Renew() {
	d.token = d.Server.Token(mint.Options{Device: d.Name + ".example.com", Scope: "node connection"}).Sign()
}

// Ask asks for the device's senders once more.
func (d *Device) Ask() (firmware.Reply, error) {
	return d.asker.Ask("decide 1", "method=GET", "target=/x-nmos/node/v1.3/senders", "authorization=Bearer "+d.token)
}

var minutes = regexp.MustCompile(`(for: |\[)(\d+)([mh])\b`)

// shorten has rules count seconds in place of minutes, and minutes in place of hours; a rate needs a few samples.
func shorten(rules string) string {
	return minutes.ReplaceAllStringFunc(rules, func(found string) string {
		m := minutes.FindStringSubmatch(found)
		if m[1] == "[" {
			return m[1] + m[2] + map[string]string{"m": "0s", "h": "m"}[m[3]]
		}
		return m[1] + m[2] + map[string]string{"m": "s", "h": "m"}[m[3]]
	})
}

func (f *Fleet) startPrometheus(rules string) error {
	text, err := os.ReadFile(rules)
	if err != nil {
		return err
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	address := free.Addr().String()
	free.Close() // it cannot be handed on; who takes it meanwhile is noticed when Prometheus does not start
	var config strings.Builder
	config.WriteString("global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}\n" +
		"rule_files: [rules.yml]\nscrape_configs:\n  - job_name: nmos-authd\n    static_configs:\n")
	for _, d := range f.Devices {
		fmt.Fprintf(&config, "      - {targets: [%q], labels: {instance: %s}}\n", d.metrics.Addr, d.Name)
	}
	err = errors.Join(os.WriteFile(filepath.Join(f.dir, "rules.yml"), []byte(shorten(string(text))), 0o644),
		os.WriteFile(filepath.Join(f.dir, "prometheus.yml"), []byte(config.String()), 0o644))
	if err != nil {
		return err
	}
	f.URL = "http://" + address
	f.prometheus = exec.Command(Program, "--config.file="+filepath.Join(f.dir, "prometheus.yml"),
		"--storage.tsdb.path="+filepath.Join(f.dir, "data"), "--web.listen-address="+address)
	f.prometheus.Stdout, f.prometheus.Stderr = &f.said, &f.said
	return f.prometheus.Start()
}

// Alert is one that fires.
type Alert struct {
	Labels      map[string]string
	Annotations map[string]string
	State       string
}

// Firing are the alerts of a name that fire, all if it is "".
func (f *Fleet) Firing(ctx context.Context, name string) ([]Alert, error) {
	var answer struct{ Data struct{ Alerts []Alert } }
	if err := f.get(ctx, "/api/v1/alerts", &answer); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(answer.Data.Alerts, func(a Alert) bool {
		return a.State != "firing" || name != "" && a.Labels["alertname"] != name
	}), nil
}

// WaitFiring waits until exactly n alerts of a name fire, and returns them.
func (f *Fleet) WaitFiring(ctx context.Context, name string, n int) (firing []Alert, err error) {
	for {
		if firing, err = f.Firing(ctx, name); err == nil && len(firing) == n {
			return firing, nil
		}
		if err := pause(ctx); err != nil {
			return nil, fmt.Errorf("%w: of %q %d fire, want %d: %v", err, name, len(firing), n, firing)
		}
	}
}

// WaitScraped waits until Prometheus has the metrics of all devices, and all are healthy.
func (f *Fleet) WaitScraped(ctx context.Context) error {
	for {
		var answer struct {
			Data struct {
				Result []struct{ Metric map[string]string }
			}
		}
		err := f.get(ctx, "/api/v1/query?query="+url.QueryEscape("nmos_authd_healthy == 1"), &answer)
		if err == nil && len(answer.Data.Result) == len(f.Devices) {
			return nil
		}
		if ended := pause(ctx); ended != nil {
			return fmt.Errorf("%w: %d of %d devices are healthy (%v)",
				ended, len(answer.Data.Result), len(f.Devices), err)
		}
	}
}

func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(200 * time.Millisecond):
		return nil
	}
}

func (f *Fleet) get(ctx context.Context, path string, into any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, f.URL+path, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", f.URL, response.Status)
	}
	return json.NewDecoder(response.Body).Decode(into)
}

// Close ends everything. The error holds what Prometheus said if it ended by itself.
func (f *Fleet) Close() (err error) {
	if f.stop != nil {
		f.stop()
	}
	f.asking.Wait()
	if f.prometheus != nil && f.prometheus.Process != nil {
		if ended := f.prometheus.Process.Signal(os.Interrupt); ended != nil {
			err = fmt.Errorf("%s ended by itself:\n%s", Program, f.said.String())
		}
		f.prometheus.Wait()
	}
	for _, d := range f.Devices {
		if d.metrics != nil {
			d.metrics.Close()
		}
		if d.asker != nil {
			d.asker.Close()
		}
		if d.Daemon != nil {
			d.Kill()
			err = errors.Join(err, d.Remove())
		}
	}
	for _, s := range f.Servers {
		if s != nil {
			s.Close()
		}
	}
	return errors.Join(err, os.RemoveAll(f.dir))
}
