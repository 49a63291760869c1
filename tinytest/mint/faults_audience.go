package mint

import "strings"

// audienceFaults are in aud: its form (CLM-3), and entries that name other devices (CLM-4 to CLM-6).
func audienceFaults() []Case {
	const missing = "audience-missing"
	rows := []Case{
		fault("aud-missing", "CLM-3", missing, without("aud")),
		fault("aud-name-in-capitals", "CLM-3", missing, renamed("aud", "AUD")),
	}
	for name, value := range ordered("null", `null`, "number", `1`, "true", `true`, "object", `{"node":"*"}`) {
		rows = append(rows, fault("aud-"+name, "CLM-3", missing, claim("aud", value)))
	}
	for name, member := range ordered("number", `7`, "null", `null`, "array", `["*"]`, "object", `{}`) {
		rows = append(rows, fault("aud-array-with-"+name, "CLM-3", missing, func(t *Token) string {
			t.Claims.SetRaw("aud", "["+quote(t.Device)+","+member+"]")
			return t.Sign()
		}))
	}
	rows = append(rows, fault("aud-empty-array", "CLM-6", "audience", claim("aud", `[]`)).
		note("a list of strings that names nobody; audience-missing (401) is as right"))

	for _, r := range []struct {
		name string
		rule string
		edit func(device string) string
	}{
		{"other-device", "CLM-4", func(string) string { return "other.example.org" }},
		{"empty", "CLM-4", func(string) string { return "" }},
		{"port", "CLM-4", func(d string) string { return d + ":80" }},
		{"port-empty", "CLM-4", func(d string) string { return d + ":" }},
		{"scheme-and-port", "CLM-4", func(d string) string { return "https://" + d + ":443" }},
		{"path", "CLM-4", func(d string) string { return "https://" + d + "/x-nmos" }},
		{"path-root", "CLM-4", func(d string) string { return "https://" + d + "/" }},
		{"path-without-scheme", "CLM-4", func(d string) string { return d + "/" }},
		{"query", "CLM-4", func(d string) string { return "https://" + d + "?a=b" }},
		{"fragment", "CLM-4", func(d string) string { return "https://" + d + "#a" }},
		{"user-information", "CLM-4", func(d string) string { return "https://operator@" + d }},
		{"scheme-without-host", "CLM-4", func(string) string { return "https://" }},
		{"scheme-empty", "CLM-4", func(d string) string { return "://" + d }},
		{"two-slashes-only", "CLM-4", func(d string) string { return "//" + d }},
		{"two-dots-after", "CLM-4", func(d string) string { return d + ".." }},
		{"dot-before", "CLM-4", func(d string) string { return "." + d }},
		{"dot-only", "CLM-4", func(string) string { return "." }},
		{"space-before", "CLM-4", func(d string) string { return " " + d }},
		{"list-in-a-string", "CLM-4", func(d string) string { return "other.example.org " + d }},
		{"parent", "CLM-4", parent},
		{"child", "CLM-4", func(d string) string { return "a." + d }},
		{"prefix", "CLM-4", func(d string) string { return d[:len(d)-1] }},
		{"suffix", "CLM-4", func(d string) string { return d[1:] }},
		{"first-label-only", "CLM-4", firstLabel},

		{"wildcard-under-device", "CLM-5", func(d string) string { return "*." + d }},
		{"wildcard-other-domain", "CLM-5", func(string) string { return "*.example.org" }},
		{"wildcard-domain-as-suffix", "CLM-5", func(d string) string { return "*." + parent(d)[1:] }},
		{"wildcard-domain-without-dot", "CLM-5", func(d string) string { return "*" + parent(d)[1:] }},
		{"wildcard-label-other-start", "CLM-5", func(d string) string { return "x" + d[:1] + "*." + parent(d) }},
		{"wildcard-label-other-end", "CLM-5", func(d string) string { return d[:1] + "*x." + parent(d) }},
		{"wildcard-label-across-dots", "CLM-5", func(d string) string { return d[:1] + "*" + tld(d) }},
		{"wildcard-label-one-label-more", "CLM-5", func(d string) string { return d[:1] + "*.a." + parent(d) }},
		{"wildcard-port", "CLM-5", func(d string) string { return d + ":*" }},
		{"wildcard-with-port", "CLM-5", func(d string) string { return "*." + parent(d) + ":443" }},
		{"wildcard-with-path", "CLM-5", func(string) string { return "https://*/x-nmos" }},
		{"wildcard-scheme", "CLM-5", func(d string) string { return "*://" + d }},
		{"question-mark", "CLM-5", func(d string) string { return "?" + d[1:] }},
		{"regular-expression", "CLM-5", func(string) string { return ".+" }},
	} {
		rows = append(rows, fault("aud-"+r.name, r.rule, "audience", audience(r.edit)))
	}
	return append(
		rows,
		fault("aud-string-other-device", "CLM-3", "audience", claim("aud", `"other.example.org"`)),
		fault("aud-many-others", "CLM-4", "audience",
			claim("aud", `["a.example.org","*.example.org","https://b.example.org"]`)),
	)
}

func audienceVariants() []Case {
	rows := []Case{
		good("aud-string", "CLM-3", func(t *Token) string { t.Claims.Set("aud", t.Device); return t.Sign() }),
		good("aud-last-of-many", "CLM-4", func(t *Token) string {
			t.Claims.Set("aud", []string{"a.example.org", "https://" + t.Device + ":443", "", t.Device})
			return t.Sign()
		}),
		good("aud-string-wildcard", "CLM-5", claim("aud", `"*"`)),
	}
	for _, r := range []struct {
		name string
		rule string
		edit func(device string) string
	}{
		{"dot-after", "CLM-4", func(d string) string { return d + "." }},
		{"upper-case", "CLM-4", strings.ToUpper},
		{"https", "CLM-4", func(d string) string { return "https://" + d }},
		{"http", "CLM-4", func(d string) string { return "http://" + d }},
		{"scheme-in-capitals", "CLM-4", func(d string) string { return "HTTPS://" + d }},
		{"https-dot-after", "CLM-4", func(d string) string { return "https://" + d + "." }},
		{"wildcard-alone", "CLM-5", func(string) string { return "*" }},
		{"wildcard-alone-https", "CLM-5", func(string) string { return "https://*" }},
		{"wildcard-first-label", "CLM-5", func(d string) string { return "*." + parent(d) }},
		{"wildcard-two-labels", "CLM-5", func(d string) string { return "*." + parent(parent(d)) }},
		{"wildcard-upper-case", "CLM-5", func(d string) string { return "*." + strings.ToUpper(parent(d)) }},
		{"wildcard-https", "CLM-5", func(d string) string { return "https://*." + parent(d) }},
		{"wildcard-dot-after", "CLM-5", func(d string) string { return "*." + parent(d) + "." }},
		{"wildcard-label-end", "CLM-5", func(d string) string { return d[:1] + "*." + parent(d) }},
		{"wildcard-label-start", "CLM-5", func(d string) string {
			return "*" + firstLabel(d)[len(firstLabel(d))-1:] + "." + parent(d)
		}},
		{"wildcard-label-middle", "CLM-5", func(d string) string {
			return d[:1] + "*" + firstLabel(d)[len(firstLabel(d))-1:] + "." + parent(d)
		}},
		{"wildcard-label-zero-characters", "CLM-5", func(d string) string { return firstLabel(d) + "*." + parent(d) }},
	} {
		rows = append(rows, good("aud-"+r.name, r.rule, audience(r.edit)))
	}
	return rows
}

// audience makes the edited device name the only entry of aud.
func audience(edit func(device string) string) maker {
	return func(t *Token) string {
		t.Claims.Set("aud", []string{edit(t.Device)})
		return t.Sign()
	}
}

// firstLabel is "node-1" of "node-1.example.com", parent is "example.com" and tld is ".com".
func firstLabel(name string) string { label, _, _ := strings.Cut(name, "."); return label }
func parent(name string) string     { _, rest, _ := strings.Cut(name, "."); return rest }
func tld(name string) string        { return name[strings.LastIndexByte(name, '.'):] }
