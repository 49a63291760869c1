// Package status is what the daemon reports about itself: a snapshot, what is wrong by it, and the three forms in which
// it is shown: JSON for programs, text for people, and the text format of Prometheus.
//
// A snapshot holds no token and no secret. It holds text from outside, such as issuers and the kids of their keys; no
// form lets that draw on a terminal: whatever is not printable ASCII is written as \u and four hexadecimal digits, as
// JSON has it.
package status

import (
	"strconv"
	"time"

	"github.com/go-jose/go-jose/v4/json"

	"nmosauthd/agent/ascii"
	"nmosauthd/agent/config"
)

// Status is a snapshot of the daemon. The names of its fields in JSON are stable: fields are added, none is renamed.
type Status struct {
	Healthy  bool     `json:"healthy"`
	Degraded []string `json:"degraded,omitempty"` // what is wrong, most important first
	Time     Time     `json:"time"`               // of the snapshot
	Since    Time     `json:"since"`              // the start of the daemon
	Version  string   `json:"version"`
	Model    string   `json:"model"` // of the device
	Names    []string `json:"names"` // by which a token may name the device
	Mode     string   `json:"mode"`
	Observe  *Observe `json:"observe,omitempty"` // an administrator has begun it, and it ends by itself
	// NotEnforced is what [enforce] leaves open while the mode is enforce.
	NotEnforced []config.NotEnforced `json:"not_enforced,omitempty"`
	// why the configuration was not reread; the old one is in force
	Refused   string    `json:"config_refused,omitempty"`
	Clock     Clock     `json:"clock"`
	Refresh   int64     `json:"refresh_seconds"` // how often keys are to be fetched
	Servers   []Server  `json:"servers"`
	Discovery Discovery `json:"discovery"`
	Decisions []Count   `json:"decisions"` // of each reason
	Tokens    Tokens    `json:"tokens"`
	Sockets   []Socket  `json:"sockets"`
	Audit     Audit     `json:"audit"`
	Client    Client    `json:"client"`
	Certs     Certs     `json:"certs"`
	Inventory Inventory `json:"inventory"`
	State     State     `json:"state"`
	Sandbox   Sandbox   `json:"sandbox"`
	Memory    Memory    `json:"memory"`
	Errors    []Error   `json:"last_errors"`       // oldest first
	Unlogged  uint64    `json:"log_lines_dropped"` // since the start: standard error was too slow
}

// Observe is an observe mode that ends by itself.
type Observe struct {
	UID   int64  `json:"uid"`           // who began it; -1 if unknown
	For   string `json:"for,omitempty"` // for whom, as a web server says
	Since Time   `json:"since"`
	Until Time   `json:"until"`
	Left  int64  `json:"left_seconds"`
}

// Who says who began it.
func (o *Observe) Who() string {
	who := "user " + strconv.FormatInt(o.UID, 10)
	if o.For != "" {
		who += " for " + o.For
	}
	return who
}

// Begun is the answer to who begins it.
type Begun struct {
	Observe
	Unkept string `json:"unkept,omitempty"` // why it does not survive a restart
}

// Clock is the device's clock (OPS-1).
type Clock struct {
	State   string `json:"state"` // synchronised, unsynchronised or unset
	Why     string `json:"why"`
	Trusted bool   `json:"trusted"` // tokens are judged by it
}

// Where the daemon knows a server from.
const (
	Configured = "configured"
	Discovered = "discovered"
	Learned    = "learned" // from a token, and trusted by the configuration
)

// Server is an authorization server.
type Server struct {
	Issuer  string   `json:"issuer"`
	Origin  string   `json:"origin"`
	At      string   `json:"at,omitempty"`              // the URL by which discovery found it, if another
	Domain  string   `json:"domain,omitempty"`          // in which that was: "local" by mDNS
	Missing int64    `json:"missing_seconds,omitempty"` // for how long it is no longer advertised
	Used    bool     `json:"used"`                      // the one whose keys are fetched on schedule
	KIDs    []string `json:"kids"`                      // of the keys held
	Fetched Time     `json:"fetched,omitempty"`         // when they were fetched; none if unknown or without keys
	Kept    bool     `json:"kept,omitempty"`            // they are from before the start
	Next    Time     `json:"next,omitempty"`            // none if its turn has not come
	Failing bool     `json:"failing"`                   // the last attempt failed
	Error   string   `json:"error,omitempty"`           // of the last attempt that failed
	Failed  Time     `json:"failed,omitempty"`          // when that was

	// Date is what the server's clock shows now, by the Date that it sent with its keys; none if it sent none. Ahead is
	// how far the device's clock is ahead of that, negative for behind. Difference says what that probably comes from;
	// none if the two agree as far as such a date can show. No decision depends on them (OPS-1).
	Date       Time   `json:"date,omitempty"`
	Ahead      int64  `json:"clock_ahead_seconds,omitempty"`
	Difference string `json:"clock_difference,omitempty"`
}

// Discovery is the search for servers.
type Discovery struct {
	Mode   string   `json:"mode"`
	Hosts  []string `json:"hosts"`            // that may be found; empty allows any
	Found  []string `json:"found"`            // issuers
	Looked Time     `json:"looked,omitempty"` // last
	Error  string   `json:"error,omitempty"`  // of that look
}

// Count is how often a reason was given.
type Count struct {
	Reason   string `json:"reason"`
	Status   int    `json:"status"` // HTTP status
	Answered uint64 `json:"answered"`
	Would    uint64 `json:"would"` // in observe mode: what enforce would have answered
}

// Tokens are those remembered.
type Tokens struct {
	Held       int    `json:"held"`
	Limit      int    `json:"limit"`
	Remembered uint64 `json:"remembered"` // cache hits: questions whose token was remembered
	Judged     uint64 `json:"judged"`     // cache misses
}

// Socket is one of the daemon's.
type Socket struct {
	Name  string `json:"name"`
	Path  string `json:"path"`
	Open  int    `json:"open"`  // connections that are served
	Limit int    `json:"limit"` // of those
	// Connections with a question that waits for others to be served.
	Waiting int `json:"waiting"`
}

// Audit is the record of decisions.
type Audit struct {
	Recorded  uint64 `json:"recorded"` // decisions so far
	Pending   uint64 `json:"pending"`  // of them, not yet with the sinks
	DroppedAt Time   `json:"dropped_at,omitempty"`
	Sinks     []Sink `json:"sinks"`
}

// Sink is where decisions are recorded.
type Sink struct {
	Name        string `json:"name"`
	Kept        uint64 `json:"kept"` // decisions, as the next two
	Dropped     uint64 `json:"dropped"`
	Queued      uint64 `json:"queued"`
	QueuedBytes int    `json:"queued_bytes"`
	Head        string `json:"head"` // of the chain
	Error       string `json:"error,omitempty"`
	Since       Time   `json:"since,omitempty"` // of the error
}

// Client is the device as an OAuth client, which gets tokens of its own.
type Client struct {
	Enabled    bool          `json:"enabled"`
	Phase      string        `json:"phase"` // where the registration stands
	Registered bool          `json:"registered"`
	Issuer     string        `json:"issuer,omitempty"`  // at which it is one, or is to be
	Trouble    string        `json:"trouble,omitempty"` // what has been wrong for minutes; does not make it degraded
	Error      string        `json:"error,omitempty"`   // of the registration
	Failed     Time          `json:"failed,omitempty"`  // when that was
	Clients    []ClientAt    `json:"clients"`           // that are stored
	Tokens     []ClientToken `json:"tokens"`

	Registrations uint64 `json:"registrations"` // since the start, as the next two
	Fetched       uint64 `json:"tokens_fetched"`
	Failures      uint64 `json:"failures"`
}

// ClientAt is the client that the device is at one issuer.
type ClientAt struct {
	Issuer     string   `json:"issuer"`
	ClientID   string   `json:"client_id,omitempty"` // none before it is registered
	Given      bool     `json:"given,omitempty"`     // made by hand
	Since      Time     `json:"since,omitempty"`     // none if the clock was not trusted
	Scope      string   `json:"scope,omitempty"`     // as registered
	Method     string   `json:"auth_method,omitempty"`
	Keys       string   `json:"keys,omitempty"` // how the server gets them
	KIDs       []string `json:"kids"`
	Rotation   string   `json:"rotation,omitempty"`     // the step of a key's replacement: publish, settle, retire
	OldKeyEnds Time     `json:"old_key_ends,omitempty"` // of the last step: when the old key goes
	Manageable bool     `json:"manageable,omitempty"`   // by RFC 7592
	Expires    Time     `json:"secret_expires,omitempty"`
	Attempted  bool     `json:"attempted,omitempty"` // one may be left at the server that nobody can use
}

// ClientToken is the device's own token for some scopes.
type ClientToken struct {
	Scope   string `json:"scope"`
	Granted string `json:"granted,omitempty"`
	Ends    Time   `json:"ends,omitempty"` // none without a token
	Next    Time   `json:"next,omitempty"`
	Error   string `json:"error,omitempty"` // of the last attempt
	Failed  Time   `json:"failed,omitempty"`
}

// Inventory is that of the device's resources.
type Inventory struct {
	Source    string `json:"source,omitempty"` // file, pushed or device; none if there is no inventory
	Resources int    `json:"resources"`
	Since     Time   `json:"since,omitempty"`
	Error     string `json:"error,omitempty"` // of the one that is not in force
}

// State is the state kept across restarts.
type State struct {
	Dir   string `json:"dir,omitempty"` // none if not configured
	Kept  bool   `json:"kept"`          // what is to be kept is written; false before anything was
	Error string `json:"error,omitempty"`
}

// Sandbox is Landlock's.
type Sandbox struct {
	Landlock  int      `json:"landlock"` // version; 0 if not in force
	Denied    []string `json:"denied,omitempty"`
	NotDenied []string `json:"not_denied,omitempty"`
	Why       string   `json:"why,omitempty"` // it is not in force
}

// Memory is in bytes; 0 if unknown.
type Memory struct {
	Resident uint64 `json:"resident_bytes"`
	Heap     uint64 `json:"heap_bytes"` // of Go's objects
}

// Error is a warning or an error of the log.
type Error struct {
	Time  Time   `json:"time"` // of the last time
	Level string `json:"level"`
	Text  string `json:"text"`
	Times int    `json:"times"` // without another in between
}

// Time is in seconds since 1970, UTC; 0 if none. In JSON it is as RFC 3339 has it.
type Time int64

// MarshalText implements encoding.TextMarshaler.
func (t Time) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (t *Time) UnmarshalText(text []byte) error {
	at, err := time.Parse(time.RFC3339, string(text))
	*t = Time(at.Unix())
	return err
}

func (t Time) String() string { return time.Unix(int64(t), 0).UTC().Format(time.RFC3339) }

// At returns a time that was taken at some time before now or is planned for later, by the clock as it shows now: a
// device's clock may have been set in between.
func At(t, now time.Time) Time {
	if t.IsZero() {
		return 0
	}
	return Time(now.Add(t.Sub(now)).Unix())
}

// JSON returns the snapshot as JSON in ASCII.
func (s *Status) JSON() ([]byte, error) {
	text, err := json.Marshal(s)
	return ascii.AppendString(nil, string(text)), err
}

// Parse reads what JSON returned.
func Parse(text []byte) (*Status, error) {
	s := &Status{}
	return s, json.Unmarshal(text, s)
}
