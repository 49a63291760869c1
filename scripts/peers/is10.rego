# What IS-10 asks about one request, as a user of the Open Policy Agent would write it. The input has "method", "path"
# and "token"; the data "jwks" (a JSON Web Key Set as text), "issuer" and "device" (its host name).
package is10

default allow := false

allow if input.method == "OPTIONS"

allow if {
	access == "read"
	trim_right(input.path, "/") in {"", "/x-nmos"}
}

allow if { # the base of an API and of its version: whoever may do anything there
	granted := claims
	place.rest == ""
	place.api in split(object.get(granted, "scope", ""), " ")
}

allow if { # the base, by the API's claim
	place.rest == ""
	claims[sprintf("x-nmos-%s", [place.api])]
}

allow if {
	place.rest != ""
	some specifier in claims[sprintf("x-nmos-%s", [place.api])][access]
	matches(specifier, place.rest)
}

access := "read" if input.method in {"GET", "HEAD"}

access := "write" if input.method in {"POST", "PUT", "PATCH", "DELETE"}

# Paths that two servers could read differently have no place.
place := {"api": parts[1], "rest": trim_right(parts[3], "/")} if {
	path := split(input.path, "?")[0]
	not regex.match(`//|/\.\.?(/|$)|[%;\\]`, path)
	parts := regex.find_all_string_submatch_n(`^/x-nmos/([a-z0-9-]+)(?:/(v[0-9]+\.[0-9]+)(?:/(.*))?)?$`, path, 1)[0]
}

# The exact name is tried first, since that is what tokens have; then patterns.
claims := payload if {
	payload := verified(data.device)
} else := verified(audience)

verified(audience) := payload if {
	[valid, _, payload] := io.jwt.decode_verify(
		input.token,
		{"cert": data.jwks, "alg": "RS512", "iss": data.issuer, "aud": audience},
	)
	valid
	is_string(payload.sub)
	payload.sub != ""
	is_number(payload.exp)
	is_string(client(payload))
	object.get(payload, "iat", 0) * 1000000000 <= time.now_ns()
}

client(payload) := object.get(payload, "client_id", object.get(payload, "azp", null))

audience := [name | some name in names; matches(trim_prefix(trim_prefix(name, "https://"), "http://"), data.device)][0]

names := aud if {
	aud := io.jwt.decode(input.token)[1].aud
	is_array(aud)
} else := [io.jwt.decode(input.token)[1].aud]

# "*" stands for any characters, "/" and "." included; all else stands for itself.
matches(pattern, text) if pattern == text

matches(pattern, text) if {
	contains(pattern, "*")
	glob.match(replace(glob.quote_meta(pattern), `\*`, "*"), null, text)
}
