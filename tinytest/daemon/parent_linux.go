package daemon

import (
	"os/exec"
	"syscall"
)

// endWithParent has the kernel end the daemon when whoever started it dies without stopping it: a test that ran out of
// time must leave no daemon behind.
func endWithParent(c *exec.Cmd) {
	if c.SysProcAttr == nil {
		c.SysProcAttr = &syscall.SysProcAttr{}
	}
	c.SysProcAttr.Pdeathsig = syscall.SIGKILL
}
