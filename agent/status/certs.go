package status

import (
	"io"
	"strings"
)

// Certs are the device's own certificates, which it gets by EST, and the roots that came with them.
type Certs struct {
	Enabled      bool       `json:"enabled"`
	Phase        string     `json:"phase"`
	Server       string     `json:"server,omitempty"` // that was asked last
	Folder       string     `json:"folder"`           // in which the web server finds them
	Trouble      string     `json:"trouble,omitempty"`
	Certificates []Cert     `json:"certificates"`
	Roots        []CertRoot `json:"roots"`
	Maker        CertMaker  `json:"maker"`
	Tags         CertTags   `json:"tags"`
	Next         Time       `json:"next,omitempty"`      // when anything is done again
	Error        string     `json:"error,omitempty"`     // of the last failure
	Failed       Time       `json:"failed,omitempty"`    // when that was
	Unwritten    string     `json:"unwritten,omitempty"` // why the folder does not hold what the device holds

	Issued   uint64 `json:"issued"` // since the start, as the next
	Failures uint64 `json:"failures"`
}

// CertTags are the tags by which the device's IS-04 node says what provides its certificates (CERT-49).
type CertTags struct {
	Provisioning []string `json:"urn:x-nmos:tag:certprov"` // versions of BCP-003-03; none if EST is off
}

// CertTagsOf returns the tags of a device with EST on or off.
func CertTagsOf(enabled bool) CertTags {
	if enabled {
		return CertTags{[]string{"v1.0"}}
	}
	return CertTags{[]string{}}
}

// Cert is a certificate that is wanted or held.
type Cert struct {
	Key         string   `json:"key"` // its kind
	Held        bool     `json:"held"`
	Installed   bool     `json:"installed,omitempty"` // by a person
	Names       []string `json:"names"`
	Subject     string   `json:"subject,omitempty"`
	Issuer      string   `json:"issuer,omitempty"`
	Serial      string   `json:"serial,omitempty"`
	Fingerprint string   `json:"fingerprint,omitempty"` // SHA-256
	Begins      Time     `json:"begins,omitempty"`
	Ends        Time     `json:"ends,omitempty"`
	Renewal     Time     `json:"renewal,omitempty"` // when the next is asked for
	Expired     bool     `json:"expired,omitempty"`
	Revoked     bool     `json:"revoked,omitempty"`
	Waiting     bool     `json:"waiting,omitempty"` // somebody has to agree to the next
	Error       string   `json:"error,omitempty"`   // of the last attempt
	Failed      Time     `json:"failed,omitempty"`
}

// CertRoot is a root that came by EST.
type CertRoot struct {
	Subject     string `json:"subject"`
	Fingerprint string `json:"fingerprint"` // SHA-256
	Ends        Time   `json:"ends"`
	Trust       string `json:"trust"` // why
	Server      string `json:"server,omitempty"`
	Since       Time   `json:"since,omitempty"`
}

// CertMaker is the maker's certificate.
type CertMaker struct {
	Held    bool   `json:"held"`
	Subject string `json:"subject,omitempty"`
	Ends    Time   `json:"ends,omitempty"`
	Error   string `json:"error,omitempty"`
}

// week is 7 days, in seconds.
const week = 7 * 86400

// short returns what is wrong with the end of a certificate, "" if nothing. Renewals begin before 80 % of its life:
// with a quarter left one that fails is worth saying, and with a sixth or a week left one that did not come.
func (c *Cert) short(now Time) string {
	life, left := c.Ends-c.Begins, c.Ends-now
	switch {
	case !c.Held:
		return ""
	case c.Expired || left <= 0:
		return "has ended"
	case left < min(life/6, week) || left < life/4 && c.Error != "":
		return "ends at " + c.Ends.String() + ", and no other came"
	}
	return ""
}

// health calls add for what is wrong with the certificates.
func (v *Certs) health(now Time, add func(is bool, text, why string)) {
	for i := range v.Certificates {
		c := &v.Certificates[i]
		short := c.short(now)
		add(v.Enabled && short != "", "the "+c.Key+" certificate "+short, c.Error)
		add(v.Enabled && c.Revoked, "the "+c.Key+" certificate was revoked, and no other came", c.Error)
	}
	add(v.Unwritten != "", "the web server does not get the certificates", v.Unwritten)
}

// Good reports whether every certificate that is wanted is held, written, and far from its end.
func (v *Certs) Good(now Time) bool {
	good := v.Enabled && len(v.Certificates) > 0 && v.Unwritten == ""
	for i := range v.Certificates {
		c := &v.Certificates[i]
		good = good && c.Held && c.short(now) == ""
	}
	return good
}

// WriteCerts writes the part of WriteText about the device's certificates, and more.
func (s *Status) WriteCerts(w io.Writer) error {
	t := &text{now: s.Time}
	t.certs(&s.Certs, true)
	_, err := w.Write(t.b)
	return err
}

// certs writes what is known of the certificates; if all is set, what seldom matters, too.
func (t *text) certs(v *Certs, all bool) {
	if v.Enabled {
		t.folded("certs", v.Phase+t.some(v.Server != "", ", by "+v.Server)+
			t.some(v.Next > t.now, ", next in "+t.ago(v.Next)))
	} else {
		t.folded("certs", "off: [certificates] est is \"off\"")
	}
	if v.Trouble != "" {
		t.folded("", "for more than 5 min: "+v.Trouble)
	}
	if v.Error != "" {
		t.folded("", "failed "+t.ago(v.Failed)+" ago: "+v.Error)
	}
	if v.Unwritten != "" {
		t.folded("", "not written: "+v.Unwritten)
	}
	for i := range v.Certificates {
		c := &v.Certificates[i]
		switch {
		case c.Held:
			t.folded("", c.Key+": "+strings.Join(c.Names, ", ")+", by "+c.Issuer+
				t.some(c.Installed, ", installed by hand")+", "+
				t.some(c.Ends > t.now, "ends in "+t.ago(c.Ends)+" at ")+t.some(c.Ends <= t.now, "ENDED at ")+
				c.Ends.String()+
				t.some(c.Renewal > t.now, ", next in "+t.ago(c.Renewal)))
			if all {
				t.folded("", "serial "+c.Serial+", SHA-256 "+c.Fingerprint)
				t.folded("", "in "+v.Folder+"/"+c.Key+".pem")
			}
		default:
			t.folded("", c.Key+": none"+t.some(c.Revoked, ", it was revoked"))
		}
		if c.Waiting {
			t.folded("", "somebody has to agree at the server")
		}
		if c.Error != "" && c.Error != v.Error {
			t.folded("", "failed "+t.ago(c.Failed)+" ago: "+c.Error)
		}
	}
	for i := range v.Roots {
		r := &v.Roots[i]
		t.folded("", "root: "+r.Subject+", until "+r.Ends.String()+", trusted by "+r.Trust+
			t.some(r.Since != 0, " since "+r.Since.String())+", SHA-256 "+r.Fingerprint)
	}
	if m := &v.Maker; all {
		t.folded("", "maker's certificate: "+t.some(!m.Held, "none")+
			t.some(m.Held, m.Subject+", until "+m.Ends.String())+
			t.some(m.Error != "", "; "+m.Error))
		t.folded("", "tag of the IS-04 node: \"urn:x-nmos:tag:certprov\": ["+
			t.some(v.Enabled, "\"v1.0\"")+"]")
	}
}

// metrics adds the samples.
func (v *Certs) metrics(m *metrics) {
	for f := range len(certFamilies) {
		m.family(certFamilies[f][0], gauge, certFamilies[f][1])
		for i := range v.Certificates {
			c := &v.Certificates[i]
			m.sample([...]int64{int64(c.Ends), int64(c.Renewal), one(c.Error != "")}[f], "key", c.Key)
		}
	}
}

var certFamilies = [...][2]string{
	{"certificate_ends_timestamp_seconds", "When the device's own certificate ends; 0 without one."},
	{"certificate_renewal_timestamp_seconds", "When the next one is asked for; 0 if not."},
	{"certificate_failing", "Whether the last attempt to get one failed."},
}
