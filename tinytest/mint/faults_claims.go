package mint

import "strings"

// issuerFaults are in iss, which is read before the signature in order to find the key (CLM-1, KEY-5).
func issuerFaults() []Case {
	const missing, untrusted = "issuer-missing", "issuer-untrusted"
	rows := []Case{fault("iss-missing", "CLM-1", missing, without("iss"))}
	for name, value := range ordered(
		"null", `null`, "number", `1`, "array", `["https://auth.example.com"]`, "object", `{}`, "empty", `""`,
		"not-url", `"the authorization server"`, "path-only", `"/issuer"`, "host-only", `"auth.example.com"`,
		"no-host", `"https://"`, "control-character", `"https://auth.example.com\n/"`) {
		rows = append(rows, fault("iss-"+name, "CLM-1", missing, claim("iss", value)))
	}
	rows = append(rows, fault("iss-name-in-capitals", "CLM-1", missing, renamed("iss", "ISS")))

	issuer := func(name string, edit func(issuer string) string) Case {
		return fault("iss-"+name, "KEY-5", untrusted, func(t *Token) string {
			t.Claims.Set("iss", edit(strings.TrimSuffix(t.Issuer, "/")))
			return t.Sign()
		})
	}
	return append(
		rows,
		issuer("untrusted", func(string) string { return "https://attacker.example.net" }),
		issuer("untrusted-forged", func(string) string { return "https://attacker.example.net/forged" }).by(attacker),
		issuer("other-scheme", func(s string) string { return "http" + strings.TrimPrefix(s, "https") }).
			note("only for a base whose issuer is https; a pattern of trusted issuers must not let it through either"),
		issuer("scheme-in-capitals", func(s string) string { return "HTTPS" + strings.TrimPrefix(s, "https") }).
			note("comparison is exact (CLM-1), though a URL's scheme has no case"),
		issuer("path-added", func(s string) string { return s + "/other" }),
		issuer("two-slashes", func(s string) string { return s + "//" }),
		issuer("dot-segment", func(s string) string { return s + "/." }),
		issuer("query", func(s string) string { return s + "?a=b" }),
		issuer("fragment", func(s string) string { return s + "#a" }),
		issuer("space-after", func(s string) string { return s + " " }).note(
			"not a URL, strictly: issuer-missing is as right"),
		issuer("user-information", func(s string) string {
			return strings.Replace(s, "://", "://auth.example.com@", 1)
		}),
		issuer("as-user-of-attacker", func(s string) string { return s + "@attacker.example.net" }).
			note("with a port in the base's issuer it is not a URL: issuer-missing is as right"),
		issuer("file", func(string) string { return "file:///etc/passwd" }).
			note("a URL, but without a host: issuer-missing is as right"),
	)
}

// by signs with another key.
func (c Case) by(key func(bits int) *Key) Case {
	mk := c.Make
	c.Make = func(base *Token) string {
		t := base.Clone()
		t.Key = key(2048)
		return mk(t)
	}
	return c
}

// claimFaults are in sub, client_id, azp and scope (CLM-2, CLM-9, CLM-10). exp and aud have tables of their own.
func claimFaults() []Case {
	const subject, client, conflict, scope = "subject-missing", "client-missing", "client-conflict", "scope-form"
	rows := []Case{
		fault("sub-missing", "CLM-2", subject, without("sub")),
		fault("sub-name-in-capitals", "CLM-2", subject, renamed("sub", "SUB")),
		fault("client-missing", "CLM-9", client, without("client_id", "azp")),
		fault("client-name-in-capitals", "CLM-9", client, renamed("client_id", "CLIENT_ID")),
	}
	for name, value := range ordered("null", `null`, "number", `7`, "array", `["operator"]`,
		"object", `{}`, "empty", `""`) {
		rows = append(rows,
			fault("sub-"+name, "CLM-2", subject, claim("sub", value)),
			fault("client-id-"+name, "CLM-9", client, claim("client_id", value)),
			fault("azp-alone-"+name, "CLM-9", client, func(t *Token) string {
				t.Claims.Delete("client_id")
				t.Claims.SetRaw("azp", value)
				return t.Sign()
			}))
	}
	const lines = "the value goes into a line of the reply and into the log: refuse it or escape it, never pass it on"
	for name, value := range ordered(
		"newline", `"a\nreason=ok"`, "carriage-return", `"a\rb"`, "nul", `"a\u0000b"`, "delete", `"a\u007fb"`) {
		rows = append(rows,
			fault("sub-"+name, "CLM-2", subject, claim("sub", value)).note(lines),
			fault("client-id-"+name, "CLM-9", client, claim("client_id", value)).note(lines))
	}
	both := func(clientID, azp string) maker {
		return func(t *Token) string {
			t.Claims.SetRaw("client_id", clientID)
			t.Claims.SetRaw("azp", azp)
			return t.Sign()
		}
	}
	rows = append(rows,
		fault("client-id-and-azp-differ", "CLM-9", conflict, both(`"controller-1"`, `"controller-2"`)),
		fault("client-id-and-azp-differ-in-case", "CLM-9", conflict, both(`"controller-1"`, `"Controller-1"`)),
		fault("client-id-good-azp-number", "CLM-9", client, both(`"controller-1"`, `1`)).
			note("client-conflict is as right"),
		fault("client-id-good-azp-empty", "CLM-9", client, both(`"controller-1"`, `""`)).
			note("client-conflict is as right"),
		fault("client-id-empty-azp-good", "CLM-9", client, both(`""`, `"controller-1"`)).
			note("client-conflict is as right"),
	)
	for name, value := range ordered(
		"null", `null`, "number", `1`, "array", `["connection","node"]`, "object", `{"connection":true}`, "true",
		`true`) {
		rows = append(rows, fault("scope-"+name, "CLM-10", scope, claim("scope", value)))
	}
	return rows
}

func claimVariants() []Case {
	return []Case{
		good("iss-slash-after", "CLM-1", func(t *Token) string {
			if s, ok := strings.CutSuffix(t.Issuer, "/"); ok {
				t.Claims.Set("iss", s)
			} else {
				t.Claims.Set("iss", t.Issuer+"/")
			}
			return t.Sign()
		}),
		good("iss-escaped", "CLM-1", func(t *Token) string {
			t.Claims.SetRaw("iss", strings.ReplaceAll(quote(t.Issuer), "/", `\/`))
			return t.Sign()
		}),
		good("sub-non-ascii", "CLM-2", claim("sub", `"Jörg 🎚"`)),
		good("sub-escaped", "CLM-2", claim("sub", `"\u0061\ud83c\udf9a\"\\"`)),
		good("sub-with-equals-sign", "CLM-2", claim("sub", `"cn=operator, o=example"`)),
		good("azp-alone", "CLM-9", renamed("client_id", "azp")),
		good("client-id-and-azp-same", "CLM-9", func(t *Token) string {
			t.Claims.SetRaw("azp", string(t.Claims.Get("client_id")))
			return t.Sign()
		}),
		good("client-id-and-azp-same-escaped", "CLM-9", func(t *Token) string {
			t.Claims.SetRaw("client_id", `"controller-1"`)
			t.Claims.SetRaw("azp", `"\u0063ontroller-1"`)
			return t.Sign()
		}),
		good("scope-absent", "CLM-10", without("scope")),
		good("scope-empty", "CLM-10", claim("scope", `""`)),
		good("scope-unknown-names", "CLM-10", claim("scope", `"openid offline_access x-nmos"`)),
		good("claims-unknown", "TOK-5", func(t *Token) string {
			t.Claims.SetRaw("realm_access", `{"roles":["a","b"]}`)
			t.Claims.SetRaw("jti", `"5f0c1b52"`)
			t.Claims.SetRaw("auth_time", t.seconds(-60))
			t.Claims.SetRaw("email_verified", `true`)
			t.Claims.SetRaw("acr", `null`)
			return t.Sign()
		}),
		good("claims-unknown-with-reserved-words-inside", "TOK-5", func(t *Token) string {
			t.Claims.SetRaw("act", `{"iss":1,"sub":2,"exp":0,"client_id":"somebody","x-nmos-connection":5}`)
			return t.Sign()
		}),
		good("claims-in-reverse", "TOK-5", func(t *Token) string {
			for i, j := 0, len(t.Claims)-1; i < j; i, j = i+1, j-1 {
				t.Claims[i], t.Claims[j] = t.Claims[j], t.Claims[i]
			}
			return t.Sign()
		}),
		good("names-escaped", "TOK-5", func(t *Token) string {
			for i := range t.Claims {
				t.Claims[i].Name = strings.Replace(t.Claims[i].Name, "i", `\u0069`, 1)
			}
			return t.Sign()
		}),
		good("payload-white-space", "TOK-5", payloadText(func(p string) string {
			return " \r\n" + strings.ReplaceAll(p, `,"`, ",\n\t\"") + "\n"
		})),
		good("payload-nested-16-deep", "TOK-5", claim("x-deep", nested(15))),
	}
}
