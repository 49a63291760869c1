package estserver

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// In a bubble the server answers by the bubble's clock, its certificate included, and refuses while it is down.
func TestInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pipe := NewPipe()
		s := start(t, Options{Listener: pipe})
		client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{
			DialContext: pipe.Dial, TLSClientConfig: &tls.Config{RootCAs: s.Facility().Pool()}, DisableKeepAlives: true,
		}}
		get := func() ([]*x509.Certificate, error) {
			resp, err := client.Get(s.Base() + "/" + CACerts)
			if err != nil {
				return nil, err
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				return nil, err
			}
			return certificates(t, body), nil
		}
		began := time.Now()
		for range 3 {
			if all, err := get(); err != nil || len(all) != 2 {
				t.Errorf("got %d certificates, %v", len(all), err)
			}
			time.Sleep(30 * 24 * time.Hour)
		}
		if at := s.Requests()[2].At; at.Before(began.Add(60 * 24 * time.Hour)) {
			t.Errorf("the last request came at %v, began at %v", at, began)
		}
		pipe.SetDown(true)
		if _, err := get(); err == nil {
			t.Error("answered while it is down")
		}
		wantNoViolations(t, s)
	})
}

var _ net.Listener = (*Pipe)(nil)
