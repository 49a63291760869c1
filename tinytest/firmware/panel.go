package firmware

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// named is a resource of the device by the name on its front panel.
type named struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
	ID   string `json:"id"`
}

func newNames() []named {
	return []named{
		{
			"sender",
			"out-1",
			Sender1ID,
		}, {"sender", "out-2", Sender2ID}, {"receiver", "in-1", Receiver1ID}, {"receiver", "in-2", Receiver2ID},
		{"meter", "meter-1", MeterSourceID},
	}
}

// Rename gives a resource another name, as people do who label a device. The daemon does not know of it before it is
// told.
func (d *Device) Rename(kind, from, to string) error {
	d.model.mu.Lock()
	defer d.model.mu.Unlock()
	i := slices.IndexFunc(d.model.names, func(n named) bool { return n.Kind == kind && n.Name == from })
	if i < 0 {
		return fmt.Errorf("firmware: there is no %s %s", kind, from)
	}
	d.model.names[i].Name = to
	return nil
}

// Inventory is what the device has, as the daemon reads it: the firmware writes it to the file that the daemon's
// configuration names, or pushes it.
func (d *Device) Inventory() []byte {
	d.model.mu.Lock()
	defer d.model.mu.Unlock()
	document, err := json.MarshalIndent(struct {
		Resources []named `json:"resources"`
	}{d.model.names}, "", "  ")
	if err != nil {
		panic(err) // of plain text
	}
	return append(document, '\n')
}

// PushInventory tells the daemon what the device has, over its admin socket.
func (d *Device) PushInventory(ctx context.Context, socket string) error {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodPut, "http://localhost/inventory",
		bytes.NewReader(d.Inventory()))
	if err != nil {
		return err
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return fmt.Errorf("firmware: push the inventory: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusNoContent {
		why, err := io.ReadAll(io.LimitReader(response.Body, bodyLimit))
		return errors.Join(fmt.Errorf("firmware: the daemon refuses the inventory: %s: %s", response.Status, why), err)
	}
	return nil
}

// PanelAddr is where the device takes commands from its front panel, and from whoever follows its meters. They come
// over UDP, one a datagram, in words that are the device's own and no API's:
//
//	read meter meter-1 TOKEN
//	write receiver in-1 on TOKEN
//
// TOKEN may be left out. The answer is a status, as in HTTP, and what was read or why it is denied: "200 -12.5 dBFS",
// "403 path-not-granted".
func (d *Device) PanelAddr() string { return d.panel.LocalAddr().String() }

// servePanel answers commands until the device is closed.
func (d *Device) servePanel() {
	command := make([]byte, 64<<10)
	for {
		n, from, err := d.panel.ReadFrom(command)
		if err != nil {
			return
		}
		answer := d.command(string(command[:n]))
		if _, err = d.panel.WriteTo([]byte(answer), from); err != nil {
			d.logf("panel: %v", err)
		}
	}
}

// command asks the daemon in the device's own terms, and does what is allowed.
func (d *Device) command(text string) string {
	words := strings.Fields(text)
	access, fixed := "", 0
	if len(words) > 0 {
		access = words[0]
		fixed = map[string]int{"read": 3, "write": 4}[access]
	}
	if fixed == 0 || len(words) < fixed || len(words) > fixed+1 {
		return "400 what is that?"
	}
	kind, name := words[1], words[2]
	lines := []string{"resource 1", "kind=" + kind, "name=" + name, "access=" + access}
	if len(words) > fixed {
		lines = append(lines, "authorization=Bearer "+words[fixed])
	}
	reply, err := d.question(lines)
	switch {
	case err != nil:
		d.logf("panel: %s %s %s: 503: %v", access, kind, name, err)
		return "503 the authorization daemon cannot be asked"
	case !reply.Allowed():
		d.logf("panel: %s %s %s: %s %d %s", access, kind, name, reply.Verdict, reply.Status, reply.Reason)
		return fmt.Sprintf("%d %s", max(reply.Status, 400), reply.Reason)
	case access == "read":
		return d.model.readNamed(kind, name)
	}
	return d.model.writeNamed(kind, name, words[3])
}

// id finds a resource by its name on the panel; "": there is none.
func (m *model) id(kind, name string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, n := range m.names {
		if n.Kind == kind && n.Name == name {
			return n.ID
		}
	}
	return ""
}

func (m *model) readNamed(kind, name string) string {
	id := m.id(kind, name)
	if id == "" {
		return "404 there is none"
	}
	if e := m.endpoints[id]; e != nil {
		if m.endpointState(e, true)["master_enable"] == true {
			return "200 on"
		}
		return "200 off"
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return "200 " + strconv.FormatFloat(m.level, 'f', 1, 64) + " dBFS"
}

func (m *model) writeNamed(kind, name, value string) string {
	e := m.endpoints[m.id(kind, name)]
	if e == nil || value != "on" && value != "off" {
		return "404 there is none, or it cannot be set to that"
	}
	body := fmt.Sprintf(`{"master_enable": %t, "activation": {"mode": "activate_immediate"}}`, value == "on")
	if _, err := m.patch(e, []byte(body)); err != nil {
		return "500 " + err.Error()
	}
	return "200 " + value
}
