# Makes configs/nmos-authd.toml that of OpenWrt, where /var is lost at a restart and /run may be missing.
s|/run/nmos-authd/|/var/run/nmos-authd/|g
s|/var/lib/nmos-authd|/etc/nmos-authd/state|g
