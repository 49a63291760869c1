package daemon

import (
	"strings"
	"testing"

	"nmosauthd/agent/config"
)

// The server is where the configuration says, in whatever form it says so.
func TestSyslogAddress(t *testing.T) {
	for syslog, want := range map[string]string{
		"udp://log.example.com":       "udp://log.example.com:514 ",
		"tcp://192.0.2.1:1601":        "tcp://192.0.2.1:1601 ",
		"tls://[2001:db8::1]":         "tls://[2001:db8::1]:6514 ",
		"udp://[fe80::1%25eth0]:5514": "udp://[fe80::1%eth0]:5514 ",
	} {
		c, err := config.Parse("test", []byte("[authorization]\nservers = [\"https://auth.example.com\"]\n"+
			"[audit]\nsinks = [\"syslog\"]\nsyslog = \""+syslog+"\"\n"))
		if err != nil {
			t.Fatal(err)
		}
		d := &daemon{clock: newClock()}
		d.inForce.Store(&inForceConfig{c, nil})
		if got := d.syslog(c).Settings(); !strings.HasPrefix(got, want) {
			t.Errorf("%s: got %q, want %s…", syslog, got, want)
		}
	}
}
