package estserver

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"nmosauthd/tinytest/misbehave"
)

// answer is a whole response.
type answer struct {
	status int
	kind   string // Content-Type
	header map[string]string
	der    []byte // sent as base64
	text   string // sent instead, if there is no der
}

func refusal(status int, text string) answer {
	return answer{status: status, kind: "text/plain; charset=utf-8", text: text + "\n"}
}

// Where a request came to.
const (
	elsewhere = "elsewhere" // behind RedirectHost
	moved     = "moved"     // behind Redirect
	plain     = "plain"     // behind RedirectHTTP
)

// operation is what a path asks for, and where.
func (s *Server) operation(path string) (operation, where string, ok bool) {
	base := strings.TrimPrefix(s.Base(), s.URL())
	for _, where = range []string{"", elsewhere, moved, plain} {
		prefix := base + "/"
		if where != "" {
			prefix = "/" + where + "/"
		}
		for _, operation = range []string{CACerts, CSRAttrs, Enrol, Reenrol} {
			if path == prefix+operation {
				return operation, where, true
			}
		}
	}
	return "", "", false
}

// maxBody is more than any request of a device needs.
const maxBody = 64 << 10

// serve answers one request, by the fault that is set for its operation.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	operation, where, known := s.operation(r.URL.Path)
	req := &Request{At: s.opt.Now(), Method: r.Method, Path: r.URL.Path, Operation: operation, Where: where}
	if known && where == "" {
		req.Fault = s.take(operation)
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	breaches := s.checkRequest(r, req, body, err)
	var a answer
	switch {
	case !known:
		a = refusal(http.StatusNotFound, "no such operation")
	case len(breaches) > 0:
		a = refusal(http.StatusBadRequest, strings.Join(breaches, "; "))
	default:
		a, breaches = s.answer(r, req, body)
		if len(breaches) > 0 {
			a = refusal(http.StatusBadRequest, strings.Join(breaches, "; "))
		}
	}
	if len(breaches) == 0 {
		a = s.spoil(req, a)
	}
	s.record(req, a.status, breaches)
	s.write(w, r, req.Fault, a, len(breaches) > 0)
}

func (s *Server) record(req *Request, status int, breaches []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	req.Status = status
	s.log = append(s.log, req)
	for _, b := range breaches {
		s.violations = append(s.violations,
			fmt.Sprintf("%s (connection %d, %s %s)", b, req.Connection, req.Method, req.Path))
	}
	s.change()
	if s.opt.Logf != nil {
		s.opt.Logf("%s %s: %d %s %s", req.Method, req.Path, status, req.Fault, strings.Join(breaches, "; "))
	}
}

// answer is the right answer to a request in which nothing is wrong so far.
func (s *Server) answer(r *http.Request, req *Request, body []byte) (answer, []string) {
	switch req.Operation {
	case CACerts:
		return s.caCerts(req.Fault), nil
	case CSRAttrs:
		if s.opt.NoAttributes {
			return refusal(http.StatusNotFound, "no attributes"), nil
		}
		if s.opt.KeyType == "" && !s.opt.Challenge {
			return answer{status: http.StatusNoContent}, nil
		}
		return answer{status: http.StatusOK, kind: "application/csrattrs", der: s.opt.attributes()}, nil
	}
	return s.enrol(r, req, body)
}

func (s *Server) caCerts(fault Fault) answer {
	s.mu.Lock()
	all := append([]*x509.Certificate{s.facility.Root}, s.links...)
	all = append(all, s.facility.Intermediate)
	s.mu.Unlock()
	now := s.opt.Now()
	switch fault {
	case OtherRoot:
		all = []*x509.Certificate{s.stranger.Root}
	case NoRoot:
		all = all[len(all)-1:]
	case LeafAsRoot:
		all = []*x509.Certificate{selfSigned(now)}
	case WeakRoot:
		all = []*x509.Certificate{weakRoot(now)}
	case EndedRoot:
		all = []*x509.Certificate{NewCA("a facility of long ago", now.Add(-2*caLife)).Root}
	case TooMany:
		for len(all) < 33 {
			all = append(all, NewCA("one of many", now).Root)
		}
	}
	return s.pkcs7(fault, all...)
}

// pkcs7 is an answer that brings certificates.
func (s *Server) pkcs7(fault Fault, certs ...*x509.Certificate) answer {
	a := answer{status: http.StatusOK, kind: "application/pkcs7-mime; smime-type=certs-only"}
	switch fault {
	case BER:
		a.der = certsOnly(open, certs...)
	case NoCertificates:
		a.der = certsOnly(tlv)
	default:
		a.der = certsOnly(tlv, certs...)
	}
	return a
}

// spoil is the answer that a fault of any operation makes of the right one.
func (s *Server) spoil(req *Request, a answer) answer {
	after := strconv.Itoa(int((s.opt.RetryAfter + time.Second - 1) / time.Second))
	redirect := func(to string) answer {
		return answer{status: http.StatusTemporaryRedirect, header: map[string]string{"Location": to}}
	}
	host := s.opt.Host
	switch req.Fault {
	case HTML:
		return answer{status: http.StatusOK, kind: "text/html",
			text: "<!DOCTYPE html><title>Guest network</title>Sign in"}
	case Empty:
		return answer{status: http.StatusOK, kind: a.kind}
	case WrongType:
		a.kind = "text/plain"
	case BadBase64:
		return answer{status: http.StatusOK, kind: a.kind, text: "MII!$%&/()=?MII\r\n"}
	case Garbage:
		a.der = bytes.Repeat([]byte{0x30, 0x84, 0xff, 0xff, 0xff}, 100)
	case NotFound:
		return refusal(http.StatusNotFound, "not found")
	case Unauthorized:
		a = refusal(http.StatusUnauthorized, "who are you?")
		a.header = map[string]string{"WWW-Authenticate": `Basic realm="estserver"`}
	case Forbidden:
		return refusal(http.StatusForbidden, "forbidden")
	case ServerError:
		return refusal(http.StatusInternalServerError, "database is locked")
	case Unavailable:
		return refusal(http.StatusServiceUnavailable, "later")
	case UnavailableUntil:
		a = refusal(http.StatusServiceUnavailable, "later")
		a.header = map[string]string{"Retry-After": after}
	case Redirect:
		return redirect(s.URL() + "/" + moved + "/" + req.Operation)
	case RedirectLoop:
		return redirect(s.URL() + req.Path)
	case RedirectHost:
		return redirect("https://" + net.JoinHostPort(s.opt.OtherHost, s.port) + "/" + elsewhere + "/" + req.Operation)
	case RedirectHTTP:
		if s.plain != nil {
			host = s.plain.Addr().String()
		}
		return redirect("http://" + host + "/" + plain + "/" + req.Operation)
	}
	return a
}

// write sends an answer, by a fault that leaves the answer as it is but not its way.
func (s *Server) write(w http.ResponseWriter, r *http.Request, fault Fault, a answer, refused bool) {
	body := []byte(a.text)
	if a.der != nil {
		body = encode(a.der)
		w.Header().Set("Content-Transfer-Encoding", "base64")
	}
	if a.kind != "" {
		w.Header().Set("Content-Type", a.kind)
	}
	for name, value := range a.header {
		w.Header().Set(name, value)
	}
	if refused {
		fault = ""
	}
	length := len(body)
	switch fault {
	case Hang:
		misbehave.Hang(r, s.closing)
		return
	case Reset, Lost:
		if c, ok := r.Context().Value(connectionKey{}).(net.Conn); ok {
			misbehave.Reset(c)
		}
		panic(http.ErrAbortHandler)
	case HalfBody:
		body = body[:length/2]
		length = len(body)
	case Half:
		body = body[:length/2]
	case Huge:
		body = append(bytes.Repeat([]byte("\r\n"), 4<<20), body...)
		length = len(body)
	case Endless:
		w.WriteHeader(a.status)
		misbehave.Endless(w, r, bytes.Repeat([]byte("A"), 4096), s.closing)
		panic(http.ErrAbortHandler)
	}
	if a.status != http.StatusNoContent {
		w.Header().Set("Content-Length", strconv.Itoa(length))
	}
	w.WriteHeader(a.status)
	if fault == Slow {
		misbehave.Drip(w, r, body, s.opt.Drip, s.closing)
		return
	}
	_, _ = w.Write(body)
	if fault == Half {
		panic(http.ErrAbortHandler)
	}
}
