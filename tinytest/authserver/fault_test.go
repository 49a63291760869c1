package authserver

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"nmosauthd/tinytest/mint"
)

// outcome is what a client sees of one request.
type outcome struct {
	status   int
	header   http.Header
	body     []byte
	dialErr  error // no answer at all
	bodyErr  error // an answer that ends badly
	location string
}

// fetch asks for a path with the server's own client and reads at most 256 KiB, as a careful client does.
func fetch(t *testing.T, s *Server, path string, timeout time.Duration) outcome {
	t.Helper()
	client := s.Client()
	client.Timeout = timeout
	response, err := client.Get(s.URL() + path)
	if err != nil {
		return outcome{dialErr: err}
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 256<<10))
	return outcome{
		status: response.StatusCode, header: response.Header, body: body, bodyErr: err,
		location: response.Header.Get("Location"),
	}
}

func isTimeout(err error) bool {
	var e interface{ Timeout() bool }
	return errors.As(err, &e) && e.Timeout()
}

// isReset reports whether a connection was reset: which of its two errors comes depends on what was written by then.
func isReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// proofs say, for each fault, whether an outcome shows it. A fault without a proof fails the test.
var proofs = map[Fault]func(s *Server, o outcome) bool{
	Hang: func(_ *Server, o outcome) bool { return isTimeout(o.dialErr) },
	Half: func(_ *Server, o outcome) bool {
		return errors.Is(o.bodyErr, io.ErrUnexpectedEOF) &&
			len(o.body) > 0
	},
	HTML: func(_ *Server, o outcome) bool {
		return o.status == 200 && bytes.Contains(o.body, []byte("<title>"))
	}, NotFound: func(_ *Server, o outcome) bool { return o.status == 404 },
	ServerError:  func(_ *Server, o outcome) bool { return o.status == 500 },
	Unavailable:  func(_ *Server, o outcome) bool { return o.status == 503 && o.header.Get("Retry-After") == "1" },
	RedirectHTTP: func(s *Server, o outcome) bool { return o.location == "http"+s.URL()[len("https"):]+PathJWKS },
	RedirectOther: func(s *Server, o outcome) bool {
		return o.status == 302 && o.location == "https://localhost:"+s.Port()+"/elsewhere/jwks"
	},
	RedirectLoop: func(s *Server, o outcome) bool { return o.location == s.URL()+PathJWKS },
	Reset:        func(_ *Server, o outcome) bool { return isReset(o.dialErr) },
	Drip: func(_ *Server, o outcome) bool {
		return isTimeout(o.bodyErr) &&
			len(o.body) > 0 && len(o.body) < 300
	},
	BodyBroken: func(_ *Server, o outcome) bool { return o.bodyErr == nil && !json.Valid(o.body) },
	BodyDuplicates: func(_ *Server, o outcome) bool {
		return json.Valid(o.body) && bytes.Count(o.body, []byte(`"keys":`)) == 2
	},
	BodyEmpty: func(_ *Server, o outcome) bool { return o.status == 200 && len(o.body) == 0 },
	BodyNull:  func(_ *Server, o outcome) bool { return string(o.body) == "null" },
	BodyHuge: func(_ *Server, o outcome) bool {
		return len(o.body) == 256<<10 && o.header.Get("Content-Length") > "1"
	}, BodyEndless: func(_ *Server, o outcome) bool {
		return len(o.body) == 256<<10 &&
			o.header.Get("Content-Length") == ""
	},
	GzipGarbage: func(_ *Server, o outcome) bool { return o.dialErr == nil && o.bodyErr != nil },
	GzipBomb:    func(_ *Server, o outcome) bool { return len(o.body) == 256<<10 && o.bodyErr == nil },

	MetadataOtherIssuer: metadataProof("issuer", func(*Server) any { return "https://attacker.example.net" }),
	MetadataNoIssuer:    metadataProof("issuer", func(*Server) any { return nil }),
	MetadataNoJWKS:      metadataProof("jwks_uri", func(*Server) any { return nil }),
	MetadataJWKSHTTP: metadataProof("jwks_uri",
		func(s *Server) any { return "http" + s.URL()[len("https"):] + "/jwks" }),
	MetadataJWKSElsewhere: metadataProof("jwks_uri",
		func(s *Server) any { return "https://localhost:" + s.Port() + "/elsewhere/jwks" }),
	MetadataJWKSNotURL: metadataProof("jwks_uri", func(*Server) any { return 42.0 }),

	KeysEmpty: func(_ *Server, o outcome) bool { return string(o.body) == `{"keys":[]}` },
	KeysMissing: func(_ *Server, o outcome) bool {
		return json.Valid(o.body) && !bytes.Contains(o.body, []byte(`"keys"`))
	},
	KeysObject: func(_ *Server, o outcome) bool { return bytes.HasPrefix(o.body, []byte(`{"keys":{`)) },
	KeysBare:   func(_ *Server, o outcome) bool { return bytes.HasPrefix(o.body, []byte(`[{"kty":"RSA"`)) },
	KeysMixed: func(_ *Server, o outcome) bool {
		return json.Valid(o.body) && bytes.Contains(o.body, []byte(`"ML-DSA-65"`)) &&
			bytes.Contains(o.body, []byte(`"key-1"`))
	},
	KeysOfEnc:   keyProof(func(k mint.JWK) bool { return k.Use == "enc" }),
	KeysOfRS256: keyProof(func(k mint.JWK) bool { return k.Alg == "RS256" }),
	KeysOf1024:  keyProof(func(k mint.JWK) bool { return len(k.N) == 171 }),
	KeysOf16384: keyProof(func(k mint.JWK) bool { return len(k.N) == 2731 }),
	KeysMany: func(_ *Server, o outcome) bool {
		return bytes.Count(o.body, []byte(`"stranger-`)) > 500 && o.bodyErr == nil
	},

	CertOtherCA: func(_ *Server, o outcome) bool {
		var e x509.UnknownAuthorityError
		return errors.As(o.dialErr, &e)
	},
	CertOtherHost: func(_ *Server, o outcome) bool {
		var e x509.HostnameError
		return errors.As(o.dialErr, &e)
	},
	CertExpired: func(_ *Server, o outcome) bool {
		var e x509.CertificateInvalidError
		return errors.As(o.dialErr, &e) && e.Reason == x509.Expired
	},
	TLS11: func(_ *Server, o outcome) bool {
		return o.dialErr != nil && strings.Contains(o.dialErr.Error(), "protocol version")
	},
	PlainPort:    func(_ *Server, o outcome) bool { return errors.Is(o.dialErr, http.ErrSchemeMismatch) },
	ResetConnect: func(_ *Server, o outcome) bool { return isReset(o.dialErr) },
	HangConnect:  func(_ *Server, o outcome) bool { return isTimeout(o.dialErr) },
}

func metadataProof(member string, want func(*Server) any) func(*Server, outcome) bool {
	return func(s *Server, o outcome) bool {
		var m map[string]any
		return json.Unmarshal(o.body, &m) == nil && len(m) > 5 && m[member] == want(s)
	}
}

func keyProof(right func(mint.JWK) bool) func(*Server, outcome) bool {
	return func(_ *Server, o outcome) bool {
		var set struct{ Keys []mint.JWK }
		return json.Unmarshal(o.body, &set) == nil && len(set.Keys) == 1 && right(set.Keys[0])
	}
}

func TestEveryFaultHappens(t *testing.T) {
	s := start(t, Options{Drip: 20 * time.Millisecond})
	for _, f := range Faults {
		proof := proofs[f.Fault]
		if proof == nil {
			t.Errorf("%s: no proof", f.Fault)
			continue
		}
		path := PathJWKS
		if f.Scope == MetadataPath {
			path = PathMetadata
		}
		timeouts := []time.Duration{time.Minute}
		switch f.Fault {
		case Hang, HangConnect, Drip: // what comes before, such as a handshake, may take longer on a busy machine
			timeouts = []time.Duration{300 * time.Millisecond, 1500 * time.Millisecond, 5 * time.Second}
		}
		var o outcome
		for _, timeout := range timeouts {
			s.MisbehaveTimes(path, f.Fault, 1)
			if o = fetch(t, s, path, timeout); proof(s, o) {
				break
			}
			s.Behave()
		}
		if !proof(s, o) {
			o.body = o.body[:min(len(o.body), 300)]
			t.Errorf("%s: got status %d, %v, %v, %.300q", f.Fault, o.status, o.dialErr, o.bodyErr, o.body)
		}
		if o := fetch(t, s, path, time.Minute); o.status != 200 || !json.Valid(o.body) || o.bodyErr != nil {
			t.Errorf("after %s: status %d, %v, %v", f.Fault, o.status, o.dialErr, o.bodyErr)
		}
	}
	if len(proofs) != len(Faults) {
		t.Errorf("%d proofs, %d faults", len(proofs), len(Faults))
	}
}

func TestTLS11IsSpoken(t *testing.T) {
	s := start(t, Options{})
	s.Misbehave("", TLS11)
	client := s.Client()
	transport := client.Transport.(*http.Transport)
	transport.TLSClientConfig.MinVersion, transport.TLSClientConfig.MaxVersion = tls.VersionTLS11, tls.VersionTLS11
	response, err := client.Get(s.URL() + PathJWKS)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if log := s.Log(); log[0].TLS != tls.VersionTLS11 {
		t.Errorf("TLS %x", log[0].TLS)
	}
}

func TestElsewhereIsTheAttackers(t *testing.T) {
	s := start(t, Options{})
	client := s.Client()
	client.CheckRedirect = nil // a client that lets itself be led
	s.Misbehave(PathJWKS, RedirectOther)
	response, err := client.Get(s.URL() + PathJWKS)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if got := kids(t, body); got != "attacker" || s.Requests(PathElsewhere+PathJWKS) != 1 {
		t.Errorf("keys %q, %v", got, s.Counts())
	}

	s.Misbehave(PathJWKS, RedirectLoop)
	if response, err := client.Get(s.URL() + PathJWKS); err == nil {
		response.Body.Close()
		t.Error("the loop ended")
	}
	s.Misbehave(PathJWKS, RedirectHTTP)
	if response, err := client.Get(s.URL() + PathJWKS); err == nil { // again redirected, by plain HTTP this time
		response.Body.Close()
		t.Error("the loop ended")
	}
	log := s.Log()
	if last := log[len(log)-1]; last.Scheme != "http" || last.Fault != RedirectHTTP {
		t.Errorf("got %+v", last)
	}
}

func TestMisspeltFaultPanics(t *testing.T) {
	s := start(t, Options{})
	for _, wrong := range []func(){
		func() { s.Misbehave(PathJWKS, "no-such-fault") },
		func() { s.Misbehave(PathJWKS, MetadataNoJWKS) },
		func() { s.Misbehave(PathMetadata, KeysEmpty) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Error("accepted")
				}
			}()
			wrong()
		}()
	}
}

// Close must release whoever hangs, in every way of hanging.
func TestCloseReleasesTheHung(t *testing.T) {
	for _, f := range []Fault{Hang, HangConnect, Drip, BodyEndless} {
		s := start(t, Options{Drip: time.Hour})
		s.Misbehave(PathJWKS, f)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			client := s.Client()
			client.Timeout = 0
			response, err := client.Get(s.URL() + PathJWKS)
			if err != nil {
				return
			}
			defer response.Body.Close()
			_, _ = io.Copy(io.Discard, response.Body)
		}()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		var err error
		if f == HangConnect {
			err = s.WaitConnections(ctx, 1)
		} else {
			err = s.WaitRequests(ctx, PathJWKS, 1)
		}
		if err != nil {
			t.Errorf("%s: %v", f, err)
		}
		if err := s.Close(); err != nil {
			t.Errorf("%s: %v", f, err)
		}
		select {
		case <-ended:
		case <-ctx.Done():
			t.Errorf("%s: the client still hangs", f)
		}
		cancel()
	}
}
