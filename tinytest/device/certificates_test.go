package device_test

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"nmosauthd/agent/status"
	"nmosauthd/tinytest/authserver"
	"nmosauthd/tinytest/estserver"
	"nmosauthd/tinytest/spec"
)

// webServer stands in for the device's web server: a user of its own, and a pair that it reads at its start and
// whenever it is told to. It has nginx's name, so that the hook works as it is delivered.
const webServer = `[Unit]
After=nmos-authd.service
[Service]
User=www-data
Group=www-data
RuntimeDirectory=web
ExecStart=/bin/sh -c 'cp /run/nmos-authd/certs/ecdsa.pem /run/web/read && exec sleep infinity'
ExecReload=/bin/cp /run/nmos-authd/certs/ecdsa.pem /run/web/read
[Install]
WantedBy=multi-user.target
`

// stateDisk is the state's partition, as a maker has it who would rather have a device without than none.
const stateDisk = "/dev/disk/by-id/virtio-disk2 /var/lib/nmos-authd ext4 nofail,x-systemd.device-timeout=600 0 0"

// A device with systemd gets its certificate by EST, and another one by hand, for a web server that runs as its own
// user; what was installed outlives a power cut in the next moment.
func TestCertificates(t *testing.T) {
	spec.Rules(t, "CERT-29", "CERT-47")
	needsDevice(t)
	server := startServer(t)
	est, err := estserver.Start(estserver.Options{Host: "est.example.com", Domain: "example.com", AnySerial: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { est.Close() })
	now := time.Now()
	earlier := now.Add(-time.Hour)
	maker := est.Maker().Device("SN-7", earlier, now.AddDate(30, 0, 0))
	hand := estserver.NewCA("By Hand", earlier).Server(earlier, now.Add(240*time.Hour), deviceName)
	more := map[string]string{
		"nginx.service": webServer, "hand.pem": string(hand.KeyPEM) + string(hand.ChainPEM),
		"maker.pem": string(maker.KeyPEM) + string(maker.ChainPEM), "certs.toml": fmt.Sprintf(
			"[certificates]\nest = %q\nfingerprint = %q\nmaker_certificate = \"/etc/nmos-authd/maker.pem\"\n"+
				"group = \"www-data\"\n", est.URL(), est.Facility().Fingerprint()),
	}
	for _, unit := range []string{"nmos-authd-certs.path", "nmos-authd-certs.service"} {
		text, err := os.ReadFile(absolute(t, "configs/systemd/"+unit))
		if err != nil {
			t.Fatal(err)
		}
		more[unit] = string(text)
	}
	system := filepath.Join(workDir, "certificates.ext4") // which outlives the power
	command(t, "cp", "--sparse=always", absolute(t, "build/device/debian.ext4"), system)
	h := hardware{memory: 256, cores: 2, server: server, ports: []string{est.Port()},
		kernel: "rw systemd.mask=serial-getty@ttyAMA0.service",
		disks:  []string{system, box(t, server, more) + ",readonly=on", disk(t, "certificates-state.ext4", 8)}}
	m := boot(t, h)
	good := template(server).Sign()

	m.step("certificate by EST", func() string {
		installForCertificates(m, server, est)
		m.setClock(time.Now())
		m.await("a good token once the clock is set", good, "allow 200 ok")
		m.wait("a certificate by EST", func() bool { return m.certs().Issued > 0 })
		m.wait("the web server has it", func() bool { return m.webServerHas(est.Issued()[0].Raw) })
		if v := est.Violations(); len(v) > 0 {
			m.t.Errorf("the EST server had to refuse: %v", v)
		}
		m.wantFile("roots.pem", "nmos-authd:nmos-authd:644")
		return "enrolled by the maker's certificate; the web server was told, and has read it as its own user"
	})
	m.step("another by hand, then no power", func() string {
		// What the shell has written is on the disk; what the daemon writes from here on is its own care.
		m.must("cp /box/hand.pem /root/ && chmod 600 /root/hand.pem && sync")
		m.wait("a pair installed by hand", func() bool {
			_, status := m.try("nmos-authd certs install /root/hand.pem")
			return status == 0
		})
		m.kill()
		server.Misbehave("/", authserver.ResetConnect)
		est.Close()
		m2 := boot(t, h)
		m2.t, m = m.t, m2
		m.wait("the web server has it again", func() bool { return m.webServerHas(hand.Leaf.Raw) })
		return fmt.Sprintf("after the next start (shell after %.0f s, clock in 1970, servers away) the web server has "+
			"read the installed pair", m.booted.Seconds())
	})
}

// installForCertificates installs the package and the web server, and gives them to each other.
func installForCertificates(m *machine, server *authserver.Server, est *estserver.Server) {
	m.t.Helper()
	m.must(fmt.Sprintf("echo '%s' >>/etc/fstab && mkdir -p /box /var/lib/nmos-authd && systemctl daemon-reload && "+
		"mount /var/lib/nmos-authd && mount -o ro /dev/disk1 /box && dpkg -i /box/nmos-authd.deb", stateDisk))
	m.must(fmt.Sprintf("echo '%s %s %s' >>/etc/hosts && cp /box/ca.pem /etc/nmos-authd/ && "+
		"cat /box/nmos-authd.toml /box/certs.toml >/etc/nmos-authd/nmos-authd.toml && "+
		"install -g nmos-authd -m 640 /box/maker.pem /etc/nmos-authd/ && usermod -aG www-data nmos-authd",
		serverAt, serverName, est.Host()))
	m.must("cp /box/*.service /box/*.path /etc/systemd/system/ && systemctl daemon-reload && " +
		"systemctl enable nginx.service && systemctl enable --now nmos-authd-certs.path && " +
		"nmos-authd check-config && systemctl restart nmos-authd.service")
}

// certs is what "nmos-authd certs status" says.
func (m *machine) certs() (c status.Certs) {
	m.t.Helper()
	m.wait("a status", func() bool {
		printed, status := m.try("nmos-authd certs status --json")
		return status <= 1 && json.Unmarshal([]byte(printed), &c) == nil
	})
	return c
}

// webServerHas reports whether the web server has read this certificate with its key, and checks who can do so.
func (m *machine) webServerHas(leaf []byte) bool {
	m.t.Helper()
	text, status := m.try("cat /run/web/read")
	if status != 0 {
		return false
	}
	pair, err := tls.X509KeyPair([]byte(text), []byte(text))
	if err != nil || !bytes.Equal(pair.Certificate[0], leaf) {
		return false
	}
	m.wantFile("ecdsa.pem", "nmos-authd:www-data:640")
	if _, status := m.try("setpriv --reuid=nobody --regid=nogroup --clear-groups " +
		"cat /run/nmos-authd/certs/ecdsa.pem"); status == 0 {
		m.t.Error("anybody can read the key")
	}
	if n, _ := m.try("journalctl --no-pager -q -o cat | grep -c 'PRIVATE KEY'"); n != "0" {
		m.t.Errorf("the journal has a private key %s times", n)
	}
	return true
}

// wantFile checks who has a file in the web server's folder.
func (m *machine) wantFile(name, want string) {
	m.t.Helper()
	if got := m.must("stat -c %U:%G:%a /run/nmos-authd/certs/" + name); got != want {
		m.t.Errorf("%s is %s, want %s", name, got, want)
	}
}
