package webserver_test

import "syscall"

// ofItsOwn starts a web server in a process group of its own, and has the kernel end it when the test dies without
// stopping it.
var ofItsOwn = syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
