package mint

import "fmt"

// timeFaults are in exp, iat and nbf (CLM-7, CLM-8). Those on the very second want a leeway of zero; the others are
// five minutes off, beyond the greatest leeway that can be configured.
func timeFaults() []Case {
	const missing, expired, form = "expiry-missing", "token-expired", "time-form"
	rows := []Case{
		fault("exp-missing", "CLM-7", missing, without("exp")),
		fault("exp-name-in-capitals", "CLM-7", missing, renamed("exp", "EXP")),
		fault("exp-past", "CLM-7", expired, numeric("exp", -300, "")),
		fault("exp-now", "CLM-7", expired, numeric("exp", 0, "")),
		fault("exp-past-fraction", "CLM-7", expired, numeric("exp", -1, ".999999999")),
		fault("exp-zero", "CLM-7", expired, claim("exp", "0")),
		fault("exp-negative", "CLM-7", expired, claim("exp", "-1")),
		fault("exp-very-negative", "CLM-7", expired, claim("exp", "-1e300")),
		fault("exp-tiny", "CLM-7", expired, claim("exp", "1e-400")),
		fault("exp-past-exponent", "CLM-7", expired, claim("exp", "1e3")),
		fault("exp-overflow", "CLM-7", missing, claim("exp", "1e400")).
			note("JSON, but a number that no double holds; no daemon should call it a time"),
	}
	for name, value := range ordered("null", `null`, "string", `"253402300799"`, "date", `"2099-01-01T00:00:00Z"`,
		"true", `true`, "array", `[253402300799]`, "object", `{}`) {
		rows = append(rows, fault("exp-"+name, "CLM-7", missing, claim("exp", value)))
	}
	for _, r := range []struct{ claim, want string }{{"iat", "token-issued-later"}, {"nbf", "token-not-yet-valid"}} {
		rows = append(rows,
			fault(r.claim+"-future", "CLM-8", r.want, numeric(r.claim, 3600, "")),
			fault(r.claim+"-future-fraction", "CLM-8", r.want, numeric(r.claim, 3600, ".5")),
			fault(r.claim+"-far-future", "CLM-8", r.want, claim(r.claim, "1e15")),
			fault(r.claim+"-overflow", "CLM-8", form, claim(r.claim, "1e400")))
		for name, value := range ordered("null", `null`, "string", `"0"`, "false", `false`,
			"array", `[]`, "object", `{}`) {
			rows = append(rows, fault(r.claim+"-"+name, "CLM-8", form, claim(r.claim, value)))
		}
	}
	return rows
}

func timeVariants() []Case {
	return []Case{
		good("exp-fraction", "CLM-7", numeric("exp", 3600, ".5")),
		good("exp-fraction-zero", "CLM-7", numeric("exp", 3600, ".0")),
		good("exp-exponent", "CLM-7", func(t *Token) string {
			t.Claims.SetRaw("exp", fmt.Sprintf("%.9E", float64(t.Now.Unix()+3600)))
			return t.Sign()
		}),
		good("exp-far", "CLM-7", claim("exp", "253402300800")), // the year 10000
		good("exp-beyond-int64-nanoseconds", "CLM-7", claim("exp", "1e15")),
		good("exp-beyond-int64-seconds", "CLM-7", claim("exp", "1e300")).
			note("a number, and later than now; what expires-in says is open, but it must not be negative"),
		good("iat-absent", "CLM-8", without("iat")),
		good("iat-fraction", "CLM-8", numeric("iat", -1, ".75")),
		good("iat-zero", "CLM-8", claim("iat", "0")),
		good("iat-negative", "CLM-8", claim("iat", "-1")),
		good("nbf-now", "CLM-8", numeric("nbf", 0, "")),
		good("nbf-past", "CLM-8", numeric("nbf", -300, "")),
		good("nbf-negative", "CLM-8", claim("nbf", "-1e300")),
	}
}

// numeric sets a claim to a number of seconds after the template's present, with a fraction such as ".5" behind it.
func numeric(name string, after int64, fraction string) maker {
	return func(t *Token) string {
		t.Claims.SetRaw(name, t.seconds(after)+fraction)
		return t.Sign()
	}
}
