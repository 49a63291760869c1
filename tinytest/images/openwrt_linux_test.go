package images_test

import (
	"strings"
	"testing"
)

// rcCommon stands for OpenWrt's /etc/rc.common: it notes what the script tells procd, and starts nothing.
const rcCommon = `
procd_open_instance() { echo open; }
procd_set_param() { echo "$@"; }
procd_close_instance() { echo close; }
procd_send_signal() { echo signal "$@"; }
script=$1 action=$2
. "$script"
case $action in
start) start_service ;;
reload) reload_service ;;
esac
`

// functionsSh stands for the part of OpenWrt's /lib/functions.sh that packages call.
const functionsSh = `
default_postinst() { echo postinst "$@"; }
default_prerm() { echo prerm "$@"; }
`

// The .ipk is unpacked on a machine, its init script run by BusyBox, and the daemon started as the script tells procd.
func TestIpkAsOpenWrtRunsIt(t *testing.T) {
	needsAMD64(t)
	needs(t, "busybox", "setpriv", "adduser")
	m := newMachine(t, plainInit)
	ipk := m.bring(built(t, "x86_64.ipk"))
	m.must("ln -sf $(command -v busybox) /bin/sh; mkdir /tmp/ipk && tar -xzf " + ipk +
		" -C /tmp/ipk && tar -xzf /tmp/ipk/data.tar.gz -C / && tar -xzf /tmp/ipk/control.tar.gz -C /tmp/ipk")
	for _, script := range []string{"postinst", "prerm"} {
		if out := m.must("cd /tmp/ipk && ./" + script + " configure"); out != "" {
			t.Errorf("%s without OpenWrt's functions says %q", script, out)
		}
	}
	m.must("cat >/lib/functions.sh <<'X'\n" + functionsSh + "\nX\ncat >/etc/rc.common <<'X'\n" + rcCommon + "\nX")
	for _, script := range []string{"postinst", "prerm"} {
		if out := m.must("cd /tmp/ipk && ./" + script + " configure"); out != script+" ./"+script+" configure" {
			t.Errorf("%s calls %q", script, out)
		}
	}
	m.must("adduser --quiet --system --group --no-create-home nmos-authd")
	told := m.must("/bin/sh /etc/rc.common /etc/init.d/nmos-authd start")
	lines := strings.Split(told, "\n")
	if lines[0] != "open" || lines[len(lines)-1] != "close" {
		t.Errorf("procd is told\n%s", told)
	}
	for _, want := range []string{"command /usr/bin/nmos-authd run",
		"user nmos-authd", "group nmos-authd", "no_new_privs 1", "respawn 3600 2 0", "stderr 1"} {
		if !strings.Contains("\n"+told+"\n", "\n"+want+"\n") {
			t.Errorf("procd is not told %q:\n%s", want, told)
		}
	}
	for folder, want := range map[string]string{"/var/run/nmos-authd": "nmos-authd:nmos-authd 755",
		"/etc/nmos-authd/state": "nmos-authd:nmos-authd 700"} {
		if got := m.must("stat -c '%U:%G %a' " + folder); got != want {
			t.Errorf("%s is %s, want %s", folder, got, want)
		}
	}

	m.configure("[sockets]\nauthz = \"/var/run/nmos-authd/authz.sock\"\nhttp = \"\"\nadmin = \"\"\n[state]\n" +
		"dir = \"/etc/nmos-authd/state\"\n")
	m.must(takeUp + " && (/usr/bin/setpriv --reuid nmos-authd --regid nmos-authd --clear-groups nmos-authd run " +
		">/box/daemon.log 2>&1 &)")
	m.decides()
	m.wait("the keys are kept in flash", func() bool {
		_, status := m.try("ls /etc/nmos-authd/state | grep -q .")
		return status == 0
	})
	if out := m.must("/bin/sh /etc/rc.common /etc/init.d/nmos-authd reload"); out != "signal nmos-authd" {
		t.Errorf("reload tells procd %q", out)
	}
	m.must("echo 'mode = 1' >/etc/nmos-authd/nmos-authd.toml")
	m.status(1, "/bin/sh /etc/rc.common /etc/init.d/nmos-authd reload")
}
