//go:build !linux

package webserver_test

import "syscall"

var ofItsOwn = syscall.SysProcAttr{Setpgid: true}
