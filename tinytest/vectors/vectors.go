// Package vectors writes the test vectors of this folder: requests with tokens, and the answers that the rules give
// them. README.md says what they are, for people who use them elsewhere.
//
// The answers stand in tables, by hand, from the specifications: the package imports nothing of agent/*. Tokens that
// have a fault of their own come from tinytest/mint. Keys and times are fixed, so that the files are the same each
// time.
//
// To add a vector: a row in the table of its subject, then "go run ./tinytest/cmd/vectors", which writes the files and
// adds the name to names.txt. A name that is there stays.
package vectors

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"nmosauthd/tinytest/mint"
)

// Format is the version of the files' form. It changes if a reader has to.
const Format = 1

// File is one file: a subject.
type File struct {
	Format int             `json:"format"`
	About  string          `json:"about"`
	Rules  map[string]Rule `json:"rules"` // those that its cases name
	Groups []*Group        `json:"groups"`

	Name string `json:"-"` // without ".json"
}

// Group is a setting and the cases that are asked in it.
type Group struct {
	Name   string  `json:"name"`
	About  string  `json:"about,omitempty"`
	Device Device  `json:"device"`
	Clock  *Clock  `json:"clock,omitempty"` // nil: any time from 2024 to 2099
	Cases  []*Case `json:"cases"`
}

// Device is what is known where a token is checked.
type Device struct {
	Names  []string `json:"names"`  // that aud may have
	Issuer string   `json:"issuer"` // the one that is trusted
	JWKS   string   `json:"jwks"`   // the document that the issuer publishes, as it is sent
	Leeway int      `json:"leeway,omitempty"`
	Paths  *Paths   `json:"paths,omitempty"`
}

// Paths is what a device says of paths outside of NMOS APIs.
type Paths struct {
	Public  []string          `json:"public,omitempty"`  // prefixes that everybody may read
	Claims  map[string]string `json:"claims,omitempty"`  // prefixes that x-nmos-<value> rules
	Control []string          `json:"control,omitempty"` // sockets of device models
}

// Clock is the time at which the cases are judged.
type Clock struct {
	Known bool  `json:"known"`         // false: the device has not been told what time it is
	Now   int64 `json:"now,omitempty"` // seconds since 1970
}

// Case is one request and its answer.
type Case struct {
	Name    string   `json:"name"`
	Rule    string   `json:"rule"`
	About   string   `json:"about,omitempty"`
	Part    string   `json:"part"` // what decides: "token", "request" or "permission"
	Token   string   `json:"token,omitempty"`
	Request Request  `json:"request"`
	Answer  Answer   `json:"answer"`
	First   *Answer  `json:"first,omitempty"` // may be given while keys are fetched again
	Also    []Answer `json:"also,omitempty"`  // as right
}

// Request is what reached the device. "{token}" in it stands for the case's token.
type Request struct {
	Method        string   `json:"method"`
	Scheme        string   `json:"scheme"`
	Host          string   `json:"host"`
	Target        string   `json:"target"`                  // as it stood in the request line, query included
	Authorization []string `json:"authorization,omitempty"` // a header each
	Upgrade       string   `json:"upgrade,omitempty"`
}

// Answer is what the rules say.
type Answer struct {
	Status int    `json:"status"`
	Error  string `json:"error,omitempty"`  // of the challenge (RFC 6750 §3.1)
	Reason string `json:"reason,omitempty"` // nmos-authd's code
}

// statuses are the HTTP statuses of the reasons that are not 401.
var statuses = map[string]int{
	"ok": 200, "public": 200,
	"token-empty": 400, "two-tokens": 400, "path-ambiguous": 400, "path-too-long": 400, "packet-text": 400,
	"audience": 403, "api-not-granted": 403, "path-not-granted": 403, "path-closed": 403, "path-version": 403,
	"control-not-granted": 403, "subtree-not-granted": 403,
	"method": 405, "keys-pending": 503, "clock-untrusted": 503,
}

// answerOf completes an answer: RFC 6750 §3.1 ties an error code to each status.
func answerOf(reason string) Answer {
	a := Answer{Status: 401, Error: "invalid_token", Reason: reason}
	if s, ok := statuses[reason]; ok {
		a.Status, a.Error = s, ""
	}
	switch {
	case reason == "no-token" || reason == "packet-text": // no challenge, or one without an error (RFC 6750 §3)
		a.Error = ""
	case a.Status == 400:
		a.Error = "invalid_request"
	case a.Status == 403:
		a.Error = "insufficient_scope"
	}
	return a
}

// The times. A token is good from 2023 to 2099 unless the case is about time, so that a server with a clock of its own
// can be asked.
var present = time.Unix(1_700_000_000, 0)

const (
	life    = 2_400_000_000 * time.Second
	device  = mint.DefaultDevice
	senders = "/x-nmos/connection/v1.1/single/senders"
)

//go:embed keys/*.pem
var keyFiles embed.FS

// loadKeys makes the mint use the keys of this folder, which are named KID-BITS.pem.
func loadKeys() error {
	files, err := fs.Glob(keyFiles, "keys/*.pem")
	if err != nil {
		return err
	}
	for _, file := range files {
		text, err := keyFiles.ReadFile(file)
		if err != nil {
			return err
		}
		stem := strings.TrimSuffix(path.Base(file), ".pem")
		key, err := mint.ParseKey(stem[:strings.LastIndexByte(stem, '-')], text)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		mint.Remember(key)
	}
	return nil
}

// builder collects the cases of one set.
type builder struct {
	issuer string
	file   *File
	group  *Group
	files  []*File
}

// Generate returns the files for tokens of this issuer; "" is that of the committed files. Each set of keys has an
// issuer of its own: the issuer itself, or "/NAME" behind it.
func Generate(issuer string) ([]*File, error) {
	if err := loadKeys(); err != nil {
		return nil, err
	}
	if issuer == "" {
		issuer = mint.DefaultIssuer
	}
	b := &builder{issuer: strings.TrimSuffix(issuer, "/")}
	for _, subject := range []func(){
		b.form, b.header, b.json, b.signature, b.keys, b.claims, b.audience, b.time, b.credentials, b.methods, b.paths,
		b.permissions, b.apis, b.control, b.configuration,
	} {
		subject()
	}
	return b.files, b.finish()
}

// finish fills in what follows from the cases, and looks for mistakes.
func (b *builder) finish() error {
	var faults []error
	names := map[string]bool{}
	for _, f := range b.files {
		f.Rules = map[string]Rule{}
		for _, g := range f.Groups {
			asked := map[string]string{}
			for _, c := range g.Cases {
				rule, ok := rules[c.Rule]
				question, err := json.Marshal([]any{c.Token, c.Request})
				switch {
				case err != nil:
					faults = append(faults, fmt.Errorf("%s: %w", c.Name, err))
				case !ok:
					faults = append(faults, fmt.Errorf("%s: there is no rule %s", c.Name, c.Rule))
				case names[c.Name]:
					faults = append(faults, fmt.Errorf("%s: there are two of this name", c.Name))
				case asked[string(question)] != "":
					faults = append(faults, fmt.Errorf("%s asks what %s asks", c.Name, asked[string(question)]))
				}
				c.unspeakable()
				f.Rules[c.Rule], names[c.Name], asked[string(question)] = rule, true, c.Name
			}
		}
	}
	return errors.Join(faults...)
}

// unspeakable lets 400 be right for what no header and no request line can hold (RFC 9110 §5.5): a server may refuse it
// before anybody looks at it.
func (c *Case) unspeakable() {
	control := func(r rune) bool { return r < ' ' || r == 0x7f }
	said := append([]string{c.Token, c.Request.Target, c.Request.Method}, c.Request.Authorization...)
	if c.Answer.Status != 400 && strings.ContainsFunc(strings.Join(said, ""), control) {
		c.Also = append(c.Also, Answer{Status: 400})
	}
}

// Names returns the names of all cases, sorted.
func Names(files []*File) []string {
	var names []string
	for _, f := range files {
		for _, g := range f.Groups {
			for _, c := range g.Cases {
				names = append(names, c.Name)
			}
		}
	}
	slices.Sort(names)
	return names
}

// Text returns the file's text.
func (f *File) Text() ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	err := e.Encode(f)
	return b.Bytes(), err
}

// begin begins a file.
func (b *builder) begin(name, about string) {
	b.file = &File{Format: Format, Name: name, About: about}
	b.files = append(b.files, b.file)
}

// setting begins a group whose issuer publishes key-1.
func (b *builder) setting(name, about string) *Group {
	return b.published(name, about, b.issuer, string(mint.JWKS(mint.CachedKey("key-1", 2048))))
}

// published begins a group with an issuer of its own and its document.
func (b *builder) published(name, about, issuer, jwks string) *Group {
	b.group = &Group{Name: name, About: about, Device: Device{Names: []string{device}, Issuer: issuer, JWKS: jwks}}
	b.file.Groups = append(b.file.Groups, b.group)
	return b.group
}

// base returns a template of a good token in the group.
func (b *builder) base() *mint.Token {
	return mint.New(mint.Options{Issuer: b.group.Device.Issuer,
		Device: b.group.Device.Names[0], Now: present, Life: life})
}

// add appends a case, its request completed to a GET of the senders with the token in the header.
func (b *builder) add(c Case, reason string) *Case {
	r := &c.Request
	if r.Method == "" {
		r.Method = mint.Method
	}
	if r.Target == "" {
		r.Target = senders
	}
	if r.Scheme == "" {
		r.Scheme = "https"
	}
	if r.Host == "" {
		r.Host = b.group.Device.Names[0]
	}
	if r.Authorization == nil && c.Token != "" && !strings.Contains(r.Target, "{token}") {
		r.Authorization = []string{"Bearer {token}"}
	}
	if c.Part == "" {
		c.Part = "token"
	}
	c.Answer = answerOf(reason)
	b.group.Cases = append(b.group.Cases, &c)
	return &c
}

// token adds a case that its token decides. Answers after the first reason are as right.
func (b *builder) token(name, rule, reason, token string, also ...int) *Case {
	c := b.add(Case{Name: name, Rule: rule, Token: token}, reason)
	return c.also(also...)
}

// claims adds a case of the base with one claim of another value.
func (b *builder) claim(name, rule, reason, claim, value string, also ...int) *Case {
	t := b.base()
	t.Claims.SetRaw(claim, value)
	return b.token(name, rule, reason, t.Sign(), also...)
}

// head adds a case of the base with one member of the header of another value.
func (b *builder) head(name, rule, reason, member, value string, also ...int) *Case {
	t := b.base()
	t.Header.SetRaw(member, value)
	return b.token(name, rule, reason, t.Sign(), also...)
}

// also adds answers that are as right.
func (c *Case) also(statuses ...int) *Case {
	for _, s := range statuses {
		a := Answer{Status: s}
		switch s {
		case 400:
			a.Error = "invalid_request"
		case 401:
			a.Error = "invalid_token"
		case 403:
			a.Error = "insufficient_scope"
		}
		c.Also = append(c.Also, a)
	}
	return c
}

// pending says that the answer may be 503 until the issuer's keys have been fetched again (KEY-6).
func (c *Case) pending() *Case {
	a := answerOf("keys-pending")
	c.First = &a
	return c
}

func (c *Case) about(text string) *Case { c.About = text; return c }

// minted adds the rows of the mint's tables that pick takes.
func (b *builder) minted(base *mint.Token, tables [][]mint.Case, pick func(mint.Case) bool) {
	for _, table := range tables {
		for _, row := range table {
			if row.Publish != nil || skipped[row.Name] || !pick(row) {
				continue
			}
			b.row(row, base)
		}
	}
}

// skipped are the mint's rows that are too large for a file, or that are a header without a token.
var skipped = map[string]bool{"token-empty": true, "token-100-kb": true, "payload-nested-200000-deep": true}

// row adds a row of the mint.
func (b *builder) row(row mint.Case, base *mint.Token) *Case {
	method, target := row.Request()
	reason := row.Want
	if row.Then != "" {
		reason = row.Then
	}
	part := "token"
	if reason == "path-not-granted" || reason == "api-not-granted" ||
		slices.Contains([]string{"PATH-5", "PATH-6"}, row.Rule) {
		part = "permission"
	}
	c := b.add(Case{
		Name: row.Name, Rule: row.Rule, About: row.Note, Part: part, Token: row.Make(base),
		Request: Request{Method: method, Target: target},
	}, reason)
	if row.Then != "" {
		c.pending()
	}
	return c.also(alternatives[row.Name]...)
}

// alternatives are the answers that the specifications leave open for rows of the mint.
var alternatives = map[string][]int{
	"aud-empty-array":               {401}, // a list that names nobody: as bad as none
	"kid-number":                    {200}, // RFC 7515 §4.1.4 wants a string; ignoring it harms nobody
	"payload-lone-surrogate-escape": {200}, // RFC 8259 §8.2: unpredictable
	"exp-beyond-int64-seconds":      {401}, // a number that few programs hold
	"exp-beyond-int64-nanoseconds":  {401},
	"exp-overflow":                  {200},
	"payload-nested-16-deep":        {401}, // TOK-5 bounds the depth; another bound is as good
	"token-at-limit":                {400, 401, 431},
	"token-over-limit":              {200, 400, 431},
}

// prefixed selects rows of the mint whose names begin so.
func prefixed(prefixes ...string) func(mint.Case) bool {
	return func(c mint.Case) bool {
		return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(c.Name, p) })
	}
}
