package system_test

import "strings"

// leaked returns a part of a token's payload or signature that stands in the text, "" if none does. The header is no secret.
func leaked(text, token string) string {
	const part = 16 // characters: no accident
	_, secret, _ := strings.Cut(strings.TrimSpace(token), ".")
	if secret == "" {
		secret = strings.TrimSpace(token) // malformed as it is, it may be a good one cut off
	}
	for len(secret) >= part {
		if strings.Contains(text, secret[:part]) {
			return secret[:part]
		}
		secret = secret[part:]
	}
	return ""
}
