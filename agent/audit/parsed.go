package audit

import (
	"errors"
	"fmt"

	"github.com/go-jose/go-jose/v4/json"
)

// Line is what a line says of a decision, or an event: see AUDIT.md. What the line leaves out is zero.
type Line struct {
	Audit       int      `json:"audit"`
	Event       string   `json:"event"`
	Seq         uint64   `json:"seq"`
	Time        string   `json:"time"`
	Clock       string   `json:"clock"`
	UID         *uint64  `json:"uid"`
	PID         *uint64  `json:"pid"`
	Question    string   `json:"question"`
	Method      string   `json:"method"`
	Path        string   `json:"path"`
	Targets     int      `json:"targets"`
	Allowed     int      `json:"allowed"`
	Denied      []string `json:"denied"`
	Permitted   []string `json:"permitted"`
	Kind        string   `json:"kind"`
	Name        string   `json:"name"`
	Resource    string   `json:"resource"` // kind/name
	Access      string   `json:"access"`
	Decision    string   `json:"decision"`
	Status      int      `json:"status"`
	Reason      string   `json:"reason"`
	Would       string   `json:"would"`
	WouldStatus int      `json:"would_status"`
	Issuer      string   `json:"issuer"`
	Subject     string   `json:"subject"`
	Client      string   `json:"client"`
	Claimed     string   `json:"unverified_issuer"`
	JTI         string   `json:"jti"`
	Digest      string   `json:"digest"`
	KeyID       string   `json:"kid"`
	Joined      string   `json:"joined"`
	Count       uint64   `json:"count"`
	First       uint64   `json:"first"`
	Since       string   `json:"since"`
	Cut         []string `json:"cut"`
}

// ErrForm is returned for a line of another version of this form.
var ErrForm = errors.New("the record is in a form that this program does not know; is the daemon of another version?")

// ParseLine reads a line that the daemon has shown. It checks no chain: Verify does.
func ParseLine(line []byte) (*Line, error) {
	r := new(Line)
	if err := json.Unmarshal(line, r); err != nil {
		return nil, fmt.Errorf("the record: %w", err)
	}
	if r.Audit != 1 {
		return nil, ErrForm
	}
	return r, nil
}
