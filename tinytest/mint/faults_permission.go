package mint

// permissionFaults are good tokens that do not permit the request (CLM-11, PATH-5, PATH-6). The base's scope names the
// API, so that it is the path that is refused and not the whole API.
func permissionFaults() []Case {
	const api, notPath = "x-nmos-connection", "path-not-granted"
	var rows []Case
	for name, value := range ordered("string", `"*"`, "array", `["*"]`, "null", `null`, "true", `true`, "number", `1`,
		"read-string", `{"read":"*"}`, "read-null", `{"read":null}`, "read-object", `{"read":{"*":true}}`,
		"read-with-number", `{"read":["*",7]}`, "read-with-null", `{"read":[null,"*"]}`, "read-nested",
		`{"read":[["*"]]}`,
		"write-string", `{"read":["*"],"write":"*"}`, "write-with-number", `{"read":["*"],"write":[7]}`) {
		rows = append(rows, fault("api-"+name, "CLM-11", notPath, claim(api, value)))
	}
	for name, value := range ordered(
		"empty", `{}`, "read-empty", `{"read":[]}`, "read-empty-string", `{"read":[""]}`,
		"read-in-capitals", `{"READ":["*"]}`, "write-is-not-read", `{"write":["*"]}`, "permission-unknown",
		`{"list":["*"]}`,
	) {
		rows = append(rows, fault("api-"+name, "PATH-5", notPath, claim(api, value)))
	}
	for name, specifier := range ordered(
		"other", "single/receivers*", "longer", "single/senders/*/staged", "shorter", "single", "slash-before",
		"/single/senders", "whole-path", "/x-nmos/connection/v1.1/single/senders", "with-version",
		"v1.1/single/senders", "in-capitals", "SINGLE/SENDERS", "regular-expression", "single/.+", "question-mark",
		"single/sender?", "class", "single/[s]enders", "start", "single/sender", "end", "ingle/senders",
		"wildcard-needs-more", "single/senders*x", "percent-encoded", "single%2Fsenders",
	) {
		rows = append(rows, fault("specifier-"+name, "PATH-6", notPath, claim(api, `{"read":[`+quote(specifier)+`]}`)))
	}
	return append(rows,
		fault("read-is-not-write", "PATH-5", notPath, claim(api, `{"read":["*"]}`)).request("PATCH", Target),
		fault("scope-alone", "PATH-5", notPath, without(api)),
		fault("api-missing", "PATH-5", "api-not-granted", without(api, "scope")).
			note("the token says nothing of this API: path-not-granted is as right"),
		fault("api-name-in-capitals", "CLM-11", "api-not-granted", func(t *Token) string {
			t.Claims.Delete("scope")
			return renamed(api, "X-NMOS-Connection")(t)
		}),
		fault("api-other", "PATH-5", "api-not-granted", func(t *Token) string {
			t.Claims.Delete("scope")
			return renamed(api, "x-nmos-connections")(t)
		}),
	)
}

func permissionVariants() []Case {
	const api = "x-nmos-connection"
	var rows []Case
	for name, specifier := range ordered(
		"exact", "single/senders", "slash-after", "single/senders/", "wildcard", "*", "wildcard-end", "single/*",
		"wildcard-start", "*senders", "wildcard-middle", "s*s", "wildcards", "**n**/*s*", "wildcard-zero-characters",
		"single/senders*",
	) {
		rows = append(rows, good("specifier-"+name, "PATH-6", claim(api, `{"read":[`+quote(specifier)+`]}`)))
	}
	return append(
		rows,
		good("specifier-escaped", "PATH-6", claim(api, `{"read":["single\/\u0073enders"]}`)),
		good("specifier-last-of-many", "PATH-6",
			claim(api, `{"read":["a","b*","","single/receivers","single/senders"]}`)),
		good("permission-unknown", "CLM-11", claim(api, `{"list":7,"read":["*"],"x":{"y":[]}}`)),
		good("other-api-wrong-type", "CLM-11", claim("x-nmos-node", `5`)),
		good("other-api-read-wrong-type", "CLM-11", claim("x-nmos-node", `{"read":[1,2],"write":"*"}`)),
		good("other-api-unknown", "CLM-11", claim("x-nmos-future", `{"read":["*"]}`)),
		good("write-alone", "PATH-5", claim(api, `{"write":["single/senders"]}`)).request("PATCH", Target),
		good("api-base-by-scope", "PATH-4", without(api)).request("GET", "/x-nmos/connection/v1.1/"),
		good("api-base-by-claim", "PATH-4", without("scope")).request("GET", "/x-nmos/connection/v1.1/"),
	)
}
