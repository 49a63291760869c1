package authserver

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// logLimit is how many requests the log keeps; beyond it the oldest half is dropped.
const logLimit = 10_000

// Request is one entry of the server's log.
type Request struct {
	Time   time.Time
	Method string
	Path   string // as it came, without the query
	Query  string
	Host   string
	Scheme string // "https", or "http" for a client that was led astray
	TLS    uint16 // version, 0 for plain HTTP
	Header http.Header
	Fault  Fault // how it was answered; "" for as it should be
}

// Requests is how many requests a path has had since the start, misbehaved ones included.
func (s *Server) Requests(path string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts[path]
}

// Counts are the requests of every path since the start.
func (s *Server) Counts() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.counts)
}

// Connections is how many TCP connections have been accepted since the start, those without a request included.
func (s *Server) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.connections
}

// Log returns the requests so far, oldest first. The headers are shared: do not change them.
func (s *Server) Log() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.log)
}

// logical is the name under which a path is counted and misbehaves.
func (s *Server) logical(path string) string {
	switch {
	case path == s.metadataPath():
		return PathMetadata
	case path == PathMetadata:
		return PathMetadata + "/" // the bare form, asked of an issuer that has a path
	case strings.HasPrefix(path, PathClient):
		return PathClient
	}
	return path
}

// record counts a request. It returns false once the server is closed.
func (s *Server) record(r *http.Request, path string, fault Fault) bool {
	entry := Request{
		Time: time.Now(), Method: r.Method, Path: r.URL.Path, Query: r.URL.RawQuery, Host: r.Host, Scheme: "http",
		Header: r.Header.Clone(), Fault: fault,
	}
	if r.TLS != nil {
		entry.Scheme, entry.TLS = "https", r.TLS.Version
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.serving.Add(1) // under the lock, so that it never meets Close's Wait
	if len(s.log) >= logLimit {
		s.log = slices.Clone(s.log[logLimit/2:])
	}
	s.log = append(s.log, entry)
	s.counts[path]++
	s.announce()
	return true
}

func (s *Server) countConnection() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.connections++
	s.announce()
}

// announce wakes those who wait. The lock is held.
func (s *Server) announce() {
	close(s.changed)
	s.changed = make(chan struct{})
}
