package agent_test

import (
	"testing"

	"nmosauthd/tinytest/mint"
)

// A token's scope and its x-nmos-* claims, in combination, and what they open in two APIs. "-" is a claim that is
// absent.
var permissionRows = []struct {
	name, scope, connection, events string
	base, read, write               string // of connection
	eventsRead                      string
}{
	{"CLM-10/scope-alone", `"connection"`, "-", "-", "ok", "path-not-granted", "path-not-granted", "api-not-granted"},
	{"CLM-10/scope-of-both", `"events connection"`, "-", "-", "ok", "path-not-granted",
		"path-not-granted", "path-not-granted"},
	{"CLM-10/unknown-names", `"openid profile x-nmos-connection"`, "-", "-", "api-not-granted", "api-not-granted",
		"api-not-granted", "api-not-granted"},
	{"CLM-10/many-spaces", `"  connection   events "`, "-", "-", "ok", "path-not-granted",
		"path-not-granted", "path-not-granted"},
	{"CLM-10/tab-is-no-space", `"connection\tevents"`, "-", "-", "api-not-granted", "api-not-granted",
		"api-not-granted", "api-not-granted"},
	{"CLM-10/case", `"Connection"`, "-", "-", "api-not-granted", "api-not-granted",
		"api-not-granted", "api-not-granted"},
	{"CLM-10/empty", `""`, "-", "-", "api-not-granted", "api-not-granted", "api-not-granted", "api-not-granted"},
	{"CLM-10/absent", "-", "-", "-", "api-not-granted", "api-not-granted", "api-not-granted", "api-not-granted"},
	{"CLM-10/absent-with-claim", "-", `{"read":["*"]}`, "-", "ok", "ok", "path-not-granted", "api-not-granted"},
	{"CLM-10/of-another-api", `"events"`, `{"read":["*"]}`, "-", "ok", "ok", "path-not-granted", "path-not-granted"},
	{"CLM-10/array", `["connection"]`, `{"read":["*"]}`, "-", "scope-form", "scope-form", "scope-form", "scope-form"},

	{"CLM-11/both", "-", `{"read":["*"],"write":["*"]}`, `{"read":["*"]}`, "ok", "ok", "ok", "ok"},
	{"CLM-11/empty-claim", "-", `{}`, "-", "ok", "path-not-granted", "path-not-granted", "api-not-granted"},
	{"CLM-11/empty-lists", "-", `{"read":[],"write":[]}`, "-", "ok", "path-not-granted",
		"path-not-granted", "api-not-granted"},
	{"CLM-11/write-alone", "-", `{"write":["*"]}`, "-", "ok", "path-not-granted", "ok", "api-not-granted"},
	{"CLM-11/unknown-permission", "-", `{"list":{"a":[1]},"read":["*"]}`,
		"-", "ok", "ok", "path-not-granted", "api-not-granted"},
	{"CLM-11/wrong-type", "-", `"*"`, `{"read":["*"]}`, "api-not-granted", "api-not-granted", "api-not-granted", "ok"},
	{"CLM-11/wrong-type-null", "-", `null`, `{"read":["*"]}`, "api-not-granted",
		"api-not-granted", "api-not-granted", "ok"},
	{"CLM-11/wrong-type-array", "-", `[{"read":["*"]}]`, `{"read":["*"]}`, "api-not-granted", "api-not-granted",
		"api-not-granted", "ok"},
	{"CLM-11/wrong-type-with-scope", `"connection"`, `7`, `{"read":["*"]}`, "ok", "path-not-granted",
		"path-not-granted", "ok"},
	{"CLM-11/wrong-type-of-read", "-", `{"read":"*","write":["*"]}`, `{"read":["*"]}`, "api-not-granted",
		"api-not-granted", "api-not-granted", "ok"},
	{"CLM-11/wrong-type-of-write-behind-read", "-", `{"read":["*"],"write":{"*":1}}`, `{"read":["*"]}`,
		"api-not-granted", "api-not-granted", "api-not-granted", "ok"},
	{"CLM-11/wrong-type-in-list", "-", `{"read":["*",null]}`, `{"read":["*"]}`, "api-not-granted", "api-not-granted",
		"api-not-granted", "ok"},
	{"CLM-11/wrong-type-beside", "-", `{"read":["*"]}`, `{"read":[7]}`, "ok", "ok",
		"path-not-granted", "api-not-granted"},
	{"CLM-11/specifiers-of-another-api", "-", `{}`, `{"read":["*"],"write":["*"]}`, "ok", "path-not-granted",
		"path-not-granted", "ok"},
}

func TestPermissions(t *testing.T) {
	base := mint.New(mint.Options{})
	d := newDevice(t, nil, base.Key.JWK())
	for _, row := range permissionRows {
		t.Run(row.name, func(t *testing.T) {
			for _, reverse := range []bool{false, true} { // the order of the claims makes no difference
				tok := base.Clone()
				claims := [][2]string{{"scope", row.scope}, {"x-nmos-connection", row.connection},
					{"x-nmos-events", row.events}}
				tok.Claims.Delete("x-nmos-node")
				for i := range claims {
					claim := claims[i]
					if reverse {
						claim = claims[len(claims)-1-i]
					}
					tok.Claims.Delete(claim[0])
					if claim[1] != "-" {
						tok.Claims.SetRaw(claim[0], claim[1])
					}
				}
				for _, question := range []struct{ method, target, want string }{
					{"GET", "/x-nmos/connection/v1.1/", row.base}, {"GET", senders, row.read},
					{"PATCH", senders, row.write},
					{"GET", "/x-nmos/events/v1.0/sources", row.eventsRead},
				} {
					got := d.ask(t, "decide 1\nmethod="+question.method+"\ntarget="+question.target+
						"\nauthorization=Bearer "+tok.Sign()+"\n")
					if got.reason() != question.want {
						t.Errorf("%s %s: %v, want %s", question.method, question.target, got, question.want)
					}
				}
			}
		})
	}
}
