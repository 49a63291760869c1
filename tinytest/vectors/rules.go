package vectors

// Rule is what a case checks.
type Rule struct {
	Level  string `json:"level"` // "must", "should" or "choice": what the specifications demand, advise, or leave open
	Says   string `json:"says"`
	Source string `json:"source"`
}

// rules are those that cases name, in the words of the specifications that they come from. A rule is a choice where
// these leave one, and where nmos-authd is stricter: a server that answers otherwise need not be wrong.
var rules = map[string]Rule{
	"TOK-1": {"must", "An access token is a JWS in compact form: three segments of unpadded, canonical base64url.",
		"IS-10 Access Tokens; RFC 7515 §5.2, §7.1"},
	"TOK-2": {"must", "alg is RS512 and nothing else.", "IS-10 Access Tokens"},
	"TOK-3": {"must", "A header with crit that names what is not implemented is refused; keys inside the header are " +
		"never used.", "RFC 7515 §4.1"},
	"TOK-4": {"choice", "typ is absent, JWT or at+jwt, in any case.", "RFC 7519 §5.1; RFC 9068 §2.1"},
	"TOK-5": {"choice", "Header and payload are one JSON object each, valid UTF-8, without duplicate names, of " +
		"bounded depth and size.", "RFC 8725 §2; RFC 7515 §4"},
	"TOK-6": {"must", "The signature is RSASSA-PKCS1-v1_5 with SHA-512, and checked before any claim is believed.",
		"RFC 7518 §3.3; RFC 8017 §8.2.2; BCP-003-01"},

	"CLM-1": {"must", "iss is a URL. A slash at its end makes no difference.", "IS-10 Access Tokens; RFC 8414 §3.3"},
	"CLM-2": {"must", "sub is a non-empty string.", "IS-10 Access Tokens"},
	"CLM-3": {"must", "aud is an array of strings, or one string.", "IS-10 Access Tokens; RFC 7519 §4.1.3"},
	"CLM-4": {"must", "An entry of aud names the device: its host name, or scheme://host. One with a port, path or " +
		"query names nobody.", "IS-10 Access Tokens"},
	"CLM-5": {"must", "A first label * in aud stands for one or more labels, a * in a label for characters of it, * " +
		"alone for every name.", "IS-10 Access Tokens; RFC 4592"},
	"CLM-6": {"must", "A token for other devices is refused with 403.", "AMWA nmos-testing, IS-10"},
	"CLM-7": {"must", "exp is a number of seconds, later than now.", "IS-10 Access Tokens; RFC 7519 §4.1.4"},
	"CLM-8": {"must", "iat and nbf may be absent; else each is a number of seconds, not later than now.",
		"IS-10 Access Tokens; RFC 7519 §4.1.5, §4.1.6"},
	"CLM-9": {"must", "client_id or azp is a non-empty string; if both are there they are the same.",
		"IS-10 Access Tokens"},
	"CLM-10": {"must", "scope, if it is there, is one string of names; unknown ones are ignored.",
		"IS-10 Access Tokens; RFC 6749 §3.3"},
	"CLM-11": {"must", "x-nmos-<api> is an object with arrays of strings in read and write. One of a wrong type " +
		"grants nothing, and spoils no other.", "IS-10 Access Tokens"},

	"PATH-1": {"must", "GET and HEAD read; POST, PUT, PATCH and DELETE write; any other method is refused. Methods " +
		"have a case.", "IS-10 Access Tokens; RFC 9110 §9"},
	"PATH-2": {"must", "OPTIONS needs no token.", "IS-10 APIs"},
	"PATH-3": {"must", "/ and /x-nmos can be read without a token.", "IS-10 Resource Servers"},
	"PATH-4": {"must", "/x-nmos/<api> and /x-nmos/<api>/<version> can be read with a token that has the claim " +
		"x-nmos-<api> or the API in its scope.", "IS-10 Resource Servers"},
	"PATH-5": {"must", "Below the version a specifier of x-nmos-<api> must match, under read or write as the method " +
		"has it. scope alone is not enough.", "IS-10 Access Tokens"},
	"PATH-6": {"must", "In a specifier * stands for any characters, / included; all else is literal; the whole path " +
		"behind the version must match.", "IS-10 Access Tokens"},
	"PATH-7": {"choice", "A slash at the end of the path makes no difference.",
		"NMOS APIs treat both as one resource"},
	"PATH-8": {"must", "The path is normalised before it is matched; the query takes no part.",
		"IS-10 Access Tokens; RFC 3986 §6.2.2"},
	"PATH-9": {"choice", "A path that two servers could read differently is refused with 400.",
		"RFC 3986; seen in the wild as bypasses"},
	"PATH-10": {"must",
		"A version is v<number>.<number>; the name of an API is small letters, digits and hyphens.", "NMOS APIs"},
	"PATH-11": {"choice", "A path outside /x-nmos is closed unless the device's configuration says otherwise.",
		"closed by default"},
	"PATH-13": {"must", "single/senders/<id>/transportfile is a path like any other.", "BCP-003-02, IS-05"},
	"PATH-14": {"must", "A WebSocket of the Query API needs what its subscription's resource_path needs; where that " +
		"is not known, *.", "BCP-003-02, IS-04"},
	"PATH-15": {"choice", "A GET of an IS-12 socket needs the whole device model under read and write.",
		"BCP-003-02 v1.1-dev, IS-12: a channel that can write"},
	"PATH-16": {"choice", "A path of more than 2,048 bytes is refused.", "a bound of nmos-authd"},

	"ANS-1": {"must", "Without credentials the answer is 401, and the challenge has no error.", "RFC 6750 §3"},
	"ANS-2": {"must", "A bad token is 401 invalid_token.", "RFC 6750 §3.1"},
	"ANS-3": {"must", "A good token that does not permit the request is 403 insufficient_scope.",
		"RFC 6750 §3.1; IS-10"},
	"ANS-4": {"must", "Two tokens, or an empty one, are 400 invalid_request.", "RFC 6750 §2, §3.1"},
	"ANS-5": {"should", "While keys are fetched or the time is not known the answer is 503 with Retry-After.",
		"IS-10 Resource Servers; INFO-002"},
	"ANS-9": {"must", "access_token in the query counts for a WebSocket's handshake, and not elsewhere.",
		"IS-10; RFC 6750 §2.3"},

	"KEY-4": {"should", "A key is n and e: what else stands beside them is not needed. Unfit keys are left out, the " +
		"others count; every one is tried.", "IS-10 Resource Servers; RFC 7517; RFC 7518 §3.3"},
	"KEY-5": {"should", "Only issuers that the device trusts count.", "IS-10 Resource Servers; RFC 8414"},
	"KEY-6": {"should", "A token with an unknown key: the keys are fetched again, meanwhile 503; then 401.",
		"IS-10 Resource Servers; AMWA nmos-testing"},
	"KEY-8": {"must", "A document, its keys and their names are of bounded size.", "a bound of nmos-authd"},
	"OPS-1": {"must", "Before the time is known no token can be judged.", "IS-10 Time"},

	"CTL-12": {"must", "In a role path * stands for any characters, dots included.", "BCP-003-02 v1.1-dev, IS-14"},
	"CTL-13": {"choice", "X.* matches X, too.", "BCP-003-02 v1.1-dev gives root.* for all objects"},
	"CTL-14": {"choice", "A specifier without * names one object, not those below it.", "least privilege"},
	"CTL-15": {"choice", "IS-12's claim is called control or ncp; what both permit is added up.",
		"BCP-003-02 v1.1-dev; nmos-cpp"},
	"CTL-16": {"choice", "scope alone opens no object of a device model.", "IS-10 Access Tokens"},
	"CTL-17": {"choice", "Roles stand in claims as they are; in a URL they are decoded once.", "IS-14 API requests"},
	"CTL-18": {"must", "An empty specifier matches nothing.", "IS-10 Access Tokens"},
	"CTL-60": {"must", "rolePaths is the first segment behind the version, or the second behind a selector.",
		"IS-14 IS-04 interactions"},
	"CTL-61": {"must", "In IS-14 role paths are matched: GET and HEAD need read, all else write.",
		"BCP-003-02 v1.1-dev, IS-14"},
	"CTL-62": {"choice", "A PATCH of a method needs write, even of one that only reads.", "IS-10 Access Tokens"},
	"CTL-63": {"choice", "The list of role paths can be read with any specifier under read.",
		"open in BCP-003-02 v1.1-dev"},
	"CTL-64": {"choice", "GET bulkProperties needs a specifier for the whole subtree, unless the query says " +
		"recurse=false.", "IS-14 API requests"},
	"CTL-65": {"must", "PUT and PATCH of bulkProperties need write on the target.", "IS-14 Backup & restore"},
	"CTL-66": {"choice", "A specifier in the form of a URL's path matches no object.", "BCP-003-02 v1.1-dev, IS-14"},
}
