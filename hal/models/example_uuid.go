package models

import (
	"crypto/sha1"
	"encoding/hex"
	"strings"
)

// exampleSpace is the namespace of the UUIDs that the devices of Example Audio derive: made up once, the same in the
// firmware that registers the device with NMOS. A maker takes one of his own (`cat /proc/sys/kernel/random/uuid`).
const exampleSpace = "9f0c2a54-6f0e-4d7c-8a8e-3b1d5c7e9a10"

// uuid5 returns the UUID of version 5 (RFC 9562 §5.5) of a name within a namespace, itself a UUID: the same at every
// start, without a file to keep it in.
func uuid5(namespace, name string) string {
	space, _ := hex.DecodeString(strings.ReplaceAll(namespace, "-", "")) // a constant, which a test checks
	h := sha1.New()
	h.Write(space)
	h.Write([]byte(name))
	u := h.Sum(nil)[:16]
	u[6] = u[6]&0x0f | 5<<4 // version
	u[8] = u[8]&0x3f | 2<<6 // variant
	t := hex.EncodeToString(u)
	return t[:8] + "-" + t[8:12] + "-" + t[12:16] + "-" + t[16:20] + "-" + t[20:]
}

// isUUID reports whether s is a UUID in the form that NMOS demands: lower case, with dashes.
func isUUID(s string) bool {
	for i := range len(s) {
		if dash := i == 8 || i == 13 || i == 18 || i == 23; dash != (s[i] == '-') || !dash && !isHex(s[i]) {
			return false
		}
	}
	return len(s) == 36
}
