package agent_test

import (
	"strings"
	"testing"

	"nmosauthd/agent/config"
	"nmosauthd/tinytest/mint"
	"nmosauthd/tinytest/rows"
	"nmosauthd/tinytest/spec"
)

// A caller gives a reply a buffer by the limits of PROTOCOL.md, section 1: none is longer, with the longest id and
// realm that there are, and the reason's text in it twice.
func TestLongestReply(t *testing.T) {
	spec.Rules(t, "ANS-8")
	realm := strings.Repeat(strings.Repeat("a", 63)+".", 4)[:253]
	for _, mode := range []string{"enforce", "observe"} {
		d := newDevice(t, func(c *config.Config) {
			c.Mode = config.Mode(mode)
			c.Device.Names = []string{realm, mint.DefaultDevice}
		}, mint.CachedKey("key-1", 2048).JWK())
		all := rows.All(func(o mint.Options) string { return mint.New(o).Sign() })
		deep := "/x-nmos/connection/v1.1/" + strings.Repeat("%41", 2000)
		all = append(all, rows.Question{Name: "a long path", Packet: "decide 1\nmethod=GET\ntarget=" + deep + "\n"},
			rows.Question{Name: "many targets", Packet: "decide-all 1\n" + strings.Repeat("target="+deep+"\n", 4)})
		longest := -1 << 20
		for _, row := range all {
			verb, rest, found := strings.Cut(row.Packet, "\n")
			if !found || strings.Contains(rest, "id=") {
				continue
			}
			packet := verb + "\nid=" + strings.Repeat("i", 64) + "\n" + rest
			more := 1 << 10
			if strings.HasPrefix(verb, "control ") {
				more = 32 << 10
			}
			reply := d.NewSession().Packet(nil, []byte(packet), 32<<10)
			if len(reply) > len(packet)+more {
				t.Errorf("%s: %s: got a reply of %d bytes to a packet of %d; want at most %d more:\n%s",
					mode, row.Name, len(reply), len(packet), more, reply)
			}
			if more == 1<<10 {
				longest = max(longest, len(reply)-len(packet))
			}
		}
		t.Logf("%s: %d bytes more than the packet at most", mode, longest)
	}
}
